/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/shared_memory.h"

#include "base/bits.h"
#include "memory/dma.h"
#include "memory/memory.h"

/* The pages that a region touches; all lie in its mapping. */
static void *first_page(const struct guest_region *region)
{
	return (void *)((uintptr_t)region->memory & ~(uintptr_t)(MEMORY_PAGE_BYTES - 1));
}

int shared_memory_add(struct guest_memory *memory, const struct guest_region *region, int fd,
	uint64_t file_offset, struct fail *fail)
{
	int error = guest_memory_add(memory, region, fd, file_offset, fail);
	const struct guest_region *added;
	uintptr_t end;

	if (error)
		return error;
	added = &memory->regions[memory->count - 1];
	end = align_up((uintptr_t)added->memory + added->bytes, MEMORY_PAGE_BYTES);
	error = dma_register(first_page(added), end - (uintptr_t)first_page(added),
		"the memory of a guest", fail);
	if (error)
		guest_memory_remove(memory, region);
	return error;
}

int shared_memory_remove(struct guest_memory *memory, const struct guest_region *region)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *at = &memory->regions[i];

		if (at->guest_address == region->guest_address &&
			at->user_address == region->user_address && at->bytes == region->bytes)
			dma_unregister(first_page(at));
	}
	return guest_memory_remove(memory, region);
}

void shared_memory_destroy(struct guest_memory *memory)
{
	for (unsigned i = 0; i < memory->count; i++)
		dma_unregister(first_page(&memory->regions[i]));
	guest_memory_destroy(memory);
}
