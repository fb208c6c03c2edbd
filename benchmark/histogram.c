/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmark/histogram.h"

#include "base/bits.h"

/* The middle of the values that fall into bucket `index`. */
static uint64_t bucket_middle(unsigned index)
{
	unsigned shift;
	uint64_t first;

	if (index < 2 * HISTOGRAM_STEPS)
		return index;
	shift = (index >> HISTOGRAM_STEP_BITS) - 1;
	first = (uint64_t)(HISTOGRAM_STEPS + index % HISTOGRAM_STEPS) << shift;
	return first + (1ull << shift) / 2;
}

uint64_t histogram_percentile(const struct histogram *histogram, unsigned per_million)
{
	uint64_t wanted, seen = 0;

	if (!histogram->count)
		return 0;
	wanted = (uint64_t)(((unsigned __int128)histogram->count * per_million + 999999) / 1000000);
	wanted = MAX(wanted, (uint64_t)1);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->bucket[i];
		if (seen >= wanted)
			return MIN(bucket_middle(i), histogram->max);
	}
	return histogram->max;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	into->count += from->count;
	into->sum += from->sum;
	into->max = MAX(into->max, from->max);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		into->bucket[i] += from->bucket[i];
}
