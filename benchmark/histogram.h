/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts of values, log-linear: each power of two is cut into HISTOGRAM_STEPS equal buckets, so a
 * value is known to within 1/128 of itself, whatever its size.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

enum {
	HISTOGRAM_STEP_BITS = 7,
	HISTOGRAM_STEPS = 1 << HISTOGRAM_STEP_BITS,
	HISTOGRAM_VALUE_BITS = 44, /* larger values count as the largest */
	HISTOGRAM_BUCKETS = (HISTOGRAM_VALUE_BITS - HISTOGRAM_STEP_BITS + 1) * HISTOGRAM_STEPS,
};

struct histogram {
	uint64_t count, sum, max;
	uint64_t bucket[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t value)
{
	unsigned shift;

	if (value >> HISTOGRAM_VALUE_BITS)
		value = (1ull << HISTOGRAM_VALUE_BITS) - 1;
	if (value < HISTOGRAM_STEPS)
		return (unsigned)value;
	shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
	return (shift << HISTOGRAM_STEP_BITS) + (unsigned)(value >> shift);
}

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
	histogram->count++;
	histogram->sum += value;
	if (value > histogram->max)
		histogram->max = value;
	histogram->bucket[histogram_bucket(value)]++;
}

/* The value that per_million of all values do not exceed: the middle of its bucket, at most max.
 * 0 when empty. */
uint64_t histogram_percentile(const struct histogram *histogram, unsigned per_million);
void histogram_merge(struct histogram *into, const struct histogram *from);

#endif
