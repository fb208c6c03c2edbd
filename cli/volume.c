/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/units.h"
#include "cli/confirm.h"
#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/volume_name.h"

enum { MIB = 1 << 20 };

static const struct column columns[] = {
	{"name", "NAME", COLUMN_TEXT, 0},
	{"array", "ARRAY", COLUMN_TEXT, 0},
	{"bytes", "SIZE", COLUMN_BYTES, 0},
	{"offset_bytes", "OFFSET", COLUMN_BYTES, COLUMN_WIDE},
	{"export", "EXPORTED AS", COLUMN_TEXT, 0},
};

static const struct listing listing = {"volumes", columns, ARRAY_SIZE(columns),
	"no volumes: braid volume split ARRAY --count N makes some"};

int volume_plain_name(struct cli *cli, const char *typed, const char **name, struct fail *fail)
{
	const char *slash = strchr(typed, '/');
	AUTO_JSON json_t *result = NULL;
	const char *array;
	const json_t *row;
	int error;

	*name = slash ? slash + 1 : typed;
	if (!slash)
		return 0;
	error = call(cli, "volume.list", NULL, &result, fail);
	if (error)
		return error;
	row = row_where(json_object_get(result, "volumes"), "name", *name);
	array = text_of(row, "array");
	if (row && strlen(array) == (size_t)(slash - typed) &&
		!strncmp(array, typed, (size_t)(slash - typed)))
		return 0;
	return fail_set(fail, ENOENT, "array %.*s has no volume '%.64s': see braid volume list",
		(int)(slash - typed), typed, *name);
}

HANDLER(volume_list_run)
{
	AUTO_JSON json_t *result = NULL;
	int error = call(cli, "volume.list", NULL, &result, fail);

	return error ? error : output_list(cli, &listing, json_object_get(result, "volumes"), fail);
}

/* The volume as the daemon lists it. New reference. */
static int find_volume(struct cli *cli, const char *typed, json_t **volume, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL;
	const char *name;
	int error = volume_plain_name(cli, typed, &name, fail);

	if (!error)
		error = call(cli, "volume.list", NULL, &result, fail);
	if (error)
		return error;
	*volume = json_incref(row_where(json_object_get(result, "volumes"), "name", name));
	return *volume ? 0
		       : fail_set(fail, ENOENT, "there is no volume '%.64s': see braid volume list",
				 name);
}

HANDLER(volume_show_run)
{
	AUTO_JSON json_t *volume = NULL;
	int error;

	if (!cli->word_count)
		return volume_list_run(cli, fail);
	error = find_volume(cli, cli->words[0], &volume, fail);
	return error ? error : output_object(cli, &listing, "volume", volume, fail);
}

/* --- sizes -------------------------------------------------------------------------------------
 */

/* "12%" of the array, down to whole stripes. */
static int read_percent(
	struct cli *cli, const char *array, const char *text, uint64_t *bytes, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL;
	char *end;
	double percent = strtod(text, &end);
	const json_t *shown;
	uint64_t stripe;
	int error;

	if (end == text || strcmp(end, "%") || !isfinite(percent) || percent <= 0 || percent > 100)
		return fail_set(
			fail, EINVAL, "--size: '%.40s' is no part of an array: write 12%%", text);
	error = call(cli, "array.show", json_pack("{s:s}", "name", array), &result, fail);
	if (error)
		return error;
	shown = json_object_get(result, "array");
	stripe = number_of(shown, "stripe_bytes");
	*bytes = (uint64_t)((double)number_of(shown, "bytes") * percent / 100);
	if (stripe)
		*bytes -= *bytes % stripe;
	if (!*bytes)
		return fail_set(fail, EINVAL, "--size: %s of array %s is less than one stripe",
			text, array);
	return 0;
}

/* Sets params.bytes when --size was given. */
static int add_size(
	struct cli *cli, const char *array, uint64_t bare_unit, json_t *params, struct fail *fail)
{
	const char *text = option_text(cli, "size");
	uint64_t bytes = 0;
	int error;

	if (!text)
		return 0;
	error = strchr(text, '%') ? read_percent(cli, array, text, &bytes, fail)
				  : option_bytes(cli, "size", bare_unit, &bytes, fail);
	if (!error && !bytes)
		error = fail_set(fail, EINVAL, "--size: a volume of nothing is not possible");
	if (!error)
		json_object_set_new(params, "bytes", json_integer((json_int_t)bytes));
	return error;
}

/* --- create and split --------------------------------------------------------------------------
 */

/* Has the daemon check the call before -n prints it. */
static int change(
	struct cli *cli, const char *method, json_t *params, json_t **result, struct fail *fail)
{
	AUTO_JSON json_t *plan = NULL, *dry = NULL;
	int error = 0;

	if (cli->dry_run) {
		dry = json_copy(params);
		json_object_set_new(dry, "dry_run", json_true());
		error = call(cli, method, json_incref(dry), &plan, fail);
	}
	if (!error)
		return call_to_change(cli, method, params, plan, result, fail);
	json_decref(params);
	return error;
}

HANDLER(volume_create_run)
{
	AUTO_JSON json_t *result = NULL;
	json_t *params;
	const char *typed, *slash;
	char array[64], size[UNITS_TEXT_BYTES];
	int error = option_or_word(cli, NULL, 0, &typed, fail);

	if (error)
		return error;
	slash = strchr(typed, '/');
	if (!slash || slash - typed >= (int)sizeof(array))
		return fail_set(fail, EINVAL,
			"'%.80s' does not say which array: write ARRAY/NAME, like "
			"media6/db01",
			typed);
	snprintf(array, sizeof(array), "%.*s", (int)(slash - typed), typed);
	params = json_pack("{s:s, s:s}", "array", array, "name", slash + 1);
	if (!params)
		return fail_set(fail, EINVAL, "the name is no valid UTF-8");
	error = add_size(cli, array, 1, params, fail);
	if (error)
		json_decref(params);
	else
		error = change(cli, "volume.create", params, &result, fail);
	if (error || cli->dry_run)
		return error;
	return output_done(cli, result, "volume %s: %s on array %s", slash + 1,
		units_print(number_of(json_object_get(result, "volume"), "bytes"), size), array);
}

static int split(struct cli *cli, uint64_t bare_unit, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL;
	const char *array, *count_text;
	uint64_t count = 0;
	json_t *params;
	const json_t *volumes;
	char size[UNITS_TEXT_BYTES];
	int error = option_or_word(cli, NULL, 0, &array, fail);

	if (!error)
		error = option_or_word(cli, "count", 1, &count_text, fail);
	if (!error)
		error = number_parse(count_text, "--count", INT32_MAX, &count, fail);
	if (error)
		return error;
	params = json_pack("{s:s, s:I}", "array", array, "count", (json_int_t)count);
	error = add_size(cli, array, bare_unit, params, fail);
	if (error)
		json_decref(params);
	else
		error = change(cli, "volume.split", params, &result, fail);
	if (error || cli->dry_run)
		return error;
	volumes = json_object_get(result, "volumes");
	if (output_is_json(cli))
		return output_list(cli, &listing, volumes, fail);
	say(cli, "%zu volumes of %s: %sp0 to %sp%zu", json_array_size(volumes),
		units_print(number_of(json_array_get(volumes, 0), "bytes"), size), array, array,
		json_array_size(volumes) - 1);
	return 0;
}

HANDLER(volume_split_run)
{
	return split(cli, 1, fail);
}

HANDLER(volume_split_mebibytes_run)
{
	return split(cli, MIB, fail);
}

/* --- delete ------------------------------------------------------------------------------------
 */

HANDLER(volume_delete_run)
{
	AUTO_JSON json_t *volume = NULL, *result = NULL, *members = NULL;
	char warning[240], size[UNITS_TEXT_BYTES];
	const char *typed, *name;
	int error = option_or_word(cli, NULL, 0, &typed, fail);

	if (!error)
		error = find_volume(cli, typed, &volume, fail);
	if (error)
		return error;
	name = text_of(volume, "name");
	if (*text_of(volume, "export"))
		return fail_set(fail, EBUSY,
			"volume %s is exported by controller %s: braid vhost delete "
			"%s first",
			name, text_of(volume, "export"), text_of(volume, "export"));
	snprintf(warning, sizeof(warning), "Volume %s (%s on array %s) and its data will be LOST.",
		name, units_print(number_of(volume, "bytes"), size), text_of(volume, "array"));
	error = confirm_loss(cli, warning, "volume", name, fail);
	if (!error)
		error = call_to_change(cli, "volume.delete", json_pack("{s:s}", "name", name), NULL,
			&result, fail);
	if (error || cli->dry_run)
		return error;
	members = json_pack("{s:s}", "deleted", name);
	return output_done(cli, members, "volume %s deleted", name);
}
