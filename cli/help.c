/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/help.h"

#include <stdio.h>
#include <string.h>

enum { OPTION_COLUMN = 26, USAGE_COLUMN = 34 };

char *help_usage(const struct command *command, char *text)
{
	snprintf(text, HELP_USAGE_BYTES, "braid %s%s%s%s%s", command->object,
		command->verb ? " " : "", command->verb ? command->verb : "",
		*command->words ? " " : "", command->words);
	return text;
}

static void print_option(const struct command_option *option)
{
	char left[64], letter[8] = "    ";

	if (!option->text)
		return;
	if (option->letter)
		snprintf(letter, sizeof(letter), "-%c, ", option->letter);
	snprintf(left, sizeof(left), "%s--%s%s%s%s", letter, option->name,
		option->kind == OPTION_MAYBE ? "[="
		: option->value		     ? " "
					     : "",
		option->value ? option->value : "", option->kind == OPTION_MAYBE ? "]" : "");
	printf("  %-*s  %s\n", OPTION_COLUMN, left, option->text);
}

static void print_globals(void)
{
	size_t count;
	const struct command_option *options = global_options(&count);

	puts("\nOptions of all commands:");
	for (size_t i = 0; i < count; i++)
		print_option(&options[i]);
}

void help_command(const struct command *command)
{
	char usage[HELP_USAGE_BYTES];

	printf("%s: %s\n", help_usage(command, usage),
		command->text ? command->text : "another spelling; see braid help");
	if (command->options[0].name)
		puts("\nOptions:");
	for (const struct command_option *option = command->options; option->name; option++)
		print_option(option);
	print_globals();
}

static void print_rows(const char *object)
{
	size_t count;
	const struct command *rows = commands(&count);

	for (size_t i = 0; i < count; i++) {
		char usage[HELP_USAGE_BYTES];
		const char *line;

		if (!rows[i].text || (object && strcmp(rows[i].object, object)))
			continue;
		line = help_usage(&rows[i], usage) + sizeof("braid");
		if (strlen(line) > USAGE_COLUMN)
			printf("  %s\n  %*s  %s\n", line, USAGE_COLUMN, "", rows[i].text);
		else
			printf("  %-*s  %s\n", USAGE_COLUMN, line, rows[i].text);
	}
}

void help_all(void)
{
	puts("braid: software RAID for virtual machines, served by braidd\n\n"
	     "Usage: braid OBJECT VERB [NAME] [OPTIONS]\n");
	print_rows(NULL);
	print_globals();
	puts("\nSizes: 128K, 1.8T count in 1024s; 128KB, 1.8TB in 1000s. Cores: 8-11,14 or 0x3.\n"
	     "Exit status: 0 ok, 1 failed, 2 usage, 3 not found, 4 busy or taken, 5 refused for\n"
	     "safety, 6 braidd does not answer, 7 timeout.\n"
	     "More: braid OBJECT --help, braid OBJECT VERB --help");
}

bool help_object(const char *object)
{
	char verbs[256];

	if (!*help_verbs(object, verbs, sizeof(verbs)))
		return false;
	printf("Usage: braid %s VERB [NAME] [OPTIONS]\n\n", object);
	print_rows(object);
	printf("\nMore: braid %s VERB --help\n", object);
	return true;
}

char *help_verbs(const char *object, char *text, size_t bytes)
{
	size_t count, used = 0;
	const struct command *rows = commands(&count);

	text[0] = '\0';
	for (size_t i = 0; i < count && used < bytes; i++)
		if (!strcmp(rows[i].object, object) && rows[i].verb)
			used += (size_t)snprintf(
				text + used, bytes - used, "%s%s", used ? ", " : "", rows[i].verb);
	return text;
}
