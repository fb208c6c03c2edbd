/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bits.h"
#include "base/units.h"
#include "control/methods.h"

/* --- describing ------------------------------------------------------------------------------ */

static json_t *member_json(const struct member_status *member, unsigned slot)
{
	bool failed = member->state == MEMBER_FAILED;
	uint64_t ago_s = failed ? (monotonic_ns() - member->lost_at_ns) / 1000000000 : 0;

	return json_pack("{s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "slot", (int)slot,
		"drive", member->dev->name, "state", member_state_name(member->state), "reason",
		failed ? loss_reason_text(member->reason) : "", "failed_at",
		failed ? (json_int_t)((uint64_t)time(NULL) - ago_s) : 0, "bytes",
		(json_int_t)blockdev_bytes(member->dev), "reads",
		(json_int_t)member->counters.reads, "writes", (json_int_t)member->counters.writes,
		"read_errors", (json_int_t)member->counters.read_errors, "write_errors",
		(json_int_t)member->counters.write_errors);
}

static json_t *counters_json(const struct array_counters *counters)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"reads", (json_int_t)counters->reads, "writes", (json_int_t)counters->writes,
		"flushes", (json_int_t)counters->flushes, "discards",
		(json_int_t)counters->discards, "read_blocks", (json_int_t)counters->read_blocks,
		"written_blocks", (json_int_t)counters->written_blocks, "ops",
		(json_int_t)counters->ops, "joins", (json_int_t)counters->joins, "full_stripes",
		(json_int_t)counters->full_stripes, "rewrites", (json_int_t)counters->rewrites,
		"modifies", (json_int_t)counters->modifies, "recovers",
		(json_int_t)counters->recovers, "retries", (json_int_t)counters->retries, "errors",
		(json_int_t)counters->errors);
}

/* Names of the members that have failed, "a, b and c". */
static void failed_names(const struct array_status *status, char *text, size_t bytes)
{
	unsigned left = status->failed;
	size_t used = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < status->members && used < bytes; i++) {
		if (status->member[i].state != MEMBER_FAILED)
			continue;
		left--;
		used += (size_t)snprintf(text + used, bytes - used, "%s (%s)%s",
			status->member[i].dev->name, loss_reason_text(status->member[i].reason),
			left > 1 ? ", "
			: left	 ? " and "
				 : "");
	}
}

/* Names of the members that are used and report errors. */
static unsigned error_names(const struct array_status *status, char *text, size_t bytes)
{
	unsigned count = 0;
	size_t used = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < status->members && used < bytes; i++) {
		const struct member_status *member = &status->member[i];
		uint64_t errors = member->counters.read_errors + member->counters.write_errors;

		if (member->state == MEMBER_FAILED || !errors)
			continue;
		used += (size_t)snprintf(text + used, bytes - used, "%s%s (%llu errors)",
			count ? ", " : "", member->dev->name, (unsigned long long)errors);
		count++;
	}
	return count;
}

/* One line why the array is not optimal, and one what to do. */
static void explain(const struct array_status *status, char *why, char *next, size_t bytes)
{
	char failed[400], errors[400];
	unsigned erring = error_names(status, errors, sizeof(errors));
	size_t used = 0;

	why[0] = next[0] = '\0';
	failed_names(status, failed, sizeof(failed));
	if (status->failed)
		used = (size_t)snprintf(why, bytes, "%u of %u drives failed: %s", status->failed,
			status->members, failed);
	if (erring && used < bytes)
		snprintf(why + used, bytes - used, "%s%s with errors, still in use",
			used ? "; " : "", errors);
	if (status->state == ARRAY_FAILED)
		snprintf(next, bytes,
			"%llu requests got I/O errors: more has failed than the level survives. "
			"Bring the "
			"drives back, or replace them and restore from backup",
			(unsigned long long)status->counters.errors);
	else if (status->failed)
		snprintf(next, bytes,
			status->tolerates
				? "all data is served, %u more may fail. Replace the failed drives"
				: "all data is served, but no more may fail. Replace the failed "
				  "drives",
			status->tolerates);
	else if (erring)
		snprintf(next, bytes,
			"all data is served. Watch these drives, see braid array show");
}

static json_t *volume_names(const struct array_entry *entry, uint64_t *bytes)
{
	json_t *names = json_array();
	const struct list_node *node;

	*bytes = 0;
	list_for_each (node, &entry->volumes) {
		const struct volume_entry *volume = container_of(node, struct volume_entry, link);

		json_array_append_new(names, json_string(volume->name));
		*bytes += blockdev_bytes(volume->dev);
	}
	return names;
}

/* The members of an array that is still being made. */
static json_t *future_members(const struct array_config *config, json_t *members)
{
	for (unsigned i = 0; i < config->members; i++) {
		struct member_status member = {.dev = config->member[i]};

		json_array_append_new(members, member_json(&member, i));
	}
	return members;
}

json_t *array_json(struct array_entry *entry)
{
	const struct array_config *config;
	struct array_status status;
	char why[FAIL_TEXT_BYTES], next[FAIL_TEXT_BYTES];
	json_t *members = json_array(), *array, *volumes;
	uint64_t volumes_bytes;

	if (!entry->array)
		return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:o, s:[]}", "name",
			entry->name, "level", entry->config.level->name, "level_text",
			entry->config.level->text, "state", "initialising", "why",
			"the drives are being cleared", "next",
			"wait, or watch with braid job watch", "chunk_bytes",
			(int)entry->config.chunk_bytes, "block_bytes",
			(int)entry->config.block_bytes, "members",
			future_members(&entry->config, members), "volumes");
	config = array_config(entry->array);
	array_status(entry->array, &status);
	explain(&status, why, next, sizeof(why));
	for (unsigned i = 0; i < status.members; i++)
		json_array_append_new(members, member_json(&status.member[i], i));
	volumes = volume_names(entry, &volumes_bytes);
	array = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "name", entry->name, "level",
		config->level->name, "level_text", config->level->text, "state",
		array_state_name(status.state), "why", why, "next", next);
	json_object_update_new(array,
		json_pack("{s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:i, s:I, s:I}", "chunk_bytes",
			(json_int_t)config->chunk_bytes, "block_bytes",
			(json_int_t)config->block_bytes, "stripe_bytes",
			(json_int_t)array_stripe_blocks(entry->array) * config->block_bytes,
			"bytes", (json_int_t)blockdev_bytes(array_blockdev(entry->array)),
			"volumes_bytes", (json_int_t)volumes_bytes, "failed", (int)status.failed,
			"tolerates", (int)status.tolerates, "parts", (int)array_parts(entry->array),
			"made_at", (json_int_t)entry->made_at, "memory_per_core_bytes",
			(json_int_t)array_shard_bytes(entry->array)));
	json_object_set_new(array, "counters", counters_json(&status.counters));
	json_object_set_new(array, "members", members);
	json_object_set_new(array, "volumes", volumes);
	return array;
}

METHOD(array_list)
{
	json_t *list = json_array();
	struct list_node *node;

	(void)params, (void)fail;
	list_for_each (node, &daemon->arrays)
		json_array_append_new(
			list, array_json(container_of(node, struct array_entry, link)));
	*result = json_pack("{s:o}", "arrays", list);
	return 0;
}

/* The array that a parameter names, complete; NULL with a sentence. */
static struct array_entry *made_array(struct daemon *daemon, const char *name, struct fail *fail)
{
	struct array_entry *entry = array_find(daemon, name, fail);

	if (entry && !entry->array) {
		fail_set(fail, EBUSY, "array %s is still being made: braid job wait", name);
		return NULL;
	}
	return entry;
}

METHOD(array_show)
{
	struct array_entry *entry = array_find(daemon, rpc_string(params, "name", ""), fail);

	if (!entry)
		return -fail->error;
	*result = json_pack("{s:o}", "array", array_json(entry));
	return 0;
}

/* --- making ---------------------------------------------------------------------------------- */

/* "free:N": the first N drives that nobody uses. */
static int take_free(
	struct daemon *daemon, struct array_config *config, const char *text, struct fail *fail)
{
	char *end;
	unsigned long wanted = strtoul(text, &end, 10), found = 0;
	struct list_node *node;

	if (*end || end == text || !wanted || wanted > RAID_MEMBERS_MAX)
		return fail_set(
			fail, EINVAL, "'free:%s' is no number of drives: write free:10", text);
	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (drive->dev->user[0] || found == wanted || config->members == RAID_MEMBERS_MAX)
			continue;
		config->member[config->members++] = drive->dev;
		found++;
	}
	if (found < wanted)
		return fail_set(fail, ENODEV,
			"only %lu drives are free, %lu wanted: attach more, see "
			"braid drive list",
			found, wanted);
	return 0;
}

static int take_drives(
	struct daemon *daemon, struct array_config *config, const json_t *names, struct fail *fail)
{
	const json_t *value;
	size_t i;

	json_array_foreach((json_t *)names, i, value)
	{
		const char *name = json_string_value(value);
		struct drive *drive;
		int error;

		if (!strncmp(name, "free:", 5)) {
			error = take_free(daemon, config, name + 5, fail);
			if (error)
				return error;
			continue;
		}
		drive = drive_find(daemon, name);
		if (!drive)
			return fail_set(
				fail, ENOENT, "there is no drive '%s': see braid drive list", name);
		if (config->members == RAID_MEMBERS_MAX)
			return fail_set(
				fail, EINVAL, "an array has at most %d drives", RAID_MEMBERS_MAX);
		config->member[config->members++] = drive->dev;
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
	error = level_find(&config->level, rpc_string(params, "level", ""), fail);
	return error ? error : take_drives(daemon, config, json_object_get(params, "drives"), fail);
}

static json_t *plan_json(const struct array_config *config, uint64_t usable, uint64_t waste)
{
	const struct level *level = config->level;
	const struct level *part = level->part ? level->part : level;
	unsigned parts = !level->part	       ? 1
			 : level->part_members ? config->members / level->part_members
					       : MAX(config->parts, 2u);
	unsigned each = config->members / parts, tolerates = level_tolerance(part, each);
	json_t *names = json_array(), *warnings = json_array();
	char text[UNITS_TEXT_BYTES], line[160];

	for (unsigned i = 0; i < config->members; i++)
		json_array_append_new(names, json_string(config->member[i]->name));
	if (waste) {
		snprintf(line, sizeof(line),
			"the drives are not equally large: each is used up to the size of the "
			"smallest, "
			"%s stay unused",
			units_print(waste, text));
		json_array_append_new(warnings, json_string(line));
	}
	return json_pack("{s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:i, s:o}", "level_text", level->text,
		"drives", names, "chunk_bytes", (json_int_t)config->chunk_bytes, "block_bytes",
		(json_int_t)config->block_bytes, "stripe_bytes",
		(json_int_t)config->chunk_bytes * (each - tolerates) * parts, "usable_bytes",
		(json_int_t)usable, "waste_bytes", (json_int_t)waste, "tolerates", (int)tolerates,
		"warnings", warnings);
}

METHOD(array_create_method)
{
	struct array_config config;
	uint64_t usable, waste;
	struct job *job = NULL;
	int error = read_config(daemon, &config, params, fail);

	if (!error)
		error = array_check(&config, &usable, &waste, fail);
	if (!error && !rpc_boolean(params, "dry_run"))
		error = job_start_initialise(daemon, &config, &job, fail);
	if (error)
		return error;
	*result = json_pack("{s:o, s:o}", "plan", plan_json(&config, usable, waste), "job",
		job ? json_integer(job->id) : json_null());
	return 0;
}

/* --- unmaking -------------------------------------------------------------------------------- */

METHOD(array_delete)
{
	struct array_entry *entry = made_array(daemon, rpc_string(params, "name", ""), fail);
	struct list_node *node;

	if (!entry)
		return -fail->error;
	list_for_each (node, &daemon->exports) {
		const struct export *export = container_of(node, struct export, link);

		if (export->array == entry)
			return fail_set(fail, EBUSY,
				"array %s is exported by controller %s: braid vhost delete %s "
				"first",
				entry->name, export->name, export->name);
	}
	array_free(entry);
	*result = json_object();
	return 0;
}

METHOD(array_fail)
{
	struct array_entry *entry = made_array(daemon, rpc_string(params, "name", ""), fail);
	const char *name = rpc_string(params, "drive", "");
	const struct array_config *config;
	bool beyond = rpc_boolean(params, "allow_failed");

	if (!entry)
		return -fail->error;
	config = array_config(entry->array);
	for (unsigned i = 0; i < config->members; i++) {
		int error;

		if (strcmp(config->member[i]->name, name))
			continue;
		error = rpc_boolean(params, "dry_run")
				? array_fail_check(entry->array, i, beyond, fail)
				: array_fail_member(entry->array, i, beyond, fail);
		if (!error)
			*result = json_object();
		return error;
	}
	return fail_set(fail, ENOENT, "array %s has no drive '%s': see braid array show %s",
		config->name, name, config->name);
}
