/* SPDX-License-Identifier: Apache-2.0 */

/*
 * AVX2 kernel: multiplies by looking nibbles up with byte shuffles.
 *
 * Doubling: a shuffle gives zero where the top bit of the index byte is set, so looking v up in a
 * table full of 0x1d gives 0x1d exactly where the reduction is NOT due: one instruction instead of
 * a compare and a mask. That is off by 0x1d in every byte, which the bias b takes up: sums are kept
 * as v ^ b with b ^ 2b = 0x1d and the top bit of b clear, and then
 * 2(v ^ b) ^ lookup(v ^ b) = (2 * v) ^ 2b ^ 0x1d = (2 * v) ^ b.
 */
#include <assert.h>
#include <stdint.h>

#include "avx2_vector.h"
#include "field.h"

#define KERNEL(name) avx2_##name

enum { STEP_LINES = 2 };

enum { BIAS = 0x0b };
static_assert((BIAS ^ BIAS << 1) == FIELD_REDUCTION, "doubling keeps the bias");

static inline vector vector_bias(vector v)
{
	return _mm256_xor_si256(v, _mm256_set1_epi8(BIAS));
}

static inline vector vector_double(vector v)
{
	vector not_due = _mm256_shuffle_epi8(_mm256_set1_epi8(FIELD_REDUCTION), v);

	return _mm256_xor_si256(_mm256_add_epi8(v, v), not_due);
}

static inline vector vector_quadruple(vector v)
{
	return vector_double(vector_double(v));
}

typedef struct {
	__m256i low;
	__m256i high;
} multiplier;

static inline multiplier multiplier_of(uint8_t coefficient)
{
	const struct field_nibbles *nibbles = &field_nibbles[coefficient];

	return (multiplier){
		_mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)nibbles->low)),
		_mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)nibbles->high)),
	};
}

static inline vector vector_multiply(multiplier by, vector v)
{
	__m256i nibble = _mm256_set1_epi8(15);
	__m256i low = _mm256_and_si256(v, nibble);
	__m256i high = _mm256_and_si256(_mm256_srli_epi64(v, 4), nibble);

	return _mm256_xor_si256(
		_mm256_shuffle_epi8(by.low, low), _mm256_shuffle_epi8(by.high, high));
}

#include "kernel_body.h"
