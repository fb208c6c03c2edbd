/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of this process that devices may reach, and where they find it.
 *
 *	arenas, guest memory, queues --- dma_register() --+--> table: address -> device address
 *	                                                  |        ^ dma_find(), any thread, no lock
 *	                                                  +--> listeners (VFIO containers) map it
 *
 * A region has one device address (iova) for all devices, within what every listener can map and
 * congruent to its address modulo its largest page, so that an IOMMU uses large pages. While nobody
 * listens a region costs one row of a table, and pins nothing.
 *
 * Whoever unregisters has waited for the last DMA. A row is used only by those whose io lies in it,
 * so it stays while they look.
 */
#ifndef MEMORY_DMA_H
#define MEMORY_DMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/fail.h"
#include "base/list.h"

enum { DMA_REGIONS_MAX = 4096, DMA_RANGES_MAX = 32 };

struct dma_range {
	uint64_t first, last; /* both included */
};

/* Somebody who maps what is registered. Fields are set before dma_listen(). The functions run
 * under the registry's lock. */
struct dma_listener {
	/* 0 or -errno with a sentence: what failed, and the cure; `what` names the region */
	int (*map)(struct dma_listener *listener, const struct iovec *memory, uint64_t iova,
		const char *what, struct fail *fail);
	void (*unmap)(struct dma_listener *listener, uint64_t iova, size_t bytes);
	struct dma_range ranges[DMA_RANGES_MAX]; /* device addresses that can be mapped */
	unsigned range_count;
	struct list_node link;
};

/* Control threads. address and bytes: multiples of a page; not registered yet, or all of it in one
 * region, whereupon nothing is done. `what` is for people
 * ("the I/O buffers", "memory of guest ...") and is copied. All or nothing. */
int dma_register(void *address, size_t bytes, const char *what, struct fail *fail);
/* Nothing when it is not registered. */
void dma_unregister(void *address);

/* Maps all that is registered, now and from now on. All or nothing. */
int dma_listen(struct dma_listener *listener, struct fail *fail);
/* unmap: takes away all mappings; false: they go with the listener. */
void dma_ignore(struct dma_listener *listener, bool unmap);

/* Another choice from now on; what is mapped stays. */
void dma_set_ranges(struct dma_listener *listener, const struct dma_range *ranges, unsigned count);

/* What was found last; belongs to one thread, zero at first. */
struct dma_cache {
	uint64_t generation; /* of the table, plus 1 */
	uintptr_t start;
	size_t bytes;
	uint64_t iova;
};

extern uint64_t dma_generation; /* odd while the table changes */

bool dma_find_slowly(struct dma_cache *cache, uintptr_t address);

/* How many of the `bytes` bytes at address lie together in one region, and where a device finds
 * them; 0: address is in none. Any thread. */
static inline size_t dma_find(
	struct dma_cache *cache, const void *memory, size_t bytes, uint64_t *iova)
{
	uintptr_t address = (uintptr_t)memory;
	/* Acquire: the row that this generation published is seen whole. */
	uint64_t generation = __atomic_load_n(&dma_generation, __ATOMIC_ACQUIRE);
	size_t left;

	if (cache->generation != generation + 1 || address - cache->start >= cache->bytes)
		if (!dma_find_slowly(cache, address))
			return 0;
	*iova = cache->iova + (address - cache->start);
	left = cache->bytes - (address - cache->start);
	return bytes < left ? bytes : left;
}

#endif
