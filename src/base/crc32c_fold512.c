/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C by folding in AVX-512 registers. */
#ifdef __x86_64__
#ifndef CRC32C_SIMDE
#include <immintrin.h>
#endif
#include <stdint.h>

#include "base/crc32c_kernel.h"

#ifndef CRC32C_TARGET
#define CRC32C_TARGET __attribute__((target("avx512f,vpclmulqdq,pclmul,sse4.2")))
#endif
#define VECTOR_INLINE static inline __attribute__((always_inline)) CRC32C_TARGET
#define FOLD_KERNEL crc32c_fold512
#define FOLD_COPY crc32c_fold512_copy

enum { FOLD_VECTORS = 3 };

typedef __m512i vector;

VECTOR_INLINE vector vector_load(const uint8_t *from)
{
	return _mm512_loadu_si512(from);
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
	return _mm512_set_epi64(0, 0, 0, 0, 0, 0, 0, low);
}

VECTOR_INLINE vector vector_powers(uint32_t first, uint32_t second)
{
	return _mm512_set_epi64(second, first, second, first, second, first, second, first);
}

VECTOR_INLINE vector vector_xor(vector a, vector b)
{
	return _mm512_xor_si512(a, b);
}

VECTOR_INLINE vector vector_fold(vector v, vector by, vector next)
{
	enum { XOR_OF_THREE = 0x96 }; /* truth table: the index's bits are odd in number */

	return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(v, by, 0x00),
		_mm512_clmulepi64_epi128(v, by, 0x11), next, XOR_OF_THREE);
}

/* The lanes have 48, 32, 16 and no bytes to go. */
VECTOR_INLINE __m128i vector_join(vector v)
{
	const uint32_t *over = crc32c_over_words;
	vector by = _mm512_set_epi64(0, 0, over[2], over[3], over[4], over[5], over[6], over[7]);
	vector sum = vector_fold(v, by, _mm512_setzero_si512());
	__m256i last = _mm512_extracti64x4_epi64(v, 1);
	__m256i half =
		_mm256_xor_si256(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1));

	return _mm_xor_si128(_mm256_extracti128_si256(last, 1),
		_mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
}

#include "base/crc32c_fold_body.h"
#endif
