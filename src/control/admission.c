/* SPDX-License-Identifier: Apache-2.0 */
#include "control/admission.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "control/probe.h"
#include "host/signature.h"
#include "host/use.h"
#include "memory/memory.h"
#include "raid/gpt.h"
#include "raid/transfer.h"
#include "reactor/reactor.h"

/* --- what is meant --------------------------------------------------------------------------- */

static bool is_source(const char *typed)
{
	static const char *const begins[] = {"ram:", "null:", "nvme:", "nvme+tcp://"};

	for (unsigned i = 0; i < ARRAY_SIZE(begins); i++)
		if (!strncmp(typed, begins[i], strlen(begins[i])))
			return true;
	return false;
}

/* Two drives of one serial number are told apart by their addresses. */
static int place_disk(const struct host_disk *disks, size_t count, const char *typed,
	struct place *place, struct fail *fail)
{
	size_t at = host_disk_next(disks, count, typed, 0);
	size_t other = at < count ? host_disk_next(disks, count, typed, at + 1) : count;
	uint32_t nsid;

	while (other < count && !strcmp(disks[at].address, disks[other].address))
		other = host_disk_next(disks, count, typed, other + 1);
	if (other < count)
		return fail_set(fail, EINVAL,
			"'%s' is the serial number of more than one drive: name it by its PCI "
			"address, like %s",
			typed, disks[at].address);
	if (at == count)
		return -ENOENT;
	if (!disks[at].address[0]) {
		snprintf(place->source, sizeof(place->source), "/dev/%s", disks[at].name);
		return 0;
	}
	place->pci = true;
	snprintf(place->address, sizeof(place->address), "%s", disks[at].address);
	if (!host_address_parse(typed, place->address, &nsid))
		nsid = typed[0] == '/' ? disks[at].nsid : 0;
	place->nsid = nsid;
	return 0;
}

int admission_place(const char *typed, bool kernel, struct place *place, struct fail *fail)
{
	AUTO_FREE struct host_disk *disks = NULL;
	size_t count;
	int error;

	*place = (struct place){0};
	if (strlen(typed) >= sizeof(place->source))
		return fail_set(fail, ENAMETOOLONG, "the path %.64s... is too long", typed);
	strcpy(place->source, typed);
	if (is_source(typed) || (typed[0] == '/' && kernel))
		return 0;
	disks = host_disks(&count);
	error = disks ? place_disk(disks, count, typed, place, fail) : -ENOMEM;
	if (error != -ENOENT || typed[0] == '/')
		return error == -ENOENT ? 0 : error;
	if (host_address_parse(typed, place->address, &place->nsid)) {
		place->pci = true; /* no NVMe drive: admission_pci() says what it is */
		return 0;
	}
	return fail_set(fail, ENOENT,
		"there is no drive with the serial number '%s' on this host: see braid drive list; "
		"a path begins with a /",
		typed);
}

/* --- may it? --------------------------------------------------------------------------------- */

static int refuse_use(const char *name, const char *use, struct fail *fail)
{
	return fail_set(
		fail, EBUSY, "%s is in use: %s. Free it first; nothing was changed", name, use);
}

/* The verdict on what stands on a disk. */
static int judge(const char *name, const char *signature, bool in_use, bool wipe, struct fail *fail)
{
	if (in_use)
		return refuse_use(name, signature, fail);
	if (wipe || !signature[0])
		return 0;
	return fail_set(fail, EPERM,
		"%s holds what is not braid's, %s: --wipe-signatures takes the drive, and what it "
		"holds is lost",
		name, signature);
}

/* braid's own members have a partition table, which may be one for blocks of another size. What
 * else is found on them was written by somebody who did not know that they are members. */
static bool is_member(const char *path)
{
	struct superblock superblock;
	int error = probe_superblock(path, &superblock, NULL, NULL, NULL);

	return !error || error == -EILSEQ || error == -ENOTSUP;
}

static int check_signature(
	const char *name, const char *path, bool wipe, bool *foreign, struct fail *fail)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char text[HOST_SIGNATURE_BYTES], own_type[UUID_TEXT_BYTES];
	bool in_use;
	int error;

	if (fd < 0)
		return 0; /* whoever opens it for writing will say why that does not go */
	uuid_print(&gpt_type, own_type);
	error = host_signature(fd, 0, is_member(path) ? "" : own_type, text, &in_use, fail);
	if (error)
		return fail_prefix(fail, "%s", name);
	*foreign |= text[0] != '\0';
	return judge(name, text, in_use, wipe, fail);
}

void admission_describe(const char *path, char *text)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct superblock superblock;
	bool in_use;

	text[0] = '\0';
	if (fd < 0)
		return;
	if (!probe_superblock(path, &superblock, NULL, NULL, NULL))
		snprintf(text, HOST_USE_BYTES, "member of braid array %.63s", superblock.name);
	else
		host_signature(fd, 0, NULL, text, &in_use, NULL);
}

int admission_path(const char *path, bool wipe, bool *foreign, struct fail *fail)
{
	char use[HOST_USE_BYTES] = "", name[HOST_NAME_BYTES];
	struct stat status;

	*foreign = false;
	if (stat(path, &status) || (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)))
		return 0; /* whoever opens it says what it is */
	if (S_ISREG(status.st_mode))
		host_use_of_file(path, use);
	else if (S_ISBLK(status.st_mode) && host_link(name, sizeof(name), "/sys/dev/block/%u:%u",
						    major(status.st_rdev), minor(status.st_rdev)))
		host_use_of(name, use);
	if (use[0])
		return refuse_use(path, use, fail);
	return check_signature(path, path, wipe, foreign, fail);
}

static int check_namespace(
	const struct host_disk *disk, bool wipe, bool *foreign, struct fail *fail)
{
	char name[2 * HOST_NAME_BYTES], path[HOST_PATH_BYTES];

	snprintf(name, sizeof(name), "%s%s%s%s", disk->name[0] ? "/dev/" : disk->address,
		disk->name, disk->serial[0] ? ", serial number " : "", disk->serial);
	if (disk->use[0])
		return refuse_use(name, disk->use, fail);
	if (disk->group_other[0])
		return fail_set(fail, EBUSY,
			"%s (%s) shares IOMMU group %s with %s: it cannot be taken alone. Move it "
			"to a slot whose ports separate devices (ACS); nothing was changed",
			name, disk->address, disk->group, disk->group_other);
	if (!disk->name[0])
		return 0;
	return check_signature(name, host_path(path, "/dev/%s", disk->name), wipe, foreign, fail);
}

int admission_pci(const char *address, bool wipe, bool *foreign, struct fail *fail)
{
	AUTO_FREE struct host_disk *disks = NULL;
	char what[HOST_LINE_BYTES];
	size_t count;
	int error = 0;

	*foreign = false;
	host_not_nvme(address, what, sizeof(what));
	if (what[0])
		return fail_set(fail,
			host_exists("/sys/bus/pci/devices/%s", address) ? EINVAL : ENODEV,
			"%s: see braid drive list", what);
	if (!host_exists("/sys/bus/pci/devices/%s/iommu_group", address))
		return fail_set(fail, ENODEV,
			"the IOMMU is off, so %s cannot be driven from user space: braid doctor "
			"says how to switch it on; --kernel with its path in /dev goes through the "
			"kernel's driver",
			address);
	disks = host_disks(&count);
	for (size_t i = 0; disks && i < count && !error; i++)
		if (!strcmp(disks[i].address, address))
			error = check_namespace(&disks[i], wipe, foreign, fail);
	return error;
}

/* --- what its blocks say --------------------------------------------------------------------- */

/* Both ends of a device: [0, head) and [tail, bytes). */
struct ends {
	uint64_t head, tail, bytes;
};

static struct ends ends_of(const struct blockdev *dev)
{
	uint64_t bytes = blockdev_bytes(dev);

	return (struct ends){
		.head = MIN(bytes, (uint64_t)HOST_SIGNATURE_SPAN),
		.tail = bytes - MIN(bytes, (uint64_t)HOST_SIGNATURE_SPAN),
		.bytes = bytes,
	};
}

/* A file as large as the device that holds its ends. -1: there is no memory for one. */
static int copy_ends(struct blockdev_queue *queue, const struct ends *ends, char *memory)
{
	int fd = memfd_create("braid-signature", MFD_CLOEXEC);

	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)ends->bytes) || transfer(queue, IO_READ, 0, memory, ends->head) ||
		pwrite(fd, memory, ends->head, 0) != (ssize_t)ends->head ||
		transfer(queue, IO_READ, ends->tail, memory, ends->bytes - ends->tail) ||
		pwrite(fd, memory, ends->bytes - ends->tail, (off_t)ends->tail) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int admission_opened(struct daemon *daemon, const struct drive *drive, struct fail *fail)
{
	bool member = drive->superblock || drive->damaged;
	struct blockdev *dev = drive->dev;
	char text[HOST_SIGNATURE_BYTES], own_type[UUID_TEXT_BYTES], *memory;
	struct ends ends = ends_of(dev);
	struct blockdev_queue *queue;
	bool in_use;
	int fd, error = blockdev_open_queue(dev, reactor_at(daemon->group, 0), &queue, fail);

	if (error)
		return error;
	memory = memory_map(HOST_SIGNATURE_SPAN, NULL);
	fd = memory ? copy_ends(queue, &ends, memory) : -1;
	if (memory)
		memory_unmap(memory, HOST_SIGNATURE_SPAN);
	blockdev_close_queue(queue);
	if (fd < 0)
		return fail_set(fail, EIO,
			"drive %s cannot be read for the signatures of other software", dev->name);
	uuid_print(&gpt_type, own_type);
	error = host_signature(fd, drive->lba_bytes, member ? "" : own_type, text, &in_use, fail);
	close(fd);
	return error ? error : judge(dev->name, text, in_use, false, fail);
}

int admission_wipe(struct daemon *daemon, struct blockdev *dev, struct fail *fail)
{
	struct ends ends = ends_of(dev);
	struct blockdev_queue *queue;
	char *memory;
	int error = blockdev_open_queue(dev, reactor_at(daemon->group, 0), &queue, fail);

	if (error)
		return error;
	memory = memory_map(HOST_SIGNATURE_SPAN, NULL);
	error = memory ? transfer(queue, IO_WRITE, 0, memory, ends.head) : -ENOMEM;
	if (!error)
		error = transfer(queue, IO_WRITE, ends.tail, memory, ends.bytes - ends.tail);
	if (error)
		error = fail_set(fail, -error, "cannot clear the signatures of drive %s: %s",
			dev->name, strerror(-error));
	if (memory)
		memory_unmap(memory, HOST_SIGNATURE_SPAN);
	blockdev_close_queue(queue);
	return error;
}
