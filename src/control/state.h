/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state file: what the daemon wants to find again that is not on the drives, and where the
 * drives were. A cache: losing it loses no array, no volume, no controller.
 *
 *	state.json		JSON, then a line "crc32c XXXXXXXX" over it
 *	state.json.previous	the one before
 *	lock			held by the daemon that uses the folder
 *
 * Written as state.json.tmp, synced, renamed; a file that cannot be written is said once and tried
 * again: the daemon runs on.
 */
#ifndef CONTROL_STATE_H
#define CONTROL_STATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/fail.h"

struct daemon;
struct array_entry;

enum { STATE_DIR_BYTES = 4000 };

struct state {
	char dir[STATE_DIR_BYTES]; /* "": nothing is kept */
	int lock_fd;
	bool changed; /* since the last save */
	bool damaged; /* state.json is not worth being kept as the previous one */
	bool complained;
	uint64_t failed_ns; /* when it could not be saved; 0: it could */
	json_t *arrays;	    /* what was loaded of arrays that have not been found yet */
};

/* Makes the folder, takes its lock, and reads the drives and arrays of before into the daemon; the
 * drives are not attached yet. A damaged file is said in the log and is no error. */
int state_load(struct daemon *daemon, const char *dir, struct fail *fail);
void state_close(struct daemon *daemon);

/* Something that is remembered has changed: it is written before the lock is given back. */
void state_changed(struct daemon *daemon);
/* Writes it if it has changed, or could not be written a while ago. */
void state_save(struct daemon *daemon);

/* What the file says of an array: NULL, or a borrowed object. */
const json_t *state_array(const struct daemon *daemon, const char *uuid);
/* Takes an array's settings (limits, pauses, a scrub that was asked for) from the file. */
void state_restore_settings(struct daemon *daemon, struct array_entry *entry);

#endif
