/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>

#include "cap/proxy/cmd.h"
#include "cap/proxy/control.h"

int weir_proxy_status_more(struct weir_buf *out, struct weir_json *j, struct weir_error *err)
{
	weir_autobuf struct weir_buf answer = { 0 };
	int ret = weir_control_ask(j ? "status json" : "status", &answer, err);

	if (ret == -ENOENT)
		return 0;
	if (ret)
		return ret;
	while (j && answer.len && answer.data[answer.len - 1] == '\n')
		answer.len--;
	if (!answer.len)
		return weir_fail(err, -EPROTO, "the proxy broke off: try again");
	if (j)
		weir_json_raw(j, "proxy", answer.data, answer.len);
	else
		weir_buf_add(out, answer.data, answer.len);
	return 0;
}
