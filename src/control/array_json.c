/* SPDX-License-Identifier: Apache-2.0 */
/* An array as it is described: its state, why it is not well, what to do next, its rows. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "control/assemble.h"
#include "control/jobs.h"
#include "control/methods.h"

/* --- rows ------------------------------------------------------------------------------------ */

/* The drive of a row, or the name that it had when it was there. */
static const char *row_drive(
	struct daemon *daemon, const struct blockdev *dev, const struct uuid *uuid)
{
	const struct drive *drive = dev ? NULL : drive_of_member(daemon, uuid);

	return dev ? dev->name : drive ? drive->name : "";
}

static unsigned percent_of(const struct member_status *member)
{
	return member->stripes ? (unsigned)(member->watermark * 100 / member->stripes) : 0;
}

static bool is_copied(const struct member_status *member)
{
	return member->state == ROW_REBUILDING || member->state == ROW_REPLACING;
}

/* "rebuilding 42 %", "replacing d3 42 %", "failed", "absent" */
static void row_text(struct daemon *daemon, const struct array_status *status, unsigned row,
	char *text, size_t bytes)
{
	const struct member_status *member = &status->member[row];
	const struct member_status *old =
		member->state == ROW_REPLACING ? &status->member[member->replaces] : member;
	const struct drive *drive = drive_of_member(daemon, &member->uuid);

	if (old != member)
		snprintf(text, bytes, "replacing %.80s %u %%",
			row_drive(daemon, old->dev, &old->uuid), percent_of(member));
	else if (member->state == ROW_REBUILDING)
		snprintf(text, bytes, "rebuilding %u %%", percent_of(member));
	else if (!member->dev && member->state != ROW_EMPTY)
		snprintf(text, bytes, "%s", drive && drive->dev ? "stale" : "absent");
	else
		snprintf(text, bytes, "%s%s", row_state_name(member->state),
			member->slow ? ", slow" : "");
}

static json_t *row_json(struct daemon *daemon, const struct array_status *status, unsigned row)
{
	const struct member_status *member = &status->member[row];
	const struct member_counters *counters = &member->counters;
	bool failed = member->state == ROW_FAILED;
	char text[128], uuid[UUID_TEXT_BYTES];
	json_t *json;

	row_text(daemon, status, row, text, sizeof(text));
	json = json_pack("{s:i, s:o, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:b}", "row", (int)row,
		"slot", row < status->members ? json_integer(row) : json_null(), "drive",
		row_drive(daemon, member->dev, &member->uuid), "uuid",
		uuid_print(&member->uuid, uuid), "state", row_state_name(member->state), "text",
		text, "reason", failed ? loss_reason_text(member->reason) : "", "failed_at",
		(json_int_t)(failed ? member->lost_at : 0), "bytes",
		(json_int_t)(member->dev ? blockdev_bytes(member->dev) : 0), "readdable",
		failed && member->resyncable, "slow", member->slow);
	json_object_update_new(
		json, json_pack("{s:I, s:I, s:I, s:I, s:I}", "reads", (json_int_t)counters->reads,
			      "writes", (json_int_t)counters->writes, "read_errors",
			      (json_int_t)counters->read_errors, "write_errors",
			      (json_int_t)counters->write_errors, "bad_blocks",
			      (json_int_t)member->bad_blocks));
	if (is_copied(member))
		json_object_set_new(json, "percent", json_integer(percent_of(member)));
	return json;
}

static json_t *rows_json(struct daemon *daemon, const struct array_status *status)
{
	json_t *rows = json_array();

	for (unsigned i = 0; i < status->rows; i++)
		if (i < status->members || status->member[i].state != ROW_EMPTY)
			json_array_append_new(rows, row_json(daemon, status, i));
	return rows;
}

/* The rows of an array that does not run, as its freshest superblock has them. */
static void status_of_assembly(const struct assembly *assembly, struct array_status *status)
{
	const struct superblock *superblock = &assembly->superblock;

	memset(status, 0, sizeof(*status));
	status->members = superblock->members;
	status->rows = SUPERBLOCK_ROWS;
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		const struct superblock_row *row = &superblock->rows[i];

		status->member[i] = (struct member_status){
			.dev = assembly->member[i],
			.uuid = row->uuid,
			.state = row->state,
			.reason = row->reason,
			.lost_at = row->lost_at,
			.replaces = row->replaces,
			.watermark = row->watermark,
			.stripes = superblock->stripes,
			.resyncable = row->resyncable,
		};
	}
}

/* --- why and what next ----------------------------------------------------------------------- */

struct sentence {
	char *text;
	size_t bytes, used;
};

static void add(struct sentence *sentence, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void add(struct sentence *sentence, const char *format, ...)
{
	va_list arguments;

	if (sentence->used >= sentence->bytes)
		return;
	va_start(arguments, format);
	sentence->used += (size_t)vsnprintf(sentence->text + sentence->used,
		sentence->bytes - sentence->used, format, arguments);
	va_end(arguments);
}

/* "2 of 10 drives failed: a (removed) and b (write error)" */
static void add_failed(
	struct sentence *why, struct daemon *daemon, const struct array_status *status)
{
	unsigned failed = 0, named = 0;

	for (unsigned i = 0; i < status->members; i++)
		failed += status->member[i].state == ROW_FAILED ||
			  (!status->member[i].dev && status->member[i].state != ROW_EMPTY);
	if (!failed)
		return;
	add(why, "%u of %u drives failed: ", failed, status->members);
	for (unsigned i = 0; i < status->members; i++) {
		const struct member_status *member = &status->member[i];
		const char *drive = row_drive(daemon, member->dev, &member->uuid);

		if (member->state != ROW_FAILED && (member->dev || member->state == ROW_EMPTY))
			continue;
		named++;
		add(why, "%s%s (%s)",
			named == 1	  ? ""
			: named == failed ? " and "
					  : ", ",
			drive[0] ? drive : "a drive that is not there",
			member->state == ROW_FAILED ? loss_reason_text(member->reason) : "absent");
	}
}

static void add_copied(
	struct sentence *why, struct daemon *daemon, const struct array_status *status)
{
	for (unsigned i = 0; i < status->rows; i++) {
		char text[128];

		if (!is_copied(&status->member[i]))
			continue;
		row_text(daemon, status, i, text, sizeof(text));
		add(why, "%s%s is %s", why->used ? "; " : "",
			row_drive(daemon, status->member[i].dev, &status->member[i].uuid), text);
	}
}

/* Members that lack blocks which nothing else can tell. */
static bool add_bad_blocks(struct sentence *why, const struct array_status *status)
{
	bool any = false;

	for (unsigned i = 0; i < status->rows; i++) {
		const struct member_status *member = &status->member[i];

		if (!member->dev || !member->bad_blocks)
			continue;
		add(why, "%s%s has %llu bad blocks", why->used ? "; " : "", member->dev->name,
			(unsigned long long)member->bad_blocks);
		any = true;
	}
	return any;
}

/* Names of the members that are used and report errors. */
static bool add_errors(struct sentence *why, const struct array_status *status)
{
	unsigned count = 0;

	for (unsigned i = 0; i < status->rows; i++) {
		const struct member_status *member = &status->member[i];
		uint64_t errors = member->counters.read_errors + member->counters.write_errors;

		if (member->state == ROW_FAILED || !member->dev || !errors)
			continue;
		add(why, "%s%s (%llu errors)",
			count	    ? ", "
			: why->used ? "; "
				    : "",
			member->dev->name, (unsigned long long)errors);
		count++;
	}
	if (count)
		add(why, " with errors, still in use");
	return count;
}

/* A drive that was a member, is there again, and could be taken back. */
static const struct drive *returned_drive(struct daemon *daemon, const struct array_status *status)
{
	for (unsigned i = 0; i < status->members; i++) {
		const struct drive *drive = drive_of_member(daemon, &status->member[i].uuid);

		if (status->member[i].state == ROW_FAILED && drive && drive->dev &&
			(!drive->dev->user[0] || status->member[i].dev == drive->dev) &&
			status->member[i].resyncable &&
			(!status->member[i].dev || status->member[i].reason == LOSS_OPERATOR))
			return drive;
	}
	return NULL;
}

static void explain_next(struct sentence *next, struct daemon *daemon,
	const struct array_entry *entry, const struct array_status *status, bool erring)
{
	const struct drive *returned = returned_drive(daemon, status);
	bool copying = status->rebuilding || status->replacing;

	if (status->state == ARRAY_BROKEN) {
		add(next,
			"more has failed than the level survives; guests wait. Bring the drives "
			"back, then braid array stop %s --connected and braid array start %s, or "
			"restore from backup",
			entry->name, entry->name);
	} else if (status->failed) {
		add(next, "all data is served, ");
		if (status->tolerates)
			add(next, "%u more may fail. ", status->tolerates);
		else
			add(next, "but no more may fail. ");
		if (returned)
			add(next, "%s is back: braid array readd %s %s", returned->name,
				entry->name, returned->name);
		else if (copying)
			add(next, "Nothing to do until the copy is complete, see braid job list");
		else
			add(next, "Replace the failed drives: braid array add %s DRIVE",
				entry->name);
	} else if (copying) {
		add(next, "all data is served. Nothing to do until the copy is complete");
	} else if (status->dirty_regions) {
		add(next, "all data is served. Nothing to do: the resync runs by itself");
	} else if (erring) {
		add(next, "all data is served. Watch these drives, see braid array show, or "
			  "braid array replace");
	}
}

static void explain(struct daemon *daemon, const struct array_entry *entry,
	const struct array_status *status, char *why_text, char *next_text)
{
	struct sentence why = {why_text, FAIL_TEXT_BYTES, 0},
			next = {next_text, FAIL_TEXT_BYTES, 0};
	bool bad, erring;

	why_text[0] = next_text[0] = '\0';
	add_failed(&why, daemon, status);
	add_copied(&why, daemon, status);
	bad = add_bad_blocks(&why, status);
	erring = add_errors(&why, status);
	if (!why.used && status->dirty_regions)
		add(&why,
			"it was not stopped in order: the redundancy of %llu regions is made right",
			(unsigned long long)status->dirty_regions);
	if (entry->seen_last.spare_trouble[0])
		add(&why, "%s%s", why.used ? "; " : "", entry->seen_last.spare_trouble);
	if (bad)
		add(&next, "what the bad blocks held is lost: reading it gives I/O errors until it "
			   "is written anew; restore what they belong to. ");
	explain_next(&next, daemon, entry, status, erring);
}

/* The same for an array that does not run. */
static void explain_idle(const struct array_entry *entry, char *why, char *next)
{
	const char *name = entry->name;

	snprintf(why, FAIL_TEXT_BYTES, "%s",
		entry->phase == PHASE_MAKING ? "the drives are being cleared"
		: entry->phase == PHASE_HELD ? "it was stopped by the operator"
					     : entry->why);
	switch (entry->phase) {
	case PHASE_MAKING:
		snprintf(next, FAIL_TEXT_BYTES, "wait, or watch with braid job watch");
		break;
	case PHASE_WAITING:
		snprintf(next, FAIL_TEXT_BYTES,
			"wait: it starts without them in %llu s, or now with braid array start %s",
			(unsigned long long)((entry->deadline_ns -
						     MIN(entry->deadline_ns, monotonic_ns())) /
					     1000000000),
			name);
		break;
	case PHASE_HELD:
		snprintf(next, FAIL_TEXT_BYTES,
			"braid array start %s; it also starts with the next braidd", name);
		break;
	case PHASE_FOREIGN:
		snprintf(next, FAIL_TEXT_BYTES, "if no other host uses it: braid array import %s",
			name);
		break;
	case PHASE_INCOMPLETE:
		snprintf(next, FAIL_TEXT_BYTES,
			"attach the missing drives: it starts by itself when they are there");
		break;
	default:
		snprintf(next, FAIL_TEXT_BYTES,
			"see braid array examine of its drives, then braid array start %s", name);
	}
}

/* --- the whole ------------------------------------------------------------------------------- */

static json_t *counters_json(const struct array_counters *counters)
{
	json_t *json = json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "reads",
		(json_int_t)counters->reads, "writes", (json_int_t)counters->writes, "flushes",
		(json_int_t)counters->flushes, "discards", (json_int_t)counters->discards,
		"read_blocks", (json_int_t)counters->read_blocks, "written_blocks",
		(json_int_t)counters->written_blocks, "ops", (json_int_t)counters->ops, "joins",
		(json_int_t)counters->joins, "full_stripes", (json_int_t)counters->full_stripes,
		"rewrites", (json_int_t)counters->rewrites, "modifies",
		(json_int_t)counters->modifies, "recovers", (json_int_t)counters->recovers,
		"retries", (json_int_t)counters->retries);

	json_object_update_new(json,
		json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "errors", (json_int_t)counters->errors,
			"repairs", (json_int_t)counters->repairs, "log_records",
			(json_int_t)counters->log_records, "log_batches",
			(json_int_t)counters->log_batches, "log_bytes",
			(json_int_t)counters->log_bytes, "intents", (json_int_t)counters->intents));
	return json;
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

/* What is the same whether it runs or not. */
static json_t *head_json(const struct array_entry *entry, const struct level *level,
	const char *state, const char *why, const char *next)
{
	char uuid[UUID_TEXT_BYTES] = "";

	if (!uuid_is_null(&entry->uuid))
		uuid_print(&entry->uuid, uuid);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "name", entry->name, "uuid",
		uuid, "level", level ? level->name : "", "level_text", level ? level->text : "",
		"state", state, "why", why, "next", next, "made_at", (json_int_t)entry->made_at);
}

static json_t *idle_json(struct daemon *daemon, struct array_entry *entry)
{
	const struct assembly *assembly = entry->assembly;
	const struct superblock *superblock = assembly ? &assembly->superblock : NULL;
	bool making = entry->phase == PHASE_MAKING;
	char why[FAIL_TEXT_BYTES], next[FAIL_TEXT_BYTES];
	struct array_status status = {0};
	json_t *array;

	explain_idle(entry, why, next);
	if (assembly)
		status_of_assembly(assembly, &status);
	status.members = making ? entry->config.members : status.members;
	status.rows = MAX(status.rows, status.members);
	for (unsigned i = 0; making && i < entry->config.members; i++)
		status.member[i] = (struct member_status){
			.dev = entry->config.member[i], .state = ROW_IN_SYNC};
	array = head_json(entry,
		making	     ? entry->config.level
		: superblock ? superblock->level
			     : NULL,
		array_phase_name(entry->phase), why, next);
	json_object_update_new(array, json_pack("{s:i, s:o, s:[]}", "slots", (int)status.members,
					      "members", rows_json(daemon, &status), "volumes"));
	if (making || superblock)
		json_object_update_new(
			array, json_pack("{s:I, s:I, s:s}", "chunk_bytes",
				       (json_int_t)(making ? entry->config.chunk_bytes
							   : superblock->chunk_bytes),
				       "block_bytes",
				       (json_int_t)(making ? entry->config.block_bytes
							   : superblock->block_bytes),
				       "consistency",
				       consistency_name(making ? entry->config.consistency
							       : superblock->consistency)));
	return array;
}

json_t *array_json(struct daemon *daemon, struct array_entry *entry)
{
	const struct array_config *config;
	struct array_status status;
	char why[FAIL_TEXT_BYTES], next[FAIL_TEXT_BYTES];
	json_t *array, *volumes;
	uint64_t volumes_bytes;

	if (!entry->array)
		return idle_json(daemon, entry);
	config = array_config(entry->array);
	array_status(entry->array, &status);
	explain(daemon, entry, &status, why, next);
	volumes = volume_names(entry, &volumes_bytes);
	array = head_json(entry, config->level, array_state_name(status.state), why, next);
	json_object_update_new(array,
		json_pack("{s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:i, s:I, s:s}", "chunk_bytes",
			(json_int_t)config->chunk_bytes, "block_bytes",
			(json_int_t)config->block_bytes, "stripe_bytes",
			(json_int_t)array_stripe_blocks(entry->array) * config->block_bytes,
			"bytes", (json_int_t)blockdev_bytes(array_blockdev(entry->array)),
			"volumes_bytes", (json_int_t)volumes_bytes, "failed", (int)status.failed,
			"tolerates", (int)status.tolerates, "parts", (int)array_parts(entry->array),
			"memory_per_core_bytes", (json_int_t)array_shard_bytes(entry->array),
			"consistency", consistency_name(config->consistency)));
	json_object_update_new(
		array, json_pack("{s:i, s:i, s:i, s:i, s:I, s:I, s:I}", "slots",
			       (int)status.members, "spares", (int)status.spares, "rebuilding",
			       (int)status.rebuilding, "replacing", (int)status.replacing,
			       "dirty_regions", (json_int_t)status.dirty_regions, "missing_regions",
			       (json_int_t)status.missing_regions, "region_bytes",
			       (json_int_t)status.region_bytes));
	json_object_set_new(array, "counters", counters_json(&status.counters));
	json_object_set_new(array, "members", rows_json(daemon, &status));
	json_object_set_new(array, "volumes", volumes);
	return array;
}
