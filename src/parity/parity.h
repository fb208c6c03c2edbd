/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Parity: pure algebra on buffers. Knows no disk, keeps no state but the chosen kernel.
 *
 * Up to three parities protect the data columns of a row, byte by byte, over GF(2^8) with the
 * polynomial 0x11d. Parity j of data column i has the coefficient (2^j)^i:
 *
 *	P = sum d[i]	Q = sum 2^i * d[i]	R = sum 4^i * d[i]
 *
 * P and Q are those of RAID 6 as H. Peter Anvin describes it ("The mathematics of RAID-6"). The
 * columns of any three lost parts are independent up to 255 data columns, because the coefficients
 * form a Vandermonde matrix.
 *
 * Buffers are lent for the call, 64-byte aligned unless said otherwise, and `bytes` is a multiple
 * of 64 (asserted: a wrong one is our bug). Inputs and outputs must not overlap. data >= 1,
 * parities 1..PARITY_MAX, data + parities <= PARITY_COLUMNS_MAX.
 *
 * Threads: parity_select() once at start, from one thread, before any other use; everything else
 * from any thread. Without parity_select() the portable kernel serves.
 */
#ifndef BRAID_PARITY_PARITY_H
#define BRAID_PARITY_PARITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PARITY_MAX = 3, PARITY_COLUMNS_MAX = 32 };

/* One implementation for one instruction set; a row of a const table. */
struct parity_kernel;

/* The table: every kernel compiled in, best first, the portable one last. Static. */
const struct parity_kernel *parity_kernels(size_t *count);

/* Whether this CPU has the instructions and the system saves their registers. */
bool parity_kernel_runs_here(const struct parity_kernel *kernel);

const char *parity_kernel_name(const struct parity_kernel *kernel);

/*
 * Chooses the kernel that all calls below use: each one that runs here is tested against the
 * portable one, then timed for less than a millisecond; the fastest wins. A kernel that computes
 * wrongly is never chosen, and *dropped names it (the best one if several; NULL if none).
 * `forced` names the only kernel to accept, or is NULL.
 *
 * 0; -ENOENT: `forced` is unknown or does not run here; -EILSEQ: `forced` computes wrongly. On an
 * error the choice stays as it was.
 */
int parity_select(const char *forced, const char **dropped);

/* Name of the kernel in use. */
const char *parity_selected(void);

/* Computes the parities from all data columns. parity[j] == NULL: parity j is not wanted. */
void parity_generate(unsigned data, unsigned parities, size_t bytes,
	const void *const *data_columns, void *const *parity);

/*
 * Brings the parities up to date after one data column changed:
 * parity[j] ^= (2^j)^column * (before ^ after). parity[j] == NULL: parity j is lost or not kept.
 */
void parity_update(unsigned column, unsigned parities, size_t bytes, const void *before,
	const void *after, void *const *parity);

/*
 * parity_update() for new data that is still in memory that others may write to at any time, as a
 * guest may: one pass reads each byte of `after` once, and what it read goes into the copy and into
 * the parities, which are therefore those of the copy whatever happens to `after` meanwhile.
 */
struct parity_change {
	size_t bytes;
	const void *before;
	const void *after; /* at any address; a column in pieces is handed over piece by piece */
	void *copy;
};
void parity_copy_update(unsigned column, unsigned parities, const struct parity_change *change,
	void *const *parity);

/*
 * Recovers lost data columns in one pass over what is left. `lost` is a bit mask of 1 to 3 data
 * columns; columns[i] of a present one is input, of a lost one output (NULL: not wanted).
 * parity[j] == NULL: parity j is lost too. At least as many parities as lost columns must be there
 * (asserted); the lowest-numbered ones are used and the others not read.
 */
void parity_recover(unsigned data, unsigned parities, size_t bytes, uint32_t lost,
	void *const *columns, const void *const *parity);

/* Whether the given parities (NULL: not looked at) are those of the data columns. */
bool parity_check(unsigned data, unsigned parities, size_t bytes, const void *const *data_columns,
	const void *const *parity);

/* What parity_locate() says when it names no column. */
enum { PARITY_NONE_WRONG = -1, PARITY_UNLOCATED = -2 };

/*
 * Finds the one column whose change explains all mismatches: a data column's index, data + j for
 * parity j, PARITY_NONE_WRONG, or PARITY_UNLOCATED when no single column, or more than one, could
 * be the cause (always so with fewer than two parities). With P and Q a data column z shows as
 * Q ^ Q' = 2^z * (P ^ P') in every byte (Anvin, section 4). For scrub: not fast once a byte
 * differs.
 */
int parity_locate(unsigned data, unsigned parities, size_t bytes, const void *const *data_columns,
	const void *const *parity);

#endif
