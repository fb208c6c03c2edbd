/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The algebra above the kernels: what to sum, and how to solve for what is lost.
 *
 * Recovery. The lost columns x[0..n-1] and n parities that are left give n equations: the share
 * s[j] of the lost columns in parity j (the stored parity plus the parity of what is left) is
 * sum coefficient(j, lost column c) * x[c]. The inverse of that matrix, n <= 3, is the solution
 * that a kernel applies to s in registers.
 */
#include "parity.h"

#include <assert.h>
#include <string.h>

#include "field.h"
#include "kernel.h"

enum { PARITY_ALIGNMENT = 64 };

static bool aligned(const void *buffer)
{
	return (uintptr_t)buffer % PARITY_ALIGNMENT == 0;
}

static void assert_contract(unsigned data, unsigned parities, size_t bytes)
{
	assert(data >= 1);
	assert(parities >= 1 && parities <= PARITY_MAX);
	assert(data + parities <= PARITY_COLUMNS_MAX);
	assert(bytes % PARITY_ALIGNMENT == 0);
}

/* The parities that are there. */
static unsigned set_of(unsigned parities, const void *const *parity)
{
	unsigned set = 0;

	for (unsigned j = 0; j < parities; j++) {
		assert(aligned(parity[j]));
		if (parity[j])
			set |= 1u << j;
	}
	return set;
}

static void assert_columns(unsigned data, const void *const *columns)
{
	for (unsigned i = 0; i < data; i++)
		assert(columns[i] && aligned(columns[i]));
}

void parity_generate(unsigned data, unsigned parities, size_t bytes,
	const void *const *data_columns, void *const *parity)
{
	struct parity_pass pass = {
		.end = PARITY_STORE,
		.set = set_of(parities, (const void *const *)parity),
		.data = data,
		.bytes = bytes,
		.columns = data_columns,
		.parity = parity,
	};

	assert_contract(data, parities, bytes);
	assert_columns(data, data_columns);
	if (pass.set)
		parity_kernel_in_use->pass(&pass);
}

bool parity_check(unsigned data, unsigned parities, size_t bytes, const void *const *data_columns,
	const void *const *parity)
{
	struct parity_pass pass = {
		.end = PARITY_COMPARE,
		.set = set_of(parities, parity),
		.data = data,
		.bytes = bytes,
		.columns = data_columns,
		.parity = (void *const *)parity,
	};

	assert_contract(data, parities, bytes);
	assert_columns(data, data_columns);
	return !pass.set || parity_kernel_in_use->pass(&pass);
}

static void update(
	struct parity_delta *delta, unsigned column, unsigned parities, void *const *parity)
{
	assert_contract(column + 1, parities, delta->bytes);
	assert(aligned(delta->before));
	delta->set = set_of(parities, (const void *const *)parity);
	for (unsigned j = 0; j < parities; j++) {
		delta->parity[j] = parity[j];
		delta->coefficient[j] = field_coefficient(j, column);
	}
	if (delta->set)
		parity_kernel_in_use->update(delta);
	else if (delta->copy)
		memcpy(delta->copy, delta->after, delta->bytes);
}

void parity_update(unsigned column, unsigned parities, size_t bytes, const void *before,
	const void *after, void *const *parity)
{
	struct parity_delta delta = {.bytes = bytes, .before = before, .after = after};

	assert(aligned(after));
	update(&delta, column, parities, parity);
}

void parity_copy_update(
	unsigned column, unsigned parities, const struct parity_change *change, void *const *parity)
{
	struct parity_delta delta = {
		.bytes = change->bytes,
		.before = change->before,
		.after = change->after,
		.copy = change->copy,
	};

	assert(change->copy && aligned(change->copy));
	update(&delta, column, parities, parity);
}

/*
 * Inverts the n x n matrix by Gauss-Jordan elimination. No pivoting by row: every leading square of
 * a Vandermonde matrix is itself one, so no pivot is ever zero.
 */
static void matrix_invert(
	unsigned n, uint8_t matrix[PARITY_MAX][PARITY_MAX], uint8_t inverse[PARITY_MAX][PARITY_MAX])
{
	for (unsigned r = 0; r < n; r++)
		inverse[r][r] = 1;
	for (unsigned pivot = 0; pivot < n; pivot++) {
		uint8_t scale = field_inverse(matrix[pivot][pivot]);

		for (unsigned c = 0; c < n; c++) {
			matrix[pivot][c] = field_multiply(scale, matrix[pivot][c]);
			inverse[pivot][c] = field_multiply(scale, inverse[pivot][c]);
		}
		for (unsigned r = 0; r < n; r++) {
			uint8_t factor = matrix[r][pivot];

			if (r == pivot || !factor)
				continue;
			for (unsigned c = 0; c < n; c++) {
				matrix[r][c] ^= field_multiply(factor, matrix[pivot][c]);
				inverse[r][c] ^= field_multiply(factor, inverse[pivot][c]);
			}
		}
	}
}

/* Fills in what to solve: pass->set, lost and solution. */
static void plan_recovery(
	struct parity_pass *pass, uint32_t lost, void *const *columns, unsigned available)
{
	uint8_t matrix[PARITY_MAX][PARITY_MAX] = {0};
	uint8_t inverse[PARITY_MAX][PARITY_MAX] = {0};
	unsigned equation[PARITY_MAX] = {0}; /* parity that serves as equation r */
	unsigned column[PARITY_MAX] = {0};   /* lost column that is unknown c */
	unsigned losses = 0;
	unsigned equations = 0;

	for (; lost; lost &= lost - 1)
		column[losses++] = (unsigned)__builtin_ctz(lost);
	for (unsigned j = 0; j < PARITY_MAX && equations < losses; j++) {
		if (!(available & 1u << j))
			continue;
		equation[equations++] = j;
		pass->set |= 1u << j;
	}
	assert(equations == losses);

	for (unsigned r = 0; r < losses; r++) {
		for (unsigned c = 0; c < losses; c++)
			matrix[r][c] = field_coefficient(equation[r], column[c]);
	}
	matrix_invert(losses, matrix, inverse);
	for (unsigned c = 0; c < losses; c++) {
		pass->lost[c] = columns[column[c]];
		for (unsigned r = 0; r < losses; r++)
			pass->solution[c][equation[r]] = inverse[c][r];
	}
}

void parity_recover(unsigned data, unsigned parities, size_t bytes, uint32_t lost,
	void *const *columns, const void *const *parity)
{
	const void *present[PARITY_COLUMNS_MAX];
	struct parity_pass pass = {
		.end = PARITY_SOLVE,
		.data = data,
		.bytes = bytes,
		.columns = present,
		.parity = (void *const *)parity,
	};

	assert_contract(data, parities, bytes);
	assert(lost && (uint64_t)lost >> data == 0 && __builtin_popcount(lost) <= PARITY_MAX);
	for (unsigned i = 0; i < data; i++) {
		bool is_lost = lost >> i & 1;

		assert(aligned(columns[i]) && (is_lost || columns[i]));
		present[i] = is_lost ? NULL : columns[i];
	}
	plan_recovery(&pass, lost, columns, set_of(parities, parity));
	parity_kernel_in_use->pass(&pass);
}

/*
 * Whether a change of this column alone (a data column, or data + j) gives these differences, which
 * are not all zero.
 */
static bool explains(
	unsigned column, unsigned data, unsigned set, const uint8_t difference[PARITY_MAX])
{
	unsigned first = (unsigned)__builtin_ctz(set);

	for (unsigned j = 0; j < PARITY_MAX; j++) {
		uint8_t here, there;

		if (!(set & 1u << j))
			continue;
		if (column >= data) {
			if ((difference[j] != 0) != (column == data + j))
				return false;
			continue;
		}
		/* difference / coefficient, the change itself, must come out the same. */
		here = field_multiply(difference[j], field_coefficient(first, column));
		there = field_multiply(difference[first], field_coefficient(j, column));
		if (here != there)
			return false;
	}
	return true;
}

/* Of the candidates (bit mask of columns), those that explain every difference in these bytes. */
static uint32_t narrow(uint32_t candidates, unsigned data, unsigned set, size_t bytes,
	void *const *expected, const void *const *stored)
{
	for (size_t at = 0; at < bytes; at++) {
		uint8_t difference[PARITY_MAX] = {0};
		uint8_t any = 0;

		for (unsigned j = 0; j < PARITY_MAX; j++) {
			if (set & 1u << j)
				difference[j] = ((const uint8_t *)expected[j])[at] ^
						((const uint8_t *)stored[j])[at];
			any |= difference[j];
		}
		if (!any)
			continue;
		for (uint32_t rest = candidates; rest; rest &= rest - 1) {
			if (!explains((unsigned)__builtin_ctz(rest), data, set, difference))
				candidates &= ~(rest & -rest);
		}
	}
	return candidates;
}

int parity_locate(unsigned data, unsigned parities, size_t bytes, const void *const *data_columns,
	const void *const *parity)
{
	enum { PIECE_BYTES = 1024 };
	_Alignas(PARITY_ALIGNMENT) uint8_t buffer[PARITY_MAX][PIECE_BYTES];
	unsigned set = set_of(parities, parity);
	uint32_t candidates = ((1u << data) - 1) | set << data;
	const void *columns[PARITY_COLUMNS_MAX];
	const void *stored[PARITY_MAX] = {NULL};
	void *expected[PARITY_MAX] = {NULL};
	bool differs = false;

	assert_contract(data, parities, bytes);
	for (size_t offset = 0; offset < bytes; offset += PIECE_BYTES) {
		size_t piece = bytes - offset < PIECE_BYTES ? bytes - offset : PIECE_BYTES;

		for (unsigned i = 0; i < data; i++)
			columns[i] = (const uint8_t *)data_columns[i] + offset;
		for (unsigned j = 0; j < parities; j++) {
			if (!parity[j])
				continue;
			stored[j] = (const uint8_t *)parity[j] + offset;
			expected[j] = buffer[j];
		}
		if (parity_check(data, parities, piece, columns, stored))
			continue;
		differs = true;
		parity_generate(data, parities, piece, columns, expected);
		candidates = narrow(candidates, data, set, piece, expected, stored);
	}
	if (!differs)
		return PARITY_NONE_WRONG;
	if (__builtin_popcount(candidates) != 1)
		return PARITY_UNLOCATED;
	return __builtin_ctz(candidates);
}
