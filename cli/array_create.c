/* SPDX-License-Identifier: Apache-2.0 */
/* braid array create: has the daemon plan it, shows the plan, asks, creates, follows the job. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "cli/confirm.h"
#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"

enum { KIB = 1024, NAMES_WIDTH = 90 };

/* What is not about geometry. */
static int read_extras(const struct cli *cli, json_t *params, struct fail *fail)
{
	json_t *spares = option_list(cli, "spare", COMMAND_WORDS_MAX);
	uint64_t count = 0;
	int error = option_number(cli, "spares", INT32_MAX, &count, fail);

	if (json_array_size(spares))
		json_object_set(params, "spares", spares);
	json_decref(spares);
	if (count)
		json_object_set_new(params, "spare_count", json_integer((json_int_t)count));
	if (option_text(cli, "consistency"))
		json_object_set_new(
			params, "consistency", json_string(option_text(cli, "consistency")));
	if (option_given(cli, "assume-clean"))
		json_object_set_new(params, "assume_clean", json_true());
	if (option_given(cli, "wipe-signatures"))
		json_object_set_new(params, "wipe_signatures", json_true());
	return error;
}

/* array.create's parameters without dry_run. */
static int read_params(const struct cli *cli, json_t *params, struct fail *fail)
{
	const char *name, *level = option_text(cli, "level");
	uint64_t chunk = 0, block = 0, parts = 0;
	json_t *drives = option_list(cli, "drives", COMMAND_WORDS_MAX);
	int error = option_or_word(cli, "name", 0, &name, fail);

	json_object_set_new(params, "drives", drives);
	if (error)
		return error;
	if (option_given(cli, "name") && cli->word_count && strcmp(name, cli->words[0]))
		return fail_set(fail, EINVAL,
			"the array has two names, '%.64s' and '%.64s': give one", cli->words[0],
			name);
	if (!level)
		return usage_fail(cli, fail, "--level is missing");
	if (!json_array_size(drives))
		return usage_fail(cli, fail, "--drives is missing");
	json_object_set_new(params, "name", json_string(name));
	json_object_set_new(params, "level", json_string(level));
	error = option_bytes(cli, "chunk", KIB, &chunk, fail);
	if (!error)
		error = option_bytes(cli, "block-size", 1, &block, fail);
	if (!error)
		error = option_number(cli, "parts", INT32_MAX, &parts, fail);
	if (option_given(cli, "chunk"))
		json_object_set_new(params, "chunk_bytes", json_integer((json_int_t)chunk));
	if (option_given(cli, "block-size"))
		json_object_set_new(params, "block_bytes", json_integer((json_int_t)block));
	if (option_given(cli, "parts"))
		json_object_set_new(params, "parts", json_integer((json_int_t)parts));
	return error ? error : read_extras(cli, params, fail);
}

/* --- the plan ----------------------------------------------------------------------------------
 */

static void print_names(const json_t *names)
{
	size_t i, column = 0;
	json_t *name;

	json_array_foreach(names, i, name)
	{
		const char *text = string_of(name);

		if (column && column + 1 + strlen(text) > NAMES_WIDTH) {
			printf("\n       ");
			column = 0;
		}
		printf("%s%s", column ? " " : "", text);
		column += strlen(text) + (column > 0);
	}
	putchar('\n');
}

static void print_plan(const struct cli *cli, const json_t *plan)
{
	const json_t *warnings = json_object_get(plan, "warnings");
	uint64_t tolerates = number_of(plan, "tolerates");
	char chunk[UNITS_TEXT_BYTES], stripe[UNITS_TEXT_BYTES], usable[UNITS_TEXT_BYTES];
	const char *mark = cli->color ? "\033[33m" : "";
	size_t i;
	json_t *warning;

	printf("Plan:  %s, %zu drives, chunk %s, stripe %s, blocks of %llu bytes\n",
		text_of(plan, "level_text"), length_of(plan, "drives"),
		units_print(number_of(plan, "chunk_bytes"), chunk),
		units_print(number_of(plan, "stripe_bytes"), stripe),
		(unsigned long long)number_of(plan, "block_bytes"));
	printf("       %s usable, survives ", units_print(number_of(plan, "usable_bytes"), usable));
	if (tolerates)
		printf("any %llu drive failure%s\n", (unsigned long long)tolerates,
			tolerates == 1 ? "" : "s");
	else
		printf("no drive failure\n");
	printf("       consistency: %s\n       ", text_of(plan, "consistency"));
	print_names(json_object_get(plan, "drives"));
	if (length_of(plan, "spares")) {
		printf("       spares: ");
		print_names(json_object_get(plan, "spares"));
	}
	json_array_foreach((json_t *)warnings, i, warning)
		printf("%sWARN%s   %s\n", mark, color_end(cli->color), string_of(warning));
	fflush(stdout);
}

/* --- creating ----------------------------------------------------------------------------------
 */

static int plan_array(struct cli *cli, const json_t *params, json_t **plan, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL;
	json_t *dry = json_copy((json_t *)params);
	int error;

	json_object_set_new(dry, "dry_run", json_true());
	error = call(cli, "array.create", dry, &result, fail);
	if (error)
		return error;
	*plan = json_incref(json_object_get(result, "plan"));
	if (!output_is_json(cli) && !cli->quiet)
		print_plan(cli, *plan);
	return 0;
}

static int follow(
	struct cli *cli, const char *name, const json_t *plan, uint64_t id, struct fail *fail)
{
	AUTO_JSON json_t *job = NULL, *shown = NULL;
	char usable[UNITS_TEXT_BYTES];
	int error = progress_follow(cli, id, &job, fail);

	if (error)
		return error;
	if (output_is_json(cli)) {
		error = call(cli, "array.show", json_pack("{s:s}", "name", name), &shown, fail);
		if (error)
			return error;
		json_object_set(shown, "plan", (json_t *)plan);
		json_object_set(shown, "job", job);
		output_json(cli, shown);
		return 0;
	}
	say(cli, "array %s made in %.1f s: %s usable", name,
		(double)number_of(job, "elapsed_ms") / 1000,
		units_print(number_of(plan, "usable_bytes"), usable));
	return 0;
}

HANDLER(array_create_run)
{
	AUTO_JSON json_t *params = json_object(), *plan = NULL, *result = NULL;
	char warning[96];
	const char *name;
	uint64_t id;
	int error = read_params(cli, params, fail);

	if (!error)
		error = plan_array(cli, params, &plan, fail);
	if (error)
		return error;
	name = text_of(params, "name");
	/* What was planned is what will be made: free:N must not choose again. */
	json_object_set(params, "drives", json_object_get(plan, "drives"));
	json_object_set(params, "spares", json_object_get(plan, "spares"));
	json_object_del(params, "spare_count");
	snprintf(warning, sizeof(warning), "These %zu drives will be ERASED.",
		length_of(plan, "drives") + length_of(plan, "spares"));
	error = confirm_loss(cli, warning, "array", name, fail);
	if (!error)
		error = call_to_change(
			cli, "array.create", json_incref(params), plan, &result, fail);
	if (error || cli->dry_run)
		return error;
	id = number_of(result, "job");
	if (!option_given(cli, "no-wait"))
		return follow(cli, name, plan, id, fail);
	return output_done(cli, result, "array %s is being made: braid job watch %llu", name,
		(unsigned long long)id);
}
