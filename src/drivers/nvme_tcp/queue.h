/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An I/O queue: one TCP connection to a controller, used by one reactor.
 *
 *	        attach                  something is wrong
 *	DOWN ------------> UP ------------------------------> BROKEN
 *	 |  ^              | detach                              | detach
 *	 |  +--------------+-------------------------------------+
 *	 |
 *	 +-------> AWAY ---------> UP
 *	   give up       attach
 *
 * While it is not UP, what was in flight keeps its slot and what comes waits; AWAY, when the hold
 * is over, all of it fails. The connection is made and buried by the drive's thread
 * (association.c), with tcp_queue_attach() and tcp_queue_detach() on the reactor.
 *
 * A slot carries one io, cut into commands of at most limits.transfer_bytes, one after the other:
 *
 *	                      R2T                     a command failed, or the connection
 *	                +-------------+                          |
 *	                v             |                          v
 *	FREE -------> SENDING ----> WAITING ----> FREE         PARKED ----> SENDING
 *	                |                           ^
 *	                +--------> ANSWERED --------+  the answer came before all of a PDU had left
 *
 * Everything here belongs to the reactor's thread; `closed` and what stands below it are the
 * drive's, under its mutex.
 */
#ifndef DRIVERS_NVME_TCP_QUEUE_H
#define DRIVERS_NVME_TCP_QUEUE_H

#include "base/list.h"
#include "block/blockdev.h"
#include "drivers/nvme_tcp/pdu.h"
#include "reactor/reactor.h"

enum {
	QUEUE_SLOTS = 127, /* one less than the largest queue: a full one has a free entry */
	QUEUE_DEADLINE_MS = 8000,
	QUEUE_TRIES_MAX = 3,  /* of a command that the controller asks to repeat */
	QUEUE_LOSSES_MAX = 5, /* connections that may break under one command */
	QUEUE_INPUT_BYTES = 512,
	QUEUE_COPY_BYTES = 128 << 10,
	QUEUE_SEGMENTS = 64, /* of memory, in one system call */
};

struct nvme_tcp;

/* How the controller behind the connection wants to be spoken to. */
struct queue_limits {
	struct pdu_digests digests;
	uint32_t align_bytes;	 /* of data that we send */
	uint32_t capsule_bytes;	 /* of data in a command's capsule */
	uint32_t h2c_bytes;	 /* of data in one H2CData */
	uint32_t transfer_bytes; /* of data of one command */
	unsigned depth;		 /* commands at a time */
	uint32_t nsid;
	unsigned lba_shift; /* a block of ours is 1 << this of the namespace's */
	bool can_discard, can_write_zeroes, can_unmap_zeroes;
	bool has_cache;	    /* FLUSH and FUA mean something */
	bool write_through; /* all writes are FUA */
};

enum slot_state { SLOT_FREE, SLOT_SENDING, SLOT_WAITING, SLOT_ANSWERED, SLOT_PARKED };

struct slot {
	enum slot_state state;
	struct io *io;
	struct list_node link;	    /* free, or sending */
	struct list_node busy_link; /* in the order of submission */
	uint64_t deadline_ns;	    /* of the answer; PARKED: when to try again */
	uint8_t index, generation;  /* together the command's id: an old answer is known as such */
	uint8_t tries, losses;
	bool by_writing;		 /* WRITE_ZEROES with WRITE */
	bool spoiled;			 /* data with a wrong digest have come */
	bool doubtful;			 /* some of a command that changes data has left */
	uint32_t blocks_done, blocks;	 /* of the io; of the command */
	uint32_t data_bytes, data_moved; /* of the command; sent, or received */
	int status;			 /* ANSWERED */
	/* The PDU that is leaving: head, data, digest. */
	uint32_t head_bytes, pdu_data_bytes, pdu_sent;
	bool copied;	      /* its data are in queue->copy */
	uint32_t granted_end; /* data up to here have been asked for */
	uint16_t tag;	      /* by this R2T */
	le32 digest;
	struct nvme_dsm_range range;
	_Alignas(8) char head[PDU_HEAD_BYTES_MAX];
};

enum queue_state { QUEUE_DOWN, QUEUE_UP, QUEUE_BROKEN, QUEUE_AWAY };

enum input_stage { INPUT_HEADER, INPUT_DATA, INPUT_DIGEST };

struct tcp_queue {
	struct blockdev_queue base;
	struct nvme_tcp *drive;
	struct reactor *reactor; /* base.reactor, but set before the drive's thread sees us */
	enum queue_state state;
	int fd; /* UP, BROKEN */
	struct queue_limits limits;
	struct poller poller;
	struct timer timer; /* runs while slots are busy */
	struct list free, busy, sending;
	struct list waiting; /* of struct io, for a slot */
	unsigned used;	     /* slots that are not free */
	bool send_blocked;
	uint64_t suspicions; /* of the drive, when a FLUSH last told of them */
	/* The PDU that is arriving. */
	enum input_stage stage;
	struct slot *target; /* DATA, DIGEST: whose data */
	uint32_t pdu_left;   /* DATA: bytes */
	uint32_t pdu_bytes;
	bool pdu_completes; /* its data are followed by no response */
	unsigned input_begin, input_end;
	char input[QUEUE_INPUT_BYTES];
	char *copy; /* data of the PDU that is leaving; with data digests only */
	struct slot slots[QUEUE_SLOTS];

	/* Under the drive's mutex. */
	bool closed;   /* the drive's thread frees it */
	bool attached; /* has a connection of the association in use */
	struct list_node link;
};

/* --- for the drive; on the reactor ----------------------------------------------------------- */

struct tcp_queue *tcp_queue_create(struct nvme_tcp *drive, struct reactor *reactor);
void tcp_queue_destroy(struct tcp_queue *queue);
void tcp_queue_submit(struct blockdev_queue *base, struct io *io);
/* Takes a connected socket; what was in flight is sent again, in its old order, before anything
 * that waits. */
void tcp_queue_attach(struct tcp_queue *queue, int fd, const struct queue_limits *limits);
/* No io is in flight or waits. */
void tcp_queue_close(struct tcp_queue *queue);
/* Gives the socket back, -1: there is none. *doubtful is set when a command that changes data was
 * in flight. */
int tcp_queue_detach(struct tcp_queue *queue, bool *doubtful);
/* All that wait fail, and all that come. */
void tcp_queue_give_up(struct tcp_queue *queue);

/* --- between its files ----------------------------------------------------------------------- */

/* send.c: makes the slot's next command ready to leave; the socket sees it in the next turn. */
void slot_send(struct tcp_queue *queue, struct slot *slot);
/* The data that an R2T asks for. */
void slot_grant(struct tcp_queue *queue, struct slot *slot, uint16_t tag, uint32_t bytes);
/* Takes a slot whose current PDU has not begun to leave off the list; false: it has begun. */
bool slot_recall(struct slot *slot);
unsigned tcp_queue_send(struct tcp_queue *queue);
/* `bytes` of the data of slot's command, from `at` on, as at most `room` segments; returns their
 * number and reduces *bytes to what they cover. */
unsigned slot_segments(const struct slot *slot, uint32_t at, uint32_t *bytes,
	struct iovec *segments, unsigned room);

/* receive.c */
unsigned tcp_queue_receive(struct tcp_queue *queue);
void tcp_queue_reset_input(struct tcp_queue *queue);

/* queue.c: the command of slot has ended with a status of the controller. */
void slot_answered(struct tcp_queue *queue, struct slot *slot, unsigned status);
/* The answer is known and nothing of the slot is leaving any more. */
void slot_settle(struct tcp_queue *queue, struct slot *slot);
/* The connection is of no more use: why is a sentence that outlives it. */
void tcp_queue_break(struct tcp_queue *queue, const char *why);

static inline uint16_t slot_id(const struct slot *slot)
{
	return (uint16_t)(slot->generation << 8 | slot->index);
}

/* The slot of a command in flight, or NULL. */
static inline struct slot *tcp_queue_find(struct tcp_queue *queue, uint16_t id)
{
	struct slot *slot = &queue->slots[id & 0xff];

	if ((id & 0xff) >= QUEUE_SLOTS || slot_id(slot) != id ||
		(slot->state != SLOT_SENDING && slot->state != SLOT_WAITING))
		return NULL;
	return slot;
}

#endif
