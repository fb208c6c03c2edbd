/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Misbehaves by rule. A request that no rule matches passes straight on.
 *
 * The rules are an immutable set behind one atomic pointer, so that they can be replaced from any
 * thread; sets that were replaced are kept until the device is destroyed, because a reactor may
 * still be reading one. That costs half a kilobyte each, for a layer that only tests use.
 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "drivers/drivers.h"

struct fault_set {
	struct fault_set *replaced;
	unsigned count;
	struct {
		struct fault_rule rule;
		atomic_uint matched;
	} rows[FAULT_RULES_MAX];
};

struct fault {
	struct blockdev dev;
	struct blockdev *below;
	_Atomic(struct fault_set *) rules;
};

enum { BENT_MAX = 64 };

/* A request whose completion is bent: torn or flipped. */
struct bent {
	struct io io;
	struct io *parent;
	struct fault_queue *queue;
	enum fault_kind kind;
};

struct fault_queue {
	struct blockdev_queue base;
	struct blockdev_queue *below;
	struct list free;    /* of struct bent, by io.link */
	struct list waiting; /* of struct io that need one */
	struct bent bent[BENT_MAX];
};

static const char *const kind_names[FAULT_KINDS] = {"error", "torn", "lost", "flip"};

const char *fault_kind_name(enum fault_kind kind)
{
	assert(kind < FAULT_KINDS);
	return kind_names[kind];
}

static bool rule_matches(const struct fault_rule *rule, const struct io *io)
{
	bool wanted = io->kind == IO_READ ? rule->reads : rule->writes;

	if (io->kind == IO_FLUSH)
		return wanted && rule->kind == FAULT_ERROR;
	return wanted && io->block < rule->end && io->block + io->blocks > rule->first;
}

/* The rule that io falls under now, or NULL. */
static const struct fault_rule *rule_for(struct fault *fault, const struct io *io)
{
	struct fault_set *set = atomic_load_explicit(&fault->rules, memory_order_acquire);

	for (unsigned i = 0; set && i < set->count; i++) {
		const struct fault_rule *rule = &set->rows[i].rule;
		unsigned seen;

		if (!rule_matches(rule, io))
			continue;
		seen = atomic_fetch_add(&set->rows[i].matched, 1);
		if (seen >= rule->after && (!rule->count || seen - rule->after < rule->count))
			return rule;
	}
	return NULL;
}

static void bend(struct fault_queue *queue, struct io *io, enum fault_kind kind);

static void bent_done(struct io *io)
{
	struct bent *bent = container_of(io, struct bent, io);
	struct fault_queue *queue = bent->queue;
	struct io *parent = bent->parent;
	enum fault_kind kind = bent->kind;
	int status = io->status;
	struct list_node *next;

	if (kind == FAULT_FLIP && !status) {
		struct iov_cursor cursor = iov_cursor_at(parent, 0);
		*((char *)cursor.iov->iov_base + cursor.skip) ^= 1;
	}
	list_push_front(&queue->free, &bent->io.link);
	next = list_pop_front(&queue->waiting);
	if (next) {
		struct io *waiting = container_of(next, struct io, link);
		bend(queue, waiting, waiting->kind == IO_READ ? FAULT_FLIP : FAULT_TORN);
	}
	io_complete(parent, kind == FAULT_TORN ? -EIO : status);
}

static void bend(struct fault_queue *queue, struct io *io, enum fault_kind kind)
{
	struct list_node *node = list_pop_front(&queue->free);
	uint32_t blocks = kind == FAULT_TORN ? io->blocks / 2 : io->blocks;
	struct bent *bent;

	if (!node) {
		list_push_back(&queue->waiting, &io->link);
		return;
	}
	bent = container_of(container_of(node, struct io, link), struct bent, io);
	bent->parent = io;
	bent->kind = kind;
	io_part(&bent->io, io, 0, blocks, queue->base.dev->block_bytes);
	bent->io.block = io->block;
	bent->io.done = bent_done;
	if (blocks)
		io_submit(queue->below, &bent->io);
	else
		io_complete(&bent->io, 0);
}

static void fault_submit(struct blockdev_queue *base, struct io *io)
{
	struct fault_queue *queue = container_of(base, struct fault_queue, base);
	struct fault *fault = container_of(base->dev, struct fault, dev);
	const struct fault_rule *rule = rule_for(fault, io);

	if (!rule)
		io_submit(queue->below, io);
	else if (rule->kind == FAULT_ERROR)
		io_complete(io, -EIO);
	else if (rule->kind == FAULT_LOST)
		io_complete(io, 0);
	else
		bend(queue, io, rule->kind);
}

static int fault_open_queue(struct blockdev *dev, struct reactor *reactor,
	struct blockdev_queue **base, struct fail *fail)
{
	struct fault *fault = container_of(dev, struct fault, dev);
	struct fault_queue *queue = calloc(1, sizeof(*queue));
	int error;

	if (!queue)
		return fail_set(fail, ENOMEM, "no memory for a queue");
	error = blockdev_open_queue(fault->below, reactor, &queue->below, fail);
	if (error) {
		free(queue);
		return error;
	}
	list_init(&queue->free);
	list_init(&queue->waiting);
	for (unsigned i = 0; i < BENT_MAX; i++) {
		queue->bent[i].queue = queue;
		list_push_back(&queue->free, &queue->bent[i].io.link);
	}
	*base = &queue->base;
	return 0;
}

static void fault_close_queue(struct blockdev_queue *base)
{
	struct fault_queue *queue = container_of(base, struct fault_queue, base);

	assert(list_empty(&queue->waiting));
	blockdev_close_queue(queue->below);
	free(queue);
}

static void fault_destroy(struct blockdev *dev)
{
	struct fault *fault = container_of(dev, struct fault, dev);
	struct fault_set *set = atomic_load(&fault->rules);

	while (set) {
		struct fault_set *replaced = set->replaced;

		free(set);
		set = replaced;
	}
	blockdev_destroy(fault->below);
	free(fault);
}

static const struct blockdev_ops fault_ops = {
	.driver = "fault",
	.open_queue = fault_open_queue,
	.close_queue = fault_close_queue,
	.submit = fault_submit,
	.destroy = fault_destroy,
};

int fault_create(struct blockdev **dev, struct blockdev *below, struct fail *fail)
{
	struct fault *fault = calloc(1, sizeof(*fault));

	if (!fault)
		return fail_set(fail, ENOMEM, "no memory for a fault layer");
	fault->dev = *below;
	fault->dev.ops = &fault_ops;
	fault->below = below;
	*dev = &fault->dev;
	return 0;
}

bool fault_is(const struct blockdev *dev)
{
	return dev->ops == &fault_ops;
}

int fault_rules(
	struct blockdev *dev, const struct fault_rule *rules, unsigned count, struct fail *fail)
{
	struct fault *fault = container_of(dev, struct fault, dev);
	struct fault_set *set;

	assert(fault_is(dev));
	if (count > FAULT_RULES_MAX)
		return fail_set(fail, EINVAL, "at most %d fault rules at a time", FAULT_RULES_MAX);
	for (unsigned i = 0; i < count; i++)
		if ((rules[i].kind == FAULT_FLIP && rules[i].writes) ||
			((rules[i].kind == FAULT_TORN || rules[i].kind == FAULT_LOST) &&
				rules[i].reads))
			return fail_set(fail, EINVAL, "a '%s' fault is for %s only",
				fault_kind_name(rules[i].kind),
				rules[i].kind == FAULT_FLIP ? "reads" : "writes");
	set = calloc(1, sizeof(*set));
	if (!set)
		return fail_set(fail, ENOMEM, "no memory for fault rules");
	set->count = count;
	for (unsigned i = 0; i < count; i++)
		set->rows[i].rule = rules[i];
	set->replaced = atomic_load(&fault->rules);
	atomic_store_explicit(&fault->rules, set, memory_order_release);
	return 0;
}
