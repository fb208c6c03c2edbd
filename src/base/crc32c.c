/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which implementation of CRC32C serves: the table of all, what the CPU must have for each, the
 * test against the portable one, and the measurement. That runs once, in whoever is the first to
 * ask, and takes less than a millisecond.
 */
#include "base/crc32c.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/bits.h"
#include "base/crc32c_kernel.h"
#include "base/log.h"

enum {
	POLYNOMIAL = 0x82f63b78,
	TEST_BYTES = 4096,
	TEST_STEP = 149, /* between the lengths tested: they leave every kind of rest */
	TIMED_ROUNDS = 12,
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint32_t byte_table[256];
uint32_t crc32c_over_words[CRC32C_WORDS_MAX + 1];

static bool always(void)
{
	return true;
}

uint32_t crc32c_table(uint32_t crc, const uint8_t *at, size_t count)
{
	while (count--)
		crc = byte_table[(crc ^ *at++) & 0xff] ^ crc >> 8;
	return crc;
}

uint32_t crc32c_table_copy(uint32_t crc, uint8_t *to, const uint8_t *from, size_t count)
{
	memcpy(to, from, count);
	return crc32c_table(crc, to, count);
}

uint32_t crc32c_table_zeros(uint32_t crc, size_t count)
{
	while (count--)
		crc = byte_table[crc & 0xff] ^ crc >> 8;
	return crc;
}

#ifdef __x86_64__

/* __builtin_cpu_supports() also asks XGETBV whether the system saves the wide registers. */

static bool has_instruction(void)
{
	return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

static bool has_fold128(void)
{
	return has_instruction() && __builtin_cpu_supports("avx");
}

static bool has_fold256(void)
{
	return has_fold128() && __builtin_cpu_supports("avx2") &&
	       __builtin_cpu_supports("vpclmulqdq");
}

static bool has_fold512(void)
{
	return has_fold256() && __builtin_cpu_supports("avx512f");
}

#endif

/* clang-format off */
static const struct crc32c_kernel table[] = {
#ifdef __x86_64__
	{ "fold512", has_fold512, crc32c_fold512, crc32c_fold512_copy, crc32c_instruction_zeros },
	{ "fold256", has_fold256, crc32c_fold256, crc32c_fold256_copy, crc32c_instruction_zeros },
	{ "fold128", has_fold128, crc32c_fold128, crc32c_fold128_copy, crc32c_instruction_zeros },
	{ "instruction", has_instruction,
	  crc32c_instruction, crc32c_instruction_copy, crc32c_instruction_zeros },
#endif
	{ "table", always, crc32c_table, crc32c_table_copy, crc32c_table_zeros },
};
/* clang-format on */

static const struct crc32c_kernel *in_use;

/* Powers of x are reflected: the highest bit is x^0. */
static uint32_t times_power_of_x(uint32_t from, unsigned exponent)
{
	while (exponent--)
		from = from & 1 ? from >> 1 ^ (uint32_t)POLYNOMIAL : from >> 1;
	return from;
}

static void make_tables(void)
{
	uint32_t *over = crc32c_over_words;

	for (uint32_t i = 0; i < ARRAY_SIZE(byte_table); i++)
		byte_table[i] = times_power_of_x(i, 8);
	over[1] = times_power_of_x(UINT32_C(1) << 31, 8 * CRC32C_WORD_BYTES - 33);
	for (unsigned i = 2; i <= CRC32C_WORDS_MAX; i++)
		over[i] = times_power_of_x(over[i - 1], 8 * CRC32C_WORD_BYTES);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool kernel_right(
	const struct crc32c_kernel *kernel, const struct crc32c_kernel *trust, const uint8_t *bytes)
{
	uint8_t copy[TEST_BYTES] = {0};

	for (size_t count = 0; count <= TEST_BYTES; count += TEST_STEP) {
		const uint8_t *at = bytes + (TEST_BYTES - count) / 2;
		uint32_t crc = ~(uint32_t)count, right = trust->crc(crc, at, count);

		if (kernel->crc(crc, at, count) != right ||
			kernel->copy(crc, copy, at, count) != right || memcmp(copy, at, count) ||
			kernel->zeros(crc, count) != trust->zeros(crc, count))
			return false;
	}
	return true;
}

/* The best of several rounds, which take turns so that a disturbance hits all alike. */
static const struct crc32c_kernel *time_all(
	const struct crc32c_kernel *const *kernels, size_t count, const uint8_t *bytes)
{
	const struct crc32c_kernel *fastest = kernels[0];
	uint64_t best_ns = UINT64_MAX;

	for (unsigned round = 0; round < TIMED_ROUNDS; round++) {
		for (size_t i = 0; i < count; i++) {
			uint64_t start = now_ns(), ns;

			kernels[i]->crc(0, bytes, TEST_BYTES);
			ns = now_ns() - start;
			if (ns < best_ns) {
				best_ns = ns;
				fastest = kernels[i];
			}
		}
	}
	return fastest;
}

const struct crc32c_kernel *crc32c_fastest(const struct crc32c_kernel *kernels, size_t count)
{
	const struct crc32c_kernel *trust = &kernels[count - 1];
	const struct crc32c_kernel *usable[ARRAY_SIZE(table)];
	uint8_t bytes[TEST_BYTES];
	uint32_t state = 0x2545f491; /* xorshift32 (Marsaglia): any non-zero start */
	size_t usables = 0;

	assert(count >= 1 && count <= ARRAY_SIZE(table));
	for (unsigned i = 0; i < TEST_BYTES; i++) {
		state ^= state << 13;
		state ^= state >> 17;
		state ^= state << 5;
		bytes[i] = (uint8_t)(state >> 24);
	}
	for (const struct crc32c_kernel *row = kernels; row < kernels + count; row++) {
		if (!row->runs_here())
			continue;
		if (kernel_right(row, trust, bytes))
			usable[usables++] = row;
		else
			log_warning(
				"CRC32C kernel '%s' computes wrongly on this CPU and is not used; "
				"have the CPU checked",
				row->name);
	}
	assert(usables > 0);
	return time_all(usable, usables, bytes);
}

static void choose(void)
{
#ifdef __x86_64__
	__builtin_cpu_init();
#endif
	make_tables();
	__atomic_store_n(&in_use, crc32c_fastest(table, ARRAY_SIZE(table)), __ATOMIC_RELEASE);
}

/* The kernel in use, with the tables behind it. */
static const struct crc32c_kernel *chosen(void)
{
	const struct crc32c_kernel *kernel = __atomic_load_n(&in_use, __ATOMIC_ACQUIRE);

	if (kernel)
		return kernel;
	pthread_once(&once, choose);
	return in_use;
}

const struct crc32c_kernel *crc32c_kernels(size_t *count)
{
	chosen();
	*count = ARRAY_SIZE(table);
	return table;
}

const char *crc32c_selected(void)
{
	return chosen()->name;
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t count)
{
	return ~chosen()->crc(~crc, bytes, count);
}

uint32_t crc32c_copy(uint32_t crc, void *to, const void *from, size_t count)
{
	return ~chosen()->copy(~crc, to, from, count);
}

uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t count)
{
	chosen();
	return ~crc32c_table(~crc, bytes, count);
}

uint32_t crc32c_zeros(uint32_t crc, size_t count)
{
	return ~chosen()->zeros(~crc, count);
}
