/* SPDX-License-Identifier: Apache-2.0 */

/*
 * GFNI kernel in AVX2 registers: a multiplication is one instruction, by the bit matrix of the
 * coefficient. (GF2P8MULB is of no use: its polynomial is AES's.)
 */
#include <stdint.h>

#include "avx2_vector.h"
#include "field.h"

#define KERNEL(name) avx2_gfni_##name

enum { STEP_LINES = 2 };

typedef __m256i multiplier;

static inline multiplier multiplier_of(uint8_t coefficient)
{
	return _mm256_set1_epi64x((long long)field_matrix[coefficient]);
}

static inline vector vector_multiply(multiplier by, vector v)
{
	return _mm256_gf2p8affine_epi64_epi8(v, by, 0);
}

static inline vector vector_bias(vector v)
{
	return v;
}

static inline vector vector_double(vector v)
{
	return vector_multiply(multiplier_of(2), v);
}

static inline vector vector_quadruple(vector v)
{
	return vector_multiply(multiplier_of(4), v);
}

#include "kernel_body.h"
