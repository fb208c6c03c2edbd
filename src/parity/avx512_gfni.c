/* SPDX-License-Identifier: Apache-2.0 */

/* GFNI kernel in AVX-512 registers: a vector is a cache line, and 24 of them hold the sums. */
#ifndef PARITY_SIMDE
#include <immintrin.h>
#endif
#include <stdbool.h>
#include <stdint.h>

#include "field.h"

#define KERNEL(name) avx512_gfni_##name

enum { STEP_LINES = 8 };

typedef __m512i vector;
typedef __m512i multiplier;

static inline vector vector_zero(void)
{
	return _mm512_setzero_si512();
}

static inline vector vector_load(const uint8_t *from)
{
	return *(const volatile vector *)from;
}

static inline vector vector_load_any(const uint8_t *from)
{
	typedef vector unaligned __attribute__((aligned(1)));

	return *(const volatile unaligned *)from;
}

static inline void vector_store(uint8_t *to, vector v)
{
	_mm512_store_si512(to, v);
}

static inline vector vector_xor(vector a, vector b)
{
	return _mm512_xor_si512(a, b);
}

static inline vector vector_xor3(vector a, vector b, vector c)
{
	enum { XOR_OF_THREE = 0x96 }; /* truth table: the index's bits are odd in number */

	return _mm512_ternarylogic_epi64(a, b, c, XOR_OF_THREE);
}

static inline vector vector_or(vector a, vector b)
{
	return _mm512_or_si512(a, b);
}

static inline bool vector_is_zero(vector v)
{
	return _mm512_test_epi64_mask(v, v) == 0;
}

static inline multiplier multiplier_of(uint8_t coefficient)
{
	return _mm512_set1_epi64((long long)field_matrix[coefficient]);
}

static inline vector vector_multiply(multiplier by, vector v)
{
	return _mm512_gf2p8affine_epi64_epi8(v, by, 0);
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
