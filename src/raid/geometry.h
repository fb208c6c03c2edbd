/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the blocks of an array lie on its members. Pure arithmetic.
 *
 * A stripe is one chunk on every member. Its columns are numbered: data columns 0 to data-1, then
 * redundant columns (parities P, Q, R, or further copies of a mirror). Which member holds a column
 * rotates from stripe to stripe for parity levels:
 *
 *	RAID 6, 5 members      stripe 0:  D0 D1 D2 ... P at member N-1, Q at member 0
 *	P = N-1 - stripe mod N; Q and R follow P; data columns follow them, all modulo N
 *
 * That is left-symmetric, the default of Linux md for RAID 5 and 6: layout 1.
 *
 * A block of a stripe is named by its index in the stripe's data, [0, data * chunk_blocks), or by
 * column and row, the row being its distance from the top of the column. Units are blocks.
 */
#ifndef RAID_GEOMETRY_H
#define RAID_GEOMETRY_H

#include <stdint.h>

#include "raid/level.h"

enum { GEOMETRY_LAYOUT_LEFT_SYMMETRIC = 1 };

struct geometry {
	const struct level *level;
	unsigned members;
	unsigned data;	    /* data columns of a stripe */
	unsigned redundant; /* parity columns, or further copies */
	uint32_t block_bytes;
	uint32_t chunk_blocks;
	uint32_t window_rows;	/* rows that one operation covers at most; divides chunk_blocks,
				 or is equal to it */
	uint32_t stripe_blocks; /* data * chunk_blocks */
	uint64_t stripes;
	uint64_t member_offset; /* where the data area begins on every member */
};

/* Fills in what follows from level, members, block_bytes, chunk_blocks and the members' size. */
void geometry_init(struct geometry *geometry, uint64_t member_blocks);

/* The member that holds a column, and the column that a member holds. */
unsigned geometry_member(const struct geometry *geometry, uint64_t stripe, unsigned column);
unsigned geometry_column(const struct geometry *geometry, uint64_t stripe, unsigned member);

/* A set of members as the set of the columns that they hold in a stripe. */
uint32_t geometry_columns(const struct geometry *geometry, uint64_t stripe, uint32_t members);

/* The block on the member that holds this row. */
static inline uint64_t geometry_block(
	const struct geometry *geometry, uint64_t stripe, uint32_t row)
{
	return geometry->member_offset + stripe * geometry->chunk_blocks + row;
}

#endif
