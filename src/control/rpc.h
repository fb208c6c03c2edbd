/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON-RPC 2.0 on a Unix stream socket, one JSON object per line in each direction.
 * https://www.jsonrpc.org/specification
 *
 * A method is a row of the table in methods.c: a name, a handler, its parameters. Parameters are
 * checked against the row before the handler runs: unknown keys, missing ones and wrong types are
 * refused with a sentence. Errors carry code -32000, the sentence, and data.errno.
 */
#ifndef CONTROL_RPC_H
#define CONTROL_RPC_H

#include <jansson.h>
#include <stdbool.h>

#include "base/fail.h"

struct daemon;

enum rpc_type { RPC_STRING, RPC_INTEGER, RPC_BOOLEAN, RPC_STRINGS, RPC_OBJECTS };

struct rpc_param {
	const char *name;
	enum rpc_type type;
	bool required;
	const char *text;
};

enum { RPC_PARAMS_MAX = 16 };

struct rpc_method {
	const char *name;
	/* Fills *result with a new reference. 0 or -errno. The daemon's lock is held; one that
	 * waits for a drive lets go of it meanwhile. */
	int (*handle)(
		struct daemon *daemon, const json_t *params, json_t **result, struct fail *fail);
	const char *text;
	struct rpc_param params[RPC_PARAMS_MAX]; /* the first without a name ends them */
};

const struct rpc_method *rpc_methods(size_t *count);

struct rpc_server;
int rpc_server_start(
	struct rpc_server **server, struct daemon *daemon, const char *path, struct fail *fail);
/* Ends all connections. */
void rpc_server_stop(struct rpc_server *server);

/* A parameter's value, or what is used when it is absent. */
const char *rpc_string(const json_t *params, const char *name, const char *absent);
int64_t rpc_integer(const json_t *params, const char *name, int64_t absent);
bool rpc_boolean(const json_t *params, const char *name);

#endif
