/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of the state file, and its two generations in a folder. */
#ifndef CONTROL_STATE_FILE_H
#define CONTROL_STATE_FILE_H

#include <jansson.h>
#include <stdbool.h>

#include "base/fail.h"

/* The newest readable one; NULL: there is none. *damaged: state.json was there and could not be
 * used. `why` (FAIL_TEXT_BYTES) says what was wrong with it, "" if nothing. New reference. */
json_t *state_file_read(const char *dir, bool *damaged, char *why);

/* Writes state.json; what was there becomes state.json.previous if `keep` is set. */
int state_file_write(const char *dir, const json_t *json, bool keep, struct fail *fail);

#endif
