/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every unit test includes first: cmocka, which wants four headers before it, and the switch
 * for deliberate faults: in a -Dmutants=true build, BRAID_MUTANT=name runs the test over that
 * fault, and the test should then fail.
 */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mutant.h"

/* Ends the test with a sentence when the condition does not hold; as fast as an if. */
#define expect(condition, ...)                         \
	do {                                           \
		if (__builtin_expect(!(condition), 0)) \
			fail_msg(__VA_ARGS__);         \
	} while (0)

/* First in main(): obeys BRAID_MUTANT. */
static inline void unit_start(void)
{
	const char *name = getenv("BRAID_MUTANT");

	if (!name)
		return;
#ifdef BRAID_MUTANTS
	for (enum mutant i = 0; i < MUTANT_COUNT; i++)
		if (!strcmp(mutant_name(i), name)) {
			mutant_active = i;
			return;
		}
#endif
	fprintf(stderr, "this build has no mutant '%s'\n", name);
	exit(99); /* meson: an error, not the failure that was hoped for */
}

#endif
