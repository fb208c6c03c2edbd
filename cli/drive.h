/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of braid drive share. */
#ifndef CLI_DRIVE_H
#define CLI_DRIVE_H

#include "cli/table.h"

enum { HEALTH_COLUMNS = 22 };

/* The health of an NVMe drive, as drive.smart and its log page have it. */
extern const struct column health_columns[HEALTH_COLUMNS];

#endif
