/* SPDX-License-Identifier: Apache-2.0 */

/* What the two kernels in AVX2 registers have in common: a vector is half a cache line. */
#ifndef BRAID_PARITY_AVX2_VECTOR_H
#define BRAID_PARITY_AVX2_VECTOR_H

#ifndef PARITY_SIMDE
#include <immintrin.h>
#endif
#include <stdbool.h>
#include <stdint.h>

typedef __m256i vector;

static inline vector vector_zero(void)
{
	return _mm256_setzero_si256();
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
	_mm256_store_si256((__m256i *)to, v);
}

static inline vector vector_xor(vector a, vector b)
{
	return _mm256_xor_si256(a, b);
}

static inline vector vector_xor3(vector a, vector b, vector c)
{
	return _mm256_xor_si256(_mm256_xor_si256(a, b), c);
}

static inline vector vector_or(vector a, vector b)
{
	return _mm256_or_si256(a, b);
}

static inline bool vector_is_zero(vector v)
{
	return _mm256_testz_si256(v, v);
}

#endif
