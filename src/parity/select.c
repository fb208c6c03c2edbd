/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which kernel serves: the table of all, what the CPU must have for each, the test against the
 * portable one and the measurement. All of it runs once, at start, on one thread, in static memory.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "kernel.h"
#include "parity.h"

static bool always(void)
{
	return true;
}

#ifdef PARITY_X86

/* __builtin_cpu_supports() also asks XGETBV whether the system saves the wide registers. */

static bool has_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}

static bool has_avx2_gfni(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("gfni");
}

static bool has_avx512_gfni(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("gfni");
}

#endif

/* clang-format off */
static const struct parity_kernel table[] = {
#ifdef PARITY_X86
	{ "avx512-gfni", has_avx512_gfni, avx512_gfni_pass, avx512_gfni_update },
	{ "avx2-gfni",   has_avx2_gfni,   avx2_gfni_pass,   avx2_gfni_update   },
	{ "avx2",        has_avx2,        avx2_pass,        avx2_update        },
#endif
	{ "portable",    always,          portable_pass,    portable_update    },
};
/* clang-format on */

enum { TABLE_ROWS = sizeof(table) / sizeof(table[0]), ROWS_MAX = 8 };

const struct parity_kernel *parity_kernel_in_use = &table[TABLE_ROWS - 1];

enum {
	TEST_DATA = PARITY_COLUMNS_MAX - PARITY_MAX,
	TEST_BYTES = 17 * 64, /* whole steps and a rest, whatever a kernel's step is */
	TIMED_DATA = 8,
	TIMED_BYTES = 4096,
	TIMED_ROUNDS = 16,
};

/* Columns, parities by the portable and by the tested kernel, and what else a kernel writes. */
static _Alignas(64) uint8_t columns[TEST_DATA][TIMED_BYTES];
static _Alignas(64) uint8_t trusted[PARITY_MAX][TIMED_BYTES];
static _Alignas(64) uint8_t tested[PARITY_MAX][TIMED_BYTES];
static _Alignas(64) uint8_t recovered[PARITY_MAX][TIMED_BYTES];

static void fill_columns(void)
{
	uint32_t state = 0x2545f491; /* xorshift32 (Marsaglia): any non-zero start */

	for (unsigned i = 0; i < TEST_DATA; i++) {
		for (unsigned at = 0; at < TIMED_BYTES; at++) {
			state ^= state << 13;
			state ^= state >> 17;
			state ^= state << 5;
			columns[i][at] = (uint8_t)(state >> 24);
		}
	}
}

static void point_at_columns(const void *pointers[TEST_DATA])
{
	for (unsigned i = 0; i < TEST_DATA; i++)
		pointers[i] = columns[i];
}

/* The parities of a set, NULL for the others. */
static void point_at_set(
	void *pointers[PARITY_MAX], uint8_t buffers[PARITY_MAX][TIMED_BYTES], unsigned set)
{
	for (unsigned j = 0; j < PARITY_MAX; j++)
		pointers[j] = (set & 1u << j) ? buffers[j] : NULL;
}

static bool same_parities(unsigned set)
{
	for (unsigned j = 0; j < PARITY_MAX; j++) {
		if (set & 1u << j && memcmp(trusted[j], tested[j], TEST_BYTES))
			return false;
	}
	return true;
}

/* Generate and check as the trusted kernel does. `set` holds at least one parity. */
static bool sums_right(const struct parity_kernel *kernel, const struct parity_kernel *trust,
	unsigned data, unsigned set)
{
	const void *inputs[TEST_DATA];
	void *right[PARITY_MAX];
	void *outputs[PARITY_MAX];
	const void *const *stored = (const void *const *)outputs;
	uint8_t *damaged = tested[__builtin_ctz(set)] + TEST_BYTES - 1;

	point_at_columns(inputs);
	point_at_set(right, trusted, set);
	point_at_set(outputs, tested, set);

	parity_kernel_in_use = trust;
	parity_generate(data, PARITY_MAX, TEST_BYTES, inputs, right);
	parity_kernel_in_use = kernel;
	parity_generate(data, PARITY_MAX, TEST_BYTES, inputs, outputs);
	if (!same_parities(set))
		return false;

	if (!parity_check(data, PARITY_MAX, TEST_BYTES, inputs, stored))
		return false;
	*damaged ^= 0x80;
	if (parity_check(data, PARITY_MAX, TEST_BYTES, inputs, stored))
		return false;
	*damaged ^= 0x80;
	return true;
}

/* Updates, and copies meanwhile, as the trusted kernel does; from where sums_right() ended. */
static bool update_right(const struct parity_kernel *kernel, const struct parity_kernel *trust,
	unsigned column, unsigned set)
{
	const void *before = columns[0];
	struct parity_change change = {
		.bytes = TEST_BYTES,
		.before = columns[1],
		.after = columns[column] + 1, /* at any address */
		.copy = recovered[0],
	};
	void *right[PARITY_MAX];
	void *outputs[PARITY_MAX];

	point_at_set(right, trusted, set);
	point_at_set(outputs, tested, set);

	parity_kernel_in_use = kernel;
	parity_update(column, PARITY_MAX, TEST_BYTES, before, columns[column / 2], outputs);
	parity_kernel_in_use = trust;
	parity_update(column, PARITY_MAX, TEST_BYTES, before, columns[column / 2], right);
	if (!same_parities(set))
		return false;

	parity_copy_update(column, PARITY_MAX, &change, right);
	memset(change.copy, 0, TEST_BYTES);
	parity_kernel_in_use = kernel;
	parity_copy_update(column, PARITY_MAX, &change, outputs);
	return same_parities(set) && !memcmp(change.copy, change.after, TEST_BYTES);
}

/* Recovers as many columns, spread over the row, as the set has parities. */
static bool recovery_right(const struct parity_kernel *kernel, const struct parity_kernel *trust,
	unsigned data, unsigned set)
{
	const void *inputs[TEST_DATA];
	void *survivors[TEST_DATA];
	void *stored[PARITY_MAX];
	const unsigned victims[PARITY_MAX] = {0, data - 1, data / 2};
	unsigned losses = (unsigned)__builtin_popcount(set);
	uint32_t lost = 0;

	if (losses > data)
		return true;
	point_at_columns(inputs);
	point_at_set(stored, trusted, set);
	parity_kernel_in_use = trust;
	parity_generate(data, PARITY_MAX, TEST_BYTES, inputs, stored);

	memcpy(survivors, inputs, sizeof(survivors));
	for (unsigned k = 0; k < losses; k++) {
		lost |= 1u << victims[k];
		survivors[victims[k]] = recovered[k];
	}
	parity_kernel_in_use = kernel;
	parity_recover(data, PARITY_MAX, TEST_BYTES, lost, survivors, (const void **)stored);
	for (unsigned k = 0; k < losses; k++) {
		if (memcmp(recovered[k], columns[victims[k]], TEST_BYTES))
			return false;
	}
	return true;
}

static bool kernel_right(const struct parity_kernel *kernel, const struct parity_kernel *trust)
{
	static const unsigned shapes[] = {1, 2, 3, 8, TEST_DATA};

	for (unsigned shape = 0; shape < sizeof(shapes) / sizeof(shapes[0]); shape++) {
		for (unsigned set = 1; set < PARITY_SETS; set++) {
			if (!sums_right(kernel, trust, shapes[shape], set) ||
				!update_right(kernel, trust, shapes[shape] - 1, set) ||
				!recovery_right(kernel, trust, shapes[shape], set))
				return false;
		}
	}
	return true;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* P and Q of a typical row, in cache. */
static uint64_t time_once_ns(const struct parity_kernel *kernel)
{
	const void *inputs[TEST_DATA];
	void *outputs[PARITY_MAX];
	uint64_t start;

	point_at_columns(inputs);
	point_at_set(outputs, tested, PARITY_P | PARITY_Q);
	parity_kernel_in_use = kernel;
	start = now_ns();
	parity_generate(TIMED_DATA, PARITY_MAX, TIMED_BYTES, inputs, outputs);
	return now_ns() - start;
}

/* The best of several rounds, which take turns so that a disturbance hits all alike. */
static const struct parity_kernel *fastest(const struct parity_kernel *const *kernels, size_t count)
{
	uint64_t best_ns[ROWS_MAX];
	size_t winner = 0;

	assert(count >= 1 && count <= ROWS_MAX);
	memset(best_ns, 0xff, sizeof(best_ns));
	for (unsigned round = 0; round < TIMED_ROUNDS; round++) {
		for (size_t i = 0; i < count; i++) {
			uint64_t ns = time_once_ns(kernels[i]);

			best_ns[i] = ns < best_ns[i] ? ns : best_ns[i];
		}
	}
	for (size_t i = 1; i < count; i++)
		winner = best_ns[i] < best_ns[winner] ? i : winner;
	return kernels[winner];
}

int parity_select_among(
	const struct parity_kernel *rows, size_t count, const char *forced, const char **dropped)
{
	const struct parity_kernel *before = parity_kernel_in_use;
	const struct parity_kernel *trust = &rows[count - 1];
	const struct parity_kernel *usable[ROWS_MAX];
	size_t usables = 0;

	assert(count >= 1 && count <= ROWS_MAX);
	*dropped = NULL;
	fill_columns();
	for (const struct parity_kernel *row = rows; row < rows + count; row++) {
		if (!row->runs_here() || (forced && strcmp(row->name, forced)))
			continue;
		if (kernel_right(row, trust))
			usable[usables++] = row;
		else if (!*dropped)
			*dropped = row->name;
	}
	if (!usables) {
		parity_kernel_in_use = before;
		return *dropped ? -EILSEQ : -ENOENT;
	}
	parity_kernel_in_use = fastest(usable, usables);
	return 0;
}

int parity_select(const char *forced, const char **dropped)
{
	return parity_select_among(table, TABLE_ROWS, forced, dropped);
}

const struct parity_kernel *parity_kernels(size_t *count)
{
	*count = TABLE_ROWS;
	return table;
}

bool parity_kernel_runs_here(const struct parity_kernel *kernel)
{
	return kernel->runs_here();
}

const char *parity_kernel_name(const struct parity_kernel *kernel)
{
	return kernel->name;
}

const char *parity_selected(void)
{
	return parity_kernel_in_use->name;
}
