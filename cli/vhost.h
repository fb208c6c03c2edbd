/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_VHOST_H
#define CLI_VHOST_H

#include "cli/command.h"

/* The controller as the daemon lists it. New reference. -ENOENT: there is none. */
int vhost_find(struct cli *cli, const char *name, json_t **export, struct fail *fail);

#endif
