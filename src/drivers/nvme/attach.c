/* SPDX-License-Identifier: Apache-2.0 */
/* A controller from its bus to its devices, and back; what others may ask of it at any time. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "drivers/nvme/queue.h"
#include "memory/memory.h"

/* --- life ------------------------------------------------------------------------------------ */

static int map_memory(struct nvme *nvme, struct fail *fail)
{
	struct dma_cache cache = {0};
	struct nvme_admin *admin = &nvme->admin;
	char what[64];
	int error;

	/* How many queues it will grant is not known yet. */
	nvme->memory_bytes =
		NVME_QUEUES + (size_t)reactor_count(nvme->options.group) * NVME_QUEUE_BYTES;
	nvme->memory = memory_map(nvme->memory_bytes, NULL);
	if (!nvme->memory)
		return fail_set(fail, ENOMEM, "no memory for the queues of drive %s",
			nvme->identity.address);
	snprintf(what, sizeof(what), "the queues of drive %s", nvme->identity.address);
	error = dma_register(nvme->memory, nvme->memory_bytes, what, fail);
	if (error) {
		memory_unmap(nvme->memory, nvme->memory_bytes);
		nvme->memory = NULL;
		return error;
	}
	dma_find(&cache, nvme->memory, 1, &nvme->memory_iova);
	admin->page = nvme->memory + NVME_ADMIN_PAGE;
	admin->page_iova = nvme->memory_iova + NVME_ADMIN_PAGE;
	admin->ring.submission = (void *)(nvme->memory + NVME_ADMIN_SUBMISSION);
	admin->ring.completion = (void *)(nvme->memory + NVME_ADMIN_COMPLETION);
	admin->ring.submission_iova = nvme->memory_iova + NVME_ADMIN_SUBMISSION;
	admin->ring.completion_iova = nvme->memory_iova + NVME_ADMIN_COMPLETION;
	return 0;
}

static int start_watcher(struct nvme *nvme, struct fail *fail)
{
	int error;

	nvme->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (nvme->wake_fd < 0)
		return fail_set(fail, errno, "cannot watch drive %s: %s", nvme->identity.address,
			strerror(errno));
	error = pthread_create(&nvme->watcher, NULL, nvme_watcher, nvme);
	if (error)
		return fail_set(fail, error, "cannot watch drive %s: %s", nvme->identity.address,
			strerror(error));
	pthread_setname_np(nvme->watcher, "nvme-watcher");
	nvme->watching = true;
	return 0;
}

static int bring_up(struct nvme *nvme, bool threaded, struct fail *fail)
{
	LOCK_SCOPE(&nvme->lock);
	int error = nvme_check(nvme, fail);

	if (!error)
		error = map_memory(nvme, fail);
	if (!error)
		error = nvme_start(nvme, fail);
	if (!error)
		error = nvme_find_devices(nvme, fail);
	memcpy(nvme->serial, nvme->identity.serial, sizeof(nvme->serial));
	atomic_store(&nvme->trouble, 0);
	if (!error && threaded)
		error = start_watcher(nvme, fail);
	return error;
}

/* Drives with few queues are spread over the reactors: neighbours begin on other ones. */
static unsigned choose_first(const struct nvme_bus *bus, unsigned reactors)
{
	unsigned sum = 0;

	for (const char *at = bus->address; *at; at++)
		sum += (unsigned char)*at;
	return sum % reactors;
}

int nvme_create(struct nvme **created, struct nvme_bus *bus, const struct nvme_options *options,
	bool threaded, struct fail *fail)
{
	struct nvme *nvme = calloc(1, sizeof(*nvme));
	int error;

	assert(options->group);
	if (!nvme) {
		bus->ops->destroy(bus);
		return fail_set(fail, ENOMEM, "no memory for a drive");
	}
	nvme->bus = bus;
	nvme->wake_fd = -1;
	nvme->options = *options;
	if (!nvme->options.deadline_ms)
		nvme->options.deadline_ms = NVME_DEADLINE_MS;
	if (!nvme->options.admin_deadline_ms)
		nvme->options.admin_deadline_ms = NVME_ADMIN_DEADLINE_MS;
	nvme->first_reactor = choose_first(bus, reactor_count(options->group));
	pthread_mutex_init(&nvme->lock, NULL);
	pthread_mutex_init(&nvme->note_lock, NULL);
	snprintf(nvme->identity.address, sizeof(nvme->identity.address), "%s", bus->address);
	error = bring_up(nvme, threaded, fail);
	if (error) {
		nvme_destroy(nvme);
		return error;
	}
	log_info("event=nvme.attached drive=%s model=\"%s\" serial=\"%s\" firmware=\"%s\" "
		 "devices=%u",
		nvme->identity.address, nvme->identity.model, nvme->identity.serial,
		nvme->identity.firmware, nvme->device_count);
	*created = nvme;
	return 0;
}

/* The drive does no DMA any more when this returns. */
static void part(struct nvme *nvme)
{
	if (!nvme->bus)
		return;
	if (nvme->memory && nvme_answers(nvme)) {
		nvme_shut_down(nvme);
		if (nvme_disable(nvme))
			nvme->bus->ops->reset(nvme->bus);
	}
	nvme->bus->ops->silence(nvme->bus);
	nvme->bus->ops->destroy(nvme->bus);
}

static int nothing(void *argument)
{
	(void)argument;
	return 0;
}

void nvme_destroy(struct nvme *nvme)
{
	assert(!atomic_load(&nvme->open_queues));
	/* Relays that have been closed may still be on their way out: messages come in order. */
	for (unsigned i = 0; i < nvme->queue_count; i++)
		reactor_call(nvme->queues[i]->reactor, nothing, NULL);
	atomic_store(&nvme->stop, true);
	if (nvme->watching) {
		uint64_t one = 1;

		if (write(nvme->wake_fd, &one, sizeof(one)) < 0)
			assert(errno == EAGAIN);
		pthread_join(nvme->watcher, NULL);
	}
	if (nvme->wake_fd >= 0)
		close(nvme->wake_fd);
	part(nvme);
	for (unsigned i = 0; i < nvme->queue_count; i++)
		nvme_queue_destroy(nvme->queues[i]);
	for (unsigned i = 0; i < nvme->device_count; i++)
		free(nvme->devices[i]);
	nvme_piece_unmap(nvme);
	if (nvme->memory) {
		dma_unregister(nvme->memory);
		memory_unmap(nvme->memory, nvme->memory_bytes);
	}
	pthread_mutex_destroy(&nvme->lock);
	pthread_mutex_destroy(&nvme->note_lock);
	free(nvme);
}

int nvme_attach(struct nvme **nvme, const char *address, const struct nvme_options *options,
	struct fail *fail)
{
	char former[VFIO_DRIVER_BYTES];
	struct nvme_bus *bus;
	int error = vfio_take(address, former, fail);

	if (error)
		return error;
	error = nvme_bus_vfio(&bus, address, fail);
	if (!error)
		error = nvme_create(nvme, bus, options, true, fail);
	if (error) {
		if (!options->keep_bound)
			vfio_give_back(address, former, NULL);
		return error;
	}
	memcpy((*nvme)->former, former, sizeof(former));
	return 0;
}

int nvme_detach(struct nvme *nvme, bool give_back, struct fail *fail)
{
	char address[NVME_ADDRESS_BYTES], former[VFIO_DRIVER_BYTES];
	bool gone = nvme_state(nvme, NULL) == NVME_GONE;

	memcpy(address, nvme->identity.address, sizeof(address));
	memcpy(former, nvme->former, sizeof(former));
	nvme_destroy(nvme);
	return give_back && !gone ? vfio_give_back(address, former, fail) : 0;
}

/* --- what others ask ------------------------------------------------------------------------- */

unsigned nvme_device_count(const struct nvme *nvme)
{
	return nvme->device_count;
}

struct blockdev *nvme_device(struct nvme *nvme, unsigned index)
{
	assert(index < nvme->device_count);
	return &nvme->devices[index]->dev;
}

static struct nvme_device *device_of(struct blockdev *dev)
{
	assert(dev->ops == &nvme_ops);
	return container_of(dev, struct nvme_device, dev);
}

struct nvme *nvme_of(struct blockdev *dev)
{
	return dev->ops == &nvme_ops ? device_of(dev)->nvme : NULL;
}

void nvme_identity(struct nvme *nvme, struct nvme_identity *identity)
{
	LOCK_SCOPE(&nvme->note_lock);

	*identity = nvme->identity;
}

void nvme_namespace(struct blockdev *dev, struct nvme_namespace *namespace)
{
	struct nvme_device *device = device_of(dev);
	LOCK_SCOPE(&device->nvme->note_lock);

	*namespace = device->namespace;
}

enum nvme_state nvme_state(struct nvme *nvme, char *reason)
{
	LOCK_SCOPE(&nvme->note_lock);

	if (reason)
		memcpy(reason, nvme->reason, sizeof(nvme->reason));
	return nvme->state;
}

const char *nvme_state_name(enum nvme_state state)
{
	static const char *const names[] = {[NVME_LIVE] = "live",
		[NVME_RESETTING] = "resetting",
		[NVME_FAILED] = "failed",
		[NVME_GONE] = "gone"};

	return names[state];
}

bool nvme_next_event(struct nvme *nvme, struct nvme_event *event)
{
	LOCK_SCOPE(&nvme->note_lock);

	if (!nvme->happened_count)
		return false;
	*event = nvme->happened[nvme->happened_first];
	nvme->happened_first = (nvme->happened_first + 1) % NVME_EVENTS_MAX;
	nvme->happened_count--;
	return true;
}
