/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/http_metrics.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define CLIENTS_MAX 16
#define CLIENT_MEMORY 16384 /* bytes of a request */
#define IDLE_S 10
#define ROUNDS_MAX 64 /* of its work at a time */
#define PATH "/metrics"
#define TEXT "text/plain; version=0.0.4; charset=utf-8"
#define NS_PER_MS 1000000ULL

struct weir_http_metrics {
	struct MHD_Daemon *daemon;
	weir_http_metrics_fn *print;
	void *arg;
};

static enum MHD_Result reply(struct MHD_Connection *conn, unsigned int code, const char *type,
			     const char *text, size_t n)
{
	struct MHD_Response *r =
		MHD_create_response_from_buffer(n, (void *)text, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result ret;

	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	ret = MHD_queue_response(conn, code, r);
	MHD_destroy_response(r);
	return ret;
}

static enum MHD_Result say(struct MHD_Connection *conn, unsigned int code, const char *text)
{
	return reply(conn, code, "text/plain", text, strlen(text));
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *conn, const char *url,
				  const char *method, const char *version, const char *body,
				  size_t *body_size, void **state)
{
	const struct weir_http_metrics *h = arg;
	weir_autobuf struct weir_buf out = { 0 };

	(void)version;
	(void)body;
	(void)body_size;
	(void)state;
	if (strcmp(url, PATH) != 0)
		return say(conn, MHD_HTTP_NOT_FOUND, "here is only " PATH "\n");
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return say(conn, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n");
	if (h->print(h->arg, &out) || out.failed)
		return say(conn, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
	return reply(conn, MHD_HTTP_OK, TEXT, out.data, out.len);
}

int weir_http_metrics_new(int fd, weir_http_metrics_fn *print, void *arg,
			  struct weir_http_metrics **ret, struct weir_error *err)
{
	struct weir_http_metrics *h = calloc(1, sizeof(*h));

	if (h) {
		*h = (struct weir_http_metrics){ .print = print, .arg = arg };
		h->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, h,
					     MHD_OPTION_LISTEN_SOCKET, fd,
					     MHD_OPTION_CONNECTION_LIMIT, CLIENTS_MAX,
					     MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S,
					     MHD_OPTION_CONNECTION_MEMORY_LIMIT,
					     (size_t)CLIENT_MEMORY, MHD_OPTION_END);
	}
	if (!h || !h->daemon) {
		close(fd);
		free(h);
		return weir_fail(err, -ENOMEM,
				 "cannot start the server of the metrics: free some memory or "
				 "descriptors");
	}
	*ret = h;
	return 0;
}

void weir_http_metrics_free(struct weir_http_metrics *h)
{
	if (!h)
		return;
	MHD_stop_daemon(h->daemon);
	free(h);
}

int weir_http_metrics_fd(const struct weir_http_metrics *h)
{
	return MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

uint64_t weir_http_metrics_serve(struct weir_http_metrics *h)
{
	MHD_UNSIGNED_LONG_LONG ms = 0;
	enum MHD_Result wants = MHD_YES;

	/* Its work is bounded by its clients, and each round by what they sent. */
	for (int i = 0; wants == MHD_YES && !ms && i < ROUNDS_MAX; i++) {
		MHD_run(h->daemon);
		wants = MHD_get_timeout(h->daemon, &ms);
	}
	return wants == MHD_YES ? ms * NS_PER_MS : WEIR_HTTP_METRICS_NEVER;
}
