/* SPDX-License-Identifier: Apache-2.0 */
/* A set of CPU cores, written as "0x3" (a mask) or "8-11,14" (a list). */
#ifndef BASE_CPUMASK_H
#define BASE_CPUMASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fail.h"

enum { CPUMASK_CORES = 256, CPUMASK_TEXT_BYTES = 1024 };

struct cpumask {
	uint64_t words[CPUMASK_CORES / 64];
};

/* Reads either spelling. 0, or -EINVAL with a sentence. An empty set is refused. */
int cpumask_parse(struct cpumask *mask, const char *text, struct fail *fail);

/* Writes the list spelling, "8-11,14", into text of CPUMASK_TEXT_BYTES. Returns text. */
char *cpumask_print(const struct cpumask *mask, char *text);

void cpumask_add(struct cpumask *mask, unsigned core);
bool cpumask_has(const struct cpumask *mask, unsigned core);
unsigned cpumask_count(const struct cpumask *mask);

/* The first core at or above `from` in the set, or CPUMASK_CORES. */
unsigned cpumask_next(const struct cpumask *mask, unsigned from);

#endif
