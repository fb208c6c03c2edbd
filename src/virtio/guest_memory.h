/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory that a guest shares with us: file-backed regions, mapped into this process.
 *
 * A table is immutable while rings use it; to change it, the rings are drained first. Guest memory
 * is hostile: whoever reads it copies once and checks the copy. A file that is cut short under its
 * mapping would end the process with SIGBUS: guest_memory_guard() turns that into a region of
 * zeros and a mark on the table.
 */
#ifndef VIRTIO_GUEST_MEMORY_H
#define VIRTIO_GUEST_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fail.h"

enum { GUEST_REGIONS_MAX = 256 };

struct guest_region {
	uint64_t guest_address; /* guest physical */
	uint64_t user_address;	/* in the front end's address space */
	uint64_t bytes;
	char *memory;  /* here */
	void *mapping; /* what munmap() takes */
	size_t mapped_bytes;
};

struct guest_memory {
	unsigned count;
	atomic_bool cut; /* a region's file was cut short: nothing in it can be trusted */
	struct guest_region regions[GUEST_REGIONS_MAX];
};

struct guest_memory *guest_memory_create(void);
/* Unmaps everything. */
void guest_memory_destroy(struct guest_memory *memory);

/* Maps bytes of fd from file_offset; takes fd in every case. 0 or -errno with a sentence. */
int guest_memory_add(struct guest_memory *memory, const struct guest_region *region, int fd,
	uint64_t file_offset, struct fail *fail);
/* Takes away the region of exactly these addresses and bytes; -ENOENT when there is none. */
int guest_memory_remove(struct guest_memory *memory, const struct guest_region *region);

/* Where a guest address lies here, and for how many bytes (at most `bytes`) from there on it is
 * contiguous; NULL when it is not in any region. Any thread. */
void *guest_memory_find(const struct guest_memory *memory, uint64_t guest_address, uint64_t bytes,
	uint64_t *contiguous);
/* Where [user_address, +bytes) lies here; NULL unless it is wholly in one region. */
void *guest_memory_find_user(
	const struct guest_memory *memory, uint64_t user_address, uint64_t bytes);

/* Installs the SIGBUS handler. Once per process, before any thread. */
void guest_memory_guard(void);

#endif
