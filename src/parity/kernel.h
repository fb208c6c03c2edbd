/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a kernel is, inside this folder (and for its tests and benchmark).
 *
 * Generation, check and recovery are one pass over the columns with three ends: the parities of
 * what is there are computed in registers, then stored, or compared with the stored ones, or
 * added to them (which leaves the lost columns' share) and solved for the lost columns.
 */
#ifndef BRAID_PARITY_KERNEL_H
#define BRAID_PARITY_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parity.h"

/* The set of parities a call is about: bit j for parity j. */
enum { PARITY_P = 1, PARITY_Q = 2, PARITY_R = 4, PARITY_SETS = 8 };

enum parity_end { PARITY_STORE, PARITY_COMPARE, PARITY_SOLVE };

struct parity_pass {
	enum parity_end end;
	unsigned set; /* which of parity[] */
	unsigned data;
	size_t bytes;
	const void *const *columns; /* NULL: lost, counts as zeros */
	void *const *parity;	    /* written by PARITY_STORE only */

	/*
	 * PARITY_SOLVE, for as many lost columns as there are parities in the set:
	 * lost[k] = sum solution[k][j] * (share of the lost columns in parity j).
	 */
	void *lost[PARITY_MAX]; /* NULL: not wanted */
	uint8_t solution[PARITY_MAX][PARITY_MAX];
};

/* parity[j] ^= coefficient[j] * (before ^ after), and copy = after, which is read once. */
struct parity_delta {
	unsigned set;
	size_t bytes;
	const void *before;
	const void *after; /* at any address */
	void *copy;	   /* NULL: not wanted */
	void *parity[PARITY_MAX];
	uint8_t coefficient[PARITY_MAX];
};

struct parity_kernel {
	const char *name;
	bool (*runs_here)(void);
	bool (*pass)(const struct parity_pass *pass); /* false: PARITY_COMPARE differs */
	void (*update)(const struct parity_delta *delta);
};

bool portable_pass(const struct parity_pass *pass);
void portable_update(const struct parity_delta *delta);
bool avx2_pass(const struct parity_pass *pass);
void avx2_update(const struct parity_delta *delta);
bool avx2_gfni_pass(const struct parity_pass *pass);
void avx2_gfni_update(const struct parity_delta *delta);
bool avx512_gfni_pass(const struct parity_pass *pass);
void avx512_gfni_update(const struct parity_delta *delta);

/* The kernel in use. Tests and the benchmark may put any kernel here. */
extern const struct parity_kernel *parity_kernel_in_use;

/* parity_select() over a given table; the last row is the trusted one. */
int parity_select_among(
	const struct parity_kernel *table, size_t count, const char *forced, const char **dropped);

#endif
