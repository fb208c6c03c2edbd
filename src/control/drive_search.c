/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives that are not where they were. A remembered path is tried again as long as it is missing;
 * members of arrays that cannot start for want of them are looked for by uuid, since paths and
 * device names change and uuids do not. Looking only reads.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "control/drives.h"
#include "control/nvmes.h"
#include "control/probe.h"

enum { WANTED_MAX = 256, FOLDERS_MAX = 64, ENTRIES_MAX = 4096 };

/* Between two tries of a drive over the network, which may take seconds each. */
static const uint64_t retry_ns = 15000000000;

/* Once for each reason. */
static void say_refused(struct drive *drive, const char *why)
{
	if (strcmp(drive->note, why))
		log_warning("event=DriveRefused drive=%s why=\"%s\"", drive->name, why);
	snprintf(drive->note, sizeof(drive->note), "%s", why);
}

/* A path that is not there costs nothing to try, a drive that has to be looked for does. */
static bool retry_due(const struct drive *drive, bool nvme_due)
{
	struct stat status;

	if (drive->dev || drive->opening)
		return false;
	if (nvmes_source(drive->source))
		return nvme_due;
	if (drive->source[0] == '/')
		return !stat(drive->source, &status);
	return monotonic_ns() >= drive->retry_after_ns;
}

static bool any_nvme(struct daemon *daemon)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		const struct drive *drive = container_of(node, struct drive, link);

		if (!drive->dev && nvmes_source(drive->source))
			return true;
	}
	return false;
}

bool drives_retry(struct daemon *daemon, bool locked_is_news)
{
	bool came = false, nvme_due = any_nvme(daemon) && nvmes_search_due(daemon);
	struct list_node *node;

	/* drive_open() may let go of the lock; the drive stays on the list, being opened. */
	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);
		struct fail fail = {0};

		if (!retry_due(drive, nvme_due))
			continue;
		drive->locked = drive_open(daemon, drive, DRIVE_AGAIN, &fail) == -EBUSY &&
				drive->source[0] == '/';
		if (fail.error == EBUSY && nvmes_source(drive->source))
			nvmes_search_soon(daemon);
		if (fail.error) {
			if (!drive->locked || locked_is_news)
				say_refused(drive, fail.text);
			drive->retry_after_ns = monotonic_ns() + retry_ns;
			continue;
		}
		log_info("event=DriveAttached drive=%s source=%s", drive->name, drive->source);
		came = true;
	}
	nvmes_release_unused(daemon);
	return came;
}

/* --- looking elsewhere ----------------------------------------------------------------------- */

struct wanted {
	struct uuid member[WANTED_MAX];
	unsigned count;
	char *folder[FOLDERS_MAX];
	unsigned folders;
};

static void want(struct wanted *wanted, const struct uuid *member)
{
	if (!uuid_is_null(member) && wanted->count < WANTED_MAX)
		wanted->member[wanted->count++] = *member;
}

static bool is_wanted(const struct wanted *wanted, const struct uuid *member)
{
	for (unsigned i = 0; i < wanted->count; i++)
		if (uuid_equal(&wanted->member[i], member))
			return true;
	return false;
}

/* The folder of a drive that is, or was, a file. Block devices are all looked at anyway. */
static void add_folder(struct wanted *wanted, const char *source)
{
	const char *slash = strrchr(source, '/');
	char *folder;

	if (source[0] != '/' || !strncmp(source, "/dev/", 5) || wanted->folders == FOLDERS_MAX)
		return;
	folder = strndup(source, slash == source ? 1 : (size_t)(slash - source));
	for (unsigned i = 0; folder && i < wanted->folders; i++)
		if (!strcmp(wanted->folder[i], folder)) {
			free(folder);
			return;
		}
	if (folder)
		wanted->folder[wanted->folders++] = folder;
}

/* What arrays that do not run are short of, and drives that are not where they were. */
static void collect(struct daemon *daemon, struct wanted *wanted)
{
	struct list_node *node;

	list_for_each (node, &daemon->arrays) {
		const struct array_entry *entry = container_of(node, struct array_entry, link);
		const struct assembly *assembly = entry->assembly;

		for (unsigned i = 0; assembly && i < SUPERBLOCK_ROWS; i++) {
			const struct superblock_row *row = &assembly->superblock.rows[i];

			if (!assembly->member[i] && row->state != ROW_EMPTY &&
				row->state != ROW_FAILED)
				want(wanted, &row->uuid);
		}
	}
	list_for_each (node, &daemon->drives) {
		const struct drive *drive = container_of(node, struct drive, link);
		const struct array_entry *entry = array_find_uuid(daemon, &drive->array_uuid);

		if (!drive->dev && (!entry || !entry->array))
			want(wanted, &drive->member_uuid);
		if (!uuid_is_null(&drive->array_uuid))
			add_folder(wanted, drive->source);
	}
}

static bool is_attached(struct daemon *daemon, const struct stat *status)
{
	bool block = S_ISBLK(status->st_mode);
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		const struct drive *drive = container_of(node, struct drive, link);

		if (drive->dev && drive->source[0] == '/' &&
			drive->device == (block ? status->st_rdev : status->st_dev) &&
			drive->inode == (block ? 0 : status->st_ino))
			return true;
	}
	return false;
}

/* Puts what was found into the record of the drive that is missed, or into a new one. */
static bool take_found(struct daemon *daemon, const char *path, const struct superblock *superblock)
{
	struct drive *drive = drive_of_member(daemon, &superblock->member_uuid);
	struct drive_options options = {.block_bytes = superblock->block_bytes};
	struct fail fail = {0};
	char before[DRIVE_SOURCE_BYTES] = "";
	int error;

	if (drive && (drive->dev || drive->opening))
		return false;
	if (drive) {
		strcpy(before, drive->source);
		snprintf(drive->source, sizeof(drive->source), "%s", path);
		error = drive_open(daemon, drive, DRIVE_AGAIN, &fail);
		if (error)
			strcpy(drive->source, before);
	} else {
		error = drive_add(daemon, path, &options, DRIVE_AGAIN, &drive, &fail);
	}
	if (error) {
		log_warning("event=DriveRefused source=%s why=\"%s\"", path, fail.text);
		return false;
	}
	log_info("event=DriveFound drive=%s source=%s before=\"%s\"", drive->name, path, before);
	state_changed(daemon);
	return true;
}

/* It has been tried. */
static bool is_remembered(struct daemon *daemon, const char *path)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives)
		if (!strcmp(container_of(node, struct drive, link)->source, path))
			return true;
	return false;
}

static bool look_at(struct daemon *daemon, const struct wanted *wanted, const char *path)
{
	struct superblock superblock;
	struct stat status;

	if (stat(path, &status) || (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) ||
		is_attached(daemon, &status) || is_remembered(daemon, path))
		return false;
	if (probe_superblock(path, &superblock, NULL, NULL, NULL))
		return false;
	return is_wanted(wanted, &superblock.member_uuid) && take_found(daemon, path, &superblock);
}

static bool look_in(struct daemon *daemon, const struct wanted *wanted, const char *folder,
	const char *names_in)
{
	DIR *dir = opendir(names_in);
	const struct dirent *entry;
	unsigned looked = 0;
	bool found = false;

	while (dir && (entry = readdir(dir)) && looked++ < ENTRIES_MAX) {
		char path[DRIVE_SOURCE_BYTES];

		if (entry->d_name[0] == '.' || snprintf(path, sizeof(path), "%s/%s", folder,
						       entry->d_name) >= (int)sizeof(path))
			continue;
		found |= look_at(daemon, wanted, path);
	}
	if (dir)
		closedir(dir);
	return found;
}

bool drives_search(struct daemon *daemon)
{
	struct wanted *wanted = calloc(1, sizeof(*wanted));
	bool found = false;

	if (!wanted)
		return false;
	collect(daemon, wanted);
	if (wanted->count) {
		/* by-id names stay; the kernel's own are for what has none. */
		found |= look_in(daemon, wanted, "/dev/disk/by-id", "/dev/disk/by-id");
		found |= look_in(daemon, wanted, "/dev", "/sys/class/block");
		for (unsigned i = 0; i < wanted->folders; i++)
			found |= look_in(daemon, wanted, wanted->folder[i], wanted->folder[i]);
	}
	for (unsigned i = 0; i < wanted->folders; i++)
		free(wanted->folder[i]);
	free(wanted);
	return found;
}
