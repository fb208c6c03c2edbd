/* SPDX-License-Identifier: Apache-2.0 */
#include "jobs.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "world.h"

/* A run takes milliseconds; the sanitizers and a busy machine make that more. */
enum { REPEAT_EVERY = 1000, RUN_SECONDS_MAX = 60 };

struct board {
	atomic_bool stop;
	struct run_counts counts[JOBS_MAX];
};

double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void run_twice(const struct jobs *jobs, uint64_t number)
{
	struct run_counts counts = run.counts;
	uint64_t trace = run.trace;

	jobs->run(number, jobs->argument);
	if (run.trace != trace)
		run_wrong("two runs of one seed differ");
	run.counts = counts;
}

static void work(const struct jobs *jobs, unsigned job, struct board *board)
{
	double end = seconds_now() + jobs->seconds;

	worlds_prepare();
	for (uint64_t i = job; i < jobs->count; i += jobs->jobs) {
		if (atomic_load(&board->stop) || (jobs->seconds && seconds_now() > end) ||
			(jobs->states && run.counts.states * jobs->jobs >= jobs->states))
			break;
		run_watch(RUN_SECONDS_MAX);
		jobs->run(jobs->first + i, jobs->argument);
		if (jobs->repeat && i / jobs->jobs % REPEAT_EVERY == 0)
			run_twice(jobs, jobs->first + i);
		board->counts[job] = run.counts;
	}
}

unsigned jobs_run(const struct jobs *jobs, struct run_counts *sum)
{
	struct board *board = mmap(
		NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned wrong = 0;

	if (board == MAP_FAILED)
		abort();
	fflush(stdout);
	for (unsigned i = 0; i < jobs->jobs; i++) {
		pid_t pid = fork();

		if (pid < 0)
			abort();
		if (!pid) {
			work(jobs, i, board);
			fflush(stdout);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < jobs->jobs; i++) {
		int status;

		wait(&status);
		if (status) {
			wrong++;
			atomic_store(&board->stop, true);
		}
	}
	*sum = (struct run_counts){0};
	for (unsigned i = 0; i < jobs->jobs; i++) {
		const struct run_counts *counts = &board->counts[i];

		sum->lives += counts->lives;
		sum->requests += counts->requests;
		sum->losses += counts->losses;
		sum->errors += counts->errors;
		sum->states += counts->states;
		sum->refused += counts->refused;
		sum->restarts += counts->restarts;
		sum->sweeps += counts->sweeps;
		sum->troubles += counts->troubles;
	}
	munmap(board, sizeof(*board));
	return wrong;
}
