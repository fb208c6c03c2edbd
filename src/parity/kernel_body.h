/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The body of every kernel. A file for one instruction set defines what follows, and includes this:
 *
 *	KERNEL(name)                  the external name of a function of this kernel
 *	STEP_LINES                    cache lines of each column per step: as many as registers hold
 *	vector                        a type of at most 64 bytes
 *	vector_zero()
 *	vector_load(from), vector_store(to, v)
 *	vector_load_any(from)         from any address
 *	                              Loads are volatile: memory is read once however often the
 *	                              value is used. What goes into a copy must be what goes into
 *	                              a parity; and GCC else reads a line for each sum it goes into.
 *	vector_xor(a, b), vector_xor3(a, b, c)
 *	vector_or(a, b), vector_is_zero(v)
 *	vector_double(v)              2 * v in every byte, for a v in biased form
 *	vector_quadruple(v)           4 * v, likewise
 *	vector_bias(v)                to biased form, and back again (an involution; often nothing)
 *	multiplier, multiplier_of(c), vector_multiply(m, v)
 *
 * Biased form: v plus a constant that doubling keeps, where this makes doubling cheaper. Sums of a
 * biased and a plain value are biased.
 *
 * Parities are evaluated by Horner's rule from the last column down: q = 2q + d. A step takes whole
 * cache lines, several of each column: page-aligned columns compete for the same sets of the L1
 * cache, so what is fetched must be used up at once.
 */
#include <assert.h>

#include "field.h"
#include "kernel.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Before a loop over the vectors of a step: it must vanish, so that the sums live in registers. */
#ifdef __clang__
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 32")
#endif

/* function(argument, set), compiled once per set, so that each set has its own tight loop. */
/* clang-format off */
#define WITH_CONSTANT_SET(set, function, argument) \
	((set) == 1 ? function(argument, 1) : \
	 (set) == 2 ? function(argument, 2) : \
	 (set) == 3 ? function(argument, 3) : \
	 (set) == 4 ? function(argument, 4) : \
	 (set) == 5 ? function(argument, 5) : \
	 (set) == 6 ? function(argument, 6) : \
		      function(argument, 7))
/* clang-format on */

enum {
	LINE_BYTES = 64,
	LINE_VECTORS = LINE_BYTES / sizeof(vector),
	STEP_BYTES = STEP_LINES * LINE_BYTES,
	STEP_VECTORS = STEP_LINES * LINE_VECTORS,
};

/* The parities of a step's bytes; only those in the set are touched, the rest is optimised away. */
struct sums {
	vector p[STEP_VECTORS];
	vector q[STEP_VECTORS];
	vector r[STEP_VECTORS];
};

ALWAYS_INLINE vector load(const void *buffer, size_t offset, unsigned n)
{
	return vector_load((const uint8_t *)buffer + offset + n * sizeof(vector));
}

ALWAYS_INLINE vector load_any(const void *buffer, size_t offset, unsigned n)
{
	return vector_load_any((const uint8_t *)buffer + offset + n * sizeof(vector));
}

ALWAYS_INLINE void store(void *buffer, size_t offset, unsigned n, vector v)
{
	vector_store((uint8_t *)buffer + offset + n * sizeof(vector), v);
}

ALWAYS_INLINE void add_column(
	struct sums *sums, unsigned set, const void *column, size_t offset, unsigned vectors)
{
	UNROLLED
	for (unsigned n = 0; n < vectors; n++) {
		vector d = load(column, offset, n);

		if (set & PARITY_P)
			sums->p[n] = vector_xor(sums->p[n], d);
		if (set & PARITY_Q)
			sums->q[n] = vector_xor(vector_double(sums->q[n]), d);
		if (set & PARITY_R)
			sums->r[n] = vector_xor(vector_quadruple(sums->r[n]), d);
	}
}

ALWAYS_INLINE void skip_column(struct sums *sums, unsigned set, unsigned vectors)
{
	UNROLLED
	for (unsigned n = 0; n < vectors; n++) {
		if (set & PARITY_Q)
			sums->q[n] = vector_double(sums->q[n]);
		if (set & PARITY_R)
			sums->r[n] = vector_quadruple(sums->r[n]);
	}
}

ALWAYS_INLINE void sum_columns(struct sums *sums, const struct parity_pass *pass, unsigned set,
	bool some_lost, size_t offset, unsigned vectors)
{
	unsigned i = pass->data - 1;

	UNROLLED
	for (unsigned n = 0; n < vectors; n++) {
		sums->p[n] = pass->columns[i] ? load(pass->columns[i], offset, n) : vector_zero();
		sums->q[n] = vector_bias(sums->p[n]);
		sums->r[n] = vector_bias(sums->p[n]);
	}
	while (i-- > 0) {
		if (!some_lost || pass->columns[i])
			add_column(sums, set, pass->columns[i], offset, vectors);
		else
			skip_column(sums, set, vectors);
	}
	UNROLLED
	for (unsigned n = 0; n < vectors; n++) {
		sums->q[n] = vector_bias(sums->q[n]);
		sums->r[n] = vector_bias(sums->r[n]);
	}
}

ALWAYS_INLINE void store_sums(const struct sums *sums, const struct parity_pass *pass, unsigned set,
	size_t offset, unsigned vectors)
{
	/* Read before the first store, which might change them for all that the compiler knows. */
	void *p = set & PARITY_P ? pass->parity[0] : NULL;
	void *q = set & PARITY_Q ? pass->parity[1] : NULL;
	void *r = set & PARITY_R ? pass->parity[2] : NULL;

	UNROLLED
	for (unsigned n = 0; n < vectors; n++) {
		if (set & PARITY_P)
			store(p, offset, n, sums->p[n]);
		if (set & PARITY_Q)
			store(q, offset, n, sums->q[n]);
		if (set & PARITY_R)
			store(r, offset, n, sums->r[n]);
	}
}

/* Adds the stored parities: leaves what they differ by, which is zero or the share of the lost. */
ALWAYS_INLINE void add_stored(struct sums *sums, const struct parity_pass *pass, unsigned set,
	size_t offset, unsigned vectors)
{
	UNROLLED
	for (unsigned n = 0; n < vectors; n++) {
		if (set & PARITY_P)
			sums->p[n] = vector_xor(sums->p[n], load(pass->parity[0], offset, n));
		if (set & PARITY_Q)
			sums->q[n] = vector_xor(sums->q[n], load(pass->parity[1], offset, n));
		if (set & PARITY_R)
			sums->r[n] = vector_xor(sums->r[n], load(pass->parity[2], offset, n));
	}
}

ALWAYS_INLINE bool sums_are_zero(const struct sums *sums, unsigned set, unsigned vectors)
{
	vector any = vector_zero();

	UNROLLED
	for (unsigned n = 0; n < vectors; n++) {
		if (set & PARITY_P)
			any = vector_or(any, sums->p[n]);
		if (set & PARITY_Q)
			any = vector_or(any, sums->q[n]);
		if (set & PARITY_R)
			any = vector_or(any, sums->r[n]);
	}
	return vector_is_zero(any);
}

/* A set recovers as many columns as it has parities. With P the last one is what is left of P. */
ALWAYS_INLINE void solve(const struct sums *sums, const struct parity_pass *pass, unsigned set,
	size_t offset, unsigned vectors)
{
	const unsigned losses = (unsigned)__builtin_popcount(set);
	vector rest[STEP_VECTORS];

	UNROLLED
	for (unsigned n = 0; n < vectors; n++)
		rest[n] = sums->p[n];
	UNROLLED
	for (unsigned k = 0; k < losses; k++) {
		const bool last = set & PARITY_P && k == losses - 1;
		multiplier by_p = multiplier_of(pass->solution[k][0]);
		multiplier by_q = multiplier_of(pass->solution[k][1]);
		multiplier by_r = multiplier_of(pass->solution[k][2]);

		UNROLLED
		for (unsigned n = 0; n < vectors; n++) {
			vector d = last ? rest[n] : vector_zero();

			if (!last && set & PARITY_P)
				d = vector_multiply(by_p, sums->p[n]);
			if (!last && set & PARITY_Q)
				d = vector_xor(d, vector_multiply(by_q, sums->q[n]));
			if (!last && set & PARITY_R)
				d = vector_xor(d, vector_multiply(by_r, sums->r[n]));
			rest[n] = vector_xor(rest[n], d);
			if (pass->lost[k])
				store(pass->lost[k], offset, n, d);
		}
	}
}

/* some_lost: whether the pass is to solve; a constant, for columns that are all there are summed
 * faster by a loop that does not ask. */
ALWAYS_INLINE bool step(const struct parity_pass *pass, unsigned set, bool some_lost, size_t offset,
	unsigned vectors)
{
	struct sums sums;

	sum_columns(&sums, pass, set, some_lost, offset, vectors);
	if (some_lost) {
		add_stored(&sums, pass, set, offset, vectors);
		solve(&sums, pass, set, offset, vectors);
	} else if (pass->end == PARITY_STORE) {
		store_sums(&sums, pass, set, offset, vectors);
	} else {
		add_stored(&sums, pass, set, offset, vectors);
		return sums_are_zero(&sums, set, vectors);
	}
	return true;
}

ALWAYS_INLINE bool steps(const struct parity_pass *pass, unsigned set, bool some_lost)
{
	size_t offset = 0;

	for (; pass->bytes - offset >= STEP_BYTES; offset += STEP_BYTES) {
		if (!step(pass, set, some_lost, offset, STEP_VECTORS))
			return false;
	}
	for (; offset < pass->bytes; offset += LINE_BYTES) {
		if (!step(pass, set, some_lost, offset, LINE_VECTORS))
			return false;
	}
	return true;
}

ALWAYS_INLINE bool all_steps(const struct parity_pass *pass, unsigned set)
{
	return pass->end == PARITY_SOLVE ? steps(pass, set, true) : steps(pass, set, false);
}

bool KERNEL(pass)(const struct parity_pass *pass)
{
	assert(pass->set > 0 && pass->set < PARITY_SETS);
	return WITH_CONSTANT_SET(pass->set, all_steps, pass);
}

ALWAYS_INLINE void update_lines(const struct parity_delta *delta, unsigned set, bool copied)
{
	multiplier by_q = multiplier_of(delta->coefficient[1]);
	multiplier by_r = multiplier_of(delta->coefficient[2]);
	const void *before = delta->before, *after = delta->after;
	void *copy = delta->copy;
	void *p = delta->parity[0];
	void *q = delta->parity[1];
	void *r = delta->parity[2];

	for (size_t offset = 0; offset < delta->bytes; offset += LINE_BYTES) {
		UNROLLED
		for (unsigned n = 0; n < LINE_VECTORS; n++) {
			vector old = load(before, offset, n);
			vector new = load_any(after, offset, n);
			vector d = vector_xor(old, new);

			if (copied)
				store(copy, offset, n, new);
			if (set & PARITY_P)
				store(p, offset, n, vector_xor3(load(p, offset, n), old, new));
			if (set & PARITY_Q)
				store(q, offset, n,
					vector_xor(load(q, offset, n), vector_multiply(by_q, d)));
			if (set & PARITY_R)
				store(r, offset, n,
					vector_xor(load(r, offset, n), vector_multiply(by_r, d)));
		}
	}
}

ALWAYS_INLINE void update_all(const struct parity_delta *delta, unsigned set)
{
	if (delta->copy)
		update_lines(delta, set, true);
	else
		update_lines(delta, set, false);
}

void KERNEL(update)(const struct parity_delta *delta)
{
	assert(delta->set > 0 && delta->set < PARITY_SETS);
	WITH_CONSTANT_SET(delta->set, update_all, delta);
}
