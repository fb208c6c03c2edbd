/* SPDX-License-Identifier: Apache-2.0 */
#include "control/sockets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/units.h"
#include "control/rpc.h"

enum { SOCKETS_MAX = 1024 };

struct early_socket {
	char path[CONTROLLER_PATH_BYTES];
	int fd;
	struct list_node link;
};

static void open_one(struct daemon *daemon, const json_t *note)
{
	const char *name = rpc_string(note, "name", ""), *own = rpc_string(note, "socket", "");
	struct early_socket *early;
	struct fail fail;
	int length;

	if (name_check(name, "the controller", NULL))
		return;
	early = calloc(1, sizeof(*early));
	if (!early)
		return;
	length = own[0] ? snprintf(early->path, sizeof(early->path), "%s", own)
			: snprintf(early->path, sizeof(early->path), "%s/vhost/%s.sock",
				  daemon->run_dir, name);
	early->fd = length < (int)sizeof(early->path) ? controller_listen(early->path, &fail) : -1;
	if (early->fd < 0) {
		free(early);
		return;
	}
	list_push_back(&daemon->sockets, &early->link);
}

void sockets_open(struct daemon *daemon)
{
	unsigned opened = 0;
	size_t i, j;
	json_t *array, *note;

	json_array_foreach(daemon->state.arrays, i, array)
	{
		const json_t *notes = json_object_get(array, "notes");

		json_array_foreach(json_object_get(notes, "exports"), j, note)
		{
			if (opened++ < SOCKETS_MAX)
				open_one(daemon, note);
		}
	}
}

int sockets_take(struct daemon *daemon, const char *path)
{
	struct list_node *node;

	list_for_each (node, &daemon->sockets) {
		struct early_socket *early = container_of(node, struct early_socket, link);
		int fd = early->fd;

		if (strcmp(early->path, path))
			continue;
		list_remove(&early->link);
		free(early);
		return fd;
	}
	return -1;
}

void sockets_close(struct daemon *daemon)
{
	struct list_node *node;

	while ((node = list_pop_front(&daemon->sockets))) {
		struct early_socket *early = container_of(node, struct early_socket, link);

		log_info("event=SocketClosed socket=%s why=\"its array has not started\"",
			early->path);
		close(early->fd);
		unlink(early->path);
		free(early);
	}
}
