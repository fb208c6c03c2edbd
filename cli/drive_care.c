/* SPDX-License-Identifier: Apache-2.0 */
/* braid drive smart, log, format, locate. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "cli/confirm.h"
#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/rpc_client.h"

/* --- smart ----------------------------------------------------------------------------------- */

static const struct column columns[] = {
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
	{"warning_minutes", "TOO WARM MINUTES", COLUMN_NUMBER, COLUMN_NOT_ZERO},
	{"critical_minutes", "TOO HOT MINUTES", COLUMN_NUMBER, COLUMN_NOT_ZERO},
};

static const struct listing listing = {"health", columns, ARRAY_SIZE(columns), ""};

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

/* --- log ------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	unsigned page, bytes;
} pages[] = {
	{"error", 1, 4096},
	{"health", 2, 512},
	{"firmware", 3, 512},
	{"effects", 5, 4096},
	{"self-test", 6, 564},
	{"sanitize", 0x81, 512},
};

/* "error", 1 or 0x81. */
static int read_page(const char *text, uint64_t *page, uint64_t *bytes, struct fail *fail)
{
	char *end;

	*bytes = 512;
	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
		if (!strcmp(pages[i].name, text)) {
			*page = pages[i].page;
			*bytes = pages[i].bytes;
			return 0;
		}
	*page = strtoull(text, &end, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
		if (pages[i].page == *page)
			*bytes = pages[i].bytes;
	if (*end || !*text || !*page || *page > 255)
		return fail_set(fail, EINVAL,
			"'%.40s' is no log page: error, health, firmware, effects, self-test, "
			"sanitize, or a number from 1 to 255",
			text);
	return 0;
}

/* Sixteen bytes a line, as hexdump does; lines of zeros are left out. */
static void print_log(const char *hexadecimal)
{
	static const char zeros[] = "00000000000000000000000000000000";
	size_t length = strlen(hexadecimal);

	for (size_t at = 0; at < length; at += 32) {
		const char *line = hexadecimal + at;
		size_t digits = length - at < 32 ? length - at : 32;

		if (!strncmp(line, zeros, digits))
			continue;
		printf("%06zx ", at / 2);
		for (size_t i = 0; i < digits; i += 2)
			printf(" %.2s", line + i);
		putchar('\n');
	}
}

HANDLER(drive_log_run)
{
	AUTO_JSON json_t *result = NULL;
	const char *name, *typed;
	uint64_t page, bytes;
	int error = option_or_word(cli, NULL, 0, &name, fail);

	if (!error)
		error = option_or_word(cli, NULL, 1, &typed, fail);
	if (!error)
		error = read_page(typed, &page, &bytes, fail);
	if (!error)
		error = option_bytes(cli, "bytes", 1, &bytes, fail);
	if (!error)
		error = call(cli, "drive.log",
			json_pack("{s:s, s:I, s:I}", "name", name, "page", (json_int_t)page,
				"bytes", (json_int_t)bytes),
			&result, fail);
	if (error)
		return error;
	if (output_is_json(cli))
		output_json(cli, result);
	else
		print_log(text_of(result, "log"));
	return 0;
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
