/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
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
	{"done_bytes", "DONE", COLUMN_BYTES, 0},
	{"total_bytes", "TOTAL", COLUMN_BYTES, 0},
	{"elapsed_ms", "TIME", COLUMN_MILLISECONDS, 0},
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
	json_array_foreach(json_object_get(result, "jobs"), i,
		job) if (!error && !strcmp(text_of(job, "state"), "running")) error =
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
