/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"
#include "cli/json.h"
#include "cli/output.h"

enum { BAR_WIDTH = 20, POLL_MS = 200, PLAIN_LINE_MS = 10000 };

static char *duration_text(double seconds, char *text, size_t bytes)
{
	unsigned long total = seconds < 1e9 ? (unsigned long)(seconds + 0.5) : 0;

	if (seconds >= 1e9)
		snprintf(text, bytes, "unknown");
	else if (total < 60)
		snprintf(text, bytes, "%lus", total);
	else if (total < 3600)
		snprintf(text, bytes, "%lum%02lus", total / 60, total % 60);
	else
		snprintf(text, bytes, "%luh%02lum", total / 3600, total / 60 % 60);
	return text;
}

bool progress_runs(const json_t *job)
{
	const char *state = text_of(job, "state");

	return !strcmp(state, "running") || !strcmp(state, "paused");
}

char *progress_text(const json_t *job, char *text)
{
	uint64_t done = number_of(job, "done_bytes"), total = number_of(job, "total_bytes");
	double part = total ? (double)done / (double)total : 0;
	double speed = (double)number_of(job, "bytes_per_second");
	uint64_t limit = number_of(job, "limit_bytes_per_second");
	char bar[BAR_WIDTH + 1] = "", done_text[UNITS_TEXT_BYTES], total_text[UNITS_TEXT_BYTES];
	char speed_text[UNITS_TEXT_BYTES], left[32];
	int used;

	if (json_object_get(job, "percent"))
		part = (double)number_of(job, "percent") / 100;
	if (part > 1)
		part = 1;
	for (unsigned i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < (unsigned)(part * BAR_WIDTH) ? '#' : '-';
	if (json_object_get(job, "percent")) { /* what a drive does by itself */
		uint64_t eta_s = number_of(job, "eta_s");

		snprintf(text, PROGRESS_TEXT_BYTES, "[%s] %5.1f%%   eta %s", bar, part * 100,
			duration_text(eta_s ? (double)eta_s : 1e9, left, sizeof(left)));
		return text;
	}
	if (!strcmp(text_of(job, "state"), "paused")) {
		snprintf(text, PROGRESS_TEXT_BYTES, "[%s] %5.1f%%   %s of %s   paused", bar,
			part * 100, units_print(done, done_text), units_print(total, total_text));
		return text;
	}
	used = snprintf(text, PROGRESS_TEXT_BYTES, "[%s] %5.1f%%   %s of %s   %s/s   eta %s", bar,
		part * 100, units_print(done, done_text), units_print(total, total_text),
		units_print((uint64_t)speed, speed_text),
		duration_text(
			speed > 0 ? (double)(total - done) / speed : 1e9, left, sizeof(left)));
	if (truth_of(job, "limit_auto") && used < PROGRESS_TEXT_BYTES)
		snprintf(text + used, PROGRESS_TEXT_BYTES - (size_t)used, "   limit: auto");
	else if (limit && used < PROGRESS_TEXT_BYTES)
		snprintf(text + used, PROGRESS_TEXT_BYTES - (size_t)used, "   limit: %s/s",
			units_print(limit, speed_text));
	return text;
}

int progress_find(struct cli *cli, uint64_t id, json_t **job, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL;
	size_t i;
	json_t *row;
	int error = call(cli, "job.list", NULL, &result, fail);

	if (error)
		return error;
	json_array_foreach(json_object_get(result, "jobs"), i, row) if (number_of(row, "id") == id)
	{
		*job = json_incref(row);
		return 0;
	}
	return fail_set(
		fail, ENOENT, "there is no job %llu: see braid job list", (unsigned long long)id);
}

static void show(const struct cli *cli, const json_t *job, bool end)
{
	static uint64_t said_ms;
	uint64_t elapsed_ms = number_of(job, "elapsed_ms");
	bool tty = isatty(STDERR_FILENO);
	char text[PROGRESS_TEXT_BYTES];

	if (cli->quiet || (!tty && elapsed_ms < said_ms + PLAIN_LINE_MS))
		return;
	said_ms = elapsed_ms;
	if (tty && end)
		fprintf(stderr, "\r\033[K");
	else
		fprintf(stderr, "%s%s %s  %s%s", tty ? "\r\033[K" : "", text_of(job, "type"),
			text_of(job, "target"), progress_text(job, text), tty ? "" : "\n");
	fflush(stderr);
}

int progress_follow(struct cli *cli, uint64_t id, json_t **ended, struct fail *fail)
{
	uint64_t waited_ms = 0;

	while (true) {
		json_t *job = NULL;
		int error = progress_find(cli, id, &job, fail);
		bool running;

		if (error)
			return error;
		running = progress_runs(job);
		show(cli, job, !running);
		if (!running) {
			*ended = job;
			if (strcmp(text_of(job, "state"), "done"))
				return fail_set(fail, EIO, "job %llu %s%s%s",
					(unsigned long long)id,
					!strcmp(text_of(job, "state"), "failed") ? "failed"
										 : "was cancelled",
					*text_of(job, "error") ? ": " : "", text_of(job, "error"));
			return 0;
		}
		if (cli->timeout_s > 0 && (double)waited_ms >= cli->timeout_s * 1000) {
			show(cli, job, true);
			json_decref(job);
			return fail_set(fail, ETIMEDOUT,
				"job %llu still runs after %g s: it goes on, see braid job list",
				(unsigned long long)id, cli->timeout_s);
		}
		json_decref(job);
		nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
		waited_ms += POLL_MS;
	}
}
