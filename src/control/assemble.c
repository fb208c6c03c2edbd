/* SPDX-License-Identifier: Apache-2.0 */
#include "control/assemble.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"
#include "control/drives.h"
#include "control/jobs.h"
#include "control/notes.h"

const char *array_phase_name(enum array_phase phase)
{
	static const char *const names[] = {
		[PHASE_MAKING] = "initialising",
		[PHASE_WAITING] = "assembling",
		[PHASE_INCOMPLETE] = "incomplete",
		[PHASE_REFUSED] = "refused",
		[PHASE_FOREIGN] = "foreign",
		[PHASE_HELD] = "stopped",
		[PHASE_RUNNING] = "running",
	};

	return names[phase];
}

/* --- grouping -------------------------------------------------------------------------------- */

/* The name that the array has, or one like it that is not taken. */
static void choose_name(struct daemon *daemon, struct array_entry *entry, const char *name)
{
	char uuid[UUID_TEXT_BYTES];

	if (name_check(name, "the array", NULL))
		name = "array";
	snprintf(entry->name, sizeof(entry->name), "%s", name);
	list_remove(&entry->link);
	if (array_find(daemon, entry->name, NULL))
		snprintf(entry->name, sizeof(entry->name), "%.50s-%.8s", name,
			uuid_print(&entry->uuid, uuid));
	list_push_back(&daemon->arrays, &entry->link);
}

static struct array_entry *add_entry(
	struct daemon *daemon, const struct uuid *uuid, const char *name, uint64_t created_at)
{
	struct array_entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	list_init(&entry->volumes);
	list_node_init(&entry->link);
	entry->uuid = *uuid;
	entry->made_at = created_at;
	entry->phase = PHASE_INCOMPLETE;
	entry->wanted_sweep = -1;
	choose_name(daemon, entry, name);
	state_restore_settings(daemon, entry);
	return entry;
}

/* An array that is remembered, and of which no drive is there. */
static struct array_entry *add_remembered(struct daemon *daemon, const struct uuid *uuid)
{
	char text[UUID_TEXT_BYTES];
	const json_t *row = state_array(daemon, uuid_print(uuid, text));
	const char *name = json_string_value(json_object_get(row, "name"));

	return add_entry(daemon, uuid, name ? name : "array", 0);
}

/* Entries for all arrays that drives tell of; `foreign`: those of other hosts, or those of this. */
static void find_arrays(struct daemon *daemon, bool foreign)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		const struct drive *drive = container_of(node, struct drive, link);
		const struct superblock *superblock = drive->superblock;
		struct array_entry *entry;

		if (!drive->dev || !superblock || drive->dev->user[0] ||
			foreign == uuid_equal(&superblock->host_id, &daemon->host_id))
			continue;
		entry = array_find_uuid(daemon, &superblock->array_uuid);
		if (!entry)
			entry = add_entry(daemon, &superblock->array_uuid, superblock->name,
				superblock->created_at);
		if (entry)
			entry->seen = true;
	}
}

/* The drives that an array may be made of; `found` may be NULL. */
static unsigned collect(struct daemon *daemon, const struct array_entry *entry,
	struct drive **drives, struct found *found)
{
	struct list_node *node;
	unsigned count = 0;

	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (!drive->dev || !drive->superblock || drive->dev->user[0] ||
			!uuid_equal(&drive->superblock->array_uuid, &entry->uuid) ||
			count == ASSEMBLY_FOUND_MAX)
			continue;
		if (found)
			found[count] =
				(struct found){drive->dev, drive->superblock, drive->fingerprint};
		drives[count++] = drive;
	}
	return count;
}

static void decide(struct daemon *daemon, struct array_entry *entry)
{
	struct drive *drives[ASSEMBLY_FOUND_MAX];
	struct found found[ASSEMBLY_FOUND_MAX];
	unsigned count, absent = entry->assembly ? entry->assembly->absent : ~0u;

	if (!entry->assembly)
		entry->assembly = malloc(sizeof(*entry->assembly));
	if (!entry->assembly)
		return;
	count = collect(daemon, entry, drives, found);
	assembly_decide(entry->assembly, &entry->uuid, found, count);
	if (entry->assembly->absent != absent)
		entry->start_failed = false;
	if (!entry->start_failed)
		snprintf(entry->why, sizeof(entry->why), "%s", entry->assembly->why);
}

/* Drives of it that are not there are not waited for. */
static void forget_members(struct daemon *daemon, const struct uuid *array)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (!drive->dev && uuid_equal(&drive->array_uuid, array))
			drive->array_uuid = drive->member_uuid = (struct uuid){{0}};
	}
	state_changed(daemon);
}

/* Erases what is left of an array that was being made, or deleted, when the daemon before this one
 * ended. The order is assembly_is_leftover()'s. */
static void erase_leftovers(struct daemon *daemon, struct array_entry *entry)
{
	const struct assembly *assembly = entry->assembly;
	struct drive *drives[ASSEMBLY_FOUND_MAX];
	unsigned count = collect(daemon, entry, drives, NULL), erased = 0;
	struct fail fail = {0};

	for (unsigned knows = 0; knows < 2; knows++)
		for (unsigned i = 0; i < count; i++) {
			struct drive *drive = drives[i];

			if (!assembly_is_leftover(assembly, i) || !drive->superblock ||
				drive->superblock->unmade != knows)
				continue;
			if (drive_wipe(daemon, drive, &fail)) {
				log_error("event=LeftoverNotErased drive=%s why=\"%s\"",
					drive->name, fail.text);
				return; /* in this order, or later */
			}
			erased++;
		}
	log_info("event=LeftoversErased array=%s drives=%u why=\"it was being made, or deleted, "
		 "when braidd ended\"",
		entry->name, erased);
	forget_members(daemon, &entry->uuid);
}

/* What becomes of an array that does not run. */
static void set_phase(struct daemon *daemon, struct array_entry *entry)
{
	const struct assembly *assembly = entry->assembly;
	char host[UUID_TEXT_BYTES];

	if (entry->held) {
		entry->phase = PHASE_HELD;
	} else if (entry->start_failed || assembly->state == ASSEMBLY_REFUSED) {
		entry->phase = PHASE_REFUSED;
	} else if (!uuid_equal(&assembly->superblock.host_id, &daemon->host_id)) {
		entry->phase = PHASE_FOREIGN;
		if (uuid_is_null(&assembly->superblock.host_id))
			strcpy(entry->why, "it was exported, and belongs to no host");
		else
			snprintf(entry->why, sizeof(entry->why), "it belongs to another host, %s",
				uuid_print(&assembly->superblock.host_id, host));
	} else if (assembly->state == ASSEMBLY_INCOMPLETE || assembly->state == ASSEMBLY_UNMADE) {
		entry->phase = PHASE_INCOMPLETE;
	} else {
		entry->phase = PHASE_WAITING;
		if (!entry->deadline_ns)
			entry->deadline_ns = monotonic_ns() + daemon->assemble_wait_ns;
	}
	if (entry->phase != PHASE_WAITING)
		entry->deadline_ns = 0;
}

/* A remembered drive of the array is not there. */
static const struct drive *absent_drive(struct daemon *daemon, const struct array_entry *entry)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		const struct drive *drive = container_of(node, struct drive, link);

		if (!drive->dev && uuid_equal(&drive->array_uuid, &entry->uuid))
			return drive;
	}
	return NULL;
}

static void find_remembered(struct daemon *daemon)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		const struct drive *drive = container_of(node, struct drive, link);

		if (!drive->dev && !uuid_is_null(&drive->array_uuid) &&
			!array_find_uuid(daemon, &drive->array_uuid))
			add_remembered(daemon, &drive->array_uuid);
	}
}

static void start_or_say(struct daemon *daemon, struct array_entry *entry)
{
	struct fail fail = {0};

	if (assemble_start(daemon, entry, false, &fail))
		log_error("event=ArrayNotStarted array=%s why=\"%s\"", entry->name, fail.text);
}

void assemble(struct daemon *daemon)
{
	struct list_node *node, *after;

	list_for_each (node, &daemon->arrays)
		container_of(node, struct array_entry, link)->seen = false;
	find_arrays(daemon, false);
	find_arrays(daemon, true);
	find_remembered(daemon);
	list_for_each_safe (node, after, &daemon->arrays) {
		struct array_entry *entry = container_of(node, struct array_entry, link);
		enum array_phase before = entry->phase;

		if (entry->phase == PHASE_RUNNING || entry->phase == PHASE_MAKING)
			continue;
		if (entry->seen) {
			decide(daemon, entry);
			if (entry->assembly)
				set_phase(daemon, entry);
		} else if (absent_drive(daemon, entry)) {
			free(entry->assembly);
			entry->assembly = NULL;
			entry->phase = PHASE_INCOMPLETE;
			strcpy(entry->why, "none of its drives is there");
		} else {
			array_free(entry);
			continue;
		}
		if (entry->phase != before || !entry->why[0])
			log_info("event=ArrayFound array=%s state=%s why=\"%s\"", entry->name,
				array_phase_name(entry->phase), entry->why);
		if (entry->phase == PHASE_WAITING && entry->assembly->state == ASSEMBLY_COMPLETE)
			start_or_say(daemon, entry);
		else if (entry->phase == PHASE_INCOMPLETE && entry->assembly &&
			 entry->assembly->state == ASSEMBLY_UNMADE) {
			erase_leftovers(daemon, entry);
			array_free(entry);
		}
	}
}

void assemble_overdue(struct daemon *daemon)
{
	struct list_node *node;

	list_for_each (node, &daemon->arrays) {
		struct array_entry *entry = container_of(node, struct array_entry, link);

		if (entry->phase == PHASE_WAITING && monotonic_ns() >= entry->deadline_ns)
			start_or_say(daemon, entry);
	}
}

/* --- starting and stopping ------------------------------------------------------------------- */

int assemble_start(
	struct daemon *daemon, struct array_entry *entry, bool accept_loss, struct fail *fail)
{
	struct array_start_options options = {
		.accept_loss = accept_loss,
		.host_id = daemon->host_id,
		.places = &layout_standard,
	};
	uint64_t begun_ns = monotonic_ns();
	struct array_status status;
	int error;

	if (!entry->assembly)
		return fail_set(fail, ENODEV,
			"array %s cannot start: none of its drives is there, attach them",
			entry->name);
	error = array_start(&entry->array, entry->assembly, &options, daemon->group, fail);
	if (error) {
		entry->array = NULL;
		entry->start_failed = true;
		entry->phase = PHASE_REFUSED;
		entry->deadline_ns = 0;
		snprintf(entry->why, sizeof(entry->why), "%s", fail->text);
		return error;
	}
	free(entry->assembly);
	entry->assembly = NULL;
	entry->phase = PHASE_RUNNING;
	entry->held = entry->start_failed = false;
	entry->deadline_ns = 0;
	entry->why[0] = '\0';
	memset(&entry->seen_last, 0, sizeof(entry->seen_last));
	drives_adopt(daemon, entry);
	notes_restore(daemon, entry);
	state_changed(daemon);
	array_status(entry->array, &status);
	log_info("event=ArrayStarted array=%s state=%s took_ms=%llu", entry->name,
		array_state_name(status.state),
		(unsigned long long)((monotonic_ns() - begun_ns) / 1000000));
	return 0;
}

void assemble_stop(struct daemon *daemon, struct array_entry *entry, bool exported)
{
	struct list_node *node;

	sweep_end(daemon, entry);
	array_clear(daemon, entry);
	if (exported)
		array_export(entry->array);
	else
		array_stop(entry->array);
	entry->array = NULL;
	entry->held = true;
	entry->phase = PHASE_HELD;
	log_info("event=ArrayStopped array=%s", entry->name);
	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (drive->dev && uuid_equal(&drive->array_uuid, &entry->uuid))
			drive_identify(daemon, drive);
	}
	assemble(daemon);
	snprintf(entry->why, sizeof(entry->why), "it was stopped by the operator");
}
