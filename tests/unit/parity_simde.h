/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Included ahead of a kernel's source (cc -include, -DPARITY_SIMDE) to build it a second time for
 * any CPU: SIMDe computes what the instructions would, and the kernel gets a name of its own.
 */
#ifndef BRAID_TESTS_PARITY_SIMDE_H
#define BRAID_TESTS_PARITY_SIMDE_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/gfni.h>

/* SIMDe 0.7.4 without SSE4.1 answers 1 when either half is zero (its simde_mm_testz_si128). */
static inline int emulated_mm256_testz_si256(simde__m256i a, simde__m256i b)
{
	simde__m256i_private bits = simde__m256i_to_private(simde_mm256_and_si256(a, b));

	return !(bits.u64[0] | bits.u64[1] | bits.u64[2] | bits.u64[3]);
}
#undef _mm256_testz_si256
#define _mm256_testz_si256 emulated_mm256_testz_si256

#define avx2_gfni_pass emulated_avx2_gfni_pass
#define avx2_gfni_update emulated_avx2_gfni_update
#define avx512_gfni_pass emulated_avx512_gfni_pass
#define avx512_gfni_update emulated_avx512_gfni_update

#endif
