/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts what the C library's allocator is asked for, thread by thread, so that "no allocation per
 * I/O" can be tested. braid-bench defines malloc() and its kin itself and passes everything on to
 * glibc; with the address sanitizer in the program it leaves them alone and nothing can be counted.
 */
#ifndef BENCH_ALLOCATIONS_H
#define BENCH_ALLOCATIONS_H

#include <stdbool.h>
#include <stdint.h>

struct allocations {
	uint64_t allocated; /* calls that asked for memory, realloc() too */
	uint64_t freed;
};

/* Starts counting from 0 on the calling thread. */
void allocations_begin(void);
/* Stops counting on the calling thread; what was counted since allocations_begin(). */
struct allocations allocations_end(void);

/* Whether an allocation of the calling thread is counted at all. */
bool allocations_work(void);

#endif
