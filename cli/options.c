/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "cli/help.h"

static const struct given *find_given(const struct cli *cli, const char *name)
{
	for (unsigned i = cli->given_count; i-- > 0;)
		if (!strcmp(cli->given[i].option->name, name))
			return &cli->given[i];
	return NULL;
}

bool option_given(const struct cli *cli, const char *name)
{
	return find_given(cli, name);
}

const char *option_text(const struct cli *cli, const char *name)
{
	const struct given *given = find_given(cli, name);

	return given ? given->value : NULL;
}

int usage_fail(const struct cli *cli, struct fail *fail, const char *sentence)
{
	char usage[HELP_USAGE_BYTES];

	return fail_set(fail, EINVAL, "%s. Usage: %s", sentence, help_usage(cli->command, usage));
}

/* "NAME is missing": the word at that index as the usage line calls it. */
static int missing_word(const struct cli *cli, unsigned index, struct fail *fail)
{
	const char *word = cli->command->words;
	char sentence[64];

	for (; index && strchr(word, ' '); index--)
		word = strchr(word, ' ') + 1;
	snprintf(sentence, sizeof(sentence), "%.*s is missing", (int)strcspn(word, " "), word);
	return usage_fail(cli, fail, sentence);
}

int option_or_word(const struct cli *cli, const char *option, unsigned index, const char **text,
	struct fail *fail)
{
	*text = option ? option_text(cli, option) : NULL;
	if (!*text && index < cli->word_count)
		*text = cli->words[index];
	if (*text && **text)
		return 0;
	return missing_word(cli, index, fail);
}

static void append_split(json_t *list, const char *text)
{
	while (*text) {
		size_t length = strcspn(text, ",");

		if (length)
			json_array_append_new(list, json_stringn(text, length));
		text += length + (text[length] == ',');
	}
}

json_t *option_list(const struct cli *cli, const char *option, unsigned first)
{
	json_t *list = json_array();

	for (unsigned i = first; i < cli->word_count; i++)
		append_split(list, cli->words[i]);
	for (unsigned i = 0; option && i < cli->given_count; i++)
		if (!strcmp(cli->given[i].option->name, option))
			append_split(list, cli->given[i].value);
	return list;
}

int option_bytes(const struct cli *cli, const char *name, uint64_t bare_unit, uint64_t *bytes,
	struct fail *fail)
{
	const char *text = option_text(cli, name);
	int error = text ? units_parse(bytes, text, bare_unit, fail) : 0;

	return error ? fail_prefix(fail, "--%s", name) : 0;
}

int number_parse(
	const char *text, const char *what, uint64_t most, uint64_t *number, struct fail *fail)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || strspn(text, "0123456789") != strlen(text) || end == text ||
		value > most)
		return fail_set(fail, EINVAL, "%s: '%s' is no whole number from 0 to %llu", what,
			text, (unsigned long long)most);
	*number = value;
	return 0;
}

int option_number(
	const struct cli *cli, const char *name, uint64_t most, uint64_t *number, struct fail *fail)
{
	const char *text = option_text(cli, name);
	char what[40];

	snprintf(what, sizeof(what), "--%s", name);
	return text ? number_parse(text, what, most, number, fail) : 0;
}

int seconds_parse(const char *text, const char *what, double *seconds, struct fail *fail)
{
	char *end;

	*seconds = strtod(text, &end);
	if (end == text || *end || !isfinite(*seconds) || *seconds <= 0 || *seconds > 1e6)
		return fail_set(fail, EINVAL, "%s: '%s' is no number of seconds", what, text);
	return 0;
}
