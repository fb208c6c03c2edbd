/* SPDX-License-Identifier: Apache-2.0 */
#include "control/notes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/units.h"
#include "control/exports.h"
#include "control/rpc.h"
#include "volume/volume.h"

enum { NOTES_VERSION = 1 };

/* --- writing --------------------------------------------------------------------------------- */

json_t *notes_json(struct daemon *daemon, const struct array_entry *entry)
{
	json_t *volumes = json_array(), *exports = json_array();
	const struct list_node *node;

	list_for_each (node, &entry->volumes) {
		const struct volume_entry *volume = container_of(node, struct volume_entry, link);

		json_array_append_new(
			volumes, json_pack("{s:s, s:I, s:I}", "name", volume->name, "first_block",
					 (json_int_t)volume_first(volume->dev), "blocks",
					 (json_int_t)volume->dev->blocks));
	}
	list_for_each (node, &daemon->exports) {
		const struct export *export = container_of(node, struct export, link);

		if (export->array == entry)
			json_array_append_new(exports, export_note(export));
	}
	return json_pack("{s:i, s:o, s:o}", "version", NOTES_VERSION, "volumes", volumes, "exports",
		exports);
}

int notes_write(struct daemon *daemon, struct array_entry *entry, struct fail *fail)
{
	json_t *json;
	AUTO_FREE char *text = NULL;
	int error;

	if (entry->notes_trouble[0])
		return fail_set(fail, ENOTSUP,
			"the volumes and controllers of array %s cannot be changed: %.300s",
			entry->name, entry->notes_trouble);
	json = notes_json(daemon, entry);
	text = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	if (!text)
		return fail_set(fail, ENOMEM, "no memory to write down the volumes");
	error = array_notes_write(entry->array, text, fail);
	if (!error)
		state_changed(daemon);
	return error;
}

/* --- reading --------------------------------------------------------------------------------- */

/* Why such a volume cannot be; NULL when it can. */
static const char *volume_wrong(
	struct array_entry *entry, const char *name, int64_t first, int64_t blocks)
{
	const struct blockdev *dev = array_blockdev(entry->array);
	int64_t stripe = array_stripe_blocks(entry->array), end = 0;
	const struct list_node *node;

	if (name_check(name, "the volume", NULL))
		return "its name is no name";
	if (first < 0 || blocks <= 0 || first % stripe || blocks % stripe ||
		(uint64_t)first > dev->blocks || (uint64_t)blocks > dev->blocks - (uint64_t)first)
		return "it does not lie within the array";
	list_for_each (node, &entry->volumes) {
		const struct volume_entry *volume = container_of(node, struct volume_entry, link);

		if (!strcmp(volume->name, name))
			return "there is another of its name";
		end = (int64_t)(volume_first(volume->dev) + volume->dev->blocks);
	}
	return first < end ? "it overlaps the one before" : NULL;
}

static int restore_volume(struct array_entry *entry, const json_t *row, struct fail *fail)
{
	const char *name = rpc_string(row, "name", "");
	int64_t first = rpc_integer(row, "first_block", -1);
	int64_t blocks = rpc_integer(row, "blocks", -1);
	const char *wrong = volume_wrong(entry, name, first, blocks);
	struct volume_entry *volume;
	int error;

	if (wrong)
		return fail_set(fail, EILSEQ, "volume '%.64s': %s", name, wrong);
	volume = calloc(1, sizeof(*volume));
	if (!volume)
		return fail_set(fail, ENOMEM, "no memory for volume %s", name);
	error = volume_create(&volume->dev, name, array_blockdev(entry->array), (uint64_t)first,
		(uint64_t)blocks, fail);
	if (error) {
		free(volume);
		return error;
	}
	snprintf(volume->name, sizeof(volume->name), "%s", name);
	volume->array = entry;
	list_push_back(&entry->volumes, &volume->link);
	return 0;
}

/* The members' own notes; if they cannot be read, those of the state file. */
static json_t *read_notes(struct daemon *daemon, struct array_entry *entry)
{
	char uuid[UUID_TEXT_BYTES];
	const json_t *remembered =
		json_object_get(state_array(daemon, uuid_print(&entry->uuid, uuid)), "notes");
	AUTO_FREE char *text = NULL;
	struct fail fail = {0};
	json_t *json;
	int error = array_notes_read(entry->array, &text, &fail);

	if (!error) {
		json = text[0] ? json_loads(text, JSON_REJECT_DUPLICATES, NULL)
			       : json_pack("{s:i}", "version", NOTES_VERSION);
		if (json_is_object(json))
			return json;
		json_decref(json);
		error = fail_set(&fail, EILSEQ, "they are no JSON");
	}
	log_warning("event=NotesUnreadable array=%s why=\"%s\" effect=\"%s\"", entry->name,
		fail.text,
		remembered ? "volumes and controllers are taken from the state file"
			   : "volumes and controllers are not known");
	if (remembered)
		return json_incref((json_t *)remembered);
	/* What is damaged is gone and may be written anew; what only could not be read may not. */
	return error == -EIO ? NULL : json_pack("{s:i}", "version", NOTES_VERSION);
}

static void note_trouble(struct array_entry *entry, const char *text)
{
	log_error("event=NotesDamaged array=%s why=\"%s\"", entry->name, text);
	if (!entry->notes_trouble[0])
		snprintf(entry->notes_trouble, sizeof(entry->notes_trouble), "%s", text);
}

void notes_restore(struct daemon *daemon, struct array_entry *entry)
{
	json_t *json = read_notes(daemon, entry), *row;
	struct fail fail = {0};
	size_t i;

	entry->notes_trouble[0] = '\0';
	if (!json) {
		note_trouble(entry, "the notes on the members cannot be read");
		return;
	}
	if (rpc_integer(json, "version", 0) != NOTES_VERSION)
		note_trouble(entry, "its notes were written by a newer braidd: use that one");
	json_array_foreach(json_object_get(json, "volumes"), i, row)
	{
		if (!entry->notes_trouble[0] && restore_volume(entry, row, &fail))
			note_trouble(entry, fail.text);
	}
	json_array_foreach(json_object_get(json, "exports"), i, row)
	{
		if (!entry->notes_trouble[0] && !export_restore(daemon, entry, row, &fail))
			note_trouble(entry, fail.text);
	}
	json_decref(json);
	if (exports_set_owners(daemon, entry, &fail))
		log_error("event=OwnersNotSet array=%s why=\"%s\"", entry->name, fail.text);
}
