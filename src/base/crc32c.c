/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The crc32 instruction takes eight bytes in three cycles but can start one in every cycle, so
 * three streams of LANE_BYTES run side by side. To join them, the state of an earlier stream is
 * moved over the bytes of the later ones, as if they were zeros: moving it over n bytes multiplies
 * it by x^8n modulo the polynomial. A carry-less multiplication does that, but for x^33, which the
 * crc32 instruction that reduces the product puts back.
 */
#include "base/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "base/bits.h"

enum { LANE_BYTES = 1344, POLYNOMIAL = 0x82f63b78, ZERO_UNIT = 64, ZERO_UNITS = 64 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint32_t byte_table[256];
static uint32_t lane_power[2];		/* x^(8n - 33), n: one lane, two lanes */
static uint32_t zero_power[ZERO_UNITS]; /* likewise, n: so many units of zeros */
static bool has_instructions;

/* Exponents and powers are reflected: the highest bit is x^0. */
static uint32_t power_of_x(uint32_t from, size_t exponent)
{
	while (exponent--)
		from = from & 1 ? from >> 1 ^ (uint32_t)POLYNOMIAL : from >> 1;
	return from;
}

static void make_tables(void)
{
	uint32_t one = UINT32_C(1) << 31;

	for (uint32_t i = 0; i < 256; i++)
		byte_table[i] = power_of_x(i, 8);
	for (unsigned i = 0; i < 2; i++)
		lane_power[i] = power_of_x(one, 8 * LANE_BYTES * (i + 1) - 33);
	for (unsigned i = 1; i < ZERO_UNITS; i++)
		zero_power[i] = power_of_x(one, 8 * ZERO_UNIT * i - 33);
#ifdef __x86_64__
	__builtin_cpu_init();
	has_instructions = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
#endif
}

static uint32_t table_crc(uint32_t crc, const uint8_t *at, size_t count)
{
	while (count--)
		crc = byte_table[(crc ^ *at++) & 0xff] ^ crc >> 8;
	return crc;
}

uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t count)
{
	pthread_once(&once, make_tables);
	return ~table_crc(~crc, bytes, count);
}

#ifdef __x86_64__
#define WITH_INSTRUCTIONS __attribute__((target("sse4.2,pclmul")))

WITH_INSTRUCTIONS static uint32_t over_zeros(uint32_t crc, uint32_t power)
{
	__m128i product =
		_mm_clmulepi64_si128(_mm_cvtsi32_si128((int)crc), _mm_cvtsi32_si128((int)power), 0);

	return (uint32_t)_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

static uint64_t word_at(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

WITH_INSTRUCTIONS static uint32_t instruction_crc(uint32_t crc, const uint8_t *at, size_t count)
{
	for (; count >= 3 * LANE_BYTES; at += 3 * LANE_BYTES, count -= 3 * LANE_BYTES) {
		uint64_t a = crc, b = 0, c = 0;

		for (size_t i = 0; i < LANE_BYTES; i += 8) {
			a = _mm_crc32_u64(a, word_at(at + i));
			b = _mm_crc32_u64(b, word_at(at + LANE_BYTES + i));
			c = _mm_crc32_u64(c, word_at(at + 2 * LANE_BYTES + i));
		}
		crc = over_zeros((uint32_t)a, lane_power[1]) ^
		      over_zeros((uint32_t)b, lane_power[0]) ^ (uint32_t)c;
	}
	for (; count >= 8; at += 8, count -= 8)
		crc = (uint32_t)_mm_crc32_u64(crc, word_at(at));
	while (count--)
		crc = _mm_crc32_u8(crc, *at++);
	return crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *bytes, size_t count)
{
	pthread_once(&once, make_tables);
#ifdef __x86_64__
	if (has_instructions)
		return ~instruction_crc(~crc, bytes, count);
#endif
	return ~table_crc(~crc, bytes, count);
}

uint32_t crc32c_zeros(uint32_t crc, size_t count)
{
	static const uint8_t zeros[ZERO_UNIT];

	pthread_once(&once, make_tables);
#ifdef __x86_64__
	while (has_instructions && count >= ZERO_UNIT) {
		size_t units = MIN(count / ZERO_UNIT, (size_t)ZERO_UNITS - 1);

		crc = ~over_zeros(~crc, zero_power[units]);
		count -= units * ZERO_UNIT;
	}
#endif
	for (; count; count -= MIN(count, sizeof(zeros)))
		crc = crc32c(crc, zeros, MIN(count, sizeof(zeros)));
	return crc;
}
