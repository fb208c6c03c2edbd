/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving a PCI device to vfio-pci and back:
 *
 *	driver_override = vfio-pci -> unbind -> drivers_probe -> is it there? --no--> all undone
 *	driver_override = nothing  -> unbind -> drivers_probe -> is it there? --no--> bind by name
 */
#include "drivers/vfio/sysfs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "drivers/drivers.h"

enum { PROBE_TRIES = 200, PROBE_WAIT_US = 10000 };

static const char vfio_pci[] = "vfio-pci", nvme_class[] = "0x010802", bridge_class[] = "0x0604";
static char sys_root[128] = "/sys", dev_root[128] = "/dev";

void vfio_roots(const char *sys, const char *dev)
{
	snprintf(sys_root, sizeof(sys_root), "%s", sys ? sys : "/sys");
	snprintf(dev_root, sizeof(dev_root), "%s", dev ? dev : "/dev");
}

void vfio_device_path(char path[VFIO_PATH_BYTES], const char *address, const char *name)
{
	snprintf(path, VFIO_PATH_BYTES, "%s/bus/pci/devices/%s/%s", sys_root, address, name);
}

void vfio_node_path(char path[VFIO_PATH_BYTES], const char *name)
{
	snprintf(path, VFIO_PATH_BYTES, "%s/vfio/%s", dev_root, name);
}

static void driver_path(char path[VFIO_PATH_BYTES], const char *driver, const char *name)
{
	snprintf(path, VFIO_PATH_BYTES, "%s/bus/pci/drivers/%s/%s", sys_root, driver, name);
}

bool vfio_link(const char *address, const char *name, char target[VFIO_NAME_BYTES])
{
	char path[VFIO_PATH_BYTES], to[VFIO_PATH_BYTES];
	const char *last;
	ssize_t length;

	target[0] = '\0';
	vfio_device_path(path, address, name);
	length = readlink(path, to, sizeof(to) - 1);
	if (length <= 0)
		return false;
	to[length] = '\0';
	last = strrchr(to, '/');
	snprintf(target, VFIO_NAME_BYTES, "%.*s", VFIO_NAME_BYTES - 1, last ? last + 1 : to);
	return true;
}

/* The first line of a file of the device; "" when it cannot be read. */
static void read_line(const char *address, const char *name, char line[VFIO_NAME_BYTES])
{
	char path[VFIO_PATH_BYTES];
	ssize_t length;
	AUTO_CLOSE int fd = -1;

	line[0] = '\0';
	vfio_device_path(path, address, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	length = fd < 0 ? 0 : read(fd, line, VFIO_NAME_BYTES - 1);
	line[length > 0 ? length : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
}

static int write_text(const char *path, const char *text)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	size_t bytes = strlen(text);

	if (fd < 0)
		return -errno;
	return write(fd, text, bytes) == (ssize_t)bytes ? 0 : -errno;
}

/* --- what is needed -------------------------------------------------------------------------- */

/* dddd:bb:dd.f */
static bool is_address(const char *address)
{
	static const char shape[] = "hhhh:hh:hh.h";

	if (strlen(address) != sizeof(shape) - 1)
		return false;
	for (unsigned i = 0; shape[i]; i++)
		if (shape[i] == 'h' ? !isxdigit((unsigned char)address[i]) : address[i] != shape[i])
			return false;
	return true;
}

static int check_device(const char *address, struct fail *fail)
{
	char path[VFIO_PATH_BYTES], class[VFIO_NAME_BYTES];

	if (!is_address(address))
		return fail_set(fail, EINVAL,
			"'%.40s' is not the address of a PCI device: give one like 0000:65:00.0 "
			"(lspci -D lists them)",
			address);
	vfio_device_path(path, address, "");
	if (access(path, F_OK))
		return fail_set(fail, ENODEV,
			"there is no PCI device %s: lspci -D lists those that are there", address);
	read_line(address, "class", class);
	if (strncmp(class, nvme_class, sizeof(nvme_class) - 1) != 0)
		return fail_set(fail, EINVAL,
			"PCI device %s is not an NVMe drive (its class is %s, not %s)", address,
			class[0] ? class : "unknown", nvme_class);
	return 0;
}

/* Others of the group with a driver that is neither vfio-pci nor harmless: the group would not be
 * viable, which is to say that they could reach our memory. */
static int check_group(const char *address, const char *group, struct fail *fail)
{
	char path[VFIO_PATH_BYTES], others[200] = "";
	struct dirent *entry;
	DIR *directory;

	snprintf(path, sizeof(path), "%s/kernel/iommu_groups/%s/devices", sys_root, group);
	directory = opendir(path);
	while (directory && (entry = readdir(directory))) {
		char driver[VFIO_NAME_BYTES], class[VFIO_NAME_BYTES];
		size_t used = strlen(others);

		if (entry->d_name[0] == '.' || !strcmp(entry->d_name, address))
			continue;
		read_line(entry->d_name, "class", class);
		if (!vfio_link(entry->d_name, "driver", driver) || !strcmp(driver, vfio_pci) ||
			!strncmp(class, bridge_class, sizeof(bridge_class) - 1))
			continue;
		snprintf(others + used, sizeof(others) - used, "%s%.16s (%.24s)", used ? ", " : "",
			entry->d_name, driver);
	}
	if (directory)
		closedir(directory);
	if (!others[0])
		return 0;
	return fail_set(fail, EBUSY,
		"drive %s shares its IOMMU group %s with %s: put it into another slot, or give "
		"those to vfio-pci too",
		address, group, others);
}

static int check_host(const char *address, struct fail *fail)
{
	char path[VFIO_PATH_BYTES], group[VFIO_NAME_BYTES];

	if (!vfio_link(address, "iommu_group", group))
		return fail_set(fail, ENODEV,
			"drive %s is behind no IOMMU: enable VT-d or AMD-Vi in the firmware, and "
			"boot "
			"with intel_iommu=on (Intel) or without amd_iommu=off (AMD)",
			address);
	driver_path(path, vfio_pci, "");
	if (access(path, F_OK))
		return fail_set(fail, ENODEV,
			"the kernel module vfio-pci is not loaded: modprobe vfio-pci, and add it "
			"to "
			"/etc/modules-load.d");
	vfio_node_path(path, "vfio");
	if (access(path, F_OK))
		return fail_set(fail, ENODEV,
			"%s is not there: load the kernel modules vfio and vfio_iommu_type1", path);
	return check_group(address, group, fail);
}

static bool has_driver(const char *address, const char *driver)
{
	char now[VFIO_NAME_BYTES];

	return vfio_link(address, "driver", now) && !strcmp(now, driver);
}

int vfio_usable(const char *address, struct fail *fail)
{
	char path[VFIO_PATH_BYTES];
	int error = check_device(address, fail);

	if (!error)
		error = check_host(address, fail);
	if (error || has_driver(address, vfio_pci))
		return error;
	vfio_device_path(path, address, "driver_override");
	if (access(path, W_OK))
		return fail_set(fail, errno == ENOENT ? ENODEV : EPERM,
			"drive %s cannot be taken from its driver: %s cannot be written (%s); run "
			"braidd as root",
			address, path, strerror(errno));
	return 0;
}

/* --- binding --------------------------------------------------------------------------------- */

static int set_override(const char *address, const char *driver)
{
	char path[VFIO_PATH_BYTES];

	vfio_device_path(path, address, "driver_override");
	return write_text(path, driver[0] ? driver : "\n");
}

/* Waits for that driver; for any: "", for none: NULL. */
static bool await_driver(const char *address, const char *wanted)
{
	char driver[VFIO_NAME_BYTES];

	for (unsigned i = 0; i < PROBE_TRIES; i++) {
		bool bound = vfio_link(address, "driver", driver);

		if (wanted ? bound && (!wanted[0] || !strcmp(driver, wanted)) : !bound)
			return true;
		usleep(PROBE_WAIT_US);
	}
	return false;
}

/* Takes the device from whatever driver it has. */
static int unbind(const char *address)
{
	char path[VFIO_PATH_BYTES], driver[VFIO_NAME_BYTES];
	int error;

	if (!vfio_link(address, "driver", driver))
		return 0;
	driver_path(path, driver, "unbind");
	error = write_text(path, address);
	return error || await_driver(address, NULL) ? error : -EBUSY;
}

/* Lets the kernel look for a driver, and waits for it. */
static bool probe(const char *address, const char *wanted)
{
	char path[VFIO_PATH_BYTES];

	snprintf(path, sizeof(path), "%s/bus/pci/drivers_probe", sys_root);
	return !write_text(path, address) && await_driver(address, wanted);
}

/* To the driver that the kernel chooses, or else to `former` by name. */
static bool restore(const char *address, const char *former)
{
	char path[VFIO_PATH_BYTES];

	set_override(address, "");
	if (has_driver(address, vfio_pci) && strcmp(former, vfio_pci) != 0 && unbind(address))
		return false;
	if (probe(address, former))
		return true;
	if (!former[0])
		return false;
	driver_path(path, former, "bind");
	return !write_text(path, address) && await_driver(address, former);
}

int vfio_take(const char *address, char former[VFIO_DRIVER_BYTES], struct fail *fail)
{
	char driver[VFIO_NAME_BYTES] = "";
	int error = vfio_usable(address, fail);

	former[0] = '\0';
	if (error || has_driver(address, vfio_pci))
		return error;
	vfio_link(address, "driver", driver);
	error = set_override(address, vfio_pci);
	if (error)
		return fail_set(fail, -error, "drive %s cannot be given to vfio-pci: %s", address,
			strerror(-error));
	error = unbind(address);
	if (!error && !probe(address, vfio_pci))
		error = -EBUSY;
	if (error) {
		bool restored = driver[0]
					? has_driver(address, driver) && !set_override(address, "")
					: !set_override(address, "");

		if (!restored)
			restored = restore(address, driver);
		return fail_set(fail, -error,
			"drive %s could not be bound to vfio-pci (%s)%s: see the kernel's log",
			address, strerror(-error),
			restored ? "; it is as it was" : ", nor to its former driver");
	}
	snprintf(former, VFIO_DRIVER_BYTES, "%s", driver);
	return 0;
}

int vfio_give_back(const char *address, const char *former, struct fail *fail)
{
	char path[VFIO_PATH_BYTES];

	vfio_device_path(path, address, "");
	if (access(path, F_OK) || restore(address, former))
		return 0; /* given back, or pulled out */
	return fail_set(fail, EIO,
		"drive %s has left vfio-pci, but no driver of the kernel took it: echo %s > "
		"/sys/bus/pci/drivers/%s/bind",
		address, address, former[0] ? former : "nvme");
}
