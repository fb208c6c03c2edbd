/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim: simulated arrays that live, crash and recover; and proof that it would notice mistakes.
 *
 *	sim --lives N        N random lives; each must be right
 *	sim --states N       random lives with crashes, until N states were recovered from
 *	sim --exhaustive     all short sequences of operations, a crash at every command of a drive;
 *	                     --samples M: states at each crash, at most (64); --seconds T: no longer
 *	sim --damage N       N arrays of which more is lost, here and there, than they survive
 *	sim --memory N       N arrays in which each allocation fails
 *	sim --nvme N         N lives over the NVMe driver, whose controllers misbehave
 *	sim --mutants        every deliberate fault must be noticed (a -Dmutants=true build),
 *	                     and every defect of a drive's firmware
 *
 *	--seed S             the first seed, or case (1); a seed is one run, to the bit
 *	--count N            so many seeds
 *	--progress T         says every T seconds how far it is
 *	--level L, --consistency C, --jobs J, --mutant NAME
 *
 * The last line has the figures. Exit status: 0 all as expected, 1 not, 2 usage.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/mutant.h"
#include "damage.h"
#include "drive.h"
#include "exhaustive.h"
#include "jobs.h"
#include "life.h"
#include "memory_loss.h"
#include "nvme_life.h"

enum { SAMPLES_DEFAULT = 64 };

enum mode {
	MODE_LIVES,
	MODE_STATES,
	MODE_EXHAUSTIVE,
	MODE_MEMORY,
	MODE_NVME,
	MODE_DAMAGE,
	MODE_MUTANTS
};

struct options {
	enum mode mode;
	struct jobs jobs;
	struct life_options life;
	unsigned samples;
};

static void run_life(uint64_t number, const void *argument)
{
	const struct options *options = argument;

	life_run(number, &options->life);
}

static void run_case(uint64_t number, const void *argument)
{
	const struct options *options = argument;

	exhaustive_run(number, options->samples);
}

static void run_memory(uint64_t number, const void *argument)
{
	(void)argument;
	memory_loss_run(number);
}

static void run_damage(uint64_t number, const void *argument)
{
	(void)argument;
	damage_run(number);
}

static void run_nvme(uint64_t number, const void *argument)
{
	const struct options *options = argument;

	nvme_life_run(number, &options->life);
}

static void describe(const struct options *options, const char *mode)
{
	snprintf(run.command, sizeof(run.command), "%s --count 1 --jobs 1%s%s%s%s", mode,
		options->life.level ? " --level " : "",
		options->life.level ? options->life.level : "",
		options->life.consistency ? " --consistency " : "",
		options->life.consistency ? options->life.consistency : "");
}

static int say_figures(const char *what, const struct run_counts *sum, unsigned wrong, double took)
{
	printf("sim %s: %" PRIu64 " lives, %" PRIu64 " requests, %" PRIu64
	       " member losses, %" PRIu64 " sweeps, %" PRIu64 " restarts, %" PRIu64
	       " halved, %" PRIu64 " crash states (%" PRIu64
	       " refused as documented), %.1f s, %.0f lives and %.0f states per hour, %u wrong\n",
		what, sum->lives, sum->requests, sum->losses, sum->sweeps, sum->restarts,
		sum->halves, sum->states, sum->refused, took, (double)sum->lives / took * 3600,
		(double)sum->states / took * 3600, wrong);
	return wrong ? 1 : 0;
}

static int run_mode(struct options *options)
{
	static const struct {
		const char *name, *title;
		void (*run)(uint64_t number, const void *argument);
		bool repeat;
	} modes[] = {
		[MODE_LIVES] = {"--lives 1", "lives", run_life, true},
		[MODE_STATES] = {"--states 1000000", "states", run_life, true},
		[MODE_EXHAUSTIVE] = {"--exhaustive", "exhaustive", run_case, false},
		[MODE_MEMORY] = {"--memory 1", "memory", run_memory, false},
		[MODE_DAMAGE] = {"--damage 1", "damage", run_damage, false},
		[MODE_NVME] = {"--nvme 1", "nvme", run_nvme, true},
	};
	struct run_counts sum;
	double start = seconds_now();
	char mode[40];
	unsigned wrong;

	snprintf(mode, sizeof(mode), "%s", modes[options->mode].name);
	if (options->mode == MODE_EXHAUSTIVE)
		snprintf(mode, sizeof(mode), "--exhaustive --samples %u", options->samples);
	describe(options, mode);
	options->jobs.run = modes[options->mode].run;
	options->jobs.argument = options;
	options->life.crashes = options->mode == MODE_STATES;
	options->jobs.repeat = modes[options->mode].repeat;
	options->jobs.go_on = options->mode == MODE_EXHAUSTIVE;
	if (options->mode == MODE_EXHAUSTIVE && options->jobs.count > exhaustive_cases())
		options->jobs.count = exhaustive_cases();
	wrong = jobs_run(&options->jobs, &sum);
	if (options->mode == MODE_EXHAUSTIVE)
		printf("%" PRIu64 " cases, at most %u samples at each crash\n", sum.lives,
			options->samples);
	if (options->mode == MODE_NVME)
		printf("%" PRIu64 " troubles of controllers, that no member was lost by\n",
			sum.troubles);
	return say_figures(modes[options->mode].title, &sum, wrong, seconds_now() - start);
}

/* --- mutants ---------------------------------------------------------------------------------- */

/* Whatever may notice it: a life, one with crashes, a case. */
static void run_any(uint64_t number, const void *argument)
{
	struct options options = *(const struct options *)argument;

	options.life.crashes = number % 4 != 0;
	if (number % 16 == 5) {
		describe(&options, "--damage 1");
		damage_run(number);
	} else if (number % 4 == 3) {
		describe(&options, "--exhaustive --samples 1");
		exhaustive_run(number, 1);
	} else {
		describe(&options, number % 4 ? "--states 1000000" : "--lives 1");
		life_run(number, &options.life);
	}
}

/* Cases that have shown a mistake which lives rarely meet. */
static void run_telling(uint64_t number, const void *argument)
{
	static const uint64_t telling[] = {392, 4059, 3001059, 3000964};
	struct options options = *(const struct options *)argument;

	describe(&options, "--exhaustive --samples 1");
	exhaustive_run(telling[number % ARRAY_SIZE(telling)], 1);
}

/* Most faults show at once, some only to many lives without a crash: a minute in all. */
static const struct stage {
	void (*run)(uint64_t number, const void *argument);
	unsigned seconds;
} stages[] = {{run_telling, 1}, {run_any, 24}, {run_life, 12}, {run_any, 24}};

/* Its process may also die of an assertion or hang: that is a find too. */
static bool is_noticed(struct options *options, const char *name, const char *text)
{
	uint64_t lives = 0, states = 0, first = options->jobs.first;
	double start = seconds_now();
	unsigned wrong = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(stages) && !wrong; i++) {
		struct run_counts sum;

		options->jobs.run = stages[i].run;
		options->jobs.argument = options;
		options->jobs.seconds = stages[i].seconds;
		options->life.crashes = false;
		describe(options, "--lives 1");
		wrong = jobs_run(&options->jobs, &sum);
		lives += sum.lives;
		states += sum.states;
		options->jobs.first += 1000000;
	}
	options->jobs.first = first;
	printf("%-8s %-28s after %6" PRIu64 " lives, %7" PRIu64 " states, %5.1f s  %s\n",
		wrong ? "killed" : "SURVIVED", name, lives, states, seconds_now() - start, text);
	return wrong;
}

static int run_mutants(struct options *options)
{
	unsigned killed = 0, tried = 0;
	double start = seconds_now();

	for (drive_defect = DEFECT_NONE + 1; drive_defect < DEFECTS; drive_defect++, tried++)
		killed += is_noticed(options, drive_defect_name(drive_defect), "(of a drive)");
	drive_defect = DEFECT_NONE;
#ifdef BRAID_MUTANTS
	for (enum mutant i = MUTANT_SIMULATED; i < MUTANT_COUNT; i++, tried++) {
		mutant_active = i;
		killed += is_noticed(options, mutant_name(i), mutant_text(i));
	}
#else
	printf("this build has no mutants: configure with -Dmutants=true\n");
	tried++;
#endif
	printf("sim mutants: %u killed of %u tried, %.1f s\n", killed, tried,
		seconds_now() - start);
	return killed == tried ? 0 : 1;
}

static void activate(const char *name)
{
	for (enum mutant i = 0; i < MUTANT_COUNT; i++)
		if (!strcmp(mutant_name(i), name)) {
#ifdef BRAID_MUTANTS
			mutant_active = i;
			return;
#endif
		}
	for (drive_defect = 0; drive_defect < DEFECTS; drive_defect++)
		if (!strcmp(drive_defect_name(drive_defect), name))
			return;
	fprintf(stderr, "this build has no mutant '%s'\n", name);
	exit(2);
}

/* --- the command line ------------------------------------------------------------------------- */

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

static const struct option long_options[] = {
	{"lives", required_argument, NULL, 'n'},
	{"states", required_argument, NULL, 'S'},
	{"exhaustive", no_argument, NULL, 'x'},
	{"memory", required_argument, NULL, 'o'},
	{"damage", required_argument, NULL, 'd'},
	{"nvme", required_argument, NULL, 'v'},
	{"mutants", no_argument, NULL, 'M'},
	{"samples", required_argument, NULL, 'p'},
	{"seconds", required_argument, NULL, 't'},
	{"seed", required_argument, NULL, 's'},
	{"count", required_argument, NULL, 'c'},
	{"jobs", required_argument, NULL, 'j'},
	{"level", required_argument, NULL, 'l'},
	{"consistency", required_argument, NULL, 'y'},
	{"mutant", required_argument, NULL, 'm'},
	{"progress", required_argument, NULL, 'g'},
	{NULL, 0, NULL, 0},
};

static bool take(struct options *options, int option, const char *value)
{
	switch (option) {
	case 'n':
		options->mode = MODE_LIVES;
		options->jobs.count = number(value);
		return true;
	case 'S':
		options->mode = MODE_STATES;
		options->jobs.states = number(value);
		return true;
	case 'x':
		options->mode = MODE_EXHAUSTIVE;
		return true;
	case 'o':
		options->mode = MODE_MEMORY;
		options->jobs.count = number(value);
		return true;
	case 'd':
		options->mode = MODE_DAMAGE;
		options->jobs.count = number(value);
		return true;
	case 'v':
		options->mode = MODE_NVME;
		options->jobs.count = number(value);
		return true;
	case 'M':
		options->mode = MODE_MUTANTS;
		return true;
	case 'p':
		options->samples = (unsigned)number(value);
		return true;
	case 't':
		options->jobs.seconds = (unsigned)number(value);
		return true;
	case 's':
		options->jobs.first = number(value);
		return true;
	case 'c':
		options->jobs.count = number(value);
		return true;
	case 'j':
		options->jobs.jobs = (unsigned)number(value);
		return true;
	case 'l':
		options->life.level = value;
		return true;
	case 'y':
		options->life.consistency = value;
		return true;
	case 'm':
		activate(value);
		return true;
	case 'g':
		options->jobs.progress_seconds = (unsigned)number(value);
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	struct options options = {.mode = MODE_LIVES,
		.jobs = {.jobs = 2, .first = 1, .count = UINT64_MAX / 2},
		.samples = SAMPLES_DEFAULT};
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0)
		if (!take(&options, option, optarg))
			return 2;
	if (!options.jobs.jobs || options.jobs.jobs > JOBS_MAX || !options.samples)
		return 2;
	return options.mode == MODE_MUTANTS ? run_mutants(&options) : run_mode(&options);
}
