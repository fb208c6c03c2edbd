/* SPDX-License-Identifier: Apache-2.0 */
/* braid drive firmware: what is in the slots, and a new image. */
#include <errno.h>
#include <limits.h>
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

enum { UPDATE_S = 600 }; /* a drive may take minutes for a new image */

static int show_slots(struct cli *cli, const char *name, struct fail *fail)
{
	static const struct column columns[] = {
		{"slot", "SLOT", COLUMN_NUMBER, 0},
		{"revision", "FIRMWARE", COLUMN_TEXT, 0},
		{"active", "RUNS", COLUMN_YES, 0},
		{"next", "AFTER A RESET", COLUMN_YES, 0},
	};
	static const struct listing listing = {
		"slots", columns, ARRAY_SIZE(columns), "the drive says nothing of its firmware"};
	AUTO_JSON json_t *result = NULL;
	const json_t *firmware;
	int error = call(cli, "drive.firmware", json_pack("{s:s}", "name", name), &result, fail);

	if (error)
		return error;
	firmware = json_object_get(result, "firmware");
	if (cli->output == OUTPUT_JSON) {
		output_json(cli, result);
		return 0;
	}
	error = output_list(cli, &listing, json_object_get(firmware, "slots"), fail);
	if (!error && cli->output == OUTPUT_TABLE && !cli->no_header)
		say(cli, "%s runs %s; %llu slots%s, new firmware %s a reset", name,
			text_of(firmware, "running"),
			(unsigned long long)number_of(firmware, "slot_count"),
			truth_of(firmware, "slot1_fixed") ? " (the first cannot be written)" : "",
			truth_of(firmware, "without_reset") ? "also without" : "only after");
	return error;
}

static int update_params(
	const struct cli *cli, const char *name, json_t **params, struct fail *fail)
{
	const char *file = option_text(cli, "file"), *action = option_text(cli, "begin");
	char path[PATH_MAX];
	uint64_t slot = 0;
	int error = option_number(cli, "slot", 7, &slot, fail);

	if (!error && !option_given(cli, "slot"))
		error = fail_set(fail, EINVAL,
			"say which slot with --slot: see braid drive "
			"firmware %.80s",
			name);
	if (!error && file && !realpath(file, path))
		error = fail_set(fail, errno, "cannot read '%.200s': %s", file, strerror(errno));
	if (error)
		return error;
	*params = json_pack("{s:s, s:I, s:s}", "name", name, "slot", (json_int_t)slot, "action",
		action ? action : "reset");
	if (file)
		json_object_set_new(*params, "file", json_string(path));
	return 0;
}

static int update(struct cli *cli, const char *name, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL, *checked = NULL, *params = NULL;
	char warning[FAIL_TEXT_BYTES + 200];
	json_t *check;
	int error = update_params(cli, name, &params, fail);

	if (error)
		return error;
	check = json_copy(params);
	json_object_set_new(check, "dry_run", json_true());
	error = call(cli, "drive.firmware_update", check, &checked, fail);
	if (error)
		return error;
	snprintf(warning, sizeof(warning),
		"%s%sA drive with firmware that is not for it may never work again.",
		text_of(checked, "warning"), *text_of(checked, "warning") ? " " : "");
	error = confirm_loss(cli, warning, "drive", name, fail);
	if (error)
		return error;
	if (cli->timeout_s <= 0)
		cli->client->timeout_s = UPDATE_S;
	error = call_to_change(
		cli, "drive.firmware_update", json_incref(params), NULL, &result, fail);
	if (error || cli->dry_run)
		return error;
	return output_done(cli, result, "drive %s: %s", name, text_of(result, "effect"));
}

HANDLER(drive_firmware_run)
{
	const char *name;
	int error = option_or_word(cli, NULL, 0, &name, fail);

	if (error)
		return error;
	if (option_given(cli, "file") || option_given(cli, "slot") || option_given(cli, "begin"))
		return update(cli, name, fail);
	return show_slots(cli, name, fail);
}
