/* SPDX-License-Identifier: Apache-2.0 */
/* JSON-RPC 2.0 to braidd over its Unix socket, one JSON object per line in each direction. */
#ifndef CLI_RPC_CLIENT_H
#define CLI_RPC_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/fail.h"

enum { RPC_PATH_BYTES = 108 };

struct rpc_client {
	char path[RPC_PATH_BYTES];
	int fd; /* -1: not connected yet; the first call connects */
	double timeout_s;
	bool verbose; /* lines go to stderr too */
	int last_id;
	char *buffer; /* what came after the last answer */
	size_t used;
};

/* path: the socket, or the directory that holds rpc.sock; NULL: $BRAID_SOCKET, or the default. */
int rpc_client_init(struct rpc_client *client, const char *path, struct fail *fail);
void rpc_client_close(struct rpc_client *client);

/* Takes params (NULL: none); fills *result with a new reference. The daemon's error comes back as
 * its errno and sentence; ENOTCONN: no daemon; ETIMEDOUT: no answer in time. */
int rpc_client_call(struct rpc_client *client, const char *method, json_t *params, json_t **result,
	struct fail *fail);

/* The request as it goes over the wire, without the newline. Takes params. To be freed. */
char *rpc_request_text(int id, const char *method, json_t *params);

#endif
