/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Portable kernel, and the one the others are tested against. The compiler's generic vectors are 16
 * bytes wide, which any machine has registers for or can do without.
 */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "field.h"

#define KERNEL(name) portable_##name

enum { STEP_LINES = 1 };

typedef uint8_t vector __attribute__((vector_size(16), may_alias));
typedef int8_t signed_vector __attribute__((vector_size(16)));
typedef uint8_t multiplier;

static inline vector vector_zero(void)
{
	return (vector){0};
}

static inline vector vector_load(const uint8_t *from)
{
	return *(const volatile vector *)from;
}

static inline vector vector_load_any(const uint8_t *from)
{
	typedef vector unaligned __attribute__((aligned(1)));

	return *(const volatile unaligned *)from;
}

static inline void vector_store(uint8_t *to, vector v)
{
	*(vector *)to = v;
}

static inline vector vector_xor(vector a, vector b)
{
	return a ^ b;
}

static inline vector vector_xor3(vector a, vector b, vector c)
{
	return a ^ b ^ c;
}

static inline vector vector_or(vector a, vector b)
{
	return a | b;
}

static inline bool vector_is_zero(vector v)
{
	uint64_t half[2];

	static_assert(sizeof(half) == sizeof(v), "two halves");
	memcpy(half, &v, sizeof(v));
	return (half[0] | half[1]) == 0;
}

static inline vector vector_bias(vector v)
{
	return v;
}

static inline vector vector_double(vector v)
{
	vector top_bit_set = (vector)((signed_vector)v < 0);

	return (v + v) ^ (top_bit_set & FIELD_REDUCTION);
}

static inline vector vector_quadruple(vector v)
{
	return vector_double(vector_double(v));
}

static inline multiplier multiplier_of(uint8_t coefficient)
{
	return coefficient;
}

/* Adds up v, 2v, 4v ... as the coefficient's bits say. */
static inline vector vector_multiply(multiplier by, vector v)
{
	vector product = vector_zero();

	for (unsigned bits = by; bits; bits >>= 1, v = vector_double(v)) {
		if (bits & 1)
			product ^= v;
	}
	return product;
}

#include "kernel_body.h"
