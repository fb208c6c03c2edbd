/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run: what a seed determines. A violation ends the process, after it has told the seed; runs
 * are made in processes of their own (jobs.h).
 */
#ifndef TESTS_SIM_RUN_H
#define TESTS_SIM_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"

struct run_counts {
	uint64_t lives, requests, losses, errors;
	uint64_t states;  /* crashes that were recovered from and verified */
	uint64_t refused; /* of them, those where the write hole was open, as documented */
	uint64_t restarts, sweeps;
	uint64_t halves;   /* arrays that were halved */
	uint64_t troubles; /* of NVMe controllers, that no member may be lost by */
};

struct run {
	uint64_t seed;
	uint64_t trace;	   /* a hash of everything that happened, in order */
	char setting[200]; /* level, members, ... */
	char command[120]; /* options that repeat it, but for the seed */
	struct run_counts counts;
};

extern struct run run;

/* What the program would get from the system is taken from the seed as well. */
void run_begin(uint64_t seed);
/* Limits how long the run may compute; a run that hangs is wrong. */
void run_watch(unsigned seconds);

static inline void run_trace(uint64_t value)
{
	run.trace = random_mix(run.trace ^ value);
}

/* With SIM_TRACE in the environment: every event, one line each, on standard error. */
extern bool run_tracing;
#define run_say(...)                               \
	do {                                       \
		if (run_tracing)                   \
			run_say_line(__VA_ARGS__); \
	} while (0)
void run_say_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what is wrong and ends the process. */
_Noreturn void run_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The allocation that fails: 1: the next one; 0: none any more. `for_ever`: all after it too. */
void run_fail_allocation(uint64_t number, bool for_ever);
/* Whether the last of these has happened; allocations that are held at present, by the engine. */
bool run_allocation_failed(void);
int64_t run_allocations_held(void);

/* Deliberate ends of a process, beside 0. */
enum { EXIT_WRONG = 3 };

#endif
