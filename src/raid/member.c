/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/member.h"

#include <assert.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/mutant.h"
#include "raid/internal.h"

const char *member_state_name(enum member_state state)
{
	static const char *const names[MEMBER_STATES] = {"online", "failed"};

	assert(state < MEMBER_STATES);
	return names[state];
}

const char *loss_reason_text(enum loss_reason reason)
{
	static const char *const texts[LOSS_REASONS] = {
		[LOSS_WRITE_ERROR] = "a write failed",
		[LOSS_FLUSH_ERROR] = "a flush failed",
		[LOSS_READ_ERRORS] = "too many reads failed",
		[LOSS_OPERATOR] = "taken out by the operator",
	};

	assert(reason < LOSS_REASONS);
	return texts[reason];
}

/* On the shard: every shard knows of the loss now. */
static void run_settle(struct message *message)
{
	struct loss *loss = container_of(message, struct loss, announce);

	loss->shard->settled |= 1u << loss->member;
	op_settled(loss->shard);
}

static void settle_everywhere(struct array *array, unsigned member)
{
	for (unsigned i = 0; i < array->shard_count; i++) {
		struct loss *settle = &array->shards[i]->settles[member];

		settle->announce.run = run_settle;
		reactor_send(settle->shard->reactor, &settle->announce);
	}
}

/* At home: one more shard knows. */
static void run_ack(struct message *message)
{
	struct loss *loss = container_of(message, struct loss, announce);
	struct array *array = loss->shard->array;
	struct shard *home = array->shards[0];

	if (--home->acks[loss->member] == 0)
		settle_everywhere(array, loss->member);
}

/* On every shard. */
static void run_announce(struct message *message)
{
	struct loss *loss = container_of(message, struct loss, announce);
	struct shard *shard = loss->shard;

	shard->lost |= 1u << loss->member;
	loss->announce.run = run_ack;
	reactor_send(shard->array->shards[0]->reactor, &loss->announce);
}

/* At home: makes a loss known. Only the first report counts. */
static void announce(struct array *array, unsigned member, enum loss_reason reason)
{
	struct shard *home = array->shards[0];

	if (home->announced & 1u << member)
		return;
	home->announced |= 1u << member;
	home->acks[member] = array->shard_count;
	array->losses[member].reason = reason;
	array->losses[member].at_ns = reactor_now_ns(home->reactor);
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

/* At home: a shard has lost a member. */
static void run_report(struct message *message)
{
	struct loss *loss = container_of(message, struct loss, report);

	announce(loss->shard->array, loss->member, loss->reason);
}

/* At home: a shard has seen too many read errors of a member. */
static void run_suspect(struct message *message)
{
	struct loss *loss = container_of(message, struct loss, suspect);
	struct array *array = loss->shard->array;

	if (bits_count(array->shards[0]->announced) < array->geometry.redundant)
		announce(array, loss->member, LOSS_READ_ERRORS);
}

void member_lose(struct shard *shard, unsigned member, enum loss_reason reason)
{
	struct loss *loss = &shard->losses[member];

	if (shard->lost & 1u << member)
		return;
	shard->lost |= 1u << member;
	if (MUTANT(loss_not_awaited))
		shard->settled |= 1u << member;
	loss->reason = reason;
	loss->report.run = run_report;
	reactor_send(shard->array->shards[0]->reactor, &loss->report);
}

void member_read_error(struct shard *shard, unsigned member)
{
	struct loss *loss = &shard->losses[member];

	if (++shard->member_counters[member].read_errors < MEMBER_READ_ERRORS_MAX ||
		!shard->array->geometry.redundant || loss->suspected)
		return;
	loss->suspected = true;
	loss->suspect.run = run_suspect;
	reactor_send(shard->array->shards[0]->reactor, &loss->suspect);
}

void member_write_error(struct shard *shard, unsigned member, enum loss_reason reason)
{
	shard->member_counters[member].write_errors++;
	if (shard->array->geometry.redundant)
		member_lose(shard, member, reason);
}
