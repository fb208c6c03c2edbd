/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "control/methods.h"
#include "reactor/reactor.h"

json_t *export_json(struct export *export)
{
	const struct controller_config *config = controller_config(export->controller);
	struct controller_status status;
	char cores[CPUMASK_TEXT_BYTES];

	controller_status(export->controller, &status);
	return json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:b, s:i, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I, "
		"s:s}",
		"name", export->name, "volume", export->volume ? export->volume->name : "", "array",
		export->array->name, "socket", config->path, "cores",
		cpumask_print(&config->cores, cores), "connected", status.connected, "queues",
		(int)status.queues, "requests", (json_int_t)status.requests, "notifications",
		(json_int_t)status.notifications, "errors", (json_int_t)status.errors, "sessions",
		(json_int_t)status.sessions, "read_only", config->read_only, "bytes",
		(json_int_t)blockdev_bytes(config->dev), "block_bytes",
		(json_int_t)config->dev->block_bytes, "queue_memory_bytes",
		(json_int_t)status.queue_bytes, "trouble", status.trouble);
}

METHOD(vhost_list)
{
	json_t *list = json_array();
	struct list_node *node;

	(void)params, (void)fail;
	list_for_each (node, &daemon->exports)
		json_array_append_new(list, export_json(container_of(node, struct export, link)));
	*result = json_pack("{s:o}", "exports", list);
	return 0;
}

/* The volume, or the array without volumes, of that name. */
static int find_target(
	struct daemon *daemon, const char *name, struct export *export, struct fail *fail)
{
	struct array_entry *entry;

	export->volume = volume_find(daemon, name, NULL);
	if (export->volume) {
		export->array = export->volume->array;
		return 0;
	}
	entry = array_find(daemon, name, NULL);
	if (!entry)
		return fail_set(fail, ENOENT,
			"there is no volume or array '%s': see braid volume list", name);
	if (!entry->array)
		return fail_set(fail, EBUSY, "array %s is still being made: braid job wait", name);
	if (!list_empty(&entry->volumes))
		return fail_set(
			fail, EINVAL, "array %s is divided: export one of its volumes", name);
	export->array = entry;
	return 0;
}

static int read_cores(
	struct daemon *daemon, struct cpumask *cores, const char *text, struct fail *fail)
{
	struct cpumask all = {{0}};
	char print[CPUMASK_TEXT_BYTES];
	int error;

	for (unsigned i = 0; i < reactor_count(daemon->group); i++)
		cpumask_add(&all, reactor_core(reactor_at(daemon->group, i)));
	*cores = all;
	if (!text)
		return 0;
	error = cpumask_parse(cores, text, fail);
	for (unsigned core = 0; !error && core < CPUMASK_CORES; core++)
		if (cpumask_has(cores, core) && !cpumask_has(&all, core))
			error = fail_set(fail, EINVAL,
				"core %u is not braidd's: it runs on %s, see its "
				"--cores",
				core, cpumask_print(&all, print));
	return error;
}

static int read_export(struct daemon *daemon, const json_t *params, struct export *export,
	struct controller_config *config, struct fail *fail)
{
	const char *target = rpc_string(params, "volume", ""), *plain;
	const char *socket = rpc_string(params, "socket", NULL);
	const char *name;
	int error = find_target(daemon, target, export, fail);

	if (error)
		return error;
	plain = export->volume ? export->volume->name : export->array->name;
	name = rpc_string(params, "name", plain);
	error = name_check(name, "the controller", fail);
	if (error)
		return error;
	if (export_find(daemon, name))
		return fail_set(fail, EEXIST,
			"there is a controller '%s' already: choose another name", name);
	strcpy(export->name, name);
	strcpy(config->name, name);
	strcpy(config->serial, plain);
	if ((socket ? snprintf(config->path, sizeof(config->path), "%s", socket)
		    : snprintf(config->path, sizeof(config->path), "%s/vhost/%s.sock",
			      daemon->run_dir, name)) >= (int)sizeof(config->path))
		return fail_set(fail, ENAMETOOLONG,
			"the socket path would be longer than the %zu bytes that Unix sockets "
			"allow: use "
			"a shorter name, or --socket PATH",
			sizeof(config->path) - 1);
	config->dev = export->volume ? export->volume->dev : array_blockdev(export->array->array);
	if (config->dev->user[0])
		return fail_set(fail, EBUSY, "%s is in use by %s: delete that first", plain,
			config->dev->user);
	config->read_only = rpc_boolean(params, "read_only");
	return read_cores(daemon, &config->cores, rpc_string(params, "cores", NULL), fail);
}

/* Cores that serve another controller too. */
static json_t *overlap_warnings(struct daemon *daemon, const struct export *mine)
{
	json_t *warnings = json_array();
	const struct cpumask *cores = &controller_config(mine->controller)->cores;
	struct list_node *node;
	char line[256];

	list_for_each (node, &daemon->exports) {
		const struct export *other = container_of(node, struct export, link);
		bool overlap = false;

		for (unsigned core = 0; core < CPUMASK_CORES; core++)
			overlap |= cpumask_has(cores, core) &&
				   cpumask_has(&controller_config(other->controller)->cores, core);
		if (other == mine || !overlap)
			continue;
		snprintf(line, sizeof(line),
			"controller %s is served by some of the same cores: for the highest speed "
			"give "
			"each its own with --cores",
			other->name);
		json_array_append_new(warnings, json_string(line));
		break;
	}
	return warnings;
}

METHOD(vhost_create)
{
	struct export *export = calloc(1, sizeof(*export));
	struct controller_config config = {0};
	char user[BLOCKDEV_USER_BYTES];
	int error;

	if (!export)
		return fail_set(fail, ENOMEM, "no memory for a controller");
	list_node_init(&export->link);
	error = read_export(daemon, params, export, &config, fail);
	if (error || rpc_boolean(params, "dry_run"))
		goto free_export;
	snprintf(user, sizeof(user), "controller %s", export->name);
	error = blockdev_claim(config.dev, user, fail);
	if (error)
		goto free_export;
	error = controller_create(&export->controller, &config, daemon->group, fail);
	if (error) {
		blockdev_release(config.dev);
		goto free_export;
	}
	list_push_back(&daemon->exports, &export->link);
	error = exports_set_owners(daemon, export->array, fail);
	if (error) {
		export_free(export);
		return error;
	}
	*result = json_pack("{s:o, s:o}", "export", export_json(export), "warnings",
		overlap_warnings(daemon, export));
	return 0;

free_export:
	if (!error)
		*result = json_pack("{s:{s:s, s:s}, s:[]}", "export", "name", export->name,
			"socket", config.path, "warnings");
	free(export);
	return error;
}

METHOD(vhost_delete)
{
	const char *name = rpc_string(params, "name", "");
	struct export *export = export_find(daemon, name);
	struct controller_status status;
	struct array_entry *entry;

	if (!export)
		return fail_set(
			fail, ENOENT, "there is no controller '%s': see braid vhost list", name);
	controller_status(export->controller, &status);
	if (status.connected && !rpc_boolean(params, "connected"))
		return fail_set(fail, EBUSY,
			"a guest is connected to controller %s: shut it down, or use --connected",
			name);
	entry = export->array;
	export_free(export);
	if (exports_set_owners(daemon, entry, fail))
		return -fail->error;
	*result = json_object();
	return 0;
}
