/* SPDX-License-Identifier: Apache-2.0 */
#include "control/drives.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/units.h"
#include "control/admission.h"
#include "control/drive_job.h"
#include "control/nvmes.h"
#include "drivers/drivers.h"
#include "reactor/reactor.h"

enum { NAMES_TRIED = 1000 };

/* --- opening --------------------------------------------------------------------------------- */

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

void drive_plain_name(char *name)
{
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
			*name = '-';
}

/* One line of /sys about a block device, "" when there is none. */
static void read_attribute(dev_t device, const char *attribute, char *text, size_t bytes)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/device/%s", major(device), minor(device),
		attribute);
	text[0] = '\0';
	file = fopen(path, "re");
	if (!file)
		return;
	if (!fgets(text, (int)bytes, file))
		text[0] = '\0';
	fclose(file);
	text[strcspn(text, "\n")] = '\0';
	for (size_t end = strlen(text); end && text[end - 1] == ' '; end--)
		text[end - 1] = '\0';
}

/* Which file it is; of a block device, which drive: model and serial number. */
static void read_place(struct drive *drive)
{
	char model[48], serial[48];
	struct stat status;

	drive->fingerprint[0] = '\0';
	if (stat(drive->source, &status))
		return;
	drive->device = S_ISBLK(status.st_mode) ? status.st_rdev : status.st_dev;
	drive->inode = S_ISBLK(status.st_mode) ? 0 : status.st_ino;
	if (!S_ISBLK(status.st_mode))
		return;
	read_attribute(drive->device, "model", model, sizeof(model));
	read_attribute(drive->device, "serial", serial, sizeof(serial));
	if (serial[0])
		snprintf(drive->fingerprint, sizeof(drive->fingerprint), "%s%s%s", model,
			model[0] ? " " : "", serial);
}

/* What the URL names; the drive is called by the serial number of its target, which may let us
 * wait for seconds. */
static int open_tcp(struct daemon *daemon, struct drive *drive, struct fail *fail)
{
	struct nvme_tcp_target target;
	struct nvme_tcp_status status;
	struct blockdev *dev;
	int error = nvme_tcp_parse(&target, drive->source, fail);

	if (error)
		return error;
	if (drive->options.block_bytes)
		target.block_bytes = drive->options.block_bytes;
	daemon_let_go(daemon);
	error = nvme_tcp_create(&dev, &target, fail);
	daemon_take_back(daemon);
	if (error)
		return error;
	drive->dev = dev;
	nvme_tcp_status(drive->dev, &status);
	if (drive->identity[0] && strcmp(drive->identity, status.identity)) {
		error = fail_set(fail, ENODEV,
			"%s is now %s, and was %s: this is another drive; detach it here and "
			"attach it anew",
			drive->source, status.identity, drive->identity);
		blockdev_destroy(drive->dev);
		drive->dev = NULL;
		return error;
	}
	snprintf(drive->identity, sizeof(drive->identity), "%s", status.identity);
	snprintf(drive->name, sizeof(drive->name), "%s%sn%u", status.serial,
		status.serial[0] ? "" : "tcp", target.nsid);
	drive_plain_name(drive->name);
	snprintf(drive->fingerprint, sizeof(drive->fingerprint), "%s %s", status.model,
		status.serial);
	drive->bottom = drive->dev;
	drive->lba_bytes = status.lba_bytes;
	return 0;
}

static int open_memory(struct drive *drive, bool ram, struct fail *fail)
{
	uint64_t bytes;
	int error = parse_memory(drive->source, drive->name, &bytes, fail);

	if (error)
		return error;
	return ram ? ram_create(&drive->dev, drive->name, bytes, drive->options.block_bytes, fail)
		   : null_create(&drive->dev, drive->name, bytes, drive->options.block_bytes, fail);
}

static int open_path(struct drive *drive, bool wipe, bool *foreign, struct fail *fail)
{
	char note[FAIL_TEXT_BYTES] = "";
	int error;

	if (drive->source[0] != '/')
		return fail_set(fail, EINVAL, "the path '%s' must begin with a /", drive->source);
	error = admission_path(drive->source, wipe, foreign, fail);
	if (error)
		return error;
	snprintf(drive->name, sizeof(drive->name), "%.255s", strrchr(drive->source, '/') + 1);
	error = uring_create(&drive->dev, drive->source, drive->options.block_bytes, note, fail);
	if (error)
		return error;
	snprintf(drive->note, sizeof(drive->note), "%s", note);
	read_place(drive);
	return 0;
}

static int open_bottom(struct daemon *daemon, struct drive *drive, bool wipe, struct fail *fail)
{
	const char *source = drive->source;
	bool nvme = nvmes_source(source), tcp = !strncmp(source, "nvme+tcp://", 11),
	     foreign = false;
	bool ram = !strncmp(source, "ram:", 4), null = !strncmp(source, "null:", 5);
	int error;

	if (!nvme && !tcp && !drive->options.block_bytes)
		drive->options.block_bytes = 4096;
	if (nvme)
		error = nvmes_open(daemon, drive, fail);
	else if (tcp)
		error = open_tcp(daemon, drive, fail);
	else if (ram || null)
		error = open_memory(drive, ram, fail);
	else
		error = open_path(drive, wipe, &foreign, fail);
	if (error)
		return error;
	if (nvme || tcp || ram || null)
		drive->note[0] = '\0';
	drive->options.block_bytes = drive->dev->block_bytes;
	return foreign ? admission_wipe(daemon, drive->dev, fail) : 0;
}

static int add_layers(struct drive *drive, struct fail *fail)
{
	const struct drive_options *options = &drive->options;
	int error = 0;

	if (options->delay_us || options->jitter_us)
		error = delay_create(&drive->dev, drive->dev, (uint64_t)options->delay_us * 1000,
			(uint64_t)options->jitter_us * 1000, 1, fail);
	if (!error && options->injectable)
		error = fault_create(&drive->dev, drive->dev, fail);
	return error;
}

static bool name_taken(struct daemon *daemon, const struct drive *mine)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		const struct drive *drive = container_of(node, struct drive, link);

		if (drive != mine && !strcmp(drive->name, mine->name))
			return true;
	}
	return false;
}

/* A drive that comes back under a name that another one has gets a number behind it. */
static int choose_name(struct daemon *daemon, struct drive *drive, bool rename, struct fail *fail)
{
	char plain[BLOCKDEV_NAME_BYTES];

	snprintf(plain, sizeof(plain), "%s", drive->name);
	for (unsigned i = 2; name_taken(daemon, drive); i++) {
		if (!rename || i > NAMES_TRIED)
			return fail_set(fail, EEXIST,
				"there is a drive '%s' already: detach it, or rename the new one",
				plain);
		snprintf(drive->name, sizeof(drive->name), "%.240s-%u", plain, i);
	}
	return 0;
}

/* Of what no block device of the kernel's could tell before: drives over the network, and those
 * that vfio-pci had already. */
static int check_opened(struct daemon *daemon, struct drive *drive, bool wipe, struct fail *fail)
{
	struct fail found = {0};

	if (!drive->bottom || !admission_opened(daemon, drive, &found))
		return 0;
	if (wipe && found.error == EPERM)
		return admission_wipe(daemon, drive->dev, fail);
	*fail = found;
	return -fail->error;
}

int drive_open(
	struct daemon *daemon, struct drive *drive, enum drive_opening how, struct fail *fail)
{
	bool wipe = how == DRIVE_NEW_WIPED;
	char name[BLOCKDEV_NAME_BYTES];
	int error;

	assert(!drive->dev && !drive->opening);
	snprintf(name, sizeof(name), "%s", drive->name);
	drive->opening = true;
	error = open_bottom(daemon, drive, wipe, fail);
	drive->opening = false;
	daemon_settled(daemon);
	if (error)
		goto close;
	snprintf(drive->driver, sizeof(drive->driver), "%s", drive->dev->ops->driver);
	error = choose_name(daemon, drive, how == DRIVE_AGAIN, fail);
	if (!error)
		error = add_layers(drive, fail);
	if (error)
		goto close;
	snprintf(drive->dev->name, sizeof(drive->dev->name), "%s", drive->name);
	drive_job_resume(daemon, drive);
	if (drive->nvme && drive->nvme->sanitizing)
		return 0; /* it cannot be read; what was foreign is what goes */
	drive_identify(daemon, drive);
	error = check_opened(daemon, drive, wipe, fail);
	if (!error)
		return 0;

close:
	if (drive->nvme && how != DRIVE_AGAIN)
		drive->nvme->give_back = true;
	drive_close(drive);
	if (name[0])
		snprintf(drive->name, sizeof(drive->name), "%s", name);
	return error;
}

int drive_add(struct daemon *daemon, const char *source, const struct drive_options *options,
	enum drive_opening how, struct drive **created, struct fail *fail)
{
	struct drive *drive = calloc(1, sizeof(*drive));
	int error;

	if (!drive)
		return fail_set(fail, ENOMEM, "no memory for a drive");
	if (strlen(source) >= sizeof(drive->source)) {
		free(drive);
		return fail_set(fail, ENAMETOOLONG, "the path %.64s... is too long", source);
	}
	strcpy(drive->source, source);
	drive->options = *options;
	error = drive_open(daemon, drive, how, fail);
	if (error) {
		free(drive);
		return error;
	}
	list_push_back(&daemon->drives, &drive->link);
	*created = drive;
	state_changed(daemon);
	return 0;
}

/* --- identity -------------------------------------------------------------------------------- */

static void forget_superblock(struct drive *drive)
{
	free(drive->superblock);
	drive->superblock = NULL;
	drive->array_uuid = drive->member_uuid = (struct uuid){{0}};
	drive->damaged = false;
}

void drive_identify(struct daemon *daemon, struct drive *drive)
{
	struct superblock *superblock = malloc(sizeof(*superblock));
	struct uuid before = drive->member_uuid;
	struct fail fail = {0};
	int error;

	if (!superblock)
		return;
	error = superblock_read(
		superblock, drive->dev, reactor_at(daemon->group, 0), &layout_standard, &fail);
	forget_superblock(drive);
	if (error) {
		free(superblock);
		drive->damaged = error == -EILSEQ || error == -ENOTSUP;
		if (error != -ENODATA)
			log_warning("event=SuperblockUnreadable drive=%s why=\"%s\"", drive->name,
				fail.text);
		if (drive->damaged)
			snprintf(drive->note, sizeof(drive->note), "%s", fail.text);
	} else {
		drive->superblock = superblock;
		drive->array_uuid = superblock->array_uuid;
		drive->member_uuid = superblock->member_uuid;
	}
	if (!uuid_equal(&before, &drive->member_uuid))
		state_changed(daemon);
}

int drive_check_free(struct daemon *daemon, const struct drive *drive, bool wipe, struct fail *fail)
{
	struct array_entry *entry = array_find_uuid(daemon, &drive->array_uuid);
	char uuid[UUID_TEXT_BYTES];

	if (!drive->dev)
		return fail_set(fail, ENODEV, "drive %s is not there: %s", drive->name,
			drive->note[0] ? drive->note : "it has gone");
	if (drive->dev->user[0])
		return fail_set(fail, EBUSY,
			"%s is in use by %s: choose another, or delete that first", drive->name,
			drive->dev->user);
	if (drive->is_spare)
		return fail_set(fail, EBUSY,
			"%s is a spare for any array: braid spare remove %s first", drive->name,
			drive->name);
	if (wipe)
		return 0;
	if (drive->superblock && entry)
		return fail_set(fail, EPERM,
			"%s holds a member of array %s: --wipe-signatures takes it anyway, and "
			"what "
			"it holds is lost",
			drive->name, entry->name);
	if (drive->superblock)
		return fail_set(fail, EPERM,
			"%s holds a member of array %.63s (%s): --wipe-signatures takes it anyway, "
			"and what it holds is lost",
			drive->name, drive->superblock->name, uuid_print(&drive->array_uuid, uuid));
	if (drive->damaged)
		return fail_set(fail, EPERM,
			"%s holds a braid superblock that is damaged: --wipe-signatures takes it "
			"anyway",
			drive->name);
	return 0;
}

int drive_wipe(struct daemon *daemon, struct drive *drive, struct fail *fail)
{
	int error =
		superblock_erase(drive->dev, reactor_at(daemon->group, 0), &layout_standard, fail);

	if (error)
		return error;
	if (drive->damaged)
		drive->note[0] = '\0';
	forget_superblock(drive);
	state_changed(daemon);
	return 0;
}

static void adopt(struct daemon *daemon, struct drive *drive, const struct uuid *array,
	const struct uuid *member)
{
	if (uuid_equal(&drive->array_uuid, array) && uuid_equal(&drive->member_uuid, member))
		return;
	drive->array_uuid = *array;
	drive->member_uuid = *member;
	drive->damaged = drive->is_spare = false;
	state_changed(daemon);
}

/* What it says is old news while its array runs, but the drive must not look empty. */
static bool in_rows(const struct array_status *status, const struct drive *drive)
{
	for (unsigned i = 0; i < status->rows; i++)
		if (status->member[i].dev == drive->dev)
			return true;
	return false;
}

void drives_adopt(struct daemon *daemon, struct array_entry *entry)
{
	struct array_status status;
	struct list_node *node;

	array_status(entry->array, &status);
	for (unsigned i = 0; i < status.rows; i++) {
		struct drive *drive = drive_of(daemon, status.member[i].dev);

		if (drive && status.member[i].state != ROW_EMPTY)
			adopt(daemon, drive, &entry->uuid, &status.member[i].uuid);
	}
	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (drive->dev && !drive->dev->user[0] && !drive->superblock &&
			uuid_equal(&drive->array_uuid, &entry->uuid) && !in_rows(&status, drive))
			drive_identify(daemon, drive);
	}
}
