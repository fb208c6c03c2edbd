/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C by folding in AVX2 registers: for CPUs with VPCLMULQDQ and without AVX-512. */
#ifdef __x86_64__
#ifndef CRC32C_SIMDE
#include <immintrin.h>
#endif
#include <stdint.h>

#include "base/crc32c_kernel.h"

#ifndef CRC32C_TARGET
#define CRC32C_TARGET __attribute__((target("avx2,vpclmulqdq,pclmul,sse4.2")))
#endif
#define VECTOR_INLINE static inline __attribute__((always_inline)) CRC32C_TARGET
#define FOLD_KERNEL crc32c_fold256
#define FOLD_COPY crc32c_fold256_copy

enum { FOLD_VECTORS = 3 };

typedef __m256i vector;

VECTOR_INLINE vector vector_load(const uint8_t *from)
{
	return _mm256_loadu_si256((const __m256i *)from);
}

VECTOR_INLINE vector vector_load_once(const uint8_t *from)
{
	typedef vector unaligned __attribute__((aligned(1)));

	return *(const volatile unaligned *)from;
}

VECTOR_INLINE void vector_store(uint8_t *to, vector v)
{
	typedef vector unaligned __attribute__((aligned(1)));

	*(unaligned *)to = v;
}

VECTOR_INLINE vector vector_of(uint32_t low)
{
	return _mm256_set_epi64x(0, 0, 0, low);
}

VECTOR_INLINE vector vector_powers(uint32_t first, uint32_t second)
{
	return _mm256_set_epi64x(second, first, second, first);
}

VECTOR_INLINE vector vector_xor(vector a, vector b)
{
	return _mm256_xor_si256(a, b);
}

VECTOR_INLINE vector vector_fold(vector v, vector by, vector next)
{
	return _mm256_xor_si256(_mm256_clmulepi64_epi128(v, by, 0x00),
		_mm256_xor_si256(_mm256_clmulepi64_epi128(v, by, 0x11), next));
}

/* The first lane has 16 bytes to go. */
VECTOR_INLINE __m128i vector_join(vector v)
{
	__m128i first = _mm256_castsi256_si128(v);
	__m128i by = _mm_set_epi64x(crc32c_over_words[2], crc32c_over_words[3]);
	__m128i folded = _mm_xor_si128(
		_mm_clmulepi64_si128(first, by, 0x00), _mm_clmulepi64_si128(first, by, 0x11));

	return _mm_xor_si128(folded, _mm256_extracti128_si256(v, 1));
}

#include "base/crc32c_fold_body.h"
#endif
