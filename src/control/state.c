/* SPDX-License-Identifier: Apache-2.0 */
#include "control/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "control/daemon.h"
#include "control/notes.h"
#include "control/rpc.h"
#include "control/state_file.h"

static const uint64_t retry_ns = 10000000000;

static const char *const sweep_names[SWEEPS] = {
	[SWEEP_REBUILD] = "rebuild",
	[SWEEP_RESYNC] = "resync",
	[SWEEP_SCRUB] = "scrub",
	[SWEEP_REPAIR] = "repair",
};

/* --- what is written ------------------------------------------------------------------------- */

static json_t *uuid_json(const struct uuid *uuid)
{
	char text[UUID_TEXT_BYTES];

	return uuid_is_null(uuid) ? NULL : json_string(uuid_print(uuid, text));
}

static json_t *drive_state(const struct drive *drive)
{
	return json_pack("{s:s, s:s, s:i, s:b, s:i, s:i, s:b, s:o*, s:o*, s:s, s:s}", "name",
		drive->name, "source", drive->source, "block_bytes",
		(int)drive->options.block_bytes, "injectable", drive->options.injectable,
		"delay_us", (int)drive->options.delay_us, "jitter_us",
		(int)drive->options.jitter_us, "spare", drive->is_spare, "array",
		uuid_json(&drive->array_uuid), "member", uuid_json(&drive->member_uuid), "address",
		drive->address, "identity", drive->identity);
}

static json_t *mark_state(const struct sweep_mark *mark)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "done_bytes", (json_int_t)mark->done_bytes,
		"mismatches", (json_int_t)mark->mismatches, "located", (json_int_t)mark->located,
		"repaired", (json_int_t)mark->repaired, "unreadable", (json_int_t)mark->unreadable);
}

static json_t *array_state(struct daemon *daemon, struct array_entry *entry)
{
	const json_t *before;
	json_t *settings = json_object(), *array;
	char uuid[UUID_TEXT_BYTES];

	uuid_print(&entry->uuid, uuid);
	before = state_array(daemon, uuid);
	for (unsigned i = 0; i < SWEEPS; i++) {
		const struct sweep_setting *setting = &entry->settings[i];

		if (!setting->paused && !setting->automatic && !setting->limit_bytes_per_second)
			continue;
		json_object_set_new(settings, sweep_names[i],
			json_pack("{s:b, s:b, s:I}", "paused", setting->paused, "automatic",
				setting->automatic, "limit",
				(json_int_t)setting->limit_bytes_per_second));
	}
	array = json_pack("{s:s, s:s, s:o, s:o*}", "uuid", uuid, "name", entry->name, "sweeps",
		settings, "wanted",
		entry->wanted_sweep < 0 ? NULL : json_string(sweep_names[entry->wanted_sweep]));
	if (entry->wanted_sweep >= 0)
		json_object_set_new(array, "mark", mark_state(&entry->wanted_mark));
	if (entry->array)
		json_object_set_new(array, "notes", notes_json(daemon, entry));
	else if (json_object_get(before, "notes"))
		json_object_set(array, "notes", json_object_get(before, "notes"));
	return array;
}

static json_t *whole_state(struct daemon *daemon)
{
	json_t *drives = json_array(), *arrays = json_array();
	char host[UUID_TEXT_BYTES];
	struct list_node *node;

	list_for_each (node, &daemon->drives)
		json_array_append_new(drives, drive_state(container_of(node, struct drive, link)));
	list_for_each (node, &daemon->arrays) {
		struct array_entry *entry = container_of(node, struct array_entry, link);

		if (entry->phase != PHASE_MAKING && entry->phase != PHASE_FOREIGN)
			json_array_append_new(arrays, array_state(daemon, entry));
	}
	return json_pack("{s:i, s:s, s:o, s:o}", "version", 1, "host_id",
		uuid_print(&daemon->host_id, host), "drives", drives, "arrays", arrays);
}

void state_changed(struct daemon *daemon)
{
	daemon->state.changed = true;
}

void state_save(struct daemon *daemon)
{
	struct state *state = &daemon->state;
	struct fail fail = {0};
	json_t *json;

	if (!state->dir[0] || (!state->changed && !state->failed_ns))
		return;
	if (!state->changed && monotonic_ns() - state->failed_ns < retry_ns)
		return;
	json = whole_state(daemon);
	state->changed = false;
	mkdir(state->dir, 0700); /* it may have gone, or not have been possible before */
	if (state_file_write(state->dir, json, !state->damaged, &fail)) {
		state->failed_ns = monotonic_ns();
		if (!state->complained)
			log_warning("event=StateNotSaved why=\"%s\" effect=\"the daemon runs on; "
				    "after a restart drives may have to be attached by hand\"",
				fail.text);
		state->complained = true;
	} else {
		if (state->complained)
			log_info("event=StateSaved dir=%s", state->dir);
		state->complained = state->damaged = false;
		state->failed_ns = 0;
		json_decref(state->arrays);
		state->arrays = json_incref(json_object_get(json, "arrays"));
	}
	json_decref(json);
}

/* --- what is read ---------------------------------------------------------------------------- */

static int make_dir(const char *dir, struct fail *fail)
{
	char path[STATE_DIR_BYTES];

	if (snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path) - 32)
		return fail_set(fail, ENAMETOOLONG, "--state-dir %.64s... is too long", dir);
	/* A folder that cannot be made, or not yet, is no reason not to serve: see state_save(). */
	if (mkdir(path, 0700) && errno != EEXIST)
		log_debug("event=StateFolder dir=%s why=\"%s\"", path, strerror(errno));
	return 0;
}

/* Two daemons that write one state file would each forget what the other knows. */
static int lock_dir(struct state *state, struct fail *fail)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[STATE_DIR_BYTES + 16];

	snprintf(path, sizeof(path), "%s/lock", state->dir);
	state->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (state->lock_fd < 0)
		return 0; /* read-only: nobody else can write either */
	if (!fcntl(state->lock_fd, F_OFD_SETLK, &lock))
		return 0;
	return fail_set(fail, EBUSY,
		"another braidd uses --state-dir %s: stop it, or use another folder", state->dir);
}

static void read_uuid(struct uuid *uuid, const json_t *object, const char *key)
{
	if (!uuid_parse(uuid, rpc_string(object, key, "")))
		*uuid = (struct uuid){{0}};
}

static void restore_drive(struct daemon *daemon, const json_t *row)
{
	const char *source = rpc_string(row, "source", "");
	const char *name = rpc_string(row, "name", "");
	struct drive *drive;

	if (!source[0] || strlen(source) >= DRIVE_SOURCE_BYTES || !name[0] ||
		strlen(name) >= BLOCKDEV_NAME_BYTES || drive_find(daemon, name))
		return;
	drive = calloc(1, sizeof(*drive));
	if (!drive)
		return;
	strcpy(drive->source, source);
	strcpy(drive->name, name);
	strcpy(drive->note, "it is not there");
	drive->options = (struct drive_options){
		.block_bytes = (uint32_t)rpc_integer(row, "block_bytes", 4096),
		.injectable = rpc_boolean(row, "injectable"),
		.delay_us = (uint32_t)rpc_integer(row, "delay_us", 0),
		.jitter_us = (uint32_t)rpc_integer(row, "jitter_us", 0),
	};
	drive->is_spare = rpc_boolean(row, "spare");
	snprintf(drive->address, sizeof(drive->address), "%s", rpc_string(row, "address", ""));
	snprintf(drive->identity, sizeof(drive->identity), "%s", rpc_string(row, "identity", ""));
	read_uuid(&drive->array_uuid, row, "array");
	read_uuid(&drive->member_uuid, row, "member");
	list_push_back(&daemon->drives, &drive->link);
}

int state_load(struct daemon *daemon, const char *dir, struct fail *fail)
{
	struct state *state = &daemon->state;
	char why[FAIL_TEXT_BYTES];
	json_t *json, *row;
	size_t i;
	int error = make_dir(dir, fail);

	if (error)
		return error;
	snprintf(state->dir, sizeof(state->dir), "%s", dir);
	error = lock_dir(state, fail);
	if (error)
		return error;
	json = state_file_read(dir, &state->damaged, why);
	if (why[0])
		log_warning("event=StateDamaged file=%s/state.json why=\"%s\" effect=\"%s\"", dir,
			why,
			json ? "the one before is used"
			     : "drives have to be attached, or braid array import --scan DIR");
	read_uuid(&daemon->host_id, json, "host_id");
	if (uuid_is_null(&daemon->host_id)) {
		uuid_make(&daemon->host_id);
		state->changed = true;
	}
	json_array_foreach(json_object_get(json, "drives"), i, row) restore_drive(daemon, row);
	state->arrays = json_incref(json_object_get(json, "arrays"));
	state->changed |= state->damaged;
	json_decref(json);
	return 0;
}

void state_close(struct daemon *daemon)
{
	json_decref(daemon->state.arrays);
	if (daemon->state.lock_fd >= 0)
		close(daemon->state.lock_fd);
}

const json_t *state_array(const struct daemon *daemon, const char *uuid)
{
	size_t i;
	json_t *row;

	json_array_foreach(daemon->state.arrays, i,
		row) if (!strcmp(rpc_string(row, "uuid", ""), uuid)) return row;
	return NULL;
}

/* Only a mark that makes sense: else from the beginning. */
static void read_mark(struct sweep_mark *mark, const json_t *json)
{
	uint64_t *const fields[] = {&mark->done_bytes, &mark->mismatches, &mark->located,
		&mark->repaired, &mark->unreadable};
	static const char *const names[] = {
		"done_bytes", "mismatches", "located", "repaired", "unreadable"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		int64_t value = rpc_integer(json, names[i], -1);

		if (value < 0) {
			*mark = (struct sweep_mark){0};
			return;
		}
		*fields[i] = (uint64_t)value;
	}
}

void state_restore_settings(struct daemon *daemon, struct array_entry *entry)
{
	char uuid[UUID_TEXT_BYTES];
	const json_t *row = state_array(daemon, uuid_print(&entry->uuid, uuid));
	const json_t *sweeps = json_object_get(row, "sweeps");
	const char *wanted = rpc_string(row, "wanted", "");

	for (unsigned i = 0; i < SWEEPS; i++) {
		const json_t *setting = json_object_get(sweeps, sweep_names[i]);
		int64_t limit = rpc_integer(setting, "limit", 0);

		entry->settings[i] = (struct sweep_setting){
			.paused = rpc_boolean(setting, "paused"),
			.automatic = rpc_boolean(setting, "automatic"),
			.limit_bytes_per_second = limit > 0 ? (uint64_t)limit : 0,
		};
		if ((i == SWEEP_SCRUB || i == SWEEP_REPAIR) && !strcmp(wanted, sweep_names[i]))
			entry->wanted_sweep = (int)i;
	}
	if (entry->wanted_sweep >= 0)
		read_mark(&entry->wanted_mark, json_object_get(row, "mark"));
}
