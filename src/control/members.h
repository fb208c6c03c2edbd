/* SPDX-License-Identifier: Apache-2.0 */
/* Drives into arrays that run, for the monitor and the methods. Control lock held. */
#ifndef CONTROL_MEMBERS_H
#define CONTROL_MEMBERS_H

#include "control/daemon.h"

/* Makes a free drive a spare of the array; what it held is lost. *row: where it is then. */
int member_add_spare(struct daemon *daemon, struct array_entry *entry, struct drive *drive,
	unsigned *row, struct fail *fail);

#endif
