/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast a sweep may go beside guests (`job limit auto`): as fast as leaves the guests' 99th
 * percentile of latency within a bound of what it is without the sweep. Pure; a tick a second.
 *
 *	guests idle --> no limit
 *	busy, no sweep --> learns the idle value
 *	busy, sweep --> PROBE: at the least rate, until the idle value is known (and once a minute)
 *	                STEER: p99 above the bound: a quarter slower, far above: half;
 *	                       below 3/4 of it: a quarter faster; between: as it is
 *
 * It never stops a sweep: THROTTLE_LEAST of each drive per second are always allowed.
 */
#ifndef CONTROL_THROTTLE_H
#define CONTROL_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/latency.h"

enum {
	THROTTLE_LEAST = 4 << 20,	/* bytes of each drive per second */
	THROTTLE_ENOUGH = 50,		/* requests, for a percentile */
	THROTTLE_WINDOW_TICKS = 3,	/* after these what there is has to do; none: guests idle */
	THROTTLE_PROBE_TICKS = 2,	/* at the least rate: the last one is measured */
	THROTTLE_IDLE_VALUE_TICKS = 60, /* then it is measured anew */
	THROTTLE_SLACK_NS = 200 * 1000,
};

struct throttle {
	uint64_t limit;		      /* bytes of each drive per second; 0: none */
	uint64_t p99_ns, idle_p99_ns; /* 0: not known */
	uint64_t before[LATENCY_BUCKETS], window[LATENCY_BUCKETS];
	unsigned window_ticks;
	unsigned probing;  /* ticks that are left of a probe */
	unsigned idle_age; /* windows since the idle value was measured */
	uint64_t steady;   /* the last limit that was steered to; 0: none yet */
};

/* counts: of all the array's requests so far. moved: by the sweep, of each drive, per second. */
void throttle_tick(struct throttle *throttle, const uint64_t counts[LATENCY_BUCKETS], bool sweeping,
	uint64_t moved);

/* Twice the idle value, and THROTTLE_SLACK_NS. */
uint64_t throttle_bound_ns(const struct throttle *throttle);

#endif
