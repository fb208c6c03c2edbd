/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "vhost/session.h"

static bool ring_complete(const struct session_ring *ring)
{
	return ring->started && ring->enabled && ring->addressed && ring->queue.size;
}

/* One of the three parts of a ring; NULL: it is not in the guest's memory. */
static void *ring_part(
	const struct session *session, uint64_t address, size_t bytes, unsigned alignment)
{
	void *part = guest_memory_find_user(session->device.memory, address, bytes);

	return (uintptr_t)part % alignment ? NULL : part;
}

/* Finds the ring in the guest's memory. */
int ring_map(struct session *session, struct session_ring *ring, struct fail *fail)
{
	const struct vhost_vring_address *address = &ring->address;
	const struct guest_memory *memory = session->device.memory;
	const struct virtq_shape shape = virtq_shape(session_is_packed(session), ring->queue.size);
	struct virtq_setup setup = {
		.packed = session_is_packed(session),
		.event_idx = session->device.features & VIRTIO_F_EVENT_IDX,
		.indirect = session->device.features & VIRTIO_F_INDIRECT_DESC,
		.size = ring->queue.size,
		.base = ring->base,
	};

	if (!memory || !memory->count)
		return fail_set(fail, EINVAL, "the guest's memory is not shared with braid: %s",
			CURE_SHARED_MEMORY);
	if (address->descriptors % shape.descriptors_alignment ||
		address->available % shape.driver_alignment ||
		address->used % shape.device_alignment)
		return fail_set(fail, EINVAL, "a virtqueue is not aligned (VIRTIO 1.2, 2.7, 2.8)");
	setup.descriptors = ring_part(session, address->descriptors, shape.descriptors_bytes,
		shape.descriptors_alignment);
	setup.driver =
		ring_part(session, address->available, shape.driver_bytes, shape.driver_alignment);
	setup.device =
		ring_part(session, address->used, shape.device_bytes, shape.device_alignment);
	if (!setup.descriptors || !setup.driver || !setup.device)
		return fail_set(fail, EFAULT, "a virtqueue is not in the guest's shared memory: %s",
			CURE_SHARED_MEMORY);
	return virtq_init(&ring->queue.ring, &setup, fail);
}

void ring_stop(struct session_ring *ring)
{
	if (!ring->queue.running)
		return;
	queue_stop(&ring->queue);
	ring->base = virtq_base(&ring->queue.ring);
	ring->base_known = true;
}

static void warn_untracked(struct session *session)
{
	if (!session->untracked)
		log_warning(
			"event=VhostNoInflight controller=%s effect=\"the guest does not survive a "
			"restart of braidd: its front end does not keep what is in flight\"",
			session->config->name);
	session->untracked = true;
}

/* Takes up what the front end has kept of this ring's requests. */
static int ring_recover(struct session *session, struct session_ring *ring, struct fail *fail)
{
	const struct inflight_region *region = session->device.region;
	struct virtq *queue = &ring->queue.ring;
	unsigned index = (unsigned)(ring - session->rings);
	uint16_t entries = 0;
	void *area;
	int error;

	if (!region) {
		warn_untracked(session);
		return 0;
	}
	area = inflight_region_area(region, index, session_is_packed(session), &entries);
	if (!area)
		return fail_set(fail, EINVAL,
			"the inflight region has no room for queue %u of this layout", index);
	error = virtq_recover(queue, area, entries, ring->base_known, fail);
	if (error)
		return error;
	if (inflight_region_cut(region)) {
		virtq_release(queue);
		return fail_set(fail, EFAULT, "the front end cut the inflight region short");
	}
	if (virtq_waiting(queue))
		log_info("event=VhostResubmit controller=%s queue=%u requests=%u",
			session->config->name, index, virtq_waiting(queue));
	return 0;
}

/* Starts a ring that has all it needs and does not run. */
int ring_apply(struct session *session, struct session_ring *ring, struct fail *fail)
{
	int error;

	if (ring->queue.running || !ring_complete(ring))
		return 0;
	error = ring_map(session, ring, fail);
	if (!error)
		error = ring_recover(session, ring, fail);
	if (!error)
		error = queue_start(&ring->queue, fail);
	if (error) {
		virtq_release(&ring->queue.ring);
		return error;
	}
	/* The back end of that session may have been killed before it notified the driver. */
	if (session->device.region && !session->made_region)
		signal_fd(ring->queue.call_fd);
	return 0;
}

void ring_stop_all(struct session *session)
{
	for (unsigned i = 0; i < CONTROLLER_QUEUES_MAX; i++)
		ring_stop(&session->rings[i]);
}

int ring_apply_all(struct session *session, struct fail *fail)
{
	int error = 0;

	for (unsigned i = 0; i < CONTROLLER_QUEUES_MAX && !error; i++)
		error = ring_apply(session, &session->rings[i], fail);
	return error;
}
