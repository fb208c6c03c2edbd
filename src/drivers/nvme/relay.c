/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For reactors without a queue pair, where a drive has fewer of them than there are reactors: ios
 * travel to a reactor that has one, and back.
 *
 *	reactor without: guest                 reactor with a queue pair: host
 *
 *	io -> parcel ------- message --------> io_submit(), as if it were its own
 *	io->done() <-------- message --------- parcel's io done
 *
 * Two messages per io and no lock; deadlines, resets and the drive's end are the host's, and arrive
 * here as an io's status. A parcel belongs to the reactor that its message was sent to last. Ios
 * that find no parcel free wait at the guest.
 */
#include <assert.h>
#include <stdlib.h>

#include "drivers/nvme/queue.h"

enum { PARCELS = 128 };

struct parcel {
	struct message message;
	struct nvme_relay *relay;
	struct io *sent; /* whose work it is */
	struct io io;	 /* at the host; its link: in the list of free ones, at the guest */
};

struct nvme_relay {
	struct nvme_device_queue guest, host;
	struct nvme_queue *queue;	 /* of the host */
	struct message joining, leaving; /* to the host */
	struct list free;		 /* of struct parcel */
	unsigned free_count;
	struct parcel parcels[PARCELS];
};

/* --- on the host ----------------------------------------------------------------------------- */

static void join(struct message *message)
{
	struct nvme_relay *relay = container_of(message, struct nvme_relay, joining);

	nvme_queue_join(relay->queue, &relay->host);
}

static void leave(struct message *message)
{
	struct nvme_relay *relay = container_of(message, struct nvme_relay, leaving);

	nvme_queue_leave(&relay->host);
	free(relay);
}

static void carry(struct message *message)
{
	struct parcel *parcel = container_of(message, struct parcel, message);

	io_submit(&parcel->relay->host.base, &parcel->io);
}

static void bring_back(struct message *message);

static void carried(struct io *io)
{
	struct parcel *parcel = container_of(io, struct parcel, io);

	parcel->message.run = bring_back;
	reactor_send(parcel->relay->guest.base.reactor, &parcel->message);
}

/* --- on the guest ---------------------------------------------------------------------------- */

static void send(struct nvme_relay *relay, struct io *io)
{
	struct parcel *parcel = container_of(list_pop_front(&relay->free), struct parcel, io.link);

	relay->free_count--;
	parcel->sent = io;
	parcel->io = *io;
	parcel->io.done = carried;
	parcel->message.run = carry;
	reactor_send(relay->queue->reactor, &parcel->message);
}

static void bring_back(struct message *message)
{
	struct parcel *parcel = container_of(message, struct parcel, message);
	struct nvme_relay *relay = parcel->relay;
	struct io *io = parcel->sent;
	int status = parcel->io.status; /* the parcel may be on its way again before done() */
	struct list_node *next;

	list_push_front(&relay->free, &parcel->io.link);
	relay->free_count++;
	next = list_pop_front(&relay->guest.waiting);
	if (next)
		send(relay, container_of(next, struct io, link));
	io_complete(io, status);
}

void nvme_relay_submit(struct nvme_relay *relay, struct io *io)
{
	if (relay->free_count)
		send(relay, io);
	else
		list_push_back(&relay->guest.waiting, &io->link);
}

struct nvme_device_queue *nvme_relay_open(
	struct nvme_device *device, struct reactor *reactor, struct nvme_queue *queue)
{
	struct nvme_relay *relay = calloc(1, sizeof(*relay));

	if (!relay)
		return NULL;
	relay->queue = queue;
	relay->guest = (struct nvme_device_queue){
		.base.reactor = reactor, .device = device, .relay = relay, .blocked = true};
	list_init(&relay->guest.waiting);
	relay->host.device = device;
	relay->host.base = (struct blockdev_queue){
		.dev = &device->dev, .reactor = queue->reactor, .submit = nvme_ops.submit};
	list_init(&relay->free);
	for (unsigned i = 0; i < PARCELS; i++) {
		relay->parcels[i].relay = relay;
		list_push_back(&relay->free, &relay->parcels[i].io.link);
	}
	relay->free_count = PARCELS;
	/* Before any parcel: messages of one thread arrive in order. */
	relay->joining.run = join;
	reactor_send(queue->reactor, &relay->joining);
	return &relay->guest;
}

void nvme_relay_close(struct nvme_relay *relay)
{
	assert(relay->free_count == PARCELS && list_empty(&relay->guest.waiting));
	relay->leaving.run = leave;
	reactor_send(relay->queue->reactor, &relay->leaving);
}
