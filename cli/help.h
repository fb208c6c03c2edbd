/* SPDX-License-Identifier: Apache-2.0 */
/* --help, made from the command table. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "cli/command.h"

enum { HELP_USAGE_BYTES = 256 };

/* "braid array show NAME" into text of HELP_USAGE_BYTES. Returns text. */
char *help_usage(const struct command *command, char *text);

void help_all(void);
/* The verbs of one object; false: there is no such object. */
bool help_object(const char *object);
void help_command(const struct command *command);
/* "list, show, create" into text. Returns text. */
char *help_verbs(const char *object, char *text, size_t bytes);

#endif
