/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/vfio/device.h"

#include <assert.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "drivers/vfio/bar.h"

/* --- configuration space --------------------------------------------------------------------- */

static int config_read(const struct vfio_device *device, unsigned at, uint16_t *value)
{
	ssize_t bytes =
		pread(device->fd, value, sizeof(*value), (off_t)(device->config_offset + at));

	return bytes == sizeof(*value) ? 0 : -EIO;
}

int vfio_device_master(struct vfio_device *device, bool allowed)
{
	uint16_t command;
	int error = config_read(device, PCI_COMMAND, &command);

	if (error)
		return error;
	command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	if (!allowed)
		command = (uint16_t)(command & ~PCI_COMMAND_MASTER);
	return pwrite(device->fd, &command, sizeof(command),
		       (off_t)(device->config_offset + PCI_COMMAND)) == sizeof(command)
		       ? 0
		       : -EIO;
}

uint16_t vfio_device_vendor(const struct vfio_device *device)
{
	uint16_t vendor = 0xffff;

	return config_read(device, PCI_VENDOR_ID, &vendor) ? 0xffff : vendor;
}

/* --- opening --------------------------------------------------------------------------------- */

static int find_region(
	const struct vfio_device *device, uint32_t index, struct vfio_region_info *region)
{
	*region = (struct vfio_region_info){.argsz = sizeof(*region), .index = index};
	return ioctl(device->fd, VFIO_DEVICE_GET_REGION_INFO, region) ? -errno : 0;
}

static int map_registers(struct vfio_device *device, struct fail *fail)
{
	struct vfio_region_info region;
	int error = find_region(device, VFIO_PCI_CONFIG_REGION_INDEX, &region);

	if (!error) {
		device->config_offset = region.offset;
		device->config_bytes = region.size;
		error = find_region(device, VFIO_PCI_BAR0_REGION_INDEX, &region);
	}
	if (error)
		return fail_set(fail, -error, "VFIO does not show the registers of drive %s: %s",
			device->address, strerror(-error));
	if (!(region.flags & VFIO_REGION_INFO_FLAG_MMAP) || region.size < 0x2000)
		return fail_set(fail, EIO,
			"the registers of drive %s cannot be mapped (%llu bytes)", device->address,
			(unsigned long long)region.size);
	device->register_bytes = region.size;
	device->registers = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, device->fd,
		(off_t)region.offset);
	if (device->registers == MAP_FAILED) {
		device->registers = NULL;
		return fail_set(fail, errno, "cannot map the registers of drive %s: %s",
			device->address, strerror(errno));
	}
	bar_guard(device->registers, device->register_bytes);
	return 0;
}

/* Asks to be told when the system wants the device back. Old kernels cannot: then the registers
 * tell. */
static void watch_requests(struct vfio_device *device)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = VFIO_PCI_REQ_IRQ_INDEX};
	char memory[sizeof(struct vfio_irq_set) + sizeof(int32_t)]
		__attribute__((aligned(_Alignof(struct vfio_irq_set))));
	struct vfio_irq_set *set = (void *)memory;
	int32_t fd;

	if (ioctl(device->fd, VFIO_DEVICE_GET_IRQ_INFO, &info) || !info.count)
		return;
	fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (fd < 0)
		return;
	*set = (struct vfio_irq_set){.argsz = sizeof(memory),
		.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_REQ_IRQ_INDEX,
		.count = 1};
	memcpy(set->data, &fd, sizeof(fd));
	if (ioctl(device->fd, VFIO_DEVICE_SET_IRQS, set))
		close(fd);
	else
		device->request_fd = fd;
}

static int device_open(struct vfio_device *device, struct fail *fail)
{
	int error;

	device->fd = ioctl(vfio_group_fd(device->group), VFIO_GROUP_GET_DEVICE_FD, device->address);
	if (device->fd < 0)
		return fail_set(fail, errno, "cannot open drive %s through VFIO: %s",
			device->address, strerror(errno));
	error = map_registers(device, fail);
	if (error)
		return error;
	watch_requests(device);
	error = vfio_device_master(device, true);
	if (error)
		return fail_set(fail, EIO,
			"drive %s does not let itself be configured: is it plugged in?",
			device->address);
	return 0;
}

int vfio_device_open(struct vfio_device **opened, const char *address, struct fail *fail)
{
	struct vfio_device *device = calloc(1, sizeof(*device));
	int error;

	if (!device)
		return fail_set(fail, ENOMEM, "no memory for a drive");
	device->fd = device->request_fd = -1;
	snprintf(device->address, sizeof(device->address), "%s", address);
	error = vfio_group_get(&device->group, address, fail);
	if (error) {
		free(device);
		return error;
	}
	error = device_open(device, fail);
	if (error) {
		vfio_device_close(device, false);
		return error;
	}
	*opened = device;
	return 0;
}

/* --- closing --------------------------------------------------------------------------------- */

static void *close_device(void *argument)
{
	struct vfio_device *device = argument;

	if (device->registers) {
		bar_unguard(device->registers);
		munmap(device->registers, device->register_bytes);
	}
	if (device->fd >= 0)
		close(device->fd);
	if (device->request_fd >= 0)
		close(device->request_fd);
	vfio_group_put(device->group);
	free(device);
	return NULL;
}

void vfio_device_close(struct vfio_device *device, bool gone)
{
	pthread_t thread;

	/* The kernel tries to reset what is not there: 70 to 140 s have been seen. */
	if (gone && !pthread_create(&thread, NULL, close_device, device)) {
		pthread_setname_np(thread, "vfio-close");
		pthread_detach(thread);
		return;
	}
	close_device(device);
}

/* --- while it is open ------------------------------------------------------------------------ */

bool vfio_device_removed(struct vfio_device *device)
{
	uint64_t count;

	if (device->request_fd >= 0 &&
		read(device->request_fd, &count, sizeof(count)) == sizeof(count))
		device->requested = true;
	return device->requested || bar_gone(device->registers);
}

int vfio_device_reset(struct vfio_device *device)
{
	if (ioctl(device->fd, VFIO_DEVICE_RESET))
		return -errno;
	return vfio_device_master(device, true);
}
