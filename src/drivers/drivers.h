/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The drivers: bottoms, which store blocks somewhere, and layers, which put a behaviour on top of
 * another device. All have the block face (block/blockdev.h) and know nothing of each other.
 *
 * Constructors run on a control thread, return 0 or -errno with a sentence, and hand over a device
 * that blockdev_destroy() frees. A layer owns the device below it from its success on.
 */
#ifndef DRIVERS_DRIVERS_H
#define DRIVERS_DRIVERS_H

#include "block/blockdev.h"

/* Memory of this process (a memfd; huge pages when there are any). Content is lost with it. */
int ram_create(struct blockdev **dev, const char *name, uint64_t bytes, uint32_t block_bytes,
	struct fail *fail);

/* Stores nothing: writes succeed, reads leave the buffer as it is. For measuring. */
int null_create(struct blockdev **dev, const char *name, uint64_t bytes, uint32_t block_bytes,
	struct fail *fail);

/*
 * A file or a block device through io_uring, opened with O_DIRECT and exclusively locked. When
 * direct I/O is refused the page cache is used and *reason (FAIL_TEXT_BYTES) says why; it is empty
 * otherwise. block_bytes: 512 or 4096; -EINVAL when the device cannot do it.
 */
int uring_create(struct blockdev **dev, const char *path, uint32_t block_bytes, char *reason,
	struct fail *fail);

/*
 * Layer: holds every io back for base_ns plus a random part below jitter_ns (seeded), then passes
 * it on. Completions overtake each other as the jitter wants.
 */
int delay_create(struct blockdev **dev, struct blockdev *below, uint64_t base_ns,
	uint64_t jitter_ns, uint64_t seed, struct fail *fail);

/* Layer: misbehaves by rule. */
enum fault_kind {
	FAULT_ERROR, /* nothing is done; -EIO */
	FAULT_TORN,  /* a write: only its first half is done; -EIO */
	FAULT_LOST,  /* a write: nothing is done; success */
	FAULT_FLIP,  /* a read: done, then one bit of the first block is flipped; success */
	FAULT_KINDS,
};

struct fault_rule {
	enum fault_kind kind;
	bool reads, writes;  /* which ios it is for; writes: all that change data, and FLUSH */
	uint64_t first, end; /* blocks [first, end) */
	unsigned after;	     /* lets that many matching ios pass first */
	unsigned count;	     /* then misbehaves that often; 0: for ever */
};

enum { FAULT_RULES_MAX = 16 };

int fault_create(struct blockdev **dev, struct blockdev *below, struct fail *fail);
/* Replaces all rules at once. Any thread; ios already passed on are not affected. */
int fault_rules(
	struct blockdev *dev, const struct fault_rule *rules, unsigned count, struct fail *fail);
bool fault_is(const struct blockdev *dev);
const char *fault_kind_name(enum fault_kind kind);

#endif
