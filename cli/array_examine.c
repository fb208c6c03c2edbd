/* SPDX-License-Identifier: Apache-2.0 */
/* braid array examine: reads superblocks itself, so it works where no braidd does. Only reads. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"
#include "control/probe.h"
#include "raid/member.h"

static const struct column details[] = {
	{"path", "member", COLUMN_TEXT, 0},
	{"array", "array", COLUMN_TEXT, 0},
	{"array_uuid", "array uuid", COLUMN_TEXT, 0},
	{"member_uuid", "member uuid", COLUMN_TEXT, 0},
	{"row", "row", COLUMN_TEXT, 0},
	{"level_text", "level", COLUMN_TEXT, 0},
	{"slots", "slots", COLUMN_NUMBER, 0},
	{"parts", "parts", COLUMN_NUMBER, COLUMN_NOT_ZERO},
	{"chunk_bytes", "chunk", COLUMN_BYTES, 0},
	{"block_bytes", "block bytes", COLUMN_NUMBER, 0},
	{"stripes", "stripes", COLUMN_NUMBER, 0},
	{"region_bytes", "region", COLUMN_BYTES, 0},
	{"consistency", "consistency", COLUMN_TEXT, 0},
	{"host_id", "host", COLUMN_TEXT, 0},
	{"created_at", "made", COLUMN_TIME, 0},
	{"member_bytes", "size", COLUMN_BYTES, 0},
	{"fingerprint", "drive", COLUMN_TEXT, 0},
	{"stopped", "stopped", COLUMN_TEXT, 0},
	{"generation", "generation", COLUMN_NUMBER, 0},
	{"epoch", "epoch", COLUMN_TEXT, 0},
	{"ancestors", "epochs before", COLUMN_LIST, 0},
	{"log_epoch", "log epoch", COLUMN_NUMBER, 0},
	{"layout_text", "layout", COLUMN_TEXT, 0},
	{"writer", "written by", COLUMN_TEXT, 0},
	{"written_at", "written", COLUMN_TIME, 0},
};

static const struct column row_columns[] = {
	{"row", "ROW", COLUMN_NUMBER, 0},
	{"state", "STATE", COLUMN_TEXT, 0},
	{"uuid", "MEMBER", COLUMN_TEXT, 0},
	{"since", "SINCE GENERATION", COLUMN_NUMBER, 0},
	{"watermark", "STRIPES DONE", COLUMN_NUMBER, 0},
	{"reason", "REASON", COLUMN_TEXT, 0},
	{"this", "", COLUMN_TEXT, 0},
};

static json_t *uuid_json(const struct uuid *uuid)
{
	char text[UUID_TEXT_BYTES];

	return uuid_is_null(uuid) ? json_null() : json_string(uuid_print(uuid, text));
}

static json_t *extent_json(const struct extent *extent)
{
	return json_pack("{s:I, s:I}", "offset", (json_int_t)extent->offset, "bytes",
		(json_int_t)extent->bytes);
}

static json_t *rows_json(const struct superblock *superblock)
{
	json_t *rows = json_array();

	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		const struct superblock_row *row = &superblock->rows[i];
		json_t *json;

		if (row->state == ROW_EMPTY && i >= superblock->members)
			continue;
		json = json_pack("{s:i, s:s, s:o, s:I, s:s, s:b, s:s}", "row", (int)i, "state",
			row_state_name(row->state), "uuid", uuid_json(&row->uuid), "since",
			(json_int_t)row->since, "reason",
			row->state == ROW_FAILED ? loss_reason_text(row->reason) : "", "readdable",
			row->state == ROW_FAILED && row->resyncable, "this",
			uuid_equal(&row->uuid, &superblock->member_uuid) ? "<- this member" : "");
		if (row->state == ROW_REBUILDING || row->state == ROW_REPLACING)
			json_object_set_new(
				json, "watermark", json_integer((json_int_t)row->watermark));
		if (row->state == ROW_REPLACING)
			json_object_set_new(json, "replaces", json_integer(row->replaces));
		if (row->state == ROW_FAILED)
			json_object_set_new(
				json, "lost_at", json_integer((json_int_t)row->lost_at));
		json_array_append_new(rows, json);
	}
	return rows;
}

static json_t *layout_json(const struct layout *layout)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "superblocks_a",
		extent_json(&layout->superblocks[0]), "superblocks_b",
		extent_json(&layout->superblocks[1]), "intent", extent_json(&layout->intent),
		"bad_blocks", extent_json(&layout->bad_blocks), "notes",
		extent_json(&layout->notes), "log", extent_json(&layout->log), "data",
		extent_json(&layout->data));
}

static void add_identity(json_t *json, const struct superblock *superblock)
{
	json_t *ancestors = json_array();
	char row[32], text[160];
	const struct layout *layout = &superblock->layout;

	for (unsigned i = 0; i < ARRAY_SIZE(superblock->ancestors); i++)
		if (!uuid_is_null(&superblock->ancestors[i]))
			json_array_append_new(ancestors, uuid_json(&superblock->ancestors[i]));
	snprintf(row, sizeof(row), "%u, %s", superblock->row,
		superblock->row < SUPERBLOCK_ROWS
			? row_state_name(superblock->rows[superblock->row].state)
			: "none");
	snprintf(text, sizeof(text), "data %llu + %llu, log %llu + %llu, intent %llu, notes %llu",
		(unsigned long long)layout->data.offset, (unsigned long long)layout->data.bytes,
		(unsigned long long)layout->log.offset, (unsigned long long)layout->log.bytes,
		(unsigned long long)layout->intent.offset,
		(unsigned long long)layout->notes.offset);
	json_object_update_new(json,
		json_pack("{s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:s}", "array", superblock->name,
			"array_uuid", uuid_json(&superblock->array_uuid), "member_uuid",
			uuid_json(&superblock->member_uuid), "row", row, "host_id",
			uuid_json(&superblock->host_id), "epoch", uuid_json(&superblock->epoch),
			"ancestors", ancestors, "layout_text", text));
}

static json_t *superblock_json(const char *path, const struct superblock *superblock)
{
	json_t *json = json_pack("{s:s, s:s}", "path", path, "error", "");

	add_identity(json, superblock);
	json_object_update_new(json,
		json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "level",
			superblock->level->name, "level_text", superblock->level->text, "slots",
			(json_int_t)superblock->members, "parts", (json_int_t)superblock->parts,
			"chunk_bytes", (json_int_t)superblock->chunk_bytes, "block_bytes",
			(json_int_t)superblock->block_bytes, "stripes",
			(json_int_t)superblock->stripes, "region_bytes",
			(json_int_t)superblock->region_bytes, "consistency",
			consistency_name(superblock->consistency)));
	json_object_update_new(json,
		json_pack("{s:I, s:I, s:s, s:b, s:s, s:I, s:I, s:I}", "created_at",
			(json_int_t)superblock->created_at, "member_bytes",
			(json_int_t)superblock->member_bytes, "fingerprint",
			superblock->fingerprint, "clean", superblock->clean, "stopped",
			superblock->unmade  ? "it was being made, or deleted: there is no array"
			: superblock->clean ? "in order"
					    : "no: it runs, or there was a crash",
			"generation", (json_int_t)superblock->generation, "log_epoch",
			(json_int_t)superblock->log_epoch, "layout_id",
			(json_int_t)superblock->layout_id));
	json_object_update_new(
		json, json_pack("{s:s, s:I, s:o, s:o}", "writer", superblock->writer, "written_at",
			      (json_int_t)superblock->written_at, "layout",
			      layout_json(&superblock->layout), "rows", rows_json(superblock)));
	return json;
}

static int print_member(const struct cli *cli, const json_t *member, struct fail *fail)
{
	struct table_style style = output_style(cli);

	details_print(member, details, ARRAY_SIZE(details), &style);
	putchar('\n');
	style.columns = NULL;
	return table_print(json_object_get(member, "rows"), row_columns, ARRAY_SIZE(row_columns),
		&style, fail);
}

HANDLER(array_examine_run)
{
	AUTO_JSON json_t *paths = option_list(cli, NULL, 0), *members = json_array(), *all = NULL;
	struct superblock superblock;
	struct fail first = {0};
	size_t i;
	json_t *path, *member;
	int error = json_array_size(paths) ? 0 : usage_fail(cli, fail, "PATH is missing");

	if (option_given(cli, "json"))
		cli->output = OUTPUT_JSON;
	json_array_foreach(paths, i, path)
	{
		struct fail why = {0};

		if (error)
			break;
		if (probe_superblock(string_of(path), &superblock, NULL, NULL, &why)) {
			if (!first.error)
				first = why;
			json_array_append_new(members, json_pack("{s:s, s:s}", "path",
							       string_of(path), "error", why.text));
			continue;
		}
		json_array_append_new(members, superblock_json(string_of(path), &superblock));
	}
	if (error)
		return error;
	all = json_pack("{s:O}", "members", members);
	if (output_is_json(cli))
		output_json(cli, all);
	json_array_foreach(members, i, member)
	{
		if (error || output_is_json(cli) || *text_of(member, "error"))
			continue;
		if (i)
			putchar('\n');
		error = print_member(cli, member, fail);
	}
	if (first.error)
		*fail = first;
	return error ? error : -first.error;
}
