/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of JSON objects as people read them: a table, or one object as "title: value" lines. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/fail.h"

enum column_kind {
	COLUMN_TEXT,
	COLUMN_NUMBER,
	COLUMN_BYTES,
	COLUMN_YES,  /* true: yes, false: no */
	COLUMN_TIME, /* seconds since 1970 */
	COLUMN_MILLISECONDS,
	COLUMN_LENGTH, /* of a list */
	COLUMN_LIST,   /* the texts of a list */
};

enum column_flags {
	COLUMN_WIDE = 1,     /* only in the wide table, and when it is named */
	COLUMN_NOT_ZERO = 2, /* details leave out a zero */
};

struct column {
	const char *key; /* of the JSON member */
	const char *title;
	enum column_kind kind;
	unsigned flags;
};

struct table_style {
	bool wide;
	bool no_header; /* and one tab between columns */
	bool raw;	/* bytes, seconds and milliseconds as integers */
	bool color;
	const char *columns; /* keys or titles with commas between; NULL: the usual ones */
};

enum { TABLE_COLUMNS_MAX = 32 };

/* columns: `count` of them, at most TABLE_COLUMNS_MAX. -EINVAL: style->columns names none. */
int table_print(const json_t *rows, const struct column *columns, size_t count,
	const struct table_style *style, struct fail *fail);

/* One "title: value" line per column that has a value. */
void details_print(const json_t *row, const struct column *columns, size_t count,
	const struct table_style *style);

/* Which columns style->columns asks for, in that order, into `chosen`; *chosen_count of them. */
int table_choose(const struct column *columns, size_t count, const struct table_style *style,
	const struct column **chosen, size_t *chosen_count, struct fail *fail);

/* The escape sequence for a state such as "degraded", "" without color. */
const char *state_color(const char *state, bool color);
const char *color_end(bool color);

#endif
