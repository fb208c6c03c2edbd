/* SPDX-License-Identifier: Apache-2.0 */
#include "jobs.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "world.h"

/* A run takes milliseconds; the sanitizers and a busy machine make that more. */
enum { REPEAT_EVERY = 1000, RUN_SECONDS_MAX = 60, WRONG_MAX = 100, POLL_MS = 100 };

/* What the processes share. */
struct board {
	atomic_bool stop;
	atomic_uint_least64_t at[JOBS_MAX]; /* the run that each is at, from 0 */
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

static void work(const struct jobs *jobs, unsigned job, double end, struct board *board)
{
	worlds_prepare();
	run.counts = board->counts[job];
	for (uint64_t i = atomic_load(&board->at[job]); i < jobs->count; i += jobs->jobs) {
		atomic_store(&board->at[job], i);
		if (atomic_load(&board->stop) || (jobs->seconds && seconds_now() > end) ||
			(jobs->states && run.counts.states * jobs->jobs >= jobs->states))
			return;
		run_watch(RUN_SECONDS_MAX);
		jobs->run(jobs->first + i, jobs->argument);
		if (jobs->repeat && i / jobs->jobs % REPEAT_EVERY == 0)
			run_twice(jobs, jobs->first + i);
		board->counts[job] = run.counts;
	}
	atomic_store(&board->at[job], jobs->count);
}

static pid_t start(const struct jobs *jobs, unsigned job, double end, struct board *board)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		abort();
	if (!pid) {
		work(jobs, job, end, board);
		fflush(stdout);
		_exit(0);
	}
	return pid;
}

/* Runs are about equal, so what is left takes as long as what is done. */
static void say_progress(const struct jobs *jobs, struct board *board, unsigned wrong, double took)
{
	uint64_t done = 0;
	double left;

	for (unsigned i = 0; i < jobs->jobs; i++)
		done += atomic_load(&board->at[i]) / jobs->jobs;
	left = done ? took / (double)done * (double)(jobs->count - MIN(done, jobs->count)) : 0;
	if (jobs->seconds)
		left = MIN(left, jobs->seconds - took);
	printf("progress: %" PRIu64 " of %" PRIu64 " runs, %u wrong, %.0f s, about %.0f s left\n",
		done, jobs->count, wrong, took, left);
	fflush(stdout);
}

/* The next process that ends; says meanwhile how far they are. */
static pid_t wait_for_one(const struct jobs *jobs, struct board *board, unsigned wrong,
	double begun, double *next, int *status)
{
	const struct timespec pause = {.tv_nsec = POLL_MS * 1000000l};
	pid_t pid;

	if (!jobs->progress_seconds)
		return wait(status);
	while (!(pid = waitpid(-1, status, WNOHANG))) {
		nanosleep(&pause, NULL);
		if (seconds_now() < *next)
			continue;
		*next += jobs->progress_seconds;
		say_progress(jobs, board, wrong, seconds_now() - begun);
	}
	return pid;
}

unsigned jobs_run(const struct jobs *jobs, struct run_counts *sum)
{
	struct board *board = mmap(
		NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double begun = seconds_now(), end = begun + jobs->seconds;
	double next = begun + jobs->progress_seconds;
	unsigned wrong = 0, running = jobs->jobs;
	pid_t pids[JOBS_MAX];

	if (board == MAP_FAILED)
		abort();
	for (unsigned i = 0; i < jobs->jobs; i++) {
		atomic_store(&board->at[i], i);
		pids[i] = start(jobs, i, end, board);
	}
	while (running) {
		unsigned job = 0;
		int status;
		pid_t pid = wait_for_one(jobs, board, wrong, begun, &next, &status);

		while (job < jobs->jobs && pids[job] != pid)
			job++;
		assert(job < jobs->jobs);
		running--;
		wrong += status != 0;
		if (!status)
			continue;
		if (!jobs->go_on || wrong >= WRONG_MAX) {
			atomic_store(&board->stop, true);
			continue;
		}
		atomic_fetch_add(&board->at[job], jobs->jobs);
		pids[job] = start(jobs, job, end, board);
		running++;
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
		sum->halves += counts->halves;
		sum->troubles += counts->troubles;
	}
	munmap(board, sizeof(*board));
	return wrong;
}
