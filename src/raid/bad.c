/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/bad.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/mutant.h"
#include "raid/internal.h"

static struct bad_range range_of(
	const struct array *array, unsigned table_row, uint64_t stripe, uint32_t row, uint32_t end)
{
	return (struct bad_range){.block = stripe * array->geometry.chunk_blocks + row,
		.blocks = end - row,
		.row = (uint8_t)table_row};
}

bool bad_has(
	const struct shard *shard, unsigned table_row, uint64_t stripe, uint32_t row, uint32_t end)
{
	return bad_list_touches(
		&shard->bad.list, range_of(shard->array, table_row, stripe, row, end));
}

uint32_t bad_columns(const struct shard *shard, uint64_t stripe, uint32_t row, uint32_t end)
{
	const struct array *array = shard->array;
	uint32_t members = 0;

	if (!shard->bad.list.count || row >= end || MUTANT(bad_ignored))
		return 0;
	for (unsigned i = 0; i < array->geometry.members; i++)
		if (bad_has(shard, array->first_row + i, stripe, row, end))
			members |= 1u << i;
	return geometry_columns(&array->geometry, stripe, members);
}

/* --- at home: one round ---------------------------------------------------------------------- */

static void next_round(struct keeper *keeper);

static void run_answered(struct message *message)
{
	struct bad_change *change = container_of(message, struct bad_change, message);

	op_marked(container_of(change, struct op, change));
}

static void run_learnt(struct message *message)
{
	struct shard_bad *bad = container_of(message, struct shard_bad, message);
	struct keeper *keeper = bad->shard->array->keeper;
	struct list_node *node;

	if (--keeper->bad.acks)
		return;
	while ((node = list_pop_front(&keeper->bad.asked))) {
		struct bad_change *change = container_of(node, struct bad_change, link);
		struct op *op = container_of(change, struct op, change);

		if (keeper->frozen)
			change->status = IO_OFFLINE;
		change->message.run = run_answered;
		reactor_send(op->shard->reactor, &change->message);
	}
	keeper->bad.busy = false;
	next_round(keeper);
}

int bad_learn(void *argument)
{
	struct shard *shard = argument;

	shard->bad.list = shard->array->keeper->bad.list;
	return 0;
}

/* On each shard; home's list stays what it is until all have answered. */
static void run_learn(struct message *message)
{
	struct shard_bad *bad = container_of(message, struct shard_bad, message);
	struct shard *shard = bad->shard;

	bad_learn(shard);
	message->run = run_learnt;
	reactor_send(shard->array->keeper->reactor, message);
}

static void durable(struct keeper_wait *wait)
{
	struct keeper *keeper = container_of(wait, struct keeper, bad.wait);
	struct array *whole = keeper->array;

	for (unsigned p = 0; p < array_plain_count(whole); p++)
		keeper->bad.acks += array_plain(whole, p)->shard_count;
	for (unsigned p = 0; p < array_plain_count(whole); p++) {
		struct array *array = array_plain(whole, p);

		for (unsigned i = 0; i < array->shard_count; i++) {
			struct shard_bad *bad = &array->shards[i]->bad;

			bad->shard = array->shards[i];
			bad->message.run = run_learn;
			reactor_send(bad->shard->reactor, &bad->message);
		}
	}
}

static void write_list(struct keeper_wait *wait)
{
	struct keeper *keeper = container_of(wait, struct keeper, bad.wait);

	bad_list_encode(&keeper->bad.list, keeper->maps[MAP_BAD].bits);
	wait->done = durable;
	if (MUTANT(bad_not_written))
		durable(wait);
	else
		keeper_map_write(keeper, MAP_BAD, wait);
}

/* Whatever reads the array from now on has to know that there is a list. */
static void write_feature(struct keeper *keeper)
{
	keeper->bad.wait.done = write_list;
	if (keeper->superblock.bad_blocks) {
		write_list(&keeper->bad.wait);
		return;
	}
	keeper->superblock.bad_blocks = true;
	keeper_commit(keeper, &keeper->bad.wait);
}

/* --- at home: changes ------------------------------------------------------------------------ */

static bool change_rows(struct bad_list *list, const struct bad_change *change,
	const struct array *array, unsigned table_row, uint32_t row, uint32_t end)
{
	const struct op *op = container_of(change, struct op, change);
	struct bad_range range = range_of(array, table_row, op->stripe, row, end);

	return change->adds ? bad_list_add(list, range) : bad_list_remove(list, range);
}

static bool change_column(struct bad_list *list, const struct bad_change *change, unsigned column,
	uint32_t row, uint32_t end)
{
	const struct op *op = container_of(change, struct op, change);
	const struct array *array = op->shard->array;
	unsigned member = geometry_member(&array->geometry, op->stripe, column);

	if (change->copies >> member & 1 &&
		!change_rows(list, change, array, op->shard->replacement_rows[member], row, end))
		return false;
	return !(change->columns >> column & 1) ||
	       change_rows(list, change, array, array->first_row + member, row, end);
}

static void say(const struct bad_change *change)
{
	const struct op *op = container_of(change, struct op, change);
	const struct array *array = op->shard->array;
	unsigned column;

	bits_for_each (column, change->columns)
		log_warning("event=BadBlocks array=%s drive=\"%s\" block=%llu blocks=%u "
			    "why=\"what they held cannot be known: too much of their row is lost\"",
			array->config.name,
			array->config.member[geometry_member(&array->geometry, op->stripe, column)]
				->name,
			(unsigned long long)(op->stripe * array->geometry.chunk_blocks +
					     op->plan.row),
			op->plan.end - op->plan.row);
}

static void apply(struct keeper *keeper, struct bad_change *change)
{
	const struct op *op = container_of(change, struct op, change);
	const struct plan *plan = &op->plan;
	unsigned columns = op->shard->array->geometry.members;
	struct bad_list list = keeper->bad.list;
	bool fits = true;

	for (unsigned column = 0; column < columns; column++) {
		if (change->adds)
			fits &= change_column(&list, change, column, plan->row, plan->end);
		for (unsigned i = 0; i < plan->bands && !change->adds; i++)
			if (plan->band[i].writes >> column & 1)
				fits &= change_column(&list, change, column, plan->band[i].row,
					plan->band[i].end);
	}
	change->status = fits ? 0 : -ENOSPC;
	if (!fits)
		return;
	keeper->bad.list = list;
	if (change->adds)
		say(change);
}

static void next_round(struct keeper *keeper)
{
	struct list_node *node;

	if (keeper->bad.busy || list_empty(&keeper->bad.waiting))
		return;
	keeper->bad.busy = true;
	list_append_all(&keeper->bad.asked, &keeper->bad.waiting);
	list_for_each (node, &keeper->bad.asked)
		apply(keeper, container_of(node, struct bad_change, link));
	write_feature(keeper);
}

static void run_ask(struct message *message)
{
	struct bad_change *change = container_of(message, struct bad_change, message);
	struct keeper *keeper = container_of(change, struct op, change)->shard->array->keeper;

	list_push_back(&keeper->bad.waiting, &change->link);
	next_round(keeper);
}

void bad_ask(struct op *op)
{
	op->change.message.run = run_ask;
	reactor_send(op->shard->array->keeper->reactor, &op->change.message);
}

/* --- while the array is held still ----------------------------------------------------------- */

static void write_now(struct keeper *keeper)
{
	bad_list_encode(&keeper->bad.list, keeper->maps[MAP_BAD].bits);
	keeper_map_now(keeper, MAP_BAD);
}

void bad_begin(struct array *whole)
{
	struct keeper *keeper = whole->keeper;

	assert(!keeper->bad.busy);
	keeper->bad.next = keeper->bad.list;
}

void bad_forget(struct array *whole, unsigned row)
{
	bad_list_forget(&whole->keeper->bad.next, row);
}

/* Whichever table is found after a crash, the slot's drive must not be believed too much: until the
 * new one is durable the slot has the bad blocks of both. */
int bad_take_slot(struct array *whole, unsigned row, unsigned slot)
{
	struct keeper *keeper = whole->keeper;

	if (!bad_list_blocks(&keeper->bad.list, row) && !bad_list_blocks(&keeper->bad.list, slot))
		return 0;
	if (!bad_list_merge(&keeper->bad.list, row, slot))
		return -ENOSPC;
	if (!MUTANT(bad_not_moved))
		write_now(keeper);
	bad_list_move(&keeper->bad.next, row, slot);
	return 0;
}

static bool is_same(const struct bad_list *a, const struct bad_list *b)
{
	if (a->count != b->count)
		return false;
	for (unsigned i = 0; i < a->count; i++)
		if (a->range[i].row != b->range[i].row || a->range[i].block != b->range[i].block ||
			a->range[i].blocks != b->range[i].blocks)
			return false;
	return true;
}

void bad_finish(struct array *whole)
{
	struct keeper *keeper = whole->keeper;

	if (!is_same(&keeper->bad.list, &keeper->bad.next)) {
		keeper->bad.list = keeper->bad.next;
		write_now(keeper);
	}
	for (unsigned p = 0; p < array_plain_count(whole); p++) {
		struct array *array = array_plain(whole, p);

		for (unsigned i = 0; i < array->shard_count; i++)
			reactor_call(array->shards[i]->reactor, bad_learn, array->shards[i]);
	}
}
