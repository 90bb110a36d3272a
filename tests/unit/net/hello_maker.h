/* SPDX-License-Identifier: GPL-2.0-only */
/* ClientHellos made from their parts, and put into records of any size. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HELLO_BYTES (1 << 19) /* room for a message of 64 KiB in records of one byte */
#define HELLO_RECORD_MAX 16384

struct hello_parts {
	bool no_extensions; /* not even their length */
	bool sni;
	const void *name; /* as it stands on the wire */
	size_t name_len;
	const void *alpn; /* length bytes and names; alpn_len 0: no extension */
	size_t alpn_len;
	const uint16_t *versions; /* n_versions 0: no extension */
	size_t n_versions;
	uint16_t legacy_version; /* 0: TLS 1.2 */
	size_t session_id_len;
	size_t key_share_len; /* of a key of X25519MLKEM768: 1216 */
	bool grease, ech, early_data;
	size_t pad;	   /* bytes in a padding extension; 0: none */
	unsigned int turn; /* which extension comes first */
};

static inline uint8_t *hello_u8(uint8_t *at, size_t v)
{
	*at = (uint8_t)v;
	return at + 1;
}

static inline uint8_t *hello_u16(uint8_t *at, size_t v)
{
	return hello_u8(hello_u8(at, v >> 8), v);
}

static inline uint8_t *hello_bytes(uint8_t *at, const void *bytes, size_t n)
{
	if (n)
		memcpy(at, bytes, n);
	return at + n;
}

/* Bytes that mean nothing and are not all alike. */
static inline uint8_t *hello_noise(uint8_t *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		at[i] = (uint8_t)(i * 167 + (i >> 8) + 13);
	return at + n;
}

static inline uint8_t *hello_ext_name(uint8_t *at, const struct hello_parts *p)
{
	at = hello_u16(hello_u16(at, 0), p->name_len + 5);
	at = hello_u8(hello_u16(at, p->name_len + 3), 0);
	return hello_bytes(hello_u16(at, p->name_len), p->name, p->name_len);
}

static inline uint8_t *hello_ext_alpn(uint8_t *at, const struct hello_parts *p)
{
	at = hello_u16(hello_u16(at, 16), p->alpn_len + 2);
	return hello_bytes(hello_u16(at, p->alpn_len), p->alpn, p->alpn_len);
}

static inline uint8_t *hello_ext_versions(uint8_t *at, const struct hello_parts *p)
{
	at = hello_u16(hello_u16(at, 43), p->n_versions * 2 + 1);
	at = hello_u8(at, p->n_versions * 2);
	for (size_t i = 0; i < p->n_versions; i++)
		at = hello_u16(at, p->versions[i]);
	return at;
}

static inline uint8_t *hello_ext_key_share(uint8_t *at, const struct hello_parts *p)
{
	at = hello_u16(hello_u16(at, 51), p->key_share_len + 6);
	at = hello_u16(hello_u16(at, p->key_share_len + 4), 0x11ec);
	return hello_noise(hello_u16(at, p->key_share_len), p->key_share_len);
}

/* As GREASE ECH is: outer, HKDF-SHA256 and AES-128-GCM, an id, a key, a payload. */
static inline uint8_t *hello_ext_ech(uint8_t *at)
{
	at = hello_u16(hello_u16(at, 0xfe0d), 1 + 4 + 1 + 2 + 32 + 2 + 144);
	at = hello_u16(hello_u16(hello_u8(at, 0), 1), 1);
	at = hello_u8(at, 0x5a);
	at = hello_noise(hello_u16(at, 32), 32);
	return hello_noise(hello_u16(at, 144), 144);
}

#define HELLO_EXTENSIONS 9
static inline uint8_t *hello_extension(uint8_t *at, const struct hello_parts *p, unsigned int which)
{
	switch (which % HELLO_EXTENSIONS) {
	case 0:
		return p->grease ? hello_u16(hello_u16(at, 0x1a1a), 0) : at;
	case 1:
		return p->sni ? hello_ext_name(at, p) : at;
	case 2:
		return p->ech ? hello_ext_ech(at) : at;
	case 3:
		return p->n_versions ? hello_ext_versions(at, p) : at;
	case 4:
		return p->key_share_len ? hello_ext_key_share(at, p) : at;
	case 5:
		return p->alpn_len ? hello_ext_alpn(at, p) : at;
	case 6:
		return p->early_data ? hello_u16(hello_u16(at, 42), 0) : at;
	case 7:
		return p->pad ? hello_noise(hello_u16(hello_u16(at, 21), p->pad), p->pad) : at;
	default:
		return p->grease ? hello_u8(hello_u16(hello_u16(at, 0xdada), 1), 0) : at;
	}
}

/* The handshake message; returns its length. */
static inline size_t hello_message(const struct hello_parts *p, uint8_t out[HELLO_BYTES])
{
	uint8_t *at = out + 4, *extensions;
	size_t n;

	at = hello_noise(hello_u16(at, p->legacy_version ? p->legacy_version : 0x0303), 32);
	at = hello_noise(hello_u8(at, p->session_id_len), p->session_id_len);
	at = hello_u16(at, p->grease ? 6 : 4);
	if (p->grease)
		at = hello_u16(at, 0x4a4a);
	at = hello_u16(hello_u16(at, 0x1301), 0xc02f);
	at = hello_u8(hello_u8(at, 1), 0);
	if (!p->no_extensions) {
		extensions = at;
		at += 2;
		for (unsigned int i = 0; i < HELLO_EXTENSIONS; i++)
			at = hello_extension(at, p, p->turn + i);
		hello_u16(extensions, (size_t)(at - extensions) - 2);
	}
	n = (size_t)(at - out);
	hello_u16(hello_u8(hello_u8(out, 1), (n - 4) >> 16), n - 4);
	return n;
}

/* A message in records of @size bytes, the first one of @first (0: like the others). */
static inline size_t hello_records(const uint8_t *message, size_t n, size_t first, size_t size,
				   uint8_t out[HELLO_BYTES])
{
	uint8_t *at = out;

	for (size_t done = 0, part; done < n; done += part) {
		part = done || !first ? size : first;
		if (part > n - done)
			part = n - done;
		at = hello_u16(hello_u16(hello_u8(at, 22), 0x0301), part);
		at = hello_bytes(at, message + done, part);
	}
	return (size_t)(at - out);
}
