/* SPDX-License-Identifier: Apache-2.0 */
/*
 * getopt_long() runs in its return-in-order mode ("-"), so that options may stand anywhere: until
 * the object and the verb have been read only the global ones are known, then those of the command
 * too. An option of the command hides a global one of the same name.
 */
#include "cli/parse.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/help.h"

enum { KNOWN_MAX = 48, LETTERS_MAX = 2 * KNOWN_MAX + 3, WORD_CODE = 1, LONG_CODE = 256 };

/* The options that count at this point of the line, for getopt_long(). */
struct known {
	const struct command_option *option[KNOWN_MAX];
	struct option row[KNOWN_MAX + 1];
	char letters[LETTERS_MAX];
	unsigned count;
};

static const struct command_option *known_option(const struct known *known, const char *name)
{
	for (unsigned i = 0; i < known->count; i++)
		if (!strcmp(known->option[i]->name, name))
			return known->option[i];
	return NULL;
}

static void know_option(struct known *known, const struct command_option *option)
{
	char *end = known->letters + strlen(known->letters);

	if (known_option(known, option->name))
		return;
	assert(known->count < KNOWN_MAX);
	known->row[known->count] = (struct option){
		.name = option->name,
		.has_arg = option->kind == OPTION_FLAG	  ? no_argument
			   : option->kind == OPTION_MAYBE ? optional_argument
							  : required_argument,
		.val = LONG_CODE + (int)known->count,
	};
	known->option[known->count++] = option;
	known->row[known->count] = (struct option){0};
	if (option->letter)
		snprintf(end, 3, "%c%s", option->letter, option->kind == OPTION_FLAG ? "" : ":");
}

static void know_options(struct known *known, const struct command *command)
{
	size_t count;
	const struct command_option *globals = global_options(&count);

	known->count = 0;
	strcpy(known->letters, "-:");
	for (const struct command_option *option = command ? command->options : NULL;
		option && option->name; option++)
		know_option(known, option);
	for (size_t i = 0; i < count; i++)
		know_option(known, &globals[i]);
}

/* --- words -------------------------------------------------------------------------------------
 */

static int unknown_verb(const char *object, const char *verb, struct fail *fail)
{
	char verbs[256];

	if (!*help_verbs(object, verbs, sizeof(verbs)))
		return fail_set(
			fail, EINVAL, "there is no command '%.40s': see braid help", object);
	if (!verb)
		return fail_set(fail, EINVAL, "braid %s what? It has %s", object, verbs);
	return fail_set(fail, EINVAL, "braid %s has no '%.40s': it has %s", object, verb, verbs);
}

/* The row of these words; NULL without a sentence: the verb is still to come. */
static const struct command *find_command(const char *object, const char *verb, struct fail *fail)
{
	char verbs[256];
	size_t count;
	const struct command *rows = commands(&count);

	object = command_object(object);
	verb = verb ? command_verb(object, verb) : NULL;
	for (size_t i = 0; i < count; i++)
		if (!strcmp(rows[i].object, object) &&
			(!rows[i].verb || (verb && !strcmp(rows[i].verb, verb))))
			return &rows[i];
	if (verb || !*help_verbs(object, verbs, sizeof(verbs)))
		unknown_verb(object, verb, fail);
	return NULL;
}

static int take_word(struct cli *cli, const char **object, const char *word, struct fail *fail)
{
	if (!cli->command) {
		cli->command = find_command(*object ? *object : word, *object ? word : NULL, fail);
		if (!*object)
			*object = command_object(word);
		return -fail->error;
	}
	if (cli->word_count == cli->command->words_max) {
		char usage[HELP_USAGE_BYTES];

		return fail_set(fail, EINVAL, "'%.60s' is too much. Usage: %s", word,
			help_usage(cli->command, usage));
	}
	cli->words[cli->word_count++] = word;
	return 0;
}

/* --- options -----------------------------------------------------------------------------------
 */

static int give(
	struct cli *cli, const struct command_option *option, const char *value, struct fail *fail)
{
	if (cli->given_count == COMMAND_GIVEN_MAX)
		return fail_set(
			fail, EINVAL, "more than %d options are too many", COMMAND_GIVEN_MAX);
	cli->given[cli->given_count++] = (struct given){option, value};
	return 0;
}

/* Takes the words behind an option like --drives a b c. A comma says that the list is one word. */
static int give_many(struct cli *cli, const struct command_option *option, int argc, char **argv,
	struct fail *fail)
{
	const char *value = optarg;
	int error = give(cli, option, value, fail);

	while (!error && optind < argc && argv[optind][0] != '-' &&
		(!strpbrk(value, ",:") || value[strlen(value) - 1] == ',')) {
		value = argv[optind++];
		error = give(cli, option, value, fail);
	}
	return error;
}

static int take_option(struct cli *cli, const struct known *known, int code, int argc, char **argv,
	struct fail *fail)
{
	const struct command_option *option = NULL;

	if (code >= LONG_CODE)
		option = known->option[code - LONG_CODE];
	for (unsigned i = 0; i < known->count && !option; i++)
		if (known->option[i]->letter == code)
			option = known->option[i];
	assert(option);
	if (option->same_as)
		option = known_option(known, option->same_as);
	assert(option);
	if (option->kind == OPTION_MANY)
		return give_many(cli, option, argc, argv, fail);
	return give(cli, option, option->kind == OPTION_FLAG ? NULL : optarg, fail);
}

static int bad_option(const struct cli *cli, int code, const char *typed, struct fail *fail)
{
	char usage[HELP_USAGE_BYTES] = "braid";
	size_t length = strcspn(typed, "=");

	if (cli->command)
		snprintf(usage, sizeof(usage), "braid %s%s%s", cli->command->object,
			cli->command->verb ? " " : "",
			cli->command->verb ? cli->command->verb : "");
	if (code == ':')
		return fail_set(fail, EINVAL, "%.*s needs a value: see %s --help", (int)length,
			typed, usage);
	if (optopt >= LONG_CODE)
		return fail_set(fail, EINVAL, "%.*s takes no value: see %s --help", (int)length,
			typed, usage);
	return fail_set(fail, EINVAL, "there is no option '%.*s'%s: see %s --help", (int)length,
		typed, cli->command ? "" : " before the command", usage);
}

int parse_arguments(struct cli *cli, int argc, char **argv, const char **object, struct fail *fail)
{
	struct known known = {0};
	int error = 0, code = 0;

	*object = NULL;
	opterr = 0;
	know_options(&known, NULL);
	while (!error && code >= 0) {
		const char *typed = argv[optind];
		bool had_command = cli->command;

		code = getopt_long(argc, argv, known.letters, known.row, NULL);
		if (code == '?' || code == ':')
			error = bad_option(cli, code, typed, fail);
		else if (code == WORD_CODE)
			error = take_word(cli, object, optarg, fail);
		else if (code >= 0)
			error = take_option(cli, &known, code, argc, argv, fail);
		if (!had_command && cli->command)
			know_options(&known, cli->command);
	}
	for (; !error && optind < argc; optind++)
		error = take_word(cli, object, argv[optind], fail);
	return error;
}
