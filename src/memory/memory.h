/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for I/O. Mappings come from huge pages when there are any. Each reactor has one arena,
 * reserved at start: every buffer that an operation needs while it runs is taken from the arena of
 * the reactor that runs it, so nothing is allocated per I/O. All of it is registered for DMA
 * (memory/dma.h), so that drives reach it.
 */
#ifndef MEMORY_MEMORY_H
#define MEMORY_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/fail.h"

enum { MEMORY_PAGE_BYTES = 4096, MEMORY_ARENAS_MAX = 64 };

/* Anonymous zeroed memory for I/O, at least page-aligned, and registered for DMA as far as drives
 * can map it; NULL when there is none. *huge (may be NULL): whether it is in reserved huge pages.
 * bytes is rounded up to what the mapping needs; pass the same number to memory_unmap(). */
void *memory_map(size_t bytes, bool *huge);
void memory_unmap(void *memory, size_t bytes);

/*
 * An arena: blocks of power-of-two sizes cut from one mapping (a buddy system). What was freed last
 * is handed out first, so buffers stay warm in the cache. One thread.
 */
struct arena;

/* bytes: rounded up to a power of two. */
struct arena *arena_create(size_t bytes);
void arena_destroy(struct arena *arena);
/* At least `bytes` (1 or more), aligned to its own rounded size up to a page at least; NULL when
 * nothing that large is free. */
void *arena_alloc(struct arena *arena, size_t bytes);
void arena_free(struct arena *arena, void *block);
/* The largest block that arena_alloc() can ever give. */
size_t arena_bytes(const struct arena *arena);
void *arena_base(const struct arena *arena);
size_t arena_free_bytes(const struct arena *arena);

/* The arenas of reactors 0 to reactors-1. Control thread, before and after the reactors run. */
int memory_start(unsigned reactors, size_t arena_bytes, struct fail *fail);
void memory_stop(void);
/* The arena of a reactor; to be used on that reactor only. */
struct arena *memory_arena(unsigned reactor_index);

/* Exchanges the arenas of all reactors for those of the set, and keeps them there: for a simulation
 * that runs one engine while another is paused. An empty set is one of NULLs. */
struct memory_set {
	struct arena *arenas[MEMORY_ARENAS_MAX];
};
void memory_swap(struct memory_set *set);

#endif
