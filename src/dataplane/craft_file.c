/* SPDX-License-Identifier: GPL-2.0-only */
/* A frame out of a file: hexadecimal digits, or a capture. */
#include <errno.h>
#include <linux/if_ether.h>
#include <pcap/pcap.h>
#include <string.h>

#include "base/cleanup.h"
#include "bpf/parse.bpf.h"
#include "dataplane/craft_impl.h"

#define BLANKS " \t\r\n"
#define HEX_TEXT_MAX (64u << 10)
#define SHOWN 32 /* characters of a wrong word */

#define SLL_LEN 16
#define SLL2_LEN 20

static bool is_stdin(const char *path)
{
	return !strcmp(path, "-");
}

/* Hexadecimal */

static int read_text(const char *path, char *text, size_t size, struct weir_error *err)
{
	weir_autofclose FILE *file = is_stdin(path) ? NULL : fopen(path, "re");
	FILE *f = is_stdin(path) ? stdin : file;
	size_t n;

	if (!f)
		return weir_fail(err, -errno, "--hex: cannot open %s: %s", path, strerror(errno));
	n = fread(text, 1, size, f);
	if (ferror(f))
		return weir_fail(err, -EIO, "--hex: cannot read %s: %s", path, strerror(errno));
	if (n == size)
		return weir_fail(err, -E2BIG,
				 "--hex: %s is longer than %zu characters: give one frame", path,
				 size - 1);
	text[n] = '\0';
	if (strlen(text) != n)
		return weir_fail(
			err, -EINVAL,
			"--hex: %s is no text: give hexadecimal digits, or a capture with --pcap",
			path);
	return 0;
}

static int digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Where a line of tcpdump -xx is in its frame: "0x0010:" */
static bool is_offset(const char *word, size_t n)
{
	return n > 3 && !strncmp(word, "0x", 2) && word[n - 1] == ':';
}

/* "4500", "45:00" */
static int add_word(struct weir_craft *c, const char *word, size_t n, struct weir_error *err)
{
	const int shown = n > SHOWN ? SHOWN : (int)n;

	for (size_t i = 0; i < n; i += 2) {
		int hi, lo;

		if (i && word[i] == ':')
			i++;
		hi = i < n ? digit(word[i]) : -1;
		lo = i + 1 < n ? digit(word[i + 1]) : -1;
		if (hi < 0 || lo < 0)
			return weir_fail(
				err, -EINVAL,
				"--hex: \"%.*s\": not hexadecimal: write two digits for each byte",
				shown, word);
		if (c->len == WEIR_CRAFT_MAX)
			return weir_fail(err, -E2BIG, "--hex: more than %d bytes: give one frame",
					 WEIR_CRAFT_MAX);
		c->frame[c->len++] = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}

int weir_craft_read_hex(const char *path, struct weir_craft *ret, struct weir_error *err)
{
	weir_autofree char *text = malloc(HEX_TEXT_MAX + 1);
	int r = text ? read_text(path, text, HEX_TEXT_MAX + 1, err) :
		       weir_fail(err, -ENOMEM, "out of memory");

	ret->len = 0;
	for (char *s = text; !r && *(s += strspn(s, BLANKS));) {
		size_t n = strcspn(s, BLANKS);

		if (!is_offset(s, n))
			r = add_word(ret, s, n, err);
		s += n;
	}
	if (!r && ret->len < ETH_HLEN)
		r = weir_fail(err, -EINVAL,
			      "--hex: %zu bytes: a frame begins with an Ethernet header of %d",
			      ret->len, ETH_HLEN);
	return r;
}

/* Captures */

struct weir_craft_reader {
	pcap_t *pcap;
	const char *option; /* in messages */
};

void weir_craft_reader_close(struct weir_craft_reader *r)
{
	if (!r)
		return;
	if (r->pcap)
		pcap_close(r->pcap);
	free(r);
}

static int open_pcap(const char *path, struct weir_craft_reader *r, struct weir_error *err)
{
	FILE *f = is_stdin(path) ? stdin : fopen(path, "re");
	char msg[PCAP_ERRBUF_SIZE];

	if (!f)
		return weir_fail(err, -errno, "%s: cannot open %s: %s", r->option, path,
				 strerror(errno));
	r->pcap = pcap_fopen_offline_with_tstamp_precision(f, PCAP_TSTAMP_PRECISION_NANO, msg);
	if (r->pcap)
		return 0;
	if (f != stdin)
		fclose(f);
	return weir_fail(err, -EINVAL, "%s: cannot read %s: %s: give a pcap or pcapng file",
			 r->option, path, msg);
}

int weir_craft_reader_open(const char *path, const char *option, struct weir_craft_reader **ret,
			   struct weir_error *err)
{
	struct weir_craft_reader *r = calloc(1, sizeof(*r));
	int code;

	if (!r)
		return weir_fail(err, -ENOMEM, "out of memory");
	r->option = option;
	code = open_pcap(path, r, err);
	if (code) {
		weir_craft_reader_close(r);
		return code;
	}
	*ret = r;
	return 0;
}

static uint16_t be16(const uint8_t *b)
{
	return (uint16_t)(b[0] << 8 | b[1]);
}

/* What stands before the packet in a capture without Ethernet. */
struct link {
	size_t len;	    /* of the capture's own header */
	uint16_t type;	    /* Ethernet type, 0: none */
	const uint8_t *src; /* the sender's Ethernet address, or NULL */
};

/* @n bytes at hand. False: another kind of capture. */
static bool read_link(int linktype, const uint8_t *b, size_t n, struct link *ret)
{
	*ret = (struct link){ 0 };
	switch (linktype) {
	case DLT_RAW:
	case DLT_IPV4:
	case DLT_IPV6:
		if (n && b[0] >> 4 == 4)
			ret->type = ETH_P_IP;
		else if (n && b[0] >> 4 == 6)
			ret->type = ETH_P_IPV6;
		return true;
	case DLT_LINUX_SLL:
		ret->len = SLL_LEN;
		if (n < SLL_LEN)
			return true;
		ret->type = be16(b + 14);
		ret->src = be16(b + 4) == ETH_ALEN ? b + 6 : NULL;
		return true;
	case DLT_LINUX_SLL2:
		ret->len = SLL2_LEN;
		if (n < SLL2_LEN)
			return true;
		ret->type = be16(b);
		ret->src = b[11] == ETH_ALEN ? b + 12 : NULL;
		return true;
	default:
		return false;
	}
}

/* @len: what the packet had. What the capture left out of the payload becomes zeros,
 * so that its lengths stay true; no header is made up. */
static int give_frame(const char *option, const uint8_t *b, size_t n, size_t len,
		      struct weir_craft *ret, struct weir_error *err)
{
	uint8_t *rest = ret->frame + ret->len + n;
	struct weir_pkt p;

	if (len < n)
		len = n;
	if (ret->len + len > WEIR_CRAFT_MAX)
		return weir_fail(err, -E2BIG,
				 "%s: the packet has %zu bytes: weir makes packets of %d at most",
				 option, ret->len + len, WEIR_CRAFT_MAX);
	memcpy(rest - n, b, n);
	memset(rest, 0, len - n);
	ret->len += len;
	weir_parse(&p, ret->frame, rest, WEIR_L2_ETHER, 0, (uint32_t)ret->len);
	if (rest - ret->frame < ETH_HLEN || (len > n && p.flags & WEIR_PKT_TRUNCATED))
		return weir_fail(err, -EINVAL,
				 "%s: %zu bytes of %zu captured are not all headers: capture "
				 "with a larger -s",
				 option, n, len);
	return 0;
}

static int convert(const struct weir_craft_reader *r, const uint8_t *b, size_t n, size_t len,
		   struct weir_craft *ret, struct weir_error *err)
{
	int linktype = pcap_datalink(r->pcap);
	struct link l;

	ret->len = 0;
	if (linktype == DLT_EN10MB)
		return give_frame(r->option, b, n, len, ret, err);
	if (!read_link(linktype, b, n, &l)) {
		const char *name = pcap_datalink_val_to_name(linktype);

		return weir_fail(
			err, -EINVAL,
			"%s: packets of the kind %s: give a capture of Ethernet, of raw IP or of \"any\"",
			r->option, name ? name : "unknown");
	}
	if (l.type < ETH_P_802_3_MIN)
		return weir_fail(err, -EINVAL,
				 "%s: the packet has no Ethernet type: give one of IP or ARP",
				 r->option);
	weir_craft_ether(ret->frame, l.type);
	if (l.src)
		memcpy(ret->frame + ETH_ALEN, l.src, ETH_ALEN);
	ret->len = ETH_HLEN;
	return give_frame(r->option, b + l.len, n - l.len, len > l.len ? len - l.len : 0, ret, err);
}

int weir_craft_reader_next(struct weir_craft_reader *r, struct weir_craft *ret, uint64_t *ret_ns,
			   struct weir_error *err)
{
	struct pcap_pkthdr *h;
	const u_char *data;
	int code = pcap_next_ex(r->pcap, &h, &data);

	if (code == PCAP_ERROR_BREAK)
		return 0;
	if (code != 1)
		return weir_fail(err, -EINVAL, "%s: %s: give a whole capture", r->option,
				 pcap_geterr(r->pcap));
	*ret_ns = (uint64_t)h->ts.tv_sec * 1000000000ULL + (uint64_t)h->ts.tv_usec;
	code = convert(r, data, h->caplen, h->len, ret, err);
	return code ? code : 1;
}

static void close_reader(struct weir_craft_reader **r)
{
	weir_craft_reader_close(*r);
}

int weir_craft_read_pcap(const char *path, struct weir_craft *ret, struct weir_error *err)
{
	weir_cleanup(close_reader) struct weir_craft_reader *r = NULL;
	uint64_t when;
	int code = weir_craft_reader_open(path, "--pcap", &r, err);

	if (!code)
		code = weir_craft_reader_next(r, ret, &when, err);
	if (code < 0)
		return code;
	return code ? 0 :
		      weir_fail(err, -EINVAL,
				"--pcap: no packet in %s: give a capture that has one", path);
}
