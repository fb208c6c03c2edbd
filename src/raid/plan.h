/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to read, compute and write for a slice of a stripe, for every level and every set of columns
 * that cannot be read or written. Pure: no I/O, no allocation, no state.
 *
 *	first, end ->    c0   c1   c2  | P  Q
 *	        row 0         ##   ##            band 0: touched {1,2}
 *	        row 1         ##   ##
 *	        row 2    ##   ##                 band 1: touched {0,1}
 *	        row 3    ##   ##
 *
 * A slice [first, end) of the stripe's data, cut to the rows [row_first, row_end), touches at most
 * three different sets of columns: its bands. Each band has its own recipe:
 *
 *	REWRITE  reads the untouched data columns, computes the parities anew.
 *	         Allowed when every untouched column can be read, or no parity is left.
 *	MODIFY   reads the touched columns and the parities, applies the difference.
 *	         Allowed when every touched column and every parity to be written can be read,
 *	         and the stripe's parity is known to be right.
 *	RECOVER  reads all that is needed to recover what cannot be read, then as REWRITE.
 *	         Allowed up to as many lost columns as readable parities, parity being right.
 *	FETCH    (reads) reads the touched columns; columns that cannot be read are recovered.
 *
 * Of the allowed recipes the one with the fewest reads is taken; REWRITE, which also heals the
 * parity, when there is a tie.
 */
#ifndef RAID_PLAN_H
#define RAID_PLAN_H

#include <stdbool.h>
#include <stdint.h>

enum { PLAN_BANDS_MAX = 3 };

enum recipe { RECIPE_REWRITE, RECIPE_MODIFY, RECIPE_RECOVER, RECIPE_FETCH };

/* Columns as bit masks: data columns first, then the redundant ones. */
struct plan_input {
	unsigned data, redundant;
	bool mirror; /* data is 1 and the redundant columns are copies of it */
	uint32_t chunk_blocks;
	uint32_t first, end;	     /* of the stripe's data, in blocks */
	uint32_t row_first, row_end; /* the window that the plan is for */
	uint32_t unreadable;	     /* lost, or read in vain */
	uint32_t unwritable;	     /* lost; a part of unreadable */
	bool dirty;		     /* the stripe's parity may be wrong */
};

struct plan_band {
	enum recipe recipe;
	uint32_t row, end; /* rows [row, end) */
	uint32_t touched;  /* data columns of the request */
	uint32_t reads, writes;
	uint32_t recovers; /* data columns that must be computed from the reads */
};

struct plan {
	unsigned bands;
	struct plan_band band[PLAN_BANDS_MAX];
	uint32_t row, end;			   /* all bands: their lowest row and highest end */
	uint32_t touched, reads, writes, recovers; /* unions over the bands */
};

/* The bands of a slice, with row, end and touched set; 0 bands: the window is not touched. */
void plan_bands(const struct plan_input *input, struct plan *plan);

/* A plan that writes the touched blocks. 0; -EIO: more is lost than the level survives. */
int plan_write(const struct plan_input *input, struct plan *plan);

/* For rows whose untouched data are lost for good: a plan that writes the touched blocks alone. The
 * parities mean nothing then. -EIO: a touched column cannot be written. */
int plan_forsake(const struct plan_input *input, struct plan *plan);

/* A plan that reads them. 0; -EIO: a touched column is lost and cannot be recovered. */
int plan_read(const struct plan_input *input, struct plan *plan);

/*
 * Plans of a sweep over whole rows [row_first, row_end); first and end are not looked at.
 *
 * Rebuild: recovers and writes the columns in `targets`, which are unreadable, and reads and writes
 * those in `copies`, which go to another drive. -EIO: more is
 * unreadable than can be recovered, or the stripe is dirty and data would have to be.
 * Resync: computes all redundant columns from the data; data that cannot be read is what the first
 * parities say, right or wrong. A mirror is copied from its lowest readable column. -EIO: too
 * much is missing.
 * Check: reads all columns that can be read, and recovers the other data columns; nothing is
 * written yet. -EIO: they cannot be recovered.
 */
int plan_rebuild(
	const struct plan_input *input, uint32_t targets, uint32_t copies, struct plan *plan);
int plan_resync(const struct plan_input *input, struct plan *plan);
int plan_check(const struct plan_input *input, struct plan *plan);

const char *recipe_name(enum recipe recipe);

#endif
