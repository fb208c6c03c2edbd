/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/member.h"

#include <assert.h>
#include <time.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/mutant.h"
#include "raid/internal.h"

const char *loss_reason_text(enum loss_reason reason)
{
	static const char *const texts[LOSS_REASONS] = {
		[LOSS_WRITE_ERROR] = "a write failed",
		[LOSS_FLUSH_ERROR] = "a flush failed",
		[LOSS_READ_ERRORS] = "too many reads failed",
		[LOSS_OPERATOR] = "taken out by the operator",
		[LOSS_SUPERBLOCK] = "its superblock could not be written",
		[LOSS_ABSENT] = "absent when the array started",
		[LOSS_REPLACED] = "replaced by another drive",
	};

	assert(reason < LOSS_REASONS);
	return texts[reason];
}

/* Nothing is written to a lost column any more, so a copy of it is void as well. That it was being
 * rebuilt is not forgotten before home has announced the loss: if the array breaks instead, it is
 * what it was, in sync below its watermark only. */
static void stop_using(struct shard *shard, unsigned member)
{
	shard->lost |= 1u << member;
	shard->replacements[member] = NULL;
}

/* --- the end: everybody may rely on it ------------------------------------------------------- */

/* On the shard: every shard knows of the loss now, and the other members do. */
static void run_settle(struct message *message)
{
	struct loss *loss = container_of(message, struct loss, announce);

	loss->shard->settled |= 1u << loss->member;
	op_settled(loss->shard);
	request_settled(loss->shard);
}

static void settle_everywhere(struct array *array, unsigned member)
{
	for (unsigned i = 0; i < array->shard_count; i++) {
		struct loss *settle = &array->shards[i]->settles[member];

		settle->announce.run = run_settle;
		reactor_send(settle->shard->reactor, &settle->announce);
	}
}

/* --- the array breaks ------------------------------------------------------------------------ */

static void run_break(struct message *message)
{
	struct shard *shard = container_of(message, struct shard, break_message);

	shard->broken = true;
	/* What it had taken for lost and home has not recorded can still be read. */
	shard->lost &= shard->break_lost;
	op_settled(shard);
	request_settled(shard);
}

static void break_array(struct array *array, unsigned member, enum loss_reason reason)
{
	struct shard *home = array->shards[0];

	if (home->breaking)
		return;
	home->breaking = true;
	array->keeper->frozen = true;
	log_error("event=ArrayBroken array=%s member=%u drive=\"%s\" reason=\"%s\" "
		  "effect=\"nothing is written any more\" cure=\"bring the drives back, then stop "
		  "and start the array\"",
		array->config.name, member, array->config.member[member]->name,
		loss_reason_text(reason));
	for (unsigned i = 0; i < array->shard_count; i++) {
		struct shard *shard = array->shards[i];

		shard->break_lost = home->announced;
		shard->break_message.run = run_break;
		reactor_send(shard->reactor, &shard->break_message);
	}
}

/* --- at home: the loss becomes durable ------------------------------------------------------- */

static void committed(struct keeper_wait *wait)
{
	struct loss *loss = container_of(wait, struct loss, wait);

	struct array *array = loss->shard->array;

	/* The keeper of a broken array writes nothing, so a part that loses a member then breaks as
	 * well: what waits for the loss to be durable gets an error. */
	if (array->keeper->frozen)
		break_array(array, loss->member, array->losses[loss->member].reason);
	else
		settle_everywhere(array, loss->member);
}

/* The missing map is durable: now the table. */
static void mapped(struct keeper_wait *wait)
{
	struct loss *loss = container_of(wait, struct loss, wait);
	struct array *array = loss->shard->array;
	struct keeper *keeper = array->keeper;
	unsigned row = array->first_row + loss->member;
	struct superblock_row *entry = &keeper->superblock.rows[row];

	entry->resyncable = entry->state == ROW_IN_SYNC;
	entry->reason = (uint8_t)array->losses[loss->member].reason;
	entry->lost_at = array->losses[loss->member].at;
	keeper_row_set(keeper, row, ROW_FAILED);
	loss->wait.done = committed;
	if (MUTANT(loss_not_durable)) {
		keeper_commit(keeper, NULL);
		committed(wait);
	} else {
		keeper_commit(keeper, &loss->wait);
	}
}

/*
 * What the member may lack when it comes back: what was not flushed; and what is dirty, because a
 * crash may leave the redundancy there as it was, and the resync after it then makes up its mind
 * without the member.
 */
static void note_missing(struct array *array, const struct loss *loss)
{
	uint8_t *missing = array->keeper->maps[MAP_MISSING].bits;
	const uint8_t *dirty = array->keeper->maps[MAP_DIRTY].bits;

	for (uint64_t i = 0; i < divide_up(array->regions, 8); i++)
		missing[i] |= (MUTANT(missing_unflushed) ? 0 : loss->unflushed[i]) |
			      (MUTANT(missing_dirty) ? 0 : dirty[i]);
}

/* One more shard knows. */
static void run_ack(struct message *message)
{
	struct loss *loss = container_of(message, struct loss, announce);
	struct array *array = loss->shard->array;
	struct shard *home = array->shards[0];
	struct loss *first = &home->losses[loss->member];

	note_missing(array, loss);
	if (--home->acks[loss->member])
		return;
	first->wait.done = mapped;
	keeper_map_write(array->keeper, MAP_MISSING, &first->wait);
}

/* On every shard. */
static void run_announce(struct message *message)
{
	struct loss *loss = container_of(message, struct loss, announce);
	struct shard *shard = loss->shard;

	stop_using(shard, loss->member);
	shard->rebuilding &= ~(1u << loss->member);
	intent_unflushed(shard, loss->unflushed);
	loss->announce.run = run_ack;
	reactor_send(shard->array->shards[0]->reactor, &loss->announce);
}

/* --- at home: a report ----------------------------------------------------------------------- */

/* Makes a loss known. Only the first report counts. */
static void announce(struct array *array, unsigned member, enum loss_reason reason)
{
	struct shard *home = array->shards[0];
	uint32_t bit = 1u << member;

	if (home->announced & bit || home->breaking)
		return;
	if (bits_count(home->announced | home->rebuilding | bit) > array->geometry.redundant &&
		!MUTANT(loss_beyond_recorded)) {
		break_array(array, member, reason);
		return;
	}
	home->announced |= bit;
	home->acks[member] = array->shard_count;
	array->losses[member].reason = reason;
	array->losses[member].at = (uint64_t)time(NULL);
	log_warning(
		"event=Fail array=%s member=%u drive=\"%s\" reason=\"%s\" failed=%u survives=%u",
		array->config.name, member, array->config.member[member]->name,
		loss_reason_text(reason), bits_count(home->announced), array->geometry.redundant);
	for (unsigned i = 0; i < array->shard_count; i++) {
		struct loss *loss = &array->shards[i]->losses[member];

		loss->announce.run = run_announce;
		reactor_send(loss->shard->reactor, &loss->announce);
	}
}

static void run_report(struct message *message)
{
	struct loss *loss = container_of(message, struct loss, report);

	announce(loss->shard->array, loss->member, loss->reason);
}

/* On the shard: it goes on with the member, and may suspect it again. */
static void run_trust(struct message *message)
{
	container_of(message, struct loss, suspect)->suspected = false;
}

/* A shard has seen too many read errors of a member. */
static void run_suspect(struct message *message)
{
	struct loss *loss = container_of(message, struct loss, suspect);
	struct array *array = loss->shard->array;
	const struct shard *home = array->shards[0];

	/* With bad blocks about, what it still holds may be all that is left of a row. */
	if (!array->keeper->bad.list.count &&
		bits_count(home->announced | home->rebuilding) < array->geometry.redundant) {
		announce(array, loss->member, LOSS_READ_ERRORS);
		return;
	}
	loss->suspect.run = run_trust;
	reactor_send(loss->shard->reactor, &loss->suspect);
}

/* --- on any shard ---------------------------------------------------------------------------- */

void member_lose(struct shard *shard, unsigned member, enum loss_reason reason)
{
	struct loss *loss = &shard->losses[member];

	if (shard->lost & 1u << member || shard->broken)
		return;
	stop_using(shard, member);
	if (MUTANT(loss_not_awaited))
		shard->settled |= 1u << member;
	loss->reason = reason;
	loss->report.run = run_report;
	reactor_send(shard->array->shards[0]->reactor, &loss->report);
}

static void suspect(struct shard *shard, unsigned member)
{
	struct loss *loss = &shard->losses[member];

	if (!shard->array->geometry.redundant || loss->suspected)
		return;
	loss->suspected = true;
	loss->suspect.run = run_suspect;
	reactor_send(shard->array->shards[0]->reactor, &loss->suspect);
}

void member_read_error(struct shard *shard, unsigned member)
{
	if (++shard->member_counters[member].read_errors >= MEMBER_READ_ERRORS_MAX)
		suspect(shard, member);
}

void member_verify_error(struct shard *shard, unsigned member)
{
	shard->member_counters[member].read_errors++;
	suspect(shard, member);
}

void member_write_error(struct shard *shard, unsigned member, enum loss_reason reason)
{
	shard->member_counters[member].write_errors++;
	if (shard->array->geometry.redundant)
		member_lose(shard, member, reason);
}

/* The slot's own member holds the truth, so nobody need be told: the sweep that copies notices at
 * its end, and after a crash it begins anew. */
void replacement_lose(struct shard *shard, unsigned member)
{
	shard->replacements[member] = NULL;
}
