/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C (Castagnoli) as iSCSI uses it (RFC 3720, appendix B.4): of "123456789" it is
 * 0xe3069283. */
#ifndef BENCH_CRC32C_H
#define BENCH_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc`, 0 at the beginning, over more bytes. Any thread. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t count);
/* The same from a table, for comparison. */
uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t count);

#endif
