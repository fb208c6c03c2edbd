/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a command answers, in the form that -o asks for. JSON has the shape
 * {"output_version":{"command":"array list","major":1,"minor":0},"arrays":[...]}.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "cli/command.h"
#include "cli/table.h"

bool output_is_json(const struct cli *cli);
struct table_style output_style(const struct cli *cli);

/* A list under `key`; `none` is said on stderr when a table would be empty. Borrows rows. */
int output_list(struct cli *cli, const char *key, const json_t *rows, const struct column *columns,
	size_t count, const char *none, struct fail *fail);
#define OUTPUT_LIST(cli, key, rows, columns, none, fail) \
	output_list(cli, key, rows, columns, sizeof(columns) / sizeof((columns)[0]), none, fail)

/* One object under `key`. Borrows row. */
int output_object(struct cli *cli, const char *key, const json_t *row, const struct column *columns,
	size_t count, struct fail *fail);
#define OUTPUT_OBJECT(cli, key, row, columns, fail) \
	output_object(cli, key, row, columns, sizeof(columns) / sizeof((columns)[0]), fail)

/* `members` behind output_version. Borrows. */
void output_json(const struct cli *cli, const json_t *members);

/* What was done, on stdout, unless -q or JSON. */
void say(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The answer to a call that changed something: `text` for people, `members` as JSON. */
int output_done(const struct cli *cli, const json_t *members, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Calls the daemon; takes params. */
int call(struct cli *cli, const char *method, json_t *params, json_t **result, struct fail *fail);
/* The same for what changes something: with -n it prints the call instead, with `plan` (borrowed,
 * or NULL) beside it in JSON, and *result stays NULL. */
int call_to_change(struct cli *cli, const char *method, json_t *params, const json_t *plan,
	json_t **result, struct fail *fail);

#endif
