/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays that start and stop, come from another host, and go to one. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"

static void add_flags(const struct cli *cli, json_t *params)
{
	static const struct {
		const char *option, *param;
	} flags[] = {{"accept-loss", "accept_loss"}, {"allow-degraded", "allow_degraded"},
		{"connected", "connected"}};

	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (option_given(cli, flags[i].option))
			json_object_set_new(params, flags[i].param, json_true());
}

static int named_params(const struct cli *cli, json_t **params, struct fail *fail)
{
	const char *name;
	int error = option_or_word(cli, NULL, 0, &name, fail);

	if (error)
		return error;
	*params = json_pack("{s:s}", "name", name);
	add_flags(cli, *params);
	return 0;
}

/* With -n the daemon is asked whether it would. */
static int would(struct cli *cli, const char *method, const json_t *params, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL;
	json_t *dry = json_copy((json_t *)params);

	json_object_set_new(dry, "dry_run", json_true());
	if (cli->dry_run)
		return call(cli, method, dry, &result, fail);
	json_decref(dry);
	return 0;
}

HANDLER(array_start_run)
{
	AUTO_JSON json_t *params = NULL, *result = NULL;
	const json_t *array;
	int error = named_params(cli, &params, fail);

	if (!error)
		error = call_to_change(
			cli, "array.start", json_incref(params), NULL, &result, fail);
	if (error || cli->dry_run)
		return error;
	array = json_object_get(result, "array");
	return output_done(cli, result, "array %s runs: %s, %zu volumes", text_of(array, "name"),
		text_of(array, "state"), length_of(array, "volumes"));
}

HANDLER(array_stop_run)
{
	AUTO_JSON json_t *params = NULL, *result = NULL;
	int error = named_params(cli, &params, fail);

	if (!error)
		error = would(cli, "array.stop", params, fail);
	if (!error)
		error = call_to_change(cli, "array.stop", json_incref(params), NULL, &result, fail);
	if (error || cli->dry_run)
		return error;
	return output_done(cli, result,
		"array %s is stopped; braid array start %s, or the next start of braidd, starts it",
		text_of(params, "name"), text_of(params, "name"));
}

HANDLER(array_export_run)
{
	AUTO_JSON json_t *params = NULL, *result = NULL;
	int error = named_params(cli, &params, fail);

	if (!error)
		error = would(cli, "array.export", params, fail);
	if (!error)
		error = call_to_change(
			cli, "array.export", json_incref(params), NULL, &result, fail);
	if (error || cli->dry_run)
		return error;
	return output_done(cli, result,
		"array %s is stopped and its %zu drives are given back: braid array import takes "
		"it, here or elsewhere",
		text_of(params, "name"), length_of(result, "drives"));
}

/* --- import ------------------------------------------------------------------------------------
 */

/* Paths become absolute; what is no path may be the name of an array. */
static json_t *import_words(const struct cli *cli)
{
	AUTO_JSON json_t *typed = option_list(cli, NULL, 0);
	json_t *words = json_array(), *word;
	size_t i;

	json_array_foreach(typed, i, word)
	{
		char path[PATH_MAX];

		json_array_append_new(words,
			realpath(string_of(word), path) ? json_string(path) : json_incref(word));
	}
	return words;
}

static int import_params(const struct cli *cli, json_t **params, struct fail *fail)
{
	const char *scan = option_text(cli, "scan");
	char path[PATH_MAX];

	if (!scan && !cli->word_count)
		return usage_fail(cli, fail, "name the drives, or --scan DIR");
	if (scan && !realpath(scan, path))
		return fail_set(fail, errno == EACCES ? EIO : errno, "cannot use '%.200s': %s",
			scan, strerror(errno));
	*params = json_pack("{s:o}", "drives", import_words(cli));
	if (scan)
		json_object_set_new(*params, "scan", json_string(path));
	add_flags(cli, *params);
	return 0;
}

HANDLER(array_import_run)
{
	AUTO_JSON json_t *params = NULL, *result = NULL;
	const json_t *array;
	unsigned failed = 0;
	size_t i;
	int error = import_params(cli, &params, fail);

	if (!error)
		error = call_to_change(
			cli, "array.import", json_incref(params), NULL, &result, fail);
	if (error || cli->dry_run)
		return error;
	if (output_is_json(cli))
		output_json(cli, result);
	json_array_foreach(json_object_get(result, "arrays"), i, array)
	{
		if (*text_of(array, "error")) {
			failed++;
			say(cli, "array %s NOT imported: %s", text_of(array, "name"),
				text_of(array, "error"));
		} else {
			say(cli, "array %s imported: %s, %zu volumes", text_of(array, "name"),
				text_of(array, "state"), length_of(array, "volumes"));
		}
	}
	return failed ? fail_set(fail, EIO, "%u of %zu arrays could not be imported", failed,
				length_of(result, "arrays"))
		      : 0;
}
