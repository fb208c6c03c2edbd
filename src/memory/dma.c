/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table is sorted by address. Writers hold the lock, and make the generation odd while they
 * change rows; a reader that saw an odd or another generation looks again (a sequence lock). Rows
 * are read and written with relaxed atomics: a torn look is thrown away.
 */
#include "memory/dma.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "memory/memory.h"

enum { WHAT_BYTES = 64 };

/* Below lie the windows that PCs reserve (interrupts at 0xfee00000, holes for PCI); above, without
 * a listener that knows better, the narrowest IOMMU in use ends: 39 bits. */
static const uint64_t IOVA_FIRST = 1ull << 32, IOVA_LAST = (1ull << 39) - 1;

struct row {
	uintptr_t start;
	size_t bytes;
	uint64_t iova;
};

static struct row rows[DMA_REGIONS_MAX];
static char whats[DMA_REGIONS_MAX][WHAT_BYTES]; /* beside rows; under the lock only */
static unsigned row_count;
static struct list listeners = {{&listeners.head, &listeners.head}};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
uint64_t dma_generation;

/* --- readers --------------------------------------------------------------------------------- */

static bool search(struct row *found, uintptr_t address)
{
	unsigned low = 0, high = __atomic_load_n(&row_count, __ATOMIC_RELAXED);

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		found->start = __atomic_load_n(&rows[middle].start, __ATOMIC_RELAXED);
		found->bytes = __atomic_load_n(&rows[middle].bytes, __ATOMIC_RELAXED);
		found->iova = __atomic_load_n(&rows[middle].iova, __ATOMIC_RELAXED);
		if (address < found->start)
			high = middle;
		else if (address - found->start >= found->bytes)
			low = middle + 1;
		else
			return true;
	}
	return false;
}

bool dma_find_slowly(struct dma_cache *cache, uintptr_t address)
{
	uint64_t before, after;
	struct row row;
	bool found;

	do {
		before = __atomic_load_n(&dma_generation, __ATOMIC_ACQUIRE);
		found = search(&row, address);
		/* The rows were read before the generation is read again. */
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		after = __atomic_load_n(&dma_generation, __ATOMIC_RELAXED);
	} while (before != after || before & 1);
	if (found)
		*cache = (struct dma_cache){.generation = before + 1,
			.start = row.start,
			.bytes = row.bytes,
			.iova = row.iova};
	return found;
}

/* --- writers, under the lock ----------------------------------------------------------------- */

static void change_begin(void)
{
	__atomic_store_n(&dma_generation, dma_generation + 1, __ATOMIC_RELAXED);
	/* The odd generation is visible before any row changes. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void change_end(void)
{
	__atomic_store_n(&dma_generation, dma_generation + 1, __ATOMIC_RELEASE);
}

static void set_row(unsigned index, struct row row)
{
	__atomic_store_n(&rows[index].start, row.start, __ATOMIC_RELAXED);
	__atomic_store_n(&rows[index].bytes, row.bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&rows[index].iova, row.iova, __ATOMIC_RELAXED);
}

static void insert(unsigned index, struct row row, const char *what)
{
	change_begin();
	for (unsigned i = row_count; i > index; i--) {
		set_row(i, rows[i - 1]);
		memcpy(whats[i], whats[i - 1], WHAT_BYTES);
	}
	set_row(index, row);
	__atomic_store_n(&row_count, row_count + 1, __ATOMIC_RELAXED);
	change_end();
	snprintf(whats[index], WHAT_BYTES, "%s", what);
}

static void take_out(unsigned index)
{
	change_begin();
	__atomic_store_n(&row_count, row_count - 1, __ATOMIC_RELAXED);
	for (unsigned i = index; i < row_count; i++) {
		set_row(i, rows[i + 1]);
		memcpy(whats[i], whats[i + 1], WHAT_BYTES);
	}
	change_end();
}

/* The first row at or behind address. */
static unsigned row_at(uintptr_t address)
{
	unsigned index = 0;

	while (index < row_count && rows[index].start < address)
		index++;
	return index;
}

/* --- device addresses ------------------------------------------------------------------------ */

/* Where a region that may not begin at `at` because of `range` could begin, if it may at all. */
static uint64_t behind_ranges(const struct dma_listener *listener, uint64_t at, size_t bytes)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < listener->range_count; i++) {
		const struct dma_range *range = &listener->ranges[i];
		uint64_t first = MAX(at, range->first);

		if (first <= range->last && range->last - first >= bytes - 1)
			next = MIN(next, first);
	}
	return next;
}

static bool mappable(const struct dma_listener *listener, uint64_t iova, size_t bytes)
{
	return behind_ranges(listener, iova, bytes) == iova;
}

/* The lowest address at or behind `at` that no row and no listener forbids; UINT64_MAX: none. One
 * pass; the caller repeats it until nothing moves. */
static uint64_t push_on(uint64_t at, size_t bytes)
{
	struct list_node *node;

	if (list_empty(&listeners) && (at > IOVA_LAST || IOVA_LAST - at < bytes - 1))
		return UINT64_MAX;
	list_for_each (node, &listeners) {
		at = behind_ranges(container_of(node, struct dma_listener, link), at, bytes);
		if (at == UINT64_MAX)
			return at;
	}
	for (unsigned i = 0; i < row_count; i++)
		if (at < rows[i].iova + rows[i].bytes &&
			(at >= rows[i].iova || rows[i].iova - at < bytes))
			at = rows[i].iova + rows[i].bytes;
	return at;
}

/* A free device address congruent to `start` modulo the largest page that the region may be made
 * of. UINT64_MAX: there is none. */
static uint64_t choose_iova(uintptr_t start, size_t bytes)
{
	uint64_t unit = bytes >= 1u << 30   ? 1u << 30
			: bytes >= 2u << 20 ? 2u << 20
					    : MEMORY_PAGE_BYTES;
	uint64_t at = IOVA_FIRST, before;

	do {
		before = at;
		at = push_on(at, bytes);
		if (at > UINT64_MAX - 2 * unit)
			return UINT64_MAX;
		at += (start - at) & (unit - 1);
	} while (at != before);
	return at;
}

/* --- the face -------------------------------------------------------------------------------- */

static int map_all(struct row row, const char *what, struct fail *fail)
{
	struct iovec memory = {(void *)row.start, row.bytes};
	struct list_node *node, *undo;
	int error;

	list_for_each (node, &listeners) {
		struct dma_listener *listener = container_of(node, struct dma_listener, link);

		error = listener->map(listener, &memory, row.iova, what, fail);
		if (error)
			goto unmap;
	}
	return 0;

unmap:
	for (undo = listeners.head.next; undo != node; undo = undo->next) {
		struct dma_listener *listener = container_of(undo, struct dma_listener, link);

		listener->unmap(listener, row.iova, row.bytes);
	}
	return error;
}

/* Whether a row, the one at index or the one before it, has all of it. */
static bool is_covered(unsigned index, struct row row)
{
	if (index < row_count && rows[index].start == row.start)
		return rows[index].bytes >= row.bytes;
	return index && row.start - rows[index - 1].start < rows[index - 1].bytes &&
	       row.bytes <= rows[index - 1].bytes - (row.start - rows[index - 1].start);
}

int dma_register(void *address, size_t bytes, const char *what, struct fail *fail)
{
	struct row row = {.start = (uintptr_t)address, .bytes = bytes};
	LOCK_SCOPE(&lock);
	unsigned index = row_at(row.start);
	int error;

	assert(bytes && row.start % MEMORY_PAGE_BYTES == 0 && bytes % MEMORY_PAGE_BYTES == 0);
	if (is_covered(index, row))
		return 0;
	assert(index == row_count || rows[index].start - row.start >= bytes);
	assert(!index || row.start - rows[index - 1].start >= rows[index - 1].bytes);
	if (row_count == DMA_REGIONS_MAX)
		return fail_set(fail, ENOSPC,
			"%s cannot be reached by drives: there are more than %d regions of memory",
			what, DMA_REGIONS_MAX);
	row.iova = choose_iova(row.start, bytes);
	if (row.iova == UINT64_MAX)
		return fail_set(fail, ENOSPC,
			"%s (%zu MiB) cannot be reached by drives: the IOMMU has no room left for "
			"it in its address space; serve fewer or smaller guests with this daemon",
			what, bytes >> 20);
	error = map_all(row, what, fail);
	if (!error)
		insert(index, row, what);
	return error;
}

void dma_unregister(void *address)
{
	LOCK_SCOPE(&lock);
	unsigned index = row_at((uintptr_t)address);
	struct list_node *node;
	struct row row;

	if (index == row_count || rows[index].start != (uintptr_t)address)
		return;
	row = rows[index];
	take_out(index);
	list_for_each (node, &listeners) {
		struct dma_listener *listener = container_of(node, struct dma_listener, link);

		listener->unmap(listener, row.iova, row.bytes);
	}
}

int dma_listen(struct dma_listener *listener, struct fail *fail)
{
	LOCK_SCOPE(&lock);
	unsigned mapped = 0;
	int error = 0;

	assert(listener->range_count);
	for (; mapped < row_count && !error; mapped++) {
		const struct row *row = &rows[mapped];
		struct iovec memory = {(void *)row->start, row->bytes};

		error = mappable(listener, row->iova, row->bytes)
				? listener->map(listener, &memory, row->iova, whats[mapped], fail)
				: fail_set(fail, ERANGE,
					  "the IOMMU of this drive cannot map device address "
					  "%#llx, "
					  "which other drives use already for %s: attach this "
					  "drive "
					  "first, before guests connect",
					  (unsigned long long)row->iova, whats[mapped]);
	}
	if (!error) {
		list_push_back(&listeners, &listener->link);
		return 0;
	}
	for (mapped--; mapped--;)
		listener->unmap(listener, rows[mapped].iova, rows[mapped].bytes);
	return error;
}

void dma_ignore(struct dma_listener *listener, bool unmap)
{
	LOCK_SCOPE(&lock);

	list_remove(&listener->link);
	for (unsigned i = 0; unmap && i < row_count; i++)
		listener->unmap(listener, rows[i].iova, rows[i].bytes);
}

void dma_set_ranges(struct dma_listener *listener, const struct dma_range *ranges, unsigned count)
{
	LOCK_SCOPE(&lock);

	assert(count && count <= DMA_RANGES_MAX);
	memcpy(listener->ranges, ranges, count * sizeof(*ranges));
	listener->range_count = count;
}
