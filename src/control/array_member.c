/* SPDX-License-Identifier: Apache-2.0 */
/* Drives into and out of arrays that run. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "control/assemble.h"
#include "control/drives.h"
#include "control/jobs.h"
#include "control/members.h"
#include "control/methods.h"
#include "control/monitor.h"
#include "reactor/reactor.h"

/* The row of a drive, by the drive's name or the member's uuid. -ENOENT with a sentence. */
static int find_row(struct daemon *daemon, struct array_entry *entry, const char *name,
	struct array_status *status, struct fail *fail)
{
	const struct drive *drive = drive_find(daemon, name);
	struct uuid uuid;
	bool is_uuid = uuid_parse(&uuid, name);

	array_status(entry->array, status);
	for (unsigned i = 0; i < status->rows; i++) {
		const struct member_status *member = &status->member[i];

		if (member->state == ROW_EMPTY)
			continue;
		if ((member->dev && !strcmp(member->dev->name, name)) ||
			(is_uuid && uuid_equal(&member->uuid, &uuid)) ||
			(!member->dev && drive && uuid_equal(&drive->member_uuid, &member->uuid)))
			return (int)i;
	}
	return fail_set(fail, ENOENT, "array %s has no drive '%s': see braid array show %s",
		entry->name, name, entry->name);
}

static struct drive *named_drive(struct daemon *daemon, const char *name, struct fail *fail)
{
	struct drive *drive = drive_find(daemon, name);

	if (!drive)
		fail_set(fail, ENOENT, "there is no drive '%s': see braid drive list", name);
	else if (!drive->dev)
		fail_set(fail, ENODEV, "drive %s is not there: %s", name, drive->note);
	else
		return drive;
	return NULL;
}

static void changed(struct daemon *daemon, struct array_entry *entry)
{
	entry->sweep_after_ns = 0;
	drives_adopt(daemon, entry);
	state_changed(daemon);
	monitor_wake(daemon);
}

static json_t *answer(struct daemon *daemon, struct array_entry *entry)
{
	return json_pack("{s:o}", "array", array_json(daemon, entry));
}

/* --- giving up, letting go ------------------------------------------------------------------- */

METHOD(array_fail)
{
	struct array_entry *entry = running_array(daemon, rpc_string(params, "name", ""), fail);
	bool beyond = rpc_boolean(params, "allow_failed");
	struct array_status status;
	int row, error;

	if (!entry)
		return -fail->error;
	row = find_row(daemon, entry, rpc_string(params, "drive", ""), &status, fail);
	if (row < 0)
		return row;
	error = rpc_boolean(params, "dry_run")
			? array_fail_check(entry->array, (unsigned)row, beyond, fail)
			: array_fail_member(entry->array, (unsigned)row, beyond, fail);
	if (error)
		return error;
	changed(daemon, entry);
	*result = answer(daemon, entry);
	return 0;
}

METHOD(array_remove)
{
	struct array_entry *entry = running_array(daemon, rpc_string(params, "name", ""), fail);
	const char *name = rpc_string(params, "drive", "");
	struct array_status status;
	int row, error;

	if (!entry)
		return -fail->error;
	row = find_row(daemon, entry, name, &status, fail);
	if (row < 0)
		return row;
	if (status.member[row].state == ROW_IN_SYNC || status.member[row].state == ROW_REBUILDING)
		return fail_set(fail, EBUSY,
			"drive %s is in use: braid array fail %s %s first, or braid array replace "
			"%s %s NEW, which keeps the redundancy",
			name, entry->name, name, entry->name, name);
	if (!rpc_boolean(params, "dry_run")) {
		error = array_remove_member(entry->array, (unsigned)row, fail);
		if (error)
			return error;
		changed(daemon, entry);
	}
	*result = answer(daemon, entry);
	return 0;
}

/* --- adding ---------------------------------------------------------------------------------- */

/* A sentence that says more for a drive that was a member of this very array. */
static int check_new(struct daemon *daemon, const struct array_entry *entry,
	const struct drive *drive, bool wipe, struct fail *fail)
{
	int error = drive_check_free(daemon, drive, wipe, fail);

	if (error == -EPERM && uuid_equal(&drive->array_uuid, &entry->uuid))
		return fail_set(fail, EPERM,
			"%s was a member of this array: braid array readd %s %s copies only what "
			"it "
			"missed; --wipe-signatures makes it a new drive, which is copied in full",
			drive->name, entry->name, drive->name);
	return error;
}

static int check_size(
	const struct array_status *status, const struct drive *drive, struct fail *fail)
{
	uint64_t least = UINT64_MAX;
	uint32_t block_bytes = drive->dev->block_bytes;

	for (unsigned i = 0; i < status->members; i++) {
		const struct blockdev *dev = status->member[i].dev;

		if (!dev)
			continue;
		block_bytes = dev->block_bytes;
		if (blockdev_bytes(dev) < least)
			least = blockdev_bytes(dev);
	}
	if (block_bytes != drive->dev->block_bytes)
		return fail_set(fail, EINVAL,
			"drive %s has blocks of %u bytes, the array's have %u: attach it with "
			"--block-size %u",
			drive->name, drive->dev->block_bytes, block_bytes, block_bytes);
	return 0;
}

int member_add_spare(struct daemon *daemon, struct array_entry *entry, struct drive *drive,
	unsigned *row, struct fail *fail)
{
	struct array_status status;
	int error;

	array_status(entry->array, &status);
	error = check_size(&status, drive, fail);
	if (!error && (drive->superblock || drive->damaged))
		error = drive_wipe(daemon, drive, fail);
	if (!error)
		error = array_add_spare(entry->array, drive->dev, drive->fingerprint, fail);
	if (error)
		return error;
	drive->is_spare = false;
	drives_adopt(daemon, entry);
	array_status(entry->array, &status);
	for (*row = 0; *row < status.rows; ++*row)
		if (status.member[*row].dev == drive->dev)
			return 0;
	return fail_set(fail, EIO, "drive %s was given up at once", drive->name);
}

METHOD(array_add)
{
	struct array_entry *entry = running_array(daemon, rpc_string(params, "name", ""), fail);
	struct drive *drive;
	unsigned row;
	int error;

	if (!entry)
		return -fail->error;
	drive = named_drive(daemon, rpc_string(params, "drive", ""), fail);
	if (!drive)
		return -fail->error;
	error = check_new(daemon, entry, drive, rpc_boolean(params, "wipe_signatures"), fail);
	if (!error && !rpc_boolean(params, "dry_run")) {
		error = member_add_spare(daemon, entry, drive, &row, fail);
		changed(daemon, entry);
		assemble(daemon);
	}
	if (!error)
		*result = answer(daemon, entry);
	return error;
}

/* The new drive: a spare of this array, or a free one that becomes it. */
static int replacement_row(struct daemon *daemon, struct array_entry *entry, const json_t *params,
	unsigned *row, struct fail *fail)
{
	struct drive *drive = named_drive(daemon, rpc_string(params, "new", ""), fail);
	struct array_status status;
	int error;

	if (!drive)
		return -fail->error;
	array_status(entry->array, &status);
	for (*row = status.members; *row < status.rows; ++*row)
		if (status.member[*row].dev == drive->dev && status.member[*row].state == ROW_SPARE)
			return 0;
	error = check_new(daemon, entry, drive, rpc_boolean(params, "wipe_signatures"), fail);
	if (error || rpc_boolean(params, "dry_run"))
		return error;
	return member_add_spare(daemon, entry, drive, row, fail);
}

METHOD(array_replace_method)
{
	struct array_entry *entry = running_array(daemon, rpc_string(params, "name", ""), fail);
	const char *old = rpc_string(params, "old", "");
	struct array_status status;
	unsigned spare;
	int slot, error;

	if (!entry)
		return -fail->error;
	slot = find_row(daemon, entry, old, &status, fail);
	if (slot < 0)
		return slot;
	if ((unsigned)slot >= status.members)
		return fail_set(fail, EINVAL,
			"drive %s holds no data of array %s: braid array remove %s %s", old,
			entry->name, entry->name, old);
	error = replacement_row(daemon, entry, params, &spare, fail);
	if (!error && !rpc_boolean(params, "dry_run")) {
		/* What is lost cannot be copied, it is rebuilt. */
		error = status.member[slot].state == ROW_FAILED
				? array_use_spare(entry->array, spare, (unsigned)slot, fail)
				: array_replace(entry->array, spare, (unsigned)slot, fail);
		changed(daemon, entry);
	}
	if (!error)
		*result = answer(daemon, entry);
	return error;
}

/* The row that the drive once had; a drive that is still held by a failed row is let go first. */
static int let_go(
	struct daemon *daemon, struct array_entry *entry, struct drive *drive, struct fail *fail)
{
	struct array_status status;

	if (!drive->dev->user[0])
		return 0;
	array_status(entry->array, &status);
	for (unsigned i = 0; i < status.rows; i++) {
		if (status.member[i].dev != drive->dev)
			continue;
		if (status.member[i].state != ROW_FAILED)
			return fail_set(fail, EALREADY, "drive %s is %s: there is nothing to do",
				drive->name, row_state_name(status.member[i].state));
		return array_remove_member(entry->array, i, fail);
	}
	return drive_check_free(daemon, drive, true, fail);
}

METHOD(array_readd_method)
{
	struct array_entry *entry = running_array(daemon, rpc_string(params, "name", ""), fail);
	struct superblock superblock;
	struct drive *drive;
	int error;

	if (!entry)
		return -fail->error;
	drive = named_drive(daemon, rpc_string(params, "drive", ""), fail);
	if (!drive)
		return -fail->error;
	error = superblock_read(
		&superblock, drive->dev, reactor_at(daemon->group, 0), &layout_standard, fail);
	if (error == -ENODATA || (!error && !uuid_equal(&superblock.array_uuid, &entry->uuid)))
		return fail_set(fail, EINVAL,
			"drive %s was never a member of array %s: braid array add %s %s makes it a "
			"spare",
			drive->name, entry->name, entry->name, drive->name);
	if (!error)
		error = let_go(daemon, entry, drive, fail);
	if (!error)
		error = array_readd(entry->array, drive->dev, &superblock, fail);
	if (error == -ESTALE)
		return fail_set(fail, ESTALE,
			"what drive %s has missed is not known any more: only a full rebuild is "
			"possible, with braid array add %s %s --wipe-signatures",
			drive->name, entry->name, drive->name);
	if (error)
		return error;
	changed(daemon, entry);
	*result = answer(daemon, entry);
	return 0;
}

/* --- scrub ----------------------------------------------------------------------------------- */

METHOD(array_scrub)
{
	struct array_entry *entry = running_array(daemon, rpc_string(params, "name", ""), fail);
	int kind = rpc_boolean(params, "repair") ? SWEEP_REPAIR : SWEEP_SCRUB;
	struct job *job;
	int error;

	if (!entry)
		return -fail->error;
	job = sweep_of(daemon, entry);
	if (job)
		return fail_set(fail, EBUSY, "array %s is busy with job %u (%s): braid job wait %u",
			entry->name, job->id, job_type_name(job->type), job->id);
	want_sweep(entry, kind);
	error = job_start_sweep(daemon, entry, (enum sweep_kind)kind, &job, fail);
	if (error) {
		want_sweep(entry, -1);
		return error;
	}
	state_changed(daemon);
	*result = json_pack("{s:o}", "job", job_json(job));
	return 0;
}
