/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Included ahead of a folding kernel's source (cc -include) to build it a second time for any CPU:
 * SIMDe computes what the instructions would, and the kernel gets a name of its own.
 */
#ifndef BRAID_TESTS_CRC32C_SIMDE_H
#define BRAID_TESTS_CRC32C_SIMDE_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/clmul.h>
#include <simde/x86/sse4.2.h>

#define CRC32C_SIMDE
#define CRC32C_TARGET

#define crc32c_fold128 emulated_crc32c_fold128
#define crc32c_fold128_copy emulated_crc32c_fold128_copy
#define crc32c_fold256 emulated_crc32c_fold256
#define crc32c_fold256_copy emulated_crc32c_fold256_copy
#define crc32c_fold512 emulated_crc32c_fold512
#define crc32c_fold512_copy emulated_crc32c_fold512_copy

#endif
