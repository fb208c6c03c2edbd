/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bits.h"
#include "benchmark/stamp.h"
#include "victim.h"

enum {
	SECTOR = 512,
	UNIT_SECTORS = GUEST_UNIT_BYTES / SECTOR,
	STALL_US = 20000000,
	STATUS_NONE = 0xff
};

#define ZEROS (1u << 31) /* in a generation: that writing was one of zeros */

void guest_init(struct guest *guest, const char *path, uint64_t seed, unsigned queues)
{
	memset(guest, 0, sizeof(*guest));
	frontend_init(&guest->frontend, 0);
	snprintf(guest->path, sizeof(guest->path), "%s", path);
	guest->seed = seed;
	guest->random.state = seed;
	guest->queues = queues;
}

/* --- what is right ---------------------------------------------------------------------------- */

static uint64_t place(const struct guest *guest, unsigned unit)
{
	return guest->segment_unit[unit / GUEST_SEGMENT_UNITS] + unit % GUEST_SEGMENT_UNITS;
}

static void fill(const struct guest *guest, unsigned unit, uint32_t generation, void *data)
{
	struct stamp stamp = {guest->seed, place(guest, unit), generation, GUEST_UNIT_BYTES};

	stamp_write(data, &stamp);
}

static bool holds(const struct guest *guest, unsigned unit, uint32_t generation,
	const uint8_t *data, struct fail *fail)
{
	struct stamp stamp = {guest->seed, place(guest, unit), generation, GUEST_UNIT_BYTES};
	bool zeros = !data[0] && !memcmp(data, data + 1, GUEST_UNIT_BYTES - 1);

	if (generation && !(generation & ZEROS))
		return stamp_check(data, &stamp, fail);
	if (!zeros) {
		stamp.generation = 0;
		if (stamp_check(data, &stamp, fail))
			fail_set(fail, EILSEQ,
				"unit %llu: expected zeros, found an intact older or newer content",
				(unsigned long long)stamp.number);
	}
	return zeros;
}

static void check_unit(struct guest *guest, unsigned number, const uint8_t *data)
{
	struct guest_unit *unit = &guest->unit[number];
	struct fail fail = {0};
	bool right = holds(guest, number, unit->settled, data, &fail);

	if (!right && unit->doubt && holds(guest, number, unit->pending, data, NULL)) {
		unit->settled = unit->pending;
		right = true;
	}
	unit->doubt = false;
	guest->checked++;
	if (!right && !guest->wrong++ && !guest->first.error)
		guest->first = fail;
}

static int complain(struct guest *guest, const char *what)
{
	guest->errors++;
	if (!guest->first.error)
		fail_set(&guest->first, EILSEQ, "%s", what);
	return -EILSEQ;
}

/* --- requests --------------------------------------------------------------------------------- */

static struct guest_request *idle_request(struct guest *guest, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		if (guest->request[i].head == VIRTQUEUE_NO_HEAD)
			return &guest->request[i];
	return NULL;
}

static bool claim(struct guest *guest, unsigned unit, unsigned count, bool even_in_doubt)
{
	for (unsigned i = unit; i < unit + count; i++)
		if (guest->unit[i].busy || (guest->unit[i].doubt && !even_in_doubt))
			return false;
	for (unsigned i = unit; i < unit + count; i++)
		guest->unit[i].busy = true;
	return true;
}

/* The units are claimed. */
static void submit(struct guest *guest, struct guest_request *request)
{
	struct virtqueue *queue = &guest->frontend.queue[request->queue];
	bool ranged = request->type == VIRTIO_BLK_T_WRITE_ZEROES;
	bool flush = request->type == VIRTIO_BLK_T_FLUSH;
	uint32_t bytes = request->count * GUEST_UNIT_BYTES;
	struct virtqueue_piece pieces[3] = {
		{frontend_guest(&guest->frontend, request->header), sizeof(*request->header), false,
			false},
		{frontend_guest(
			 &guest->frontend, ranged ? (void *)request->segment : request->data),
			ranged ? (uint32_t)sizeof(*request->segment) : bytes,
			request->type == VIRTIO_BLK_T_IN, false},
		{frontend_guest(&guest->frontend, request->status), 1, true, false},
	};
	uint64_t sector = flush ? 0 : place(guest, request->unit) * UNIT_SECTORS;

	request->header->type = le32_of(request->type);
	request->header->sector = le64_of(ranged ? 0 : sector);
	*request->segment = (struct virtio_blk_segment){
		.sector = le64_of(sector), .sectors = le32_of(request->count * UNIT_SECTORS)};
	*request->status = STATUS_NONE;
	if (flush)
		pieces[1] = pieces[2];
	request->head = virtqueue_add(queue, pieces, flush ? 2 : 3);
	assert(request->head != VIRTQUEUE_NO_HEAD);
	virtqueue_put(queue, request->head);
	guest->in_flight++;
}

static void submit_write(struct guest *guest, struct guest_request *request)
{
	bool zeros = request->type == VIRTIO_BLK_T_WRITE_ZEROES;

	request->generation = ++guest->generation | (zeros ? ZEROS : 0);
	for (unsigned i = 0; i < request->count; i++) {
		guest->unit[request->unit + i].pending = request->generation;
		if (!zeros)
			fill(guest, request->unit + i, request->generation,
				request->data + (size_t)i * GUEST_UNIT_BYTES);
	}
	submit(guest, request);
}

static void submit_read(struct guest *guest, struct guest_request *request)
{
	memset(request->data, 0xa5, (size_t)request->count * GUEST_UNIT_BYTES);
	submit(guest, request);
}

/* One that was in flight is over. */
static int settle(struct guest *guest, struct guest_request *request)
{
	uint8_t status = *request->status;

	virtqueue_free(&guest->frontend.queue[request->queue], request->head);
	request->head = VIRTQUEUE_NO_HEAD;
	guest->in_flight--;
	guest->completed++;
	for (unsigned i = 0; i < request->count; i++) {
		struct guest_unit *unit = &guest->unit[request->unit + i];

		unit->busy = false;
		if (status)
			continue;
		if (request->type == VIRTIO_BLK_T_IN)
			check_unit(guest, request->unit + i,
				request->data + (size_t)i * GUEST_UNIT_BYTES);
		else
			unit->settled = request->generation;
	}
	if (status)
		return complain(guest, "a request was answered with an I/O error");
	return guest->wrong ? -EILSEQ : 0;
}

/* Takes what has been completed. How many, or -EILSEQ. */
static int reap(struct guest *guest)
{
	int count = 0;
	uint32_t head;

	for (unsigned q = 0; q < guest->queues; q++) {
		while (virtqueue_reap(&guest->frontend.queue[q], &head, NULL)) {
			struct guest_request *found = NULL;

			for (unsigned i = 0; i < GUEST_REQUESTS; i++)
				if (guest->request[i].queue == q && guest->request[i].head == head)
					found = &guest->request[i];
			if (!found)
				return complain(guest, "a request was completed twice");
			if (settle(guest, found))
				return -EILSEQ;
			count++;
		}
	}
	return count;
}

/* --- sessions --------------------------------------------------------------------------------- */

static int resume(struct guest *guest, struct fail *fail)
{
	struct frontend *frontend = &guest->frontend;
	int result = frontend_connect(frontend, guest->path, fail);

	if (!result)
		result = frontend_negotiate(frontend, frontend->features, FRONTEND_PROTOCOL, fail);
	if (!result)
		result = frontend_share(frontend, fail);
	if (!result)
		result = frontend_track(frontend, guest->queues, GUEST_QUEUE_SIZE, fail);
	for (unsigned i = 0; i < guest->queues && !result; i++)
		result = frontend_start(frontend, i, fail);
	if (result)
		frontend_disconnect(frontend);
	else
		guest->resubmitted += guest->in_flight;
	return result;
}

static void ready_requests(struct guest *guest)
{
	for (unsigned i = 0; i < GUEST_REQUESTS; i++) {
		struct guest_request *request = &guest->request[i];
		size_t bytes = (size_t)GUEST_REQUEST_UNITS * GUEST_UNIT_BYTES;

		*request = (struct guest_request){
			.queue = i % guest->queues,
			.head = VIRTQUEUE_NO_HEAD,
			.header = frontend_carve(&guest->frontend, sizeof(*request->header), 64),
			.segment = frontend_carve(&guest->frontend, sizeof(*request->segment), 64),
			.status = frontend_carve(&guest->frontend, 1, 64),
			.data = frontend_carve(&guest->frontend, bytes, GUEST_UNIT_BYTES),
		};
		assert(request->data);
	}
}

/* The segments are spread over the disk; the same way in each life. */
static int choose_segments(struct guest *guest, struct fail *fail)
{
	uint64_t units = le64_get(guest->frontend.config.capacity) / UNIT_SECTORS;
	uint64_t share = units / GUEST_SEGMENTS;

	if (share < GUEST_SEGMENT_UNITS)
		return fail_set(fail, EINVAL, "the disk of %llu units is too small",
			(unsigned long long)units);
	for (unsigned i = 0; i < GUEST_SEGMENTS; i++)
		guest->segment_unit[i] =
			i * share + random_mix(guest->seed + i) % (share - GUEST_SEGMENT_UNITS + 1);
	return 0;
}

int guest_connect(struct guest *guest, struct fail *fail)
{
	struct frontend_options options = {
		.path = guest->path,
		/* One life in two has packed virtqueues. */
		.features = FRONTEND_FEATURES | (guest->seed & 1 ? VIRTIO_F_RING_PACKED : 0),
		.protocol = FRONTEND_PROTOCOL,
		.queues = guest->queues,
		.queue_size = GUEST_QUEUE_SIZE,
		.memory_bytes = GUEST_REQUESTS * (GUEST_REQUEST_UNITS + 1) * GUEST_UNIT_BYTES,
	};
	int result;

	assert(!guest->connected);
	if (guest->has_memory)
		result = resume(guest, fail);
	else
		result = frontend_open(&guest->frontend, &options, fail);
	if (result)
		return result;
	if (!guest->has_memory) {
		ready_requests(guest);
		result = choose_segments(guest, fail);
	}
	guest->has_memory = guest->connected = true;
	return result;
}

void guest_cut(struct guest *guest)
{
	if (guest->has_memory)
		reap(guest);
	frontend_disconnect(&guest->frontend);
	guest->connected = false;
}

void guest_die(struct guest *guest)
{
	guest_cut(guest);
	for (unsigned i = 0; i < GUEST_REQUESTS; i++) {
		const struct guest_request *request = &guest->request[i];
		bool write = request->type != VIRTIO_BLK_T_IN;

		if (!guest->has_memory || request->head == VIRTQUEUE_NO_HEAD)
			continue;
		for (unsigned j = 0; j < request->count; j++) {
			guest->unit[request->unit + j].busy = false;
			guest->unit[request->unit + j].doubt |= write;
		}
	}
	guest->in_flight = 0;
	frontend_close(&guest->frontend);
	guest->has_memory = false;
}

/* --- running ---------------------------------------------------------------------------------- */

static bool hung_up(const struct guest *guest)
{
	char byte;

	return recv(guest->frontend.socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* Sleeps until something may have been completed. */
static void doze(struct guest *guest)
{
	struct pollfd fds[GUEST_QUEUES_MAX + 1];
	bool quiet = true;

	for (unsigned i = 0; i < guest->queues; i++) {
		fds[i] = (struct pollfd){guest->frontend.queue[i].call_fd, POLLIN, 0};
		quiet = virtqueue_arm(&guest->frontend.queue[i]) && quiet;
	}
	fds[guest->queues] = (struct pollfd){guest->frontend.socket, POLLIN, 0};
	poll(fds, guest->queues + 1, quiet ? 2 : 0);
	for (unsigned i = 0; i < guest->queues; i++) {
		if (fds[i].revents & POLLIN)
			virtqueue_called(&guest->frontend.queue[i]);
		virtqueue_disarm(&guest->frontend.queue[i]);
	}
}

/* Takes what is there; waits a moment if nothing is. since: of the last progress. */
static int step(struct guest *guest, uint64_t *since)
{
	int count;

	for (unsigned i = 0; i < guest->queues; i++)
		virtqueue_publish(&guest->frontend.queue[i]);
	count = reap(guest);
	if (count < 0)
		return count;
	if (count || !guest->in_flight)
		*since = victim_now_us();
	if (count)
		return 0;
	if (hung_up(guest))
		return -ECONNRESET;
	if (victim_now_us() - *since > STALL_US)
		return -ETIMEDOUT;
	doze(guest);
	return 0;
}

int guest_drain(struct guest *guest)
{
	uint64_t since = victim_now_us();
	int result = 0;

	while (guest->in_flight && !result)
		result = step(guest, &since);
	if (result)
		return result;
	result = reap(guest); /* nothing more may come */
	return result > 0 ? complain(guest, "a request was completed twice") : result;
}

int guest_verify(struct guest *guest)
{
	uint64_t since = victim_now_us();
	unsigned next = 0;
	int result = 0;

	assert(!guest->in_flight);
	while (next < GUEST_UNITS && !result) {
		struct guest_request *request = idle_request(guest, GUEST_REQUESTS);

		if (request) {
			request->type = VIRTIO_BLK_T_IN;
			request->unit = next;
			request->count = GUEST_REQUEST_UNITS;
			claim(guest, next, GUEST_REQUEST_UNITS, true);
			submit_read(guest, request);
			next += GUEST_REQUEST_UNITS;
		} else {
			result = step(guest, &since);
		}
	}
	return result ? result : guest_drain(guest);
}

/* False: no place was free. */
static bool submit_any(
	struct guest *guest, const struct guest_load *load, struct guest_request *request)
{
	struct random *random = &guest->random;
	unsigned count = 1 + (unsigned)random_below(random, load->units_max);
	unsigned room = load->hot_units - MIN(count, load->hot_units);
	unsigned unit = (unsigned)random_below(random, GUEST_SEGMENTS) * GUEST_SEGMENT_UNITS +
			(unsigned)random_below(random, room + 1);

	request->type = VIRTIO_BLK_T_OUT;
	request->unit = unit;
	request->count = MIN(count, load->hot_units);
	if (random_below(random, 100) < load->flush_percent) {
		request->type = VIRTIO_BLK_T_FLUSH;
		request->count = 0;
		submit(guest, request);
		return true;
	}
	if (!claim(guest, unit, request->count, false))
		return false;
	if (random_below(random, 100) < load->read_percent) {
		request->type = VIRTIO_BLK_T_IN;
		submit_read(guest, request);
		return true;
	}
	if (random_below(random, 100) < load->zeroes_percent)
		request->type = VIRTIO_BLK_T_WRITE_ZEROES;
	submit_write(guest, request);
	return true;
}

int guest_run(struct guest *guest, const struct guest_load *load, uint64_t us)
{
	uint64_t begun = victim_now_us(), since = begun;
	int result = 0;

	while (!result && victim_now_us() - begun < us) {
		struct guest_request *request;

		for (unsigned tries = 0; tries < GUEST_REQUESTS; tries++) {
			request = idle_request(guest, load->depth);
			if (!request)
				break;
			submit_any(guest, load, request);
		}
		result = step(guest, &since);
	}
	return result;
}
