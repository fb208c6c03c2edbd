/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long things took, counted in buckets: four for each doubling from 1 microsecond (1024 ns) to
 * half a minute. Pure; whoever owns the counts may add to them without a lock.
 */
#ifndef BASE_LATENCY_H
#define BASE_LATENCY_H

#include <stdint.h>

enum { LATENCY_BUCKETS = 96 };

static inline unsigned latency_bucket(uint64_t ns)
{
	uint64_t units = ns >> 10;
	unsigned top, bucket;

	if (units < 4)
		return (unsigned)units;
	top = 63 - (unsigned)__builtin_clzll(units);
	bucket = (top - 1) * 4 + (unsigned)(units >> (top - 2) & 3);
	return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

/* What is below it falls into this bucket or one before. */
static inline uint64_t latency_bucket_end_ns(unsigned bucket)
{
	if (bucket < 4)
		return (uint64_t)(bucket + 1) << 10;
	return (uint64_t)(bucket % 4 + 5) << (bucket / 4 - 1) << 10;
}

/* So many of a thousand took no longer than this, rounded up by a fifth at most. 0: there are
 * none. */
static inline uint64_t latency_quantile_ns(
	const uint64_t counts[LATENCY_BUCKETS], unsigned per_thousand)
{
	uint64_t total = 0, seen = 0;

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		total += counts[i];
	for (unsigned i = 0; total && i < LATENCY_BUCKETS; i++) {
		seen += counts[i];
		if (seen * 1000 >= total * per_thousand)
			return latency_bucket_end_ns(i);
	}
	return 0;
}

#endif
