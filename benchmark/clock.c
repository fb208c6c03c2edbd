/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmark/clock.h"

#include <assert.h>
#include <pthread.h>

enum { CALIBRATION_NS = 20 * 1000 * 1000 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static double ns_per_tick; /* written once, under `once` */

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void calibrate(void)
{
	uint64_t ns = monotonic_ns(), ticks = clock_ticks();
	uint64_t ns_after, ticks_after;

	do
		ns_after = monotonic_ns();
	while (ns_after - ns < CALIBRATION_NS);
	ticks_after = clock_ticks();
	ns_per_tick = (double)(ns_after - ns) / (double)(ticks_after - ticks);
}

void clock_calibrate(void)
{
	pthread_once(&once, calibrate);
}

uint64_t clock_ticks_to_ns(uint64_t ticks)
{
	assert(ns_per_tick > 0);
	return (uint64_t)((double)ticks * ns_per_tick + 0.5);
}

uint64_t clock_ns_to_ticks(uint64_t ns)
{
	assert(ns_per_tick > 0);
	return (uint64_t)((double)ns / ns_per_tick);
}
