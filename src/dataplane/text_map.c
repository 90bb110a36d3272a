/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/text_map.h"

#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "dataplane/load.h"

#define CHUNK 4096U

int weir_text_map_write(const char *name, const struct weir_buf *text, struct weir_error *err)
{
	weir_autobuf struct weir_buf all = { 0 };
	weir_autoclose int fd = -1;
	uint64_t len = text->len;
	char chunk[CHUNK];
	uint32_t n;

	weir_buf_add(&all, &len, sizeof(len));
	weir_buf_adds(&all, text->len ? text->data : ""); /* text has no NUL */
	if (text->failed || all.failed)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	n = (uint32_t)((all.len + CHUNK - 1) / CHUNK);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, name, sizeof(uint32_t), CHUNK, n, NULL);
	if (fd < 0)
		return weir_load_explain(err, -errno, "keep the rules");
	for (uint32_t i = 0; i < n; i++) {
		size_t left = all.len - (size_t)i * CHUNK;

		memset(chunk, 0, sizeof(chunk));
		memcpy(chunk, all.data + (size_t)i * CHUNK, left < CHUNK ? left : CHUNK);
		if (bpf_map_update_elem(fd, &i, chunk, BPF_ANY))
			return weir_load_explain(err, -errno, "keep the rules");
	}
	return WEIR_TAKE_FD(fd);
}

static int unreadable(const char *verb, struct weir_error *err)
{
	return weir_fail(err, -EPROTO, "the rules in the kernel cannot be read: `weir unload %s`",
			 verb);
}

int weir_text_map_read(int fd, uint64_t most, const char *verb, struct weir_buf *out,
		       struct weir_error *err)
{
	char chunk[CHUNK];
	uint64_t len = 0;

	weir_buf_adds(out, "");
	for (uint32_t i = 0; !i || out->len < len; i++) {
		size_t head = i ? 0 : sizeof(len), left;

		if (bpf_map_lookup_elem(fd, &i, chunk))
			return unreadable(verb, err);
		if (!i)
			memcpy(&len, chunk, sizeof(len));
		if (len > most)
			return unreadable(verb, err);
		left = (size_t)len - out->len;
		weir_buf_add(out, chunk + head, left < CHUNK - head ? left : CHUNK - head);
		if (out->failed)
			return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	}
	return 0;
}
