/* SPDX-License-Identifier: Apache-2.0 */
/* What /sys knows of a PCI device. Control threads. */
#ifndef DRIVERS_VFIO_SYSFS_H
#define DRIVERS_VFIO_SYSFS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/fail.h"

enum { VFIO_PATH_BYTES = 512, VFIO_NAME_BYTES = 64 };

/* "SYS/bus/pci/devices/ADDRESS/name"; name may be "". */
void vfio_device_path(char path[VFIO_PATH_BYTES], const char *address, const char *name);
/* "DEV/vfio/name". */
void vfio_node_path(char path[VFIO_PATH_BYTES], const char *name);
/* The last part of where the device's link `name` leads ("driver", "iommu_group"); false: there is
 * no such link. */
bool vfio_link(const char *address, const char *name, char target[VFIO_NAME_BYTES]);

#endif
