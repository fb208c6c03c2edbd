/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/confirm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int confirm_loss(
	struct cli *cli, const char *warning, const char *what, const char *name, struct fail *fail)
{
	char line[128];

	if (cli->yes || cli->dry_run)
		return 0;
	fflush(stdout);
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return fail_set(fail, EPERM,
			"%s Nothing was changed: without a terminal this needs --yes", warning);
	fprintf(stderr, "%s Type the name of the %s to go on: ", warning, what);
	if (!fgets(line, sizeof(line), stdin)) {
		fputc('\n', stderr);
		line[0] = '\0';
	}
	line[strcspn(line, "\n")] = '\0';
	if (strcmp(line, name))
		return fail_set(
			fail, EPERM, "'%.64s' is not '%s': nothing was changed", line, name);
	return 0;
}
