/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe over PCIe, through VFIO. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/list.h"
#include "drivers/nvme/bus.h"
#include "drivers/vfio/device.h"

enum { PAUSE_US = 50 };

struct pcie {
	struct nvme_bus bus;
	struct vfio_device *device;
};

static struct pcie *pcie_of(struct nvme_bus *bus)
{
	return container_of(bus, struct pcie, bus);
}

static bool pcie_removed(struct nvme_bus *bus)
{
	return vfio_device_removed(pcie_of(bus)->device);
}

static int pcie_reset(struct nvme_bus *bus)
{
	return vfio_device_reset(pcie_of(bus)->device);
}

static bool pcie_silence(struct nvme_bus *bus)
{
	return !vfio_device_master(pcie_of(bus)->device, false);
}

static uint64_t pcie_now_ns(struct nvme_bus *bus)
{
	struct timespec now;

	(void)bus;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void pcie_pause(struct nvme_bus *bus)
{
	(void)bus;
	usleep(PAUSE_US);
}

static void pcie_destroy(struct nvme_bus *bus)
{
	struct pcie *pcie = pcie_of(bus);

	vfio_device_close(pcie->device,
		vfio_device_removed(pcie->device) || vfio_device_vendor(pcie->device) == 0xffff);
	free(pcie);
}

static const struct nvme_bus_ops pcie_ops = {
	.removed = pcie_removed,
	.reset = pcie_reset,
	.silence = pcie_silence,
	.now_ns = pcie_now_ns,
	.pause = pcie_pause,
	.destroy = pcie_destroy,
};

int nvme_bus_vfio(struct nvme_bus **bus, const char *address, struct fail *fail)
{
	struct pcie *pcie = calloc(1, sizeof(*pcie));
	int error;

	if (!pcie)
		return fail_set(fail, ENOMEM, "no memory for a drive");
	error = vfio_device_open(&pcie->device, address, fail);
	if (error) {
		free(pcie);
		return error;
	}
	pcie->bus = (struct nvme_bus){.ops = &pcie_ops,
		.vendor = vfio_device_vendor(pcie->device),
		.registers = pcie->device->registers,
		.register_bytes = pcie->device->register_bytes,
		.event_fd = pcie->device->request_fd};
	snprintf(pcie->bus.address, sizeof(pcie->bus.address), "%s", address);
	*bus = &pcie->bus;
	return 0;
}
