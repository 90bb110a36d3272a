/* SPDX-License-Identifier: GPL-2.0-only */
#include "cli/version.h"

#include <ares.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <yaml.h>

#include <bpf/libbpf.h>
/* Its struct bpf_insn is another one than the kernel's, which is here already. */
#define PCAP_DONT_INCLUDE_PCAP_BPF_H
#include <pcap/pcap.h>

#include "base/cleanup.h"
#include "base/json.h"

struct component {
	const char *key; /* in JSON */
	const char *label;
	char version[128];
};

/* "libpcap version 1.10.3 (with TPACKET_V3)" -> "1.10.3 (with TPACKET_V3)" */
static const char *libpcap_version(void)
{
	const char *text = pcap_lib_version(), *word = "version ";
	const char *at = strstr(text, word);

	return at ? at + strlen(word) : text;
}

static int run(int argc, char **argv)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_json_opts opts = { 0 };
	struct weir_strv words = { 0 };
	struct utsname host = { 0 };
	struct weir_json j;
	int status = weir_verb_parse(&weir_version_verb, argc, argv, &opts, &words, 0);

	if (status)
		return status;
	uname(&host);

	struct component components[] = {
		{ "weir", "weir", WEIR_VERSION },
		{ "libbpf", "libbpf", "" },
		{ "libpcap", "libpcap", "" },
		{ "c_ares", "c-ares", "" },
		{ "libyaml", "libyaml", "" },
		{ "libmicrohttpd", "libmicrohttpd", "" },
		{ "kernel", "Linux", "" },
		{ "machine", "machine", "" },
	};
	snprintf(components[1].version, sizeof(components[1].version), "%u.%u",
		 libbpf_major_version(), libbpf_minor_version());
	const char *const found[] = { libpcap_version(), ares_version(NULL),
				      yaml_get_version_string(), MHD_get_version(), host.release,
				      host.machine };
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(found); i++)
		snprintf(components[2 + i].version, sizeof(components[0].version), "%s", found[i]);

	weir_json_init(&j, &out);
	if (opts.json) {
		weir_json_object(&j, NULL);
		weir_json_uint(&j, "v", 1);
	}
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(components); i++) {
		if (opts.json)
			weir_json_str(&j, components[i].key, components[i].version);
		else
			weir_buf_addf(&out, "%-13s %s\n", components[i].label,
				      components[i].version);
	}
	if (opts.json) {
		weir_json_end_object(&j);
		weir_buf_addc(&out, '\n');
	}
	return weir_verb_print("version", &out, WEIR_EXIT_DONE);
}

const struct weir_verb weir_version_verb = {
	.name = "version",
	.group = "Ask",
	.summary = "tell the versions of weir, its libraries and the kernel",
	.synopsis = "[--json]",
	.options = weir_json_options,
	.run = run,
};
