/* SPDX-License-Identifier: GPL-2.0-only */
/* One packet's journey, as text and as JSON. */
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "cap/path/session.h"

struct stop {
	enum weir_path_stage stage;
	uint64_t at;
};

/* What several packets share. */
static bool is_cpus(enum weir_path_stage s)
{
	return s == WEIR_PATH_IRQ || s == WEIR_PATH_RAISE || s == WEIR_PATH_RUN ||
	       s == WEIR_PATH_POLL;
}

/* By time: a softirq that was raised already runs for packets that came later, too. */
static size_t stops_of(const struct weir_path_journey *j, struct stop ret[WEIR_PATH_STAGES_MAX])
{
	size_t n = 0;

	for (int s = 0; s < WEIR_PATH_STAGES_MAX; s++) {
		size_t i = n;

		if (!j->at[s])
			continue;
		for (; i && ret[i - 1].at > j->at[s]; i--)
			ret[i] = ret[i - 1];
		ret[i] = (struct stop){ (enum weir_path_stage)s, j->at[s] };
		n++;
	}
	return n;
}

static const char *protocol_of(const struct weir_path_journey *j)
{
	return j->proto == IPPROTO_TCP ? "tcp" : j->proto == IPPROTO_UDP ? "udp" : NULL;
}

void weir_path_journey_text(const struct weir_path_journey *j, int64_t offset, struct weir_buf *out)
{
	struct stop stops[WEIR_PATH_STAGES_MAX];
	size_t n = stops_of(j, stops);
	char name[IF_NAMESIZE] = "?";

	if_indextoname(j->ifindex, name);
	weir_buf_add_clock(out, j->ts + (uint64_t)offset);
	weir_buf_addf(out, " %s ", protocol_of(j) ? protocol_of(j) : "ip");
	weir_buf_add_end(out, j->src, j->sport);
	weir_buf_adds(out, " > ");
	weir_buf_add_end(out, j->dst, j->dport);
	weir_buf_addf(out, " %u bytes, %s, cpu %u, read by %.*s[%u] on cpu %u: ", j->len, name,
		      j->cpu, (int)sizeof(j->comm), j->comm, j->pid, j->reader_cpu);
	weir_buf_add_duration(out, j->total);
	weir_buf_addc(out, '\n');
	for (size_t i = 0; i < n; i++) {
		weir_autobuf struct weir_buf delta = { 0 };

		weir_buf_addc(&delta, '+');
		weir_buf_add_duration(&delta, i ? stops[i].at - stops[i - 1].at : 0);
		weir_buf_addf(out, "  %9s  %s%s\n", delta.failed ? "" : delta.data,
			      weir_path_stage_title(stops[i].stage),
			      is_cpus(stops[i].stage) ? " (its CPU's)" : "");
	}
}

static void json_end(struct weir_json *j, const char *ip, const char *port_name,
		     const uint8_t addr[16], uint16_t port)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_add_addr(&text, addr);
	weir_json_str(j, ip, text.failed ? NULL : text.data);
	weir_json_uint(j, port_name, port);
}

static void json_stops(const struct weir_path_journey *j, struct weir_json *json)
{
	struct stop stops[WEIR_PATH_STAGES_MAX];
	size_t n = stops_of(j, stops);

	weir_json_array(json, "stages");
	for (size_t i = 0; i < n; i++) {
		weir_json_object(json, NULL);
		weir_json_str(json, "name", weir_path_stage_name(stops[i].stage));
		weir_json_uint(json, "at_ns", stops[i].at - stops[0].at);
		weir_json_str(json, "of", is_cpus(stops[i].stage) ? "cpu" : "packet");
		weir_json_end_object(json);
	}
	weir_json_end_array(json);
}

void weir_path_journey_json(const struct weir_path_journey *j, int64_t offset, struct weir_buf *out)
{
	char name[IF_NAMESIZE], comm[sizeof(j->comm) + 1] = "";
	struct weir_json json;

	weir_json_init(&json, out);
	weir_json_object(&json, NULL);
	weir_json_uint(&json, "v", 1);
	weir_json_time(&json, "ts", j->ts + (uint64_t)offset);
	weir_json_str(&json, "protocol", protocol_of(j));
	json_end(&json, "src_ip", "src_port", j->src, j->sport);
	json_end(&json, "dst_ip", "dst_port", j->dst, j->dport);
	weir_json_str(&json, "iface", if_indextoname(j->ifindex, name));
	weir_json_uint(&json, "packet_size", j->len);
	weir_json_uint(&json, "total_ns", j->total);
	weir_json_uint(&json, "cpu", j->cpu);
	weir_json_uint(&json, "reader_cpu", j->reader_cpu);
	weir_json_uint(&json, "pid", j->pid);
	memcpy(comm, j->comm, sizeof(j->comm));
	weir_json_str(&json, "comm", comm);
	if (j->cookie)
		weir_json_uint(&json, "cookie", j->cookie);
	json_stops(j, &json);
	weir_json_end_object(&json);
	weir_buf_addc(out, '\n');
}
