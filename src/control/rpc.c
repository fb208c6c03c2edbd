/* SPDX-License-Identifier: Apache-2.0 */
#include "control/rpc.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "control/daemon.h"

enum { CLIENTS_MAX = 16, REQUEST_BYTES_MAX = 256 << 10, ACCEPT_PAUSE_US = 10000 };

enum rpc_error {
	RPC_PARSE_ERROR = -32700,
	RPC_INVALID_REQUEST = -32600,
	RPC_METHOD_NOT_FOUND = -32601,
	RPC_INVALID_PARAMS = -32602,
	RPC_FAILED = -32000,
};

struct client {
	struct rpc_server *server;
	int fd; /* -1: free */
	pthread_t thread;
	bool finished; /* to be joined */
};

struct rpc_server {
	struct daemon *daemon;
	char path[108];
	int listen_fd;
	pthread_t thread;
	pthread_mutex_t lock; /* clients */
	struct client clients[CLIENTS_MAX];
};

/* --- parameters ------------------------------------------------------------------------------ */

const char *rpc_string(const json_t *params, const char *name, const char *absent)
{
	const char *value = json_string_value(json_object_get(params, name));

	return value ? value : absent;
}

int64_t rpc_integer(const json_t *params, const char *name, int64_t absent)
{
	const json_t *value = json_object_get(params, name);

	return value ? json_integer_value(value) : absent;
}

bool rpc_boolean(const json_t *params, const char *name)
{
	return json_is_true(json_object_get(params, name));
}

static bool type_matches(const json_t *value, enum rpc_type type)
{
	size_t i;
	const json_t *element;

	switch (type) {
	case RPC_STRING:
		return json_is_string(value);
	case RPC_INTEGER:
		return json_is_integer(value);
	case RPC_BOOLEAN:
		return json_is_boolean(value);
	case RPC_STRINGS:
	case RPC_OBJECTS:
		if (!json_is_array(value))
			return false;
		json_array_foreach((json_t *)value, i,
			element) if (type == RPC_STRINGS ? !json_is_string(element)
							 : !json_is_object(element)) return false;
		return true;
	}
	return false;
}

static const struct rpc_param *param_of(const struct rpc_method *method, const char *name)
{
	for (const struct rpc_param *param = method->params; param->name; param++)
		if (!strcmp(param->name, name))
			return param;
	return NULL;
}

static int check_params(const struct rpc_method *method, const json_t *params, struct fail *fail)
{
	static const char *const type_names[] = {"a string", "an integer", "true or false",
		"a list of strings", "a list of objects"};
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)params, name, value)
	{
		const struct rpc_param *param = param_of(method, name);

		if (!param)
			return fail_set(
				fail, EINVAL, "%s has no parameter '%.40s'", method->name, name);
		if (!type_matches(value, param->type))
			return fail_set(fail, EINVAL, "%s: '%s' must be %s", method->name, name,
				type_names[param->type]);
	}
	for (const struct rpc_param *param = method->params; param->name; param++)
		if (param->required && !json_object_get(params, param->name))
			return fail_set(fail, EINVAL, "%s needs '%s': %s", method->name,
				param->name, param->text);
	return 0;
}

/* --- requests -------------------------------------------------------------------------------- */

static json_t *error_json(enum rpc_error code, const char *text, int error)
{
	return json_pack("{s:i, s:s, s:{s:i, s:s}}", "code", (int)code, "message", text, "data",
		"errno", error, "name", error ? strerrorname_np(error) : "");
}

static const struct rpc_method *find_method(const char *name)
{
	size_t count;
	const struct rpc_method *methods = rpc_methods(&count);

	for (size_t i = 0; i < count; i++)
		if (!strcmp(methods[i].name, name))
			return &methods[i];
	return NULL;
}

/* Runs the method; exactly one of *result and *error is set. */
static void call_method(
	struct daemon *daemon, const json_t *request, json_t **result, json_t **error)
{
	const char *name = json_string_value(json_object_get(request, "method"));
	json_t *params = json_object_get(request, "params");
	json_t *none = params ? NULL : json_object();
	const struct rpc_method *method;
	struct fail fail = {0};
	int status;

	*result = *error = NULL;
	if (!name || (params && !json_is_object(params))) {
		*error = error_json(RPC_INVALID_REQUEST,
			"a request is an object with a method and params by name", EINVAL);
		goto out;
	}
	method = find_method(name);
	if (!method) {
		fail_set(&fail, ENOSYS, "there is no method '%.60s': ask rpc.methods", name);
		*error = error_json(RPC_METHOD_NOT_FOUND, fail.text, ENOSYS);
		goto out;
	}
	if (check_params(method, params ? params : none, &fail)) {
		*error = error_json(RPC_INVALID_PARAMS, fail.text, fail.error);
		goto out;
	}
	{
		LOCK_SCOPE(&daemon->lock);
		status = method->handle(daemon, params ? params : none, result, &fail);
		state_save(daemon);
	}
	assert(status || *result);
	if (status)
		*error = error_json(RPC_FAILED, fail.text, fail.error);
out:
	json_decref(none);
}

static char *answer_line(struct daemon *daemon, const char *line, size_t length)
{
	json_error_t where;
	json_t *request = json_loadb(line, length, JSON_REJECT_DUPLICATES, &where);
	json_t *result = NULL, *error = NULL, *id, *reply;
	char *text;

	if (request)
		call_method(daemon, request, &result, &error);
	else
		error = error_json(RPC_PARSE_ERROR, where.text, EINVAL);
	id = request ? json_object_get(request, "id") : NULL;
	reply = json_pack("{s:s, s:O}", "jsonrpc", "2.0", "id", id ? id : json_null());
	json_object_set_new(reply, error ? "error" : "result", error ? error : result);
	text = json_dumps(reply, JSON_COMPACT);
	json_decref(reply);
	json_decref(request);
	return text;
}

/* --- connections ----------------------------------------------------------------------------- */

static bool send_all(int fd, const char *text, size_t bytes)
{
	while (bytes) {
		ssize_t sent = send(fd, text, bytes, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		text += sent;
		bytes -= (size_t)sent;
	}
	return true;
}

static bool serve_line(struct client *client, const char *line, size_t length)
{
	AUTO_FREE char *text = answer_line(client->server->daemon, line, length);

	return text && send_all(client->fd, text, strlen(text)) && send_all(client->fd, "\n", 1);
}

static void *client_main(void *argument)
{
	struct client *client = argument;
	AUTO_FREE char *buffer = malloc(REQUEST_BYTES_MAX);
	size_t used = 0;

	while (buffer) {
		ssize_t count = recv(client->fd, buffer + used, REQUEST_BYTES_MAX - used, 0);
		char *end;

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			break;
		used += (size_t)count;
		while ((end = memchr(buffer, '\n', used))) {
			size_t length = (size_t)(end - buffer);

			if (!serve_line(client, buffer, length))
				goto close;
			used -= length + 1;
			memmove(buffer, end + 1, used);
		}
		if (used == REQUEST_BYTES_MAX)
			break;
	}
close : {
	LOCK_SCOPE(&client->server->lock);
	close(client->fd);
	client->fd = -1;
	client->finished = true;
}
	return NULL;
}

static struct client *free_client(struct rpc_server *server)
{
	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = &server->clients[i];

		if (client->finished)
			pthread_join(client->thread, NULL);
		client->finished = false;
		if (client->fd < 0)
			return client;
	}
	return NULL;
}

static void *accept_main(void *argument)
{
	struct rpc_server *server = argument;
	struct timeval patience = {.tv_sec = 5};

	while (true) {
		int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		struct client *client;

		if (fd < 0 && errno == EINVAL)
			return NULL; /* shut down */
		if (fd < 0) {	     /* out of descriptors or memory, perhaps: not for ever */
			usleep(ACCEPT_PAUSE_US);
			continue;
		}
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		LOCK_SCOPE(&server->lock);
		client = free_client(server);
		if (!client) {
			close(fd);
			continue;
		}
		client->server = server;
		client->fd = fd;
		if (pthread_create(&client->thread, NULL, client_main, client)) {
			close(fd);
			client->fd = -1;
		}
	}
}

static int bind_socket(struct rpc_server *server, struct fail *fail)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t mask;
	int error;

	strcpy(address.sun_path, server->path);
	server->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server->listen_fd < 0)
		return fail_set(fail, errno, "cannot make a socket: %s", strerror(errno));
	if (!connect(server->listen_fd, (struct sockaddr *)&address, sizeof(address))) {
		close(server->listen_fd);
		return fail_set(fail, EADDRINUSE,
			"another braidd answers on %s: stop it, or use "
			"--run-dir",
			server->path);
	}
	unlink(server->path);
	mask = umask(0117);
	error = bind(server->listen_fd, (struct sockaddr *)&address, sizeof(address)) ||
				listen(server->listen_fd, CLIENTS_MAX)
			? errno
			: 0;
	umask(mask);
	if (!error)
		return 0;
	close(server->listen_fd);
	return fail_set(fail, error, "cannot listen on %s: %s", server->path, strerror(error));
}

int rpc_server_start(
	struct rpc_server **created, struct daemon *daemon, const char *path, struct fail *fail)
{
	struct rpc_server *server = calloc(1, sizeof(*server));
	int error;

	if (!server)
		return fail_set(fail, ENOMEM, "no memory for the RPC server");
	server->daemon = daemon;
	if (strlen(path) >= sizeof(server->path)) {
		error = fail_set(fail, ENAMETOOLONG, "the socket path %s is too long", path);
		goto free_server;
	}
	strcpy(server->path, path);
	pthread_mutex_init(&server->lock, NULL);
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		server->clients[i].fd = -1;
	error = bind_socket(server, fail);
	if (error)
		goto free_server;
	if (pthread_create(&server->thread, NULL, accept_main, server)) {
		error = fail_set(fail, EAGAIN, "cannot start a thread for the RPC server");
		close(server->listen_fd);
		goto free_server;
	}
	*created = server;
	return 0;

free_server:
	free(server);
	return error;
}

void rpc_server_stop(struct rpc_server *server)
{
	shutdown(server->listen_fd, SHUT_RDWR);
	pthread_join(server->thread, NULL);
	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = &server->clients[i];
		bool running;

		{
			LOCK_SCOPE(&server->lock);
			running = client->fd >= 0 || client->finished;
			if (client->fd >= 0)
				shutdown(client->fd, SHUT_RDWR);
		}
		if (running)
			pthread_join(client->thread, NULL);
	}
	close(server->listen_fd);
	unlink(server->path);
	pthread_mutex_destroy(&server->lock);
	free(server);
}
