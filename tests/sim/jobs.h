/* SPDX-License-Identifier: Apache-2.0 */
/* Runs, shared among processes of their own; the first that is wrong ends all. */
#ifndef TESTS_SIM_JOBS_H
#define TESTS_SIM_JOBS_H

#include "run.h"

enum { JOBS_MAX = 64 };

struct jobs {
	unsigned jobs;
	uint64_t first, count; /* runs */
	uint64_t states;       /* enough of them; 0: all runs */
	unsigned seconds;      /* enough time; 0: likewise */
	void (*run)(uint64_t number, const void *argument);
	const void *argument;
	bool repeat; /* some runs are made twice, and must be the same to the last event */
};

/* Returns the number of processes that found something wrong, or died. */
unsigned jobs_run(const struct jobs *jobs, struct run_counts *sum);

double seconds_now(void);

#endif
