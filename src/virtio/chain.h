/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a driver asks for in one go: the chain of buffers behind one or more descriptors, turned
 * from guest addresses into pointers. Split and packed virtqueues make the same chains.
 *
 * chain_begin(), then chain_add() per buffer in the driver's order, then chain_end().
 */
#ifndef VIRTIO_CHAIN_H
#define VIRTIO_CHAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/fail.h"
#include "virtio/guest_memory.h"

/* seg_max of the block device, and room for a header and a status cut into pieces. */
enum { CHAIN_SEGMENTS_MAX = 192 };

/* The parts of a request, readable ones first. */
struct virtq_chain {
	uint16_t head;		    /* split: the first descriptor; packed: the buffer's id */
	uint16_t slots;		    /* packed: descriptors of the ring that it takes */
	uint16_t entry, last_entry; /* packed: of the inflight area, while one is kept */
	bool malformed;		    /* a readable part behind a writable one */
	uint32_t readable_bytes, writable_bytes;
	unsigned readable, writable; /* segments; the writable ones begin at iov[readable] */
	struct iovec iov[CHAIN_SEGMENTS_MAX];
};

static inline void chain_begin(struct virtq_chain *chain)
{
	chain->malformed = false;
	chain->readable = chain->writable = 0;
	chain->readable_bytes = chain->writable_bytes = 0;
}

/* A buffer, as its descriptor says. */
struct chain_buffer {
	uint64_t address;
	uint32_t bytes;
	bool writable;
};

/* Adds a buffer, which may lie across regions of guest memory. 0, or -errno with a sentence. */
int chain_add(struct virtq_chain *chain, const struct guest_memory *memory,
	struct chain_buffer buffer, struct fail *fail);

/* All buffers have been added: puts the segments into their order. */
void chain_end(struct virtq_chain *chain);

/* Finds the table of descriptors, each of 16 bytes, that an indirect one refers to. 2.7.5.3, 2.8.7.
 * 0, or -errno with a sentence. */
int chain_find_table(const void **table, const struct guest_memory *memory, uint64_t address,
	uint32_t bytes, struct fail *fail);

/* One fetch of a descriptor of either layout, which the driver may change at any time. */
static inline void chain_fetch_descriptor(const void *from, void *copy)
{
	const uint64_t *words = from;

	((uint64_t *)copy)[0] = __atomic_load_n(&words[0], __ATOMIC_RELAXED);
	((uint64_t *)copy)[1] = __atomic_load_n(&words[1], __ATOMIC_RELAXED);
}

#endif
