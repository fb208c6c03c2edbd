/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes are named "db01" or "media6/db01". */
#ifndef CLI_VOLUME_NAME_H
#define CLI_VOLUME_NAME_H

#include "cli/command.h"

/* The plain name in what was typed. -ENOENT: it names an array that this volume is not in. */
int volume_plain_name(struct cli *cli, const char *typed, const char **name, struct fail *fail);

#endif
