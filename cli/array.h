/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_ARRAY_H
#define CLI_ARRAY_H

#include "cli/command.h"

/* The table of an array's drives, if it has any yet. */
int array_print_members(const struct cli *cli, const json_t *array, struct fail *fail);

#endif
