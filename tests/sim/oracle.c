/* SPDX-License-Identifier: Apache-2.0 */
#include "oracle.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/random.h"

enum { ORACLE_ODD = 0xffffffff };

void oracle_init(struct oracle *oracle, uint64_t blocks, uint32_t block_bytes, bool stable_writes)
{
	assert(blocks <= ORACLE_BLOCKS_MAX);
	oracle->blocks = blocks;
	oracle->block_bytes = block_bytes;
	oracle->stable_writes = stable_writes;
	oracle->last_value = 0;
	oracle->clock = 1;
	for (uint64_t i = 0; i < blocks; i++)
		oracle->block[i] = (struct oracle_block){.values = 1, .since = {1}};
}

void oracle_copy(struct oracle *to, const struct oracle *from)
{
	memcpy(to, from,
		offsetof(struct oracle, block) + from->blocks * sizeof(struct oracle_block));
}

bool oracle_room(const struct oracle *oracle, uint64_t block)
{
	return oracle->block[block].values < ORACLE_VALUES - 1;
}

/* Forgets the first `count` values. */
static void forget(struct oracle_block *state, unsigned count)
{
	unsigned left = state->values - count;

	if (count)
		state->odd_below = false;

	assert(count <= state->current);
	memmove(state->value, state->value + count, left * sizeof(state->value[0]));
	memmove(state->since, state->since + count, left * sizeof(state->since[0]));
	state->values = (uint8_t)left;
	state->current = (uint8_t)(state->current - count);
	state->before = (uint8_t)(state->before - MIN(state->before, count));
}

void oracle_write(struct oracle *oracle, uint64_t block, uint32_t value, bool fua)
{
	struct oracle_block *state = &oracle->block[block];

	assert(state->values < ORACLE_VALUES);
	if (!state->writing) {
		state->before = state->values;
		state->undecided = state->unstable = false;
	}
	state->writing++;
	state->on_medium = false;
	state->unstable = state->unstable || !fua;
	state->since[state->values] = 0;
	state->value[state->values++] = value;
	if (!value)
		state->zeroed_at = oracle->last_value;
}

void oracle_discard(struct oracle *oracle, uint64_t block)
{
	oracle_write(oracle, block, 0, false);
	oracle->block[block].undecided = true;
}

void oracle_written(struct oracle *oracle, uint64_t block, int status)
{
	struct oracle_block *state = &oracle->block[block];

	assert(state->writing);
	if (status)
		state->undecided = state->failed = true;
	if (--state->writing || state->undecided)
		return;
	state->odd_below = state->odd_below || state->odd;
	state->odd = state->forsaken = state->failed = false;
	state->current = state->before;
	state->since[state->current] = ++oracle->clock;
	if (oracle->stable_writes || !state->unstable)
		forget(state, state->current);
}

uint32_t oracle_flush(struct oracle *oracle)
{
	return oracle->clock++;
}

void oracle_flushed(struct oracle *oracle, uint32_t submitted)
{
	for (uint64_t block = 0; block < oracle->blocks; block++) {
		struct oracle_block *state = &oracle->block[block];
		unsigned i = state->current;

		while (i && !(state->since[i] && state->since[i] <= submitted))
			i--;
		forget(state, i);
	}
}

void oracle_crash(struct oracle *oracle, bool power)
{
	for (uint64_t block = 0; block < oracle->blocks; block++) {
		struct oracle_block *state = &oracle->block[block];

		state->torn = state->torn || state->writing;
		state->writing = 0;
		if (power) {
			state->current = 0;
			/* Which of them is there is open again: no later flush makes one stable. */
			memset(state->since, 0, sizeof(state->since));
			state->on_medium = true;
			state->odd = state->odd || state->odd_below;
			state->forsaken = state->forsaken || state->odd_below;
		}
	}
}

void oracle_recovered(struct oracle *oracle)
{
	for (uint64_t block = 0; block < oracle->blocks; block++)
		oracle->block[block].torn = false;
}

void oracle_odd(struct oracle *oracle, uint64_t block, bool for_good)
{
	oracle->block[block].odd = true;
	oracle->block[block].forsaken |= for_good;
}

void oracle_view(const struct oracle *oracle, uint64_t block, struct oracle_view *view)
{
	view->last_value = oracle->last_value;
	view->block = oracle->block[block];
}

static uint64_t word_of(uint64_t block, uint32_t value)
{
	return value ? (random_mix(block << 32 | value) & ~0xffffffffull) | value : 0;
}

void oracle_fill(const struct oracle *oracle, uint64_t block, uint32_t value, void *content)
{
	uint64_t *word = content, filler = word_of(block, value);

	for (uint32_t i = 0; i < oracle->block_bytes / 8; i++)
		word[i] = filler;
}

/* The value that content is of; ORACLE_ODD: of none. */
static uint32_t value_of(const struct oracle *oracle, uint64_t block, const void *content)
{
	const uint64_t *word = content;

	if (word[0] != word_of(block, (uint32_t)word[0]) ||
		memcmp(word, word + 1, oracle->block_bytes - 8))
		return ORACLE_ODD;
	return (uint32_t)word[0];
}

static uint64_t digest_of(const struct oracle *oracle, const void *content)
{
	const uint64_t *word = content;
	uint64_t digest = 1;

	for (uint32_t i = 0; i < oracle->block_bytes / 8; i++)
		digest = random_mix(digest ^ word[i]);
	return digest;
}

static bool holds(const struct oracle_block *state, uint32_t value)
{
	for (unsigned i = state->current; i < state->values; i++)
		if (state->value[i] == value)
			return true;
	return false;
}

/* The block is known to read as value. What else it could have read as may still come back with a
 * loss of power, unless it is the medium itself that was read. */
static void settle(struct oracle *oracle, struct oracle_block *state, uint32_t value)
{
	unsigned last = state->values - 1u, at = state->current;

	if (at != last) {
		while (at < last && state->value[at] != value)
			at++;
		memmove(&state->value[at], &state->value[at + 1], (last - at) * sizeof(uint32_t));
		memmove(&state->since[at], &state->since[at + 1], (last - at) * sizeof(uint32_t));
		state->since[last] = ++oracle->clock;
		state->current = (uint8_t)last;
	}
	state->value[last] = value;
	if (oracle->stable_writes || state->on_medium)
		forget(state, last);
	state->on_medium = false;
}

bool oracle_read(
	struct oracle *oracle, uint64_t block, const struct oracle_view *view, const void *content)
{
	struct oracle_block *state = &oracle->block[block];
	uint32_t value = value_of(oracle, block, content);
	uint64_t digest = value == ORACLE_ODD ? digest_of(oracle, content) : 0;
	bool quiet =
		!state->writing && !view->block.writing && view->last_value == oracle->last_value;

	if (state->odd || view->block.odd) {
		if (quiet && state->odd && !state->forsaken) {
			state->odd = false;
			state->current = 0;
			state->on_medium = true;
			state->odd_digest = digest;
			settle(oracle, state, value);
		}
		return true;
	}
	if (value == ORACLE_ODD)
		return (holds(state, value) && state->odd_digest == digest) ||
		       (holds(&view->block, value) && view->block.odd_digest == digest);
	/* Written and overwritten again since the read began: any such value is possible. */
	if (!holds(&view->block, value) && !holds(state, value) &&
		(value ? value : state->zeroed_at) <= view->last_value)
		return false;
	if (quiet && !state->failed)
		settle(oracle, state, value);
	return true;
}

void oracle_explain(const struct oracle *oracle, uint64_t block, const void *content, char *text,
	unsigned bytes)
{
	const struct oracle_block *state = &oracle->block[block];
	uint32_t value = value_of(oracle, block, content);
	unsigned used;

	if (value == ORACLE_ODD)
		used = (unsigned)snprintf(text, bytes, "reads as garbage (first word %llx), not",
			(unsigned long long)*(const uint64_t *)content);
	else
		used = (unsigned)snprintf(text, bytes, "reads as %u, not", value);
	for (unsigned i = 0; i < state->values && used < bytes; i++)
		used += (unsigned)snprintf(text + used, bytes - used, "%s%u",
			i == state->current ? " | " : " ", state->value[i]);
	if (used < bytes)
		snprintf(text + used, bytes - used, "%s", state->writing ? ", being written" : "");
}
