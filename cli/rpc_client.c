/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/rpc_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/json.h"

static const char default_path[] = "/run/braid/rpc.sock";

enum { ANSWER_BYTES_MAX = 64 << 20, ANSWER_STEP_BYTES = 64 << 10 };

int rpc_client_init(struct rpc_client *client, const char *path, struct fail *fail)
{
	struct stat status;
	int length;

	*client = (struct rpc_client){.fd = -1, .timeout_s = 60};
	if (!path)
		path = getenv("BRAID_SOCKET");
	if (!path || !*path)
		path = default_path;
	length = snprintf(client->path, sizeof(client->path), "%s%s", path,
		!stat(path, &status) && S_ISDIR(status.st_mode) ? "/rpc.sock" : "");
	if (length >= (int)sizeof(client->path))
		return fail_set(fail, ENAMETOOLONG,
			"the socket path '%.40s...' is longer than the %d bytes that Unix sockets "
			"allow",
			path, RPC_PATH_BYTES - 1);
	return 0;
}

void rpc_client_close(struct rpc_client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	free(client->buffer);
	*client = (struct rpc_client){.fd = -1};
}

static int unreachable(const struct rpc_client *client, int error, struct fail *fail)
{
	switch (error) {
	case EACCES:
	case EPERM:
		return fail_set(fail, ENOTCONN,
			"no permission to open %s: run as root, or join the group that owns it",
			client->path);
	case ENOENT:
		return fail_set(fail, ENOTCONN,
			"braidd is not running: there is no socket %s. Start it (systemctl start "
			"braidd), "
			"or name its socket with --socket",
			client->path);
	case ECONNREFUSED:
		return fail_set(fail, ENOTCONN,
			"braidd is not running: nobody answers on %s. Start it (systemctl start "
			"braidd), "
			"or name its socket with --socket",
			client->path);
	default:
		return fail_set(fail, ENOTCONN, "cannot reach braidd on %s: %s", client->path,
			strerror(error));
	}
}

static int connect_client(struct rpc_client *client, struct fail *fail)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = (time_t)client->timeout_s + 1};
	int error;

	strcpy(address.sun_path, client->path);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		return unreachable(client, errno, fail);
	setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (!connect(client->fd, (struct sockaddr *)&address, sizeof(address)))
		return 0;
	error = errno;
	close(client->fd);
	client->fd = -1;
	return unreachable(client, error, fail);
}

char *rpc_request_text(int id, const char *method, json_t *params)
{
	json_t *request =
		json_pack("{s:s, s:i, s:s}", "jsonrpc", "2.0", "id", id, "method", method);
	char *text;

	if (params)
		json_object_set_new(request, "params", params);
	text = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	return text;
}

static int send_line(struct rpc_client *client, const char *text, struct fail *fail)
{
	size_t left = strlen(text);

	if (client->verbose)
		fprintf(stderr, "--> %s\n", text);
	while (left) {
		ssize_t sent = send(client->fd, text, left, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			goto lost;
		text += sent;
		left -= (size_t)sent;
	}
	if (send(client->fd, "\n", 1, MSG_NOSIGNAL) == 1)
		return 0;
lost:
	return fail_set(fail, ENOTCONN,
		"braidd closed the connection on %s: it was stopped, or serves "
		"too many clients already",
		client->path);
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Waits for more bytes and puts them behind the ones that are there. */
static int receive(struct rpc_client *client, double deadline_s, struct fail *fail)
{
	struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};
	double left_s = deadline_s - now_s();
	ssize_t count;
	char *larger;

	if (client->used >= ANSWER_BYTES_MAX)
		return fail_set(fail, EPROTO, "the answer of braidd is too long");
	if (left_s < 0 || !poll(&poll_fd, 1, left_s > 1e6 ? -1 : (int)(left_s * 1000) + 1))
		return fail_set(fail, ETIMEDOUT,
			"braidd did not answer within %g s: it may still do what it was asked for",
			client->timeout_s);
	larger = realloc(client->buffer, client->used + ANSWER_STEP_BYTES);
	if (!larger)
		return fail_set(fail, ENOMEM, "no memory for the answer of braidd");
	client->buffer = larger;
	count = recv(client->fd, larger + client->used, ANSWER_STEP_BYTES, MSG_DONTWAIT);
	if (count < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (count <= 0)
		return fail_set(fail, ENOTCONN,
			"braidd closed the connection on %s: it was stopped, "
			"or serves too many clients already",
			client->path);
	client->used += (size_t)count;
	return 0;
}

/* Fills *answer, a new reference, also when it fails. */
static int receive_answer(struct rpc_client *client, json_t **answer, struct fail *fail)
{
	double deadline_s = now_s() + client->timeout_s;
	size_t searched = 0;
	json_error_t where;
	char *end;

	while (!client->used ||
		!(end = memchr(client->buffer + searched, '\n', client->used - searched))) {
		int error;

		searched = client->used;
		error = receive(client, deadline_s, fail);
		if (error)
			return error;
	}
	if (client->verbose)
		fprintf(stderr, "<-- %.*s\n", (int)(end - client->buffer), client->buffer);
	*answer = json_loadb(client->buffer, (size_t)(end - client->buffer), 0, &where);
	client->used -= (size_t)(end + 1 - client->buffer);
	memmove(client->buffer, end + 1, client->used);
	if (!json_is_object(*answer))
		return fail_set(fail, EPROTO,
			"what answers on %s is not braidd: it does not speak "
			"JSON-RPC",
			client->path);
	return 0;
}

int rpc_client_call(struct rpc_client *client, const char *method, json_t *params, json_t **result,
	struct fail *fail)
{
	AUTO_FREE char *text = rpc_request_text(++client->last_id, method, params);
	AUTO_JSON json_t *answer = NULL;
	const json_t *failure;
	int error = client->fd < 0 ? connect_client(client, fail) : 0;

	*result = NULL;
	if (!error && !text)
		error = fail_set(fail, EINVAL, "the request is no valid UTF-8");
	if (!error)
		error = send_line(client, text, fail);
	if (!error)
		error = receive_answer(client, &answer, fail);
	if (error)
		return error;
	failure = json_object_get(answer, "error");
	if (json_is_object(failure)) {
		uint64_t number = number_of(json_object_get(failure, "data"), "errno");

		return fail_set(fail, number && number < 4096 ? (int)number : EIO, "%s",
			text_of(failure, "message"));
	}
	*result = json_incref(json_object_get(answer, "result"));
	return *result ? 0 : fail_set(fail, EPROTO, "braidd gave no result for %s", method);
}
