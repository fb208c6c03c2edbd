/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim: many seeded lives of arrays, and the proof that the simulation would notice mistakes.
 *
 *	sim [--runs N] [--seed S] [--level L] [--jobs J]
 *		lives S to S+N-1; each must be right
 *	sim --mutants [--runs N]
 *		every deliberate fault must be noticed within N lives (a -Dmutants=true build)
 *	sim --mutant NAME ...
 *		lives under one fault
 *
 * Exit status: 0 all as expected, 1 not, 2 usage.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mutant.h"
#include "raid_run.h"

/* A life takes a millisecond; one that hangs is ended by SIGALRM, and counts as wrong. */
enum { JOBS_MAX = 64, REPEAT_EVERY = 1000, LIFE_SECONDS_MAX = 20 };

struct totals {
	uint64_t runs, requests, losses, errors, wrong;
};

struct options {
	uint64_t runs, seed;
	unsigned jobs;
	const char *level;
};

static void report(const struct raid_run *run)
{
	printf("seed %" PRIu64 ": WRONG: %s (%s)\n", run->seed, run->what, run->setting);
	fflush(stdout);
}

/* Every so often a seed is run twice: the two must be the same to the last event. */
static void check_repeats(const struct raid_run *first, const char *level, struct totals *totals)
{
	struct raid_run again;

	raid_run(&again, first->seed, level);
	if (again.trace == first->trace)
		return;
	printf("seed %" PRIu64 ": WRONG: two runs of one seed differ\n", first->seed);
	totals->wrong++;
}

static void run_share(const struct options *options, unsigned job, struct totals *totals)
{
	raid_run_prepare();
	for (uint64_t i = job; i < options->runs && !totals->wrong; i += options->jobs) {
		struct raid_run run;

		alarm(LIFE_SECONDS_MAX);
		raid_run(&run, options->seed + i, options->level);
		totals->runs++;
		totals->requests += run.requests;
		totals->losses += run.losses;
		totals->errors += run.errors;
		if (run.wrong) {
			totals->wrong++;
			report(&run);
		} else if (i / options->jobs % REPEAT_EVERY == 0) {
			check_repeats(&run, options->level, totals);
		}
	}
}

/* Each job is a process of its own. Returns the number of wrong lives and dead processes. */
static uint64_t run_all(const struct options *options, struct totals *sum)
{
	struct totals *shares = mmap(NULL, JOBS_MAX * sizeof(*shares), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[JOBS_MAX];
	int status;

	if (shares == MAP_FAILED)
		abort();
	fflush(stdout);
	for (unsigned i = 0; i < options->jobs; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			run_share(options, i, &shares[i]);
			_exit(0);
		}
	}
	*sum = (struct totals){0};
	for (unsigned i = 0; i < options->jobs; i++) {
		waitpid(pids[i], &status, 0);
		sum->runs += shares[i].runs;
		sum->requests += shares[i].requests;
		sum->losses += shares[i].losses;
		sum->errors += shares[i].errors;
		sum->wrong += shares[i].wrong + (status != 0);
	}
	munmap(shares, JOBS_MAX * sizeof(*shares));
	return sum->wrong;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int run_lives(const struct options *options)
{
	struct totals sum;
	double start = seconds(), took;

	run_all(options, &sum);
	took = seconds() - start;
	printf("sim: %" PRIu64 " lives, %" PRIu64 " requests, %" PRIu64 " member losses, %" PRIu64
	       " expected errors, %.1f s, %.0f lives per hour, %" PRIu64 " wrong\n",
		sum.runs, sum.requests, sum.losses, sum.errors, took,
		(double)sum.runs / took * 3600, sum.wrong);
	return sum.wrong ? 1 : 0;
}

#ifdef BRAID_MUTANTS
static enum mutant find_mutant(const char *name)
{
	for (enum mutant i = 0; i < MUTANT_COUNT; i++)
		if (!strcmp(mutant_name(i), name))
			return i;
	fprintf(stderr, "there is no mutant '%s'\n", name);
	exit(2);
}

/* A mutant's process may also die of an assertion or hang: that is a find too. */
static int run_mutants(const struct options *options)
{
	unsigned killed = 0;

	for (enum mutant i = MUTANT_NONE + 1; i < MUTANT_COUNT; i++) {
		struct totals sum;
		double start = seconds();

		mutant_active = i;
		run_all(options, &sum);
		printf("%-8s %-22s after %7" PRIu64 " lives, %5.1f s  %s\n",
			sum.wrong ? "killed" : "SURVIVED", mutant_name(i), sum.runs,
			seconds() - start, mutant_text(i));
		killed += sum.wrong != 0;
	}
	printf("mutants: %u killed of %u tried\n", killed, MUTANT_COUNT - 1);
	return killed == MUTANT_COUNT - 1 ? 0 : 1;
}
#endif

static uint64_t number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (*end || end == text) {
		fprintf(stderr, "'%s' is no number\n", text);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"runs", required_argument, NULL, 'n'},
		{"seed", required_argument, NULL, 's'},
		{"jobs", required_argument, NULL, 'j'},
		{"level", required_argument, NULL, 'l'},
		{"mutants", no_argument, NULL, 'M'},
		{"mutant", required_argument, NULL, 'm'},
		{NULL, 0, NULL, 0},
	};
	struct options options = {.runs = 20000, .seed = 1, .jobs = 2};
	bool mutants = false;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
		if (option == 'n')
			options.runs = number(optarg);
		else if (option == 's')
			options.seed = number(optarg);
		else if (option == 'j')
			options.jobs = (unsigned)number(optarg);
		else if (option == 'l')
			options.level = optarg;
		else if (option == 'M')
			mutants = true;
#ifdef BRAID_MUTANTS
		else if (option == 'm')
			mutant_active = find_mutant(optarg);
#endif
		else
			return 2;
	}
	if (!options.jobs || options.jobs > JOBS_MAX)
		return 2;
#ifdef BRAID_MUTANTS
	if (mutants)
		return run_mutants(&options);
#endif
	if (mutants) {
		fprintf(stderr, "this build has no mutants: configure with -Dmutants=true\n");
		return 2;
	}
	return run_lives(&options);
}
