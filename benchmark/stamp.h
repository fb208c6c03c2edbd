/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content that proves itself: a unit of a device says which unit it is, which writing of it, and
 * by whom; the rest follows from that, and a CRC covers all.
 *
 *	| magic | number | seed | generation | unit bytes | crc32c | 0 | pattern ...          |
 *	 0       8        16     24           28           32       36  40             unit_bytes
 *
 * So a read finds out without a table whether it got the right unit, intact; and with the
 * generation it remembers, whether it got the newest.
 */
#ifndef BENCH_STAMP_H
#define BENCH_STAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fail.h"

struct stamp {
	uint64_t seed;
	uint64_t number;     /* offset / unit_bytes */
	uint32_t generation; /* from 1; 0 in stamp_check(): any */
	uint32_t unit_bytes; /* a multiple of 8, at least 512 */
};

/* Fills unit_bytes at `unit`. */
void stamp_write(void *unit, const struct stamp *stamp);

/* True when the unit holds what stamp_write() made of `expected`. Otherwise says in fail what was
 * expected, what is there and where the first differing byte is; fail may be NULL. */
bool stamp_check(const void *unit, const struct stamp *expected, struct fail *fail);

#endif
