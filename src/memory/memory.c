/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/memory.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/log.h"
#include "memory/dma.h"

enum { HUGE_BYTES = 2 << 20 };

static struct arena *arenas[MEMORY_ARENAS_MAX];

static void *map_pages(size_t rounded, bool *huge)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	void *memory = mmap(
		NULL, rounded, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB | MAP_POPULATE, -1, 0);

	if (huge)
		*huge = memory != MAP_FAILED;
	if (memory != MAP_FAILED) {
		madvise(memory, rounded, MADV_DONTDUMP);
		return memory;
	}
	memory = mmap(NULL, rounded, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	madvise(memory, rounded, MADV_HUGEPAGE);
	/* Guest data passes through here: keep it out of core dumps. */
	madvise(memory, rounded, MADV_DONTDUMP);
	return memory;
}

void *memory_map(size_t bytes, bool *huge)
{
	size_t rounded = align_up(bytes, HUGE_BYTES);
	void *memory = map_pages(rounded, huge);
	struct fail fail = {0};

	if (memory && dma_register(memory, rounded, "I/O memory", &fail))
		log_warning(
			"event=memory.dma reason=\"%s\" effect=\"drives reach it through copies\"",
			fail.text);
	return memory;
}

void memory_unmap(void *memory, size_t bytes)
{
	dma_unregister(memory);
	munmap(memory, align_up(bytes, HUGE_BYTES));
}

int memory_start(unsigned reactors, size_t bytes, struct fail *fail)
{
	assert(reactors <= MEMORY_ARENAS_MAX);
	for (unsigned i = 0; i < reactors; i++) {
		int error = 0;

		assert(!arenas[i]);
		arenas[i] = arena_create(bytes);
		if (!arenas[i])
			error = fail_set(fail, ENOMEM,
				"no memory for %zu MiB of I/O buffers on each of %u cores: give "
				"fewer "
				"cores, or less with --buffers",
				bytes >> 20, reactors);
		else
			error = dma_register(arena_base(arenas[i]), arena_bytes(arenas[i]),
				"the I/O buffers", fail);
		if (error) {
			memory_stop();
			return error;
		}
	}
	return 0;
}

void memory_stop(void)
{
	for (unsigned i = 0; i < MEMORY_ARENAS_MAX; i++) {
		if (arenas[i]) {
			dma_unregister(arena_base(arenas[i]));
			arena_destroy(arenas[i]);
		}
		arenas[i] = NULL;
	}
}

struct arena *memory_arena(unsigned reactor_index)
{
	assert(reactor_index < MEMORY_ARENAS_MAX && arenas[reactor_index]);
	return arenas[reactor_index];
}

void memory_swap(struct memory_set *set)
{
	for (unsigned i = 0; i < MEMORY_ARENAS_MAX; i++) {
		struct arena *arena = arenas[i];

		arenas[i] = set->arenas[i];
		set->arenas[i] = arena;
	}
}
