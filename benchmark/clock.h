/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A clock that costs a few nanoseconds to read: the time stamp counter where it runs at a constant
 * rate, CLOCK_MONOTONIC elsewhere.
 */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Measures the counter against CLOCK_MONOTONIC; takes 20 ms the first time, nothing afterwards.
 * Before any of the conversions. Any thread. */
void clock_calibrate(void);

static inline uint64_t clock_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
#endif
}

uint64_t clock_ticks_to_ns(uint64_t ticks);
uint64_t clock_ns_to_ticks(uint64_t ns);

#endif
