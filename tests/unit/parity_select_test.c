/* SPDX-License-Identifier: Apache-2.0 */

/* Which kernel is chosen: never one that computes wrongly, in whatever way. */
#include "unit.h"

#include <errno.h>

#include "parity/kernel.h"
#include "parity/parity.h"
#include "parity_emulated.h"

static bool runs_not(void)
{
	return false;
}

/* Kernels that are wrong in one way each. */

static bool wrong_last_byte_pass(const struct parity_pass *pass)
{
	bool same = portable_pass(pass);

	if (pass->end == PARITY_STORE && pass->set & PARITY_R)
		((uint8_t *)pass->parity[2])[pass->bytes - 1] ^= 1;
	return same;
}

static bool wrong_check_pass(const struct parity_pass *pass)
{
	return portable_pass(pass) || pass->end == PARITY_COMPARE;
}

static bool wrong_solve_pass(const struct parity_pass *pass)
{
	bool same = portable_pass(pass);

	if (pass->end == PARITY_SOLVE && pass->set == (PARITY_Q | PARITY_R))
		((uint8_t *)pass->lost[1])[0] ^= 1;
	return same;
}

static void wrong_update(const struct parity_delta *delta)
{
	portable_update(delta);
	if (delta->set & PARITY_Q)
		((uint8_t *)delta->parity[1])[delta->bytes - 1] ^= 1;
}

static void wrong_copy(const struct parity_delta *delta)
{
	portable_update(delta);
	if (delta->copy)
		((uint8_t *)delta->copy)[delta->bytes - 1] ^= 1;
}

/* clang-format off */
static const struct parity_kernel suspects[] = {
	{ "absent",          runs_not, wrong_last_byte_pass, portable_update },
	{ "wrong last byte", runs,     wrong_last_byte_pass, portable_update },
	{ "wrong check",     runs,     wrong_check_pass,     portable_update },
	{ "wrong solve",     runs,     wrong_solve_pass,     portable_update },
	{ "wrong update",    runs,     portable_pass,        wrong_update    },
	{ "wrong copy",      runs,     portable_pass,        wrong_copy      },
	{ "trusted",         runs,     portable_pass,        portable_update },
};
/* clang-format on */

enum { SUSPECTS = sizeof(suspects) / sizeof(suspects[0]) };

static void test_select_drops_wrong_kernels(void **state)
{
	const char *dropped;

	(void)state;
	parity_kernel_in_use = &emulated[0];
	for (unsigned i = 1; i + 1 < SUSPECTS; i++) {
		assert_int_equal(-EILSEQ,
			parity_select_among(suspects, SUSPECTS, suspects[i].name, &dropped));
		assert_string_equal(dropped, suspects[i].name);
	}
	assert_int_equal(-ENOENT, parity_select_among(suspects, SUSPECTS, "absent", &dropped));
	assert_null(dropped);
	assert_string_equal(parity_selected(), emulated[0].name);

	assert_int_equal(0, parity_select_among(suspects, SUSPECTS, NULL, &dropped));
	assert_string_equal(dropped, "wrong last byte");
	assert_string_equal(parity_selected(), "trusted");
}

static void test_select(void **state)
{
	const char *dropped = "";
	size_t count;
	const struct parity_kernel *table = parity_kernels(&count);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		int error = parity_select(parity_kernel_name(&table[i]), &dropped);

		assert_null(dropped);
		assert_int_equal(error, parity_kernel_runs_here(&table[i]) ? 0 : -ENOENT);
		if (!error)
			assert_string_equal(parity_selected(), parity_kernel_name(&table[i]));
	}
	assert_int_equal(-ENOENT, parity_select("abacus", &dropped));
	assert_int_equal(0, parity_select(NULL, &dropped));
	assert_null(dropped);
	print_message("selected %s\n", parity_selected());
	for (size_t i = 0; i < sizeof(emulated) / sizeof(emulated[0]); i++) {
		const struct parity_kernel pair[] = {emulated[i], table[count - 1]};

		assert_int_equal(0, parity_select_among(pair, 2, pair[0].name, &dropped));
		parity_select(NULL, &dropped);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_select_drops_wrong_kernels),
		cmocka_unit_test(test_select),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
