/* SPDX-License-Identifier: GPL-2.0-only */
/* One packet, one JSON object. A stream of packets is the one place where the
 * general writer is too slow: keys are copied ready-made, and only texts that
 * others chose go through its escaping. */
#include "base/clock.h"
#include "base/json.h"
#include "cap/watch/fields.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/l7.h"

static void add_value(struct weir_buf *out, enum weir_value_kind kind,
		      const struct weir_value *v)
{
	struct weir_json j;

	switch (kind) {
	case WEIR_VALUE_UINT:
	case WEIR_VALUE_HEX:
		weir_buf_addu(out, v->num);
		break;
	case WEIR_VALUE_BOOL:
		weir_buf_adds(out, v->num ? "true" : "false");
		break;
	case WEIR_VALUE_IP:
		weir_buf_addc(out, '"');
		(v->v6 ? weir_buf_add_addr6 : weir_buf_add_addr)(out, v->bytes);
		weir_buf_addc(out, '"');
		break;
	case WEIR_VALUE_MAC:
		weir_buf_addc(out, '"');
		weir_buf_add_mac(out, v->bytes);
		weir_buf_addc(out, '"');
		break;
	case WEIR_VALUE_STR:
		weir_json_init(&j, out);
		weir_json_str(&j, NULL, v->str);
		break;
	}
}

void weir_format_json(const struct weir_packet *p, struct weir_buf *out)
{
	struct weir_value v;

	ADD(out, "{\"v\":1,\"ts\":\"");
	weir_buf_add_rfc3339(out, p->ev.ts);
	weir_buf_addc(out, '"');
	for (unsigned int i = 0; i < WEIR_PACKET_FIELD_MAX; i++) {
		const struct weir_field *f = &weir_fields[i];

		if (i == WEIR_PACKET_VERDICT && p->l7)
			weir_l7_json(p->l7, out);
		if (!weir_field_get(p, i, &v))
			continue;
		weir_buf_add(out, f->json, f->json_len);
		add_value(out, f->kind, &v);
	}
	ADD(out, "}\n");
}
