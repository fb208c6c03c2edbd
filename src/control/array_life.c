/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays that start and stop, come from another host, and go to one. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "control/assemble.h"
#include "control/drives.h"
#include "control/methods.h"
#include "control/nvmes.h"
#include "control/probe.h"

enum { IMPORT_DRIVES_MAX = ASSEMBLY_FOUND_MAX, SCAN_ENTRIES_MAX = 16384 };

/* --- starting and stopping ------------------------------------------------------------------- */

/* Somebody waits for one of its drives. */
static bool is_opening(struct daemon *daemon, const struct uuid *uuid)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		const struct drive *drive = container_of(node, struct drive, link);

		if (drive->opening && uuid_equal(&drive->array_uuid, uuid))
			return true;
	}
	return false;
}

METHOD(array_start_method)
{
	const char *name = rpc_string(params, "name", "");
	bool accept_loss = rpc_boolean(params, "accept_loss");
	struct array_entry *entry;
	int error;

	while ((entry = array_find(daemon, name, fail)) && is_opening(daemon, &entry->uuid))
		daemon_wait(daemon);
	if (!entry)
		return -fail->error;
	if (entry->array || entry->phase == PHASE_MAKING)
		return fail_set(fail, EALREADY, "array %s is %s already", entry->name,
			array_phase_name(entry->phase));
	entry->held = entry->start_failed = false;
	drives_retry(daemon, true);
	assemble(daemon);
	entry = array_find(daemon, name, fail); /* the lock may have been free meanwhile */
	if (!entry)
		return -fail->error;
	if (entry->phase == PHASE_FOREIGN)
		return fail_set(fail, EPERM,
			"array %s is not this host's (%s): if no other host uses it, braid array "
			"import %s",
			entry->name, entry->why, entry->name);
	if (!entry->array) {
		if (entry->assembly && entry->assembly->state == ASSEMBLY_REFUSED)
			return fail_set(fail, EPERM, "%s", entry->why);
		error = assemble_start(daemon, entry, accept_loss, fail);
		if (error)
			return error;
	}
	*result = json_pack("{s:o}", "array", array_json(daemon, entry));
	return 0;
}

/* A guest that loses its disk without being asked is a guest that is broken. */
static int check_guests(
	struct daemon *daemon, const struct array_entry *entry, bool connected, struct fail *fail)
{
	struct list_node *node;

	list_for_each (node, &daemon->exports) {
		const struct export *export = container_of(node, struct export, link);
		struct controller_status status;

		if (export->array != entry || !export->controller || connected)
			continue;
		controller_status(export->controller, &status);
		if (status.connected)
			return fail_set(fail, EBUSY,
				"a guest is connected to controller %s of array %s: shut it down, "
				"or use --connected",
				export->config.name, entry->name);
	}
	return 0;
}

METHOD(array_stop_method)
{
	struct array_entry *entry = running_array(daemon, rpc_string(params, "name", ""), fail);
	int error;

	if (!entry)
		return -fail->error;
	error = check_guests(daemon, entry, rpc_boolean(params, "connected"), fail);
	if (error)
		return error;
	if (!rpc_boolean(params, "dry_run"))
		assemble_stop(daemon, entry, false);
	*result = json_pack("{s:o}", "array", array_json(daemon, entry));
	return 0;
}

/* Stopped, and its drives given back: nothing of it is left here, and nobody's host id on them. One
 * that does not run is given back as it is. */
METHOD(array_export_method)
{
	const char *name = rpc_string(params, "name", "");
	struct list_node *node, *after;
	struct array_entry *entry;
	json_t *drives;
	struct uuid uuid;
	int error;

	while ((entry = array_find(daemon, name, fail)) && is_opening(daemon, &entry->uuid))
		daemon_wait(daemon);
	if (!entry)
		return -fail->error;
	if (entry->phase == PHASE_MAKING)
		return fail_set(
			fail, EBUSY, "array %s is still being made: braid job wait", entry->name);
	error = check_guests(daemon, entry, rpc_boolean(params, "connected"), fail);
	if (error)
		return error;
	drives = json_array();
	uuid = entry->uuid;
	if (!rpc_boolean(params, "dry_run") && entry->array)
		assemble_stop(daemon, entry, true);
	list_for_each_safe (node, after, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (!uuid_equal(&drive->array_uuid, &uuid))
			continue;
		json_array_append_new(drives, json_string(drive->source));
		if (!rpc_boolean(params, "dry_run"))
			drive_free(drive);
	}
	assemble(daemon);
	state_changed(daemon);
	nvmes_release_unused(daemon);
	*result = json_pack("{s:o}", "drives", drives);
	return 0;
}

/* --- import ---------------------------------------------------------------------------------- */

/* Which drives and arrays an import is about. */
struct import {
	struct drive *attached[IMPORT_DRIVES_MAX]; /* by this import: they go again if it fails */
	unsigned attached_count;
	struct uuid array[IMPORT_DRIVES_MAX];
	unsigned arrays;
	char trouble[FAIL_TEXT_BYTES]; /* of the last file that could not be attached */
};

static void add_array(struct import *import, const struct uuid *uuid)
{
	for (unsigned i = 0; i < import->arrays; i++)
		if (uuid_equal(&import->array[i], uuid))
			return;
	if (import->arrays < IMPORT_DRIVES_MAX)
		import->array[import->arrays++] = *uuid;
}

/* The attached drive that lies there; NULL: none. */
static struct drive *drive_at(struct daemon *daemon, const struct stat *status)
{
	bool block = S_ISBLK(status->st_mode);
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (drive->dev && drive->source[0] == '/' &&
			drive->device == (block ? status->st_rdev : status->st_dev) &&
			drive->inode == (block ? 0 : status->st_ino))
			return drive;
	}
	return NULL;
}

/* Attaches a member. -ENODATA: it is none; nothing was done. */
static int take_path(
	struct daemon *daemon, struct import *import, const char *path, struct fail *fail)
{
	struct superblock superblock;
	struct drive_options options = {0};
	struct drive *drive;
	struct stat status;
	int error = probe_superblock(path, &superblock, &status, NULL, fail);

	if (error)
		return error;
	drive = drive_at(daemon, &status);
	if (!drive) {
		if (import->attached_count == IMPORT_DRIVES_MAX)
			return fail_set(
				fail, EINVAL, "more than %d drives at a time", IMPORT_DRIVES_MAX);
		while ((drive = drive_of_member(daemon, &superblock.member_uuid)) && drive->opening)
			daemon_wait(daemon);
		if (drive && !drive->dev)
			drive_free(drive); /* the record of where it was */
		options.block_bytes = superblock.block_bytes;
		error = drive_add(daemon, path, &options, DRIVE_AGAIN, &drive, fail);
		if (error)
			return error;
		import->attached[import->attached_count++] = drive;
	}
	add_array(import, &superblock.array_uuid);
	return 0;
}

static int take_folder(
	struct daemon *daemon, struct import *import, const char *folder, struct fail *fail)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	unsigned looked = 0;

	if (!dir)
		return fail_set(fail, errno, "cannot look into %s: %s", folder, strerror(errno));
	while ((entry = readdir(dir)) && looked++ < SCAN_ENTRIES_MAX) {
		char path[DRIVE_SOURCE_BYTES];
		struct fail why = {0};

		if (entry->d_name[0] == '.' || snprintf(path, sizeof(path), "%s/%s", folder,
						       entry->d_name) >= (int)sizeof(path))
			continue;
		if (take_path(daemon, import, path, &why) && why.error != ENODATA &&
			why.error != EINVAL)
			snprintf(import->trouble, sizeof(import->trouble), "%s", why.text);
	}
	closedir(dir);
	if (import->arrays)
		return 0;
	return fail_set(fail, ENOENT, "%s holds no member of an array%s%.300s", folder,
		import->trouble[0] ? ": " : "", import->trouble);
}

/* Paths of members, or an array that is listed. */
static int take_words(
	struct daemon *daemon, struct import *import, const json_t *words, struct fail *fail)
{
	const json_t *value;
	size_t i;

	json_array_foreach((json_t *)words, i, value)
	{
		const char *word = json_string_value(value);
		struct array_entry *entry = array_find(daemon, word, NULL);
		struct drive *drive = drive_find(daemon, word);
		int error = 0;

		if (entry)
			add_array(import, &entry->uuid);
		else if (drive && !uuid_is_null(&drive->array_uuid))
			add_array(import, &drive->array_uuid);
		else if (word[0] == '/')
			error = take_path(daemon, import, word, fail);
		else
			error = fail_set(fail, ENOENT,
				"there is no array, no member and no path '%s'", word);
		if (error)
			return error;
	}
	return 0;
}

/* Starts one of the arrays with this host's id. */
static int import_one(
	struct daemon *daemon, struct array_entry *entry, const json_t *params, struct fail *fail)
{
	const struct assembly *assembly = entry->assembly;

	if (entry->array)
		return 0;
	if (!assembly)
		return fail_set(fail, ENODEV, "array %s: none of its drives is there", entry->name);
	if (assembly->state == ASSEMBLY_REFUSED)
		return fail_set(fail, EPERM, "%s", assembly->why);
	if (assembly->state == ASSEMBLY_INCOMPLETE)
		return fail_set(fail, ENODEV, "%s", assembly->why);
	if (assembly->state == ASSEMBLY_UNMADE)
		return fail_set(fail, EPERM,
			"%.300s: --wipe-signatures takes its drives for something new",
			assembly->why);
	if (assembly->state == ASSEMBLY_DEGRADED && !rpc_boolean(params, "allow_degraded"))
		return fail_set(fail, EPERM,
			"%.300s: name them all, or take it without them with --allow-degraded",
			assembly->why);
	entry->held = entry->start_failed = false;
	return assemble_start(daemon, entry, rpc_boolean(params, "accept_loss"), fail);
}

static bool is_wanted(const struct import *import, const struct uuid *uuid)
{
	for (unsigned i = 0; i < import->arrays; i++)
		if (uuid_equal(&import->array[i], uuid))
			return true;
	return false;
}

/* Gives back what was attached for arrays that could not be imported. */
static void give_back(struct daemon *daemon, struct import *import)
{
	for (unsigned i = 0; i < import->attached_count; i++) {
		struct drive *drive = import->attached[i];
		struct array_entry *entry = array_find_uuid(daemon, &drive->array_uuid);

		if (drive->dev->user[0] || (entry && entry->array))
			continue;
		drive_free(drive);
	}
	assemble(daemon);
	state_changed(daemon);
}

static int import_all(struct daemon *daemon, const struct import *import, const json_t *params,
	json_t *list, struct fail *fail)
{
	struct fail first = {0};
	struct list_node *node;
	unsigned started = 0;

	list_for_each (node, &daemon->arrays) {
		struct array_entry *entry = container_of(node, struct array_entry, link);
		struct fail why = {0};

		if (!is_wanted(import, &entry->uuid))
			continue;
		if (import_one(daemon, entry, params, &why)) {
			if (!first.error)
				first = why;
			json_array_append_new(list,
				json_pack("{s:s, s:s}", "name", entry->name, "error", why.text));
			continue;
		}
		started++;
		json_array_append_new(list, array_json(daemon, entry));
	}
	if (started)
		return 0;
	*fail = first;
	return first.error ? -first.error
			   : fail_set(fail, ENOENT, "there is nothing to import there");
}

METHOD(array_import)
{
	struct import *import = calloc(1, sizeof(*import));
	const char *folder = rpc_string(params, "scan", "");
	const json_t *words = json_object_get(params, "drives");
	json_t *list = json_array();
	int error;

	if (!import)
		error = fail_set(fail, ENOMEM, "no memory to import");
	else if (!folder[0] && !json_array_size(words))
		error = fail_set(fail, EINVAL, "name the drives, or a folder with scan");
	else
		error = take_words(daemon, import, words, fail);
	if (!error && folder[0])
		error = take_folder(daemon, import, folder, fail);
	if (!error) {
		assemble(daemon);
		error = import_all(daemon, import, params, list, fail);
	}
	if (import)
		give_back(daemon, import);
	free(import);
	if (error)
		json_decref(list);
	else
		*result = json_pack("{s:o}", "arrays", list);
	return error;
}
