/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk says that it holds, by libblkid: a file system, a partition table, a part of LVM, md
 * or ZFS. braid's own members have a partition table too; who asks knows them first. Reads only.
 */
#ifndef HOST_SIGNATURE_H
#define HOST_SIGNATURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fail.h"

enum {
	HOST_SIGNATURE_BYTES = 128,
	/* All signatures stand within so much of the beginning or of the end. */
	HOST_SIGNATURE_SPAN = 2 << 20,
};

/* What stands on the open file or block device into text (HOST_SIGNATURE_BYTES), "" for nothing.
 * lba_bytes: of the disk; partition tables depend on it; 0: ask the device. own_type: a GPT with
 * only partitions of that type is nothing; "": no partition table is anything. *in_use: it belongs
 * to a ZFS pool that is imported. 0 or -errno with a sentence. */
int host_signature(int fd, uint32_t lba_bytes, const char *own_type, char *text, bool *in_use,
	struct fail *fail);

#endif
