/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill: braidd is killed in a loop under verified load. One seed determines what is done; when a
 * kill comes is also up to the machine.
 *
 *	kill --program build/braidd --dir DIR [--cycles N] [--seed S] [--jobs J]
 *	     [--life-seed S] [--life-cycles N] [--consistency P] [--keep]
 *
 * DIR is emptied between lives; a life that went wrong is left there with --keep. The last line has
 * the figures. Exit status: 0 nothing was wrong.
 */
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/random.h"
#include "life.h"
#include "victim.h"

enum { JOBS_MAX = 16, LIFE_CYCLES = 24, WRONG_LIVES_MAX = 3 };

struct options {
	const char *program, *dir, *consistency;
	uint64_t cycles, seed, life_seed;
	unsigned jobs, life_cycles;
	bool keep;
};

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
	(void)status, (void)kind, (void)place;
	return remove(path);
}

/* The end of what the daemon has said. */
static void show_log(const char *dir)
{
	enum { TAIL_BYTES = 2500 };
	char path[96], text[TAIL_BYTES + 1], *line;
	FILE *file;
	size_t count;

	snprintf(path, sizeof(path), "%s/log", dir);
	file = fopen(path, "re");
	if (!file)
		return;
	if (fseek(file, -TAIL_BYTES, SEEK_END))
		rewind(file);
	count = fread(text, 1, TAIL_BYTES, file);
	text[count] = '\0';
	fclose(file);
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		printf("  | %s\n", line);
}

/* Lives in a folder of its own until there are enough cycles. */
static void work(const struct options *options, unsigned job, struct figures *figures)
{
	struct random random = {random_mix(options->seed + job * 1000003ull)};
	uint64_t enough = options->cycles / options->jobs + (job < options->cycles % options->jobs);
	char dir[VICTIM_PATH_BYTES];

	snprintf(dir, sizeof(dir), "%s/%u", options->dir, job);
	while (figures->cycles < enough && figures->failed_lives < WRONG_LIVES_MAX) {
		struct life_options life = {
			.program = options->program,
			.dir = dir,
			.seed = options->life_seed ? options->life_seed : random_next(&random),
			.cycles = (unsigned)MIN(
				(uint64_t)options->life_cycles, enough - figures->cycles),
			.cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
			.consistency = options->consistency,
		};
		struct fail fail = {0};

		if (life_run(&life, figures, &fail)) {
			printf("life %llu: %s\n", (unsigned long long)life.seed,
				fail.error ? fail.text : "braidd has gone");
			show_log(dir);
			fflush(stdout);
			if (options->keep)
				return;
		}
		nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	}
}

static int print_figures(const struct figures *all, unsigned jobs, uint64_t us)
{
	struct figures sum = {0};
	double hours = (double)us / 3.6e9;

	for (unsigned job = 0; job < jobs; job++) {
		const uint64_t *from = (const void *)&all[job];
		uint64_t *to = (void *)&sum;

		for (size_t i = 0; i < sizeof(sum) / sizeof(*to); i++)
			to[i] += from[i];
		sum.restart_us_max =
			MAX(sum.restart_us_max - all[job].restart_us_max, all[job].restart_us_max);
	}
	printf("%llu cycles, %.0f cycles per hour, %llu lives; %llu kills during start, %llu "
	       "during a "
	       "copy; %llu members lost at a kill, %llu starts refused, %llu guests died; "
	       "%llu requests completed, %llu resubmitted, %llu units verified; restart %.0f ms "
	       "(longest %.0f); %llu wrong units, %llu mismatches, %llu leaks, %llu lives failed\n",
		(unsigned long long)sum.cycles, (double)sum.cycles / hours,
		(unsigned long long)sum.lives, (unsigned long long)sum.kills_starting,
		(unsigned long long)sum.kills_copying, (unsigned long long)sum.lost_at_kill,
		(unsigned long long)sum.refused, (unsigned long long)sum.guest_deaths,
		(unsigned long long)sum.completed, (unsigned long long)sum.resubmitted,
		(unsigned long long)sum.checked,
		sum.restarts ? (double)sum.restart_us / (double)sum.restarts / 1000 : 0,
		(double)sum.restart_us_max / 1000, (unsigned long long)sum.wrong,
		(unsigned long long)sum.mismatches, (unsigned long long)sum.leaks,
		(unsigned long long)sum.failed_lives);
	return sum.failed_lives || sum.wrong || sum.leaks || sum.mismatches;
}

static bool parse(int argc, char **argv, struct options *options)
{
	static const struct option table[] = {{"program", required_argument, NULL, 'p'},
		{"dir", required_argument, NULL, 'd'}, {"cycles", required_argument, NULL, 'n'},
		{"seed", required_argument, NULL, 's'}, {"jobs", required_argument, NULL, 'j'},
		{"life-seed", required_argument, NULL, 'l'},
		{"life-cycles", required_argument, NULL, 'c'},
		{"consistency", required_argument, NULL, 'y'}, {"keep", no_argument, NULL, 'k'},
		{0}};
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) >= 0) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 0) : 0;

		switch (option) {
		case 'p':
			options->program = optarg;
			break;
		case 'd':
			options->dir = optarg;
			break;
		case 'n':
			options->cycles = number;
			break;
		case 's':
			options->seed = number;
			break;
		case 'j':
			options->jobs = (unsigned)number;
			break;
		case 'l':
			options->life_seed = number;
			break;
		case 'c':
			options->life_cycles = (unsigned)number;
			break;
		case 'y':
			options->consistency = optarg;
			break;
		case 'k':
			options->keep = true;
			break;
		default:
			return false;
		}
	}
	return options->dir && strlen(options->dir) < 36 && options->jobs >= 1 &&
	       options->jobs <= JOBS_MAX && options->life_cycles && optind == argc;
}

int main(int argc, char **argv)
{
	struct options options = {.program = "build/braidd",
		.cycles = 300,
		.seed = 1,
		.jobs = 1,
		.life_cycles = LIFE_CYCLES};
	uint64_t begun = victim_now_us();
	struct figures *figures;
	int wrong = 0, status;
	pid_t parent = getpid();

	if (!parse(argc, argv, &options)) {
		fprintf(stderr,
			"kill: --dir DIR (short), --program, --cycles, --seed, --jobs (1 to %d), "
			"--life-seed, --life-cycles, --consistency, --keep\n",
			JOBS_MAX);
		return 2;
	}
	figures = mmap(NULL, JOBS_MAX * sizeof(*figures), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (figures == MAP_FAILED)
		return 2;
	printf("seed %llu\n", (unsigned long long)options.seed);
	fflush(stdout);
	for (unsigned job = 0; job < options.jobs; job++) {
		if (fork())
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			work(&options, job, &figures[job]);
		exit(0);
	}
	while (wait(&status) > 0)
		wrong |= status;
	wrong |= print_figures(figures, options.jobs, victim_now_us() - begun);
	return wrong != 0;
}
