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

/* --- rings: vhost/session_ring.c, controller's thread ---------------------------------------- */

/* What to tell those whose guest's memory is not there. */
#define CURE_SHARED_MEMORY                                                       \
	"start QEMU with -object memory-backend-memfd,id=mem,size=...,share=on " \
	"-numa node,memdev=mem, and see braid vhost args"

static inline bool session_is_packed(const struct session *session)
{
	return session->device.features & VIRTIO_F_RING_PACKED;
}

/* Finds the ring in the guest's memory. */
int ring_map(struct session *session, struct session_ring *ring, struct fail *fail);
/* Starts a ring that has all it needs and does not run, with what the front end has kept of it. */
int ring_apply(struct session *session, struct session_ring *ring, struct fail *fail);
int ring_apply_all(struct session *session, struct fail *fail);
/* Stops a ring that runs; its base is then where it goes on. */
void ring_stop(struct session_ring *ring);
void ring_stop_all(struct session *session);

#endif
