/* SPDX-License-Identifier: Apache-2.0 */
/* What was typed, by name: the options and words of the command that runs. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "cli/command.h"

bool option_given(const struct cli *cli, const char *name);
/* The last value given; NULL: not given, or given without a value. */
const char *option_text(const struct cli *cli, const char *name);

/* The value, or the word at that index; -EINVAL with a sentence when neither is there. A NULL
 * option: the word alone. */
int option_or_word(const struct cli *cli, const char *option, unsigned index, const char **text,
	struct fail *fail);

/* All values of an option and all words from `first` on, split at commas. New reference. */
json_t *option_list(const struct cli *cli, const char *option, unsigned first);

/* These leave *number alone when the option was not given. */
int option_bytes(const struct cli *cli, const char *name, uint64_t bare_unit, uint64_t *bytes,
	struct fail *fail);
int option_number(const struct cli *cli, const char *name, uint64_t most, uint64_t *number,
	struct fail *fail);
int number_parse(
	const char *text, const char *what, uint64_t most, uint64_t *number, struct fail *fail);
int seconds_parse(const char *text, const char *what, double *seconds, struct fail *fail);

/* "missing NAME" with the command's usage line. */
int usage_fail(const struct cli *cli, struct fail *fail, const char *sentence);

#endif
