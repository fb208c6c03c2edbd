/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done to NVMe drives as things, in several files: drive_care (health, format, locate),
 * drive_log, drive_firmware, drive_job (sanitize, self-test). Control lock held.
 */
#ifndef CONTROL_CARE_H
#define CONTROL_CARE_H

#include <jansson.h>

#include "control/daemon.h"
#include "control/nvmes.h"

/* The NVMe drive that the parameters name, which is there. NULL with a sentence. */
struct drive *care_drive(struct daemon *daemon, const json_t *params, struct fail *fail);

/* Whether its whole controller may be erased: nobody uses a drive of it. */
int care_check_unused(struct daemon *daemon, const struct drive *drive, struct fail *fail);
/* All drives of a controller that nobody uses are `user`'s, until care_release(). */
void care_claim(struct daemon *daemon, const struct nvme_entry *entry, const char *user);
void care_release(struct daemon *daemon, const struct nvme_entry *entry, const char *user);

#endif
