/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an implementation of CRC32C is, between the files of this folder that begin with crc32c (and
 * for their tests).
 */
#ifndef BASE_CRC32C_KERNEL_H
#define BASE_CRC32C_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A row of a const table. crc: the bare register, neither complemented before nor after. */
struct crc32c_kernel {
	const char *name;
	bool (*runs_here)(void);
	uint32_t (*crc)(uint32_t crc, const uint8_t *at, size_t count);
	uint32_t (*copy)(uint32_t crc, uint8_t *to, const uint8_t *from, size_t count);
	uint32_t (*zeros)(uint32_t crc, size_t count); /* the same over so many zeros */
};

/* Every kernel compiled in, the portable one last. Makes the tables below. */
const struct crc32c_kernel *crc32c_kernels(size_t *count);

/* The fastest of the kernels that run here and compute what the last one does. */
const struct crc32c_kernel *crc32c_fastest(const struct crc32c_kernel *kernels, size_t count);

/*
 * Moving a state over n bytes as if they were zeros multiplies it by x^8n modulo the polynomial.
 * Row w: x^(8n - 33) for n = w words of 8 bytes: a carry-less product of two reflected numbers is
 * off by x, and what takes it (the crc32 instruction, or the place in 16 bytes) by x^32. Row 0 is
 * not used.
 */
enum { CRC32C_WORD_BYTES = 8, CRC32C_WORDS_MAX = 384 };
extern uint32_t crc32c_over_words[CRC32C_WORDS_MAX + 1];

uint32_t crc32c_table(uint32_t crc, const uint8_t *at, size_t count);
uint32_t crc32c_table_copy(uint32_t crc, uint8_t *to, const uint8_t *from, size_t count);
uint32_t crc32c_table_zeros(uint32_t crc, size_t count);
uint32_t crc32c_instruction(uint32_t crc, const uint8_t *at, size_t count);
uint32_t crc32c_instruction_copy(uint32_t crc, uint8_t *to, const uint8_t *from, size_t count);
uint32_t crc32c_instruction_zeros(uint32_t crc, size_t count);
uint32_t crc32c_fold128(uint32_t crc, const uint8_t *at, size_t count);
uint32_t crc32c_fold128_copy(uint32_t crc, uint8_t *to, const uint8_t *from, size_t count);
uint32_t crc32c_fold256(uint32_t crc, const uint8_t *at, size_t count);
uint32_t crc32c_fold256_copy(uint32_t crc, uint8_t *to, const uint8_t *from, size_t count);
uint32_t crc32c_fold512(uint32_t crc, const uint8_t *at, size_t count);
uint32_t crc32c_fold512_copy(uint32_t crc, uint8_t *to, const uint8_t *from, size_t count);

#endif
