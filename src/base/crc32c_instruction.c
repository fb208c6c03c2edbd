/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C by the crc32 instruction alone: for CPUs whose carry-less multiplication is slow. */
#ifdef __x86_64__
#include "base/bits.h"
#include "base/crc32c_words.h"

enum {
	LANE_WORDS_MAX = CRC32C_WORDS_MAX / 2,
	LANE_WORDS_LEAST = 16, /* joining the lanes costs more than shorter ones gain */
	STEP_BYTES = LANES * CRC32C_WORD_BYTES,
};

CRC32C_INLINE uint32_t by_lanes(uint32_t crc, struct span span, size_t count)
{
	while (count >= LANE_WORDS_LEAST * STEP_BYTES) {
		size_t words = MIN(count / STEP_BYTES, (size_t)LANE_WORDS_MAX);
		struct lanes lanes;

		lanes_start(&lanes, crc, span, words * CRC32C_WORD_BYTES);
		for (size_t word = 0; word < words; word++)
			lanes_step(&lanes, word * CRC32C_WORD_BYTES);
		crc = lanes_join(&lanes, words);
		span = span_from(span, words * STEP_BYTES);
		count -= words * STEP_BYTES;
	}
	return by_words(crc, span, count);
}

CRC32C_TARGET uint32_t crc32c_instruction(uint32_t crc, const uint8_t *at, size_t count)
{
	return by_lanes(crc, (struct span){.at = at}, count);
}

CRC32C_TARGET uint32_t crc32c_instruction_copy(
	uint32_t crc, uint8_t *to, const uint8_t *from, size_t count)
{
	return by_lanes(crc, (struct span){.at = from, .to = to, .copied = true}, count);
}

CRC32C_TARGET uint32_t crc32c_instruction_zeros(uint32_t crc, size_t count)
{
	while (count >= CRC32C_WORD_BYTES) {
		size_t words = MIN(count / CRC32C_WORD_BYTES, (size_t)CRC32C_WORDS_MAX);

		crc = over_zeros(crc, words);
		count -= words * CRC32C_WORD_BYTES;
	}
	while (count--)
		crc = _mm_crc32_u8(crc, 0);
	return crc;
}
#endif
