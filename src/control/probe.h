/* SPDX-License-Identifier: Apache-2.0 */
/* The superblock of a file or block device that is not attached: read with pread, never written.
 * For braidd, which looks for members, and for `braid array examine`. Any thread. */
#ifndef CONTROL_PROBE_H
#define CONTROL_PROBE_H

#include <stdint.h>
#include <sys/stat.h>

#include "base/fail.h"
#include "raid/superblock.h"

/* The newest valid one, of layout_standard. 0 or -errno as superblock_read(); *status and *bytes
 * (may be NULL) are filled when the file could be opened. */
int probe_superblock(const char *path, struct superblock *superblock, struct stat *status,
	uint64_t *bytes, struct fail *fail);

#endif
