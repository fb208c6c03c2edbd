/* SPDX-License-Identifier: Apache-2.0 */
#include "control/nvmes.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "control/admission.h"
#include "control/drives.h"
#include "drivers/nvme/wire.h"
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

		if (!entry->passing && !strcmp(entry->identity.serial, serial))
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

/* The lock is not held, and the controller kept. */
static int ask_health(struct nvme *nvme, const char *serial, struct nvme_smart *smart)
{
	struct fail fail = {0};
	int error = nvme_smart(nvme, smart, &fail);

	if (error)
		log_warning("event=DriveHealthUnknown serial=%s why=\"%s\"", serial, fail.text);
	else if (smart->warnings)
		log_warning("event=DriveHealth serial=%s warnings=0x%x", serial, smart->warnings);
	return error;
}

/* What is asked of a controller when it is taken. */
struct acquaintance {
	struct nvme_identity identity;
	struct nvme_smart smart;
	struct nvme_sanitize_state sanitize;
	struct nvme_test_state test;
};

/* The lock is not held, and nobody else knows the controller. */
static void make_acquaintance(struct nvme *nvme, struct acquaintance *with)
{
	const struct nvme_identity *identity = &with->identity;

	*with = (struct acquaintance){.sanitize.status = NVME_SANITIZE_NEVER};
	nvme_identity(nvme, &with->identity);
	ask_health(nvme, identity->serial, &with->smart);
	if (identity->can_sanitize_block || identity->can_sanitize_crypto ||
		identity->can_sanitize_overwrite)
		nvme_sanitize_state(nvme, &with->sanitize, NULL);
	if (identity->can_self_test)
		nvme_self_test_state(nvme, &with->test, NULL);
}

static void introduce(struct nvme_entry *entry, const struct acquaintance *with)
{
	entry->identity = with->identity;
	entry->smart = with->smart;
	entry->smart_ns = monotonic_ns();
	entry->sanitizing = with->sanitize.status == NVME_SANITIZE_RUNNING;
	entry->testing = with->test.running;
	entry->passing = false;
}

struct nvme_entry *nvmes_settled(struct daemon *daemon, const char *address)
{
	struct nvme_entry *entry;

	while ((entry = nvmes_taken(daemon, address)) && entry->passing)
		daemon_wait(daemon);
	return entry;
}

static void forget(struct daemon *daemon, struct nvme_entry *entry)
{
	list_remove(&entry->link);
	free(entry);
	daemon_settled(daemon);
}

int nvmes_take(struct daemon *daemon, const char *address, uint32_t block_bytes,
	struct nvme_entry **taken, struct fail *fail)
{
	struct nvme_options options = {.group = daemon->group, .block_bytes = block_bytes};
	struct nvme_entry *entry = nvmes_settled(daemon, address);
	struct acquaintance with;
	int error;

	*taken = entry;
	if (entry)
		return 0;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return fail_set(fail, ENOMEM, "no memory for a drive");
	snprintf(entry->identity.address, sizeof(entry->identity.address), "%s", address);
	entry->passing = true;
	list_push_back(&daemon->nvmes, &entry->link);
	daemon_let_go(daemon);
	error = nvme_attach(&entry->nvme, address, &options, fail);
	if (!error)
		make_acquaintance(entry->nvme, &with);
	daemon_take_back(daemon);
	if (error) {
		forget(daemon, entry);
		return error;
	}
	introduce(entry, &with);
	daemon_settled(daemon);
	*taken = entry;
	return 0;
}

struct nvme_entry *nvmes_add(struct daemon *daemon, struct nvme *nvme)
{
	struct nvme_entry *entry = calloc(1, sizeof(*entry));
	struct acquaintance with;

	if (!entry)
		return NULL;
	entry->nvme = nvme;
	make_acquaintance(nvme, &with);
	introduce(entry, &with);
	list_push_back(&daemon->nvmes, &entry->link);
	return entry;
}

static struct nvme_entry *find_unused(struct daemon *daemon, bool gone)
{
	struct list_node *node;

	list_for_each (node, &daemon->nvmes) {
		struct nvme_entry *entry = container_of(node, struct nvme_entry, link);

		if (!entry->drives && !entry->kept && !entry->passing &&
			(!gone || nvme_state(entry->nvme, NULL) == NVME_GONE))
			return entry;
	}
	return NULL;
}

void nvmes_release_unused(struct daemon *daemon)
{
	struct nvme_entry *entry;

	while ((entry = find_unused(daemon, false))) {
		struct fail fail = {0};
		int error;

		entry->passing = true;
		daemon_let_go(daemon);
		error = nvme_detach(entry->nvme, entry->give_back, &fail);
		daemon_take_back(daemon);
		if (error)
			log_warning("event=DriveNotGivenBack address=%s why=\"%s\"",
				entry->identity.address, fail.text);
		forget(daemon, entry);
	}
}

void nvmes_ask(struct daemon *daemon, struct nvme_entry *entry)
{
	assert(!entry->passing);
	entry->kept++;
	daemon_let_go(daemon);
}

void nvmes_answered(struct daemon *daemon, struct nvme_entry *entry)
{
	daemon_take_back(daemon);
	assert(entry->kept);
	entry->kept--;
	daemon_settled(daemon);
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
		entry->give_back = false;
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
	drive->nvme->drives--;
	drive->nvme = NULL;
	drive->bottom = NULL;
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
	struct nvme_entry *entry;
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
	/* Nothing is waited for here, and whoever sees that it is absent may plug it in again. */
	while ((entry = find_unused(daemon, true))) {
		nvme_detach(entry->nvme, false, NULL);
		forget(daemon, entry);
	}
	return closed;
}

bool nvmes_watch(struct daemon *daemon)
{
	struct list_node *node;

	list_for_each (node, &daemon->nvmes) {
		struct nvme_entry *entry = container_of(node, struct nvme_entry, link);

		if (!entry->passing)
			say_events(entry);
	}
	return close_gone(daemon);
}

/* One that is asked something already, for an hour perhaps, is not asked this as well. */
static struct nvme_entry *find_due(struct daemon *daemon)
{
	struct list_node *node;

	list_for_each (node, &daemon->nvmes) {
		struct nvme_entry *entry = container_of(node, struct nvme_entry, link);
		uint64_t ago_ns = monotonic_ns() - entry->smart_ns;

		if (entry->passing || entry->kept || nvme_state(entry->nvme, NULL) != NVME_LIVE)
			continue;
		if (!entry->smart_ns || ago_ns > NVME_HEALTH_S * 1000000000ull)
			return entry;
	}
	return NULL;
}

void nvmes_ask_health(struct daemon *daemon)
{
	struct nvme_entry *entry;

	while (!daemon->stopping && (entry = find_due(daemon))) {
		struct nvme_smart smart;
		int error;

		entry->smart_ns = monotonic_ns();
		nvmes_ask(daemon, entry);
		error = ask_health(entry->nvme, entry->identity.serial, &smart);
		nvmes_answered(daemon, entry);
		if (!error)
			entry->smart = smart;
	}
}
