/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A load: what to read and write, how many at a time, until when; and what came of it. It knows no
 * transport: the same load runs over vhost-user and straight into a block device.
 *
 *	load_poll()                                  transport
 *	  choose kind and place --> slot --submit--> starts it
 *	                            ... --push---->  end of a batch: doorbell
 *	  --poll---------------------------------->  finished ones: load_done(slot, status)
 *
 * load_done() may be called from inside submit, from inside poll, or at any other time on the same
 * thread; it never submits. load_poll() submits at most LOAD_BATCH requests, so it may be called
 * from a reactor's poller. Nothing is allocated after load_create().
 *
 * Requests are spread over `queues` queues, `depth` in flight on each. A queue is also a job: in
 * sequential patterns each job walks its own part of the span, from the start, and around again.
 *
 * A load, its slots and its transport belong to one thread. Several loads in several threads make
 * one measurement with first_job, all_jobs and load_result_merge().
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fail.h"
#include "benchmark/histogram.h"

struct load;
struct load_transport;

enum { LOAD_BATCH = 32, LOAD_QUEUES_MAX = 256, LOAD_SLOTS_MAX = 65536 };

enum load_kind { LOAD_READ, LOAD_WRITE, LOAD_FLUSH, LOAD_DISCARD, LOAD_ZEROES, LOAD_KINDS };

enum load_verify {
	LOAD_VERIFY_NONE,
	LOAD_VERIFY_FILL,  /* one pass of stamped writes over the span */
	LOAD_VERIFY_CHECK, /* one pass of reads, each checked */
	LOAD_VERIFY_MIXED, /* the pattern with stamped writes; reads of what was written are checked
			    */
};

struct load_spec {
	const char *pattern; /* a name load_spec_pattern() knows */
	bool random;
	unsigned read_percent;	/* 0 to 100; the rest is of kind `other` */
	enum load_kind other;	/* WRITE, DISCARD or ZEROES */
	uint32_t block_bytes;	/* of each request; a multiple of 512 */
	uint64_t offset_bytes;	/* where the span begins */
	uint64_t span_bytes;	/* 0: to the end of the device */
	unsigned queues, depth; /* depth: per queue */
	unsigned flush_every;	/* a FLUSH after so many writes on a queue; 0: none */
	uint64_t time_ns;	/* 0: no limit; counted from the end of the ramp */
	uint64_t ramp_ns;	/* runs, but is not counted */
	uint64_t ops_max;	/* 0: no limit; requests submitted, ramp included */
	uint64_t bytes_max;	/* 0: no limit; likewise */
	uint64_t seed;
	enum load_verify verify;
	unsigned first_job, all_jobs; /* this load's place among others; 0, 0: it is alone */
};

/* One request. The transport reads all but status and the private part. */
struct load_slot {
	enum load_kind kind;
	uint32_t index;	 /* of the slot and of its buffer, below queues * depth */
	uint32_t queue;	 /* index / depth */
	uint32_t bytes;	 /* 0 for FLUSH */
	uint64_t offset; /* bytes, on the device */
	void *buffer;	 /* the transport's buffer for this slot */
	/* The load's own. */
	uint64_t started; /* ticks */
};

struct load_transport_ops {
	const char *name;
	/* Memory for slot `index`, block_bytes of the spec long, the same one at every call. Asked
	 * once per slot, in load_create(). */
	void *(*buffer)(struct load_transport *transport, unsigned index);
	/* Starts the request. Cannot fail and never waits: depth bounds what is in flight. */
	void (*submit)(struct load_transport *transport, struct load_slot *slot);
	/* A batch on that queue has ended. NULL: nothing to do. */
	void (*push)(struct load_transport *transport, unsigned queue);
	/* Calls load_done() for what has finished; returns how many. NULL: they come by
	 * themselves. */
	unsigned (*poll)(struct load_transport *transport);
	/* Sleeps until something may have finished, at most timeout_ms. NULL: load_run() spins. */
	void (*wait)(struct load_transport *transport, int timeout_ms);
};

/* Embedded by its owner, who sets ops, bytes and unit_bytes before load_create(). */
struct load_transport {
	const struct load_transport_ops *ops;
	uint64_t bytes;	     /* capacity */
	uint32_t unit_bytes; /* requests are multiples of this: 512 or 4096 */
	struct load *load;   /* set by load_create() */
};

struct load_result {
	uint64_t elapsed_ns; /* of the counted part */
	uint64_t ops[LOAD_KINDS], bytes[LOAD_KINDS], errors[LOAD_KINDS];
	struct histogram latency[LOAD_KINDS]; /* in ticks of benchmark/clock.h */
	uint64_t checked_bytes, mismatches;
	int aborted;	     /* -errno given to load_abort() */
	struct fail problem; /* the first failed request or mismatch, in words */
};

/* Sets random, read_percent and other from a name: randread, read, randwrite, write, randrw, rw,
 * randdiscard, discard, randzeroes, zeroes. read_percent is kept for the mixed ones. */
int load_spec_pattern(struct load_spec *spec, const char *name, struct fail *fail);
/* The defaults of every field: randread, 4 KiB, one queue, depth 32, 10 s. */
void load_spec_init(struct load_spec *spec);

/* Fills in what the transport (span) and the verifying passes (pattern, limits) decide; -EINVAL
 * with a sentence when the transport cannot run it. load_create() does the same to its copy. */
int load_spec_check(
	struct load_spec *spec, const struct load_transport *transport, struct fail *fail);

/* Checks and copies spec, allocates, fills the buffers. Takes 20 ms once for the clock. */
int load_create(struct load **load, const struct load_spec *spec, struct load_transport *transport,
	struct fail *fail);
void load_destroy(struct load *load);

/* Reaps, then submits while there is room. Returns how much was done. */
unsigned load_poll(struct load *load);
/* From the transport: the request in slot has ended with status 0 or -errno. */
void load_done(struct load *load, struct load_slot *slot, int status);
/* From the transport: it has died; what is in flight will never end. error: positive errno. */
void load_abort(struct load *load, int error, const char *why);
/* From anyone on the thread: submit no more; load_finished() once the rest is back. */
void load_stop(struct load *load);
bool load_finished(const struct load *load);

/* Polls until finished, sleeping in between when nothing happens for spin_ns (UINT64_MAX: never
 * sleep). Aborts with -ETIMEDOUT when nothing completes for stall_ms. */
void load_run(struct load *load, uint64_t spin_ns, uint64_t stall_ms);

/* The load's figures; valid until load_destroy(). Final once finished. */
const struct load_result *load_result(const struct load *load);
void load_result_merge(struct load_result *into, const struct load_result *from);

const char *load_kind_name(enum load_kind kind);

#endif
