/* SPDX-License-Identifier: Apache-2.0 */
/* Little-endian integers as they stand on a wire, in guest memory or on a disk: a type of their
 * own, so that none is used without conversion. */
#ifndef BASE_ENDIAN_H
#define BASE_ENDIAN_H

#include <endian.h>
#include <stdint.h>

typedef struct {
	uint16_t raw;
} le16;
typedef struct {
	uint32_t raw;
} le32;
typedef struct {
	uint64_t raw;
} le64;

static inline uint16_t le16_get(le16 value)
{
	return le16toh(value.raw);
}

static inline uint32_t le32_get(le32 value)
{
	return le32toh(value.raw);
}

static inline uint64_t le64_get(le64 value)
{
	return le64toh(value.raw);
}

static inline le16 le16_of(uint16_t value)
{
	return (le16){htole16(value)};
}

static inline le32 le32_of(uint32_t value)
{
	return (le32){htole32(value)};
}

static inline le64 le64_of(uint64_t value)
{
	return (le64){htole64(value)};
}

#endif
