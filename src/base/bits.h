/* SPDX-License-Identifier: Apache-2.0 */
/* Small arithmetic on integers and bit masks. */
#ifndef BASE_BITS_H
#define BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* Each argument is evaluated once. Every use has variables of its own names, so that uses nest. */
#define BITS_PASTE(name, number) name##number
#define BITS_UNIQUE(name, number) BITS_PASTE(name, number)
#define BITS_PICK(a, b, is, number)                                                             \
	({                                                                                      \
		__auto_type BITS_UNIQUE(a_, number) = (a);                                      \
		__auto_type BITS_UNIQUE(b_, number) = (b);                                      \
		BITS_UNIQUE(a_, number)                                                         \
		is BITS_UNIQUE(b_, number) ? BITS_UNIQUE(a_, number) : BITS_UNIQUE(b_, number); \
	})
#define MIN(a, b) BITS_PICK(a, b, <, __COUNTER__)
#define MAX(a, b) BITS_PICK(a, b, >, __COUNTER__)

static inline bool is_power_of_two(uint64_t value)
{
	return value && !(value & (value - 1));
}

/* unit: a power of two. */
static inline uint64_t align_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) & ~(unit - 1);
}

static inline uint64_t divide_up(uint64_t value, uint64_t by)
{
	return value / by + (value % by != 0);
}

static inline unsigned bits_count(uint32_t mask)
{
	return (unsigned)__builtin_popcount(mask);
}

/* Bits [0, count); count at most 32. */
static inline uint32_t bits_below(unsigned count)
{
	return count >= 32 ? UINT32_MAX : (1u << count) - 1;
}

/* Bits [first, end). */
static inline uint32_t bits_range(unsigned first, unsigned end)
{
	return bits_below(end) & ~bits_below(first);
}

/* index walks over the set bits of mask, lowest first; mask is evaluated once. */
#define bits_for_each(index, mask)                                                       \
	for (uint32_t rest_##index = (mask);                                             \
		rest_##index && ((index) = (unsigned)__builtin_ctz(rest_##index), true); \
		rest_##index &= rest_##index - 1)

#endif
