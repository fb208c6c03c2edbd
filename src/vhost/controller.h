/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A controller: one volume exported as a vhost-user-blk disk on a Unix socket, served by a set of
 * reactors.
 *
 * Each controller has a thread that listens, takes one front end at a time and carries out its
 * messages, top to bottom. Virtqueues are spread over the controller's reactors in turn.
 *
 * Control thread, under the control lock.
 */
#ifndef VHOST_CONTROLLER_H
#define VHOST_CONTROLLER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cpumask.h"
#include "base/fail.h"
#include "block/blockdev.h"

struct reactor_group;
struct controller;

enum { CONTROLLER_NAME_BYTES = 64, CONTROLLER_PATH_BYTES = 108, CONTROLLER_QUEUES_MAX = 64 };

struct controller_config {
	char name[CONTROLLER_NAME_BYTES];
	char path[CONTROLLER_PATH_BYTES];   /* of the socket */
	char serial[CONTROLLER_NAME_BYTES]; /* what GET_ID answers, cut to 20 bytes */
	struct blockdev *dev;
	bool read_only;
	bool holds;	      /* the guest waits while the array is broken, and gets no errors */
	struct cpumask cores; /* each has a reactor */
};

struct controller_status {
	bool connected;
	bool inflight; /* the front end keeps what is in flight: it survives a restart of braidd */
	unsigned queues; /* running */
	uint64_t requests, notifications, errors;
	uint64_t held;	   /* requests that wait until the array is not broken any more */
	uint64_t sessions; /* since the controller was made */
	uint64_t features;
	size_t queue_bytes;	       /* memory of one running queue of the largest size */
	char trouble[FAIL_TEXT_BYTES]; /* why the last session or a queue ended, "" if none did */
};

/* Binds a socket and listens: front ends may connect, and wait. A stale socket in the way is
 * removed, anything else and a live one is refused. The descriptor, or -errno with a sentence. */
int controller_listen(const char *path, struct fail *fail);

/* Serves config->path, listening first; on listen_fd if that listens there already (-1: no), which
 * it takes over in any case. */
int controller_create(struct controller **controller, const struct controller_config *config,
	struct reactor_group *group, int listen_fd, struct fail *fail);
/* Ends the session, drains, removes the socket. */
void controller_destroy(struct controller *controller);

const struct controller_config *controller_config(const struct controller *controller);
void controller_status(struct controller *controller, struct controller_status *status);

#endif
