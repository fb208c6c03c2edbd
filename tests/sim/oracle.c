/* SPDX-License-Identifier: Apache-2.0 */
#include "oracle.h"

#include <assert.h>
#include <string.h>

#include "base/random.h"

void oracle_init(struct oracle *oracle, uint64_t blocks, uint32_t block_bytes)
{
	assert(blocks <= ORACLE_BLOCKS_MAX);
	oracle->blocks = blocks;
	oracle->block_bytes = block_bytes;
	oracle->last_value = 0;
	for (uint64_t i = 0; i < blocks; i++)
		oracle->block[i] = (struct oracle_block){.values = 1};
}

bool oracle_room(const struct oracle *oracle, uint64_t block)
{
	return oracle->block[block].values < ORACLE_VALUES - 1;
}

void oracle_write(struct oracle *oracle, uint64_t block, uint32_t value)
{
	struct oracle_block *state = &oracle->block[block];

	assert(state->values < ORACLE_VALUES);
	if (!state->writing) {
		state->before = state->values;
		state->failed = false;
	}
	state->writing++;
	state->value[state->values++] = value;
	if (!value)
		state->zeroed_at = oracle->last_value;
}

void oracle_discard(struct oracle *oracle, uint64_t block)
{
	oracle_write(oracle, block, 0);
	oracle->block[block].failed = true;
}

void oracle_written(struct oracle *oracle, uint64_t block, int status)
{
	struct oracle_block *state = &oracle->block[block];

	assert(state->writing);
	if (status)
		state->failed = true;
	if (--state->writing || state->failed)
		return;
	state->values = (uint8_t)(state->values - state->before);
	memmove(state->value, state->value + state->before,
		state->values * sizeof(state->value[0]));
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

/* The value that content is of, if it is whole. */
static bool value_of(
	const struct oracle *oracle, uint64_t block, const void *content, uint32_t *value)
{
	const uint64_t *word = content;

	*value = (uint32_t)word[0];
	if (word[0] != word_of(block, *value))
		return false;
	return !memcmp(word, word + 1, oracle->block_bytes - 8);
}

static bool holds(const struct oracle_block *state, uint32_t value)
{
	for (unsigned i = 0; i < state->values; i++)
		if (state->value[i] == value)
			return true;
	return false;
}

bool oracle_read(
	struct oracle *oracle, uint64_t block, const struct oracle_view *view, const void *content)
{
	struct oracle_block *state = &oracle->block[block];
	uint32_t value;

	if (!value_of(oracle, block, content, &value))
		return false;
	/* Written and overwritten again since the read began: any such value is possible. */
	if (!holds(&view->block, value) && !holds(state, value) &&
		(value ? value : state->zeroed_at) <= view->last_value)
		return false;
	if (!state->writing && !view->block.writing && view->last_value == oracle->last_value) {
		state->value[0] = value;
		state->values = 1;
	}
	return true;
}
