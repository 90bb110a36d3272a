/* SPDX-License-Identifier: GPL-2.0-only */
/* The rules written to a file that apply reads. It has no place that a boot unit would read:
 * a fault that came back by itself would be none that ends. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/units.h"
#include "cap/fault/fault_cmd.h"

int weir_fault_do_save(struct weir_fault_cmd *c, struct weir_error *err)
{
	const char *path = c->words.v[0];
	weir_autobuf struct weir_buf text = { 0 };
	struct weir_fault f;
	size_t n;
	int ret;

	if (!strcmp(path, "-")) {
		weir_fault_cmd_usage(c, 0);
		return weir_fail(err, -EINVAL,
				 "\"-\" is no file: `weir fault show` prints the rules");
	}
	ret = weir_fault_open(&f, false, err);
	if (ret)
		return ret;
	weir_buf_adds(&text, "# weir fault, saved ");
	weir_buf_add_rfc3339(&text, weir_clock_real() / WEIR_NSEC_PER_SEC * WEIR_NSEC_PER_SEC);
	weir_buf_adds(&text, "; `weir fault apply` reads it, see weir-fault(8)\n");
	weir_fault_print(&f.conf, f.boot, &text);
	n = f.conf.n;
	weir_fault_close(&f);
	ret = weir_file_replace(path, &text, err);
	if (!ret)
		weir_fault_cmd_tell("saved to %s: %zu rule%s", path, n, n == 1 ? "" : "s");
	return ret;
}
