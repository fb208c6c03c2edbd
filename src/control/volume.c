/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/units.h"
#include "control/methods.h"
#include "control/notes.h"

enum { VOLUMES_MAX = 256 };

static const char *export_name(const struct volume_entry *volume)
{
	const char *user = volume->dev->user;

	return strncmp(user, "controller ", 11) ? user : user + 11;
}

json_t *volume_json(struct volume_entry *volume)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:s}", "name", volume->name, "array",
		volume->array->name, "bytes", (json_int_t)blockdev_bytes(volume->dev),
		"offset_bytes", (json_int_t)volume_first(volume->dev) * volume->dev->block_bytes,
		"export", export_name(volume));
}

METHOD(volume_list)
{
	json_t *list = json_array();
	struct list_node *array_node, *node;

	(void)params, (void)fail;
	list_for_each (array_node, &daemon->arrays)
		list_for_each (node, &container_of(array_node, struct array_entry, link)->volumes)
			json_array_append_new(
				list, volume_json(container_of(node, struct volume_entry, link)));
	*result = json_pack("{s:o}", "volumes", list);
	return 0;
}

/* The array that is to get volumes: complete, and not exported as a whole. */
static struct array_entry *divisible_array(
	struct daemon *daemon, const json_t *params, struct fail *fail)
{
	const char *name = rpc_string(params, "array", "");
	struct array_entry *entry = running_array(daemon, name, fail);

	if (!entry)
		return NULL;
	if (array_blockdev(entry->array)->user[0]) {
		fail_set(fail, EBUSY, "array %s is exported as a whole by %s: delete that first",
			name, array_blockdev(entry->array)->user);
		return NULL;
	}
	return entry;
}

static int check_name(struct daemon *daemon, const char *name, struct fail *fail)
{
	int error = name_check(name, "the volume", fail);

	if (error)
		return error;
	if (volume_find(daemon, name, NULL) || array_find(daemon, name, NULL))
		return fail_set(fail, EEXIST, "the name '%s' is taken: choose another", name);
	return 0;
}

/* The largest gap between the array's volumes, in blocks; *before: the volume behind the gap. */
static uint64_t largest_gap(struct array_entry *entry, uint64_t *first, struct list_node **before)
{
	uint64_t end = 0, largest = 0;
	struct list_node *node = &entry->volumes.head;

	*first = 0;
	*before = node;
	do {
		uint64_t next_first = array_blockdev(entry->array)->blocks, next_end = 0;

		node = node->next;
		if (node != &entry->volumes.head) {
			const struct volume_entry *volume =
				container_of(node, struct volume_entry, link);

			next_first = volume_first(volume->dev);
			next_end = next_first + volume->dev->blocks;
		}
		if (next_first - end > largest) {
			largest = next_first - end;
			*first = end;
			*before = node;
		}
		end = next_end;
	} while (node != &entry->volumes.head);
	return largest;
}

/* Puts a volume at the beginning of the largest gap. */
static int add_volume(struct array_entry *entry, const char *name, uint64_t blocks,
	struct volume_entry **added, struct fail *fail)
{
	struct volume_entry *volume = calloc(1, sizeof(*volume));
	struct list_node *before;
	uint64_t first;
	int error;

	if (!volume)
		return fail_set(fail, ENOMEM, "no memory for volume %s", name);
	largest_gap(entry, &first, &before);
	error = volume_create(
		&volume->dev, name, array_blockdev(entry->array), first, blocks, fail);
	if (error) {
		free(volume);
		return error;
	}
	snprintf(volume->name, sizeof(volume->name), "%s", name);
	volume->array = entry;
	list_insert_before(before, &volume->link);
	*added = volume;
	return 0;
}

/* How many blocks a volume of that many bytes takes; checks that `count` of them fit. */
static int size_volumes(struct array_entry *entry, int64_t bytes, uint64_t count, uint64_t *blocks,
	struct fail *fail)
{
	const struct blockdev *dev = array_blockdev(entry->array);
	uint64_t stripe = array_stripe_blocks(entry->array), first, gap;
	struct list_node *before;
	char wanted[UNITS_TEXT_BYTES], there[UNITS_TEXT_BYTES];

	gap = largest_gap(entry, &first, &before);
	*blocks = gap / count / stripe * stripe;
	if (bytes > 0)
		*blocks = divide_up(divide_up((uint64_t)bytes, dev->block_bytes), stripe) * stripe;
	if (bytes < 0)
		return fail_set(fail, EINVAL, "a volume cannot have %lld bytes", (long long)bytes);
	if (!*blocks || *blocks > gap / count)
		return fail_set(fail, ENOSPC,
			"array %s has no room for %llu x %s: the largest free piece is %s",
			entry->name, (unsigned long long)count,
			units_print((*blocks ? *blocks : stripe) * dev->block_bytes, wanted),
			units_print(gap * dev->block_bytes, there));
	return 0;
}

METHOD(volume_create_method)
{
	struct array_entry *entry = divisible_array(daemon, params, fail);
	const char *name = rpc_string(params, "name", "");
	struct volume_entry *volume;
	uint64_t blocks;
	int error;

	if (!entry)
		return -fail->error;
	error = check_name(daemon, name, fail);
	if (!error)
		error = size_volumes(entry, rpc_integer(params, "bytes", 0), 1, &blocks, fail);
	if (error)
		return error;
	if (rpc_boolean(params, "dry_run")) {
		*result = json_pack("{s:{s:s, s:s, s:I}}", "volume", "name", name, "array",
			entry->name, "bytes",
			(json_int_t)blocks * array_blockdev(entry->array)->block_bytes);
		return 0;
	}
	error = add_volume(entry, name, blocks, &volume, fail);
	if (error)
		return error;
	error = notes_write(daemon, entry, fail);
	if (error)
		volume_free(volume);
	else
		*result = json_pack("{s:o}", "volume", volume_json(volume));
	return error;
}

/* NAMEp0, NAMEp1, ...: all names are free, or none is taken. */
static int check_split_names(
	struct daemon *daemon, const struct array_entry *entry, int64_t count, struct fail *fail)
{
	char name[ARRAY_NAME_BYTES];
	int error = 0;

	for (int i = 0; i < count && !error; i++) {
		if (snprintf(name, sizeof(name), "%sp%d", entry->name, i) >= (int)sizeof(name))
			return fail_set(fail, ENAMETOOLONG, "the name %s is too long to be split",
				entry->name);
		error = check_name(daemon, name, fail);
	}
	return error;
}

/* NAMEp0 to NAMEp(count-1), all or none; *list describes them. */
static int split(struct daemon *daemon, struct array_entry *entry, int64_t count, uint64_t blocks,
	json_t *list, struct fail *fail)
{
	struct volume_entry *made[VOLUMES_MAX];
	int64_t done = 0;
	int error = 0;

	for (; done < count && !error; done += !error) {
		char name[ARRAY_NAME_BYTES + 16];

		snprintf(name, sizeof(name), "%sp%d", entry->name, (int)done);
		error = add_volume(entry, name, blocks, &made[done], fail);
		if (!error)
			json_array_append_new(list, volume_json(made[done]));
	}
	if (!error)
		error = notes_write(daemon, entry, fail);
	while (error && done--)
		volume_free(made[done]);
	return error;
}

METHOD(volume_split)
{
	struct array_entry *entry = divisible_array(daemon, params, fail);
	int64_t count = rpc_integer(params, "count", 0);
	json_t *list;
	uint64_t blocks;
	int error;

	if (!entry)
		return -fail->error;
	if (count < 1 || count > VOLUMES_MAX)
		return fail_set(fail, EINVAL, "an array is split into 1 to %d volumes, not %lld",
			VOLUMES_MAX, (long long)count);
	error = check_split_names(daemon, entry, count, fail);
	if (!error)
		error = size_volumes(
			entry, rpc_integer(params, "bytes", 0), (uint64_t)count, &blocks, fail);
	if (error)
		return error;
	list = json_array();
	if (!rpc_boolean(params, "dry_run"))
		error = split(daemon, entry, count, blocks, list, fail);
	if (error)
		json_decref(list);
	else
		*result = json_pack("{s:o, s:I}", "volumes", list, "bytes",
			(json_int_t)blocks * array_blockdev(entry->array)->block_bytes);
	return error;
}

/* Its controller, also one that cannot run now. */
static const struct export *controller_of(struct daemon *daemon, const struct volume_entry *volume)
{
	struct list_node *node;

	list_for_each (node, &daemon->exports) {
		const struct export *export = container_of(node, struct export, link);

		if (export->array == volume->array && !strcmp(export->volume_name, volume->name))
			return export;
	}
	return NULL;
}

METHOD(volume_delete)
{
	struct volume_entry *volume = volume_find(daemon, rpc_string(params, "name", ""), fail);
	const struct export *export;
	struct list_node *next;
	int error;

	if (!volume)
		return -fail->error;
	export = controller_of(daemon, volume);
	if (export)
		return fail_set(fail, EBUSY,
			"volume %s is in use by controller %s: delete that first", volume->name,
			export->config.name);
	next = volume->link.next;
	list_remove(&volume->link);
	error = notes_write(daemon, volume->array, fail);
	list_insert_before(next, &volume->link);
	if (error)
		return error;
	volume_free(volume);
	*result = json_object();
	return 0;
}
