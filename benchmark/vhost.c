/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmark/vhost.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bits.h"
#include "base/list.h"

enum { QUEUE_SIZE_LEAST = 256, CHAIN_PIECES = 3, BUFFER_ALIGNMENT = 4096 };
enum { PIECE_HEADER, PIECE_DATA, PIECE_STATUS };

/* What the back end sees of a slot, besides its buffer. */
struct vhost_slot_shared {
	struct virtio_blk_header header;
	struct virtq_desc table[CHAIN_PIECES]; /* of either layout */
	struct virtio_blk_segment segment;     /* of DISCARD and WRITE_ZEROES */
	uint8_t status;
} __attribute__((aligned(128)));

struct vhost_slot {
	struct load_slot *load; /* in flight; NULL: idle */
	struct vhost_slot_shared *shared;
	uint8_t *buffer;
	enum load_kind laid_kind; /* what the chain is laid out for */
	uint32_t laid_bytes;
};

/* clang-format off */
static const struct kind_row {
	uint32_t type;
	uint64_t feature; /* needed, 0: none */
	const char *feature_name;
} kinds[LOAD_KINDS] = {
	[LOAD_READ] =    {VIRTIO_BLK_T_IN, 0, NULL},
	[LOAD_WRITE] =   {VIRTIO_BLK_T_OUT, 0, NULL},
	[LOAD_FLUSH] =   {VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_F_FLUSH, "FLUSH"},
	[LOAD_DISCARD] = {VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_F_DISCARD, "DISCARD"},
	[LOAD_ZEROES] =  {VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_F_WRITE_ZEROES, "WRITE_ZEROES"},
};
/* clang-format on */

static struct vhost_transport *of(struct load_transport *transport)
{
	return container_of(transport, struct vhost_transport, transport);
}

/* The pieces of a slot's request; their number. */
static unsigned make_pieces(const struct vhost_transport *vhost, const struct vhost_slot *slot,
	enum load_kind kind, uint32_t bytes, struct virtqueue_piece *pieces)
{
	const struct frontend *frontend = &vhost->frontend;
	struct vhost_slot_shared *shared = slot->shared;
	unsigned count = 0;

	pieces[count++] =
		(struct virtqueue_piece){.address = frontend_guest(frontend, &shared->header),
			.bytes = sizeof(shared->header)};
	if (kind == LOAD_DISCARD || kind == LOAD_ZEROES)
		pieces[count++] = (struct virtqueue_piece){
			.address = frontend_guest(frontend, &shared->segment),
			.bytes = sizeof(shared->segment)};
	else if (kind != LOAD_FLUSH)
		pieces[count++] =
			(struct virtqueue_piece){.address = frontend_guest(frontend, slot->buffer),
				.bytes = bytes,
				.writable = kind == LOAD_READ};
	pieces[count++] = (struct virtqueue_piece){
		.address = frontend_guest(frontend, &shared->status), .bytes = 1, .writable = true};
	return count;
}

/* Lays the slot's chain out for a kind and length: through its table, or in the descriptors of the
 * queue from head on. */
static void lay_out(struct vhost_transport *vhost, struct vhost_slot *slot,
	const struct load_slot *load, uint16_t head)
{
	struct virtqueue *queue = &vhost->frontend.queue[load->queue];
	struct virtqueue_piece pieces[CHAIN_PIECES];
	unsigned count = make_pieces(vhost, slot, load->kind, load->bytes, pieces);
	struct virtqueue_piece outside = {
		.address = frontend_guest(&vhost->frontend, slot->shared->table),
		.bytes = count * (uint32_t)sizeof(slot->shared->table[0]),
		.indirect = true};

	if (vhost->indirect) {
		virtqueue_fill_table(queue, slot->shared->table, pieces, count);
		virtqueue_describe(&queue->desc[head], &outside, false, 0);
	} else {
		for (unsigned i = 0; i < count; i++)
			virtqueue_describe(&queue->desc[head + i], &pieces[i], i + 1 < count,
				(uint16_t)(head + i + 1));
	}
	slot->shared->header.type = le32_of(kinds[load->kind].type);
	slot->laid_kind = load->kind;
	slot->laid_bytes = load->bytes;
}

static void *vhost_buffer(struct load_transport *transport, unsigned index)
{
	return of(transport)->slots[index].buffer;
}

static void vhost_submit(struct load_transport *transport, struct load_slot *load)
{
	struct vhost_transport *vhost = of(transport);
	struct vhost_slot *slot = &vhost->slots[load->index];
	uint32_t in_queue = load->index - load->queue * vhost->depth;
	uint16_t head = (uint16_t)(vhost->indirect ? in_queue : in_queue * CHAIN_PIECES);

	assert(!slot->load);
	slot->load = load;
	if (slot->laid_kind != load->kind || slot->laid_bytes != load->bytes)
		lay_out(vhost, slot, load, head);
	if (load->kind == LOAD_DISCARD || load->kind == LOAD_ZEROES) {
		slot->shared->segment.sector = le64_of(load->offset / VIRTIO_BLK_SECTOR_BYTES);
		slot->shared->segment.sectors = le32_of(load->bytes / VIRTIO_BLK_SECTOR_BYTES);
	} else {
		slot->shared->header.sector = le64_of(load->offset / VIRTIO_BLK_SECTOR_BYTES);
	}
	slot->shared->status = UINT8_MAX;
	virtqueue_put(&vhost->frontend.queue[load->queue], head);
}

static void vhost_push(struct load_transport *transport, unsigned queue)
{
	virtqueue_publish(&of(transport)->frontend.queue[queue]);
}

static int status_error(uint8_t status)
{
	switch (status) {
	case VIRTIO_BLK_S_OK:
		return 0;
	case VIRTIO_BLK_S_IOERR:
		return -EIO;
	case VIRTIO_BLK_S_UNSUPP:
		return -EOPNOTSUPP;
	default:
		return -EPROTO;
	}
}

/* One used entry. False: it is nonsense, and the load has been aborted. */
static bool settle(struct vhost_transport *vhost, unsigned queue, uint32_t head, uint32_t bytes)
{
	uint32_t in_queue = vhost->indirect ? head : head / CHAIN_PIECES;
	struct vhost_slot *slot = &vhost->slots[queue * vhost->depth + in_queue];
	struct load_slot *load;

	if (in_queue >= vhost->depth || (!vhost->indirect && head % CHAIN_PIECES) || !slot->load) {
		load_abort(vhost->transport.load, EPROTO,
			"the back end completed a request that was not in flight");
		return false;
	}
	load = slot->load;
	slot->load = NULL;
	if (bytes > 1 && bytes - 1 > (load->kind == LOAD_READ ? load->bytes : 0)) {
		load_abort(vhost->transport.load, EPROTO,
			"the back end says that it wrote more than the request's buffers hold");
		return false;
	}
	load_done(vhost->transport.load, load, status_error(slot->shared->status));
	return true;
}

static unsigned vhost_poll(struct load_transport *transport)
{
	struct vhost_transport *vhost = of(transport);
	unsigned count = 0;

	for (unsigned i = 0; i < vhost->frontend.queues; i++) {
		struct virtqueue *queue = &vhost->frontend.queue[i];
		unsigned before = count;
		uint32_t head, bytes;

		/* What was not in flight settles nothing: it ends. */
		for (; virtqueue_reap(queue, &head, &bytes); count++)
			if (!settle(vhost, i, head, bytes))
				return count;
		if (count > before)
			virtqueue_disarm(queue);
	}
	return count;
}

/* Looks at what the sleep has brought besides completions. */
static void look_at_health(struct vhost_transport *vhost)
{
	unsigned queues = vhost->frontend.queues;
	char byte;

	for (unsigned i = 0; i < queues; i++)
		if (vhost->polls[2 * i + 1].revents & POLLIN)
			load_abort(vhost->transport.load, EPROTO,
				"the back end reports that a queue is broken; its log says why");
	if (vhost->polls[2 * queues].revents &&
		recv(vhost->frontend.socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		load_abort(vhost->transport.load, ECONNRESET,
			"the back end closed the session; its log says why");
}

static void vhost_wait(struct load_transport *transport, int timeout_ms)
{
	struct vhost_transport *vhost = of(transport);
	unsigned queues = vhost->frontend.queues;
	bool quiet = true;

	for (unsigned i = 0; i < queues; i++)
		quiet = virtqueue_arm(&vhost->frontend.queue[i]) && quiet;
	poll(vhost->polls, 2 * queues + 1, quiet ? timeout_ms : 0);
	for (unsigned i = 0; i < queues; i++) {
		if (vhost->polls[2 * i].revents & POLLIN)
			virtqueue_called(&vhost->frontend.queue[i]);
		virtqueue_disarm(&vhost->frontend.queue[i]);
	}
	look_at_health(vhost);
}

static const struct load_transport_ops vhost_ops = {
	.name = "vhost",
	.buffer = vhost_buffer,
	.submit = vhost_submit,
	.push = vhost_push,
	.poll = vhost_poll,
	.wait = vhost_wait,
};

/* Whether the device can do what the load wants. */
static int check_device(const struct frontend *frontend,
	const struct vhost_transport_options *options, const struct load_spec *spec,
	struct fail *fail)
{
	const struct virtio_blk_config *config = &frontend->config;
	const struct kind_row *other = &kinds[spec->other];
	bool changes = spec->read_percent < 100;
	uint64_t sectors = spec->block_bytes / VIRTIO_BLK_SECTOR_BYTES;

	if (options->packed && !(frontend->features & VIRTIO_F_RING_PACKED))
		return fail_set(fail, EINVAL,
			"the back end does not offer RING_PACKED; leave --packed out");
	if (!(frontend->features & VIRTIO_F_VERSION_1))
		return fail_set(fail, EPROTO, "the back end does not offer VERSION_1");
	if (changes && frontend->features & VIRTIO_BLK_F_RO)
		return fail_set(fail, EINVAL, "the device is read-only; use a pattern of reads");
	if (changes && other->feature && !(frontend->features & other->feature))
		return fail_set(
			fail, EINVAL, "the back end does not offer %s", other->feature_name);
	if (spec->flush_every && !(frontend->features & VIRTIO_BLK_F_FLUSH))
		return fail_set(fail, EINVAL, "the back end does not offer FLUSH");
	if (changes &&
		((spec->other == LOAD_DISCARD && sectors > le32_get(config->max_discard_sectors)) ||
			(spec->other == LOAD_ZEROES &&
				sectors > le32_get(config->max_write_zeroes_sectors))))
		return fail_set(fail, EINVAL,
			"the block size is larger than the back end takes in one %s",
			other->feature_name);
	return 0;
}

static int ready_slots(struct vhost_transport *vhost, struct fail *fail)
{
	struct frontend *frontend = &vhost->frontend;
	struct vhost_slot_shared *shared =
		frontend_carve(frontend, vhost->slots_count * sizeof(*shared), BUFFER_ALIGNMENT);
	size_t stride = align_up(vhost->block_bytes, BUFFER_ALIGNMENT);

	vhost->slots = calloc(vhost->slots_count, sizeof(*vhost->slots));
	vhost->buffers = frontend_carve(frontend, vhost->slots_count * stride, BUFFER_ALIGNMENT);
	if (!vhost->slots || !vhost->buffers || !shared)
		return fail_set(fail, ENOMEM, "no memory for %u requests", vhost->slots_count);
	for (uint32_t i = 0; i < vhost->slots_count; i++) {
		struct vhost_slot *slot = &vhost->slots[i];

		slot->shared = &shared[i];
		slot->buffer = vhost->buffers + i * stride;
		slot->laid_bytes = UINT32_MAX;
	}
	return 0;
}

static void ready_polls(struct vhost_transport *vhost)
{
	unsigned queues = vhost->frontend.queues;

	for (unsigned i = 0; i < queues; i++) {
		const struct virtqueue *queue = &vhost->frontend.queue[i];

		vhost->polls[2 * i] = (struct pollfd){.fd = queue->call_fd, .events = POLLIN};
		vhost->polls[2 * i + 1] = (struct pollfd){.fd = queue->err_fd, .events = POLLIN};
		virtqueue_disarm(&vhost->frontend.queue[i]);
	}
	vhost->polls[2 * queues] = (struct pollfd){.fd = vhost->frontend.socket, .events = POLLIN};
}

static int choose_queue_size(unsigned *size, const struct vhost_transport_options *options,
	const struct load_spec *spec, struct fail *fail)
{
	unsigned needed = spec->depth * (options->no_indirect ? CHAIN_PIECES : 1);

	*size = options->queue_size;
	if (!*size)
		for (*size = QUEUE_SIZE_LEAST; *size < needed && *size < VIRTQUEUE_SIZE_MAX;)
			*size *= 2;
	if ((!options->packed && !is_power_of_two(*size)) || *size > VIRTQUEUE_SIZE_MAX)
		return fail_set(fail, EINVAL, "a split queue's size is a power of two, at most %d",
			VIRTQUEUE_SIZE_MAX);
	if (*size < needed)
		return fail_set(fail, EINVAL,
			"a depth of %u needs a queue of %u entries, not %u; use a smaller --depth "
			"or "
			"a larger --queue-size",
			spec->depth, needed, *size);
	if (spec->queues > FRONTEND_QUEUES_MAX)
		return fail_set(fail, EINVAL, "use at most %d queues", FRONTEND_QUEUES_MAX);
	return 0;
}

int vhost_transport_open(struct vhost_transport *vhost,
	const struct vhost_transport_options *options, const struct load_spec *spec,
	struct fail *fail)
{
	struct frontend_options wanted = {
		.path = options->path,
		.features = (FRONTEND_FEATURES | (options->packed ? VIRTIO_F_RING_PACKED : 0)) &
			    ~(options->no_event_idx ? VIRTIO_F_EVENT_IDX : 0) &
			    ~(options->no_indirect ? VIRTIO_F_INDIRECT_DESC : 0),
		.protocol = FRONTEND_PROTOCOL,
		.queues = spec->queues,
		.hugetlb = options->hugetlb,
	};
	uint64_t slots = (uint64_t)spec->queues * spec->depth;
	int result;

	memset(vhost, 0, sizeof(*vhost));
	frontend_init(&vhost->frontend, 0);
	result = choose_queue_size(&wanted.queue_size, options, spec, fail);
	if (result)
		return result;
	vhost->transport.ops = &vhost_ops;
	vhost->transport.unit_bytes = VIRTIO_BLK_SECTOR_BYTES;
	vhost->depth = spec->depth;
	vhost->slots_count = (uint32_t)slots;
	vhost->block_bytes = spec->block_bytes;
	wanted.memory_bytes = slots * (sizeof(struct vhost_slot_shared) +
					      align_up(spec->block_bytes, BUFFER_ALIGNMENT)) +
			      2 * BUFFER_ALIGNMENT;
	result = frontend_open(&vhost->frontend, &wanted, fail);
	if (result)
		return result;
	vhost->indirect = vhost->frontend.features & VIRTIO_F_INDIRECT_DESC;
	vhost->transport.bytes =
		le64_get(vhost->frontend.config.capacity) * VIRTIO_BLK_SECTOR_BYTES;
	result = check_device(&vhost->frontend, options, spec, fail);
	if (!result && !vhost->indirect && spec->depth * CHAIN_PIECES > wanted.queue_size)
		result = fail_set(fail, EINVAL,
			"the back end does not offer INDIRECT_DESC; use a smaller --depth");
	if (!result)
		result = ready_slots(vhost, fail);
	if (result) {
		vhost_transport_close(vhost);
		return result;
	}
	ready_polls(vhost);
	return 0;
}

void vhost_transport_close(struct vhost_transport *vhost)
{
	frontend_close(&vhost->frontend);
	free(vhost->slots);
	vhost->slots = NULL;
}
