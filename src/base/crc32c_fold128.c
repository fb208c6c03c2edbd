/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C by folding in 16-byte registers: PCLMULQDQ, in the encoding of AVX. */
#ifdef __x86_64__
#ifndef CRC32C_SIMDE
#include <immintrin.h>
#endif
#include <stdint.h>

#include "base/crc32c_kernel.h"

#ifndef CRC32C_TARGET
#define CRC32C_TARGET __attribute__((target("avx,pclmul,sse4.2")))
#endif
#define VECTOR_INLINE static inline __attribute__((always_inline)) CRC32C_TARGET
#define FOLD_KERNEL crc32c_fold128
#define FOLD_COPY crc32c_fold128_copy

enum { FOLD_VECTORS = 4 };

typedef __m128i vector;

VECTOR_INLINE vector vector_load(const uint8_t *from)
{
	return _mm_loadu_si128((const __m128i *)from);
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
	return _mm_set_epi64x(0, low);
}

VECTOR_INLINE vector vector_powers(uint32_t first, uint32_t second)
{
	return _mm_set_epi64x(second, first);
}

VECTOR_INLINE vector vector_xor(vector a, vector b)
{
	return _mm_xor_si128(a, b);
}

VECTOR_INLINE vector vector_fold(vector v, vector by, vector next)
{
	return _mm_xor_si128(_mm_clmulepi64_si128(v, by, 0x00),
		_mm_xor_si128(_mm_clmulepi64_si128(v, by, 0x11), next));
}

VECTOR_INLINE __m128i vector_join(vector v)
{
	return v;
}

#include "base/crc32c_fold_body.h"
#endif
