/* SPDX-License-Identifier: Apache-2.0 */
/* Runs, shared among processes of their own. */
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
	bool go_on; /* after a run that is wrong, up to a hundred times; else that ends all */
	unsigned progress_seconds; /* how often it is said how far they are; 0: never */
	bool repeat; /* some runs are made twice, and must be the same to the last event */
};

/* Returns how often something was wrong, or a process died. */
unsigned jobs_run(const struct jobs *jobs, struct run_counts *sum);

double seconds_now(void);

#endif
