/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to a drive as a thing: its health, formatting it, finding its bay. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "control/care.h"
#include "control/drive_log.h"
#include "control/drives.h"
#include "control/methods.h"
#include "control/nvmes.h"
#include "drivers/nvme/wire.h"
#include "host/locate.h"
#include "host/tree.h"

/* The drive, which is there. NULL with a sentence. */
static struct drive *named_drive(struct daemon *daemon, const json_t *params, struct fail *fail)
{
	const char *name = rpc_string(params, "name", "");
	struct drive *drive = drive_find(daemon, name);

	if (!drive)
		fail_set(fail, ENOENT, "there is no drive '%s': see braid drive list", name);
	else if (!drive->dev)
		fail_set(fail, ENODEV, "drive %s is not there: %s", name, drive->note);
	else
		return drive;
	return NULL;
}

struct drive *care_drive(struct daemon *daemon, const json_t *params, struct fail *fail)
{
	struct drive *drive = named_drive(daemon, params, fail);

	if (!drive || drive->nvme)
		return drive;
	fail_set(fail, ENOTSUP,
		"drive %s goes through the driver %s: only NVMe drives that braid drives itself "
		"answer this. For others use smartctl or nvme-cli",
		drive->name, drive->driver);
	return NULL;
}

int care_check_unused(struct daemon *daemon, const struct drive *drive, struct fail *fail)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		const struct drive *other = container_of(node, struct drive, link);
		int error = other->nvme == drive->nvme ? drive_check_free(daemon, other, true, fail)
						       : 0;

		if (error)
			return error;
	}
	return drive->dev == drive->bottom
		       ? 0
		       : fail_set(fail, EBUSY,
				 "drive %s has a layer that fails or delays on top: attach it "
				 "without",
				 drive->name);
}

void care_claim(struct daemon *daemon, const struct nvme_entry *entry, const char *user)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (drive->nvme == entry && !drive->dev->user[0])
			blockdev_claim(drive->dev, user, NULL);
	}
}

void care_release(struct daemon *daemon, const struct nvme_entry *entry, const char *user)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (drive->nvme == entry && !strcmp(drive->dev->user, user))
			blockdev_release(drive->dev);
	}
}

/* --- health ---------------------------------------------------------------------------------- */

METHOD(drive_smart)
{
	struct drive *drive = care_drive(daemon, params, fail);
	char name[BLOCKDEV_NAME_BYTES];
	struct nvme_entry *entry;
	struct nvme_smart smart;
	json_t *health;
	int error;

	if (!drive)
		return -fail->error;
	entry = drive->nvme;
	snprintf(name, sizeof(name), "%s", drive->name);
	nvmes_ask(daemon, entry);
	error = nvme_smart(entry->nvme, &smart, fail);
	nvmes_answered(daemon, entry);
	if (error)
		return error;
	entry->smart = smart;
	health = json_pack("{s:s, s:s, s:s, s:s}", "name", name, "model", entry->identity.model,
		"serial", entry->identity.serial, "firmware", entry->identity.firmware);
	json_object_update_new(health, drive_health_json(&smart));
	*result = json_pack("{s:o}", "health", health);
	return 0;
}

/* --- format ---------------------------------------------------------------------------------- */

static int parse_erase(const char *text, unsigned *erase, struct fail *fail)
{
	static const char *const names[] = {[NVME_ERASE_NONE] = "none",
		[NVME_ERASE_USER] = "user-data",
		[NVME_ERASE_CRYPTO] = "crypto"};

	for (*erase = 0; *erase < ARRAY_SIZE(names); ++*erase)
		if (!strcmp(names[*erase], text))
			return 0;
	return fail_set(fail, EINVAL, "to erase is none, user-data or crypto, not '%.40s'", text);
}

static int check_format(struct daemon *daemon, const struct drive *drive, uint32_t lba_bytes,
	unsigned erase, struct fail *fail)
{
	const struct nvme_identity *identity = &drive->nvme->identity;
	struct nvme_namespace namespace;
	bool known = !lba_bytes;
	int error = care_check_unused(daemon, drive, fail);

	if (error)
		return error;
	if (!identity->can_format)
		return fail_set(fail, ENOTSUP, "drive %s cannot be formatted", drive->name);
	if (erase == NVME_ERASE_CRYPTO && !identity->can_crypto_erase)
		return fail_set(fail, ENOTSUP, "drive %s has no cryptographic erase", drive->name);
	nvme_namespace(drive->bottom, &namespace);
	for (unsigned i = 0; i < namespace.formats; i++)
		known |= namespace.format[i].lba_bytes == lba_bytes &&
			 !namespace.format[i].metadata_bytes;
	if (!known)
		return fail_set(fail, EINVAL,
			"drive %s has no format with blocks of %u bytes: see braid drive show %s",
			drive->name, lba_bytes, drive->name);
	return 0;
}

/* The daemon goes on while the drive works, for an hour perhaps: the claims keep its drives. */
static int format_claimed(struct daemon *daemon, struct drive *drive, uint32_t lba_bytes,
	unsigned erase, struct fail *fail)
{
	struct nvme_entry *entry = drive->nvme;
	int error;

	care_claim(daemon, entry, "format");
	log_info("event=FormatStarted drive=%s", drive->name);
	nvmes_ask(daemon, entry);
	error = nvme_format(drive->bottom, lba_bytes, erase, fail);
	nvmes_answered(daemon, entry);
	care_release(daemon, entry, "format");
	log_info("event=FormatFinished drive=%s error=%d", drive->name, -error);
	return error;
}

METHOD(drive_format)
{
	struct drive *drive = care_drive(daemon, params, fail);
	int64_t lba_bytes = rpc_integer(params, "lba_bytes", 0);
	struct nvme_namespace namespace;
	unsigned erase;
	int error;

	if (!drive)
		return -fail->error;
	error = parse_erase(rpc_string(params, "erase", "none"), &erase, fail);
	if (!error && (lba_bytes < 0 || lba_bytes > 1 << 16))
		error = fail_set(fail, EINVAL, "a block has 512 or 4096 bytes");
	if (!error)
		error = check_format(daemon, drive, (uint32_t)lba_bytes, erase, fail);
	if (error)
		return error;
	if (!rpc_boolean(params, "dry_run")) {
		error = format_claimed(daemon, drive, (uint32_t)lba_bytes, erase, fail);
		if (error)
			return error;
		nvme_namespace(drive->bottom, &namespace);
		drive->lba_bytes = namespace.lba_bytes;
		drive->options.block_bytes = drive->bottom->block_bytes;
		drive_identify(daemon, drive);
		state_changed(daemon);
	}
	*result = json_pack("{s:o}", "drive", drive_json(daemon, drive));
	return 0;
}

/* --- locate ---------------------------------------------------------------------------------- */

METHOD(drive_locate)
{
	const char *name = rpc_string(params, "name", "");
	struct drive *drive = drive_find(daemon, name);
	char disk[HOST_NAME_BYTES] = "";
	int error;

	if (!drive)
		return fail_set(fail, ENOENT, "there is no drive '%s': see braid drive list", name);
	if (drive->source[0] == '/' && !drive->inode)
		host_link(disk, sizeof(disk), "/sys/dev/block/%u:%u", major(drive->device),
			minor(drive->device));
	error = host_locate(drive->address, disk, !rpc_boolean(params, "off"), fail);
	if (error)
		return fail_prefix(fail, "drive %s", drive->name);
	*result = json_object();
	return 0;
}
