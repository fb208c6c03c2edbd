/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/units.h"
#include "control/assemble.h"
#include "control/drives.h"
#include "control/jobs.h"
#include "control/methods.h"

METHOD(array_list)
{
	json_t *list = json_array();
	struct list_node *node;

	(void)params, (void)fail;
	list_for_each (node, &daemon->arrays)
		json_array_append_new(
			list, array_json(daemon, container_of(node, struct array_entry, link)));
	*result = json_pack("{s:o}", "arrays", list);
	return 0;
}

METHOD(array_show)
{
	struct array_entry *entry = array_find(daemon, rpc_string(params, "name", ""), fail);

	if (!entry)
		return -fail->error;
	*result = json_pack("{s:o}", "array", array_json(daemon, entry));
	return 0;
}

/* --- making ---------------------------------------------------------------------------------- */

/* The drives of a new array: those of the slots, or those of the spares. */
struct taken {
	struct blockdev *dev[RAID_MEMBERS_MAX];
	unsigned count;
};

static bool is_taken(const struct taken *taken, const struct blockdev *dev)
{
	for (unsigned i = 0; i < taken->count; i++)
		if (taken->dev[i] == dev)
			return true;
	return false;
}

/* The first `wanted` drives that nobody uses, that hold nothing, and that are not in `others`. */
static int take_free(struct daemon *daemon, struct taken *taken, const struct taken *others,
	uint64_t wanted, struct fail *fail)
{
	struct list_node *node;
	uint64_t found = 0;

	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (found == wanted || taken->count == RAID_MEMBERS_MAX ||
			is_taken(taken, drive->dev) || is_taken(others, drive->dev) ||
			drive_check_free(daemon, drive, false, NULL))
			continue;
		taken->dev[taken->count++] = drive->dev;
		found++;
	}
	if (found < wanted)
		return fail_set(fail, ENODEV,
			"only %llu drives are free, %llu wanted: attach more, see "
			"braid drive list",
			(unsigned long long)found, (unsigned long long)wanted);
	return 0;
}

/* "free:N" */
static int take_free_text(struct daemon *daemon, struct taken *taken, const struct taken *others,
	const char *text, struct fail *fail)
{
	char *end;
	unsigned long wanted = strtoul(text, &end, 10);

	if (*end || end == text || !wanted || wanted > RAID_MEMBERS_MAX)
		return fail_set(
			fail, EINVAL, "'free:%s' is no number of drives: write free:10", text);
	return take_free(daemon, taken, others, wanted, fail);
}

static int take_drives(struct daemon *daemon, struct taken *taken, const struct taken *others,
	const json_t *params, const char *key, struct fail *fail)
{
	bool wipe = rpc_boolean(params, "wipe_signatures");
	const json_t *value;
	size_t i;

	json_array_foreach(json_object_get(params, key), i, value)
	{
		const char *name = json_string_value(value);
		struct drive *drive;
		int error;

		if (!strncmp(name, "free:", 5)) {
			error = take_free_text(daemon, taken, others, name + 5, fail);
			if (error)
				return error;
			continue;
		}
		drive = drive_find(daemon, name);
		if (!drive)
			return fail_set(
				fail, ENOENT, "there is no drive '%s': see braid drive list", name);
		error = drive_check_free(daemon, drive, wipe, fail);
		if (error)
			return error;
		if (taken->count == RAID_MEMBERS_MAX)
			return fail_set(
				fail, EINVAL, "an array has at most %d drives", RAID_MEMBERS_MAX);
		if (is_taken(others, drive->dev))
			return fail_set(fail, EINVAL,
				"drive %s cannot be a member and a spare at once", name);
		taken->dev[taken->count++] = drive->dev;
	}
	return 0;
}

static int read_config(
	struct daemon *daemon, struct array_config *config, const json_t *params, struct fail *fail)
{
	const char *name = rpc_string(params, "name", "");
	int64_t chunk = rpc_integer(params, "chunk_bytes", 128 << 10);
	int64_t block = rpc_integer(params, "block_bytes", 4096);
	int64_t parts = rpc_integer(params, "parts", 0);
	int error = name_check(name, "the array", fail);

	if (error)
		return error;
	if (array_find(daemon, name, NULL))
		return fail_set(
			fail, EEXIST, "there is an array '%s' already: choose another name", name);
	if (chunk < 0 || chunk > UINT32_MAX || block < 0 || block > UINT32_MAX || parts < 0 ||
		parts > RAID_MEMBERS_MAX)
		return fail_set(fail, EINVAL, "chunk_bytes, block_bytes or parts is out of range");
	memset(config, 0, sizeof(*config));
	strcpy(config->name, name);
	config->chunk_bytes = (uint32_t)chunk;
	config->block_bytes = (uint32_t)block;
	config->parts = (unsigned)parts;
	config->host_id = daemon->host_id;
	config->places = &layout_standard;
	error = consistency_parse(
		&config->consistency, rpc_string(params, "consistency", "log"), fail);
	return error ? error : level_find(&config->level, rpc_string(params, "level", ""), fail);
}

/* A spare that cannot take any member's place is none. */
static int check_spares(const struct array_plan *plan, struct fail *fail)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < plan->config.members; i++)
		least = MIN(least, blockdev_bytes(plan->config.member[i]));
	for (unsigned i = 0; i < plan->spares; i++) {
		const struct blockdev *dev = plan->spare[i];

		if (blockdev_bytes(dev) < least || dev->block_bytes != plan->config.block_bytes)
			return fail_set(fail, EINVAL,
				"drive %s is no spare for this array: it is too small, or its "
				"blocks are of another size",
				dev->name);
	}
	return 0;
}

static int read_plan(
	struct daemon *daemon, struct array_plan *plan, const json_t *params, struct fail *fail)
{
	int64_t spares = rpc_integer(params, "spare_count", 0);
	struct taken members = {.count = 0}, extra = {.count = 0};
	int error = read_config(daemon, &plan->config, params, fail);

	if (!error)
		error = take_drives(daemon, &members, &extra, params, "drives", fail);
	if (!error)
		error = take_drives(daemon, &extra, &members, params, "spares", fail);
	if (!error && (spares < 0 || spares > RAID_MEMBERS_MAX))
		error = fail_set(fail, EINVAL, "%lld is no number of spares", (long long)spares);
	if (!error)
		error = take_free(daemon, &extra, &members, (uint64_t)spares, fail);
	if (!error && members.count + extra.count > SUPERBLOCK_ROWS)
		error = fail_set(fail, EINVAL, "an array has at most %d drives with its spares",
			SUPERBLOCK_ROWS);
	if (error)
		return error;
	plan->config.members = members.count;
	memcpy(plan->config.member, members.dev, sizeof(members.dev));
	plan->spares = extra.count;
	memcpy(plan->spare, extra.dev, sizeof(extra.dev));
	plan->assume_clean = rpc_boolean(params, "assume_clean");
	return check_spares(plan, fail);
}

static void warn(json_t *warnings, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(json_t *warnings, const char *format, ...)
{
	char line[FAIL_TEXT_BYTES];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	json_array_append_new(warnings, json_string(line));
}

static json_t *warnings_json(struct daemon *daemon, const struct array_plan *plan, uint64_t waste)
{
	const struct array_config *config = &plan->config;
	json_t *warnings = json_array();
	char text[UNITS_TEXT_BYTES];

	if (waste)
		warn(warnings,
			"the drives are not equally large: each is used up to the size of the "
			"smallest, %s stay unused",
			units_print(waste, text));
	for (unsigned i = 0; i < config->members + plan->spares; i++) {
		const struct blockdev *dev =
			i < config->members ? config->member[i] : plan->spare[i - config->members];
		const struct drive *drive = drive_of(daemon, dev);

		if (drive->superblock)
			warn(warnings, "%s holds a member of array %.63s, which will be lost",
				drive->name, drive->superblock->name);
	}
	if (plan->assume_clean)
		warn(warnings, "--assume-clean: the drives are not cleared. Unless they are all "
			       "zeros, or held this very array, what is read back after a failure "
			       "is wrong until braid array scrub --repair");
	return warnings;
}

static json_t *names_json(struct blockdev *const *dev, unsigned count)
{
	json_t *names = json_array();

	for (unsigned i = 0; i < count; i++)
		json_array_append_new(names, json_string(dev[i]->name));
	return names;
}

static json_t *plan_json(
	struct daemon *daemon, const struct array_plan *plan, uint64_t usable, uint64_t waste)
{
	const struct array_config *config = &plan->config;
	const struct level *level = config->level;
	const struct level *part = level->part ? level->part : level;
	unsigned parts = !level->part	       ? 1
			 : level->part_members ? config->members / level->part_members
					       : MAX(config->parts, 2u);
	unsigned each = config->members / parts, tolerates = level_tolerance(part, each);

	return json_pack("{s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:i, s:s, s:o}", "level_text",
		level->text, "drives", names_json(config->member, config->members), "spares",
		names_json(plan->spare, plan->spares), "chunk_bytes",
		(json_int_t)config->chunk_bytes, "block_bytes", (json_int_t)config->block_bytes,
		"stripe_bytes", (json_int_t)config->chunk_bytes * (each - tolerates) * parts,
		"usable_bytes", (json_int_t)usable, "waste_bytes", (json_int_t)waste, "tolerates",
		(int)tolerates, "consistency", consistency_name(config->consistency), "warnings",
		warnings_json(daemon, plan, waste));
}

/* What was there before must not be found again beside the new array. */
static int wipe_all(struct daemon *daemon, const struct array_plan *plan, struct fail *fail)
{
	int error = 0;

	for (unsigned i = 0; i < plan->config.members + plan->spares && !error; i++) {
		struct drive *drive = drive_of(
			daemon, i < plan->config.members ? plan->config.member[i]
							 : plan->spare[i - plan->config.members]);

		if (drive->superblock || drive->damaged)
			error = drive_wipe(daemon, drive, fail);
	}
	assemble(daemon);
	return error;
}

METHOD(array_create_method)
{
	struct array_plan plan = {.spares = 0};
	uint64_t usable, waste;
	struct job *job = NULL;
	json_t *shown;
	int error = read_plan(daemon, &plan, params, fail);

	if (!error)
		error = array_check(&plan.config, &usable, &waste, fail);
	if (error)
		return error;
	shown = plan_json(daemon, &plan, usable, waste);
	if (!rpc_boolean(params, "dry_run")) {
		error = wipe_all(daemon, &plan, fail);
		if (!error)
			error = job_start_initialise(daemon, &plan, &job, fail);
	}
	if (error) {
		json_decref(shown);
		return error;
	}
	*result = json_pack(
		"{s:o, s:o}", "plan", shown, "job", job ? json_integer(job->id) : json_null());
	return 0;
}

/* --- unmaking -------------------------------------------------------------------------------- */

METHOD(array_delete_method)
{
	struct array_entry *entry = running_array(daemon, rpc_string(params, "name", ""), fail);
	struct list_node *node;
	struct uuid uuid;

	if (!entry)
		return -fail->error;
	list_for_each (node, &daemon->exports) {
		const struct export *export = container_of(node, struct export, link);

		if (export->array == entry)
			return fail_set(fail, EBUSY,
				"array %s is exported by controller %s: braid vhost delete %s "
				"first",
				entry->name, export->config.name, export->config.name);
	}
	uuid = entry->uuid;
	sweep_end(daemon, entry);
	array_clear(daemon, entry);
	array_delete(entry->array);
	entry->array = NULL;
	array_free(entry);
	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (!uuid_equal(&drive->array_uuid, &uuid))
			continue;
		if (drive->dev)
			drive_identify(daemon, drive);
		else
			drive->array_uuid = drive->member_uuid = (struct uuid){{0}};
	}
	assemble(daemon);
	state_changed(daemon);
	*result = json_object();
	return 0;
}
