/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command is a row of the table in commands.c: object, verb, words, options, handler. Parsing,
 * --help and the checks of main.c come from the rows alone.
 *
 * A handler returns 0 or -errno with a sentence; the errno value decides the exit status.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fail.h"

enum { COMMAND_OPTIONS_MAX = 16, COMMAND_WORDS_MAX = 512, COMMAND_GIVEN_MAX = 512 };

enum exit_status {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NOT_FOUND = 3,
	EXIT_CONFLICT = 4,
	EXIT_REFUSED = 5,
	EXIT_UNREACHABLE = 6,
	EXIT_TIMEOUT = 7,
};

enum option_kind {
	OPTION_FLAG,
	OPTION_VALUE,
	OPTION_MAYBE, /* --watch or --watch=2 */
	OPTION_MANY,  /* a,b or a b or given more than once */
};

struct command_option {
	const char *name;
	enum option_kind kind;
	const char *value;   /* what --help calls the value */
	const char *text;    /* NULL: another spelling, not in --help */
	const char *same_as; /* the option that this one is another spelling of */
	char letter;
};

struct cli;

struct command {
	const char *object;
	const char *verb;  /* NULL: the object alone is the command */
	const char *words; /* of the usage line */
	unsigned words_max;
	const char *text; /* NULL: another spelling, not in the lists of help */
	int (*run)(struct cli *cli, struct fail *fail);
	struct command_option options[COMMAND_OPTIONS_MAX]; /* the first without a name ends them */
};

const struct command *commands(size_t *count);
const struct command_option *global_options(size_t *count);
/* "drive-manager" is "drive", "destroy" is "delete"; any other word is itself, and so is one that
 * the object has itself. */
const char *command_object(const char *word);
const char *command_verb(const char *object, const char *word);

enum output { OUTPUT_TABLE, OUTPUT_WIDE, OUTPUT_JSON, OUTPUT_JSONL };

struct given {
	const struct command_option *option; /* never another spelling */
	const char *value;		     /* NULL for a flag */
};

struct rpc_client;

/* What was typed, and what a handler leaves behind. */
struct cli {
	const struct command *command;
	const char *words[COMMAND_WORDS_MAX]; /* after the verb */
	unsigned word_count;
	struct given given[COMMAND_GIVEN_MAX];
	unsigned given_count;

	enum output output;
	const char *columns;
	bool no_header;
	bool raw;
	bool yes;
	bool dry_run;
	bool quiet;
	bool color;
	bool help;
	double timeout_s; /* 0: not given */

	struct rpc_client *client;
	enum exit_status status; /* of a handler that returned 0 */
};

#endif
