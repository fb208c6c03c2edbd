/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/assemble.h"
#include "control/drives.h"
#include "control/methods.h"
#include "control/monitor.h"
#include "drivers/drivers.h"

/* Who has it, or why it is not free. */
static void use_text(struct daemon *daemon, const struct drive *drive, char *text, size_t bytes)
{
	const struct array_entry *entry = array_find_uuid(daemon, &drive->array_uuid);
	const char *name = entry ? entry->name : drive->superblock ? drive->superblock->name : "";

	if (drive->dev && drive->dev->user[0])
		snprintf(text, bytes, "%s", drive->dev->user);
	else if (drive->is_spare)
		snprintf(text, bytes, "spare%s", drive->dev ? "" : ", absent");
	else if (!uuid_is_null(&drive->array_uuid) && entry && entry->array && drive->dev)
		snprintf(text, bytes, "once of array %.63s", name);
	else if (!uuid_is_null(&drive->array_uuid))
		snprintf(text, bytes, "of array %.63s%s", name, drive->dev ? "" : ", absent");
	else if (!drive->dev)
		snprintf(text, bytes, "absent");
	else
		snprintf(text, bytes, "%s", drive->damaged ? "damaged superblock" : "");
}

json_t *drive_json(struct daemon *daemon, struct drive *drive)
{
	char user[128], array[UUID_TEXT_BYTES] = "", member[UUID_TEXT_BYTES] = "";

	use_text(daemon, drive, user, sizeof(user));
	if (!uuid_is_null(&drive->array_uuid)) {
		uuid_print(&drive->array_uuid, array);
		uuid_print(&drive->member_uuid, member);
	}
	return json_pack("{s:s, s:s, s:s, s:I, s:i, s:s, s:s, s:b, s:b, s:b, s:s, s:s, s:s}",
		"name", drive->name, "source", drive->source, "driver", drive->driver, "bytes",
		(json_int_t)(drive->dev ? blockdev_bytes(drive->dev) : 0), "block_bytes",
		(int)drive->options.block_bytes, "user", user, "note", drive->note, "injectable",
		drive->options.injectable, "present", drive->dev != NULL, "spare", drive->is_spare,
		"array_uuid", array, "member_uuid", member, "fingerprint", drive->fingerprint);
}

METHOD(drive_list)
{
	json_t *list = json_array();
	struct list_node *node;

	(void)params, (void)fail;
	list_for_each (node, &daemon->drives)
		json_array_append_new(
			list, drive_json(daemon, container_of(node, struct drive, link)));
	*result = json_pack("{s:o}", "drives", list);
	return 0;
}

static int read_options(struct drive_options *options, const json_t *params, struct fail *fail)
{
	int64_t block_bytes = rpc_integer(params, "block_bytes", 4096);
	int64_t delay_us = rpc_integer(params, "delay_us", 0);
	int64_t jitter_us = rpc_integer(params, "jitter_us", 0);

	if (block_bytes != 512 && block_bytes != 4096)
		return fail_set(fail, EINVAL,
			"a block size of %lld is not possible: use 512 or 4096",
			(long long)block_bytes);
	if (delay_us < 0 || jitter_us < 0 || delay_us > 60000000 || jitter_us > 60000000)
		return fail_set(fail, EINVAL, "a delay is 0 to 60000000 microseconds");
	*options = (struct drive_options){
		.block_bytes = (uint32_t)block_bytes,
		.delay_us = (uint32_t)delay_us,
		.jitter_us = (uint32_t)jitter_us,
		.injectable = rpc_boolean(params, "injectable"),
	};
	return 0;
}

/* A second drive that says that it is the same member would stop its array from starting. */
static int check_copy(struct daemon *daemon, const struct drive *drive, struct fail *fail)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		const struct drive *other = container_of(node, struct drive, link);

		if (other != drive && other->dev && drive->superblock &&
			uuid_equal(&other->member_uuid, &drive->member_uuid))
			return fail_set(fail, EEXIST,
				"%s is a copy of drive %s, a member of array %.63s: the two cannot "
				"be told apart; --wipe-signatures makes it an empty drive",
				drive->source, other->name, drive->superblock->name);
	}
	return 0;
}

/* A remembered drive that is not there is what comes back under its path. */
static void forget_absent(struct daemon *daemon, const char *source)
{
	struct list_node *node, *after;

	list_for_each_safe (node, after, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (!drive->dev && !strcmp(drive->source, source))
			drive_free(drive);
	}
}

METHOD(drive_attach)
{
	const char *source = rpc_string(params, "source", "");
	struct drive_options options;
	struct drive *drive;
	int error = read_options(&options, params, fail);

	if (error)
		return error;
	forget_absent(daemon, source);
	error = drive_add(daemon, source, &options, false, &drive, fail);
	if (error)
		return error;
	if (rpc_boolean(params, "wipe_signatures") && (drive->superblock || drive->damaged))
		error = drive_wipe(daemon, drive, fail);
	else
		error = check_copy(daemon, drive, fail);
	if (error) {
		drive_free(drive);
		return error;
	}
	assemble(daemon);
	monitor_wake(daemon);
	*result = json_pack("{s:o}", "drive", drive_json(daemon, drive));
	return 0;
}

static struct drive *named_drive(struct daemon *daemon, const json_t *params, struct fail *fail)
{
	const char *name = rpc_string(params, "name", "");
	struct drive *drive = drive_find(daemon, name);

	if (!drive)
		fail_set(fail, ENOENT, "there is no drive '%s': see braid drive list", name);
	return drive;
}

METHOD(drive_detach)
{
	struct drive *drive = named_drive(daemon, params, fail);

	if (!drive)
		return -ENOENT;
	if (drive->dev && drive->dev->user[0])
		return fail_set(fail, EBUSY, "drive %s is in use by %s: delete that first",
			drive->name, drive->dev->user);
	drive_free(drive);
	assemble(daemon);
	state_changed(daemon);
	*result = json_object();
	return 0;
}

static int parse_rule(struct fault_rule *rule, const json_t *row, struct fail *fail)
{
	const char *kind = rpc_string(row, "kind", "");
	unsigned i = 0;

	while (i < FAULT_KINDS && strcmp(fault_kind_name(i), kind))
		i++;
	if (i == FAULT_KINDS)
		return fail_set(fail, EINVAL,
			"there is no fault '%s': use error, torn, lost or flip", kind);
	*rule = (struct fault_rule){
		.kind = i,
		.reads = rpc_boolean(row, "reads"),
		.writes = rpc_boolean(row, "writes"),
		.first = (uint64_t)rpc_integer(row, "first", 0),
		.end = (uint64_t)rpc_integer(row, "end", INT64_MAX),
		.after = (unsigned)rpc_integer(row, "after", 0),
		.count = (unsigned)rpc_integer(row, "count", 0),
	};
	return 0;
}

METHOD(drive_inject)
{
	struct drive *drive = named_drive(daemon, params, fail);
	const json_t *rows = json_object_get(params, "rules"), *row;
	struct fault_rule rules[FAULT_RULES_MAX];
	size_t i;
	int error = 0;

	if (!drive)
		return -ENOENT;
	if (!drive->dev || !fault_is(drive->dev))
		return fail_set(
			fail, EINVAL, "drive %s was not attached with --injectable", drive->name);
	if (json_array_size(rows) > FAULT_RULES_MAX)
		return fail_set(fail, EINVAL, "at most %d fault rules at a time", FAULT_RULES_MAX);
	json_array_foreach((json_t *)rows, i, row) if (!error) error =
		parse_rule(&rules[i], row, fail);
	if (!error)
		error = fault_rules(drive->dev, rules, (unsigned)json_array_size(rows), fail);
	if (!error)
		*result = json_object();
	return error;
}
