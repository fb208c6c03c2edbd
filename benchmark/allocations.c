/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmark/allocations.h"

#include <errno.h>
#include <stdlib.h>

static _Thread_local struct {
	bool counting;
	struct allocations seen;
} tally;

void allocations_begin(void)
{
	tally.seen = (struct allocations){0};
	tally.counting = true;
}

struct allocations allocations_end(void)
{
	tally.counting = false;
	return tally.seen;
}

bool allocations_work(void)
{
	struct allocations seen;
	void *volatile block; /* so that the compiler cannot leave the pair out */

	allocations_begin();
	block = malloc(1);
	free(block);
	seen = allocations_end();
	return seen.allocated == 1 && seen.freed == 1;
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

/* glibc's own names of what is defined below. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *block);

static void count_allocation(void)
{
	tally.seen.allocated += tally.counting;
}

void *malloc(size_t bytes)
{
	count_allocation();
	return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
	count_allocation();
	return __libc_calloc(count, bytes);
}

void *realloc(void *block, size_t bytes)
{
	count_allocation();
	return __libc_realloc(block, bytes);
}

void *memalign(size_t alignment, size_t bytes);
void *memalign(size_t alignment, size_t bytes)
{
	count_allocation();
	return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
	return memalign(alignment, bytes);
}

int posix_memalign(void **block, size_t alignment, size_t bytes)
{
	void *made;

	if (alignment % sizeof(void *) || !alignment || alignment & (alignment - 1))
		return EINVAL;
	made = memalign(alignment, bytes);
	if (!made)
		return ENOMEM;
	*block = made;
	return 0;
}

void free(void *block)
{
	tally.seen.freed += tally.counting && block;
	__libc_free(block);
}

#endif
