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

/* How the rows of one noun are shown. */
struct listing {
	const char *key; /* of the list in JSON */
	const struct column *columns;
	size_t count;
	const char *none; /* said on stderr when a table would be empty */
};

/* A list under listing->key. Borrows rows. */
int output_list(
	struct cli *cli, const struct listing *listing, const json_t *rows, struct fail *fail);
/* One row of such a list under `key`. Borrows row. */
int output_object(struct cli *cli, const struct listing *listing, const char *key,
	const json_t *row, struct fail *fail);

/* `members` behind output_version. Borrows. */
void output_json(const struct cli *cli, const json_t *members);

/* What was done, on stdout, unless -q or JSON. */
void say(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The answer to a call that changed something: `text` for people, `members` as JSON. */
int output_done(const struct cli *cli, const json_t *members, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Names come from disks and people: nothing in them may move the cursor. */
void text_disarm(char *text);

/* Calls the daemon; takes params. Fills *result with a new reference or NULL. Texts in it are safe
 * for a terminal unless the output is JSON. */
int call(struct cli *cli, const char *method, json_t *params, json_t **result, struct fail *fail);
/* The same for what changes something: with -n it prints the call instead, with `plan` (borrowed,
 * or NULL) beside it in JSON, and *result stays NULL. */
int call_to_change(struct cli *cli, const char *method, json_t *params, const json_t *plan,
	json_t **result, struct fail *fail);

#endif
