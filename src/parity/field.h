/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The field GF(2^8) of parity.h: its scalar arithmetic, and the constants that the vector kernels
 * multiply with. Everything is a constant of the compiler; nothing needs to be started.
 */
#ifndef BRAID_PARITY_FIELD_H
#define BRAID_PARITY_FIELD_H

#include <stdint.h>

/* x^8 = x^4 + x^3 + x^2 + 1: what a doubling adds when the top bit falls out. */
enum { FIELD_REDUCTION = 0x1d };

/* Products of one coefficient with x and with 16 * x, x = 0..15: what a byte shuffle looks up. */
struct field_nibbles {
	_Alignas(32) uint8_t low[16];
	uint8_t high[16];
};

/* Indexed by the coefficient. */
extern const struct field_nibbles field_nibbles[256];

/*
 * Multiplication by each coefficient as an 8x8 bit matrix for GF2P8AFFINEQB: byte 7 - i holds the
 * bits of the operand that are summed into bit i of the product (Intel SDM, GF2P8AFFINEQB).
 */
extern const uint64_t field_matrix[256];

static inline uint8_t field_multiply(uint8_t a, uint8_t b)
{
	return field_nibbles[a].low[b & 15] ^ field_nibbles[a].high[b >> 4];
}

/* 2^exponent. */
uint8_t field_power(unsigned exponent);

/* 1 / a; a must not be 0. */
uint8_t field_inverse(uint8_t a);

/* Coefficient of a data column in a parity: (2^parity)^column. */
uint8_t field_coefficient(unsigned parity, unsigned column);

#endif
