/* SPDX-License-Identifier: Apache-2.0 */
#include "host/disk.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "host/use.h"

enum { SECTOR_BYTES = 512, PCI_BRIDGE = 0x06, PCI_NVME = 0x0108 };

struct list {
	struct host_disk *disk;
	size_t count, room;
};

static struct host_disk *add(struct list *list)
{
	struct host_disk *disk;

	if (list->count == HOST_DISKS_MAX)
		return NULL;
	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 16;
		struct host_disk *more = realloc(list->disk, room * sizeof(*more));

		if (!more)
			return NULL;
		list->disk = more;
		list->room = room;
	}
	disk = &list->disk[list->count++];
	*disk = (struct host_disk){.numa_node = -1, .celsius = INT_MIN};
	return disk;
}

/* --- PCI ------------------------------------------------------------------------------------- */

static unsigned pci_class(const char *address)
{
	char text[16];

	host_read(text, sizeof(text), "/sys/bus/pci/devices/%s/class", address);
	return (unsigned)strtoul(text, NULL, 16); /* class << 16 | subclass << 8 | interface */
}

/* Bridges are never handed to anybody: they do not count. */
static void read_group(struct host_disk *disk)
{
	const char *other;
	DIR *folder;

	if (!host_link(disk->group, sizeof(disk->group), "/sys/bus/pci/devices/%s/iommu_group",
		    disk->address))
		return;
	folder = host_folder("/sys/kernel/iommu_groups/%s/devices", disk->group);
	while ((other = host_next(folder)))
		if (strcmp(other, disk->address) && pci_class(other) >> 16 != PCI_BRIDGE)
			snprintf(disk->group_other, sizeof(disk->group_other), "%s", other);
}

void host_disk_pci(struct host_disk *disk)
{
	char speed[24], width[8];

	host_link(disk->driver, sizeof(disk->driver), "/sys/bus/pci/devices/%s/driver",
		disk->address);
	disk->numa_node = (int)host_number(-1, "/sys/bus/pci/devices/%s/numa_node", disk->address);
	host_read(
		speed, sizeof(speed), "/sys/bus/pci/devices/%s/current_link_speed", disk->address);
	host_read(
		width, sizeof(width), "/sys/bus/pci/devices/%s/current_link_width", disk->address);
	if (speed[0])
		snprintf(disk->link, sizeof(disk->link), "%s x%s", speed, width);
	read_group(disk);
}

void host_not_nvme(const char *address, char *text, size_t bytes)
{
	unsigned class = pci_class(address);

	text[0] = '\0';
	if (!host_exists("/sys/bus/pci/devices/%s", address))
		snprintf(text, bytes, "there is no PCI device %s", address);
	else if (class >> 8 != PCI_NVME)
		snprintf(text, bytes, "PCI device %s is no NVMe drive: its class is %06x", address,
			class);
}

bool host_address_parse(const char *typed, char *address, uint32_t *nsid)
{
	unsigned domain = 0, bus, device, function;
	int end = 0;

	*nsid = 0;
	if (sscanf(typed, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &end) != 4 ||
		!end) {
		domain = 0;
		end = 0;
		if (sscanf(typed, "%2x:%2x.%1x%n", &bus, &device, &function, &end) != 3 || !end)
			return false;
	}
	if (typed[end] == 'n' && sscanf(typed + end, "n%u", nsid) == 1 && *nsid)
		end += (int)strspn(typed + end + 1, "0123456789") + 1;
	if (typed[end] || device > 0x1f || function > 7)
		return false;
	snprintf(address, HOST_ADDRESS_BYTES, "%04x:%02x:%02x.%x", domain & 0xffff, bus & 0xff,
		device, function);
	return true;
}

/* --- block devices --------------------------------------------------------------------------- */

/* The kernel's temperature sensor of an NVMe controller, in thousandths; below the controller, or
 * in older kernels below the PCI device. */
static int read_celsius(const char *controller)
{
	DIR *folder = host_folder("/sys/class/nvme/%s", controller);
	long long milli = LLONG_MIN;
	const char *name;

	while ((name = host_next(folder)))
		if (!strncmp(name, "hwmon", 5) && milli == LLONG_MIN)
			milli = host_number(
				milli, "/sys/class/nvme/%s/%s/temp1_input", controller, name);
	folder = host_folder("/sys/class/nvme/%s/device/hwmon", controller);
	while ((name = host_next(folder)))
		if (milli == LLONG_MIN)
			milli = host_number(milli, "/sys/class/nvme/%s/device/hwmon/%s/temp1_input",
				controller, name);
	return milli == LLONG_MIN ? INT_MIN : (int)(milli / 1000);
}

/* "nvme0n1" of controller nvme0; with native multipath, of one of its subsystem's controllers. */
static void find_controller(struct host_disk *disk)
{
	char parent[HOST_NAME_BYTES], transport[16];
	const char *name;
	DIR *folder;

	if (!host_link(parent, sizeof(parent), "/sys/class/block/%s/device", disk->name))
		return;
	if (!strncmp(parent, "nvme-subsys", 11)) {
		folder = host_folder("/sys/class/nvme-subsystem/%s", parent);
		while ((name = host_next(folder)))
			if (!strncmp(name, "nvme", 4) && !strchr(name + 4, 'n'))
				snprintf(disk->controller, sizeof(disk->controller), "%.63s", name);
	} else if (!strncmp(parent, "nvme", 4)) {
		snprintf(disk->controller, sizeof(disk->controller), "%s", parent);
	}
	if (!disk->controller[0])
		return;
	host_read(transport, sizeof(transport), "/sys/class/nvme/%s/transport", disk->controller);
	if (!strcmp(transport, "pcie"))
		host_read(disk->address, sizeof(disk->address), "/sys/class/nvme/%s/address",
			disk->controller);
}

static void read_nvme(struct host_disk *disk)
{
	const char *controller = disk->controller;

	host_read(disk->model, sizeof(disk->model), "/sys/class/nvme/%s/model", controller);
	host_read(disk->serial, sizeof(disk->serial), "/sys/class/nvme/%s/serial", controller);
	host_read(disk->firmware, sizeof(disk->firmware), "/sys/class/nvme/%s/firmware_rev",
		controller);
	host_read(disk->identity, sizeof(disk->identity), "/sys/class/block/%s/wwid", disk->name);
	disk->nsid = (uint32_t)host_number(1, "/sys/class/block/%s/nsid", disk->name);
	disk->numa_node = (int)host_number(-1, "/sys/class/nvme/%s/numa_node", controller);
	disk->celsius = read_celsius(controller);
	if (disk->address[0])
		host_disk_pci(disk);
}

static void read_block(struct host_disk *disk)
{
	const char *name = disk->name;

	disk->bytes = (uint64_t)host_number(0, "/sys/class/block/%s/size", name) * SECTOR_BYTES;
	disk->lba_bytes = (uint32_t)host_number(
		SECTOR_BYTES, "/sys/class/block/%s/queue/logical_block_size", name);
	find_controller(disk);
	if (disk->controller[0]) {
		read_nvme(disk);
		return;
	}
	host_read(disk->model, sizeof(disk->model), "/sys/class/block/%s/device/model", name);
	if (!host_read(
		    disk->serial, sizeof(disk->serial), "/sys/class/block/%s/device/serial", name))
		host_read(disk->serial, sizeof(disk->serial), "/sys/class/block/%s/serial", name);
	host_read(disk->firmware, sizeof(disk->firmware), "/sys/class/block/%s/device/rev", name);
	disk->numa_node = (int)host_number(-1, "/sys/class/block/%s/device/numa_node", name);
}

/* Disks have a device behind them; loops, memory, device-mapper and md have none. */
static bool is_disk(const char *name)
{
	return host_exists("/sys/class/block/%s/device", name) &&
	       !host_exists("/sys/class/block/%s/partition", name) &&
	       !host_number(0, "/sys/class/block/%s/hidden", name) &&
	       host_number(0, "/sys/class/block/%s/size", name) > 0;
}

static bool has_address(const struct list *list, const char *address)
{
	for (size_t i = 0; i < list->count; i++)
		if (!strcmp(list->disk[i].address, address))
			return true;
	return false;
}

static int by_name(const void *left, const void *right)
{
	const struct host_disk *a = left, *b = right;

	if (!a->name[0] || !b->name[0])
		return a->name[0] ? -1 : b->name[0] ? 1 : strcmp(a->address, b->address);
	return strverscmp(a->name, b->name);
}

struct host_disk *host_disks(size_t *count)
{
	DIR *folder = host_folder("/sys/class/block");
	struct list list = {0};
	struct host_disk *disk;
	const char *name;

	while ((name = host_next(folder))) {
		if (!is_disk(name) || !(disk = add(&list)))
			continue;
		snprintf(disk->name, sizeof(disk->name), "%.63s", name);
		read_block(disk);
	}
	folder = host_folder("/sys/bus/pci/devices");
	while ((name = host_next(folder))) {
		if (pci_class(name) >> 8 != PCI_NVME || has_address(&list, name) ||
			!(disk = add(&list)))
			continue;
		snprintf(disk->address, sizeof(disk->address), "%.15s", name);
		host_disk_pci(disk);
	}
	if (!list.disk)
		list.disk = calloc(1, sizeof(*list.disk));
	else
		qsort(list.disk, list.count, sizeof(*list.disk), by_name);
	if (list.disk)
		host_uses(list.disk, list.count);
	*count = list.count;
	return list.disk;
}

/* --- which one is meant ---------------------------------------------------------------------- */

/* A path is a block device's, or a link to one. Below a test's root there are none: its name. */
static bool path_is(const struct host_disk *disk, const char *typed)
{
	char name[HOST_NAME_BYTES];
	struct stat status;

	if (!stat(typed, &status) && S_ISBLK(status.st_mode) &&
		host_link(name, sizeof(name), "/sys/dev/block/%u:%u", major(status.st_rdev),
			minor(status.st_rdev)))
		return !strcmp(name, disk->name);
	return !strncmp(typed, "/dev/", 5) && !strcmp(typed + 5, disk->name);
}

size_t host_disk_next(const struct host_disk *disks, size_t count, const char *typed, size_t from)
{
	char address[HOST_ADDRESS_BYTES];
	uint32_t nsid;
	bool is_address = host_address_parse(typed, address, &nsid);

	for (size_t i = from; i < count; i++) {
		const struct host_disk *disk = &disks[i];

		if (is_address && !strcmp(disk->address, address) &&
			(!nsid || !disk->nsid || nsid == disk->nsid))
			return i;
		if (disk->serial[0] && !strcmp(disk->serial, typed))
			return i;
		if (disk->name[0] && typed[0] == '/' && path_is(disk, typed))
			return i;
	}
	return count;
}
