/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The notes of an array: its volumes and controllers, as JSON on its members.
 *
 *	{"version":1, "volumes":[{"name","first_block","blocks"}],
 *	 "exports":[{"name","volume","cores","socket","read_only","serial","when_broken"}]}
 *
 * Every change of volumes and controllers writes them before it is answered; a change that cannot
 * be written is undone. Control lock held.
 */
#ifndef CONTROL_NOTES_H
#define CONTROL_NOTES_H

#include <jansson.h>

#include "control/daemon.h"

/* New reference. */
json_t *notes_json(struct daemon *daemon, const struct array_entry *entry);

/* Writes what the daemon knows now. 0 or -errno with a sentence: then nothing was written, and the
 * caller undoes its change. */
int notes_write(struct daemon *daemon, struct array_entry *entry, struct fail *fail);

/* Brings volumes and controllers of an array that has just been started back. What cannot be had is
 * said in the log, and kept. */
void notes_restore(struct daemon *daemon, struct array_entry *entry);

#endif
