/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an NVMe controller hangs on: PCIe through VFIO, or a mock. Memory for it is memory/dma.h's.
 *
 * Registers are read and written with the functions below, from any thread. A bus whose device has
 * gone answers all ones and swallows writes; it never ends the process (drivers/vfio/bar.h).
 */
#ifndef DRIVERS_NVME_BUS_H
#define DRIVERS_NVME_BUS_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fail.h"

struct nvme_bus {
	const struct nvme_bus_ops *ops;
	char address[16]; /* for people, and of the PCI device */
	uint16_t vendor;
	volatile void *registers;
	size_t register_bytes;
	int event_fd; /* readable when removed() may have changed; -1: none */
};

/* Control threads. */
struct nvme_bus_ops {
	/* The device is not there any more, or the system wants it back. */
	bool (*removed)(struct nvme_bus *bus);
	/* Resets the function: afterwards it does no DMA of before. 0 or -errno. */
	int (*reset)(struct nvme_bus *bus);
	/* Takes away its right to DMA, whatever state it is in. True: it does none from now on. */
	bool (*silence)(struct nvme_bus *bus);
	uint64_t (*now_ns)(struct nvme_bus *bus);
	/* Lets a short time pass, while the device works. */
	void (*pause)(struct nvme_bus *bus);
	/* May return before the system has let go of a device that is gone. */
	void (*destroy)(struct nvme_bus *bus);
};

static inline uint32_t nvme_read32(const struct nvme_bus *bus, size_t offset)
{
	return le32toh(
		*(const volatile uint32_t *)((const volatile char *)bus->registers + offset));
}

static inline void nvme_write32(struct nvme_bus *bus, size_t offset, uint32_t value)
{
	*(volatile uint32_t *)((volatile char *)bus->registers + offset) = htole32(value);
}

/* As two halves, which every controller takes (base 3.1.1). */
static inline uint64_t nvme_read64(const struct nvme_bus *bus, size_t offset)
{
	uint64_t low = nvme_read32(bus, offset);

	return low | (uint64_t)nvme_read32(bus, offset + 4) << 32;
}

static inline void nvme_write64(struct nvme_bus *bus, size_t offset, uint64_t value)
{
	nvme_write32(bus, offset, (uint32_t)value);
	nvme_write32(bus, offset + 4, (uint32_t)(value >> 32));
}

/* What we wrote into memory is there before a doorbell says so. */
static inline void nvme_before_doorbell(void)
{
#if defined(__aarch64__)
	__asm__ volatile("dmb oshst" ::: "memory");
#else
	__atomic_thread_fence(__ATOMIC_RELEASE); /* x86: stores to a device keep their order */
#endif
}

/* What the device wrote behind a phase bit is read after the phase bit. */
static inline void nvme_after_phase(void)
{
#if defined(__aarch64__)
	__asm__ volatile("dmb oshld" ::: "memory");
#else
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
}

/* The device with that PCI address, taken by vfio-pci already. */
int nvme_bus_vfio(struct nvme_bus **bus, const char *address, struct fail *fail);

#endif
