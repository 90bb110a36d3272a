/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is told of a connection: the JSON object is this list in this order, and a log's
 * template names its keys as %{key}. weir-proxy(8) says it in the same words.
 */
#pragma once

/* X(id, key, kind, what it says); the kinds are those of conn_facts.c. A key that is not
 * known of a connection is absent. */
#define WEIR_CONN_KEYS(X)                                                                       \
	X(ts, "ts", TIME, "when it ended")                                                      \
	X(began_ts, "began_ts", TIME, "when it was accepted")                                   \
	X(id, "id", UINT, "its number: weir proxy kill ID")                                     \
	X(state, "state", TEXT, "while it is open: what it waits for")                          \
	X(local_ip, "local_ip", TEXT, "the address that the client came to")                    \
	X(local_port, "local_port", UINT, "its port")                                           \
	X(remote_ip, "remote_ip", TEXT, "the client's address")                                 \
	X(remote_port, "remote_port", UINT, "its port")                                         \
	X(sni, "sni", TEXT, "the name that the client asked for by TLS")                        \
	X(host, "host", TEXT, "the name that the client asked for by HTTP")                     \
	X(alpn, "alpn", TEXT, "the first protocol that the client offered")                     \
	X(ech, "ech", BOOL, "whether the hello carries Encrypted Client Hello")                 \
	X(listener, "listener", TEXT, "the name of the listener")                               \
	X(route, "route", TEXT, "the name of the route")                                        \
	X(target, "target", TEXT, "the backend as the configuration has it")                    \
	X(backend, "backend", TEXT, "the address that was connected to, or last tried")         \
	X(proxy_ip, "proxy_ip", TEXT, "the proxy's own address towards the backend")            \
	X(proxy_port, "proxy_port", UINT, "its port")                                           \
	X(engine, "engine", TEXT, "the engine that moved the bytes")                            \
	X(demoted, "demoted", BOOL, "that it was taken back from sockmap to user space")        \
	X(reason, "reason", TEXT, "why it ended")                                               \
	X(error, "error", TEXT, "the system's error behind the reason")                         \
	X(attempts, "attempts", UINT, "attempts to connect to a backend")                       \
	X(bytes_in, "bytes_in", UINT, "bytes of the client delivered to the backend")           \
	X(bytes_out, "bytes_out", UINT, "bytes of the backend delivered to the client")         \
	X(duration_ns, "duration_ns", UINT, "from its beginning to its end, or to now")         \
	X(hello_ns, "hello_ns", UINT, "from its beginning to the end of the hello")             \
	X(connect_ns, "connect_ns", UINT, "from there to the backend's being connected")        \
	X(first_byte_ns, "first_byte_ns", UINT, "from there to the backend's first byte")       \
	X(idle_ns, "idle_ns", UINT, "while it is open: since bytes last moved")
