/* SPDX-License-Identifier: Apache-2.0 */
#include "control/daemon.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/jobs.h"
#include "control/nvmes.h"
#include "reactor/reactor.h"
#include "volume/volume.h"

uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void daemon_init(
	struct daemon *daemon, struct reactor_group *group, const struct daemon_options *options)
{
	pthread_condattr_t monotonic;

	*daemon = (struct daemon){
		.group = group,
		.assemble_wait_ns = (uint64_t)(options->assemble_wait_s * 1e9),
		.auto_rebuild = options->auto_rebuild,
		.alone = true,
		.state.lock_fd = -1,
	};
	snprintf(daemon->run_dir, sizeof(daemon->run_dir), "%s", options->run_dir);
	pthread_mutex_init(&daemon->lock, NULL);
	pthread_cond_init(&daemon->settled, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&daemon->wake, &monotonic);
	pthread_cond_init(&daemon->ending, &monotonic);
	pthread_condattr_destroy(&monotonic);
	list_init(&daemon->drives);
	list_init(&daemon->nvmes);
	list_init(&daemon->arrays);
	list_init(&daemon->exports);
	list_init(&daemon->jobs);
	list_init(&daemon->sockets);
}

void daemon_let_go(struct daemon *daemon)
{
	if (!daemon->alone)
		pthread_mutex_unlock(&daemon->lock);
}

void daemon_take_back(struct daemon *daemon)
{
	if (!daemon->alone)
		pthread_mutex_lock(&daemon->lock);
}

void daemon_settled(struct daemon *daemon)
{
	pthread_cond_broadcast(&daemon->settled);
}

void daemon_wait(struct daemon *daemon)
{
	assert(!daemon->alone); /* there is nobody to wait for */
	pthread_cond_wait(&daemon->settled, &daemon->lock);
}

/* "0000:65:00.0" or "0000:65:00.0n1", or the serial number, of an NVMe drive. */
static bool drive_is(const struct drive *drive, const char *typed)
{
	const char *address = drive->address;
	size_t length = strlen(address);

	if (!strcmp(drive->name, typed))
		return true;
	if (!length)
		return false;
	if (!strncmp(typed, address, length) && (!typed[length] || typed[length] == 'n')) {
		const char *nsid = strrchr(drive->source, '/');

		return !typed[length] || (nsid && !strcmp(nsid + 1, typed + length + 1));
	}
	return drive->nvme && !strcmp(drive->nvme->identity.serial, typed);
}

struct drive *drive_find(struct daemon *daemon, const char *name)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (drive_is(drive, name))
			return drive;
	}
	return NULL;
}

struct drive *drive_of(struct daemon *daemon, const struct blockdev *dev)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (dev && drive->dev == dev)
			return drive;
	}
	return NULL;
}

struct drive *drive_of_member(struct daemon *daemon, const struct uuid *member)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (!uuid_is_null(member) && uuid_equal(&drive->member_uuid, member))
			return drive;
	}
	return NULL;
}

struct array_entry *array_find_uuid(struct daemon *daemon, const struct uuid *uuid)
{
	struct list_node *node;

	list_for_each (node, &daemon->arrays) {
		struct array_entry *entry = container_of(node, struct array_entry, link);

		if (!uuid_is_null(uuid) && uuid_equal(&entry->uuid, uuid))
			return entry;
	}
	return NULL;
}

struct array_entry *array_find(struct daemon *daemon, const char *name, struct fail *fail)
{
	struct array_entry *entry;
	struct list_node *node;
	struct uuid uuid;

	list_for_each (node, &daemon->arrays) {
		entry = container_of(node, struct array_entry, link);
		if (!strcmp(entry->name, name))
			return entry;
	}
	entry = uuid_parse(&uuid, name) ? array_find_uuid(daemon, &uuid) : NULL;
	if (!entry)
		fail_set(fail, ENOENT, "there is no array '%s': see braid array list", name);
	return entry;
}

struct array_entry *running_array(struct daemon *daemon, const char *name, struct fail *fail)
{
	struct array_entry *entry = array_find(daemon, name, fail);

	if (!entry || entry->array)
		return entry;
	if (entry->phase == PHASE_MAKING)
		fail_set(fail, EBUSY, "array %s is still being made: braid job wait", name);
	else
		fail_set(fail, EBUSY, "array %s does not run: see braid array show %s", name, name);
	return NULL;
}

/* "db01" or "media6/db01" */
struct volume_entry *volume_find(struct daemon *daemon, const char *name, struct fail *fail)
{
	const char *slash = strchr(name, '/');
	const char *plain = slash ? slash + 1 : name;
	struct list_node *array_node, *node;

	list_for_each (array_node, &daemon->arrays) {
		struct array_entry *entry = container_of(array_node, struct array_entry, link);

		if (slash && (strlen(entry->name) != (size_t)(slash - name) ||
				     strncmp(entry->name, name, (size_t)(slash - name))))
			continue;
		list_for_each (node, &entry->volumes) {
			struct volume_entry *volume = container_of(node, struct volume_entry, link);

			if (!strcmp(volume->name, plain))
				return volume;
		}
	}
	fail_set(fail, ENOENT, "there is no volume '%s': see braid volume list", name);
	return NULL;
}

struct export *export_find(struct daemon *daemon, const char *name)
{
	struct list_node *node;

	list_for_each (node, &daemon->exports) {
		struct export *export = container_of(node, struct export, link);

		if (!strcmp(export->config.name, name))
			return export;
	}
	return NULL;
}

void drive_close(struct drive *drive)
{
	if (drive->dev)
		blockdev_destroy(drive->dev);
	drive->dev = drive->bottom = NULL;
	if (drive->nvme)
		nvmes_close(drive);
	free(drive->superblock);
	drive->superblock = NULL;
	drive->damaged = false;
}

void drive_free(struct drive *drive)
{
	list_remove(&drive->link);
	drive_close(drive);
	free(drive);
}

void volume_free(struct volume_entry *volume)
{
	list_remove(&volume->link);
	blockdev_destroy(volume->dev);
	free(volume);
}

void array_free(struct array_entry *entry)
{
	struct list_node *node;

	while ((node = list_first(&entry->volumes)))
		volume_free(container_of(node, struct volume_entry, link));
	list_remove(&entry->link);
	if (entry->array)
		array_stop(entry->array);
	free(entry->assembly);
	free(entry);
}

void export_free(struct export *export)
{
	list_remove(&export->link);
	if (export->controller) {
		controller_destroy(export->controller);
		blockdev_release(export->config.dev);
	}
	free(export);
}

void array_clear(struct daemon *daemon, struct array_entry *entry)
{
	struct list_node *node, *after;

	list_for_each_safe (node, after, &daemon->exports) {
		struct export *export = container_of(node, struct export, link);

		if (export->array == entry)
			export_free(export);
	}
	while ((node = list_first(&entry->volumes)))
		volume_free(container_of(node, struct volume_entry, link));
}

void daemon_shutdown(struct daemon *daemon)
{
	struct list_node *node;

	jobs_end(daemon);
	while ((node = list_first(&daemon->exports)))
		export_free(container_of(node, struct export, link));
	while ((node = list_first(&daemon->arrays)))
		array_free(container_of(node, struct array_entry, link));
	while ((node = list_first(&daemon->drives)))
		drive_free(container_of(node, struct drive, link));
	daemon->alone = true;
	nvmes_release_unused(daemon);
	state_close(daemon);
	pthread_cond_destroy(&daemon->wake);
	pthread_cond_destroy(&daemon->settled);
	pthread_cond_destroy(&daemon->ending);
	pthread_mutex_destroy(&daemon->lock);
}

/* The reactors of a set of cores, as a mask of their indexes. */
static uint64_t reactors_of(const struct daemon *daemon, const struct cpumask *cores)
{
	uint64_t mask = 0;

	for (unsigned core = cpumask_next(cores, 0); core < CPUMASK_CORES;
		core = cpumask_next(cores, core + 1))
		mask |= 1ull << reactor_index(reactor_on_core(daemon->group, core));
	return mask;
}

static const struct export *export_of(
	const struct daemon *daemon, const struct volume_entry *volume)
{
	const struct list_node *node;

	list_for_each (node, &daemon->exports) {
		const struct export *export = container_of(node, struct export, link);

		if (export->volume == volume && export->controller)
			return export;
	}
	return NULL;
}

int exports_set_owners(struct daemon *daemon, struct array_entry *entry, struct fail *fail)
{
	struct array_owners ranges[ARRAY_OWNERS_MAX];
	uint64_t stripe_blocks = array_stripe_blocks(entry->array);
	unsigned count = 0;
	struct list_node *node;

	list_for_each (node, &entry->volumes) {
		struct volume_entry *volume = container_of(node, struct volume_entry, link);
		const struct export *export = export_of(daemon, volume);

		if (!export)
			continue;
		if (count == ARRAY_OWNERS_MAX)
			return fail_set(fail, ENOSPC, "more than %d exports of one array",
				ARRAY_OWNERS_MAX);
		ranges[count++] = (struct array_owners){
			.first_stripe = volume_first(volume->dev) / stripe_blocks,
			.end_stripe =
				(volume_first(volume->dev) + volume->dev->blocks) / stripe_blocks,
			.reactors = reactors_of(daemon, &export->config.cores),
		};
	}
	list_for_each (node, &daemon->exports) {
		const struct export *export = container_of(node, struct export, link);

		if (export->array == entry && !export->volume && export->controller)
			ranges[count++] =
				(struct array_owners){0, array_geometry(entry->array)->stripes,
					reactors_of(daemon, &export->config.cores)};
	}
	return array_set_owners(entry->array, ranges, count, fail);
}
