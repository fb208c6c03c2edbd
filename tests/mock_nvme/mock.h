/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NVMe controller in memory, for tests: registers, queues, namespaces, and an IOMMU that it
 * cannot get around. It does what its registers say whenever it is stepped: by a timer of the
 * simulation, by the driver's own waiting (bus pause), or by hand. It misbehaves by rule.
 *
 * One thread. Everything may be changed by the test at any time between two steps. With
 * mock_thread_start() the steps are taken by a thread of the mock's own, in real time: the test
 * then holds mock->lock when it touches what is not a flag.
 */
#ifndef TESTS_MOCK_NVME_MOCK_H
#define TESTS_MOCK_NVME_MOCK_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/random.h"
#include "drivers/nvme/bus.h"
#include "drivers/nvme/wire.h"
#include "memory/dma.h"
#include "reactor/reactor.h"

enum {
	MOCK_NAMESPACES = 4,
	MOCK_QUEUES = 9,
	MOCK_PENDING_MAX = 1024,
	MOCK_RULES_MAX = 8,
	MOCK_MAPS_MAX = 64,
	MOCK_PIECES_MAX = 600,
	MOCK_REGISTER_BYTES = 16384,
};

struct mock_namespace {
	bool present;
	unsigned lba_shift;
	uint16_t metadata_bytes;
	uint64_t lbas;
	char *data; /* of `bytes` bytes */
	size_t bytes;
	uint8_t uuid[16], nguid[16], eui64[8];
	uint8_t command_set;	     /* 0: NVM */
	uint8_t deallocate;	     /* DLFEAT */
	uint64_t bad_first, bad_end; /* LBAs that cannot be read */
};

enum mock_action {
	MOCK_DELAY,    /* answers value ns later */
	MOCK_NEVER,    /* until it is aborted */
	MOCK_TWICE,    /* the same answer again, at once */
	MOCK_AGAIN,    /* the same answer again, value ns later */
	MOCK_BOGUS_ID, /* an answer to id `value`; the command itself is never answered */
	MOCK_BOGUS_SQ, /* names another submission queue */
	MOCK_BOGUS_HEAD,
	MOCK_STATUS,	  /* nothing is done; status value */
	MOCK_STATUS_DONE, /* it is done, and status value says that it is not */
	MOCK_RANDOM,	  /* an answer of random bytes with the right phase */
	MOCK_FATAL,	  /* CSTS.CFS, and silence */
	MOCK_DIE,	  /* all ones */
};

struct mock_rule {
	bool admin;
	int opcode;	       /* -1: any */
	unsigned after, count; /* lets so many pass; then so often, 0: for ever */
	enum mock_action action;
	uint64_t value;
};

struct mock_submission {
	bool there;
	uint64_t iova;
	unsigned entries, head, completion;
};

struct mock_completion {
	bool there;
	uint64_t iova;
	unsigned entries, tail, phase;
};

struct mock_pending {
	struct nvme_command command;
	unsigned queue;
	uint64_t due_ns; /* UINT64_MAX: never */
	unsigned status; /* when `refused` */
	bool refused, executed;
	unsigned answers; /* to give */
	enum mock_action action;
	uint64_t value;
	bool bent;
	uint32_t result;
};

struct mock {
	struct nvme_bus bus;
	struct dma_listener iommu;
	struct {
		char *memory;
		uint64_t iova;
		size_t bytes;
	} maps[MOCK_MAPS_MAX];
	unsigned map_count;
	int registers_fd;
	char *registers;

	pthread_mutex_t lock; /* recursive */
	pthread_t thread;
	atomic_bool threaded, thread_stop;
	struct reactor_group *group; /* of the simulation; NULL: a clock of its own */
	struct timer timer;
	bool by_hand; /* no timer */
	uint64_t own_ns, interval_ns;
	struct random random;

	/* What it is. */
	struct nvme_identify_controller identity;
	struct nvme_identify_nvm_controller limits;
	struct mock_namespace namespaces[MOCK_NAMESPACES];
	struct nvme_health health;
	unsigned queues_granted;
	uint64_t enable_ns, disable_ns; /* how long it takes */
	uint64_t io_ns_max;		/* ios take a random time below; 0: they are done at once */
	bool will_not_disable, will_not_enable, ignores_abort, reset_fails, format_fails;
	bool destroyed_with_bus; /* free on the bus's destroy() */

	/* What it does by itself; a look at the log moves it on by `step`. */
	struct {
		unsigned status, action, passes; /* status: enum nvme_sanitize_status */
		unsigned progress, step;	 /* of 65536 */
		bool fails;
	} sanitize;
	struct {
		unsigned running, percent, step;
		unsigned outcome; /* of the next one */
		unsigned count;
		struct nvme_self_test_result results[20]; /* newest first */
	} self_test;
	/* An image is "FIRMWARE", a revision of 8 bytes, and anything. */
	struct {
		char image[256 << 10], slots[7][NVME_FIRMWARE_BYTES];
		size_t image_bytes;
		unsigned active, next, pieces;
		unsigned needs; /* the status of a commit for a later reset */
	} firmware;

	/* What it does. */
	struct mock_rule rules[MOCK_RULES_MAX];
	unsigned rule_count;
	bool enabled, ready, fatal, dead, removed, silenced;
	bool cut; /* dead, and nothing lies at the registers */
	uint64_t ready_at_ns;
	struct mock_submission submissions[MOCK_QUEUES];
	struct mock_completion completions[MOCK_QUEUES];
	struct mock_pending pending[MOCK_PENDING_MAX];
	unsigned pending_count;
	struct nvme_command events[8]; /* waiting requests */
	unsigned event_count;

	/* What it has seen. */
	unsigned iommu_faults, bad_prps, bad_commands;
	unsigned sgls; /* commands that had one */
	unsigned reads, writes, flushes, fuas, datasets, zeroes, deallocations, aborts;
	unsigned commands; /* of I/O queues */
	unsigned enables, resets, shutdowns, formats;
	uint64_t blocks_max; /* of one transfer, LBAs */
	bool destroyed;
};

/* group: of a simulation, or NULL. A controller with one namespace of 64 MiB, 512-byte LBAs and a
 * volatile cache; change it before the driver sees it. It listens to dma_register(). */
struct mock *mock_create(struct reactor_group *group, bool by_hand);
/* The same without a namespace. */
struct mock *mock_create_bare(struct reactor_group *group, bool by_hand);
/* After the driver is gone. */
void mock_destroy(struct mock *mock);
void mock_namespace_set(struct mock *mock, unsigned index, uint64_t bytes, unsigned lba_shift);

void mock_rule(struct mock *mock, struct mock_rule rule);
void mock_rules_clear(struct mock *mock);
/* Does what there is to do; how much. */
unsigned mock_step(struct mock *mock);
void mock_thread_start(struct mock *mock);
/* How many commands of that kind wait for ever (MOCK_NEVER), and answers them now. */
unsigned mock_waiting(struct mock *mock, unsigned opcode);
void mock_answer(struct mock *mock);
/* Pulled out: all ones. */
void mock_die(struct mock *mock);
void mock_event(struct mock *mock, unsigned type, unsigned information, unsigned page);
/* Whether it may still touch [memory, +bytes): a command that it has not answered names it. */
bool mock_holds(struct mock *mock, const void *memory, size_t bytes);
uint64_t mock_now_ns(struct mock *mock);

/* Within the mock. */
struct mock_piece {
	char *memory;
	size_t bytes;
};
/* Memory at a device address; NULL, and a fault is counted, when the IOMMU does not map it. */
void *mock_reach(struct mock *mock, uint64_t iova, size_t bytes);
/* The memory that the PRPs or the SGL of a command name; 0: they are wrong, which is counted. */
unsigned mock_pieces(struct mock *mock, const struct nvme_command *command, size_t bytes,
	struct mock_piece pieces[MOCK_PIECES_MAX]);
/* Where the data of a command begins; NULL: nowhere. */
const char *mock_first(struct mock *mock, const struct nvme_command *command);
/* Carry out a command; return its status; *result: DW0. */
unsigned mock_admin(struct mock *mock, const struct nvme_command *command, uint32_t *result);
unsigned mock_io(struct mock *mock, const struct nvme_command *command);
unsigned mock_care(struct mock *mock, const struct nvme_command *command);
/* The page of a log that mock_care() has; false: it has none. */
bool mock_care_log(struct mock *mock, unsigned page, void *log);
/* The firmware that waits for a reset begins. */
void mock_care_reset(struct mock *mock);
/* Takes away a command that is not answered. */
bool mock_abort(struct mock *mock, unsigned queue, unsigned id);

#endif
