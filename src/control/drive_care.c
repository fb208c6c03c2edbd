/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to a drive as a thing: its health, its logs, formatting it, finding its bay. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "control/drives.h"
#include "control/methods.h"
#include "control/nvmes.h"
#include "drivers/nvme/wire.h"
#include "host/locate.h"
#include "host/tree.h"

enum { LOG_BYTES = 512, LOG_BYTES_MAX = 1 << 20 };

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

static struct drive *named_nvme(struct daemon *daemon, const json_t *params, struct fail *fail)
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

/* --- health ---------------------------------------------------------------------------------- */

static json_t *counter(uint64_t value)
{
	return json_integer((json_int_t)MIN(value, (uint64_t)INT64_MAX));
}

static json_t *warnings_json(unsigned warnings)
{
	static const struct {
		unsigned bit;
		const char *text;
	} names[] = {
		{NVME_WARN_SPARE, "spare blocks below the threshold"},
		{NVME_WARN_TEMPERATURE, "temperature outside its limits"},
		{NVME_WARN_DEGRADED, "reliability degraded"},
		{NVME_WARN_READ_ONLY, "read-only"},
		{NVME_WARN_BACKUP, "the volatile memory's backup has failed"},
		{NVME_WARN_MEMORY_REGION, "the persistent memory region is read-only"},
	};
	json_t *list = json_array();

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (warnings & names[i].bit)
			json_array_append_new(list, json_string(names[i].text));
	return list;
}

METHOD(drive_smart)
{
	struct drive *drive = named_nvme(daemon, params, fail);
	struct nvme_smart smart;
	const struct {
		const char *key;
		const uint64_t *value;
	} counters[] = {
		{"read_bytes", &smart.read_bytes},
		{"written_bytes", &smart.written_bytes},
		{"reads", &smart.reads},
		{"writes", &smart.writes},
		{"busy_minutes", &smart.busy_minutes},
		{"power_cycles", &smart.power_cycles},
		{"power_on_hours", &smart.power_on_hours},
		{"unsafe_shutdowns", &smart.unsafe_shutdowns},
		{"media_errors", &smart.media_errors},
		{"error_entries", &smart.error_entries},
	};
	json_t *health;
	int error;

	if (!drive)
		return -fail->error;
	error = nvme_smart(drive->nvme->nvme, &smart, fail);
	if (error)
		return error;
	drive->nvme->smart = smart;
	health = json_pack("{s:s, s:s, s:s, s:s, s:o, s:i, s:i, s:i, s:i, s:i, s:i}", "name",
		drive->name, "model", drive->nvme->identity.model, "serial",
		drive->nvme->identity.serial, "firmware", drive->nvme->identity.firmware,
		"warnings", warnings_json(smart.warnings), "celsius", (int)smart.kelvin - 273,
		"spare_percent", (int)smart.spare_percent, "spare_threshold_percent",
		(int)smart.spare_threshold_percent, "wear_percent", (int)smart.used_percent,
		"warning_minutes", (int)smart.warning_minutes, "critical_minutes",
		(int)smart.critical_minutes);
	for (unsigned i = 0; i < ARRAY_SIZE(counters); i++)
		json_object_set_new(health, counters[i].key, counter(*counters[i].value));
	*result = json_pack("{s:o}", "health", health);
	return 0;
}

/* --- logs ------------------------------------------------------------------------------------ */

METHOD(drive_log)
{
	struct drive *drive = named_nvme(daemon, params, fail);
	int64_t page = rpc_integer(params, "page", 0), nsid = rpc_integer(params, "nsid", -1);
	int64_t bytes = rpc_integer(params, "bytes", LOG_BYTES);
	AUTO_FREE unsigned char *log = NULL;
	AUTO_FREE char *text = NULL;
	int error;

	if (!drive)
		return -fail->error;
	if (page < 1 || page > 255)
		return fail_set(fail, EINVAL, "a log page has a number from 1 to 255");
	if (bytes < 4 || bytes > LOG_BYTES_MAX || bytes % 4)
		return fail_set(fail, EINVAL, "a log is read in multiples of 4 bytes, up to 1 MiB");
	if (nsid < -1 || nsid == 0 || nsid > UINT32_MAX)
		return fail_set(fail, EINVAL, "there is no namespace %lld", (long long)nsid);
	log = calloc(1, (size_t)bytes);
	text = malloc((size_t)bytes * 2 + 1);
	if (!log || !text)
		return fail_set(fail, ENOMEM, "no memory for a log page");
	error = nvme_log(
		drive->nvme->nvme, (unsigned)page, (uint32_t)nsid, log, (size_t)bytes, fail);
	if (error)
		return error;
	for (int64_t i = 0; i < bytes; i++)
		sprintf(text + 2 * i, "%02x", log[i]);
	*result = json_pack(
		"{s:s, s:I, s:s}", "name", drive->name, "page", (json_int_t)page, "log", text);
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
	struct list_node *node;
	bool known = !lba_bytes;

	list_for_each (node, &daemon->drives) {
		const struct drive *other = container_of(node, struct drive, link);
		int error = other->nvme == drive->nvme ? drive_check_free(daemon, other, true, fail)
						       : 0;

		if (error)
			return error;
	}
	if (drive->dev != drive->bottom)
		return fail_set(fail, EBUSY,
			"drive %s has a layer that fails or delays on top: attach it without",
			drive->name);
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

/* The daemon goes on while the drive works, for an hour perhaps: the claim keeps the drive. */
static int format_unlocked(struct daemon *daemon, struct drive *drive, uint32_t lba_bytes,
	unsigned erase, struct fail *fail)
{
	int error = blockdev_claim(drive->dev, "format", fail);

	if (error)
		return error;
	log_info("event=FormatStarted drive=%s", drive->name);
	pthread_mutex_unlock(&daemon->lock);
	error = nvme_format(drive->bottom, lba_bytes, erase, fail);
	pthread_mutex_lock(&daemon->lock);
	blockdev_release(drive->dev);
	log_info("event=FormatFinished drive=%s error=%d", drive->name, -error);
	return error;
}

METHOD(drive_format)
{
	struct drive *drive = named_nvme(daemon, params, fail);
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
		error = format_unlocked(daemon, drive, (uint32_t)lba_bytes, erase, fail);
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
