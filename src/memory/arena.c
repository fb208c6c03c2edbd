/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A buddy system with a warm end.
 *
 * The arena is 2^n units of one page. A block of order o is 2^o units, aligned to its size. Freed
 * blocks first go, unmerged, to a short stack per order, from where the next request of that order
 * takes them; only when a request finds nothing are the stacks emptied into the buddy lists, where
 * free neighbours merge.
 *
 * units[u].state of a block's first unit: its order while free, FREE_NOT otherwise; the order of a
 * block in use is kept beside it. Book-keeping lies outside the blocks: it must not cool them.
 */
#include "memory/memory.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/list.h"

enum { ORDERS_MAX = 24, WARM_MAX = 16, FREE_NOT = 0xff };

struct unit {
	struct list_node link; /* in free[order] */
	uint8_t state;	       /* order of the free block that begins here, or FREE_NOT */
	uint8_t order;	       /* of the block in use that begins here */
};

struct arena {
	char *base;
	unsigned orders; /* the whole arena is one block of order orders-1 */
	size_t free_bytes;
	struct list free[ORDERS_MAX];
	struct {
		uint32_t units[WARM_MAX];
		unsigned count;
	} warm[ORDERS_MAX];
	struct unit units[];
};

static unsigned order_of(size_t bytes)
{
	unsigned order = 0;

	while ((size_t)MEMORY_PAGE_BYTES << order < bytes)
		order++;
	return order;
}

struct arena *arena_create(size_t bytes)
{
	unsigned top = order_of(bytes);
	size_t units = (size_t)1 << top;
	struct arena *arena = calloc(1, sizeof(*arena) + units * sizeof(arena->units[0]));

	if (!arena || top >= ORDERS_MAX)
		goto free_arena;
	arena->base = memory_map(units * MEMORY_PAGE_BYTES, NULL);
	if (!arena->base)
		goto free_arena;
	arena->orders = top + 1;
	arena->free_bytes = units * MEMORY_PAGE_BYTES;
	for (unsigned order = 0; order < ORDERS_MAX; order++)
		list_init(&arena->free[order]);
	for (size_t u = 0; u < units; u++)
		arena->units[u].state = FREE_NOT;
	arena->units[0].state = (uint8_t)top;
	list_push_front(&arena->free[top], &arena->units[0].link);
	return arena;

free_arena:
	free(arena);
	return NULL;
}

void arena_destroy(struct arena *arena)
{
	memory_unmap(arena->base, arena_bytes(arena));
	free(arena);
}

size_t arena_bytes(const struct arena *arena)
{
	return (size_t)MEMORY_PAGE_BYTES << (arena->orders - 1);
}

void *arena_base(const struct arena *arena)
{
	return arena->base;
}

size_t arena_free_bytes(const struct arena *arena)
{
	return arena->free_bytes;
}

static void put_free(struct arena *arena, uint32_t unit, unsigned order)
{
	arena->units[unit].state = (uint8_t)order;
	list_push_front(&arena->free[order], &arena->units[unit].link);
}

static void take_free(struct arena *arena, uint32_t unit)
{
	list_remove(&arena->units[unit].link);
	arena->units[unit].state = FREE_NOT;
}

/* Gives a block back to the buddy lists, merged with its free neighbours. */
static void merge(struct arena *arena, uint32_t unit, unsigned order)
{
	for (; order + 1 < arena->orders; order++) {
		uint32_t buddy = unit ^ (1u << order);

		if (arena->units[buddy].state != order)
			break;
		take_free(arena, buddy);
		unit &= ~(1u << order);
	}
	put_free(arena, unit, order);
}

static void merge_warm(struct arena *arena)
{
	for (unsigned order = 0; order < arena->orders; order++)
		while (arena->warm[order].count)
			merge(arena, arena->warm[order].units[--arena->warm[order].count], order);
}

/* A block of exactly that order out of the buddy lists, larger ones being split; -1: none. */
static int64_t split_for(struct arena *arena, unsigned order)
{
	unsigned from = order;
	uint32_t unit;

	while (from < arena->orders && list_empty(&arena->free[from]))
		from++;
	if (from >= arena->orders)
		return -1;
	unit = (uint32_t)(container_of(list_first(&arena->free[from]), struct unit, link) -
			  arena->units);
	take_free(arena, unit);
	while (from-- > order)
		put_free(arena, unit + (1u << from), from);
	return unit;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
	unsigned order = order_of(bytes);
	int64_t unit;

	assert(bytes);
	if (order >= arena->orders)
		return NULL;
	if (arena->warm[order].count) {
		unit = arena->warm[order].units[--arena->warm[order].count];
	} else {
		unit = split_for(arena, order);
		if (unit < 0 && arena->free_bytes >= (size_t)MEMORY_PAGE_BYTES << order) {
			merge_warm(arena);
			unit = split_for(arena, order);
		}
		if (unit < 0)
			return NULL;
	}
	arena->units[unit].order = (uint8_t)order;
	arena->free_bytes -= (size_t)MEMORY_PAGE_BYTES << order;
	return arena->base + (size_t)unit * MEMORY_PAGE_BYTES;
}

void arena_free(struct arena *arena, void *block)
{
	size_t offset = (size_t)((char *)block - arena->base);
	uint32_t unit = (uint32_t)(offset / MEMORY_PAGE_BYTES);
	unsigned order;

	assert(offset < arena_bytes(arena) && offset % MEMORY_PAGE_BYTES == 0);
	order = arena->units[unit].order;
	arena->free_bytes += (size_t)MEMORY_PAGE_BYTES << order;
	if (arena->warm[order].count < WARM_MAX)
		arena->warm[order].units[arena->warm[order].count++] = unit;
	else
		merge(arena, unit, order);
}
