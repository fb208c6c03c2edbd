/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/json.h"
#include "cli/rpc_client.h"

bool output_is_json(const struct cli *cli)
{
	return cli->output == OUTPUT_JSON || cli->output == OUTPUT_JSONL;
}

struct table_style output_style(const struct cli *cli)
{
	return (struct table_style){
		.wide = cli->output == OUTPUT_WIDE,
		.no_header = cli->no_header,
		.raw = cli->raw,
		.color = cli->color,
		.columns = cli->columns,
	};
}

static void print_line(const json_t *json, size_t flags)
{
	AUTO_FREE char *text = json_dumps(json, flags | JSON_ENCODE_ANY);

	puts(text ? text : "null");
}

void output_json(const struct cli *cli, const json_t *members)
{
	AUTO_JSON json_t *all = NULL;
	char command[64];

	if (cli->output == OUTPUT_JSONL) {
		print_line(members, JSON_COMPACT);
		return;
	}
	snprintf(command, sizeof(command), "%s%s%s", cli->command->object,
		cli->command->verb ? " " : "", cli->command->verb ? cli->command->verb : "");
	all = json_pack("{s:{s:s, s:i, s:i}}", "output_version", "command", command, "major", 1,
		"minor", 0);
	json_object_update(all, (json_t *)members);
	print_line(all, JSON_INDENT(2));
}

/* The members of the row that the chosen columns show. New reference. */
static json_t *chosen_members(const json_t *row, const struct column *const *chosen, size_t count)
{
	json_t *members = json_object();

	for (size_t i = 0; i < count; i++) {
		json_t *value = json_object_get(row, chosen[i]->key);

		if (value)
			json_object_set(members, chosen[i]->key, value);
	}
	return members;
}

static int output_rows_json(
	struct cli *cli, const struct listing *listing, const json_t *rows, struct fail *fail)
{
	const struct column *chosen[TABLE_COLUMNS_MAX];
	struct table_style style = output_style(cli);
	AUTO_JSON json_t *list = json_array(), *members = NULL;
	size_t i, used;
	json_t *row;
	int error = table_choose(listing->columns, listing->count, &style, chosen, &used, fail);

	if (error)
		return error;
	json_array_foreach((json_t *)rows, i, row) json_array_append_new(
		list, cli->columns ? chosen_members(row, chosen, used) : json_incref(row));
	if (cli->output == OUTPUT_JSONL) {
		json_array_foreach(list, i, row) print_line(row, JSON_COMPACT);
		return 0;
	}
	members = json_pack("{s:O}", listing->key, list);
	output_json(cli, members);
	return 0;
}

int output_list(
	struct cli *cli, const struct listing *listing, const json_t *rows, struct fail *fail)
{
	struct table_style style = output_style(cli);

	if (output_is_json(cli))
		return output_rows_json(cli, listing, rows, fail);
	if (!json_array_size(rows) && !cli->columns) {
		if (!cli->quiet && !cli->no_header)
			fprintf(stderr, "%s\n", listing->none);
		return 0;
	}
	return table_print(rows, listing->columns, listing->count, &style, fail);
}

int output_object(struct cli *cli, const struct listing *listing, const char *key,
	const json_t *row, struct fail *fail)
{
	AUTO_JSON json_t *rows = json_pack("[O]", row), *members = NULL;
	struct table_style style = output_style(cli);

	if (output_is_json(cli)) {
		members = cli->output == OUTPUT_JSONL ? json_incref((json_t *)row)
						      : json_pack("{s:O}", key, row);
		output_json(cli, members);
		return 0;
	}
	if (cli->columns || cli->no_header)
		return table_print(rows, listing->columns, listing->count, &style, fail);
	details_print(row, listing->columns, listing->count, &style);
	return 0;
}

void say(const struct cli *cli, const char *format, ...)
{
	va_list arguments;

	if (cli->quiet || output_is_json(cli))
		return;
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
}

int output_done(const struct cli *cli, const json_t *members, const char *format, ...)
{
	va_list arguments;

	if (output_is_json(cli)) {
		output_json(cli, members);
		return 0;
	}
	if (cli->quiet)
		return 0;
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	return 0;
}

void text_disarm(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

/* All texts of an answer. jansson bounds the depth. */
static void disarm_json(json_t *json)
{
	AUTO_FREE char *text = NULL;
	const char *key;
	size_t i;
	json_t *value;

	json_object_foreach(json, key, value) disarm_json(value);
	json_array_foreach(json, i, value) disarm_json(value);
	if (!json_is_string(json))
		return;
	text = strdup(json_string_value(json));
	if (!text)
		abort();
	text_disarm(text);
	json_string_set(json, text);
}

int call(struct cli *cli, const char *method, json_t *params, json_t **result, struct fail *fail)
{
	int error = rpc_client_call(cli->client, method, params, result, fail);

	if (error)
		return error;
	if (!json_is_object(*result))
		return fail_set(fail, EPROTO, "braidd gave a strange answer to %s", method);
	if (!output_is_json(cli))
		disarm_json(*result);
	return 0;
}

int call_to_change(struct cli *cli, const char *method, json_t *params, const json_t *plan,
	json_t **result, struct fail *fail)
{
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *members = NULL, *request = NULL;

	*result = NULL;
	if (!cli->dry_run)
		return call(cli, method, params, result, fail);
	text = rpc_request_text(1, method, params);
	if (!output_is_json(cli)) {
		printf("would call  %s\n", text);
		return 0;
	}
	request = json_loads(text, 0, NULL);
	members = json_pack("{s:b, s:O*, s:O}", "dry_run", 1, "plan", plan, "would_call", request);
	output_json(cli, members);
	return 0;
}
