/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disks of this host: whole block devices that the kernel knows, and NVMe controllers for which
 * it has none, because another driver has them. Reads only. Control threads.
 */
#ifndef HOST_DISK_H
#define HOST_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/tree.h"

enum { HOST_ADDRESS_BYTES = 16, HOST_USE_BYTES = 256, HOST_DISKS_MAX = 1024 };

struct host_disk {
	char name[HOST_NAME_BYTES];	  /* nvme0n1, sda; "": the kernel has no block device */
	char address[HOST_ADDRESS_BYTES]; /* PCI, of NVMe drives: 0000:65:00.0; "" */
	char driver[HOST_NAME_BYTES];	  /* that has the PCI device: nvme, vfio-pci; "" */
	char controller[HOST_NAME_BYTES]; /* the kernel's name of it: nvme0; "" */
	char model[48], serial[48], firmware[16];
	char identity[128]; /* the namespace's, as the kernel has it: uuid., eui., nvme. */
	uint32_t nsid;	    /* 0: no NVMe */
	uint64_t bytes;	    /* 0: not known */
	uint32_t lba_bytes;
	int numa_node;			      /* -1: not known */
	char link[48];			      /* "16.0 GT/s PCIe x4"; "" */
	int celsius;			      /* INT_MIN: not known */
	char group[HOST_NAME_BYTES];	      /* IOMMU group; "" */
	char group_other[HOST_ADDRESS_BYTES]; /* another device in it, no bridge; "": none */
	char use[HOST_USE_BYTES];	      /* who uses it; "": nobody that we can see */
};

/* All of them, by name; to be freed. `use` is filled. NULL: no memory. */
struct host_disk *host_disks(size_t *count);

/* The one that is meant: a serial number, a PCI address, the same with "n1" behind it, or a path of
 * a block device. `from`: where to go on looking, 0 at first; count when there is no more. */
size_t host_disk_next(const struct host_disk *disks, size_t count, const char *typed, size_t from);

/* "0000:65:00.0", "65:00.0" or these with "n1", into address; nsid 0: not said. */
bool host_address_parse(const char *typed, char *address, uint32_t *nsid);

/* What the PCI device is when it is no NVMe controller, for a sentence; "": it is one. */
void host_not_nvme(const char *address, char *text, size_t bytes);

/* Everything of one PCI function: driver, group, link. For devices without a block device too. */
void host_disk_pci(struct host_disk *disk);

#endif
