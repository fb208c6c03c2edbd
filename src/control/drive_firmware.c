/* SPDX-License-Identifier: Apache-2.0 */
/* The firmware of an NVMe drive: its slots, and a new image in one of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "control/care.h"
#include "control/drive_log.h"
#include "control/methods.h"
#include "drivers/nvme/wire.h"

enum { IMAGE_BYTES_MAX = 64 << 20 };

METHOD(drive_firmware)
{
	struct drive *drive = care_drive(daemon, params, fail);
	struct nvme_firmware_log log;
	char name[BLOCKDEV_NAME_BYTES];
	struct nvme_entry *entry;
	const struct nvme_identity *identity;
	json_t *answer;
	int error;

	if (!drive)
		return -fail->error;
	snprintf(name, sizeof(name), "%s", drive->name);
	entry = drive->nvme;
	nvmes_ask(daemon, entry);
	error = nvme_log(entry->nvme, NVME_LOG_FIRMWARE, NVME_NSID_ALL, &log, sizeof(log), fail);
	nvmes_answered(daemon, entry);
	if (error)
		return error;
	identity = &entry->identity;
	answer = json_pack("{s:s, s:s, s:i, s:b, s:b, s:I}", "name", name, "running",
		identity->firmware, "slot_count", (int)identity->firmware_slots, "slot1_fixed",
		identity->firmware_slot1_fixed, "without_reset", identity->firmware_now,
		"granularity_bytes", (json_int_t)identity->firmware_granularity_bytes);
	json_object_update_new(answer, drive_log_decode(NVME_LOG_FIRMWARE, &log, sizeof(log)));
	*result = json_pack("{s:o}", "firmware", answer);
	return 0;
}

/* --- what is asked for ----------------------------------------------------------------------- */

struct update {
	char name[BLOCKDEV_NAME_BYTES];
	unsigned slot, action;
	char *image; /* NULL: what is in the slot */
	size_t bytes;
	char warning[FAIL_TEXT_BYTES];
};

static int check_slot(
	const struct drive *drive, const struct update *update, int64_t slot, struct fail *fail)
{
	const struct nvme_identity *identity = &drive->nvme->identity;

	if (!identity->firmware_slots)
		return fail_set(fail, ENOTSUP, "drive %s takes no firmware", drive->name);
	if (slot < 1 || slot > identity->firmware_slots)
		return fail_set(fail, EINVAL,
			"drive %s has firmware slots 1 to %u: choose one of them", drive->name,
			identity->firmware_slots);
	if (update->image && slot == 1 && identity->firmware_slot1_fixed)
		return fail_set(fail, EINVAL,
			"the first firmware slot of drive %s cannot be written: %s", drive->name,
			identity->firmware_slots > 1 ? "choose another" : "it has no other");
	return 0;
}

/* store, reset or now. */
static int parse_action(
	const struct drive *drive, const char *typed, struct update *update, struct fail *fail)
{
	bool store = !strcmp(typed, "store"), now = !strcmp(typed, "now");

	if (!store && !now && strcmp(typed, "reset") != 0)
		return fail_set(fail, EINVAL,
			"new firmware is to store, or begins with a reset, or now, not '%.40s'",
			typed);
	if (store && !update->image)
		return fail_set(fail, EINVAL, "to store firmware takes a file with it");
	if (now && !drive->nvme->identity.firmware_now)
		return fail_set(fail, ENOTSUP,
			"drive %s cannot begin with new firmware without a reset: use reset "
			"instead of now",
			drive->name);
	update->action = store		 ? NVME_FIRMWARE_STORE
			 : now		 ? NVME_FIRMWARE_NOW
			 : update->image ? NVME_FIRMWARE_STORE_NEXT
					 : NVME_FIRMWARE_NEXT;
	return 0;
}

static int read_all(int fd, char *to, size_t bytes)
{
	while (bytes) {
		ssize_t count = read(fd, to, bytes);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return count ? -errno : -EIO;
		to += count;
		bytes -= (size_t)count;
	}
	return 0;
}

static int check_size(const struct drive *drive, const char *path, int64_t bytes, struct fail *fail)
{
	uint32_t granularity = drive->nvme->identity.firmware_granularity_bytes;

	if (!bytes || bytes > IMAGE_BYTES_MAX)
		return fail_set(fail, EINVAL, "%s has %lld bytes: that is no firmware", path,
			(long long)bytes);
	if (bytes % granularity)
		return fail_set(fail, EINVAL,
			"%s has %lld bytes, and drive %s takes firmware in multiples of %u: is it "
			"the image as the vendor gave it, and for this drive?",
			path, (long long)bytes, drive->name, granularity);
	return 0;
}

/* Nothing of it is looked at: what is in it is between vendor and drive. */
static int read_image(
	const struct drive *drive, const char *path, struct update *update, struct fail *fail)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat status;
	int error;

	if (path[0] != '/')
		return fail_set(fail, EINVAL, "the path '%s' must begin with a /", path);
	if (fd < 0 || fstat(fd, &status))
		return fail_set(fail, errno, "cannot read %s: %s", path, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return fail_set(fail, EINVAL, "%s is no file with firmware", path);
	error = check_size(drive, path, status.st_size, fail);
	if (error)
		return error;
	update->bytes = (size_t)status.st_size;
	update->image = malloc(update->bytes);
	if (!update->image)
		return fail_set(fail, ENOMEM, "no memory for the firmware in %s", path);
	error = read_all(fd, update->image, update->bytes);
	return error ? fail_set(fail, -error, "cannot read %s: %s", path, strerror(-error)) : 0;
}

/* A drive that does not come back is a drive lost: not where that costs data. */
static int check_array(
	struct daemon *daemon, const struct drive *drive, struct update *update, struct fail *fail)
{
	const struct array_entry *entry = array_find_uuid(daemon, &drive->array_uuid);
	struct array_status status;
	struct fail why = {0};

	if (!entry || !entry->array || !drive->dev->user[0])
		return 0;
	array_status(entry->array, &status);
	for (unsigned i = 0; i < status.rows; i++) {
		if (status.member[i].dev != drive->dev)
			continue;
		if (array_fail_check(entry->array, i, false, &why))
			return fail_set(fail, EPERM,
				"array %s would not survive without drive %s, which may not come "
				"back with this firmware: %.200s",
				entry->name, drive->name, why.text);
	}
	snprintf(update->warning, sizeof(update->warning),
		"Drive %s is in use by array %s, whose requests wait while it changes over, and "
		"which "
		"goes on without it if it does not come back.",
		drive->name, entry->name);
	return 0;
}

/* All namespaces go with their controller. */
static int check_arrays(
	struct daemon *daemon, const struct drive *drive, struct update *update, struct fail *fail)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		const struct drive *other = container_of(node, struct drive, link);
		int error =
			other->nvme == drive->nvme ? check_array(daemon, other, update, fail) : 0;

		if (error)
			return error;
	}
	return 0;
}

static int read_update(struct daemon *daemon, const struct drive *drive, const json_t *params,
	struct update *update, struct fail *fail)
{
	const char *path = rpc_string(params, "file", "");
	int64_t slot = rpc_integer(params, "slot", 0);
	int error = path[0] ? read_image(drive, path, update, fail) : 0;

	snprintf(update->name, sizeof(update->name), "%s", drive->name);
	if (!error)
		error = check_slot(drive, update, slot, fail);
	update->slot = (unsigned)slot;
	if (!error)
		error = parse_action(drive, rpc_string(params, "action", ""), update, fail);
	return error ? error : check_arrays(daemon, drive, update, fail);
}

/* --- doing it -------------------------------------------------------------------------------- */

static const char *effect_text(enum nvme_firmware_effect effect)
{
	switch (effect) {
	case NVME_FIRMWARE_STORED:
		return "it is stored; the drive goes on with what it runs";
	case NVME_FIRMWARE_ACTIVE:
		return "the drive runs it";
	case NVME_FIRMWARE_AFTER_RESET:
		return "the drive begins with it at its next reset: braid drive detach and attach, "
		       "or the next start of the machine";
	case NVME_FIRMWARE_AFTER_POWER_OFF:
		return "the drive begins with it when its power has been off and on again";
	}
	return "";
}

static int carry_out(struct daemon *daemon, struct nvme_entry *entry, const struct update *update,
	enum nvme_firmware_effect *effect, struct fail *fail)
{
	int error = 0;

	log_info("event=FirmwareUpdate drive=%s slot=%u action=%u bytes=%zu", update->name,
		update->slot, update->action, update->bytes);
	nvmes_ask(daemon, entry);
	if (update->image)
		error = nvme_firmware_download(entry->nvme, update->image, update->bytes, fail);
	if (!error)
		error = nvme_firmware_commit(
			entry->nvme, update->slot, update->action, effect, fail);
	nvmes_answered(daemon, entry);
	nvme_identity(entry->nvme, &entry->identity);
	log_info("event=FirmwareUpdated drive=%s slot=%u error=%d running=\"%s\"", update->name,
		update->slot, -error, entry->identity.firmware);
	return error;
}

METHOD(drive_firmware_update)
{
	struct drive *drive = care_drive(daemon, params, fail);
	enum nvme_firmware_effect effect;
	struct update update = {.image = NULL};
	struct nvme_entry *entry;
	int error;

	if (!drive)
		return -fail->error;
	entry = drive->nvme;
	error = read_update(daemon, drive, params, &update, fail);
	if (!error && rpc_boolean(params, "dry_run")) {
		*result = json_pack("{s:s}", "warning", update.warning);
	} else if (!error) {
		error = carry_out(daemon, entry, &update, &effect, fail);
		if (!error)
			*result = json_pack("{s:s, s:s}", "effect", effect_text(effect), "running",
				entry->identity.firmware);
	}
	free(update.image);
	return error;
}
