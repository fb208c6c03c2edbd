/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/vhost.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/cpumask.h"
#include "base/units.h"
#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/rpc_client.h"
#include "cli/volume_name.h"

static const struct column columns[] = {
	{"name", "NAME", COLUMN_TEXT, 0},
	{"volume", "VOLUME", COLUMN_TEXT, 0},
	{"array", "ARRAY", COLUMN_TEXT, 0},
	{"bytes", "SIZE", COLUMN_BYTES, 0},
	{"cores", "CORES", COLUMN_TEXT, 0},
	{"running", "RUNNING", COLUMN_YES, COLUMN_WIDE},
	{"connected", "CONNECTED", COLUMN_YES, 0},
	{"queues", "QUEUES", COLUMN_NUMBER, 0},
	{"requests", "REQUESTS", COLUMN_NUMBER, 0},
	{"errors", "ERRORS", COLUMN_NUMBER, 0},
	{"held", "HELD", COLUMN_NUMBER, COLUMN_WIDE},
	{"notifications", "NOTIFICATIONS", COLUMN_NUMBER, COLUMN_WIDE},
	{"sessions", "SESSIONS", COLUMN_NUMBER, COLUMN_WIDE},
	{"read_only", "READ-ONLY", COLUMN_YES, COLUMN_WIDE},
	{"when_broken", "WHEN BROKEN", COLUMN_TEXT, COLUMN_WIDE},
	{"block_bytes", "BLOCK", COLUMN_NUMBER, COLUMN_WIDE},
	{"queue_memory_bytes", "QUEUE MEMORY", COLUMN_BYTES, COLUMN_WIDE},
	{"socket", "SOCKET", COLUMN_TEXT, 0},
	{"trouble", "TROUBLE", COLUMN_TEXT, COLUMN_WIDE},
};

static const struct listing listing = {"exports", columns, ARRAY_SIZE(columns),
	"no controllers: braid vhost create VOLUME makes one"};

HANDLER(vhost_list_run)
{
	AUTO_JSON json_t *result = NULL;
	int error = call(cli, "vhost.list", NULL, &result, fail);

	return error ? error : output_list(cli, &listing, json_object_get(result, "exports"), fail);
}

int vhost_find(struct cli *cli, const char *name, json_t **export, struct fail *fail)
{
	AUTO_JSON json_t *result = NULL;
	int error = call(cli, "vhost.list", NULL, &result, fail);

	if (error)
		return error;
	*export = json_incref(row_where(json_object_get(result, "exports"), "name", name));
	return *export ? 0
		       : fail_set(fail, ENOENT,
				 "there is no controller '%.64s': see braid vhost list", name);
}

HANDLER(vhost_show_run)
{
	AUTO_JSON json_t *export = NULL;
	int error;

	if (!cli->word_count)
		return vhost_list_run(cli, fail);
	error = vhost_find(cli, cli->words[0], &export, fail);
	return error ? error : output_object(cli, &listing, "export", export, fail);
}

/* --- create ------------------------------------------------------------------------------------
 */

/* "8-11,14", "0x3" and SPDK's "[8,9]"; params.cores gets the list spelling. */
static int add_cores(const struct cli *cli, json_t *params, struct fail *fail)
{
	const char *typed = option_text(cli, "cores");
	char text[CPUMASK_TEXT_BYTES], list[CPUMASK_TEXT_BYTES];
	struct cpumask cores;
	int error;

	if (!typed)
		return 0;
	snprintf(text, sizeof(text), "%s", typed[0] == '[' ? typed + 1 : typed);
	if (typed[0] == '[')
		text[strcspn(text, "]")] = '\0';
	error = cpumask_parse(&cores, text, fail);
	if (!error)
		json_object_set_new(params, "cores", json_string(cpumask_print(&cores, list)));
	return error;
}

/* The controller's socket; a slip of the pen must not put it where braidd listens. */
static int add_path(const struct cli *cli, json_t *params, struct fail *fail)
{
	const char *path = option_text(cli, "path");
	const char *base = path ? strrchr(path, '/') : NULL;

	if (!path)
		return 0;
	if (path[0] != '/')
		return fail_set(fail, EINVAL, "the socket path '%.80s' must begin with a /", path);
	if (!strcmp(base, "/rpc.sock") || !strcmp(path, cli->client->path))
		return fail_set(fail, EINVAL,
			"%.80s is a socket of braidd itself. Behind vhost create --socket is the "
			"socket "
			"for the guest; braidd's goes before it: braid --socket PATH vhost create",
			path);
	json_object_set_new(params, "socket", json_string(path));
	return 0;
}

static int read_params(struct cli *cli, json_t *params, struct fail *fail)
{
	const char *typed, *volume, *name = option_text(cli, "name");
	int error = option_or_word(cli, "bdev", 0, &typed, fail);

	if (!error)
		error = volume_plain_name(cli, typed, &volume, fail);
	if (error)
		return error;
	json_object_set_new(params, "volume", json_string(volume));
	if (name)
		json_object_set_new(params, "name", json_string(name));
	if (option_given(cli, "read-only"))
		json_object_set_new(params, "read_only", json_true());
	if (option_text(cli, "when-broken"))
		json_object_set_new(
			params, "when_broken", json_string(option_text(cli, "when-broken")));
	error = add_cores(cli, params, fail);
	return error ? error : add_path(cli, params, fail);
}

static void print_created(const struct cli *cli, const json_t *result)
{
	const json_t *export = json_object_get(result, "export");
	size_t i;
	json_t *warning;

	say(cli, "controller %s: %s, cores %s, socket %s", text_of(export, "name"),
		*text_of(export, "volume") ? text_of(export, "volume") : text_of(export, "array"),
		text_of(export, "cores"), text_of(export, "socket"));
	json_array_foreach(json_object_get(result, "warnings"), i, warning)
		say(cli, "WARN   %s", string_of(warning));
	say(cli, "next:  braid vhost args %s --memory SIZE", text_of(export, "name"));
}

HANDLER(vhost_create_run)
{
	AUTO_JSON json_t *params = json_object(), *plan = NULL, *result = NULL;
	json_t *dry;
	int error = read_params(cli, params, fail);

	if (!error && cli->dry_run) {
		dry = json_copy(params);
		json_object_set_new(dry, "dry_run", json_true());
		error = call(cli, "vhost.create", dry, &plan, fail);
	}
	if (!error)
		error = call_to_change(
			cli, "vhost.create", json_incref(params), plan, &result, fail);
	if (error || cli->dry_run)
		return error;
	if (output_is_json(cli))
		output_json(cli, result);
	else
		print_created(cli, result);
	return 0;
}

HANDLER(vhost_delete_run)
{
	AUTO_JSON json_t *result = NULL, *members = NULL;
	const char *name;
	json_t *params;
	int error = option_or_word(cli, "name", 0, &name, fail);

	if (error)
		return error;
	params = json_pack("{s:s}", "name", name);
	if (option_given(cli, "connected"))
		json_object_set_new(params, "connected", json_true());
	error = call_to_change(cli, "vhost.delete", params, NULL, &result, fail);
	if (error || cli->dry_run)
		return error;
	members = json_pack("{s:s}", "deleted", name);
	return output_done(cli, members, "controller %s deleted", name);
}
