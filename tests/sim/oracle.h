/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each block of the device under test may read as.
 *
 * Every write carries a value of its own. While writes of a block are in flight it may read as what
 * it was before or as any of them; when all are done, as any of them (as the only one, if there was
 * one); a write that failed may or may not have happened. A read of a quiet block settles it: from
 * then on it must read as the same value.
 *
 * Value 0 is a block of zeros.
 */
#ifndef TESTS_SIM_ORACLE_H
#define TESTS_SIM_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

enum { ORACLE_VALUES = 12, ORACLE_BLOCKS_MAX = 2048 };

struct oracle_block {
	uint32_t value[ORACLE_VALUES];
	uint8_t values; /* possible now */
	uint8_t before; /* of these, how many are from before the writes in flight */
	uint8_t writing;
	bool failed;	    /* one of the writes in flight has failed */
	uint32_t zeroed_at; /* the oracle's last_value when zeros were last written */
};

struct oracle {
	uint64_t blocks;
	uint32_t block_bytes;
	uint32_t last_value;
	struct oracle_block block[ORACLE_BLOCKS_MAX];
};

/* What a read may find, as of its submission. */
struct oracle_view {
	uint32_t last_value;
	struct oracle_block block;
};

void oracle_init(struct oracle *oracle, uint64_t blocks, uint32_t block_bytes);

/* Whether one more write of the block can be tracked. */
bool oracle_room(const struct oracle *oracle, uint64_t block);
void oracle_write(struct oracle *oracle, uint64_t block, uint32_t value);
void oracle_written(struct oracle *oracle, uint64_t block, int status);
/* A discard: the block may become zeros, or stay. */
void oracle_discard(struct oracle *oracle, uint64_t block);

void oracle_view(const struct oracle *oracle, uint64_t block, struct oracle_view *view);
/* Whether the content read is possible; settles a quiet block. */
bool oracle_read(
	struct oracle *oracle, uint64_t block, const struct oracle_view *view, const void *content);

/* Fills memory with a value of a block. */
void oracle_fill(const struct oracle *oracle, uint64_t block, uint32_t value, void *content);

#endif
