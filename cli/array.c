/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/array.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/units.h"
#include "cli/confirm.h"
#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"

static const struct column columns[] = {
	{"name", "NAME", COLUMN_TEXT, 0},
	{"level_text", "LEVEL", COLUMN_TEXT, 0},
	{"state", "STATE", COLUMN_TEXT, 0},
	{"slots", "DRIVES", COLUMN_NUMBER, 0},
	{"failed", "FAILED", COLUMN_NUMBER, 0},
	{"spares", "SPARES", COLUMN_NUMBER, COLUMN_WIDE},
	{"bytes", "USABLE", COLUMN_BYTES, 0},
	{"volumes_bytes", "IN VOLUMES", COLUMN_BYTES, 0},
	{"volumes", "VOLUMES", COLUMN_LENGTH, 0},
	{"chunk_bytes", "CHUNK", COLUMN_BYTES, 0},
	{"block_bytes", "BLOCK", COLUMN_NUMBER, 0},
	{"stripe_bytes", "STRIPE", COLUMN_BYTES, COLUMN_WIDE},
	{"parts", "PARTS", COLUMN_NUMBER, COLUMN_WIDE},
	{"tolerates", "TOLERATES", COLUMN_NUMBER, COLUMN_WIDE},
	{"memory_per_core_bytes", "MEMORY/CORE", COLUMN_BYTES, COLUMN_WIDE},
	{"consistency", "CONSISTENCY", COLUMN_TEXT, COLUMN_WIDE},
	{"made_at", "MADE", COLUMN_TIME, COLUMN_WIDE},
	{"uuid", "UUID", COLUMN_TEXT, COLUMN_WIDE},
};

static const struct listing listing = {
	"arrays", columns, ARRAY_SIZE(columns), "no arrays: braid array create makes one"};

static const struct column details[] = {
	{"name", "array", COLUMN_TEXT, 0},
	{"level_text", "level", COLUMN_TEXT, 0},
	{"state", "state", COLUMN_TEXT, 0},
	{"why", "why", COLUMN_TEXT, 0},
	{"next", "next", COLUMN_TEXT, 0},
	{"bytes", "usable", COLUMN_BYTES, 0},
	{"volumes_bytes", "in volumes", COLUMN_BYTES, 0},
	{"volumes", "volumes", COLUMN_LIST, 0},
	{"chunk_bytes", "chunk", COLUMN_BYTES, 0},
	{"stripe_bytes", "stripe", COLUMN_BYTES, 0},
	{"block_bytes", "block bytes", COLUMN_NUMBER, 0},
	{"parts", "parts", COLUMN_NUMBER, COLUMN_NOT_ZERO},
	{"tolerates", "more failures survived", COLUMN_NUMBER, 0},
	{"spares", "spares", COLUMN_NUMBER, COLUMN_NOT_ZERO},
	{"consistency", "consistency", COLUMN_TEXT, 0},
	{"dirty_regions", "regions to resync", COLUMN_NUMBER, COLUMN_NOT_ZERO},
	{"missing_regions", "regions missed", COLUMN_NUMBER, COLUMN_NOT_ZERO},
	{"region_bytes", "region", COLUMN_BYTES, COLUMN_WIDE},
	{"memory_per_core_bytes", "memory per core", COLUMN_BYTES, 0},
	{"made_at", "made", COLUMN_TIME, 0},
	{"uuid", "uuid", COLUMN_TEXT, 0},
};

static const struct column counter_details[] = {
	{"reads", "reads", COLUMN_NUMBER, 0},
	{"writes", "writes", COLUMN_NUMBER, 0},
	{"flushes", "flushes", COLUMN_NUMBER, 0},
	{"discards", "discards", COLUMN_NUMBER, 0},
	{"read_blocks", "blocks read", COLUMN_NUMBER, 0},
	{"written_blocks", "blocks written", COLUMN_NUMBER, 0},
	{"full_stripes", "stripes written in full", COLUMN_NUMBER, 0},
	{"rewrites", "rewrites", COLUMN_NUMBER, 0},
	{"modifies", "modifies", COLUMN_NUMBER, 0},
	{"joins", "joined", COLUMN_NUMBER, 0},
	{"recovers", "recovered", COLUMN_NUMBER, 0},
	{"retries", "retries", COLUMN_NUMBER, 0},
	{"repairs", "blocks repaired", COLUMN_NUMBER, 0},
	{"log_records", "log records", COLUMN_NUMBER, 0},
	{"log_batches", "log writes", COLUMN_NUMBER, 0},
	{"log_bytes", "log", COLUMN_BYTES, 0},
	{"intents", "waits for the dirty map", COLUMN_NUMBER, 0},
};

static const struct column member_columns[] = {
	{"slot", "SLOT", COLUMN_NUMBER, 0},
	{"drive", "DRIVE", COLUMN_TEXT, 0},
	{"text", "STATE", COLUMN_TEXT, 0},
	{"bytes", "SIZE", COLUMN_BYTES, 0},
	{"reads", "READS", COLUMN_NUMBER, 0},
	{"writes", "WRITES", COLUMN_NUMBER, 0},
	{"read_errors", "READ-ERR", COLUMN_NUMBER, 0},
	{"write_errors", "WRITE-ERR", COLUMN_NUMBER, 0},
	{"bad_blocks", "BAD", COLUMN_NUMBER, 0},
	{"reason", "REASON", COLUMN_TEXT, 0},
};

int array_print_members(const struct cli *cli, const json_t *array, struct fail *fail)
{
	struct table_style style = output_style(cli);

	style.columns = NULL;
	style.no_header = false;
	return length_of(array, "members")
		       ? table_print(json_object_get(array, "members"), member_columns,
				 ARRAY_SIZE(member_columns), &style, fail)
		       : 0;
}

HANDLER(array_list_run)
{
	AUTO_JSON json_t *result = NULL;
	int error = call(cli, "array.list", NULL, &result, fail);

	return error ? error : output_list(cli, &listing, json_object_get(result, "arrays"), fail);
}

static int get_array(struct cli *cli, const char *name, json_t **array, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL;
	int error = call(cli, "array.show", json_pack("{s:s}", "name", name), &result, fail);

	if (!error)
		*array = json_incref(json_object_get(result, "array"));
	return error;
}

HANDLER(array_show_run)
{
	AUTO_JSON json_t *array = NULL;
	struct table_style style = output_style(cli);
	const char *name;
	int error;

	if (!cli->word_count && !option_given(cli, "name"))
		return array_list_run(cli, fail);
	error = option_or_word(cli, "name", 0, &name, fail);
	if (!error)
		error = get_array(cli, name, &array, fail);
	if (error)
		return error;
	if (output_is_json(cli) || cli->columns || cli->no_header)
		return output_object(cli, &listing, "array", array, fail);
	details_print(array, details, ARRAY_SIZE(details), &style);
	if (style.wide)
		details_print(json_object_get(array, "counters"), counter_details,
			ARRAY_SIZE(counter_details), &style);
	putchar('\n');
	return array_print_members(cli, array, fail);
}

/* --- delete ------------------------------------------------------------------------------------
 */

/* Refuses what the daemon would refuse, before anybody is asked to confirm it. */
static int check_no_exports(struct cli *cli, const char *name, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL;
	const json_t *export;
	int error = call(cli, "vhost.list", NULL, &result, fail);

	if (error)
		return error;
	export = row_where(json_object_get(result, "exports"), "array", name);
	if (!export)
		return 0;
	return fail_set(fail, EBUSY,
		"array %s is exported by controller %s: braid vhost delete %s first", name,
		text_of(export, "name"), text_of(export, "name"));
}

HANDLER(array_delete_run)
{
	AUTO_JSON json_t *array = NULL, *result = NULL, *members = NULL;
	char warning[320], size[UNITS_TEXT_BYTES], volumes[64] = "";
	const char *name;
	int error = option_or_word(cli, "name", 0, &name, fail);

	if (!error)
		error = get_array(cli, name, &array, fail);
	if (!error)
		error = check_no_exports(cli, name, fail);
	if (error)
		return error;
	if (length_of(array, "volumes"))
		snprintf(
			volumes, sizeof(volumes), ", its %zu volumes", length_of(array, "volumes"));
	snprintf(warning, sizeof(warning), "Array %s (%s, %s)%s and all data on it will be LOST.",
		name, text_of(array, "level_text"), units_print(number_of(array, "bytes"), size),
		volumes);
	error = confirm_loss(cli, warning, "array", name, fail);
	if (!error)
		error = call_to_change(
			cli, "array.delete", json_pack("{s:s}", "name", name), NULL, &result, fail);
	if (error || cli->dry_run)
		return error;
	members = json_pack("{s:s}", "deleted", name);
	return output_done(cli, members, "array %s deleted, its %zu drives are free", name,
		length_of(array, "members"));
}

/* --- fail --------------------------------------------------------------------------------------
 */

/* With --allow-failed: first without it, so that only a real loss of data asks for the name. */
static int fail_member(struct cli *cli, const char *name, const char *drive, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL;
	bool allow = option_given(cli, "allow-failed");
	char warning[320];
	int error;

	if (!cli->dry_run || !allow) {
		error = call_to_change(cli, "array.fail",
			json_pack("{s:s, s:s}", "name", name, "drive", drive), NULL, &result, fail);
		if (error != -EPERM || !allow)
			return error;
	}
	snprintf(warning, sizeof(warning),
		"Array %s has no redundancy left: without drive %s its data will be LOST.", name,
		drive);
	error = confirm_loss(cli, warning, "array", name, fail);
	if (error)
		return error;
	return call_to_change(cli, "array.fail",
		json_pack("{s:s, s:s, s:b}", "name", name, "drive", drive, "allow_failed", 1), NULL,
		&result, fail);
}

HANDLER(array_fail_run)
{
	AUTO_JSON json_t *array = NULL, *dry = NULL, *members = NULL;
	const char *name, *drive;
	int error = option_or_word(cli, NULL, 0, &name, fail);

	if (!error)
		error = option_or_word(cli, NULL, 1, &drive, fail);
	if (!error && cli->dry_run)
		error = call(cli, "array.fail",
			json_pack("{s:s, s:s, s:b}", "name", name, "drive", drive, "dry_run", 1),
			&dry, fail);
	if (!error)
		error = fail_member(cli, name, drive, fail);
	if (error || cli->dry_run)
		return error;
	error = get_array(cli, name, &array, fail);
	if (error)
		return error;
	members = json_pack("{s:O}", "array", array);
	return output_done(cli, members, "drive %s of array %s is out of service; the array is %s",
		drive, name, text_of(array, "state"));
}
