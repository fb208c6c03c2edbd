/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "control/methods.h"
#include "drivers/drivers.h"

json_t *drive_json(struct drive *drive)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:b}", "name", drive->name, "driver",
		drive->driver, "bytes", (json_int_t)blockdev_bytes(drive->dev), "block_bytes",
		(json_int_t)drive->dev->block_bytes, "user", drive->dev->user, "note", drive->note,
		"injectable", fault_is(drive->dev));
}

METHOD(drive_list)
{
	json_t *list = json_array();
	struct list_node *node;

	(void)params, (void)fail;
	list_for_each (node, &daemon->drives)
		json_array_append_new(list, drive_json(container_of(node, struct drive, link)));
	*result = json_pack("{s:o}", "drives", list);
	return 0;
}

/* "ram:NAME:BYTES" into name and bytes. */
static int parse_memory(const char *source, char *name, uint64_t *bytes, struct fail *fail)
{
	const char *first = strchr(source, ':') + 1, *second = strrchr(source, ':');
	int error;

	if (second < first || second - first >= BLOCKDEV_NAME_BYTES)
		return fail_set(fail, EINVAL,
			"'%s' is no drive: write ram:NAME:SIZE, like ram:r0:1G", source);
	snprintf(name, BLOCKDEV_NAME_BYTES, "%.*s", (int)(second - first), first);
	error = name_check(name, "the drive", fail);
	if (!error)
		error = units_parse(bytes, second + 1, 1, fail);
	if (!error && *bytes < 1 << 20)
		error = fail_set(fail, EINVAL,
			"drive %s of %llu bytes is too small: give 1M or more", name,
			(unsigned long long)*bytes);
	return error;
}

static int open_bottom(
	struct drive *drive, const char *source, uint32_t block_bytes, struct fail *fail)
{
	bool ram = !strncmp(source, "ram:", 4), null = !strncmp(source, "null:", 5);
	uint64_t bytes;
	int error;

	if (ram || null) {
		error = parse_memory(source, drive->name, &bytes, fail);
		if (error)
			return error;
		if (ram)
			return ram_create(&drive->dev, drive->name, bytes, block_bytes, fail);
		return null_create(&drive->dev, drive->name, bytes, block_bytes, fail);
	}
	if (source[0] != '/')
		return fail_set(fail, EINVAL, "the path '%s' must begin with a /", source);
	error = uring_create(&drive->dev, source, block_bytes, drive->note, fail);
	if (error)
		return error;
	snprintf(drive->name, sizeof(drive->name), "%s", strrchr(source, '/') + 1);
	snprintf(drive->dev->name, sizeof(drive->dev->name), "%s", drive->name);
	return 0;
}

static int add_layers(struct drive *drive, const json_t *params, struct fail *fail)
{
	int64_t delay_us = rpc_integer(params, "delay_us", 0);
	int64_t jitter_us = rpc_integer(params, "jitter_us", 0);
	int error = 0;

	if (delay_us < 0 || jitter_us < 0 || delay_us > 60000000 || jitter_us > 60000000)
		return fail_set(fail, EINVAL, "a delay is 0 to 60000000 microseconds");
	if (delay_us || jitter_us)
		error = delay_create(&drive->dev, drive->dev, (uint64_t)delay_us * 1000,
			(uint64_t)jitter_us * 1000, 1, fail);
	if (!error && rpc_boolean(params, "injectable"))
		error = fault_create(&drive->dev, drive->dev, fail);
	return error;
}

METHOD(drive_attach)
{
	const char *source = rpc_string(params, "source", "");
	int64_t block_bytes = rpc_integer(params, "block_bytes", 4096);
	struct drive *drive;
	int error;

	if (block_bytes != 512 && block_bytes != 4096)
		return fail_set(fail, EINVAL,
			"a block size of %lld is not possible: use 512 or 4096",
			(long long)block_bytes);
	drive = calloc(1, sizeof(*drive));
	if (!drive)
		return fail_set(fail, ENOMEM, "no memory for a drive");
	list_node_init(&drive->link);
	error = open_bottom(drive, source, (uint32_t)block_bytes, fail);
	if (error)
		goto free_drive;
	snprintf(drive->driver, sizeof(drive->driver), "%s", drive->dev->ops->driver);
	if (drive_find(daemon, drive->name)) {
		error = fail_set(fail, EEXIST,
			"there is a drive '%s' already: detach it, or rename the new one",
			drive->name);
		goto destroy_dev;
	}
	error = add_layers(drive, params, fail);
	if (error)
		goto destroy_dev;
	list_push_back(&daemon->drives, &drive->link);
	*result = json_pack("{s:o}", "drive", drive_json(drive));
	return 0;

destroy_dev:
	blockdev_destroy(drive->dev);
free_drive:
	free(drive);
	return error;
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
	if (drive->dev->user[0])
		return fail_set(fail, EBUSY, "drive %s is in use by %s: delete that first",
			drive->name, drive->dev->user);
	drive_free(drive);
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
	if (!fault_is(drive->dev))
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
