/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Parity: every kernel against arithmetic done byte by byte, bit by bit, over every small shape.
 *
 * The kernels this CPU cannot run take part as well, built against SIMDe (parity_simde.h). ISA-L is
 * the independent oracle for the field and the coefficients. Every buffer stands between canaries,
 * and every input is compared with its pristine copy afterwards.
 */
/* cmocka.h needs the four before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <isa-l/erasure_code.h>
#include <isa-l/raid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "parity/field.h"
#include "parity/kernel.h"
#include "parity/parity.h"
#include "parity_emulated.h"

enum {
	LINE = 64,
	CANARY = 0xa5,
	BYTES = 9 * LINE, /* a whole step and a rest, for steps up to 8 lines */
	BYTES_MAX = 41 * LINE,
	DATA_MAX = PARITY_COLUMNS_MAX - 1,
	KERNELS_MAX = 8,
	SEED = 20240607,
};

struct guarded {
	_Alignas(LINE) uint8_t before[LINE];
	uint8_t bytes[BYTES_MAX];
	uint8_t after[LINE];
};

static struct guarded data[DATA_MAX]; /* inputs */
static struct guarded pristine[DATA_MAX];
static struct guarded output[PARITY_MAX];		    /* what a kernel writes */
static _Alignas(LINE) uint8_t naive[PARITY_MAX][BYTES_MAX]; /* what it should have written */
static uint8_t product[256][256];			    /* of the field, by shift and add */

static const struct parity_kernel *kernels[KERNELS_MAX];
static size_t kernel_count;

static uint8_t multiply_by_bits(unsigned a, unsigned b)
{
	unsigned sum = 0;

	for (; b; b >>= 1) {
		if (b & 1)
			sum ^= a;
		a <<= 1;
		if (a & 0x100)
			a ^= 0x11d;
	}
	return (uint8_t)sum;
}

/* (2^parity)^column, by repeated multiplication. */
static uint8_t coefficient(unsigned parity, unsigned column)
{
	uint8_t power = 1;

	while (column-- > 0)
		power = product[power][1u << parity];
	return power;
}

static uint8_t random_byte(void)
{
	return (uint8_t)(rand() >> 7);
}

static int set_up(void **state)
{
	size_t count;
	const struct parity_kernel *table = parity_kernels(&count);

	(void)state;
	for (unsigned a = 0; a < 256; a++) {
		for (unsigned b = 0; b < 256; b++)
			product[a][b] = multiply_by_bits(a, b);
	}
	for (size_t i = 0; i < count; i++) {
		if (parity_kernel_runs_here(&table[i]))
			kernels[kernel_count++] = &table[i];
		print_message("kernel %s: %s\n", parity_kernel_name(&table[i]),
			parity_kernel_runs_here(&table[i]) ? "native" : "emulated only");
	}
	for (size_t i = 0; i < sizeof(emulated) / sizeof(emulated[0]); i++)
		kernels[kernel_count++] = &emulated[i];

	print_message("seed %d\n", SEED);
	srand(SEED);
	memset(data, CANARY, sizeof(data));
	for (unsigned i = 0; i < DATA_MAX; i++) {
		for (unsigned at = 0; at < BYTES_MAX; at++)
			data[i].bytes[at] = random_byte();
	}
	memcpy(pristine, data, sizeof(data));
	return 0;
}

/* Before each test, for the one before may have failed half way. */
static int restore(void **state)
{
	(void)state;
	memcpy(data, pristine, sizeof(data));
	parity_kernel_in_use = kernels[0];
	return 0;
}

static void compute_naive(unsigned columns, size_t bytes)
{
	for (unsigned j = 0; j < PARITY_MAX; j++) {
		memset(naive[j], 0, bytes);
		for (unsigned i = 0; i < columns; i++) {
			const uint8_t *times = product[coefficient(j, i)];

			for (size_t at = 0; at < bytes; at++)
				naive[j][at] ^= times[data[i].bytes[at]];
		}
	}
}

static void wipe(struct guarded *buffer)
{
	memset(buffer, CANARY, sizeof(*buffer));
}

static void assert_untouched(const uint8_t *from, const uint8_t *to)
{
	while (from < to)
		assert_int_equal(*from++, CANARY);
}

/* Exactly `bytes` bytes, those expected, were written; with no bytes, nothing was. */
static void assert_written(const struct guarded *buffer, const uint8_t *expected, size_t bytes)
{
	assert_untouched(buffer->before, buffer->bytes);
	if (bytes)
		assert_memory_equal(buffer->bytes, expected, bytes);
	assert_untouched(buffer->bytes + bytes, buffer->after + LINE);
}

static void assert_inputs_pristine(void)
{
	assert_memory_equal(data, pristine, sizeof(data));
}

static void point_at_data(const void *columns[DATA_MAX])
{
	for (unsigned i = 0; i < DATA_MAX; i++)
		columns[i] = data[i].bytes;
}

/* Output buffers for the parities in the set, NULL for the others; all wiped. */
static void point_at_outputs(void *parity[PARITY_MAX], unsigned set)
{
	for (unsigned j = 0; j < PARITY_MAX; j++) {
		wipe(&output[j]);
		parity[j] = set & 1u << j ? output[j].bytes : NULL;
	}
}

/* The right parities as inputs, NULL for those not in the set. */
static void point_at_naive(const void *parity[PARITY_MAX], unsigned set)
{
	static _Alignas(LINE) uint8_t stored[PARITY_MAX][BYTES_MAX];

	memcpy(stored, naive, sizeof(stored));
	for (unsigned j = 0; j < PARITY_MAX; j++)
		parity[j] = set & 1u << j ? stored[j] : NULL;
}

static void assert_generates(unsigned columns, unsigned parities, size_t bytes, unsigned set)
{
	const void *inputs[DATA_MAX];
	void *parity[PARITY_MAX];

	point_at_data(inputs);
	point_at_outputs(parity, set);
	parity_generate(columns, parities, bytes, inputs, parity);
	for (unsigned j = 0; j < PARITY_MAX; j++)
		assert_written(&output[j], naive[j], set & 1u << j ? bytes : 0);
}

static void test_field(void **state)
{
	(void)state;
	for (unsigned a = 0; a < 256; a++) {
		for (unsigned b = 0; b < 256; b++) {
			uint8_t by_matrix = 0;

			assert_int_equal(field_multiply((uint8_t)a, (uint8_t)b), product[a][b]);
			for (unsigned bit = 0; bit < 8; bit++) {
				uint8_t row = (uint8_t)(field_matrix[a] >> 8 * (7 - bit));

				by_matrix |= (uint8_t)(__builtin_parity(row & b) << bit);
			}
			assert_int_equal(by_matrix, product[a][b]);
		}
		if (a)
			assert_int_equal(product[a][field_inverse((uint8_t)a)], 1);
	}
	for (unsigned j = 0; j < PARITY_MAX; j++) {
		for (unsigned i = 0; i < PARITY_COLUMNS_MAX; i++)
			assert_int_equal(field_coefficient(j, i), coefficient(j, i));
	}
}

static uint8_t determinant_2(unsigned p, unsigned q, unsigned a, unsigned b)
{
	return product[coefficient(p, a)][coefficient(q, b)] ^
	       product[coefficient(p, b)][coefficient(q, a)];
}

/* Any losses that the parities can make up for leave a matrix that can be inverted. */
static void test_every_square_is_regular(void **state)
{
	static const unsigned pairs[][2] = {{0, 1}, {0, 2}, {1, 2}};

	(void)state;
	for (unsigned a = 0; a < DATA_MAX; a++) {
		for (unsigned j = 0; j < PARITY_MAX; j++)
			assert_int_not_equal(coefficient(j, a), 0);
		for (unsigned b = a + 1; b < DATA_MAX; b++) {
			for (unsigned pair = 0; pair < 3; pair++)
				assert_int_not_equal(
					determinant_2(pairs[pair][0], pairs[pair][1], a, b), 0);
			for (unsigned c = b + 1; c < DATA_MAX; c++)
				assert_int_not_equal(
					product[coefficient(0, a)][determinant_2(1, 2, b, c)] ^
						product[coefficient(0, b)]
						       [determinant_2(1, 2, a, c)] ^
						product[coefficient(0, c)]
						       [determinant_2(1, 2, a, b)],
					0);
		}
	}
}

static void test_generate_every_shape(void **state)
{
	(void)state;
	for (unsigned columns = 1; columns <= DATA_MAX; columns++) {
		compute_naive(columns, BYTES);
		for (size_t k = 0; k < kernel_count; k++) {
			parity_kernel_in_use = kernels[k];
			for (unsigned parities = 1; parities <= PARITY_MAX; parities++) {
				if (columns + parities > PARITY_COLUMNS_MAX)
					continue;
				for (unsigned set = 0; set < 1u << parities; set++)
					assert_generates(columns, parities, BYTES, set);
			}
		}
	}
	assert_inputs_pristine();
}

static void test_generate_every_length(void **state)
{
	(void)state;
	compute_naive(5, BYTES_MAX);
	for (size_t k = 0; k < kernel_count; k++) {
		parity_kernel_in_use = kernels[k];
		for (size_t bytes = 0; bytes <= BYTES_MAX; bytes += LINE) {
			for (unsigned set = 1; set < PARITY_SETS; set++)
				assert_generates(5, PARITY_MAX, bytes, set);
		}
	}
	assert_inputs_pristine();
}

/* Nothing but zeros, and a single bit anywhere: shows what random data may hide. */
static void test_generate_single_bits(void **state)
{
	static _Alignas(LINE) uint8_t zeros[LINE];
	static _Alignas(LINE) uint8_t lone[LINE];
	const void *inputs[DATA_MAX];
	void *parity[PARITY_MAX];

	(void)state;
	for (size_t k = 0; k < kernel_count; k++) {
		parity_kernel_in_use = kernels[k];
		for (unsigned column = 0; column < 29; column++) {
			for (unsigned i = 0; i < 29; i++)
				inputs[i] = i == column ? lone : zeros;
			for (unsigned bit = 0; bit < 8 * LINE; bit += 7) {
				memset(lone, 0, LINE);
				lone[bit / 8] = (uint8_t)(1u << bit % 8);
				point_at_outputs(parity, 7);
				parity_generate(29, PARITY_MAX, LINE, inputs, parity);
				for (unsigned j = 0; j < PARITY_MAX; j++) {
					uint8_t expected[LINE] = {0};

					expected[bit / 8] =
						product[coefficient(j, column)][lone[bit / 8]];
					assert_written(&output[j], expected, LINE);
				}
			}
		}
	}
}

/* A change of any one byte, of data or of a parity looked at, is seen. */
static void test_check_sees_every_byte(void **state)
{
	enum { COLUMNS = 3 };
	const void *inputs[DATA_MAX];
	const void *parity[PARITY_MAX];

	(void)state;
	compute_naive(COLUMNS, BYTES);
	point_at_data(inputs);
	for (size_t k = 0; k < kernel_count; k++) {
		parity_kernel_in_use = kernels[k];
		for (unsigned set = 0; set < PARITY_SETS; set++) {
			point_at_naive(parity, set);
			assert_true(parity_check(COLUMNS, PARITY_MAX, BYTES, inputs, parity));
			for (unsigned at = 0; at < BYTES; at++) {
				uint8_t change = (uint8_t)(1u << at % 8);
				uint8_t *damaged = data[at % COLUMNS].bytes + at;

				*damaged ^= change;
				assert_int_equal(
					parity_check(COLUMNS, PARITY_MAX, BYTES, inputs, parity),
					set == 0);
				*damaged ^= change;
				damaged = (uint8_t *)parity[at % PARITY_MAX];
				if (!damaged)
					continue;
				damaged[at] ^= change;
				assert_false(
					parity_check(COLUMNS, PARITY_MAX, BYTES, inputs, parity));
				damaged[at] ^= change;
			}
		}
	}
	assert_inputs_pristine();
}

static void assert_updates(unsigned column, unsigned parities, size_t bytes, unsigned set)
{
	const struct guarded *before = &data[column];
	const struct guarded *after = &data[(column + 7) % DATA_MAX];
	void *parity[PARITY_MAX];

	point_at_outputs(parity, set);
	for (unsigned j = 0; j < PARITY_MAX; j++) {
		const uint8_t *times = product[coefficient(j, column)];

		for (size_t at = 0; at < bytes; at++) {
			uint8_t old = data[j].bytes[at];

			naive[j][at] = old ^ times[before->bytes[at] ^ after->bytes[at]];
			if (parity[j])
				output[j].bytes[at] = old;
		}
	}
	parity_update(column, parities, bytes, before->bytes, after->bytes, parity);
	for (unsigned j = 0; j < PARITY_MAX; j++)
		assert_written(&output[j], naive[j], set & 1u << j ? bytes : 0);
}

static void test_update_every_column(void **state)
{
	(void)state;
	for (size_t k = 0; k < kernel_count; k++) {
		parity_kernel_in_use = kernels[k];
		for (unsigned parities = 1; parities <= PARITY_MAX; parities++) {
			for (unsigned column = 0; column < PARITY_COLUMNS_MAX - parities;
				column++) {
				for (unsigned set = 0; set < 1u << parities; set++) {
					assert_updates(column, parities, LINE, set);
					assert_updates(column, parities, BYTES, set);
				}
			}
		}
	}
	assert_inputs_pristine();
}

/* At every address of the new data: the copy is it, and the parities are those of the copy. */
static void test_copy_update(void **state)
{
	enum { COLUMN = 6 };
	struct guarded copy;
	void *parity[PARITY_MAX];

	(void)state;
	for (size_t k = 0; k < kernel_count; k++) {
		parity_kernel_in_use = kernels[k];
		for (unsigned at = 0; at < LINE * PARITY_SETS; at++) {
			unsigned set = at / LINE;
			const uint8_t *after = data[COLUMN + 1].bytes + at % LINE;
			struct parity_change change = {
				BYTES, data[COLUMN].bytes, after, copy.bytes};

			point_at_outputs(parity, set);
			wipe(&copy);
			for (unsigned j = 0; j < PARITY_MAX; j++) {
				if (parity[j])
					memcpy(parity[j], data[j].bytes, BYTES);
				for (size_t i = 0; i < BYTES; i++)
					naive[j][i] = data[j].bytes[i] ^
						      product[coefficient(j, COLUMN)]
							     [data[COLUMN].bytes[i] ^ after[i]];
			}
			parity_copy_update(COLUMN, PARITY_MAX, &change, parity);
			assert_written(&copy, after, BYTES);
			for (unsigned j = 0; j < PARITY_MAX; j++)
				assert_written(&output[j], naive[j], set & 1u << j ? BYTES : 0);
		}
	}
	assert_inputs_pristine();
}

/*
 * A guest that writes to its buffer whenever it has been read: reading the page faults, the fault
 * lets one instruction through, and behind that one all bytes are changed and reading faults again.
 */
enum { GUEST_BYTES = 4096, TRAP_FLAG = 0x100 };
static uint8_t *guest;

static void let_one_instruction_read(int signal, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	(void)signal;
	if ((uintptr_t)info->si_addr - (uintptr_t)guest >= GUEST_BYTES)
		abort();
	mprotect(guest, GUEST_BYTES, PROT_READ | PROT_WRITE);
	user->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void change_what_was_read(int signal, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	(void)signal, (void)info;
	for (unsigned i = 0; i < GUEST_BYTES; i++)
		guest[i] = (uint8_t)(guest[i] * 3 + 1);
	mprotect(guest, GUEST_BYTES, PROT_NONE);
	user->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

/* Whatever the copy is then, the parities are its own. */
static void test_copy_update_of_changing_data(void **state)
{
	enum { COLUMN = 3 };
	const struct sigaction on_fault = {
		.sa_sigaction = let_one_instruction_read, .sa_flags = SA_SIGINFO};
	const struct sigaction on_trap = {
		.sa_sigaction = change_what_was_read, .sa_flags = SA_SIGINFO};
	struct sigaction old_fault, old_trap;
	struct guarded copy;
	void *parity[PARITY_MAX], *expected[PARITY_MAX] = {naive[0], naive[1], naive[2]};

	(void)state;
	guest = mmap(NULL, GUEST_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(guest != MAP_FAILED);
	assert_int_equal(sigaction(SIGSEGV, &on_fault, &old_fault), 0);
	assert_int_equal(sigaction(SIGTRAP, &on_trap, &old_trap), 0);
	for (size_t k = 0; k < kernel_count; k++) {
		struct parity_change change = {BYTES, data[COLUMN].bytes, guest + 5, copy.bytes};

		parity_kernel_in_use = kernels[k];
		point_at_outputs(parity, 7);
		for (unsigned j = 0; j < PARITY_MAX; j++) {
			memcpy(parity[j], data[j].bytes, BYTES);
			memcpy(expected[j], data[j].bytes, BYTES);
		}
		parity_copy_update(COLUMN, PARITY_MAX, &change, parity);
		parity_update(COLUMN, PARITY_MAX, BYTES, data[COLUMN].bytes, copy.bytes, expected);
		for (unsigned j = 0; j < PARITY_MAX; j++)
			assert_memory_equal(parity[j], expected[j], BYTES);
	}
	sigaction(SIGSEGV, &old_fault, NULL);
	sigaction(SIGTRAP, &old_trap, NULL);
	munmap(guest, GUEST_BYTES);
}

/* Recovers the lost columns; `unwanted`: a lost column not asked for, or -1. */
static void assert_recovers(unsigned columns, unsigned parities, size_t bytes, uint32_t lost,
	unsigned available, int unwanted)
{
	void *survivors[DATA_MAX];
	const void *parity[PARITY_MAX];
	unsigned slot = 0;

	point_at_naive(parity, available);
	for (unsigned k = 0; k < PARITY_MAX; k++)
		wipe(&output[k]);
	for (unsigned i = 0; i < columns; i++) {
		survivors[i] = data[i].bytes;
		if (lost >> i & 1)
			survivors[i] = (int)i == unwanted ? NULL : output[slot++].bytes;
	}
	parity_recover(columns, parities, bytes, lost, survivors, parity);
	slot = 0;
	for (unsigned i = 0; i < columns; i++) {
		if (lost >> i & 1 && (int)i != unwanted)
			assert_written(&output[slot++], pristine[i].bytes, bytes);
	}
	while (slot < PARITY_MAX)
		assert_written(&output[slot++], NULL, 0);
}

/* Every set of parities that suffices, everything wanted and each lost column once not. */
static void assert_recovers_all_ways(unsigned columns, size_t bytes, uint32_t lost)
{
	int losses = __builtin_popcount(lost);

	for (unsigned available = 1; available < PARITY_SETS; available++) {
		unsigned parities = 32 - (unsigned)__builtin_clz(available);

		if (__builtin_popcount(available) < losses ||
			columns + parities > PARITY_COLUMNS_MAX)
			continue;
		assert_recovers(columns, parities, bytes, lost, available, -1);
		if (parities < PARITY_MAX && columns + PARITY_MAX <= PARITY_COLUMNS_MAX)
			assert_recovers(columns, PARITY_MAX, bytes, lost, available, -1);
		for (uint32_t rest = lost; rest; rest &= rest - 1)
			assert_recovers(
				columns, parities, bytes, lost, available, __builtin_ctz(rest));
	}
}

/*
 * Every lost set; of wide rows (17 columns and more) every `stride`th of them. Lengths take turns:
 * one line, and a step with a rest.
 */
static void assert_recovers_every_loss(unsigned columns, unsigned stride)
{
	unsigned turn = 0;

	for (unsigned a = 0; a < columns; a++) {
		for (unsigned b = a; b < columns; b++) {
			for (unsigned c = b; c < columns; c++) {
				uint32_t lost = 1u << a | 1u << b | 1u << c;

				if (a == b && b != c)
					continue;
				if (columns > 16 && turn++ % stride)
					continue;
				assert_recovers_all_ways(columns, turn % 4 ? LINE : BYTES, lost);
			}
		}
	}
}

static void test_recover_every_loss(void **state)
{
	(void)state;
	for (unsigned columns = 1; columns <= DATA_MAX; columns++) {
		compute_naive(columns, BYTES);
		for (size_t k = 0; k < kernel_count; k++) {
			parity_kernel_in_use = kernels[k];
			assert_recovers_every_loss(columns, 3);
		}
	}
	assert_inputs_pristine();
}

static void test_recover_every_length(void **state)
{
	(void)state;
	compute_naive(6, BYTES_MAX);
	for (size_t k = 0; k < kernel_count; k++) {
		parity_kernel_in_use = kernels[k];
		for (size_t bytes = 0; bytes <= BYTES_MAX; bytes += LINE) {
			assert_recovers_all_ways(6, bytes, 1u << 5);
			assert_recovers_all_ways(6, bytes, 1u << 0 | 1u << 3);
			assert_recovers_all_ways(6, bytes, 1u << 0 | 1u << 2 | 1u << 5);
		}
	}
	assert_inputs_pristine();
}

/* One wrong column is named by any two parities; by one parity none can be. */
static void test_locate_every_column(void **state)
{
	const void *inputs[DATA_MAX];
	const void *parity[PARITY_MAX];

	(void)state;
	point_at_data(inputs);
	for (unsigned columns = 1; columns <= PARITY_COLUMNS_MAX - PARITY_MAX; columns++) {
		compute_naive(columns, BYTES_MAX);
		for (unsigned set = 1; set < PARITY_SETS; set++) {
			bool enough = __builtin_popcount(set) >= 2;

			point_at_naive(parity, set);
			assert_int_equal(PARITY_NONE_WRONG,
				parity_locate(columns, PARITY_MAX, BYTES_MAX, inputs, parity));
			for (unsigned wrong = 0; wrong < columns + PARITY_MAX; wrong++) {
				uint8_t *buffer = wrong < columns
							  ? data[wrong].bytes
							  : (uint8_t *)parity[wrong - columns];

				if (!buffer)
					continue;
				for (unsigned at = wrong; at < BYTES_MAX; at += 401)
					buffer[at] ^= (uint8_t)(at % 255 + 1);
				assert_int_equal(enough ? (int)wrong : PARITY_UNLOCATED,
					parity_locate(
						columns, PARITY_MAX, BYTES_MAX, inputs, parity));
				for (unsigned at = wrong; at < BYTES_MAX; at += 401)
					buffer[at] ^= (uint8_t)(at % 255 + 1);
			}
		}
	}
	assert_inputs_pristine();
}

static void test_locate_every_byte(void **state)
{
	enum { COLUMNS = 4 };
	const void *inputs[DATA_MAX];
	const void *parity[PARITY_MAX];

	(void)state;
	compute_naive(COLUMNS, BYTES_MAX);
	point_at_data(inputs);
	point_at_naive(parity, PARITY_P | PARITY_Q);
	for (unsigned at = 0; at < BYTES_MAX; at++) {
		data[at % COLUMNS].bytes[at] ^= 0x40;
		assert_int_equal((int)at % COLUMNS,
			parity_locate(COLUMNS, PARITY_MAX, BYTES_MAX, inputs, parity));
		data[at % COLUMNS].bytes[at] ^= 0x40;
	}
}

/* Two wrong columns are never taken for one, wherever the two lie. */
static void test_locate_refuses_two(void **state)
{
	enum { COLUMNS = 12 };
	const void *inputs[DATA_MAX];
	const void *parity[PARITY_MAX];

	(void)state;
	compute_naive(COLUMNS, BYTES_MAX);
	point_at_data(inputs);
	point_at_naive(parity, 7);
	for (unsigned a = 0; a < COLUMNS; a++) {
		for (unsigned b = a + 1; b < COLUMNS; b++) {
			size_t far = b % 2 ? BYTES_MAX - 1 : 0; /* in the same byte, or pieces on */

			data[a].bytes[0] ^= 0x21;
			data[b].bytes[far] ^= 0x83;
			assert_int_equal(PARITY_UNLOCATED,
				parity_locate(COLUMNS, PARITY_MAX, BYTES_MAX, inputs, parity));
			data[a].bytes[0] ^= 0x21;
			data[b].bytes[far] ^= 0x83;
		}
	}
	assert_inputs_pristine();
}

static void test_isal_agrees(void **state)
{
	void *vectors[PARITY_COLUMNS_MAX + 1];
	uint8_t matrix[PARITY_MAX * DATA_MAX];
	uint8_t tables[32 * PARITY_MAX * DATA_MAX];

	(void)state;
	for (unsigned columns = 1; columns <= PARITY_COLUMNS_MAX - PARITY_MAX; columns++) {
		for (unsigned i = 0; i < columns; i++)
			vectors[i] = data[i].bytes;
		point_at_outputs(vectors + columns, 3);
		if (columns >= 2) {
			assert_int_equal(0, pq_gen((int)columns + 2, BYTES, vectors));
			memcpy(naive[0], output[0].bytes, BYTES);
			memcpy(naive[1], output[1].bytes, BYTES);
			for (size_t k = 0; k < kernel_count; k++) {
				parity_kernel_in_use = kernels[k];
				assert_generates(columns, 2, BYTES, PARITY_P | PARITY_Q);
			}
			wipe(&output[0]);
			assert_int_equal(0, xor_gen((int)columns + 1, BYTES, vectors));
			assert_memory_equal(output[0].bytes, naive[0], BYTES);
		}
		for (unsigned j = 0; j < PARITY_MAX; j++) {
			for (unsigned i = 0; i < columns; i++)
				matrix[j * columns + i] = coefficient(j, i);
		}
		point_at_outputs(vectors + columns, 7);
		ec_init_tables((int)columns, PARITY_MAX, matrix, tables);
		ec_encode_data(BYTES, (int)columns, PARITY_MAX, tables, (uint8_t **)vectors,
			(uint8_t **)vectors + columns);
		for (unsigned j = 0; j < PARITY_MAX; j++)
			memcpy(naive[j], output[j].bytes, BYTES);
		for (size_t k = 0; k < kernel_count; k++) {
			parity_kernel_in_use = kernels[k];
			assert_generates(columns, PARITY_MAX, BYTES, 7);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_field, restore),
		cmocka_unit_test_setup(test_every_square_is_regular, restore),
		cmocka_unit_test_setup(test_generate_every_shape, restore),
		cmocka_unit_test_setup(test_generate_every_length, restore),
		cmocka_unit_test_setup(test_generate_single_bits, restore),
		cmocka_unit_test_setup(test_check_sees_every_byte, restore),
		cmocka_unit_test_setup(test_update_every_column, restore),
		cmocka_unit_test_setup(test_copy_update, restore),
		cmocka_unit_test_setup(test_copy_update_of_changing_data, restore),
		cmocka_unit_test_setup(test_recover_every_loss, restore),
		cmocka_unit_test_setup(test_recover_every_length, restore),
		cmocka_unit_test_setup(test_locate_every_column, restore),
		cmocka_unit_test_setup(test_locate_every_byte, restore),
		cmocka_unit_test_setup(test_locate_refuses_two, restore),
		cmocka_unit_test_setup(test_isal_agrees, restore),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
