/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who uses the disks of this host: mounts, swap, what is stacked on them (LVM, md, dm-crypt,
 * multipath, bcache), other drivers, and processes that have them open. What is written on a disk
 * that nobody uses is another question: host/signature.h. Reads only. Control threads.
 */
#ifndef HOST_USE_H
#define HOST_USE_H

#include "host/disk.h"

/* Fills disk->use. */
void host_uses(struct host_disk *disks, size_t count);
/* The same for one block device, which may be a partition, by the kernel's name. */
void host_use_of(const char *name, char *use);
/* For a file: swap, or a loop device. */
void host_use_of_file(const char *path, char *use);

#endif
