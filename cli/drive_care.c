/* SPDX-License-Identifier: Apache-2.0 */
/* braid drive smart, format, sanitize, self-test, locate. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "cli/confirm.h"
#include "cli/drive.h"
#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/rpc_client.h"

/* --- smart ----------------------------------------------------------------------------------- */

const struct column health_columns[HEALTH_COLUMNS] = {
	{"name", "NAME", COLUMN_TEXT, 0},
	{"model", "MODEL", COLUMN_TEXT, 0},
	{"serial", "SERIAL", COLUMN_TEXT, 0},
	{"firmware", "FIRMWARE", COLUMN_TEXT, 0},
	{"warnings", "WARNINGS", COLUMN_LIST, 0},
	{"celsius", "CELSIUS", COLUMN_NUMBER, 0},
	{"wear_percent", "WEAR%", COLUMN_NUMBER, 0},
	{"spare_percent", "SPARE%", COLUMN_NUMBER, 0},
	{"spare_threshold_percent", "SPARE% LEAST", COLUMN_NUMBER, 0},
	{"media_errors", "MEDIA ERRORS", COLUMN_NUMBER, 0},
	{"error_entries", "ERROR ENTRIES", COLUMN_NUMBER, 0},
	{"read_bytes", "READ", COLUMN_BYTES, 0},
	{"written_bytes", "WRITTEN", COLUMN_BYTES, 0},
	{"reads", "READS", COLUMN_NUMBER, 0},
	{"writes", "WRITES", COLUMN_NUMBER, 0},
	{"busy_minutes", "BUSY MINUTES", COLUMN_NUMBER, 0},
	{"power_cycles", "POWER CYCLES", COLUMN_NUMBER, 0},
	{"power_on_hours", "HOURS", COLUMN_NUMBER, 0},
	{"unsafe_shutdowns", "UNSAFE SHUTDOWNS", COLUMN_NUMBER, 0},
	{"sensors_celsius", "SENSORS", COLUMN_LIST, 0},
	{"warning_minutes", "TOO WARM MINUTES", COLUMN_NUMBER, COLUMN_NOT_ZERO},
	{"critical_minutes", "TOO HOT MINUTES", COLUMN_NUMBER, COLUMN_NOT_ZERO},
};

static const struct listing listing = {"health", health_columns, HEALTH_COLUMNS, ""};

HANDLER(drive_smart_run)
{
	AUTO_JSON json_t *result = NULL;
	const char *name;
	int error = option_or_word(cli, NULL, 0, &name, fail);

	if (!error)
		error = call(cli, "drive.smart", json_pack("{s:s}", "name", name), &result, fail);
	return error ? error
		     : output_object(
			       cli, &listing, "health", json_object_get(result, "health"), fail);
}

/* --- format ---------------------------------------------------------------------------------- */

static int format_params(
	const struct cli *cli, const char *name, json_t **params, struct fail *fail)
{
	const char *erase = option_text(cli, "erase");
	uint64_t lba_bytes = 0;
	int error = option_bytes(cli, "lba", 1, &lba_bytes, fail);

	if (error)
		return error;
	*params = json_pack("{s:s}", "name", name);
	if (option_given(cli, "lba"))
		json_object_set_new(*params, "lba_bytes", json_integer((json_int_t)lba_bytes));
	if (erase)
		json_object_set_new(*params, "erase", json_string(erase));
	return 0;
}

HANDLER(drive_format_run)
{
	AUTO_JSON json_t *result = NULL, *checked = NULL, *check = NULL;
	json_t *params = NULL;
	char warning[160];
	const char *name;
	int error = option_or_word(cli, NULL, 0, &name, fail);

	if (!error)
		error = format_params(cli, name, &params, fail);
	if (error)
		return error;
	check = json_copy(params);
	json_object_set_new(check, "dry_run", json_true());
	error = call(cli, "drive.format", json_incref(check), &checked, fail);
	snprintf(warning, sizeof(warning), "All data on drive %.80s will be LOST.", name);
	if (!error)
		error = confirm_loss(cli, warning, "drive", name, fail);
	if (error) {
		json_decref(params);
		return error;
	}
	if (cli->timeout_s <= 0)
		cli->client->timeout_s = 3700; /* a drive may take an hour */
	error = call_to_change(cli, "drive.format", params, NULL, &result, fail);
	if (error || cli->dry_run)
		return error;
	return output_done(cli, result, "drive %s formatted", name);
}

/* --- sanitize and self-test ------------------------------------------------------------------ */

/* The drive goes on by itself: whoever does not wait looks at it with braid job list. */
static int follow_drive(
	struct cli *cli, json_t *result, const char *name, const char *done, struct fail *fail)
{
	uint64_t id = number_of(json_object_get(result, "job"), "id");
	AUTO_JSON json_t *job = NULL;
	int error;

	if (option_given(cli, "no-wait"))
		return output_done(cli, result, "job %llu: drive %s %s; braid job watch %llu",
			(unsigned long long)id, name, done, (unsigned long long)id);
	error = progress_follow(cli, id, &job, fail);
	if (error)
		return error;
	json_object_set(result, "job", job);
	return 0;
}

HANDLER(drive_sanitize_run)
{
	AUTO_JSON json_t *result = NULL, *checked = NULL, *check = NULL, *params = NULL;
	const char *how = option_text(cli, "how"), *name;
	uint64_t passes = 1;
	char warning[200];
	int error = option_or_word(cli, NULL, 0, &name, fail);

	if (!error)
		error = option_number(cli, "passes", 16, &passes, fail);
	if (error)
		return error;
	params = json_pack("{s:s, s:s}", "name", name, "how", how ? how : "");
	if (option_given(cli, "passes"))
		json_object_set_new(params, "passes", json_integer((json_int_t)passes));
	check = json_copy(params);
	json_object_set_new(check, "dry_run", json_true());
	error = call(cli, "drive.sanitize", json_incref(check), &checked, fail);
	snprintf(warning, sizeof(warning),
		"All data on drive %.80s will be LOST beyond recovery, and it cannot be stopped.",
		name);
	if (!error)
		error = confirm_loss(cli, warning, "drive", name, fail);
	if (!error)
		error = call_to_change(
			cli, "drive.sanitize", json_incref(params), NULL, &result, fail);
	if (error || cli->dry_run)
		return error;
	error = follow_drive(cli, result, name, "sanitizes itself", fail);
	if (error || option_given(cli, "no-wait"))
		return error;
	return output_done(cli, result, "drive %s sanitized", name);
}

HANDLER(drive_self_test_run)
{
	bool extended = option_given(cli, "extended"), end = option_given(cli, "abort");
	AUTO_JSON json_t *result = NULL;
	const char *name;
	int error = option_or_word(cli, NULL, 0, &name, fail);

	if (!error && extended && end)
		error = fail_set(fail, EINVAL, "--extended and --abort do not go together");
	if (!error)
		error = call_to_change(cli, "drive.self_test",
			json_pack("{s:s, s:s}", "name", name, "kind",
				end	   ? "abort"
				: extended ? "extended"
					   : "short"),
			NULL, &result, fail);
	if (error || cli->dry_run)
		return error;
	if (end)
		return output_done(cli, result, "drive %s: no self-test runs", name);
	error = follow_drive(cli, result, name, "tests itself", fail);
	if (error || option_given(cli, "no-wait"))
		return error;
	return output_done(cli, result, "drive %s has passed its self-test", name);
}

/* --- locate ---------------------------------------------------------------------------------- */

HANDLER(drive_locate_run)
{
	AUTO_JSON json_t *result = NULL;
	bool off = option_given(cli, "off");
	const char *name;
	int error = option_or_word(cli, NULL, 0, &name, fail);

	if (!error)
		error = call_to_change(cli, "drive.locate",
			json_pack("{s:s, s:b}", "name", name, "off", off), NULL, &result, fail);
	if (error || cli->dry_run)
		return error;
	return output_done(cli, result, off ? "drive %s: light off" : "drive %s: light on", name);
}
