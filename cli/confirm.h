/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing that loses data happens before somebody has typed its name, or --yes. */
#ifndef CLI_CONFIRM_H
#define CLI_CONFIRM_H

#include "cli/command.h"

/* Says `warning` (a sentence), then asks for `name`, the name of the `what` ("array"), on a
 * terminal; elsewhere it takes --yes. -EPERM: not confirmed, nothing must be changed. */
int confirm_loss(struct cli *cli, const char *warning, const char *what, const char *name,
	struct fail *fail);

#endif
