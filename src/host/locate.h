/* SPDX-License-Identifier: Apache-2.0 */
/* The light of a drive's bay, where the host has one that the kernel can switch. */
#ifndef HOST_LOCATE_H
#define HOST_LOCATE_H

#include <stdbool.h>

#include "base/fail.h"

/* By PCI address (the bay's LED as NPEM, or the slot's attention light) and by block device name
 * (an SES enclosure); either may be "". -ENOTSUP with a sentence when there is no light. */
int host_locate(const char *address, const char *name, bool on, struct fail *fail);

#endif
