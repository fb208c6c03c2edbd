/* SPDX-License-Identifier: Apache-2.0 */
/* The command line, read by the rows of commands.c. */
#ifndef CLI_PARSE_H
#define CLI_PARSE_H

#include "cli/command.h"

/*
 * Fills cli from the arguments; they must outlive it. cli->command stays NULL when --help was asked
 * before a whole command; *object is then what came, or NULL. -EINVAL with a sentence.
 */
int parse_arguments(struct cli *cli, int argc, char **argv, const char **object, struct fail *fail);

#endif
