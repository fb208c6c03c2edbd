/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/units.h"
#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"

static const struct column columns[] = {
	{"id", "ID", COLUMN_NUMBER, 0},
	{"type", "TYPE", COLUMN_TEXT, 0},
	{"target", "TARGET", COLUMN_TEXT, 0},
	{"state", "STATE", COLUMN_TEXT, 0},
	{"percent", "DONE%", COLUMN_NUMBER, COLUMN_NOT_ZERO},
	{"done_bytes", "DONE", COLUMN_BYTES, 0},
	{"total_bytes", "TOTAL", COLUMN_BYTES, 0},
	{"resumed_bytes", "FROM", COLUMN_BYTES, COLUMN_NOT_ZERO},
	{"bytes_per_second", "PER SECOND", COLUMN_BYTES, 0},
	{"throttle", "AUTO", COLUMN_TEXT, 0},
	{"eta_s", "ETA S", COLUMN_NUMBER, COLUMN_WIDE},
	{"elapsed_ms", "TIME", COLUMN_MILLISECONDS, 0},
	{"limit_bytes_per_second", "LIMIT", COLUMN_BYTES, COLUMN_WIDE},
	{"limit_auto", "LIMIT AUTO", COLUMN_YES, COLUMN_WIDE},
	{"limit_now_bytes_per_second", "LIMIT NOW", COLUMN_BYTES, COLUMN_WIDE},
	{"mismatches", "MISMATCHES", COLUMN_NUMBER, COLUMN_WIDE},
	{"located", "LOCATED", COLUMN_NUMBER, COLUMN_WIDE},
	{"repaired", "REPAIRED", COLUMN_NUMBER, COLUMN_WIDE},
	{"unreadable", "UNREADABLE", COLUMN_NUMBER, COLUMN_WIDE},
	{"error", "ERROR", COLUMN_TEXT, 0},
};

static const struct listing listing = {"jobs", columns, ARRAY_SIZE(columns), "no jobs"};

HANDLER(job_list_run)
{
	AUTO_JSON json_t *result = NULL;
	int error = call(cli, "job.list", NULL, &result, fail);

	return error ? error : output_list(cli, &listing, json_object_get(result, "jobs"), fail);
}

/* The word as a job's number. */
static int read_id(const struct cli *cli, uint64_t *id, struct fail *fail)
{
	const char *text;
	int error = option_or_word(cli, NULL, 0, &text, fail);

	if (!error && text[0] == '#')
		text++;
	return error ? error : number_parse(text, "the job", UINT32_MAX, id, fail);
}

HANDLER(job_show_run)
{
	AUTO_JSON json_t *job = NULL;
	uint64_t id;
	int error = read_id(cli, &id, fail);

	if (!error)
		error = progress_find(cli, id, &job, fail);
	if (error)
		return error;
	return output_object(cli, &listing, "job", job, fail);
}

static int follow(struct cli *cli, uint64_t id, json_t *ended, struct fail *fail)
{
	json_t *job = NULL;
	int error = progress_follow(cli, id, &job, fail);

	if (job)
		json_array_append_new(ended, job);
	return error;
}

/* Follows one job, or all that run now, one after the other. */
static int follow_jobs(struct cli *cli, json_t *ended, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL;
	size_t i;
	json_t *job;
	uint64_t id;
	int error;

	if (cli->word_count) {
		error = read_id(cli, &id, fail);
		return error ? error : follow(cli, id, ended, fail);
	}
	error = call(cli, "job.list", NULL, &result, fail);
	json_array_foreach(
		json_object_get(result, "jobs"), i, job) if (!error && progress_runs(job)) error =
		follow(cli, number_of(job, "id"), ended, fail);
	return error;
}

HANDLER(job_watch_run)
{
	static const struct listing watched = {
		"jobs", columns, ARRAY_SIZE(columns), "no job is running"};
	AUTO_JSON json_t *ended = json_array();
	int error = follow_jobs(cli, ended, fail);

	if (error || cli->quiet)
		return error;
	return output_list(cli, &watched, ended, fail);
}

HANDLER(job_wait_run)
{
	AUTO_JSON json_t *ended = json_array();
	bool quiet = cli->quiet;
	int error;

	cli->quiet = true;
	error = follow_jobs(cli, ended, fail);
	cli->quiet = quiet;
	if (error || !output_is_json(cli))
		return error;
	return output_list(cli, &listing, ended, fail);
}

/* --- steering ----------------------------------------------------------------------------------
 */

static int steer(
	struct cli *cli, const char *method, json_t *params, const char *done, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL;
	uint64_t id;
	int error = read_id(cli, &id, fail);

	if (error) {
		json_decref(params);
		return error;
	}
	json_object_set_new(params, "id", json_integer((json_int_t)id));
	error = call_to_change(cli, method, params, NULL, &result, fail);
	if (error || cli->dry_run)
		return error;
	return output_done(cli, result, "job %llu (%s of %s) %s", (unsigned long long)id,
		text_of(json_object_get(result, "job"), "type"),
		text_of(json_object_get(result, "job"), "target"), done);
}

HANDLER(job_pause_run)
{
	return steer(cli, "job.pause", json_object(), "is paused", fail);
}

HANDLER(job_resume_run)
{
	return steer(cli, "job.resume", json_object(), "goes on", fail);
}

HANDLER(job_cancel_run)
{
	return steer(cli, "job.cancel", json_object(), "is cancelled", fail);
}

HANDLER(job_limit_run)
{
	const char *typed;
	json_t *params;
	uint64_t limit = 0;
	int error = option_or_word(cli, NULL, 1, &typed, fail);
	bool automatic;

	if (error)
		return error;
	automatic = !strcmp(typed, "auto");
	if (!automatic && strcmp(typed, "none")) {
		error = units_parse(&limit, typed, 1, fail);
		if (!error && !limit)
			error = fail_set(fail, EINVAL,
				"a limit of 0 would stop the job: use none, or braid job pause");
	}
	if (error)
		return error;
	params = json_pack("{s:I, s:b}", "bytes_per_second", (json_int_t)limit, "auto", automatic);
	return steer(cli, "job.limit", params, "is limited", fail);
}
