/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost-user front end: what QEMU does for a guest, without the guest.
 *
 *	frontend_open() = frontend_connect()        the socket
 *	                  frontend_negotiate()      features, protocol features, config space
 *	                  frontend_share()          memfd --> SET_MEM_TABLE
 *	                  frontend_track()          GET_INFLIGHT_FD, SET_INFLIGHT_FD
 *	                  frontend_start() x queues NUM, BASE, ADDR, ERR, CALL, KICK, ENABLE
 *
 * After frontend_disconnect() the same steps, but frontend_allocate() and frontend_prepare(), lead
 * back: memory, rings and what is in flight in them are kept for the next back end.
 *
 * Each step may be taken alone, in any order, and frontend_message() sends anything at all: the
 * conformance and hostile tests speak through it.
 *
 * Shared memory is one memfd, mapped here at `base` and told to the back end as guest physical
 * `guest_address`: neither 0 nor the address it is mapped at, so that a back end that mixes up the
 * three kinds of addresses is noticed. frontend_carve() hands pieces out.
 *
 * Errors: 0 or -errno with a sentence; -ETIMEDOUT the back end did not answer, -ECONNRESET it
 * closed the session, -EREMOTEIO it refused (REPLY_ACK non-zero), -EPROTO it answered nonsense.
 * A frontend belongs to one thread.
 */
#ifndef BENCH_FRONTEND_H
#define BENCH_FRONTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fail.h"
#include "benchmark/virtqueue.h"
#include "vhost/wire.h"
#include "virtio/features.h"

enum { FRONTEND_QUEUES_MAX = 64, FRONTEND_TIMEOUT_MS = 5000 };

#define FRONTEND_GUEST_ADDRESS 0x140000000ull

/* What a front end asks for when the caller has no wishes: everything it understands, in split
 * rings. */
#define FRONTEND_FEATURES                                                                          \
	(VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_BLK_F_SEG_MAX | \
		VIRTIO_BLK_F_RO | VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_FLUSH |                     \
		VIRTIO_BLK_F_TOPOLOGY | VIRTIO_BLK_F_CONFIG_WCE | VIRTIO_BLK_F_MQ |                \
		VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES | VHOST_F_PROTOCOL_FEATURES)
#define FRONTEND_PROTOCOL                                                       \
	(VHOST_PROTOCOL_MQ | VHOST_PROTOCOL_REPLY_ACK | VHOST_PROTOCOL_CONFIG | \
		VHOST_PROTOCOL_INFLIGHT_SHMFD | VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS)

struct frontend_options {
	const char *path;      /* of the back end's socket */
	uint64_t features;     /* wanted virtio features; those not offered are left out */
	uint64_t protocol;     /* wanted protocol features; likewise */
	unsigned queues;       /* 1 to FRONTEND_QUEUES_MAX */
	unsigned queue_size;   /* a power of two unless packed */
	uint64_t memory_bytes; /* for buffers; rings come on top */
	int timeout_ms;	       /* for each answer; 0: FRONTEND_TIMEOUT_MS */
	bool hugetlb;	       /* 2 MiB pages */
	bool unsealed;	       /* no F_SEAL_SHRINK, so that the file can be cut */
};

/* The memory a guest would own. */
struct frontend_memory {
	int fd; /* memfd, -1: none */
	uint8_t *base;
	uint64_t bytes;
	uint64_t guest_address;
	uint64_t carved; /* bytes handed out */
};

struct frontend {
	int socket; /* -1: not connected */
	int timeout_ms;
	uint64_t offered, features;
	uint64_t protocol_offered, protocol;
	unsigned queues_offered;	 /* GET_QUEUE_NUM, 1 without MQ */
	unsigned memory_slots;		 /* GET_MAX_MEM_SLOTS, 0 unknown */
	struct virtio_blk_config config; /* zeros where the back end has none */
	struct frontend_memory memory;
	struct vhost_inflight inflight; /* as the back end described it */
	int inflight_fd;		/* -1: none */
	unsigned queues;		/* set up so far */
	struct virtqueue queue[FRONTEND_QUEUES_MAX];
};

/* One message and what came back. flags: VHOST_NEED_REPLY, or nonsense. */
struct frontend_message {
	uint32_t request, flags;
	const void *payload;
	uint32_t payload_bytes;
	const int *fds; /* lent */
	unsigned fds_count;

	bool want_reply; /* wait for the answer and fill in what follows */
	union vhost_payload reply;
	uint32_t reply_request, reply_flags, reply_bytes;
	int reply_fd; /* the caller's to close, -1: none */
};

/* The whole way up. On failure nothing is left open. */
int frontend_open(
	struct frontend *frontend, const struct frontend_options *options, struct fail *fail);
/* Ends the session and frees everything; the queues need not be stopped. Any state after
 * frontend_init() is fine, twice too. */
void frontend_close(struct frontend *frontend);

/* Steps. frontend_init() comes first and cannot fail. */
void frontend_init(struct frontend *frontend, int timeout_ms);
int frontend_connect(struct frontend *frontend, const char *path, struct fail *fail);
int frontend_negotiate(
	struct frontend *frontend, uint64_t features, uint64_t protocol, struct fail *fail);
/* Makes and maps the memfd, sealed against shrinking and growing unless `unsealed`. */
int frontend_allocate(
	struct frontend *frontend, uint64_t bytes, bool hugetlb, bool unsealed, struct fail *fail);
/* Tells the back end of the memory: SET_MEM_TABLE. */
int frontend_share(struct frontend *frontend, struct fail *fail);
/* Has what is in flight tracked in a region for `queues` of `queue_size`: asks for one, unless
 * there is one from an earlier session, and hands it in. Nothing without INFLIGHT_SHMFD. */
int frontend_track(
	struct frontend *frontend, unsigned queues, unsigned queue_size, struct fail *fail);
/* Closes the socket and forgets the protocol features, and nothing else. */
void frontend_disconnect(struct frontend *frontend);
/* Carves memory for queue `index`, makes its eventfds; tells the back end nothing. */
int frontend_prepare(struct frontend *frontend, unsigned index, unsigned size, struct fail *fail);
/* NUM, BASE, ADDR, ERR, CALL, KICK and, with protocol features, ENABLE. */
int frontend_start(struct frontend *frontend, unsigned index, struct fail *fail);
/* What SET_VRING_ADDR says of it. */
struct vhost_vring_address frontend_ring_address(const struct frontend *frontend, unsigned index);
/* GET_VRING_BASE; base: the next available index, or both positions of a packed ring; may be
 * NULL. */
int frontend_stop(struct frontend *frontend, unsigned index, uint32_t *base, struct fail *fail);
/* The config space again, into frontend->config. */
int frontend_read_config(struct frontend *frontend, struct fail *fail);

/* Sends message and, if wanted, reads the answer. */
int frontend_message(
	struct frontend *frontend, struct frontend_message *message, struct fail *fail);
/* The same for the usual cases: a request that has u64 as its payload (NEED_REPLY is added when
 * REPLY_ACK is on, and a refusal is -EREMOTEIO), one that asks for u64, and any payload. */
int frontend_set(struct frontend *frontend, uint32_t request, uint64_t value, struct fail *fail);
int frontend_get(struct frontend *frontend, uint32_t request, uint64_t *value, struct fail *fail);
int frontend_tell(struct frontend *frontend, uint32_t request, const void *payload,
	uint32_t payload_bytes, int fd, struct fail *fail);
/* Any bytes, with any descriptors. */
int frontend_send_bytes(struct frontend *frontend, const void *bytes, size_t count, const int *fds,
	unsigned fds_count);
/* Reads the next message, whatever it is, into the reply part. */
int frontend_receive(
	struct frontend *frontend, struct frontend_message *message, struct fail *fail);
/* Waits until the back end has closed the session: 0, -ETIMEDOUT when it has not. */
int frontend_await_close(struct frontend *frontend, int timeout_ms);

/* A piece of shared memory, zeroed; NULL when none is left. alignment: a power of two. */
void *frontend_carve(struct frontend *frontend, size_t bytes, size_t alignment);
/* Guest physical address of a pointer into shared memory. */
static inline uint64_t frontend_guest(const struct frontend *frontend, const void *pointer)
{
	return frontend->memory.guest_address +
	       (uint64_t)((const uint8_t *)pointer - frontend->memory.base);
}

#endif
