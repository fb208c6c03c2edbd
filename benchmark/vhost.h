/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport of a load over vhost-user. Every slot has its header, its status byte and its chain
 * laid out once, so a request costs a few stores:
 *
 *	ring descriptor(s) of the slot --> | header | data (the slot's buffer) | status |
 *
 * One descriptor per slot through an indirect table, three without.
 */
#ifndef BENCH_VHOST_H
#define BENCH_VHOST_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "benchmark/frontend.h"
#include "benchmark/load.h"

struct vhost_slot;

struct vhost_transport {
	struct load_transport transport;
	struct frontend frontend;
	uint32_t depth, slots_count;
	uint32_t block_bytes;
	bool indirect;
	struct vhost_slot *slots; /* owned */
	uint8_t *buffers;	  /* shared memory */
	/* call and err of each queue, then the socket */
	struct pollfd polls[2 * FRONTEND_QUEUES_MAX + 1];
};

struct vhost_transport_options {
	const char *path;
	unsigned queue_size; /* 0: as large as the depth needs, at least 256 */
	bool no_event_idx, no_indirect;
	bool packed; /* rings */
	bool hugetlb;
};

/* Connects and starts the queues for spec. 0, -EINVAL when options, spec and device do not fit,
 * another -errno when there is no session. */
int vhost_transport_open(struct vhost_transport *vhost,
	const struct vhost_transport_options *options, const struct load_spec *spec,
	struct fail *fail);
void vhost_transport_close(struct vhost_transport *vhost);

#endif
