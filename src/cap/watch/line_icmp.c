/* SPDX-License-Identifier: GPL-2.0-only */
#include <netinet/in.h>

#include "bpf/parse.bpf.h"
#include "cap/watch/bytes.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/line.h"
#include "cap/watch/names.h"

/* The packet that an error message carries back. */
static bool quoted(const struct weir_line *l, struct weir_packet *ret)
{
	return weir_packet_inner(l->p, l->p->hdr.payload_off, ret);
}

static void add_quoted_port(const struct weir_line *l, const struct weir_packet *q)
{
	const char *name = NULL;

	weir_buf_addc(l->out, ' ');
	weir_format_proto_name(l->out, q->hdr.proto);
	if (!(q->hdr.flags & WEIR_PKT_PORTS))
		return;
	ADD(l->out, " port ");
	if (!l->f->numeric)
		name = weir_format_service(q->hdr.dport, q->hdr.proto);
	if (name)
		weir_buf_adds(l->out, name);
	else
		weir_buf_addu(l->out, q->hdr.dport);
}

static void add_unreachable(const struct weir_line *l, const uint8_t *b)
{
	struct weir_packet q;
	const char *name;

	if (!quoted(l, &q)) {
		ADD(l->out, " unreachable [|icmp]");
		return;
	}
	if (b[1] != 2 && b[1] != 3 && b[1] != 4)
		weir_buf_adds(l->out, b[1] == 0 ? " net" : " host");
	weir_buf_addc(l->out, ' ');
	weir_buf_add_addr(l->out, q.hdr.dst);
	if (b[1] == 3)
		add_quoted_port(l, &q);
	if (b[1] == 2) {
		ADD(l->out, " protocol ");
		weir_buf_addu(l->out, q.hdr.proto);
	}
	ADD(l->out, " unreachable");
	if (b[1] < 4)
		return;
	name = weir_names_find(&weir_names_icmp_code, WEIR_ICMP_CODE(3, b[1]));
	ADD(l->out, " - ");
	if (name) {
		weir_buf_adds(l->out, name);
	} else {
		ADD(l->out, "code ");
		weir_buf_addu(l->out, b[1]);
	}
	if (b[1] == 4) {
		ADD(l->out, " (mtu ");
		weir_buf_addu(l->out, weir_be16(b + 6));
		weir_buf_addc(l->out, ')');
	}
}

static void add_redirect(const struct weir_line *l, const uint8_t *b)
{
	struct weir_packet q;

	ADD(l->out, " redirect");
	if (quoted(l, &q)) {
		weir_buf_addc(l->out, ' ');
		weir_buf_add_addr(l->out, q.hdr.dst);
	}
	weir_buf_adds(l->out, b[1] & 1 ? " to host " : " to net ");
	weir_format_ip4(l->out, b + 4);
}

static void add_type_code(const struct weir_line *l, const struct weir_names *types,
			  const struct weir_names *codes, const uint8_t *b)
{
	const char *name = weir_names_find(types, b[0]);
	const char *code = weir_names_find(codes, WEIR_ICMP_CODE(b[0], b[1]));

	weir_buf_addc(l->out, ' ');
	if (name) {
		weir_buf_adds(l->out, name);
	} else {
		ADD(l->out, "type ");
		weir_buf_addu(l->out, b[0]);
	}
	if (code) {
		/* "time exceeded in-transit" is one phrase, the others are two. */
		weir_buf_adds(l->out, b[0] == 3 || b[0] == 11 ? " " : ", ");
		weir_buf_adds(l->out, code);
	} else if (b[1]) {
		ADD(l->out, ", code ");
		weir_buf_addu(l->out, b[1]);
	}
}

static void add_echo(const struct weir_line *l, const uint8_t *b)
{
	ADD(l->out, ", id ");
	weir_buf_addu(l->out, weir_be16(b + 4));
	ADD(l->out, ", seq ");
	weir_buf_addu(l->out, weir_be16(b + 6));
}

void weir_line_icmp(const struct weir_line *l)
{
	const uint8_t *b = weir_packet_at(l->p, l->p->hdr.l4_off, WEIR_ICMP_HLEN);

	ADD(l->out, " ICMP");
	if (!b || !l->p->hdr.payload_off) {
		ADD(l->out, " [|icmp]");
		return;
	}
	switch (b[0]) {
	case 3:
		add_unreachable(l, b);
		break;
	case 5:
		add_redirect(l, b);
		break;
	default:
		add_type_code(l, &weir_names_icmp, &weir_names_icmp_code, b);
	}
	if (b[0] == 0 || b[0] == 8 || (b[0] >= 13 && b[0] <= 18))
		add_echo(l, b);
	weir_line_length(l, weir_packet_l4_len(l->p));
}

/* ", LABEL ADDRESS" where the message is long enough. */
static void add_addr(const struct weir_line *l, const char *label, uint32_t off)
{
	const uint8_t *b = weir_packet_at(l->p, l->p->hdr.l4_off + off, 16);

	if (!b) {
		ADD(l->out, " [|icmp6]");
		return;
	}
	weir_buf_adds(l->out, label);
	weir_buf_add_addr(l->out, b);
}

static void add_router(const struct weir_line *l, const uint8_t *b)
{
	ADD(l->out, ", hop limit ");
	weir_buf_addu(l->out, b[4]);
	if (b[5] & 0x80)
		ADD(l->out, ", managed");
	if (b[5] & 0x40)
		ADD(l->out, ", other");
	ADD(l->out, ", lifetime ");
	weir_buf_addu(l->out, weir_be16(b + 6));
	weir_buf_addc(l->out, 's');
}

static void add_quoted6(const struct weir_line *l, const uint8_t *b)
{
	struct weir_packet q;

	if (!quoted(l, &q)) {
		ADD(l->out, " [|icmp6]");
		return;
	}
	ADD(l->out, ", ");
	weir_buf_add_addr(l->out, q.hdr.dst);
	if (b[0] == 1 && b[1] == 4)
		add_quoted_port(l, &q);
}

void weir_line_icmp6(const struct weir_line *l)
{
	const uint8_t *b = weir_packet_at(l->p, l->p->hdr.l4_off, WEIR_ICMP_HLEN);

	ADD(l->out, " ICMP6,");
	if (!b || !l->p->hdr.payload_off) {
		ADD(l->out, " [|icmp6]");
		return;
	}
	add_type_code(l, &weir_names_icmp6, &weir_names_icmp6_code, b);
	switch (b[0]) {
	case 1:
	case 3:
	case 4:
		add_quoted6(l, b);
		break;
	case 2:
		ADD(l->out, ", mtu ");
		weir_buf_addu(l->out, weir_be32(b + 4));
		break;
	case 128:
	case 129:
		add_echo(l, b);
		break;
	case 130:
	case 131:
	case 132:
		add_addr(l, ", group ", 8);
		break;
	case 134:
		add_router(l, b);
		break;
	case 135:
		add_addr(l, ", who has ", 8);
		break;
	case 136:
		add_addr(l, ", tgt is ", 8);
		break;
	case 137:
		add_addr(l, ", ", 24);
		add_addr(l, " to ", 8);
		break;
	case 143:
		ADD(l->out, ", group records ");
		weir_buf_addu(l->out, weir_be16(b + 6));
		break;
	}
	weir_line_length(l, weir_packet_l4_len(l->p));
}
