/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deliberate faults. A build with -Dmutants=true carries every fault behind a run-time switch, so
 * that the tests can show that they would notice it; in every other build MUTANT() is the
 * constant false and nothing is left of it.
 */
#ifndef BASE_MUTANT_H
#define BASE_MUTANT_H

#include <stdbool.h>

/* One row per fault: its name, and what the code does wrong under it. */
/* clang-format off */
#define MUTANT_TABLE(X) \
	X(geometry_rotation,       "parity of every other stripe placed one member off") \
	X(geometry_row,            "rows of the last chunk placed one row late") \
	X(plan_modify_failed,      "MODIFY chosen although a touched column cannot be read") \
	X(plan_rewrite_reads,      "REWRITE forgets to read the last untouched column") \
	X(plan_band_cut,           "the cut between two bands is one row off") \
	X(plan_parity_write,       "the last parity is computed but not written") \
	X(plan_direct_failed,      "a read goes to a member that has failed") \
	X(op_no_lock,              "operations on the same rows run at the same time") \
	X(op_read_error_ignored,   "a failed member read is taken as good") \
	X(op_write_error_ignored,  "a failed member write is taken as good") \
	X(op_join_order,           "joined writes are copied to the wrong place") \
	X(op_recover_column,       "a recovered column is not overlaid with the new data") \
	X(loss_not_awaited,        "a write is acknowledged before every reactor knows the loss") \
	X(mirror_one_copy,         "a mirror write leaves out the last copy") \
	X(zeroes_partial,          "write-zeroes of part of a stripe leaves its last row")
/* clang-format on */

#define MUTANT_ENUM_ROW(name, text) MUTANT_##name,
enum mutant { MUTANT_NONE, MUTANT_TABLE(MUTANT_ENUM_ROW) MUTANT_COUNT };

#ifdef BRAID_MUTANTS
extern enum mutant mutant_active;
#define MUTANT(name) (mutant_active == MUTANT_##name)
#else
#define MUTANT(name) false
#endif

/* Names for switches on a command line and the sentence above; mutant in [0, MUTANT_COUNT). */
const char *mutant_name(enum mutant mutant);
const char *mutant_text(enum mutant mutant);

#endif
