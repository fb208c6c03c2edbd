/* SPDX-License-Identifier: Apache-2.0 */
/*
 * braid status: per array a page in the manner of zpool status (state, why, what to do next, jobs,
 * drives, exports), then how busy the cores are.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"
#include "cli/array.h"
#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"

enum { SAMPLE_MS = 100, WATCH_S = 2 };

/* --- one array ---------------------------------------------------------------------------------
 */

static void print_array_line(const json_t *array)
{
	char usable[UNITS_TEXT_BYTES], used[UNITS_TEXT_BYTES];

	printf(" array: %s", text_of(array, "name"));
	if (number_of(array, "slots"))
		printf("      %s, %llu drives", text_of(array, "level_text"),
			(unsigned long long)number_of(array, "slots"));
	if (number_of(array, "bytes"))
		printf(", %s usable", units_print(number_of(array, "bytes"), usable));
	if (length_of(array, "volumes"))
		printf(", %s in %zu volume%s", units_print(number_of(array, "volumes_bytes"), used),
			length_of(array, "volumes"), length_of(array, "volumes") == 1 ? "" : "s");
	putchar('\n');
}

static void print_state_line(const struct cli *cli, const json_t *array)
{
	const char *state = text_of(array, "state");
	uint64_t tolerates = number_of(array, "tolerates");
	char large[24];
	size_t i;

	for (i = 0; state[i] && i < sizeof(large) - 1; i++)
		large[i] = (char)(state[i] >= 'a' && state[i] <= 'z' ? state[i] - 32 : state[i]);
	large[i] = '\0';
	printf(" state: %s%s%s", state_color(state, cli->color), large, color_end(cli->color));
	if (!strcmp(state, "degraded"))
		printf(tolerates ? " (still tolerates %llu more failure%s)"
				 : " (tolerates no more failures)",
			(unsigned long long)tolerates, tolerates == 1 ? "" : "s");
	putchar('\n');
}

static void print_jobs(const json_t *status, const char *target)
{
	char text[PROGRESS_TEXT_BYTES];
	size_t i;
	json_t *job;

	json_array_foreach(json_object_get(status, "jobs"), i, job)
	{
		if (strcmp(text_of(job, "target"), target))
			continue;
		if (progress_runs(job))
			printf("   job: #%llu %s  %s\n", (unsigned long long)number_of(job, "id"),
				text_of(job, "type"), progress_text(job, text));
	}
}

/* What only some arrays have. */
static void print_extras(const json_t *array)
{
	uint64_t dirty = number_of(array, "dirty_regions");
	uint64_t missing = number_of(array, "missing_regions");
	uint64_t region_bytes = number_of(array, "region_bytes");
	char text[UNITS_TEXT_BYTES];

	if (*text_of(array, "consistency"))
		printf(" consistency: %s", text_of(array, "consistency"));
	if (dirty)
		printf(", %s dirty", units_print(dirty * region_bytes, text));
	if (missing)
		printf(", the failed drives missed %s", units_print(missing * region_bytes, text));
	if (number_of(array, "spares"))
		printf("   spares: %llu", (unsigned long long)number_of(array, "spares"));
	if (*text_of(array, "consistency"))
		putchar('\n');
}

static void print_exports(const json_t *status, const char *array)
{
	unsigned exports = 0, connected = 0;
	size_t i;
	json_t *export;

	json_array_foreach(json_object_get(status, "exports"), i, export)
	{
		if (strcmp(text_of(export, "array"), array))
			continue;
		exports++;
		connected += truth_of(export, "connected");
	}
	printf(" exports: ");
	if (exports)
		printf("%u vhost (%u connected)\n", exports, connected);
	else
		printf("none\n");
	json_array_foreach(json_object_get(status, "exports"), i,
		export) if (!strcmp(text_of(export, "array"), array) && *text_of(export, "trouble"))
		printf(" trouble: %s: %s\n", text_of(export, "name"), text_of(export, "trouble"));
}

static int print_array(
	const struct cli *cli, const json_t *status, const json_t *array, struct fail *fail)
{
	int error;

	print_array_line(array);
	print_state_line(cli, array);
	if (*text_of(array, "why"))
		printf("   why: %s\n", text_of(array, "why"));
	if (*text_of(array, "next"))
		printf("  next: %s\n", text_of(array, "next"));
	print_jobs(status, text_of(array, "name"));
	print_extras(array);
	error = array_print_members(cli, array, fail);
	if (error)
		return error;
	print_exports(status, text_of(array, "name"));
	return 0;
}

/* --- the cores ---------------------------------------------------------------------------------
 */

/* Per mille of the time between the two answers that this core was busy. */
static unsigned busy_permille(const json_t *before, const json_t *after)
{
	uint64_t busy = number_of(after, "busy_ns") - number_of(before, "busy_ns");
	uint64_t rest = number_of(after, "idle_ns") - number_of(before, "idle_ns") +
			number_of(after, "sleep_ns") - number_of(before, "sleep_ns");

	return busy + rest ? (unsigned)(busy * 1000 / (busy + rest)) : 0;
}

static void print_cores(const json_t *before, const json_t *after)
{
	const json_t *old = json_object_get(before, "cores");
	size_t i;
	json_t *core;
	unsigned sum = 0;

	printf(" cores: ");
	json_array_foreach(json_object_get(after, "cores"), i, core)
	{
		unsigned busy = busy_permille(json_array_get(old, i), core);

		sum += busy;
		printf("%s%llu: %u%%", i ? "  " : "", (unsigned long long)number_of(core, "core"),
			(busy + 5) / 10);
	}
	printf("   busy: %u.%u of %zu\n", sum / 1000, sum / 100 % 10, length_of(after, "cores"));
}

/* --- --check -----------------------------------------------------------------------------------
 */

enum check { CHECK_OK, CHECK_WARNING, CHECK_CRITICAL, CHECK_UNKNOWN };

static enum check check_of(const char *state)
{
	if (!strcmp(state, "optimal"))
		return CHECK_OK;
	if (!strcmp(state, "degraded") || !strcmp(state, "initialising") ||
		!strcmp(state, "assembling") || !strcmp(state, "stopped"))
		return CHECK_WARNING;
	if (!strcmp(state, "foreign"))
		return CHECK_UNKNOWN;
	return CHECK_CRITICAL;
}

/* One line as Nagios reads it; the worst array decides. */
static void print_check(struct cli *cli, const json_t *arrays)
{
	static const char *const words[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};
	enum check worst = CHECK_OK;
	size_t i;
	json_t *array;

	json_array_foreach(
		(json_t *)arrays, i, array) if (check_of(text_of(array, "state")) > worst) worst =
		check_of(text_of(array, "state"));
	if (!json_array_size(arrays))
		worst = CHECK_UNKNOWN;
	printf("BRAID %s:", words[worst]);
	json_array_foreach((json_t *)arrays, i, array) printf("%s %s %s%s%s", i ? "," : "",
		text_of(array, "name"), text_of(array, "state"), *text_of(array, "why") ? ": " : "",
		text_of(array, "why"));
	puts(json_array_size(arrays) ? "" : " there are no arrays");
	cli->status = (enum exit_status)worst;
}

/* --- the command -------------------------------------------------------------------------------
 */

/* status.get, with the arrays and exports of one array only when it is named. */
static int get_status(struct cli *cli, const char *name, json_t **status, struct fail *fail)
{
	AUTO_JSON json_t *found = NULL;
	int error = call(cli, "status.get", NULL, status, fail);

	if (error || !name)
		return error;
	found = json_incref(row_where(json_object_get(*status, "arrays"), "name", name));
	if (!found)
		return fail_set(
			fail, ENOENT, "there is no array '%.64s': see braid array list", name);
	json_object_set_new(*status, "arrays", json_pack("[O]", found));
	return 0;
}

static int print_page(struct cli *cli, const char *name, struct fail *fail)
{
	AUTO_JSON json_t *before = NULL, *status = NULL;
	const json_t *arrays;
	size_t i;
	json_t *array;
	int error = get_status(cli, name, &before, fail);

	if (error)
		return error;
	if (output_is_json(cli)) {
		output_json(cli, before);
		return 0;
	}
	nanosleep(&(struct timespec){.tv_nsec = SAMPLE_MS * 1000000}, NULL);
	error = get_status(cli, name, &status, fail);
	if (error)
		return error;
	arrays = json_object_get(status, "arrays");
	json_array_foreach((json_t *)arrays, i, array)
	{
		if (!error)
			error = print_array(cli, status, array, fail);
		putchar('\n');
	}
	if (!json_array_size(arrays))
		printf(" no arrays; %zu drives, see braid array create --help\n\n",
			length_of(status, "drives"));
	print_cores(before, status);
	return error;
}

static int watch(struct cli *cli, const char *name, struct fail *fail)
{
	const char *every = option_text(cli, "watch");
	double seconds = WATCH_S;
	int error = every ? seconds_parse(every, "--watch", &seconds, fail) : 0;

	while (!error) {
		if (isatty(STDOUT_FILENO) && !output_is_json(cli))
			fputs("\033[H\033[2J", stdout);
		error = print_page(cli, name, fail);
		if (fflush(stdout))
			return fail_set(fail, EPIPE, "cannot write: nobody reads any more");
		nanosleep(&(struct timespec){.tv_sec = (time_t)seconds,
				  .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)},
			NULL);
	}
	return error;
}

static int check(struct cli *cli, const char *name)
{
	AUTO_JSON json_t *status = NULL;
	struct fail fail = {0};

	if (get_status(cli, name, &status, &fail)) {
		text_disarm(fail.text);
		printf("BRAID UNKNOWN: %s\n", fail.text);
		cli->status = (enum exit_status)CHECK_UNKNOWN;
		return 0;
	}
	print_check(cli, json_object_get(status, "arrays"));
	return 0;
}

HANDLER(status_run)
{
	const char *name = cli->word_count ? cli->words[0] : NULL;

	if (option_given(cli, "check"))
		return check(cli, name);
	if (option_given(cli, "watch"))
		return watch(cli, name, fail);
	return print_page(cli, name, fail);
}
