/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C (Castagnoli), the checksum of everything that braid writes on members: polynomial
 * 0x1edc6f41, reflected, as in RFC 3720, appendix B.4, and in SSE 4.2's crc32 instruction.
 *
 * Feed pieces one after the other: crc32c(crc32c(0, a), b) is the checksum of a followed by b. Any
 * thread.
 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *bytes, size_t count);

/*
 * memcpy(), and crc32c() of the copy, in about half the time. Each byte of `from` is read once: the
 * checksum is the copy's even if somebody changes `from` meanwhile.
 */
uint32_t crc32c_copy(uint32_t crc, void *to, const void *from, size_t count);

/* crc32c() of so many zeros: quickly, whatever their number. */
uint32_t crc32c_zeros(uint32_t crc, size_t count);

/* crc32c() by table: what the others are tested against. */
uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t count);

/* Name of the kernel in use: the fastest one on this CPU, found by whoever asks first. */
const char *crc32c_selected(void);

#endif
