/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C by the crc32 instruction, and over zeros by one carry-less multiplication: what the
 * kernels for x86 have in common. CRC32C_TARGET is the attribute that lets a function use the
 * instructions; who needs more of them defines it before this.
 */
#ifndef BASE_CRC32C_WORDS_H
#define BASE_CRC32C_WORDS_H

#ifndef CRC32C_SIMDE
#include <immintrin.h>
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/crc32c_kernel.h"

#ifndef CRC32C_TARGET
#define CRC32C_TARGET __attribute__((target("sse4.2,pclmul")))
#endif

#define CRC32C_INLINE static inline __attribute__((always_inline)) CRC32C_TARGET

/* Before a loop over lanes or vectors: it must vanish, so that they live in registers. */
#ifdef __clang__
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif

/* Bytes to sum and, where `copied` (a constant), to write to `to` as they were read: once. */
struct span {
	const uint8_t *at;
	uint8_t *to;
	bool copied;
};

CRC32C_INLINE struct span span_from(struct span span, size_t bytes)
{
	span.at += bytes;
	if (span.copied)
		span.to += bytes;
	return span;
}

CRC32C_INLINE uint64_t span_word(struct span span, size_t offset)
{
	typedef uint64_t unaligned __attribute__((aligned(1)));
	const unaligned *from = (const unaligned *)(span.at + offset);
	uint64_t word;

	if (!span.copied)
		return *from;
	word = *(const volatile unaligned *)from;
	*(unaligned *)(span.to + offset) = word;
	return word;
}

CRC32C_INLINE uint8_t span_byte(struct span span)
{
	uint8_t byte = *(const volatile uint8_t *)span.at;

	if (span.copied)
		*span.to = byte;
	return byte;
}

/* words: 1 .. CRC32C_WORDS_MAX. */
CRC32C_INLINE uint32_t over_zeros(uint32_t crc, size_t words)
{
	__m128i product = _mm_clmulepi64_si128(
		_mm_cvtsi32_si128((int)crc), _mm_cvtsi32_si128((int)crc32c_over_words[words]), 0);

	return (uint32_t)_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

CRC32C_INLINE uint32_t by_words(uint32_t crc, struct span span, size_t count)
{
	for (; count >= CRC32C_WORD_BYTES; count -= CRC32C_WORD_BYTES) {
		crc = (uint32_t)_mm_crc32_u64(crc, span_word(span, 0));
		span = span_from(span, CRC32C_WORD_BYTES);
	}
	for (; count; count--) {
		crc = _mm_crc32_u8(crc, span_byte(span));
		span = span_from(span, 1);
	}
	return crc;
}

/*
 * The instruction takes eight bytes in three cycles but can start one in every cycle, so three
 * lanes of consecutive bytes, of equal length, run side by side.
 */
enum { LANES = 3 };

struct lanes {
	uint64_t crc[LANES];
	struct span span[LANES];
};

CRC32C_INLINE void lanes_start(struct lanes *lanes, uint32_t crc, struct span span, size_t bytes)
{
	UNROLLED
	for (unsigned i = 0; i < LANES; i++) {
		lanes->crc[i] = i ? 0 : crc;
		lanes->span[i] = span_from(span, i * bytes);
	}
}

CRC32C_INLINE void lanes_step(struct lanes *lanes, size_t offset)
{
	UNROLLED
	for (unsigned i = 0; i < LANES; i++)
		lanes->crc[i] = _mm_crc32_u64(lanes->crc[i], span_word(lanes->span[i], offset));
}

/* The state behind the last lane; words: of each. */
CRC32C_INLINE uint32_t lanes_join(const struct lanes *lanes, size_t words)
{
	return over_zeros((uint32_t)lanes->crc[0], 2 * words) ^
	       over_zeros((uint32_t)lanes->crc[1], words) ^ (uint32_t)lanes->crc[2];
}

#endif
