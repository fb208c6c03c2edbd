/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One front end's connection: the vhost-user protocol as a table of messages. QEMU's
 * docs/interop/vhost-user.rst; numbers in comments are those of VHOST.md.
 *
 * A ring runs when it has been started by SET_VRING_KICK, is enabled, and its addresses lie in the
 * guest's memory. Messages change that; ring_apply() then starts what has all it needs.
 *
 * Belongs to the controller's thread.
 */
#ifndef VHOST_SESSION_H
#define VHOST_SESSION_H

#include <pthread.h>

#include "vhost/controller.h"
#include "vhost/queue.h"
#include "vhost/wire.h"

struct session_ring {
	struct queue queue;
	bool started, enabled;
	bool addressed; /* SET_VRING_ADDR has come */
	struct vhost_vring_address address;
	uint32_t base;	 /* as virtq_base() says it */
	bool base_known; /* it has run here: the base is where it stopped, or what came since */
};

struct session {
	const struct controller_config *config;
	struct reactor_group *group;
	int fd;
	int backend_fd; /* for requests to the front end; -1: none */
	struct queue_device device;
	uint64_t protocol_features;
	bool made_region;     /* here; otherwise the front end has one from an earlier session */
	bool untracked;	      /* a ring has started without an inflight region, and that was said */
	pthread_mutex_t lock; /* rings against controller_status() */
	struct session_ring rings[CONTROLLER_QUEUES_MAX];
};

/* Takes fd in every case. */
int session_create(struct session **session, const struct controller_config *config,
	struct reactor_group *group, int fd, struct fail *fail);
/* Drains and unmaps. */
void session_destroy(struct session *session);

/* Reads one message and carries it out. 0; -ECONNRESET: the front end has gone; another -errno with
 * a sentence: it broke the protocol, and the session is to end. */
int session_message(struct session *session, struct fail *fail);

void session_status(struct session *session, struct controller_status *status);

#endif
