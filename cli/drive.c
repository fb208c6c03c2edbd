/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bits.h"
#include "base/units.h"
#include "cli/confirm.h"
#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"

static const struct column columns[] = {
	{"name", "NAME", COLUMN_TEXT, 0},
	{"driver", "DRIVER", COLUMN_TEXT, 0},
	{"bytes", "SIZE", COLUMN_BYTES, 0},
	{"block_bytes", "BLOCK", COLUMN_NUMBER, 0},
	{"user", "USED BY", COLUMN_TEXT, 0},
	{"state", "STATE", COLUMN_TEXT, 0},
	{"model", "MODEL", COLUMN_TEXT, 0},
	{"serial", "SERIAL", COLUMN_TEXT, 0},
	{"address", "ADDRESS", COLUMN_TEXT, 0},
	{"numa_node", "NUMA", COLUMN_NUMBER, 0},
	{"celsius", "CELSIUS", COLUMN_NUMBER, 0},
	{"wear_percent", "WEAR%", COLUMN_NUMBER, 0},
	{"media_errors", "MEDIA ERRORS", COLUMN_NUMBER, COLUMN_WIDE},
	{"firmware", "FIRMWARE", COLUMN_TEXT, COLUMN_WIDE},
	{"lba_bytes", "LBA", COLUMN_NUMBER, COLUMN_WIDE},
	{"link", "LINK", COLUMN_TEXT, COLUMN_WIDE},
	{"injectable", "INJECTABLE", COLUMN_YES, COLUMN_WIDE},
	{"source", "SOURCE", COLUMN_TEXT, COLUMN_WIDE},
	{"identity", "IDENTITY", COLUMN_TEXT, COLUMN_WIDE},
	{"fingerprint", "MODEL AND SERIAL", COLUMN_TEXT, COLUMN_WIDE},
	{"path", "PATH", COLUMN_TEXT, COLUMN_WIDE},
	{"member_uuid", "MEMBER", COLUMN_TEXT, COLUMN_WIDE},
	{"group_other", "SHARES ITS IOMMU GROUP WITH", COLUMN_TEXT, COLUMN_WIDE},
	{"why", "WHY", COLUMN_TEXT, COLUMN_WIDE},
	{"note", "NOTE", COLUMN_TEXT, COLUMN_WIDE},
};

static const struct listing listing = {
	"drives", columns, ARRAY_SIZE(columns), "no drives: braid drive attach adds one"};

/* The drives, and what the host has beside them. New references in one list for a table. */
static int list_all(struct cli *cli, json_t **result, json_t **all, struct fail *fail)
{
	int error = call(cli, "drive.list", json_pack("{s:b}", "host", 1), result, fail);

	if (error)
		return error;
	*all = json_copy(json_object_get(*result, "drives"));
	json_array_extend(*all, json_object_get(*result, "host"));
	return 0;
}

HANDLER(drive_list_run)
{
	AUTO_JSON json_t *result = NULL, *all = NULL, *members = NULL;
	int error;

	if (option_given(cli, "attached")) {
		error = call(cli, "drive.list", NULL, &result, fail);
		return error ? error
			     : output_list(cli, &listing, json_object_get(result, "drives"), fail);
	}
	error = list_all(cli, &result, &all, fail);
	if (error)
		return error;
	if (!output_is_json(cli) || cli->columns || cli->output == OUTPUT_JSONL)
		return output_list(cli, &listing, all, fail);
	members = json_pack("{s:O, s:O}", "drives", json_object_get(result, "drives"), "host",
		json_object_get(result, "host"));
	output_json(cli, members);
	return 0;
}

/* By name, serial number, address or path. */
static json_t *find_drive(const json_t *all, const char *typed)
{
	static const char *const keys[] = {"name", "serial", "address", "source"};
	json_t *row = NULL;

	for (unsigned i = 0; i < ARRAY_SIZE(keys) && !row; i++)
		row = row_where(all, keys[i], typed);
	return row;
}

HANDLER(drive_show_run)
{
	AUTO_JSON json_t *result = NULL, *all = NULL;
	const json_t *row;
	int error;

	if (!cli->word_count)
		return drive_list_run(cli, fail);
	error = list_all(cli, &result, &all, fail);
	if (error)
		return error;
	row = find_drive(all, cli->words[0]);
	if (!row)
		return fail_set(fail, ENOENT, "there is no drive '%.80s': see braid drive list",
			cli->words[0]);
	return output_object(cli, &listing, "drive", row, fail);
}

/* --- attach ------------------------------------------------------------------------------------
 */

/* "ram:NAME:SIZE" with the size in bytes. */
static int memory_source(const char *typed, char *source, size_t bytes, struct fail *fail)
{
	const char *size = strrchr(typed, ':') + 1;
	uint64_t size_bytes;
	int error;

	if (size - 1 == strchr(typed, ':'))
		return fail_set(fail, EINVAL,
			"'%.80s' is no drive: write %.*s:NAME:SIZE, like "
			"%.*s:r0:1G",
			typed, (int)strcspn(typed, ":"), typed, (int)strcspn(typed, ":"), typed);
	error = units_parse(&size_bytes, size, 1, fail);
	if (error)
		return error;
	if (snprintf(source, bytes, "%.*s%llu", (int)(size - typed), typed,
		    (unsigned long long)size_bytes) >= (int)bytes)
		return fail_set(fail, ENAMETOOLONG, "'%.80s...' is too long for a drive", typed);
	return 0;
}

/* The name of a file with a secret, never the secret, goes into the address: braidd reads it. */
static int add_secret_file(
	const struct cli *cli, const char *option, const char *key, char *source, struct fail *fail)
{
	const char *file = option_text(cli, option);
	size_t used = strlen(source);
	char path[PATH_MAX];

	if (!file)
		return 0;
	if (strncmp(source, "nvme+tcp://", 11) != 0)
		return fail_set(fail, EINVAL, "--%s is for drives at nvme+tcp://... only", option);
	if (!realpath(file, path))
		return fail_set(fail, errno == EACCES ? EIO : errno,
			"cannot use the file '%.200s' of --%s: %s", file, option, strerror(errno));
	if (strchr(path, '&'))
		return fail_set(fail, EINVAL, "the file '%.200s' of --%s has an & in its name",
			path, option);
	if (snprintf(source + used, PATH_MAX - used, "%c%s=%s", strchr(source, '?') ? '&' : '?',
		    key, path) >= (int)(PATH_MAX - used))
		return fail_set(fail, ENAMETOOLONG, "'%.80s...' is too long", source);
	return 0;
}

/* What the daemon is asked for; a file's path is made whole. source: PATH_MAX bytes. */
static int read_source(const char *typed, char *source, struct fail *fail)
{
	struct stat status;

	if (!strncmp(typed, "ram:", 4) || !strncmp(typed, "null:", 5))
		return memory_source(typed, source, PATH_MAX, fail);
	if (strlen(typed) >= PATH_MAX)
		return fail_set(fail, ENAMETOOLONG, "'%.80s...' is too long", typed);
	strcpy(source, typed);
	/* What is no file is a serial number, an address, a URL: the daemon's to say. */
	if (typed[0] != '/' && typed[0] != '.' && stat(typed, &status))
		return 0;
	if (!realpath(typed, source)) {
		if (!strncmp(typed, "/dev/", 5) && getenv("BRAID_HOST_ROOT"))
			return 0;
		return fail_set(fail, errno == EACCES ? EIO : errno, "cannot use '%.200s': %s",
			typed, strerror(errno));
	}
	return 0;
}

static int attach_params(
	const struct cli *cli, const char *source, json_t **params, struct fail *fail)
{
	static const struct {
		const char *option, *param;
	} numbers[] = {{"delay", "delay_us"}, {"jitter", "jitter_us"}};
	uint64_t number = 0;
	int error;

	*params = json_pack("{s:s}", "source", source);
	if (!*params)
		return fail_set(fail, EINVAL, "the path is no valid UTF-8");
	error = option_bytes(cli, "block-size", 1, &number, fail);
	if (!error && option_given(cli, "block-size"))
		json_object_set_new(*params, "block_bytes", json_integer((json_int_t)number));
	if (option_given(cli, "injectable"))
		json_object_set_new(*params, "injectable", json_true());
	if (option_given(cli, "wipe-signatures"))
		json_object_set_new(*params, "wipe_signatures", json_true());
	if (option_given(cli, "kernel"))
		json_object_set_new(*params, "kernel", json_true());
	for (unsigned i = 0; i < ARRAY_SIZE(numbers) && !error; i++) {
		if (!option_given(cli, numbers[i].option))
			continue;
		error = option_number(cli, numbers[i].option, 60000000, &number, fail);
		json_object_set_new(*params, numbers[i].param, json_integer((json_int_t)number));
	}
	if (error)
		json_decref(*params);
	return error;
}

static int attach_one(struct cli *cli, const char *typed, json_t *attached, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL;
	char source[PATH_MAX];
	json_t *params;
	int error = read_source(typed, source, fail);

	if (!error)
		error = add_secret_file(cli, "dhchap-secret-file", "dhchap-secret", source, fail);
	if (!error)
		error = add_secret_file(cli, "dhchap-controller-secret-file",
			"dhchap-controller-secret", source, fail);
	if (!error)
		error = attach_params(cli, source, &params, fail);
	if (!error)
		error = call_to_change(cli, "drive.attach", params, NULL, &result, fail);
	if (!error && result)
		json_array_extend(attached, json_object_get(result, "drives"));
	return error;
}

static bool has_text(const json_t *texts, const char *text)
{
	size_t i;
	json_t *one;

	json_array_foreach((json_t *)texts, i, one) if (!strcmp(string_of(one), text)) return true;
	return false;
}

/* A disk that braid could take without asking: an NVMe drive that nobody uses. */
static bool is_takable(const json_t *disk)
{
	return *text_of(disk, "address") && !truth_of(disk, "in_use");
}

/* All disks that suit --model=GLOB, or --all-free. One that is in use is left out by --all-free,
 * and named by --model. */
static int choose_disks(struct cli *cli, json_t *sources, struct fail *fail)
{
	const char *glob = option_text(cli, "model");
	bool all_free = option_given(cli, "all-free");
	AUTO_JSON json_t *result = NULL, *all = NULL;
	size_t i, before = json_array_size(sources);
	json_t *disk;
	int error;

	if (!glob && !all_free)
		return 0;
	error = list_all(cli, &result, &all, fail);
	if (error)
		return error;
	json_array_foreach(json_object_get(result, "host"), i, disk)
	{
		if (!*text_of(disk, "address") ||
			(glob && fnmatch(glob, text_of(disk, "model"), 0)))
			continue;
		if (!is_takable(disk)) {
			if (!all_free && !cli->quiet)
				fprintf(stderr, "left out: %s, %s: %s\n", text_of(disk, "name"),
					text_of(disk, "serial"), text_of(disk, "user"));
			continue;
		}
		if (!has_text(sources, text_of(disk, "address")))
			json_array_append(sources, json_object_get(disk, "address"));
	}
	if (json_array_size(sources) == before)
		return fail_set(fail, ENOENT,
			glob ? "no free NVMe drive has a model like '%.80s': see braid drive list"
			     : "no NVMe drive of this host is free%.0s: see braid drive list",
			glob ? glob : "");
	return 0;
}

HANDLER(drive_attach_run)
{
	AUTO_JSON json_t *sources = option_list(cli, "ids", 0), *attached = json_array();
	size_t i, count;
	json_t *source;
	int error = choose_disks(cli, sources, fail);

	count = json_array_size(sources);
	if (!error && !count)
		error = usage_fail(cli, fail, "name a drive");
	if (!error && option_given(cli, "wipe-signatures"))
		error = confirm_loss(cli,
			"What these drives hold, of arrays or of other software, will be LOST with "
			"--wipe-signatures.",
			"word", "wipe", fail);
	json_array_foreach(sources, i, source)
	{
		if (error)
			break;
		error = attach_one(cli, string_of(source), attached, fail);
	}
	if (error && i > 1 && !cli->dry_run)
		fail_prefix(fail, "%zu of %zu drives attached, then", i - 1, count);
	if (error || cli->dry_run || cli->quiet)
		return error;
	return output_list(cli, &listing, attached, fail);
}

/* --- detach ------------------------------------------------------------------------------------
 */

HANDLER(drive_detach_run)
{
	AUTO_JSON json_t *names = option_list(cli, "ids", 0), *members = NULL;
	size_t i, count = json_array_size(names);
	json_t *name;
	int error = count ? 0 : usage_fail(cli, fail, "name a drive");

	json_array_foreach(names, i, name)
	{
		AUTO_JSON json_t *result = NULL;

		if (error)
			break;
		error = call_to_change(
			cli, "drive.detach", json_pack("{s:O}", "name", name), NULL, &result, fail);
	}
	if (error && i > 1 && !cli->dry_run)
		fail_prefix(fail, "%zu of %zu drives detached, then", i - 1, count);
	if (error || cli->dry_run)
		return error;
	members = json_pack("{s:O}", "detached", names);
	return output_done(cli, members, "%zu drive%s detached", count, count == 1 ? "" : "s");
}

/* --- inject ------------------------------------------------------------------------------------
 */

static int inject_rule(const struct cli *cli, json_t *rule, struct fail *fail)
{
	static const char *const kinds[] = {"error", "torn", "lost", "flip"};
	static const char *const numbers[] = {"first", "end", "after", "count"};
	bool reads = option_given(cli, "reads"), writes = option_given(cli, "writes");
	const char *kind = NULL;

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!option_given(cli, kinds[i]))
			continue;
		if (kind)
			return fail_set(
				fail, EINVAL, "--%s and --%s do not go together", kind, kinds[i]);
		kind = kinds[i];
	}
	if (!kind)
		return usage_fail(cli, fail, "say which fault");
	if (!reads && !writes) {
		reads = !strcmp(kind, "error") || !strcmp(kind, "flip");
		writes = strcmp(kind, "flip");
	}
	json_object_set_new(rule, "kind", json_string(kind));
	json_object_set_new(rule, "reads", json_boolean(reads));
	json_object_set_new(rule, "writes", json_boolean(writes));
	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
		uint64_t number = 0;
		int error = option_number(
			cli, numbers[i], i < 2 ? INT64_MAX : UINT32_MAX, &number, fail);

		if (error)
			return error;
		if (option_given(cli, numbers[i]))
			json_object_set_new(rule, numbers[i], json_integer((json_int_t)number));
	}
	return 0;
}

HANDLER(drive_inject_run)
{
	AUTO_JSON json_t *rules = json_array(), *result = NULL, *members = NULL;
	json_t *rule = json_object();
	bool clear = option_given(cli, "clear");
	const char *name;
	int error = option_or_word(cli, NULL, 0, &name, fail);

	if (!error && !clear)
		error = inject_rule(cli, rule, fail);
	if (clear)
		json_decref(rule);
	else
		json_array_append_new(rules, rule);
	if (error)
		return error;
	error = call_to_change(cli, "drive.inject",
		json_pack("{s:s, s:O}", "name", name, "rules", rules), NULL, &result, fail);
	if (error || cli->dry_run)
		return error;
	members = json_pack("{s:s, s:O}", "name", name, "rules", rules);
	return output_done(cli, members,
		clear ? "drive %s: no faults any more" : "drive %s: fault injected", name);
}

/* --- discover -------------------------------------------------------------------------------- */

HANDLER(drive_discover_run)
{
	static const struct column found_columns[] = {
		{"url", "URL FOR DRIVE ATTACH", COLUMN_TEXT, 0},
		{"nqn", "NQN", COLUMN_TEXT, COLUMN_WIDE},
		{"host", "HOST", COLUMN_TEXT, COLUMN_WIDE},
		{"port", "PORT", COLUMN_NUMBER, COLUMN_WIDE},
		{"nsid", "NSID", COLUMN_NUMBER, 0},
		{"note", "NOTE", COLUMN_TEXT, 0},
	};
	static const struct listing found_listing = {"found", found_columns,
		ARRAY_SIZE(found_columns), "the target offers nothing to this host"};
	AUTO_JSON json_t *result = NULL;
	const char *address;
	int error = option_or_word(cli, NULL, 0, &address, fail);

	if (!error)
		error = call(cli, "drive.discover", json_pack("{s:s}", "address", address), &result,
			fail);
	return error ? error
		     : output_list(cli, &found_listing, json_object_get(result, "found"), fail);
}
