/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deliberate faults. A build with -Dmutants=true carries every fault behind a run-time switch, so
 * that the tests can show that they would notice it; in every other build MUTANT() is the
 * constant false and nothing is left of it.
 */
#ifndef BASE_MUTANT_H
#define BASE_MUTANT_H

#include <stdbool.h>

/* One row per fault: its name, and what the code does wrong under it. The first ones are for the
 * unit tests, because no life of an array meets them; the simulator must notice all others. */
/* clang-format off */
#define MUTANT_TABLE(X) \
	X(assembly_stale,          "a member that lags behind is taken for one in sync") \
	X(assembly_duplicate,      "a copy of a member is not noticed") \
	X(assembly_generation,     "the highest generation alone decides which table is the freshest") \
	X(assembly_parted,         "who went on in the same epoch is taken for one that was away") \
	X(assembly_spare_heard,    "a spare that has not heard of a loss speaks against it") \
	X(readd_unclean,           "a member that ran since the array was stopped in order is re-added") \
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
	X(zeroes_partial,          "write-zeroes of part of a stripe leaves its last row") \
	X(log_skipped,             "writes are not logged") \
	X(log_not_fua,             "records are written without being made stable") \
	X(log_no_flush,            "a checkpoint does not flush the members") \
	X(log_overwritten,         "records that are still needed are overwritten") \
	X(log_error_ignored,       "a member that did not take its record is taken to have it") \
	X(log_unsettled,           "a write goes in place although a member lacks the record") \
	X(log_left_out,            "a record leaves out a member whose loss is not durable") \
	X(log_full_volatile,       "full stripes are logged without payload on members with a cache") \
	X(log_tail_not_written,    "room in the log is used again without saying so") \
	X(log_tail_ignored,        "dead records are re-done") \
	X(log_epoch_kept,          "a start goes on in the old log epoch") \
	X(membership_keeps_log,    "a change of membership goes on in the old log epoch") \
	X(replay_incomplete,       "records that some members lack are re-done") \
	X(replay_order,            "records are re-done in the wrong order") \
	X(replay_torn,             "records with a torn payload are re-done") \
	X(replay_old_epoch,        "records of former log epochs are re-done") \
	X(replay_full_order,       "an earlier record is re-done over a full stripe") \
	X(replay_absent_unrecorded, "the log is re-done before it is recorded who was absent") \
	X(replay_no_flush,         "what was re-done is not flushed before its records are dropped") \
	X(intent_skipped,          "dirty regions are not recorded") \
	X(intent_not_awaited,      "a write does not wait until its region is recorded as dirty") \
	X(intent_cleared_busy,     "dirty bits are cleared under writes in flight") \
	X(intent_tick_races,       "dirty bits asked for during a tick are cleared by it") \
	X(tick_resync_races,       "dirty bits of regions resynced after the flush are cleared") \
	X(intent_no_flush,         "dirty bits are cleared without a flush") \
	X(dirty_ignored,           "the redundancy of dirty regions is trusted") \
	X(pace_dirty,              "a slow member's blocks are reconstructed in dirty regions too") \
	X(mirror_unsettled,        "a read of a dirty mirror region is answered before a loss is durable") \
	X(mirror_unstable,         "a read of a dirty mirror region does not make its copies equal") \
	X(start_dirty_degraded,    "a dirty array with a member missing is started without asking") \
	X(loss_not_durable,        "a write is acknowledged before the loss it rests on is durable") \
	X(loss_beyond_recorded,    "losses beyond the redundancy are recorded as well") \
	X(flush_unsettled,         "a flush is acknowledged before a loss is durable") \
	X(missing_unflushed,       "what a lost member may have lost from its cache is not recorded") \
	X(missing_dirty,           "what is dirty when a member is lost is not recorded as missing") \
	X(rebuild_dirty,           "a rebuild of what was missed leaves out what a crash made dirty") \
	X(missing_cleared,         "the missing map is cleared while a member is away") \
	X(readd_uncovered,         "a member is re-added although it is not known what it missed") \
	X(repair_not_fua,          "what a read repaired may be lost again") \
	X(start_not_flushed,       "a start builds on superblocks that are not stable yet") \
	X(start_not_even,          "a start goes on although some members lack the last commit") \
	X(start_not_ahead,         "a start does not raise the generation above that of an absent member") \
	X(assembly_own_role,       "the first superblock found is believed, not the freshest") \
	X(broken_commits,          "a broken array goes on writing superblocks") \
	X(gone_not_noticed,        "members that answer nothing any more are taken for bad sectors") \
	X(bad_ignored,             "blocks on the list of bad ones are read") \
	X(bad_not_written,         "the list of bad blocks is not written when it changes") \
	X(bad_not_moved,           "a copy takes its slot before its bad blocks are known as the slot's") \
	X(bad_for_ever,            "a bad block that was written stays bad") \
	X(offline_is_error,        "what a broken array cannot serve is called an error") \
	X(keeper_one_ring,         "superblocks are written to one ring only") \
	X(keeper_writes_failed,    "failed members get new superblocks") \
	X(rebuild_read_early,      "a member is read before it is rebuilt") \
	X(watermark_not_flushed,   "the watermark is durable before what is below it") \
	X(quiesce_no_flush,        "a change of membership or a stop does not flush") \
	X(replacement_not_written, "writes do not reach a replacement") \
	X(notes_not_spread,        "a member that came new does not get the notes") \
	X(scrub_blind,             "a scrub guesses which column is wrong")
/* clang-format on */

#define MUTANT_ENUM_ROW(name, text) MUTANT_##name,
enum mutant {
	MUTANT_NONE,
	MUTANT_TABLE(MUTANT_ENUM_ROW) MUTANT_COUNT,
	MUTANT_SIMULATED = MUTANT_geometry_rotation /* the first of the simulator's */
};

#ifdef BRAID_MUTANTS
extern enum mutant mutant_active;
#define MUTANT(name) (mutant_active == MUTANT_##name)
#else
#define MUTANT(name) false
#endif

/* Names for switches on a command line and the sentence above; mutant in [0, MUTANT_COUNT). */
const char *mutant_name(enum mutant mutant);
const char *mutant_text(enum mutant mutant);

/* Switches the fault on that $BRAID_MUTANT names; only in a build that carries them. False: there
 * is none by that name. Before any other thread. */
bool mutant_take_environment(void);

#endif
