/* SPDX-License-Identifier: Apache-2.0 */
/* What the log pages of NVMe drives say, as fields. Pure. */
#ifndef CONTROL_DRIVE_LOG_H
#define CONTROL_DRIVE_LOG_H

#include <jansson.h>

#include "drivers/drivers.h"

/* New reference to an object with the page's fields; NULL: a page that braid does not know, or less
 * than all of it. */
json_t *drive_log_decode(unsigned page, const void *log, size_t bytes);

json_t *drive_health_json(const struct nvme_smart *smart);
/* "short"; "passed"; "block". Of numbers as the drive has them. */
const char *drive_self_test_name(unsigned kind);
const char *drive_self_test_text(unsigned result);
const char *drive_sanitize_name(unsigned action);

#endif
