/* SPDX-License-Identifier: Apache-2.0 */
/* Drives into and out of arrays, shared spares, scrub. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "cli/confirm.h"
#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"

/* The words of the command as parameters, in that order. */
static int read_words(
	const struct cli *cli, const char *const *keys, json_t **params, struct fail *fail)
{
	*params = json_object();
	for (unsigned i = 0; keys[i]; i++) {
		const char *word;
		int error = option_or_word(cli, NULL, i, &word, fail);

		if (error) {
			json_decref(*params);
			*params = NULL;
			return error;
		}
		json_object_set_new(*params, keys[i], json_string(word));
	}
	if (option_given(cli, "wipe-signatures"))
		json_object_set_new(*params, "wipe_signatures", json_true());
	return 0;
}

/* Asks the daemon whether it would do it, before anybody is asked to confirm it. */
static int try_first(struct cli *cli, const char *method, json_t *params, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL;
	json_t *dry = json_copy(params);

	json_object_set_new(dry, "dry_run", json_true());
	return call(cli, method, dry, &result, fail);
}

static int change(
	struct cli *cli, const char *method, json_t *params, json_t **result, struct fail *fail)
{
	return call_to_change(cli, method, json_incref(params), NULL, result, fail);
}

static const char *state_of(const json_t *result)
{
	return text_of(json_object_get(result, "array"), "state");
}

/* A drive that gets a new content: tried, confirmed, done. */
static int take_drive(struct cli *cli, const char *method, json_t *params, const char *key,
	json_t **result, struct fail *fail)
{
	const char *drive = text_of(params, key);
	char warning[320];
	int error = try_first(cli, method, params, fail);

	snprintf(warning, sizeof(warning), "What drive %.200s holds will be LOST.", drive);
	if (!error)
		error = confirm_loss(cli, warning, "drive", drive, fail);
	return error ? error : change(cli, method, params, result, fail);
}

HANDLER(array_add_run)
{
	static const char *const keys[] = {"name", "drive", NULL};
	AUTO_JSON json_t *params = NULL, *result = NULL;
	int error = read_words(cli, keys, &params, fail);

	if (!error)
		error = take_drive(cli, "array.add", params, "drive", &result, fail);
	if (error || cli->dry_run)
		return error;
	return output_done(cli, result, "drive %s is a spare of array %s, which is %s",
		text_of(params, "drive"), text_of(params, "name"), state_of(result));
}

HANDLER(array_remove_run)
{
	static const char *const keys[] = {"name", "drive", NULL};
	AUTO_JSON json_t *params = NULL, *result = NULL;
	int error = read_words(cli, keys, &params, fail);

	if (error)
		return error;
	if (cli->dry_run)
		error = try_first(cli, "array.remove", params, fail);
	if (!error)
		error = change(cli, "array.remove", params, &result, fail);
	if (error || cli->dry_run)
		return error;
	return output_done(cli, result, "array %s has let drive %s go; the array is %s",
		text_of(params, "name"), text_of(params, "drive"), state_of(result));
}

HANDLER(array_replace_run)
{
	static const char *const keys[] = {"name", "old", "new", NULL};
	AUTO_JSON json_t *params = NULL, *result = NULL;
	int error = read_words(cli, keys, &params, fail);

	if (!error)
		error = take_drive(cli, "array.replace", params, "new", &result, fail);
	if (error || cli->dry_run)
		return error;
	return output_done(cli, result,
		"drive %s becomes a copy of %s and then takes its place: braid job watch",
		text_of(params, "new"), text_of(params, "old"));
}

HANDLER(array_readd_run)
{
	static const char *const keys[] = {"name", "drive", NULL};
	AUTO_JSON json_t *params = NULL, *result = NULL;
	int error = read_words(cli, keys, &params, fail);

	if (error)
		return error;
	error = change(cli, "array.readd", params, &result, fail);
	if (error || cli->dry_run)
		return error;
	return output_done(cli, result,
		"drive %s is back in array %s; what it missed is copied: braid job watch",
		text_of(params, "drive"), text_of(params, "name"));
}

/* --- scrub -------------------------------------------------------------------------------------
 */

static int say_scrubbed(struct cli *cli, const json_t *job, struct fail *fail)
{
	unsigned long long mismatches = number_of(job, "mismatches");
	unsigned long long repaired = number_of(job, "repaired");
	AUTO_JSON json_t *members = json_pack("{s:O}", "job", job);

	if (!mismatches && !number_of(job, "unreadable"))
		return output_done(cli, members, "array %s: all redundancy agrees with the data",
			text_of(job, "target"));
	output_done(cli, members,
		"array %s: %llu rows do not agree, in %llu of them the wrong drive is known, "
		"%llu repaired, %llu unreadable",
		text_of(job, "target"), mismatches, (unsigned long long)number_of(job, "located"),
		repaired, (unsigned long long)number_of(job, "unreadable"));
	if (repaired == mismatches && !number_of(job, "unreadable"))
		return 0;
	return fail_set(fail, EIO, "array %s has rows that do not agree%s", text_of(job, "target"),
		strcmp(text_of(job, "type"), "scrub") ? "" : ": braid array scrub --repair");
}

HANDLER(array_scrub_run)
{
	static const char *const keys[] = {"name", NULL};
	AUTO_JSON json_t *params = NULL, *result = NULL, *job = NULL;
	int error = read_words(cli, keys, &params, fail);
	uint64_t id;

	if (error)
		return error;
	if (option_given(cli, "repair"))
		json_object_set_new(params, "repair", json_true());
	error = change(cli, "array.scrub", params, &result, fail);
	if (error || cli->dry_run)
		return error;
	id = number_of(json_object_get(result, "job"), "id");
	if (option_given(cli, "no-wait"))
		return output_done(cli, result, "job %llu scrubs array %s: braid job watch %llu",
			(unsigned long long)id, text_of(params, "name"), (unsigned long long)id);
	error = progress_follow(cli, id, &job, fail);
	return error ? error : say_scrubbed(cli, job, fail);
}

/* --- shared spares -----------------------------------------------------------------------------
 */

static const struct column columns[] = {
	{"name", "NAME", COLUMN_TEXT, 0},
	{"driver", "DRIVER", COLUMN_TEXT, 0},
	{"bytes", "SIZE", COLUMN_BYTES, 0},
	{"block_bytes", "BLOCK", COLUMN_NUMBER, 0},
	{"present", "PRESENT", COLUMN_YES, 0},
};

HANDLER(spare_list_run)
{
	static const struct listing listing = {"spares", columns, ARRAY_SIZE(columns),
		"no shared spares: braid spare add DRIVE makes one"};
	AUTO_JSON json_t *result = NULL;
	int error = call(cli, "spare.list", NULL, &result, fail);

	return error ? error : output_list(cli, &listing, json_object_get(result, "spares"), fail);
}

static int each_spare(struct cli *cli, const char *method, bool confirm, struct fail *fail)
{
	AUTO_JSON json_t *names = option_list(cli, NULL, 0);
	size_t i, count = json_array_size(names);
	json_t *name;
	int error = count ? 0 : usage_fail(cli, fail, "DRIVE is missing");

	json_array_foreach(names, i, name)
	{
		AUTO_JSON json_t *result = NULL, *params = json_pack("{s:O}", "drive", name);

		if (error)
			break;
		if (option_given(cli, "wipe-signatures"))
			json_object_set_new(params, "wipe_signatures", json_true());
		error = confirm ? take_drive(cli, method, params, "drive", &result, fail)
				: change(cli, method, params, &result, fail);
	}
	if (error && i > 1 && !cli->dry_run)
		fail_prefix(fail, "%zu of %zu drives done, then", i - 1, count);
	return error;
}

HANDLER(spare_add_run)
{
	AUTO_JSON json_t *members = NULL, *names = option_list(cli, NULL, 0);
	int error = each_spare(cli, "spare.add", true, fail);

	if (error || cli->dry_run)
		return error;
	members = json_pack("{s:O}", "added", names);
	return output_done(cli, members, "%zu drive%s will help any array that loses one",
		json_array_size(names), json_array_size(names) == 1 ? "" : "s");
}

HANDLER(spare_remove_run)
{
	AUTO_JSON json_t *members = NULL, *names = option_list(cli, NULL, 0);
	int error = each_spare(cli, "spare.remove", false, fail);

	if (error || cli->dry_run)
		return error;
	members = json_pack("{s:O}", "removed", names);
	return output_done(cli, members, "%zu drive%s no shared spare%s any more",
		json_array_size(names), json_array_size(names) == 1 ? " is" : "s are",
		json_array_size(names) == 1 ? "" : "s");
}
