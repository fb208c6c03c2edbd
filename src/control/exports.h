/* SPDX-License-Identifier: Apache-2.0 */
/* Controllers beyond what guests ask for: made again from an array's notes. Control lock held. */
#ifndef CONTROL_EXPORTS_H
#define CONTROL_EXPORTS_H

#include <jansson.h>

#include "control/daemon.h"

/* As the notes keep it. New reference. */
json_t *export_note(const struct export *export);

/* Makes a controller from such a note; when it cannot run it is there with its trouble. NULL: the
 * note makes no sense. Owners are not set. */
struct export *export_restore(
	struct daemon *daemon, struct array_entry *entry, const json_t *note, struct fail *fail);

#endif
