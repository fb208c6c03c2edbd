/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/units.h"
#include "control/exports.h"
#include "control/methods.h"
#include "control/notes.h"
#include "control/sockets.h"
#include "reactor/reactor.h"

static const char *when_broken(const struct controller_config *config)
{
	return config->holds ? "hold" : "error";
}

static int read_when_broken(struct controller_config *config, const char *text, struct fail *fail)
{
	config->holds = !strcmp(text, "hold");
	return config->holds || !strcmp(text, "error")
		       ? 0
		       : fail_set(fail, EINVAL,
				 "while its array is broken a guest can wait or get errors: "
				 "when_broken is hold or error, not '%.32s'",
				 text);
}

static const char *trouble_of(const struct export *export, struct controller_status *status)
{
	if (!export->controller)
		return export->trouble;
	if (status->held)
		snprintf(status->trouble, sizeof(status->trouble),
			"%llu requests of the guest wait, because array %s is broken",
			(unsigned long long)status->held, export->array->name);
	if (!status->trouble[0] && status->connected && status->queues && !status->inflight)
		return "the front end does not note requests in flight: a restart of braidd gives "
		       "its "
		       "guest I/O errors; see docs/ADMIN.md, Restarting braidd under running "
		       "guests";
	return status->trouble;
}

json_t *export_json(struct export *export)
{
	const struct controller_config *config = &export->config;
	struct controller_status status = {0};
	char cores[CPUMASK_TEXT_BYTES];

	if (export->controller)
		controller_status(export->controller, &status);
	return json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:i, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:b, "
		"s:I, s:s, s:I, s:s}",
		"name", config->name, "volume", export->volume_name, "array", export->array->name,
		"socket", config->path, "cores", cpumask_print(&config->cores, cores), "running",
		export->controller != NULL, "connected", status.connected, "queues",
		(int)status.queues, "requests", (json_int_t)status.requests, "notifications",
		(json_int_t)status.notifications, "errors", (json_int_t)status.errors, "sessions",
		(json_int_t)status.sessions, "read_only", config->read_only, "bytes",
		(json_int_t)(config->dev ? blockdev_bytes(config->dev) : 0), "block_bytes",
		(json_int_t)(config->dev ? config->dev->block_bytes : 0), "inflight",
		status.inflight, "queue_memory_bytes", (json_int_t)status.queue_bytes,
		"when_broken", when_broken(config), "held", (json_int_t)status.held, "trouble",
		trouble_of(export, &status));
}

json_t *export_note(const struct export *export)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:s}", "name", export->config.name,
		"volume", export->volume_name, "cores", export->cores, "socket",
		export->own_path ? export->config.path : "", "read_only", export->config.read_only,
		"serial", export->config.serial, "when_broken", when_broken(&export->config));
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
	if (!array_find(daemon, name, NULL))
		return fail_set(fail, ENOENT,
			"there is no volume or array '%s': see braid volume list", name);
	entry = running_array(daemon, name, fail);
	if (!entry)
		return -fail->error;
	if (!list_empty(&entry->volumes))
		return fail_set(
			fail, EINVAL, "array %s is divided: export one of its volumes", name);
	export->array = entry;
	return 0;
}

static struct cpumask all_cores(const struct daemon *daemon)
{
	struct cpumask all = {{0}};

	for (unsigned i = 0; i < reactor_count(daemon->group); i++)
		cpumask_add(&all, reactor_core(reactor_at(daemon->group, i)));
	return all;
}

static int read_cores(
	struct daemon *daemon, struct cpumask *cores, const char *text, struct fail *fail)
{
	struct cpumask all = all_cores(daemon);
	char print[CPUMASK_TEXT_BYTES];
	int error;

	*cores = all;
	if (!text[0])
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

/* The socket: the path that was asked for, or where it usually is. */
static int set_path(
	struct daemon *daemon, struct export *export, const char *socket, struct fail *fail)
{
	struct controller_config *config = &export->config;
	int length;

	export->own_path = socket[0];
	if (export->own_path)
		length = snprintf(config->path, sizeof(config->path), "%s", socket);
	else
		length = snprintf(config->path, sizeof(config->path), "%s/vhost/%s.sock",
			daemon->run_dir, config->name);
	if (length < (int)sizeof(config->path))
		return 0;
	return fail_set(fail, ENAMETOOLONG,
		"the socket path would be longer than the %zu bytes that Unix sockets allow: use a "
		"shorter name, or --socket PATH",
		sizeof(config->path) - 1);
}

static void set_target(struct export *export)
{
	const char *plain = export->volume ? export->volume->name : export->array->name;

	if (export->volume)
		snprintf(export->volume_name, sizeof(export->volume_name), "%s", plain);
	export->config.dev =
		export->volume ? export->volume->dev : array_blockdev(export->array->array);
}

static int read_export(
	struct daemon *daemon, const json_t *params, struct export *export, struct fail *fail)
{
	const char *plain, *name, *cores = rpc_string(params, "cores", "");
	struct controller_config *config = &export->config;
	int error = find_target(daemon, rpc_string(params, "volume", ""), export, fail);

	if (error)
		return error;
	set_target(export);
	plain = export->volume ? export->volume->name : export->array->name;
	name = rpc_string(params, "name", plain);
	error = name_check(name, "the controller", fail);
	if (error)
		return error;
	if (export_find(daemon, name))
		return fail_set(fail, EEXIST,
			"there is a controller '%s' already: choose another name", name);
	strcpy(config->name, name);
	strcpy(config->serial, plain);
	error = set_path(daemon, export, rpc_string(params, "socket", ""), fail);
	if (error)
		return error;
	if (config->dev->user[0])
		return fail_set(fail, EBUSY, "%s is in use by %s: delete that first", plain,
			config->dev->user);
	config->read_only = rpc_boolean(params, "read_only");
	error = read_when_broken(config, rpc_string(params, "when_broken", "hold"), fail);
	if (error)
		return error;
	snprintf(export->cores, sizeof(export->cores), "%s", cores);
	return read_cores(daemon, &config->cores, cores, fail);
}

/* Claims the volume and makes the controller. */
static int open_controller(struct daemon *daemon, struct export *export, struct fail *fail)
{
	char user[BLOCKDEV_USER_BYTES];
	int error;

	snprintf(user, sizeof(user), "controller %s", export->config.name);
	error = blockdev_claim(export->config.dev, user, fail);
	if (error)
		return error;
	error = controller_create(&export->controller, &export->config, daemon->group,
		sockets_take(daemon, export->config.path), fail);
	if (error)
		blockdev_release(export->config.dev);
	return error;
}

/* --- from the notes -------------------------------------------------------------------------- */

/* Copies a text of the notes; false: it is too long to be one of ours. */
static bool take_text(char *text, size_t bytes, const json_t *note, const char *key)
{
	return snprintf(text, bytes, "%s", rpc_string(note, key, "")) < (int)bytes;
}

/* What keeps the controller from running, with a sentence. */
static int open_noted(
	struct daemon *daemon, struct export *export, const char *socket, struct fail *fail)
{
	struct controller_config *config = &export->config;
	const struct export *other = export_find(daemon, config->name);
	char slashed[2 * ARRAY_NAME_BYTES];
	int error = set_path(daemon, export, socket, fail);

	if (error)
		return error;
	if (other)
		return fail_set(fail, EEXIST,
			"array %s has a controller of this name too: delete one of them",
			other->array->name);
	if (export->volume_name[0]) {
		snprintf(slashed, sizeof(slashed), "%s/%s", export->array->name,
			export->volume_name);
		export->volume = volume_find(daemon, slashed, fail);
		if (!export->volume)
			return -ENOENT;
	}
	set_target(export);
	if (read_cores(daemon, &config->cores, export->cores, fail)) {
		log_warning("event=CoresMissing controller=%s wanted=%s why=\"%s\" effect=\"all "
			    "cores serve it\"",
			config->name, export->cores, fail->text);
		config->cores = all_cores(daemon);
	}
	return open_controller(daemon, export, fail);
}

struct export *export_restore(
	struct daemon *daemon, struct array_entry *entry, const json_t *note, struct fail *fail)
{
	struct export *export = calloc(1, sizeof(*export));
	struct fail trouble = {0};

	if (!export) {
		fail_set(fail, ENOMEM, "no memory for a controller");
		return NULL;
	}
	export->array = entry;
	export->config.read_only = rpc_boolean(note, "read_only");
	if (!take_text(export->config.name, sizeof(export->config.name), note, "name") ||
		!take_text(export->config.serial, sizeof(export->config.serial), note, "serial") ||
		!take_text(export->volume_name, sizeof(export->volume_name), note, "volume") ||
		!take_text(export->cores, sizeof(export->cores), note, "cores") ||
		read_when_broken(&export->config, rpc_string(note, "when_broken", "hold"), NULL) ||
		name_check(export->config.name, "the controller", NULL)) {
		fail_set(fail, EILSEQ, "a controller in its notes makes no sense");
		free(export);
		return NULL;
	}
	if (open_noted(daemon, export, rpc_string(note, "socket", ""), &trouble)) {
		snprintf(export->trouble, sizeof(export->trouble), "%s", trouble.text);
		log_error("event=ControllerNotStarted controller=%s why=\"%s\"",
			export->config.name, trouble.text);
	}
	list_push_back(&daemon->exports, &export->link);
	return export;
}

/* --- creating and deleting ------------------------------------------------------------------- */

/* Cores that serve another controller too. */
static json_t *overlap_warnings(struct daemon *daemon, const struct export *mine)
{
	json_t *warnings = json_array();
	const struct cpumask *cores = &mine->config.cores;
	struct list_node *node;
	char line[256];

	list_for_each (node, &daemon->exports) {
		const struct export *other = container_of(node, struct export, link);
		bool overlap = false;

		for (unsigned core = 0; core < CPUMASK_CORES; core++)
			overlap |=
				cpumask_has(cores, core) && cpumask_has(&other->config.cores, core);
		if (other == mine || !other->controller || !overlap)
			continue;
		snprintf(line, sizeof(line),
			"controller %s is served by some of the same cores: for the highest speed "
			"give "
			"each its own with --cores",
			other->config.name);
		json_array_append_new(warnings, json_string(line));
		break;
	}
	return warnings;
}

METHOD(vhost_create)
{
	struct export *export = calloc(1, sizeof(*export));
	int error;

	if (!export)
		return fail_set(fail, ENOMEM, "no memory for a controller");
	error = read_export(daemon, params, export, fail);
	if (error)
		goto free_export;
	if (rpc_boolean(params, "dry_run")) {
		*result = json_pack("{s:{s:s, s:s}, s:[]}", "export", "name", export->config.name,
			"socket", export->config.path, "warnings");
		goto free_export;
	}
	error = open_controller(daemon, export, fail);
	if (error)
		goto free_export;
	list_push_back(&daemon->exports, &export->link);
	error = exports_set_owners(daemon, export->array, fail);
	if (!error)
		error = notes_write(daemon, export->array, fail);
	if (error) {
		struct array_entry *entry = export->array;

		export_free(export);
		exports_set_owners(daemon, entry, NULL);
		return error;
	}
	*result = json_pack("{s:o, s:o}", "export", export_json(export), "warnings",
		overlap_warnings(daemon, export));
	return 0;

free_export:
	free(export);
	return error;
}

/* Off the list, written down, and back on it when that is not possible. An array that has lost too
 * much cannot be written: its controllers may end all the same, or it could not be deleted. */
static int forget_export(struct daemon *daemon, struct export *export, struct fail *fail)
{
	struct list_node *next = export->link.next;
	struct array_status status;
	int error;

	array_status(export->array->array, &status);
	list_remove(&export->link);
	error = notes_write(daemon, export->array, fail);
	if (error && status.state == ARRAY_BROKEN) {
		log_warning("event=NotesNotSaved array=%s why=\"%s\" effect=\"controller %s comes "
			    "back when the array does\"",
			export->array->name, fail->text, export->config.name);
		*fail = (struct fail){0};
		error = 0;
	}
	list_insert_before(next, &export->link);
	return error;
}

METHOD(vhost_delete)
{
	const char *name = rpc_string(params, "name", "");
	struct export *export = export_find(daemon, name);
	struct controller_status status = {0};
	struct array_entry *entry;
	int error;

	if (!export)
		return fail_set(
			fail, ENOENT, "there is no controller '%s': see braid vhost list", name);
	if (export->controller)
		controller_status(export->controller, &status);
	if (status.connected && !rpc_boolean(params, "connected"))
		return fail_set(fail, EBUSY,
			"a guest is connected to controller %s: shut it down, or use --connected",
			name);
	entry = export->array;
	error = forget_export(daemon, export, fail);
	if (error)
		return error;
	export_free(export);
	if (exports_set_owners(daemon, entry, fail))
		return -fail->error;
	*result = json_object();
	return 0;
}
