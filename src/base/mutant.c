/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mutant.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name, *text;
} table[MUTANT_COUNT] = {[MUTANT_NONE] = {"none", "the code as it is"},
#define ROW(name, text) [MUTANT_##name] = {#name, text},
	MUTANT_TABLE(ROW)
#undef ROW
};

const char *mutant_name(enum mutant mutant)
{
	assert(mutant < MUTANT_COUNT);
	return table[mutant].name;
}

const char *mutant_text(enum mutant mutant)
{
	assert(mutant < MUTANT_COUNT);
	return table[mutant].text;
}

#ifdef BRAID_MUTANTS
enum mutant mutant_active;

bool mutant_take_environment(void)
{
	const char *wanted = getenv("BRAID_MUTANT");

	for (unsigned i = 0; wanted && i < MUTANT_COUNT; i++)
		if (!strcmp(table[i].name, wanted))
			mutant_active = (enum mutant)i;
	return !wanted || mutant_active != MUTANT_NONE;
}
#else
bool mutant_take_environment(void)
{
	return true;
}
#endif
