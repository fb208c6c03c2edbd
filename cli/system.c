/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about braid and braidd themselves: version, rpc, help, and `bdev show`. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/handlers.h"
#include "cli/help.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/rpc_client.h"

HANDLER(version_run)
{
	AUTO_JSON json_t *result = NULL, *members = NULL;
	int error = call(cli, "version.get", NULL, &result, fail);

	members = json_pack("{s:s}", "braid", BRAID_VERSION);
	if (output_is_json(cli)) {
		json_object_set(members, "braidd", error ? json_null() : result);
		output_json(cli, members);
		return 0;
	}
	puts("braid  " BRAID_VERSION);
	if (error)
		printf("braidd not running\n");
	else
		printf("braidd %s, parity kernel %s\n", text_of(result, "version"),
			text_of(result, "parity_kernel"));
	return 0;
}

HANDLER(rpc_run)
{
	AUTO_JSON json_t *result = NULL;
	AUTO_FREE char *text = NULL;
	json_t *params = NULL;
	json_error_t where;
	const char *method;
	int error = option_or_word(cli, NULL, 0, &method, fail);

	if (error)
		return error;
	if (cli->word_count > 1) {
		params = json_loads(cli->words[1], JSON_REJECT_DUPLICATES, &where);
		if (!json_is_object(params)) {
			json_decref(params);
			return fail_set(fail, EINVAL,
				"'%.80s' is no JSON object: write '{\"name\": \"media6\"}'",
				cli->words[1]);
		}
	}
	error = cli->dry_run ? call_to_change(cli, method, params, NULL, &result, fail)
			     : rpc_client_call(cli->client, method, params, &result, fail);
	if (error || cli->dry_run)
		return error;
	text = json_dumps(result,
		JSON_ENCODE_ANY | (cli->output == OUTPUT_JSONL ? JSON_COMPACT : JSON_INDENT(2)));
	puts(text ? text : "null");
	return 0;
}

HANDLER(help_run)
{
	size_t count;
	const struct command *rows = commands(&count);
	const char *object, *verb;

	if (!cli->word_count) {
		help_all();
		return 0;
	}
	object = command_object(cli->words[0]);
	verb = cli->word_count > 1 ? command_verb(object, cli->words[1]) : NULL;
	for (size_t i = 0; i < count; i++)
		if (!strcmp(rows[i].object, object) &&
			(!rows[i].verb || (verb && !strcmp(rows[i].verb, verb)))) {
			help_command(&rows[i]);
			return 0;
		}
	if (!verb && help_object(object))
		return 0;
	return fail_set(fail, EINVAL, "there is no command '%.40s%s%.40s': see braid help",
		cli->words[0], verb ? " " : "", verb ? verb : "");
}

static int bdevs_json(struct cli *cli, struct fail *fail)
{
	AUTO_JSON json_t *drives = NULL, *volumes = NULL;
	int error = call(cli, "drive.list", NULL, &drives, fail);

	if (!error)
		error = call(cli, "volume.list", NULL, &volumes, fail);
	if (error)
		return error;
	json_object_update(drives, volumes);
	output_json(cli, drives);
	return 0;
}

HANDLER(bdev_show_run)
{
	int error;

	if (output_is_json(cli))
		return bdevs_json(cli, fail);
	error = drive_list_run(cli, fail);
	if (error)
		return error;
	putchar('\n');
	fflush(stdout);
	return volume_list_run(cli, fail);
}
