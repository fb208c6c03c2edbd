/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The crc32 instruction takes eight bytes in three cycles but can start one in every cycle, so
 * three
 * streams of LANE_BYTES run side by side. To join them, the state of an earlier stream is moved
 * over the bytes of the later ones: that is a linear map on 32 bits, kept as four tables of 256.
 */
#include "base/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

enum { LANE_BYTES = 1344, POLYNOMIAL = 0x82f63b78 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint32_t byte_table[256];
static uint32_t lane_table[4][256]; /* LANE_BYTES of zeros later */
static bool has_instruction;

static uint32_t over_zeros(uint32_t crc, size_t count)
{
	while (count--)
		crc = byte_table[crc & 0xff] ^ crc >> 8;
	return crc;
}

static void make_tables(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t value = i;

		for (int bit = 0; bit < 8; bit++)
			value = value & 1 ? value >> 1 ^ (uint32_t)POLYNOMIAL : value >> 1;
		byte_table[i] = value;
	}
	for (unsigned byte = 0; byte < 4; byte++) {
		uint32_t image[8];

		for (unsigned bit = 0; bit < 8; bit++)
			image[bit] = over_zeros(1u << (8 * byte + bit), LANE_BYTES);
		for (unsigned i = 0; i < 256; i++)
			for (unsigned bit = 0; bit < 8; bit++)
				lane_table[byte][i] ^= i >> bit & 1 ? image[bit] : 0;
	}
#ifdef __x86_64__
	__builtin_cpu_init();
	has_instruction = __builtin_cpu_supports("sse4.2");
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
static uint32_t over_lane(uint32_t crc)
{
	return lane_table[0][crc & 0xff] ^ lane_table[1][crc >> 8 & 0xff] ^
	       lane_table[2][crc >> 16 & 0xff] ^ lane_table[3][crc >> 24];
}

static uint64_t word_at(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return word;
}

__attribute__((target("sse4.2"))) static uint32_t instruction_crc(
	uint32_t crc, const uint8_t *at, size_t count)
{
	for (; count >= 3 * LANE_BYTES; at += 3 * LANE_BYTES, count -= 3 * LANE_BYTES) {
		uint64_t a = crc, b = 0, c = 0;

		for (size_t i = 0; i < LANE_BYTES; i += 8) {
			a = __builtin_ia32_crc32di(a, word_at(at + i));
			b = __builtin_ia32_crc32di(b, word_at(at + LANE_BYTES + i));
			c = __builtin_ia32_crc32di(c, word_at(at + 2 * LANE_BYTES + i));
		}
		crc = over_lane((uint32_t)a) ^ (uint32_t)b;
		crc = over_lane(crc) ^ (uint32_t)c;
	}
	for (; count >= 8; at += 8, count -= 8)
		crc = (uint32_t)__builtin_ia32_crc32di(crc, word_at(at));
	while (count--)
		crc = __builtin_ia32_crc32qi(crc, *at++);
	return crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *bytes, size_t count)
{
	pthread_once(&once, make_tables);
#ifdef __x86_64__
	if (has_instruction)
		return ~instruction_crc(~crc, bytes, count);
#endif
	return ~table_crc(~crc, bytes, count);
}
