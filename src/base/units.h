/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes as people write and read them. Input: "128K", "1.8T" and "128KiB" count in 1024s as md,
 * LVM and ZFS do; "128KB" counts in 1000s. Output is in IEC units.
 */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdint.h>

#include "base/fail.h"

enum { UNITS_TEXT_BYTES = 32 };

/* A bare number counts in `bare_unit` bytes. 0, or -EINVAL with a sentence. */
int units_parse(uint64_t *bytes, const char *text, uint64_t bare_unit, struct fail *fail);

/* "55.9 TiB", exact sizes without a fraction, into text of UNITS_TEXT_BYTES. Returns text. */
char *units_print(uint64_t bytes, char *text);

/* A name for an array, a volume or a controller: 1 to 63 of [A-Za-z0-9._-], not starting with a
 * dot or a dash. 0, or -EINVAL with a sentence that begins with `what`. */
int name_check(const char *name, const char *what, struct fail *fail);

#endif
