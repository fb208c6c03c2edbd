/* SPDX-License-Identifier: Apache-2.0 */
/* Opening drives, and what they say that they are. Control lock held. */
#ifndef CONTROL_DRIVES_H
#define CONTROL_DRIVES_H

#include "control/daemon.h"

enum drive_opening {
	DRIVE_AGAIN,	 /* it is remembered, or was found: another name when its own is taken */
	DRIVE_NEW,	 /* a name that is taken is an error; nothing foreign may stand on it */
	DRIVE_NEW_WIPED, /* what foreign stands on it goes */
};

/* Attaches drive->source with drive->options, adds the layers, reads its superblock. Lets go of the
 * lock while a controller or a target is waited for; nobody frees the drive meanwhile. */
int drive_open(
	struct daemon *daemon, struct drive *drive, enum drive_opening how, struct fail *fail);
/* The same for a new drive, which is then on the daemon's list. */
int drive_add(struct daemon *daemon, const char *source, const struct drive_options *options,
	enum drive_opening how, struct drive **drive, struct fail *fail);
/* Makes what a drive says of itself a name that can be typed. */
void drive_plain_name(char *name);

/* Reads the superblock anew. */
void drive_identify(struct daemon *daemon, struct drive *drive);

/* Whether the drive may become part of something new: nobody uses it, it is no spare, and holds no
 * superblock, or `wipe` allows that. */
int drive_check_free(
	struct daemon *daemon, const struct drive *drive, bool wipe, struct fail *fail);
/* Makes it a drive without a superblock. */
int drive_wipe(struct daemon *daemon, struct drive *drive, struct fail *fail);

/* Takes the drives' identities from a running array; drives that it has let go are read anew. */
void drives_adopt(struct daemon *daemon, struct array_entry *entry);

/* Tries the remembered drives that are not there. True: one has come. `locked_is_news`: say so when
 * another process has one. Lets go of the lock as drive_open() does. */
bool drives_retry(struct daemon *daemon, bool locked_is_news);
/* Looks for missing members of arrays that cannot start elsewhere: beside the files that are known,
 * and on all block devices. Only reads. True: one was found and attached. */
bool drives_search(struct daemon *daemon);

#endif
