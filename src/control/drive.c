/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "control/admission.h"
#include "control/assemble.h"
#include "control/drives.h"
#include "control/methods.h"
#include "control/monitor.h"
#include "control/nvmes.h"

/* Who has it, or why it is not free. */
static void use_text(struct daemon *daemon, const struct drive *drive, char *text, size_t bytes)
{
	const struct array_entry *entry = array_find_uuid(daemon, &drive->array_uuid);
	const char *name = entry ? entry->name : drive->superblock ? drive->superblock->name : "";

	if (drive->dev && drive->dev->user[0])
		snprintf(text, bytes, "%s", drive->dev->user);
	else if (drive->is_spare)
		snprintf(text, bytes, "spare%s", drive->dev ? "" : ", absent");
	else if (!uuid_is_null(&drive->array_uuid) && entry && entry->array && drive->dev)
		snprintf(text, bytes, "once of array %.63s", name);
	else if (!uuid_is_null(&drive->array_uuid))
		snprintf(text, bytes, "of array %.63s%s", name, drive->dev ? "" : ", absent");
	else if (!drive->dev)
		snprintf(text, bytes, "absent");
	else
		snprintf(text, bytes, "%s", drive->damaged ? "damaged superblock" : "");
}

/* What only NVMe drives have; of what is not known, nothing. */
static void add_nvme_json(json_t *row, const struct drive *drive)
{
	const struct nvme_entry *entry = drive->nvme;
	char reason[FAIL_TEXT_BYTES] = "";
	struct host_disk disk = {0};

	if (!entry)
		return;
	snprintf(disk.address, sizeof(disk.address), "%s", entry->identity.address);
	host_disk_pci(&disk);
	json_object_set_new(
		row, "state", json_string(nvme_state_name(nvme_state(entry->nvme, reason))));
	json_object_set_new(row, "why", json_string(reason));
	json_object_set_new(row, "model", json_string(entry->identity.model));
	json_object_set_new(row, "serial", json_string(entry->identity.serial));
	json_object_set_new(row, "firmware", json_string(entry->identity.firmware));
	json_object_set_new(row, "link", json_string(disk.link));
	if (disk.numa_node >= 0)
		json_object_set_new(row, "numa_node", json_integer(disk.numa_node));
	if (!entry->smart.kelvin)
		return;
	json_object_set_new(row, "celsius", json_integer((int)entry->smart.kelvin - 273));
	json_object_set_new(row, "wear_percent", json_integer(entry->smart.used_percent));
	json_object_set_new(
		row, "media_errors", json_integer((json_int_t)entry->smart.media_errors));
}

static void add_tcp_json(json_t *row, const struct drive *drive)
{
	struct nvme_tcp_status status;

	if (!drive->bottom || !nvme_tcp_is(drive->bottom))
		return;
	nvme_tcp_status(drive->bottom, &status);
	json_object_set_new(row, "state", json_string(nvme_tcp_state_name(status.state)));
	json_object_set_new(row, "why", json_string(status.reason));
	json_object_set_new(row, "model", json_string(status.model));
	json_object_set_new(row, "serial", json_string(status.serial));
	json_object_set_new(row, "firmware", json_string(status.firmware));
	json_object_set_new(row, "path", json_string(status.peer));
	json_object_set_new(row, "losses", json_integer((json_int_t)status.losses));
	json_object_set_new(row, "moves", json_integer((json_int_t)status.moves));
}

json_t *drive_json(struct daemon *daemon, struct drive *drive)
{
	char user[128], array[UUID_TEXT_BYTES] = "", member[UUID_TEXT_BYTES] = "";
	json_t *row;

	use_text(daemon, drive, user, sizeof(user));
	if (!uuid_is_null(&drive->array_uuid)) {
		uuid_print(&drive->array_uuid, array);
		uuid_print(&drive->member_uuid, member);
	}
	row = json_pack(
		"{s:s, s:s, s:s, s:I, s:i, s:s, s:s, s:b, s:b, s:b, s:s, s:s, s:s, s:s, s:s}",
		"name", drive->name, "source", drive->source, "driver", drive->driver, "bytes",
		(json_int_t)(drive->dev ? blockdev_bytes(drive->dev) : 0), "block_bytes",
		(int)drive->options.block_bytes, "user", user, "note", drive->note, "injectable",
		drive->options.injectable, "present", drive->dev != NULL, "spare", drive->is_spare,
		"array_uuid", array, "member_uuid", member, "fingerprint", drive->fingerprint,
		"address", drive->address, "identity", drive->identity);
	if (row && drive->lba_bytes)
		json_object_set_new(row, "lba_bytes", json_integer(drive->lba_bytes));
	add_nvme_json(row, drive);
	add_tcp_json(row, drive);
	return row;
}

/* --- listing --------------------------------------------------------------------------------- */

static bool is_attached(struct daemon *daemon, const struct host_disk *disk)
{
	struct list_node *node;
	char number[32];

	if (!host_read(number, sizeof(number), "/sys/class/block/%s/dev", disk->name))
		number[0] = '\0';
	list_for_each (node, &daemon->drives) {
		const struct drive *drive = container_of(node, struct drive, link);
		char own[32];

		if (drive->nvme && !strcmp(drive->nvme->identity.address, disk->address))
			return true;
		snprintf(own, sizeof(own), "%u:%u", major(drive->device), minor(drive->device));
		if (drive->dev && drive->source[0] == '/' && !drive->inode && number[0] &&
			!strcmp(own, number))
			return true;
	}
	return false;
}

/* Who uses a disk, else what stands on it. */
static void describe_disk(const struct host_disk *disk, char *text)
{
	char path[HOST_PATH_BYTES];

	snprintf(text, HOST_USE_BYTES, "%s", disk->use);
	if (!text[0] && disk->name[0])
		admission_describe(host_path(path, "/dev/%s", disk->name), text);
	if (!text[0] && disk->group_other[0])
		snprintf(text, HOST_USE_BYTES, "shares IOMMU group %s with %s", disk->group,
			disk->group_other);
}

static json_t *disk_json(const struct host_disk *disk)
{
	char use[HOST_USE_BYTES];
	json_t *row;

	describe_disk(disk, use);
	row = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:i, s:s, s:s, s:b, s:s}", "name",
		disk->name[0] ? disk->name : disk->address, "driver",
		disk->driver[0] ? disk->driver
		: disk->name[0] ? "kernel"
				: "none",
		"model", disk->model, "serial", disk->serial, "firmware", disk->firmware, "address",
		disk->address, "bytes", (json_int_t)disk->bytes, "block_bytes",
		(int)disk->lba_bytes, "link", disk->link, "user", use, "in_use", use[0] != '\0',
		"identity", disk->identity);
	if (!row)
		return NULL;
	if (disk->name[0]) {
		char path[HOST_NAME_BYTES + 8];

		snprintf(path, sizeof(path), "/dev/%s", disk->name);
		json_object_set_new(row, "source", json_string(path));
	}
	if (disk->numa_node >= 0)
		json_object_set_new(row, "numa_node", json_integer(disk->numa_node));
	if (disk->celsius != INT_MIN)
		json_object_set_new(row, "celsius", json_integer(disk->celsius));
	if (disk->group_other[0])
		json_object_set_new(row, "group_other", json_string(disk->group_other));
	json_object_set_new(row, "state", json_string(use[0] ? "in use" : "not attached"));
	return row;
}

/* The disks of the host that are no drives. */
static json_t *host_json(struct daemon *daemon)
{
	AUTO_FREE struct host_disk *disks = NULL;
	json_t *list = json_array();
	size_t count;

	disks = host_disks(&count);
	for (size_t i = 0; disks && i < count; i++)
		if (!is_attached(daemon, &disks[i]))
			json_array_append_new(list, disk_json(&disks[i]));
	return list;
}

METHOD(drive_list)
{
	json_t *list = json_array();
	struct list_node *node;

	(void)fail;
	list_for_each (node, &daemon->drives)
		json_array_append_new(
			list, drive_json(daemon, container_of(node, struct drive, link)));
	*result = json_pack("{s:o}", "drives", list);
	if (rpc_boolean(params, "host"))
		json_object_set_new(*result, "host", host_json(daemon));
	return 0;
}

/* --- attaching ------------------------------------------------------------------------------- */

static int read_options(struct drive_options *options, const json_t *params, struct fail *fail)
{
	int64_t block_bytes = rpc_integer(params, "block_bytes", 0);
	int64_t delay_us = rpc_integer(params, "delay_us", 0);
	int64_t jitter_us = rpc_integer(params, "jitter_us", 0);

	if (json_object_get(params, "block_bytes") && block_bytes != 512 && block_bytes != 4096)
		return fail_set(fail, EINVAL,
			"a block size of %lld is not possible: use 512 or 4096",
			(long long)block_bytes);
	if (delay_us < 0 || jitter_us < 0 || delay_us > 60000000 || jitter_us > 60000000)
		return fail_set(fail, EINVAL, "a delay is 0 to 60000000 microseconds");
	*options = (struct drive_options){
		.block_bytes = (uint32_t)block_bytes,
		.delay_us = (uint32_t)delay_us,
		.jitter_us = (uint32_t)jitter_us,
		.injectable = rpc_boolean(params, "injectable"),
	};
	return 0;
}

/* A second drive that says that it is the same member would stop its array from starting. */
static int check_copy(struct daemon *daemon, const struct drive *drive, struct fail *fail)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		const struct drive *other = container_of(node, struct drive, link);

		if (other != drive && other->dev && drive->superblock &&
			uuid_equal(&other->member_uuid, &drive->member_uuid))
			return fail_set(fail, EEXIST,
				"%s is a copy of drive %s, a member of array %.63s: the two cannot "
				"be told apart; --wipe-signatures makes it an empty drive",
				drive->source, other->name, drive->superblock->name);
	}
	return 0;
}

static bool is_being_opened(struct daemon *daemon, const char *source)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		const struct drive *drive = container_of(node, struct drive, link);

		if (drive->opening && !strcmp(drive->source, source))
			return true;
	}
	return false;
}

/* A remembered drive that is not there is what comes back under its path. */
static void forget_absent(struct daemon *daemon, const char *source)
{
	struct list_node *node, *after;

	while (is_being_opened(daemon, source))
		daemon_wait(daemon);

	list_for_each_safe (node, after, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (!drive->dev && !strcmp(drive->source, source))
			drive_free(drive);
	}
}

struct attach {
	struct drive_options options;
	bool wipe;
	json_t *attached; /* what the answer says */
};

static int attach_source(
	struct daemon *daemon, const char *source, struct attach *attach, struct fail *fail)
{
	struct drive *drive;
	int error;

	forget_absent(daemon, source);
	error = drive_add(daemon, source, &attach->options,
		attach->wipe ? DRIVE_NEW_WIPED : DRIVE_NEW, &drive, fail);
	if (error)
		return error;
	if (attach->wipe && (drive->superblock || drive->damaged))
		error = drive_wipe(daemon, drive, fail);
	else
		error = check_copy(daemon, drive, fail);
	if (error) {
		if (drive->nvme)
			drive->nvme->give_back = true;
		drive_free(drive);
		return error;
	}
	json_array_append_new(attach->attached, drive_json(daemon, drive));
	return 0;
}

static bool is_open(struct daemon *daemon, const char *source)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		const struct drive *drive = container_of(node, struct drive, link);

		if (drive->dev && !strcmp(drive->source, source))
			return true;
	}
	return false;
}

/* Its namespaces, or the one that was named. */
static int attach_namespaces(struct daemon *daemon, struct nvme_entry *entry, uint32_t nsid,
	struct attach *attach, struct fail *fail)
{
	char source[DRIVE_SOURCE_BYTES], name[BLOCKDEV_NAME_BYTES];
	unsigned count = nvme_device_count(entry->nvme);
	int error = 0;

	for (unsigned i = 0; i < count && !error; i++) {
		struct nvme_namespace namespace;

		nvme_namespace(nvme_device(entry->nvme, i), &namespace);
		nvmes_name(entry, i, source, name);
		if ((nsid && namespace.nsid != nsid) || is_open(daemon, source))
			continue;
		error = attach_source(daemon, source, attach, fail);
	}
	if (!error && !json_array_size(attach->attached))
		error = fail_set(fail, entry->drives ? EEXIST : ENODEV,
			entry->drives ? "drive %s at %s is attached already"
				      : "drive %s at %s has no namespace that braid can use",
			entry->identity.serial, entry->identity.address);
	return error;
}

static int attach_pci(
	struct daemon *daemon, const struct place *place, struct attach *attach, struct fail *fail)
{
	struct nvme_entry *entry;
	bool foreign = false;
	int error = 0;

	/* One that was only taken to see who it is has another's options. */
	while ((entry = nvmes_settled(daemon, place->address)) && !entry->drives && !entry->kept)
		nvmes_release_unused(daemon);
	if (!entry)
		error = admission_pci(place->address, attach->wipe, &foreign, fail);
	if (!error)
		error = nvmes_take(
			daemon, place->address, attach->options.block_bytes, &entry, fail);
	if (error)
		return error;
	entry->drives++; /* ours, until all namespaces have been tried */
	error = attach_namespaces(daemon, entry, place->nsid, attach, fail);
	entry->drives--;
	entry->give_back |= !entry->drives;
	nvmes_release_unused(daemon);
	return error;
}

METHOD(drive_attach)
{
	struct attach attach = {.wipe = rpc_boolean(params, "wipe_signatures")};
	bool kernel = rpc_boolean(params, "kernel");
	const char *typed = rpc_string(params, "source", "");
	const struct drive *drive = drive_find(daemon, typed);
	struct place place;
	int error = read_options(&attach.options, params, fail);

	if (!error && drive && drive->dev)
		error = fail_set(fail, EEXIST, "drive %s is attached already", drive->name);
	if (!error)
		error = admission_place(typed, kernel, &place, fail);
	if (error)
		return error;
	attach.attached = json_array();
	error = place.pci ? attach_pci(daemon, &place, &attach, fail)
			  : attach_source(daemon, place.source, &attach, fail);
	if (json_array_size(attach.attached)) {
		assemble(daemon);
		monitor_wake(daemon);
		state_changed(daemon);
	}
	if (!error)
		*result = json_pack("{s:O, s:O}", "drive", json_array_get(attach.attached, 0),
			"drives", attach.attached);
	json_decref(attach.attached);
	return error;
}

/* By its name, or by an NVMe drive's PCI address or serial number. */
static struct drive *named_drive(struct daemon *daemon, const json_t *params, struct fail *fail)
{
	const char *name = rpc_string(params, "name", "");
	struct drive *drive = drive_find(daemon, name);

	if (!drive)
		fail_set(fail, ENOENT, "there is no drive '%s': see braid drive list", name);
	return drive;
}

/* A drive that nobody uses and nobody waits for: who asks it something has its answer first. */
static int find_idle(
	struct daemon *daemon, const json_t *params, struct drive **found, struct fail *fail)
{
	struct drive *drive;

	while ((drive = named_drive(daemon, params, fail))) {
		*found = drive;
		if (drive->dev && drive->dev->user[0])
			return fail_set(fail, EBUSY, "drive %s is in use by %s: delete that first",
				drive->name, drive->dev->user);
		if (!drive->opening && (!drive->nvme || !drive->nvme->kept))
			return 0;
		daemon_wait(daemon);
	}
	return -ENOENT;
}

METHOD(drive_detach)
{
	struct drive *drive;
	int error = find_idle(daemon, params, &drive, fail);

	if (error)
		return error;
	if (drive->nvme)
		drive->nvme->give_back = true;
	drive_free(drive);
	assemble(daemon);
	state_changed(daemon);
	nvmes_release_unused(daemon);
	*result = json_object();
	return 0;
}

static int parse_rule(struct fault_rule *rule, const json_t *row, struct fail *fail)
{
	const char *kind = rpc_string(row, "kind", "");
	unsigned i = 0;

	while (i < FAULT_KINDS && strcmp(fault_kind_name(i), kind))
		i++;
	if (i == FAULT_KINDS)
		return fail_set(fail, EINVAL,
			"there is no fault '%s': use error, torn, lost or flip", kind);
	*rule = (struct fault_rule){
		.kind = i,
		.reads = rpc_boolean(row, "reads"),
		.writes = rpc_boolean(row, "writes"),
		.first = (uint64_t)rpc_integer(row, "first", 0),
		.end = (uint64_t)rpc_integer(row, "end", INT64_MAX),
		.after = (unsigned)rpc_integer(row, "after", 0),
		.count = (unsigned)rpc_integer(row, "count", 0),
	};
	return 0;
}

METHOD(drive_inject)
{
	struct drive *drive = named_drive(daemon, params, fail);
	const json_t *rows = json_object_get(params, "rules"), *row;
	struct fault_rule rules[FAULT_RULES_MAX];
	size_t i;
	int error = 0;

	if (!drive)
		return -ENOENT;
	if (!drive->dev || !fault_is(drive->dev))
		return fail_set(
			fail, EINVAL, "drive %s was not attached with --injectable", drive->name);
	if (json_array_size(rows) > FAULT_RULES_MAX)
		return fail_set(fail, EINVAL, "at most %d fault rules at a time", FAULT_RULES_MAX);
	json_array_foreach((json_t *)rows, i, row) if (!error) error =
		parse_rule(&rules[i], row, fail);
	if (!error)
		error = fault_rules(drive->dev, rules, (unsigned)json_array_size(rows), fail);
	if (!error)
		*result = json_object();
	return error;
}
