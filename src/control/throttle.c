/* SPDX-License-Identifier: Apache-2.0 */
#include "control/throttle.h"

#include <string.h>

#include "base/bits.h"

uint64_t throttle_bound_ns(const struct throttle *throttle)
{
	return throttle->idle_p99_ns ? 2 * throttle->idle_p99_ns + THROTTLE_SLACK_NS : 0;
}

/* Adds what is new to the window, and returns how many requests that were. */
static uint64_t take_counts(struct throttle *throttle, const uint64_t counts[LATENCY_BUCKETS])
{
	uint64_t fresh = 0;

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		/* An array that was stopped and started counts from the beginning. */
		uint64_t more = counts[i] >= throttle->before[i] ? counts[i] - throttle->before[i]
								 : counts[i];

		throttle->window[i] += more;
		throttle->before[i] = counts[i];
		fresh += more;
	}
	return fresh;
}

static void begin_window(struct throttle *throttle)
{
	memset(throttle->window, 0, sizeof(throttle->window));
	throttle->window_ticks = 0;
}

static uint64_t blend(uint64_t old, uint64_t fresh)
{
	return old ? (old + fresh) / 2 : fresh;
}

/* False: the idle value is not known, or old. */
static bool probe(struct throttle *throttle, uint64_t p99_ns)
{
	if (throttle->idle_p99_ns && throttle->idle_age++ < THROTTLE_IDLE_VALUE_TICKS &&
		!throttle->probing)
		return true;
	if (!throttle->probing) {
		throttle->probing = THROTTLE_PROBE_TICKS;
		throttle->limit = THROTTLE_LEAST;
		return false;
	}
	if (--throttle->probing)
		return false;
	throttle->idle_p99_ns = blend(throttle->idle_p99_ns, p99_ns);
	throttle->p99_ns = p99_ns;
	throttle->idle_age = 0;
	throttle->limit = MAX(throttle->steady, (uint64_t)2 * THROTTLE_LEAST);
	return false;
}

static void steer(struct throttle *throttle, uint64_t moved)
{
	uint64_t bound = throttle_bound_ns(throttle), limit = throttle->limit;

	/* The guests have just come back. */
	if (!limit)
		limit = throttle->steady ? throttle->steady : moved / 4;
	else if (throttle->p99_ns > 2 * bound)
		limit /= 2;
	else if (throttle->p99_ns > bound)
		limit -= limit / 4;
	else if (throttle->p99_ns < bound - bound / 4 && moved >= limit / 2)
		limit += limit / 4;
	throttle->limit = throttle->steady = MAX(limit, (uint64_t)THROTTLE_LEAST);
}

void throttle_tick(struct throttle *throttle, const uint64_t counts[LATENCY_BUCKETS], bool sweeping,
	uint64_t moved)
{
	uint64_t p99_ns, requests = 0;

	take_counts(throttle, counts);
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		requests += throttle->window[i];
	if (++throttle->window_ticks < THROTTLE_WINDOW_TICKS && requests < THROTTLE_ENOUGH)
		return;
	p99_ns = latency_quantile_ns(throttle->window, 990);
	begin_window(throttle);
	if (!requests) {
		throttle->limit = throttle->p99_ns = 0;
		throttle->probing = 0;
		return;
	}
	if (!sweeping) {
		throttle->p99_ns = p99_ns;
		throttle->idle_p99_ns = blend(throttle->idle_p99_ns, p99_ns);
		throttle->limit = throttle->probing = throttle->idle_age = 0;
		return;
	}
	if (!probe(throttle, p99_ns))
		return;
	throttle->p99_ns = blend(throttle->p99_ns, p99_ns);
	steer(throttle, moved);
}
