/* SPDX-License-Identifier: Apache-2.0 */

/* The kernels that are built a second time, against SIMDe (parity_simde.h), as a table. */
#ifndef BRAID_TESTS_PARITY_EMULATED_H
#define BRAID_TESTS_PARITY_EMULATED_H

#include <stdbool.h>

#include "parity/kernel.h"

bool emulated_avx2_gfni_pass(const struct parity_pass *pass);
void emulated_avx2_gfni_update(const struct parity_delta *delta);
bool emulated_avx512_gfni_pass(const struct parity_pass *pass);
void emulated_avx512_gfni_update(const struct parity_delta *delta);

static bool runs(void)
{
	return true;
}

/* clang-format off */
static const struct parity_kernel emulated[] = {
	{ "avx512-gfni (emulated)", runs, emulated_avx512_gfni_pass, emulated_avx512_gfni_update },
	{ "avx2-gfni (emulated)",   runs, emulated_avx2_gfni_pass,   emulated_avx2_gfni_update   },
};
/* clang-format on */

#endif
