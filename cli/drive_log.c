/* SPDX-License-Identifier: Apache-2.0 */
/* braid drive log: what the daemon makes of a log page, or its bytes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "cli/drive.h"
#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"

static const struct column error_columns[] = {
	{"number", "NUMBER", COLUMN_NUMBER, 0},
	{"status", "STATUS", COLUMN_NUMBER, 0},
	{"what", "WHAT", COLUMN_TEXT, 0},
	{"nsid", "NSID", COLUMN_NUMBER, 0},
	{"lba", "LBA", COLUMN_NUMBER, 0},
	{"queue", "QUEUE", COLUMN_NUMBER, 0},
	{"command", "COMMAND", COLUMN_NUMBER, COLUMN_WIDE},
	{"byte", "BYTE", COLUMN_NUMBER, COLUMN_WIDE},
	{"bit", "BIT", COLUMN_NUMBER, COLUMN_WIDE},
	{"do_not_retry", "FINAL", COLUMN_YES, COLUMN_WIDE},
};

static const struct column slot_columns[] = {
	{"slot", "SLOT", COLUMN_NUMBER, 0},
	{"revision", "FIRMWARE", COLUMN_TEXT, 0},
	{"active", "RUNS", COLUMN_YES, 0},
	{"next", "AFTER A RESET", COLUMN_YES, 0},
};

static const struct column test_columns[] = {
	{"kind", "TEST", COLUMN_TEXT, 0},
	{"what", "RESULT", COLUMN_TEXT, 0},
	{"power_on_hours", "AT HOURS", COLUMN_NUMBER, 0},
	{"segment", "SEGMENT", COLUMN_NUMBER, 0},
	{"nsid", "NSID", COLUMN_NUMBER, COLUMN_WIDE},
	{"lba", "LBA", COLUMN_NUMBER, 0},
	{"status", "STATUS", COLUMN_NUMBER, COLUMN_WIDE},
};

static const struct column sanitize_columns[] = {
	{"state", "STATE", COLUMN_TEXT, 0},
	{"how", "BY", COLUMN_TEXT, 0},
	{"percent", "DONE%", COLUMN_NUMBER, 0},
	{"passes_done", "PASSES", COLUMN_NUMBER, COLUMN_NOT_ZERO},
	{"nothing_written_since", "NOTHING WRITTEN SINCE", COLUMN_YES, 0},
	{"block_s", "BLOCK TAKES S", COLUMN_NUMBER, COLUMN_NOT_ZERO},
	{"crypto_s", "CRYPTO TAKES S", COLUMN_NUMBER, COLUMN_NOT_ZERO},
	{"overwrite_s", "OVERWRITE TAKES S", COLUMN_NUMBER, COLUMN_NOT_ZERO},
};

/* How the answer's member `listing.key` is shown: a list, or one object. */
static const struct {
	struct listing listing;
	bool object;
} shapes[] = {
	{{"errors", error_columns, ARRAY_SIZE(error_columns), "the drive has logged no errors"},
		false},
	{{"health", health_columns, HEALTH_COLUMNS, ""}, true},
	{{"slots", slot_columns, ARRAY_SIZE(slot_columns), "the drive has no firmware slots"},
		false},
	{{"tests", test_columns, ARRAY_SIZE(test_columns), "the drive has not tested itself yet"},
		false},
	{{"sanitize", sanitize_columns, ARRAY_SIZE(sanitize_columns), ""}, true},
};

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

static int print_fields(struct cli *cli, const json_t *result, bool *known, struct fail *fail)
{
	*known = false;
	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
		const struct listing *shape = &shapes[i].listing;
		const json_t *fields = json_object_get(result, shape->key);

		if (!fields)
			continue;
		*known = true;
		if (strcmp(text_of(result, "running"), "") &&
			strcmp(text_of(result, "running"), "none"))
			say(cli, "a self-test runs (%s), %llu%% done", text_of(result, "running"),
				(unsigned long long)number_of(result, "percent"));
		return shapes[i].object ? output_object(cli, shape, shape->key, fields, fail)
					: output_list(cli, shape, fields, fail);
	}
	return 0;
}

HANDLER(drive_log_run)
{
	AUTO_JSON json_t *result = NULL;
	const char *name, *typed;
	uint64_t page, bytes;
	bool known;
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
	if (cli->output == OUTPUT_JSON) {
		output_json(cli, result);
		return 0;
	}
	if (!option_given(cli, "hex")) {
		error = print_fields(cli, result, &known, fail);
		if (error || known)
			return error;
	}
	print_log(text_of(result, "log"));
	return 0;
}
