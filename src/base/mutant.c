/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mutant.h"

#include <assert.h>

#ifdef BRAID_MUTANTS
enum mutant mutant_active;
#endif

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
