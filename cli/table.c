/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "cli/json.h"

static const char red[] = "\033[31m", yellow[] = "\033[33m", green[] = "\033[32m";

const char *state_color(const char *state, bool color)
{
	static const struct {
		const char *state, *color;
	} colors[] = {
		{"optimal", green},
		{"online", green},
		{"done", green},
		{"degraded", yellow},
		{"initialising", yellow},
		{"running", yellow},
		{"in sync", green},
		{"assembling", yellow},
		{"paused", yellow},
		{"stopped", yellow},
		{"foreign", yellow},
		{"failed", red},
		{"absent", red},
		{"broken", red},
		{"refused", red},
		{"incomplete", red},
	};

	for (size_t i = 0; color && i < ARRAY_SIZE(colors); i++)
		if (!strcasecmp(colors[i].state, state))
			return colors[i].color;
	return "";
}

const char *color_end(bool color)
{
	return color ? "\033[0m" : "";
}

static void print_list(FILE *stream, const json_t *list)
{
	size_t i;
	json_t *element;

	json_array_foreach((json_t *)list, i, element)
		fprintf(stream, "%s%s", i ? " " : "", string_of(element));
}

static void print_time(FILE *stream, json_int_t seconds)
{
	time_t when = (time_t)seconds;
	char text[32];
	struct tm parts;

	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", localtime_r(&when, &parts));
	fputs(text, stream);
}

static void print_milliseconds(FILE *stream, json_int_t ms)
{
	if (ms < 60000)
		fprintf(stream, "%.1f s", (double)ms / 1000);
	else
		fprintf(stream, "%lldm%02llds", ms / 60000, ms / 1000 % 60);
}

static void print_value(
	FILE *stream, const json_t *value, enum column_kind kind, const struct table_style *style)
{
	json_int_t number = json_integer_value(value);
	char text[UNITS_TEXT_BYTES];

	if (kind == COLUMN_LENGTH)
		fprintf(stream, "%zu", json_array_size(value));
	else if (kind == COLUMN_LIST)
		print_list(stream, value);
	else if (kind == COLUMN_YES)
		fputs(json_is_true(value) ? "yes" : "no", stream);
	else if (kind == COLUMN_TEXT)
		fputs(string_of(value), stream);
	else if (kind == COLUMN_NUMBER || style->raw)
		fprintf(stream, "%lld", number);
	else if (kind == COLUMN_BYTES)
		fputs(units_print(number > 0 ? (uint64_t)number : 0, text), stream);
	else if (kind == COLUMN_TIME)
		print_time(stream, number);
	else
		print_milliseconds(stream, number);
}

/* What stands in the cell, "-" for nothing. To be freed. */
static char *cell_text(
	const json_t *row, const struct column *column, const struct table_style *style)
{
	const json_t *value = json_object_get(row, column->key);
	char *text = NULL;
	size_t bytes;
	FILE *stream = open_memstream(&text, &bytes);

	if (!stream)
		abort();
	if (value && !json_is_null(value))
		print_value(stream, value, column->kind, style);
	if (!ftell(stream))
		fputc('-', stream);
	fclose(stream);
	return text;
}

static const struct column *find_column(
	const struct column *columns, size_t count, const char *name, size_t length)
{
	for (size_t i = 0; i < count; i++)
		if ((strlen(columns[i].key) == length &&
			    !strncasecmp(columns[i].key, name, length)) ||
			(strlen(columns[i].title) == length &&
				!strncasecmp(columns[i].title, name, length)))
			return &columns[i];
	return NULL;
}

static int no_such_column(
	const struct column *columns, size_t count, const char *name, struct fail *fail)
{
	char known[400] = "";
	size_t used = 0;

	for (size_t i = 0; i < count && used < sizeof(known); i++)
		used += (size_t)snprintf(
			known + used, sizeof(known) - used, "%s%s", i ? ", " : "", columns[i].key);
	return fail_set(fail, EINVAL, "--columns: there is no column '%.*s': choose from %s",
		(int)strcspn(name, ","), name, known);
}

int table_choose(const struct column *columns, size_t count, const struct table_style *style,
	const struct column **chosen, size_t *chosen_count, struct fail *fail)
{
	const char *name = style->columns;

	*chosen_count = 0;
	assert(count <= TABLE_COLUMNS_MAX);
	for (size_t i = 0; i < count && !name; i++)
		if (style->wide || !(columns[i].flags & COLUMN_WIDE))
			chosen[(*chosen_count)++] = &columns[i];
	while (name && *chosen_count < TABLE_COLUMNS_MAX) {
		size_t length = strcspn(name, ",");
		const struct column *column = find_column(columns, count, name, length);

		if (!column)
			return no_such_column(columns, count, name, fail);
		chosen[(*chosen_count)++] = column;
		name = name[length] ? name + length + 1 : NULL;
	}
	return 0;
}

static bool is_number(enum column_kind kind)
{
	return kind == COLUMN_NUMBER || kind == COLUMN_BYTES || kind == COLUMN_MILLISECONDS ||
	       kind == COLUMN_LENGTH;
}

static void print_cell(const char *text, const struct column *column, size_t width, bool last,
	const struct table_style *style)
{
	bool right = is_number(column->kind);
	int space = style->no_header ? 0 : (int)(width - strlen(text));
	const char *color = strcmp(column->key, "state") ? "" : state_color(text, style->color);

	printf("%*s%s%s%s%*s%s", right ? space : 0, "", color, text, *color ? color_end(true) : "",
		right || last ? 0 : space, "",
		last		   ? "\n"
		: style->no_header ? "\t"
				   : "  ");
}

int table_print(const json_t *rows, const struct column *columns, size_t count,
	const struct table_style *style, struct fail *fail)
{
	const struct column *chosen[TABLE_COLUMNS_MAX];
	size_t width[TABLE_COLUMNS_MAX], row_count = json_array_size(rows), used;
	AUTO_FREE char **cells = NULL;
	int error = table_choose(columns, count, style, chosen, &used, fail);

	if (error)
		return error;
	cells = calloc((row_count + 1) * used, sizeof(*cells));
	if (!cells)
		return fail_set(fail, ENOMEM, "no memory for a table");
	for (size_t c = 0; c < used; c++) {
		width[c] = strlen(chosen[c]->title);
		for (size_t r = 0; r < row_count; r++) {
			char *text = cell_text(json_array_get(rows, r), chosen[c], style);

			cells[r * used + c] = text;
			if (strlen(text) > width[c])
				width[c] = strlen(text);
		}
	}
	for (size_t c = 0; c < used && !style->no_header; c++)
		print_cell(chosen[c]->title, chosen[c], width[c], c == used - 1, style);
	for (size_t r = 0; r < row_count; r++)
		for (size_t c = 0; c < used; c++) {
			print_cell(cells[r * used + c], chosen[c], width[c], c == used - 1, style);
			free(cells[r * used + c]);
		}
	return 0;
}

/* "SIZE" as a table has it is "size" here. */
static void print_title(const char *title, size_t width)
{
	printf("%*s", (int)(width - strlen(title)), "");
	for (; *title; title++)
		putchar(tolower((unsigned char)*title));
	fputs(": ", stdout);
}

void details_print(const json_t *row, const struct column *columns, size_t count,
	const struct table_style *style)
{
	size_t width = 0;

	for (size_t i = 0; i < count; i++)
		if (strlen(columns[i].title) > width)
			width = strlen(columns[i].title);
	for (size_t i = 0; i < count; i++) {
		AUTO_FREE char *text = cell_text(row, &columns[i], style);
		bool state = !strcmp(columns[i].key, "state");

		if (!strcmp(text, "-") ||
			((columns[i].flags & COLUMN_NOT_ZERO) && !strcmp(text, "0")))
			continue;
		print_title(columns[i].title, width);
		printf("%s%s%s\n", state ? state_color(text, style->color) : "", text,
			state ? color_end(style->color) : "");
	}
}
