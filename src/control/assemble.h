/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays found on drives: grouping, starting, stopping. Control lock held. */
#ifndef CONTROL_ASSEMBLE_H
#define CONTROL_ASSEMBLE_H

#include "control/daemon.h"

/* Groups the drives that are there by the arrays that they say; decides what each array that does
 * not run is, and starts what may start by itself. */
void assemble(struct daemon *daemon);
/* Arrays whose wait is over start as they are. */
void assemble_overdue(struct daemon *daemon);

/* Starts an array that was found, with this host's id. 0 or -errno with a sentence. */
int assemble_start(
	struct daemon *daemon, struct array_entry *entry, bool accept_loss, struct fail *fail);
/* Ends controllers, volumes, its sweep, and the array; it is listed as stopped. `exported`: and
 * belongs to no host any more. */
void assemble_stop(struct daemon *daemon, struct array_entry *entry, bool exported);

const char *array_phase_name(enum array_phase phase);

#endif
