/* SPDX-License-Identifier: Apache-2.0 */
/* Which QEMU is installed. */
#ifndef CLI_QEMU_H
#define CLI_QEMU_H

#include <stdbool.h>

#include "base/fail.h"

struct qemu_version {
	bool known; /* false: no QEMU was found */
	unsigned major, minor;
	char origin[160]; /* who said so */
};

/* Takes `said` ("9.2") when it is not NULL, else asks `path`, else the QEMU in $PATH. -EINVAL:
 * `said` is no version, or `path` does not run. */
int qemu_version_find(
	struct qemu_version *version, const char *path, const char *said, struct fail *fail);

/* QEMU 9.2 brought reconnect-ms= for socket chardevs; 10.2 took reconnect= away. */
bool qemu_has_reconnect_ms(const struct qemu_version *version);

#endif
