/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmark/crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

/* The polynomial 0x1edc6f41, bits reversed. */
#define POLYNOMIAL 0x82f63b78u

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint32_t table[256]; /* written once, under `once` */

static void fill_table(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;

		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
		table[byte] = crc;
	}
}

uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t count)
{
	const uint8_t *byte = bytes;

	pthread_once(&once, fill_table);
	crc = ~crc;
	for (size_t i = 0; i < count; i++)
		crc = table[(crc ^ byte[i]) & 0xff] ^ crc >> 8;
	return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(
	uint32_t crc, const void *bytes, size_t count)
{
	const uint8_t *byte = bytes;
	uint64_t state = ~crc;

	for (; count >= 8; count -= 8, byte += 8) {
		uint64_t word;

		memcpy(&word, byte, sizeof(word));
		state = __builtin_ia32_crc32di(state, word);
	}
	for (; count; count--, byte++)
		state = __builtin_ia32_crc32qi((uint32_t)state, *byte);
	return ~(uint32_t)state;
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t count)
{
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_sse42(crc, bytes, count);
	return crc32c_portable(crc, bytes, count);
}

#else

uint32_t crc32c(uint32_t crc, const void *bytes, size_t count)
{
	return crc32c_portable(crc, bytes, count);
}

#endif
