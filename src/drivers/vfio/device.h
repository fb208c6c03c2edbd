/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI devices through VFIO, type 1.
 *
 *	dma_register() -> container (IOMMU mappings) <- groups <- devices (registers, config space)
 *
 * All devices share one container as far as their IOMMUs allow it, so that memory is mapped, locked
 * and counted once. Control threads.
 */
#ifndef DRIVERS_VFIO_DEVICE_H
#define DRIVERS_VFIO_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fail.h"

struct vfio_group;

struct vfio_device {
	int fd;
	char address[16];
	struct vfio_group *group;
	void *registers; /* BAR 0, guarded (bar.h) */
	size_t register_bytes;
	uint64_t config_offset, config_bytes;
	int request_fd; /* eventfd: the system wants the device back; -1: it cannot say */
	bool requested;
};

/* A device that vfio-pci has. It may read and write memory from now on. */
int vfio_device_open(struct vfio_device **device, const char *address, struct fail *fail);
/* In a thread of its own where `gone`: the system may take minutes. */
void vfio_device_close(struct vfio_device *device, bool gone);
/* Pulled out, or wanted back. */
bool vfio_device_removed(struct vfio_device *device);
/* 0 or -errno. DMA is allowed afterwards. */
int vfio_device_reset(struct vfio_device *device);
/* Whether it may read and write memory. */
int vfio_device_master(struct vfio_device *device, bool allowed);
uint16_t vfio_device_vendor(const struct vfio_device *device);

/* --- container.c ----------------------------------------------------------------------------- */

/* The group of a device, opened, with a container that maps all registered memory. */
int vfio_group_get(struct vfio_group **group, const char *address, struct fail *fail);
void vfio_group_put(struct vfio_group *group);
int vfio_group_fd(const struct vfio_group *group);

#endif
