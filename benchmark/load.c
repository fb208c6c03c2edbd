/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmark/load.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/random.h"
#include "benchmark/clock.h"
#include "benchmark/ledger.h"

/*
 *	RAMP --> RUN --+--> LAST --+--> FINISHED     all submitted: all of it is counted
 *	               +--> DRAIN -+                 time is up or stopped: late ones are not
 *
 * An abort leads from anywhere to FINISHED.
 */
enum load_state { LOAD_RAMP, LOAD_RUN, LOAD_LAST, LOAD_DRAIN, LOAD_FINISHED };

/* One per queue. */
struct job {
	uint64_t first, count; /* blocks of the span that a sequential walk covers */
	uint64_t next;	       /* relative to first */
	unsigned writes;       /* since the last FLUSH */
	bool over;	       /* its pass is */
};

struct load {
	struct load_spec spec;
	struct load_transport *transport;
	enum load_state state;
	struct random random;
	uint64_t blocks; /* of the span; the last one may be short in a pass */
	bool pass;	 /* once over the span instead of until told */
	struct ledger ledger;

	/* Slots not in flight, oldest first; slots_mask + 1 places. */
	struct load_slot **idle;
	uint32_t idle_first, idle_count, slots_mask;
	uint32_t slots_count, in_flight;
	uint32_t jobs_walking;			/* jobs whose pass is not over */
	uint64_t touched[LOAD_QUEUES_MAX / 64]; /* queues to push */
	struct load_slot *slots;
	struct job *jobs;

	uint64_t ops, bytes;  /* submitted */
	uint64_t completions; /* any kind, any state */
	uint64_t now;	      /* ticks; valid while `clocked` */
	bool clocked;
	uint64_t ramp_end, run_end; /* ticks; run_end UINT64_MAX: no limit */
	uint64_t last_done;
	struct load_result result;
};

const char *load_kind_name(enum load_kind kind)
{
	static const char *const names[LOAD_KINDS] = {
		"read", "write", "flush", "discard", "zeroes"};

	assert(kind < LOAD_KINDS);
	return names[kind];
}

static void load_set_state(struct load *load, enum load_state state)
{
	static const unsigned legal[] = {
		[LOAD_RAMP] = 1u << LOAD_RUN | 1u << LOAD_DRAIN | 1u << LOAD_FINISHED,
		[LOAD_RUN] = 1u << LOAD_LAST | 1u << LOAD_DRAIN | 1u << LOAD_FINISHED,
		[LOAD_LAST] = 1u << LOAD_DRAIN | 1u << LOAD_FINISHED,
		[LOAD_DRAIN] = 1u << LOAD_FINISHED,
		[LOAD_FINISHED] = 0,
	};

	assert(legal[load->state] & 1u << state);
	load->state = state;
}

static inline bool counting(const struct load *load)
{
	return load->state == LOAD_RUN || load->state == LOAD_LAST;
}

static void end_counting(struct load *load, uint64_t at)
{
	if (counting(load))
		load->result.elapsed_ns = clock_ticks_to_ns(at - load->ramp_end);
}

static void begin_counting(struct load *load)
{
	load->ramp_end = load->now;
	load->last_done = load->now;
	load->run_end =
		load->spec.time_ns ? load->now + clock_ns_to_ticks(load->spec.time_ns) : UINT64_MAX;
}

static inline bool limit_reached(const struct load *load)
{
	return (load->spec.ops_max && load->ops >= load->spec.ops_max) ||
	       (load->spec.bytes_max && load->bytes >= load->spec.bytes_max);
}

/* Moves on when the clock or the limits say so. */
static void update_state(struct load *load)
{
	bool submitted = limit_reached(load) || !load->jobs_walking;

	if (load->state == LOAD_RAMP && (load->now >= load->ramp_end || submitted)) {
		load_set_state(load, LOAD_RUN);
		begin_counting(load);
	}
	if (counting(load) && load->now >= load->run_end) {
		end_counting(load, load->now);
		load_set_state(load, LOAD_DRAIN);
	}
	if (load->state == LOAD_RUN && submitted)
		load_set_state(load, LOAD_LAST);
	if ((load->state == LOAD_LAST || load->state == LOAD_DRAIN) && !load->in_flight) {
		end_counting(load, load->last_done);
		load_set_state(load, LOAD_FINISHED);
	}
}

/* Where the next request of that job goes: bytes on the device. False: its pass is over. */
static bool next_place(struct load *load, struct job *job, struct load_slot *slot)
{
	const struct load_spec *spec = &load->spec;
	uint64_t block;

	if (spec->random) {
		block = random_below(&load->random, load->blocks);
	} else {
		if (job->next == job->count) {
			if (load->pass)
				return false;
			job->next = 0;
		}
		block = job->first + job->next++;
	}
	slot->offset = spec->offset_bytes + block * spec->block_bytes;
	slot->bytes = (uint32_t)MIN(
		(uint64_t)spec->block_bytes, spec->span_bytes - block * spec->block_bytes);
	return true;
}

static enum load_kind next_kind(struct load *load)
{
	unsigned percent = load->spec.read_percent;

	if (percent == 100)
		return LOAD_READ;
	if (percent == 0)
		return load->spec.other;
	return random_below(&load->random, 100) < percent ? LOAD_READ : load->spec.other;
}

/* With verification, two requests for one place are never in flight together, for then neither
 * content would be the right one. */
static bool next_free_place(struct load *load, struct job *job, struct load_slot *slot)
{
	enum { TRIES = 16 };

	for (unsigned i = 0; i < TRIES; i++) {
		if (!next_place(load, job, slot)) {
			load->jobs_walking -= !job->over;
			job->over = true;
			return false;
		}
		if (ledger_claim(&load->ledger, slot))
			return true;
	}
	/* All busy: the slot waits for its next turn. */
	load->idle[(load->idle_first + load->idle_count++) & load->slots_mask] = slot;
	return false;
}

static bool prepare(struct load *load, struct load_slot *slot)
{
	struct job *job = &load->jobs[slot->queue];

	if (load->spec.flush_every && job->writes >= load->spec.flush_every) {
		job->writes = 0;
		slot->kind = LOAD_FLUSH;
		slot->bytes = 0;
		slot->offset = 0;
		return true;
	}
	slot->kind = next_kind(load);
	if (load->spec.verify == LOAD_VERIFY_NONE) {
		if (!next_place(load, job, slot))
			return false;
	} else if (!next_free_place(load, job, slot)) {
		return false;
	}
	job->writes += slot->kind == LOAD_WRITE;
	return true;
}

static unsigned submit_some(struct load *load)
{
	unsigned submitted = 0;

	/* One try per slot: those that find no place come back at the end of the line. */
	for (unsigned tries = MIN(load->idle_count, (uint32_t)LOAD_BATCH);
		tries && (load->state == LOAD_RUN || load->state == LOAD_RAMP); tries--) {
		struct load_slot *slot = load->idle[load->idle_first++ & load->slots_mask];

		load->idle_count--;
		if (!prepare(load, slot))
			continue;
		load->in_flight++;
		load->ops++;
		load->bytes += slot->bytes;
		slot->started = load->now;
		load->touched[slot->queue / 64] |= 1ull << slot->queue % 64;
		load->transport->ops->submit(load->transport, slot);
		submitted++;
		if (limit_reached(load))
			break;
	}
	return submitted;
}

static void push_touched(struct load *load)
{
	for (unsigned word = 0; word < ARRAY_SIZE(load->touched); word++) {
		uint64_t mask = load->touched[word];

		load->touched[word] = 0;
		for (; mask; mask &= mask - 1)
			load->transport->ops->push(
				load->transport, word * 64 + (unsigned)__builtin_ctzll(mask));
	}
}

unsigned load_poll(struct load *load)
{
	const struct load_transport_ops *ops = load->transport->ops;
	uint64_t before = load->completions;
	unsigned submitted;

	if (load->state == LOAD_FINISHED)
		return 0;
	load->now = clock_ticks();
	if (!load->run_end) {
		load->run_end = UINT64_MAX;
		load->ramp_end = load->now + clock_ns_to_ticks(load->spec.ramp_ns);
	}
	if (ops->poll) {
		load->clocked = true;
		ops->poll(load->transport);
		load->clocked = false;
	}
	if (load->state == LOAD_FINISHED)
		return 0;
	update_state(load);
	submitted = submit_some(load);
	if (submitted && ops->push)
		push_touched(load);
	return submitted + (unsigned)(load->completions - before);
}

/* Keeps the first problem in words. */
static void note_error(struct load *load, const struct load_slot *slot, int status)
{
	load->result.errors[slot->kind]++;
	if (!load->result.problem.error)
		fail_set(&load->result.problem, -status, "%s of %u bytes at byte %llu failed: %s",
			load_kind_name(slot->kind), slot->bytes, (unsigned long long)slot->offset,
			strerror(-status));
}

void load_done(struct load *load, struct load_slot *slot, int status)
{
	uint64_t now = load->clocked ? load->now : clock_ticks();

	assert(load->in_flight > 0 && load->idle_count < load->slots_count);
	load->in_flight--;
	load->completions++;
	load->last_done = now;
	if (load->spec.verify != LOAD_VERIFY_NONE && slot->kind != LOAD_FLUSH)
		ledger_settle(&load->ledger, slot, status, &load->result);
	load->idle[(load->idle_first + load->idle_count++) & load->slots_mask] = slot;
	if (status) {
		note_error(load, slot, status);
	} else if (counting(load)) {
		load->result.ops[slot->kind]++;
		load->result.bytes[slot->kind] += slot->bytes;
		histogram_add(&load->result.latency[slot->kind], now - slot->started);
	}
}

void load_abort(struct load *load, int error, const char *why)
{
	assert(error > 0);
	if (load->state == LOAD_FINISHED)
		return;
	end_counting(load, clock_ticks());
	load->result.aborted = -error;
	fail_set(&load->result.problem, error, "%s", why);
	load_set_state(load, LOAD_FINISHED);
}

void load_stop(struct load *load)
{
	if (load->state == LOAD_FINISHED || load->state == LOAD_DRAIN)
		return;
	end_counting(load, clock_ticks());
	load_set_state(load, LOAD_DRAIN);
}

bool load_finished(const struct load *load)
{
	return load->state == LOAD_FINISHED;
}

const struct load_result *load_result(const struct load *load)
{
	return &load->result;
}

void load_run(struct load *load, uint64_t spin_ns, uint64_t stall_ms)
{
	enum { LOOK_MS = 10 }; /* a spinning load looks at the transport's health this often */
	uint64_t look = clock_ns_to_ticks(MIN(spin_ns, LOOK_MS * 1000000ull));
	uint64_t stall = clock_ns_to_ticks(stall_ms * 1000000);
	uint64_t last_work = clock_ticks(), last_look = last_work;

	while (!load_finished(load)) {
		if (load_poll(load)) {
			last_work = last_look = load->now;
			continue;
		}
		if (load->now - last_work > stall)
			load_abort(load, ETIMEDOUT,
				"nothing has completed for too long; the back end hangs");
		else if (load->transport->ops->wait && load->now - last_look > look) {
			load->transport->ops->wait(
				load->transport, spin_ns == UINT64_MAX ? 0 : LOOK_MS);
			last_look = spin_ns == UINT64_MAX ? load->now : last_look;
		}
	}
}

void load_result_merge(struct load_result *into, const struct load_result *from)
{
	into->elapsed_ns = MAX(into->elapsed_ns, from->elapsed_ns);
	for (unsigned kind = 0; kind < LOAD_KINDS; kind++) {
		into->ops[kind] += from->ops[kind];
		into->bytes[kind] += from->bytes[kind];
		into->errors[kind] += from->errors[kind];
		histogram_merge(&into->latency[kind], &from->latency[kind]);
	}
	into->checked_bytes += from->checked_bytes;
	into->mismatches += from->mismatches;
	if (!into->aborted)
		into->aborted = from->aborted;
	if (!into->problem.error)
		into->problem = from->problem;
}

static int allocate(struct load *load, struct fail *fail)
{
	uint32_t places = 1;

	while (places < load->slots_count)
		places *= 2;
	load->slots_mask = places - 1;
	load->idle = calloc(places, sizeof(struct load_slot *));
	load->slots = calloc(load->slots_count, sizeof(*load->slots));
	load->jobs = calloc(load->spec.queues, sizeof(*load->jobs));
	if (!load->idle || !load->slots || !load->jobs)
		return fail_set(fail, ENOMEM, "no memory for %u requests", load->slots_count);
	return ledger_open(&load->ledger, &load->spec, fail);
}

/* Buffers get content that neither compresses nor repeats. */
static void ready_slots(struct load *load)
{
	struct random random = {load->spec.seed};

	for (uint32_t i = 0; i < load->slots_count; i++) {
		struct load_slot *slot = &load->slots[i];
		uint64_t *words;

		slot->index = i;
		slot->queue = i / load->spec.depth;
		slot->buffer = load->transport->ops->buffer(load->transport, i);
		words = slot->buffer;
		for (uint32_t word = 0; word < load->spec.block_bytes / sizeof(*words); word++)
			words[word] = random_next(&random);
		/* Turn by turn over the queues, so that a short run touches all of them. */
		load->idle[i % load->spec.depth * load->spec.queues + slot->queue] = slot;
	}
	load->idle_count = load->slots_count;
}

static void ready_jobs(struct load *load)
{
	const struct load_spec *spec = &load->spec;
	uint64_t all = spec->all_jobs ? spec->all_jobs : spec->queues;

	for (unsigned i = 0; i < spec->queues; i++) {
		unsigned __int128 place = spec->first_job + i;
		struct job *job = &load->jobs[i];

		job->first = (uint64_t)(place * load->blocks / all);
		job->count = (uint64_t)((place + 1) * load->blocks / all) - job->first;
	}
	load->jobs_walking = spec->queues;
}

int load_create(struct load **made, const struct load_spec *spec, struct load_transport *transport,
	struct fail *fail)
{
	struct load *load;
	int result;

	load = calloc(1, sizeof(*load));
	if (!load)
		return fail_set(fail, ENOMEM, "no memory for a load");
	load->spec = *spec;
	result = load_spec_check(&load->spec, transport, fail);
	if (result)
		goto free_load;
	spec = &load->spec;
	load->transport = transport;
	load->slots_count = spec->queues * spec->depth;
	load->pass = spec->verify == LOAD_VERIFY_FILL || spec->verify == LOAD_VERIFY_CHECK;
	load->blocks = load->pass ? divide_up(spec->span_bytes, spec->block_bytes)
				  : spec->span_bytes / spec->block_bytes;
	load->random.state = spec->seed + spec->first_job;
	result = allocate(load, fail);
	if (result)
		goto free_load;
	clock_calibrate();
	ready_slots(load);
	ready_jobs(load);
	transport->load = load;
	*made = load;
	return 0;

free_load:
	load_destroy(load);
	return result;
}

void load_destroy(struct load *load)
{
	ledger_close(&load->ledger);
	free(load->idle);
	free(load->slots);
	free(load->jobs);
	free(load);
}
