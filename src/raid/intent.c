/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/intent.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mutant.h"
#include "raid/internal.h"

static size_t map_bytes(const struct array *array)
{
	return divide_up(array->regions, 8);
}

static uint64_t region_of(const struct array *array, uint64_t stripe)
{
	return stripe / array->region_stripes;
}

/* --- on the shard ---------------------------------------------------------------------------- */

static void run_tick(struct message *message);
static void run_ask(struct message *message);

int intent_init(struct shard *shard)
{
	struct shard_intent *intent = &shard->intent;
	size_t bytes = map_bytes(shard->array);
	uint8_t **const maps[] = {&intent->known[MAP_DIRTY], &intent->known[MAP_MISSING],
		&intent->young, &intent->unflushed, &intent->unflushed_before, &intent->resync,
		&intent->tick.in_use};
	char *at;

	list_init(&intent->waiting);
	intent->ask.shard = intent->tick.shard = shard;
	intent->memory = calloc(1, bytes * ARRAY_SIZE(maps) + 2 * shard->array->regions);
	if (!intent->memory)
		return -ENOMEM;
	intent->busy = intent->memory;
	at = (char *)(intent->busy + shard->array->regions);
	for (unsigned i = 0; i < ARRAY_SIZE(maps); i++, at += bytes)
		*maps[i] = (uint8_t *)at;
	return 0;
}

void intent_destroy(struct shard *shard)
{
	free(shard->intent.memory);
}

bool intent_is_idle(const struct shard *shard)
{
	return list_empty(&shard->intent.waiting) && !shard->intent.ask.busy;
}

bool intent_is_dirty(const struct shard *shard, uint64_t stripe)
{
	return shard->intent.resyncing &&
	       map_has(shard->intent.resync, region_of(shard->array, stripe)) &&
	       !MUTANT(dirty_ignored);
}

/* Which bits a write needs now. */
static void needed(const struct shard *shard, bool need[MAPS])
{
	need[MAP_DIRTY] = !log_is_on(shard) && !MUTANT(intent_skipped);
	need[MAP_MISSING] = shard->lost != 0;
}

/* Whether the bits that a write of the region needs are known to be durable. */
static bool is_known(const struct shard *shard, uint64_t region)
{
	bool need[MAPS];

	needed(shard, need);
	for (unsigned kind = 0; kind < MAPS; kind++)
		if (need[kind] && !map_has(shard->intent.known[kind], region))
			return false;
	return true;
}

bool intent_begin(struct op *op)
{
	struct shard *shard = op->shard;
	struct shard_intent *intent = &shard->intent;
	uint64_t region = region_of(shard->array, op->stripe);

	assert(!op->intended);
	op->intended = true;
	intent->busy[region]++;
	map_set(intent->young, region);
	map_set(intent->unflushed, region);
	if (is_known(shard, region))
		return true;
	shard->counters.intents++;
	list_push_back(&intent->waiting, &op->link);
	return false;
}

void intent_end(struct op *op)
{
	if (!op->intended)
		return;
	op->intended = false;
	op->shard->intent.busy[region_of(op->shard->array, op->stripe)]--;
}

static void add_entry(struct shard *shard, struct intent_ask *ask, uint64_t region)
{
	for (unsigned i = 0; i < ask->count; i++)
		if (ask->entry[i].region == region)
			return;
	if (ask->count == INTENT_ASK_MAX)
		return;
	ask->entry[ask->count].region = (uint32_t)region;
	needed(shard, ask->entry[ask->count].maps);
	ask->count++;
}

unsigned intent_continue(struct shard *shard)
{
	struct shard_intent *intent = &shard->intent;
	struct intent_ask *ask = &intent->ask;
	struct list_node *node;

	if (ask->busy || list_empty(&intent->waiting))
		return 0;
	ask->count = 0;
	list_for_each (node, &intent->waiting)
		add_entry(shard, ask,
			region_of(shard->array, container_of(node, struct op, link)->stripe));
	ask->busy = true;
	ask->message.run = run_ask;
	reactor_send(shard->array->shards[0]->reactor, &ask->message);
	return 1;
}

static void run_answer(struct message *message)
{
	struct intent_ask *ask = container_of(message, struct intent_ask, message);
	struct shard *shard = ask->shard;
	struct list waiting;
	struct list_node *node;

	for (unsigned i = 0; i < ask->count; i++)
		for (unsigned kind = 0; kind < MAPS; kind++)
			if (ask->entry[i].maps[kind])
				map_set(shard->intent.known[kind], ask->entry[i].region);
	ask->busy = false;
	list_init(&waiting);
	list_append_all(&waiting, &shard->intent.waiting);
	while ((node = list_pop_front(&waiting))) {
		struct op *op = container_of(node, struct op, link);

		if (is_known(shard, region_of(shard->array, op->stripe)))
			op_intended(op);
		else
			list_push_back(&shard->intent.waiting, &op->link);
	}
}

void intent_unflushed(const struct shard *shard, uint8_t *bits)
{
	for (size_t i = 0; i < map_bytes(shard->array); i++)
		bits[i] = shard->intent.unflushed[i] | shard->intent.unflushed_before[i];
}

/* --- at home --------------------------------------------------------------------------------- */

static void answer(struct intent_ask *ask)
{
	if (--ask->pending)
		return;
	ask->message.run = run_answer;
	reactor_send(ask->shard->reactor, &ask->message);
}

static void dirty_written(struct keeper_wait *wait)
{
	answer(container_of(wait, struct intent_ask, waits[MAP_DIRTY]));
}

static void missing_written(struct keeper_wait *wait)
{
	answer(container_of(wait, struct intent_ask, waits[MAP_MISSING]));
}

static void run_ask(struct message *message)
{
	struct intent_ask *ask = container_of(message, struct intent_ask, message);
	struct keeper *keeper = ask->shard->array->keeper;

	ask->waits[MAP_DIRTY].done = dirty_written;
	ask->waits[MAP_MISSING].done = missing_written;
	ask->pending = 1;
	for (unsigned kind = 0; kind < MAPS; kind++) {
		struct keeper_map *map = &keeper->maps[kind];
		bool any = false;

		for (unsigned i = 0; i < ask->count; i++) {
			if (!ask->entry[i].maps[kind])
				continue;
			any = true;
			map_set(map->bits, ask->entry[i].region);
			/* A tick that has asked this shard already must not clear it. */
			if (kind == MAP_DIRTY && !MUTANT(intent_tick_races))
				map_set(keeper->in_use, ask->entry[i].region);
		}
		if (!any)
			continue;
		ask->pending++;
		if (MUTANT(intent_not_awaited)) {
			keeper_map_write(keeper, kind, NULL);
			ask->pending--;
		} else {
			keeper_map_write(keeper, kind, &ask->waits[kind]);
		}
	}
	intent_tick_start(keeper);
	answer(ask);
}

/* --- the tick -------------------------------------------------------------------------------- */

static void tick_flush(struct keeper *keeper);

static void run_ticked(struct message *message)
{
	struct shard_intent *intent = container_of(message, struct shard_intent, tick.message);
	struct array *array = intent->tick.shard->array;
	struct keeper *keeper = array->keeper;

	for (size_t i = 0; i < map_bytes(array); i++)
		keeper->in_use[i] |= intent->tick.in_use[i];
	if (!--keeper->tick_pending)
		tick_flush(keeper);
}

/* On the shard: forgets what it has not used since the last tick; home may clear that. */
static void run_tick(struct message *message)
{
	struct shard_intent *intent = container_of(message, struct shard_intent, tick.message);
	struct shard *shard = intent->tick.shard;

	for (size_t i = 0; i < map_bytes(shard->array); i++) {
		intent->known[MAP_DIRTY][i] &= intent->young[i];
		intent->tick.in_use[i] = intent->young[i];
		intent->young[i] = 0;
		/* What was written before the last flush is stable, if that went well. */
		if (intent->tick.flushed)
			intent->unflushed_before[i] = 0;
		intent->unflushed_before[i] |= intent->unflushed[i];
		intent->unflushed[i] = 0;
	}
	for (uint64_t region = 0; region < shard->array->regions; region++) {
		if (!intent->busy[region] || MUTANT(intent_cleared_busy))
			continue;
		map_set(intent->young, region);
		map_set(intent->unflushed, region);
		map_set(intent->tick.in_use, region);
	}
	intent->tick.message.run = run_ticked;
	reactor_send(shard->array->shards[0]->reactor, &intent->tick.message);
}

/* Home's own; all shards of all parts have the same. */
static const uint8_t *resync_map(struct array *whole)
{
	return array_plain(whole, 0)->shards[0]->intent.resync;
}

static void tick_fire(struct timer *timer)
{
	struct keeper *keeper = container_of(timer, struct keeper, tick);
	struct array *whole = keeper->array;

	if (keeper->held) {
		timer_start(
			keeper->reactor, timer, reactor_now_ns(keeper->reactor) + INTENT_TICK_NS);
		return;
	}
	memset(keeper->in_use, 0, MAP_BYTES);
	/* What is resynced from here on may miss the flush. */
	if (!MUTANT(tick_resync_races))
		memcpy(keeper->in_use, resync_map(whole), map_bytes(whole));
	keeper->tick_pending = 0;
	for (unsigned p = 0; p < array_plain_count(whole); p++) {
		struct array *array = array_plain(whole, p);

		keeper->tick_pending += array->shard_count;
	}
	for (unsigned p = 0; p < array_plain_count(whole); p++) {
		struct array *array = array_plain(whole, p);

		for (unsigned i = 0; i < array->shard_count; i++) {
			struct shard_intent *intent = &array->shards[i]->intent;

			intent->tick.flushed = !keeper->flush_failed;
			intent->tick.message.run = run_tick;
			reactor_send(array->shards[i]->reactor, &intent->tick.message);
		}
	}
}

/* A member that was not flushed may still be live in the table. */
static bool losses_are_settled(const struct keeper *keeper)
{
	for (unsigned p = 0; p < array_plain_count(keeper->array); p++) {
		const struct shard *home = array_plain(keeper->array, p)->shards[0];

		if (home->announced != home->settled || home->breaking)
			return false;
	}
	return true;
}

/* Everybody has answered: the bits that nobody uses can go, once all is flushed. */
static void tick_end(struct keeper *keeper)
{
	struct keeper_map *dirty = &keeper->maps[MAP_DIRTY];
	const uint8_t *resync = resync_map(keeper->array);
	bool changed = false, left = false;

	if (!losses_are_settled(keeper))
		keeper->flush_failed = true;
	for (size_t i = 0; i < map_bytes(keeper->array) && !keeper->flush_failed; i++) {
		uint8_t bits = dirty->bits[i] & (keeper->in_use[i] | resync[i]);

		changed |= bits != dirty->bits[i];
		left |= (bits & ~resync[i]) != 0;
		dirty->bits[i] = bits;
	}
	keeper->ticking = false;
	if (changed)
		keeper_map_write(keeper, MAP_DIRTY, NULL);
	if (left || keeper->flush_failed)
		intent_tick_start(keeper);
}

static void flush_put(struct keeper *keeper)
{
	if (!--keeper->tick_pending)
		tick_end(keeper);
}

static void flush_done(struct io *io)
{
	struct tick_flush *flush = container_of(io, struct tick_flush, io);
	struct keeper *keeper = flush->keeper;
	unsigned member;
	struct array *part = array_of_row(keeper->array, flush->row, &member);

	if (io->status) {
		keeper->flush_failed = true;
		member_write_error(part->shards[0], member, LOSS_FLUSH_ERROR);
	}
	flush_put(keeper);
}

static void tick_flush(struct keeper *keeper)
{
	keeper->flush_failed = false;
	keeper->tick_pending = 1;
	for (unsigned row = 0; row < keeper->superblock.members; row++) {
		struct tick_flush *flush = &keeper->tick_flushes[row];
		struct keeper_row *seat = &keeper->rows[row];

		if (!seat->queue || keeper->superblock.rows[row].state == ROW_FAILED ||
			!seat->dev->volatile_cache || MUTANT(intent_no_flush))
			continue;
		flush->keeper = keeper;
		flush->row = row;
		flush->io = (struct io){.kind = IO_FLUSH, .done = flush_done};
		keeper->tick_pending++;
		io_submit(seat->queue, &flush->io);
	}
	flush_put(keeper);
}

void intent_tick_start(struct keeper *keeper)
{
	if (keeper->ticking || keeper->stopped)
		return;
	keeper->ticking = true;
	timer_start(
		keeper->reactor, &keeper->tick, reactor_now_ns(keeper->reactor) + INTENT_TICK_NS);
}

void intent_tick_init(struct keeper *keeper)
{
	timer_init(&keeper->tick, tick_fire);
}

bool intent_tick_runs(const struct keeper *keeper)
{
	/* A timer that has fired is on no list. */
	return keeper->ticking && keeper->tick.link.next == &keeper->tick.link;
}

void intent_tick_stop(struct keeper *keeper)
{
	assert(!intent_tick_runs(keeper));
	timer_stop(&keeper->tick);
	keeper->ticking = false;
	keeper->stopped = true;
}
