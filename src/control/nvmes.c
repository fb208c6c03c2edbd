/* SPDX-License-Identifier: Apache-2.0 */
#include "control/nvmes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "control/admission.h"
#include "control/drives.h"
#include "raid/array.h"

static const char scheme[] = "nvme:";
static const uint64_t search_ns = 30000000000, search_soon_ns = 3000000000;

bool nvmes_source(const char *source)
{
	return !strncmp(source, scheme, sizeof(scheme) - 1);
}

/* "nvme:SERIAL/NSID"; a serial number may hold a slash itself. */
static int parse_source(const char *source, char *serial, uint32_t *nsid, struct fail *fail)
{
	const char *begin = source + sizeof(scheme) - 1, *slash = strrchr(begin, '/');
	char *end;

	*nsid = slash ? (uint32_t)strtoul(slash + 1, &end, 10) : 0;
	if (!slash || !*nsid || *end || slash - begin >= HOST_NAME_BYTES)
		return fail_set(
			fail, EINVAL, "'%s' is no drive: write nvme:SERIAL/NAMESPACE", source);
	snprintf(serial, HOST_NAME_BYTES, "%.*s", (int)(slash - begin), begin);
	return 0;
}

/* --- controllers ----------------------------------------------------------------------------- */

static struct nvme_entry *find_serial(struct daemon *daemon, const char *serial)
{
	struct list_node *node;

	list_for_each (node, &daemon->nvmes) {
		struct nvme_entry *entry = container_of(node, struct nvme_entry, link);

		if (!strcmp(entry->identity.serial, serial))
			return entry;
	}
	return NULL;
}

struct nvme_entry *nvmes_taken(struct daemon *daemon, const char *address)
{
	struct list_node *node;

	list_for_each (node, &daemon->nvmes) {
		struct nvme_entry *entry = container_of(node, struct nvme_entry, link);

		if (!strcmp(entry->identity.address, address))
			return entry;
	}
	return NULL;
}

static void read_health(struct nvme_entry *entry)
{
	struct fail fail = {0};

	entry->smart_ns = monotonic_ns();
	if (nvme_state(entry->nvme, NULL) != NVME_LIVE)
		return;
	if (nvme_smart(entry->nvme, &entry->smart, &fail))
		log_warning("event=DriveHealthUnknown serial=%s why=\"%s\"", entry->identity.serial,
			fail.text);
	else if (entry->smart.warnings)
		log_warning("event=DriveHealth serial=%s warnings=0x%x", entry->identity.serial,
			entry->smart.warnings);
}

int nvmes_take(struct daemon *daemon, const char *address, uint32_t block_bytes,
	struct nvme_entry **taken, struct fail *fail)
{
	struct nvme_options options = {.group = daemon->group, .block_bytes = block_bytes};
	struct nvme_entry *entry = nvmes_taken(daemon, address);
	int error;

	*taken = entry;
	if (entry)
		return 0;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return fail_set(fail, ENOMEM, "no memory for a drive");
	error = nvme_attach(&entry->nvme, address, &options, fail);
	if (error) {
		free(entry);
		return error;
	}
	nvme_identity(entry->nvme, &entry->identity);
	read_health(entry);
	list_push_back(&daemon->nvmes, &entry->link);
	*taken = entry;
	return 0;
}

static void drop(struct nvme_entry *entry)
{
	struct fail fail = {0};

	list_remove(&entry->link);
	if (nvme_detach(entry->nvme, entry->give_back, &fail))
		log_warning("event=DriveNotGivenBack address=%s why=\"%s\"",
			entry->identity.address, fail.text);
	free(entry);
}

void nvmes_release_unused(struct daemon *daemon)
{
	struct list_node *node, *after;

	list_for_each_safe (node, after, &daemon->nvmes) {
		struct nvme_entry *entry = container_of(node, struct nvme_entry, link);

		if (!entry->drives)
			drop(entry);
	}
}

/* --- looking for one ------------------------------------------------------------------------- */

static int take_admitted(struct daemon *daemon, const char *address, uint32_t block_bytes,
	struct nvme_entry **entry, struct fail *fail)
{
	bool foreign;
	int error = admission_pci(address, false, &foreign, fail);

	return error ? error : nvmes_take(daemon, address, block_bytes, entry, fail);
}

/* What vfio-pci has, and nobody uses, does not say its serial number before it is taken: the place
 * where the drive was is tried first. */
static int look_behind_vfio(struct daemon *daemon, const struct host_disk *disks, size_t count,
	const struct drive *drive, const char *serial)
{
	for (unsigned round = 0; round < 2; round++)
		for (size_t i = 0; i < count; i++) {
			const struct host_disk *disk = &disks[i];
			bool there = !strcmp(disk->address, drive->address);
			struct nvme_entry *entry;
			struct fail fail = {0};

			if (disk->name[0] || strcmp(disk->driver, "vfio-pci") || disk->use[0] ||
				there != !round || nvmes_taken(daemon, disk->address))
				continue;
			if (take_admitted(daemon, disk->address, drive->options.block_bytes, &entry,
				    &fail))
				log_warning("event=DriveRefused address=%s why=\"%s\"",
					disk->address, fail.text);
			else if (!strcmp(entry->identity.serial, serial))
				return 0;
		}
	return -ENODEV;
}

static int look_for(
	struct daemon *daemon, const struct drive *drive, const char *serial, struct fail *fail)
{
	AUTO_FREE struct host_disk *disks = NULL;
	struct nvme_entry *entry;
	size_t count;

	disks = host_disks(&count);
	for (size_t i = 0; disks && i < count; i++)
		if (disks[i].address[0] && !strcmp(disks[i].serial, serial))
			return take_admitted(
				daemon, disks[i].address, drive->options.block_bytes, &entry, fail);
	if (disks && !look_behind_vfio(daemon, disks, count, drive, serial))
		return 0;
	return fail_set(fail, ENODEV, "no NVMe drive with the serial number %s is there", serial);
}

/* Two drives may have one serial number; not one identity. */
static int check_identity(struct drive *drive, const char *identity, struct fail *fail)
{
	if (drive->identity[0] && strcmp(drive->identity, identity))
		return fail_set(fail, ENODEV,
			"%s is now %s, and was %s: this is another drive, or it was formatted; "
			"detach it here and attach it anew",
			drive->source, identity, drive->identity);
	snprintf(drive->identity, sizeof(drive->identity), "%s", identity);
	return 0;
}

static int open_namespace(
	struct drive *drive, struct nvme_entry *entry, uint32_t nsid, struct fail *fail)
{
	for (unsigned i = 0; i < nvme_device_count(entry->nvme); i++) {
		struct blockdev *dev = nvme_device(entry->nvme, i);
		struct nvme_namespace namespace;
		char source[DRIVE_SOURCE_BYTES];
		int error;

		nvme_namespace(dev, &namespace);
		if (namespace.nsid != nsid)
			continue;
		error = check_identity(drive, namespace.identity, fail);
		if (error)
			return error;
		nvmes_name(entry, i, source, drive->name);
		snprintf(drive->address, sizeof(drive->address), "%s", entry->identity.address);
		snprintf(drive->fingerprint, sizeof(drive->fingerprint), "%s %s",
			entry->identity.model, entry->identity.serial);
		drive->lba_bytes = namespace.lba_bytes;
		drive->nvme = entry;
		drive->dev = drive->bottom = dev;
		entry->drives++;
		return 0;
	}
	return fail_set(fail, ENODEV, "drive %s has no namespace %u that braid can use",
		entry->identity.serial, nsid);
}

int nvmes_open(struct daemon *daemon, struct drive *drive, struct fail *fail)
{
	char serial[HOST_NAME_BYTES];
	struct nvme_entry *entry;
	uint32_t nsid;
	int error = parse_source(drive->source, serial, &nsid, fail);

	if (error)
		return error;
	entry = find_serial(daemon, serial);
	if (!entry) {
		error = look_for(daemon, drive, serial, fail);
		entry = find_serial(daemon, serial);
	}
	if (error)
		return error;
	if (!entry)
		return fail_set(fail, ENODEV,
			"the drive that the kernel calls %s has another serial number", serial);
	if (nvme_state(entry->nvme, NULL) == NVME_GONE)
		return fail_set(fail, ENODEV, "drive %s was pulled out", serial);
	return open_namespace(drive, entry, nsid, fail);
}

void nvmes_close(struct drive *drive)
{
	struct nvme_entry *entry = drive->nvme;

	drive->nvme = NULL;
	drive->bottom = NULL;
	if (!--entry->drives)
		drop(entry);
}

void nvmes_name(struct nvme_entry *entry, unsigned index, char *source, char *name)
{
	const char *serial = entry->identity.serial;
	struct nvme_namespace namespace;

	nvme_namespace(nvme_device(entry->nvme, index), &namespace);
	snprintf(source, DRIVE_SOURCE_BYTES, "%s%s/%u", scheme, serial, namespace.nsid);
	if (nvme_device_count(entry->nvme) > 1)
		snprintf(name, BLOCKDEV_NAME_BYTES, "%sn%u", serial, namespace.nsid);
	else
		snprintf(name, BLOCKDEV_NAME_BYTES, "%s",
			serial[0] ? serial : entry->identity.address);
	drive_plain_name(name);
}

/* What is plugged in, and which driver has it, as one number. */
static uint32_t picture(void)
{
	static const char *const folders[] = {
		"/sys/class/nvme", "/sys/bus/pci/drivers/vfio-pci", "/sys/bus/pci/drivers/nvme"};
	uint32_t sum = 0;

	for (unsigned i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		DIR *folder = host_folder("%s", folders[i]);
		const char *name;

		while ((name = host_next(folder)))
			sum += crc32c(i, name, strlen(name));
	}
	return sum;
}

bool nvmes_search_due(struct daemon *daemon)
{
	uint32_t now = picture();
	bool due = now != daemon->nvme_picture || !daemon->nvme_searched_ns ||
		   monotonic_ns() - daemon->nvme_searched_ns > search_ns;

	if (due)
		daemon->nvme_searched_ns = monotonic_ns();
	daemon->nvme_picture = now;
	return due;
}

void nvmes_search_soon(struct daemon *daemon)
{
	daemon->nvme_searched_ns = monotonic_ns() - search_ns + search_soon_ns;
}

/* --- watching -------------------------------------------------------------------------------- */

static void say_events(struct nvme_entry *entry)
{
	static const char *const names[] = {
		[NVME_HAPPENED_RESET] = "DriveReset",
		[NVME_HAPPENED_FAILED] = "DriveFailed",
		[NVME_HAPPENED_GONE] = "DeviceDisappeared",
		[NVME_HAPPENED_HEALTH] = "DriveHealth",
		[NVME_HAPPENED_NAMESPACES] = "DriveNamespaces",
		[NVME_HAPPENED_FIRMWARE] = "DriveFirmware",
		[NVME_HAPPENED_OTHER] = "DriveEvent",
	};
	struct nvme_event event;

	while (nvme_next_event(entry->nvme, &event)) {
		log_warning("event=%s serial=%s address=%s namespace=%u what=\"%s\"",
			names[event.kind], entry->identity.serial, entry->identity.address,
			event.nsid, event.text);
		if (event.kind == NVME_HAPPENED_HEALTH)
			entry->smart_ns = 0;
	}
}

/* The array lets go of a member that has been pulled out; false: it cannot, it has no redundancy
 * left, and answers with errors. */
static bool let_go(struct daemon *daemon, struct drive *drive)
{
	struct array_entry *entry = array_find_uuid(daemon, &drive->array_uuid);
	struct array_status status;

	if (!drive->dev->user[0])
		return true;
	if (!entry || !entry->array)
		return false;
	array_status(entry->array, &status);
	for (unsigned i = 0; i < status.rows; i++) {
		if (status.member[i].dev != drive->dev)
			continue;
		if (status.member[i].state != ROW_FAILED && status.member[i].state != ROW_SPARE &&
			array_fail_member(entry->array, i, false, NULL))
			return false;
		array_remove_member(entry->array, i, NULL);
	}
	return !drive->dev->user[0];
}

static bool close_gone(struct daemon *daemon)
{
	struct list_node *node;
	bool closed = false;

	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (!drive->nvme || nvme_state(drive->nvme->nvme, NULL) != NVME_GONE ||
			!let_go(daemon, drive))
			continue;
		drive_close(drive);
		snprintf(drive->note, sizeof(drive->note), "it was pulled out");
		closed = true;
	}
	return closed;
}

bool nvmes_watch(struct daemon *daemon)
{
	struct list_node *node;

	list_for_each (node, &daemon->nvmes) {
		struct nvme_entry *entry = container_of(node, struct nvme_entry, link);

		say_events(entry);
		if (!entry->smart_ns ||
			monotonic_ns() - entry->smart_ns > NVME_HEALTH_S * 1000000000ull)
			read_health(entry);
	}
	return close_gone(daemon);
}
