/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packed virtqueue against a driver in plain memory: every framing of chains, rings of any size
 * that go round, every hostile form of a ring, and all rings of four descriptors.
 *
 * Chains are only translated: nothing behind them is touched.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "chain_rig.h"
#include "virtio/packed.h"

enum {
	SIZE_MAX_HERE = 512,
	NEXT = VIRTQ_DESC_NEXT,
	WRITE = VIRTQ_DESC_WRITE,
	INDIRECT = VIRTQ_DESC_INDIRECT,
};

struct driver {
	struct guest_memory memory;
	struct virtq_packed_desc *ring;
	struct virtq_event events[2]; /* the driver's, the device's */
	struct virtq_position next;   /* of the next descriptor to make available */
	struct virtq_position seen;   /* of the next used one to look at */
	struct packed_queue queue;
	struct virtq_chain chain;
};

static struct driver *make_driver(uint16_t size, bool event_idx, bool indirect)
{
	struct driver *driver = calloc(1, sizeof(*driver));

	assert_non_null(driver);
	rig_make(&driver->memory);
	driver->ring = calloc(size, sizeof(driver->ring[0]));
	driver->queue = (struct packed_queue){
		.size = size,
		.event_idx = event_idx,
		.indirect = indirect,
		.ring = driver->ring,
		.driver_event = &driver->events[0],
		.device_event = &driver->events[1],
	};
	return driver;
}

static void free_driver(struct driver *driver)
{
	rig_free(&driver->memory);
	free(driver->ring);
	free(driver);
}

/* Both sides begin at a position, in a ring that has come round to it. */
static void start_at(struct driver *driver, uint16_t index, bool wrap)
{
	struct virtq_position at = {index, wrap};

	for (unsigned i = 0; i < driver->queue.size; i++)
		driver->ring[i].flags = le16_of(virtq_used_flags((i < index) == wrap));
	driver->next = driver->seen = at;
	assert_int_equal(
		packed_set_base(&driver->queue, virtq_position_code(at) * 0x10001u, NULL), 0);
	assert_int_equal(packed_base(&driver->queue), virtq_position_code(at) * 0x10001u);
}

static struct virtq_packed_desc descriptor(
	uint64_t address, uint32_t bytes, unsigned id, unsigned flags)
{
	return (struct virtq_packed_desc){
		le64_of(address), le32_of(bytes), le16_of((uint16_t)id), le16_of((uint16_t)flags)};
}

/* Writes the next descriptor of the ring, available. */
static void offer(
	struct driver *driver, uint64_t address, uint32_t bytes, unsigned id, unsigned flags)
{
	driver->ring[driver->next.index] =
		descriptor(address, bytes, id, flags | virtq_available_flags(driver->next.wrap));
	virtq_advance(&driver->next, driver->queue.size, 1);
}

static int take(struct driver *driver)
{
	struct fail fail = {0};
	struct virtq_position right = driver->queue.next_available;
	int result = packed_take(&driver->queue, &driver->memory, &driver->chain, &fail);

	if (result < 0)
		expect(fail.error == -result && fail.text[0], "no sentence for an error");
	if (result > 0)
		virtq_advance(&right, driver->queue.size, driver->chain.slots);
	expect(virtq_same_position(right, driver->queue.next_available),
		"the position did not move by what was taken");
	return result;
}

static void put(struct driver *driver, uint16_t id, uint16_t slots, bool writable, uint32_t bytes)
{
	struct virtq_chain chain = {.head = id, .slots = slots, .writable = writable};

	packed_put(&driver->queue, &chain, bytes);
}

/* Whether the driver sees a used descriptor; passes `slots` then. */
static bool see(struct driver *driver, uint16_t id, uint16_t slots)
{
	const struct virtq_packed_desc *used = &driver->ring[driver->seen.index];

	if ((le16_get(used->flags) & VIRTQ_PACKED_STATE) != virtq_used_flags(driver->seen.wrap))
		return false;
	expect(le16_get(used->id) == id, "id %u at %u, not %u", le16_get(used->id),
		driver->seen.index, id);
	virtq_advance(&driver->seen, driver->queue.size, slots);
	return true;
}

/* --- chains as drivers make them ------------------------------------------------------------- */

/* Lays buffers out in the ring, or in a table of which only WRITE counts. */
static unsigned lay_out(struct driver *driver, struct random *random,
	const struct chain_buffer *buffers, unsigned count, unsigned id)
{
	uint64_t address = RIG_TABLE + 8 * random_below(random, 256);
	struct virtq_packed_desc *table = (void *)rig_here(&driver->memory, address);

	if (!driver->queue.indirect || random_chance(random, 500)) {
		for (unsigned i = 0; i < count; i++)
			offer(driver, buffers[i].address, buffers[i].bytes,
				i + 1 < count ? 0xbad : id,
				(buffers[i].writable ? WRITE : 0u) | (i + 1 < count ? NEXT : 0u));
		return count;
	}
	for (unsigned i = 0; i < count; i++)
		table[i] = descriptor(buffers[i].address, buffers[i].bytes,
			(unsigned)random_next(random) & 0xffff,
			((unsigned)random_next(random) & 0xffff & ~(unsigned)WRITE) |
				(buffers[i].writable ? WRITE : 0u));
	/* WRITE on it means nothing: 2.8.7 */
	offer(driver, address, 16 * count, id,
		INDIRECT | (random_chance(random, 500) ? WRITE : 0u));
	return 1;
}

static void one_random_chain(struct driver *driver, struct random *random)
{
	struct chain_buffer buffers[12];
	unsigned readable = (unsigned)random_below(random, 6);
	unsigned count = readable + (unsigned)random_below(random, 6), slots;
	unsigned id = (unsigned)random_next(random) & 0xffff;

	count += !count;
	for (unsigned i = 0; i < count; i++)
		buffers[i] = rig_random_buffer(random, i >= readable);
	slots = lay_out(driver, random, buffers, count, id);
	assert_int_equal(take(driver), 1);
	assert_int_equal(driver->chain.head, id);
	assert_int_equal(driver->chain.slots, slots);
	assert_false(driver->chain.malformed);
	rig_check_segments(&driver->memory, &driver->chain, buffers, count);
	assert_int_equal(take(driver), 0);
	packed_put(&driver->queue, &driver->chain, 0);
	packed_publish(&driver->queue);
	assert_true(see(driver, (uint16_t)id, (uint16_t)slots));
}

static void test_framings(void **state)
{
	static const uint16_t sizes[] = {11, 16, 37};
	struct random random = {.state = 1};

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		struct driver *driver = make_driver(sizes[i / 2], false, i % 2);

		start_at(driver, (uint16_t)(i % sizes[i / 2]), i & 1);
		for (unsigned k = 0; k < 1500; k++)
			one_random_chain(driver, &random);
		free_driver(driver);
	}
}

/* Chains of as many segments, and of as many empty ones, as there is room for. */
static int take_long_chain(uint16_t size, unsigned count, uint32_t bytes, bool in_table)
{
	struct driver *driver = make_driver(size, false, true);
	struct virtq_packed_desc *table = (void *)rig_here(&driver->memory, B);
	int result;

	start_at(driver, 0, true);
	for (unsigned i = 0; i < count; i++) {
		if (in_table)
			table[i] = descriptor(C, bytes, 0, 0);
		else
			offer(driver, C, bytes, 1, i + 1 < count ? NEXT : 0);
	}
	if (in_table)
		offer(driver, B, 16 * count, 1, INDIRECT);
	result = take(driver);
	if (result == 1)
		assert_int_equal(driver->chain.readable, bytes ? count : 0);
	free_driver(driver);
	return result;
}

static void test_longest(void **state)
{
	(void)state;
	for (unsigned in_table = 0; in_table < 2; in_table++) {
		uint16_t size = in_table ? 1 : 500;

		assert_int_equal(take_long_chain(size, CHAIN_SEGMENTS_MAX, 8, in_table), 1);
		assert_true(take_long_chain(size, CHAIN_SEGMENTS_MAX + 1, 8, in_table) < 0);
		assert_int_equal(take_long_chain(size, PACKED_CHAIN_MAX, 0, in_table), 1);
		assert_true(take_long_chain(size, PACKED_CHAIN_MAX + 1, 0, in_table) < 0);
	}
	/* All of a ring, and not one more. */
	assert_int_equal(take_long_chain(100, 100, 8, false), 1);
}

/* --- used descriptors and notifications ------------------------------------------------------ */

/* Whether one of the steps from before to after leaves `event`, counted one by one. */
static bool event_passed(uint16_t size, struct virtq_position event, struct virtq_position before,
	struct virtq_position after)
{
	for (struct virtq_position at = before; !virtq_same_position(at, after);
		virtq_advance(&at, size, 1))
		if (virtq_same_position(at, event))
			return true;
	return false;
}

/* A batch of chains of one to three descriptors, answered in another order. */
static void one_batch(struct driver *driver, struct random *random)
{
	uint16_t size = driver->queue.size, ids[SIZE_MAX_HERE], slots[SIZE_MAX_HERE];
	uint16_t count = 0, left = (uint16_t)(1 + random_below(random, size));
	struct virtq_position before = driver->queue.published_used;
	struct virtq_position event = {
		(uint16_t)random_below(random, size), random_next(random) & 1};
	uint32_t flags = (uint32_t)random_below(random, 4);
	bool wanted = flags != VIRTQ_EVENT_DISABLE, notify;

	for (; left; count++) {
		ids[count] = (uint16_t)random_next(random);
		slots[count] = (uint16_t)(1 + random_below(random, left < 3 ? left : 3));
		left -= slots[count];
		for (unsigned i = 0; i < slots[count]; i++)
			offer(driver, A, 16, ids[count], i + 1u < slots[count] ? NEXT : WRITE);
	}
	virtq_event_store(&driver->events[0], flags, event);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(take(driver), 1);
		assert_int_equal(driver->chain.slots, slots[i]);
	}
	assert_int_equal(take(driver), 0);
	for (unsigned i = 0; i < count; i++)
		put(driver, ids[count - 1 - i], slots[count - 1 - i], i % 2, i);
	/* Nothing is seen before it is published. */
	assert_false(see(driver, 0, 0));
	notify = packed_publish(&driver->queue);
	if (flags == VIRTQ_EVENT_DESC && driver->queue.event_idx)
		wanted = event_passed(size, event, before, driver->queue.published_used);
	expect(notify == wanted, "size %u, %u to %u, flags %u of %u: notify %d", size, before.index,
		driver->queue.published_used.index, flags, event.index, notify);
	for (unsigned i = 0; i < count; i++) {
		const struct virtq_packed_desc *used = &driver->ring[driver->seen.index];

		assert_int_equal(le32_get(used->bytes), i);
		assert_int_equal(le16_get(used->flags) & WRITE, i % 2 ? WRITE : 0);
		assert_true(see(driver, ids[count - 1 - i], slots[count - 1 - i]));
	}
	assert_false(see(driver, 0, 0));
	assert_false(packed_publish(&driver->queue));
}

static void test_notifications(void **state)
{
	static const uint16_t sizes[] = {1, 2, 3, 4, 7, 100, 256, SIZE_MAX_HERE};
	struct random random = {.state = 4};

	(void)state;
	for (unsigned i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct driver *driver = make_driver(sizes[i / 2], i % 2, false);

		start_at(driver, (uint16_t)(sizes[i / 2] - 1), i % 3 == 0);
		for (unsigned batch = 0; batch < 1000; batch++)
			one_batch(driver, &random);
		free_driver(driver);
	}
}

static void test_wishes(void **state)
{
	(void)state;
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		struct driver *driver = make_driver(3, event_idx, false);
		const struct virtq_event *wish = &driver->events[1];

		start_at(driver, 2, false);
		for (unsigned round = 0; round < 12; round++) {
			packed_refuse_notification(&driver->queue);
			assert_int_equal(le16_get(wish->flags), VIRTQ_EVENT_DISABLE);
			assert_true(packed_want_notification(&driver->queue));
			assert_int_equal(le16_get(wish->flags),
				event_idx ? VIRTQ_EVENT_DESC : VIRTQ_EVENT_ENABLE);
			if (event_idx)
				assert_int_equal(le16_get(wish->position),
					virtq_position_code(driver->next));
			offer(driver, A, 1, 5, 0);
			assert_false(packed_want_notification(&driver->queue));
			assert_int_equal(take(driver), 1);
			packed_put(&driver->queue, &driver->chain, 0);
			packed_publish(&driver->queue);
		}
		free_driver(driver);
	}
}

static void test_base(void **state)
{
	struct driver *driver = make_driver(10, false, false);
	struct packed_queue *queue = &driver->queue;

	(void)state;
	for (unsigned code = 0; code < 1u << 16; code++) {
		bool good = (code & 0x7fff) < 10;

		driver->ring[3].flags = le16_of(VIRTQ_PACKED_USED); /* not new */
		expect((packed_set_base(queue, code | code << 16, NULL) == 0) == good, "%x", code);
		expect(!good || packed_base(queue) == (code | code << 16), "%x", code);
		/* As far as the ring is long, and no farther: 4 to 9 of the other round. */
		good = code == (4 | 0x8000) || (code > 0x8004 && code < 0x800a) || code < 5;
		expect((packed_set_base(queue, code | 0x80040000, NULL) == 0) == good, "%x", code);
	}
	driver->ring[3].flags = le16_of(VIRTQ_PACKED_AVAIL);
	assert_int_equal(packed_set_base(queue, 0, NULL), 0);
	assert_int_equal(packed_base(queue), 0x80008000);
	free_driver(driver);
}

/* What an earlier life left: used descriptors behind a first one that was not published. */
static void test_retract(void **state)
{
	struct driver *driver = make_driver(5, false, false);

	(void)state;
	start_at(driver, 3, true);
	for (unsigned i = 0; i < 4; i++)
		offer(driver, A, 1, i, 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(take(driver), 1);
	for (uint16_t i = 0; i < 3; i++)
		put(driver, i, 1, true, 0);
	/* Killed here; the ring stands where it stood. */
	driver->queue.next_used = driver->queue.published_used;
	packed_retract(&driver->queue);
	/* 3 is answered first, then nothing. */
	put(driver, 3, 1, true, 0);
	packed_publish(&driver->queue);
	assert_true(see(driver, 3, 1));
	assert_false(see(driver, 0, 1));
	/* What the driver made available of the next round is not touched. */
	assert_true(packed_was_published(&driver->queue, (struct virtq_position){3, true}));
	offer(driver, A, 1, 9, 0);
	offer(driver, A, 1, 3, 0);
	assert_true(packed_was_published(&driver->queue, (struct virtq_position){3, true}));
	assert_false(packed_was_published(&driver->queue, (struct virtq_position){4, true}));
	packed_retract(&driver->queue);
	assert_int_equal(take(driver), 1);
	assert_int_equal(driver->chain.head, 9);
	assert_int_equal(take(driver), 1);
	assert_int_equal(driver->chain.head, 3);
	free_driver(driver);
}

/* --- hostile rings --------------------------------------------------------------------------- */

enum { GOOD = VIRTQ_PACKED_AVAIL, OLD = VIRTQ_PACKED_USED, BOTH = GOOD | OLD };

/* One ring of 4, in a round whose counter is 1, and a table of two at A. */
/* clang-format off */
static const struct hostile {
	const char *what;
	struct {
		uint64_t address;
		uint32_t bytes;
		uint16_t flags;
	} ring[4], table[2];
	int result;
} hostile[] = {
	{"a good one", {{C, 16, GOOD | NEXT}, {C, 1, GOOD | WRITE}}, {{0}}, 1},
	{"none", {{C, 16, 0}}, {{0}}, 0},
	{"of the last round", {{C, 16, OLD}}, {{0}}, 0},
	{"used", {{C, 16, BOTH}}, {{0}}, 0},
	{"the second is not there", {{C, 16, GOOD | NEXT}, {C, 1, WRITE}}, {{0}}, -EINVAL},
	{"the second is old", {{C, 16, GOOD | NEXT}, {C, 1, OLD | WRITE}}, {{0}}, -EINVAL},
	{"the second is used", {{C, 16, GOOD | NEXT}, {C, 1, BOTH | WRITE}}, {{0}}, -EINVAL},
	{"the third is used", {{C, 16, GOOD | NEXT}, {C, 1, GOOD | NEXT}, {C, 1, BOTH}}, {{0}}, -EINVAL},
	{"no end", {{C, 1, GOOD | NEXT}, {C, 1, GOOD | NEXT}, {C, 1, GOOD | NEXT},
		{C, 1, GOOD | NEXT}}, {{0}}, -ELOOP},
	{"all of the ring", {{C, 1, GOOD | NEXT}, {C, 1, GOOD | NEXT}, {C, 1, GOOD | NEXT},
		{C, 1, GOOD}}, {{0}}, 1},
	{"an address in no region", {{0x30000, 1, GOOD}}, {{0}}, -EFAULT},
	{"over the end of a region", {{C + C_BYTES - 1, 2, GOOD}}, {{0}}, -EFAULT},
	{"all of two regions", {{A, A_BYTES + B_BYTES, GOOD}}, {{0}}, 1},
	{"round the address space", {{0ull - 0x1000, 0x12000, GOOD}}, {{0}}, -EFAULT},
	{"the longest length", {{A, UINT32_MAX, GOOD}}, {{0}}, -EFAULT},
	{"no length, a bad address", {{0x30000, 0, GOOD | NEXT}, {C, 1, GOOD | WRITE}}, {{0}}, 1},
	{"indirect", {{A, 32, GOOD | INDIRECT}}, {{C, 16, 0}, {C, 1, WRITE}}, 1},
	{"indirect and next", {{A, 32, GOOD | INDIRECT | NEXT}, {C, 1, GOOD}}, {{C, 1, 0}}, -EINVAL},
	{"indirect behind a direct one", {{C, 1, GOOD | NEXT}, {A, 32, GOOD | INDIRECT}},
		{{C, 1, 0}}, -EINVAL},
	{"flags in a table", {{A, 32, GOOD | INDIRECT}}, {{C, 1, 0xfffd}, {C, 1, 0xffff}}, 1},
	{"an empty table", {{A, 0, GOOD | INDIRECT}}, {{C, 1, 0}}, -EINVAL},
	{"a table cut short", {{A, 31, GOOD | INDIRECT}}, {{C, 1, 0}}, -EINVAL},
	{"a table of 65536 entries", {{A, 16 << 16, GOOD | INDIRECT}}, {{C, 1, 0}}, -EINVAL},
	{"a table of 2^28 entries", {{A, 0xfffffff0, GOOD | INDIRECT}}, {{C, 1, 0}}, -EINVAL},
	{"a table in no region", {{0x30000, 16, GOOD | INDIRECT}}, {{C, 1, 0}}, -EFAULT},
	{"a table over a seam", {{B - 16, 32, GOOD | INDIRECT}}, {{C, 1, 0}}, -EFAULT},
	{"a table over the end", {{C + C_BYTES - 16, 32, GOOD | INDIRECT}}, {{0}}, -EFAULT},
	{"a table at an odd place", {{A + 4, 16, GOOD | INDIRECT}}, {{0}}, -EFAULT},
	{"a bad address in a table", {{A, 32, GOOD | INDIRECT}}, {{C, 1, 0}, {0x30000, 1, 0}}, -EFAULT},
	{"unknown flags", {{C, 16, GOOD | 0x7f78}}, {{0}}, 1},
};
/* clang-format on */

static void check_hostile(const struct hostile *row, bool indirect)
{
	struct driver *driver = make_driver(4, true, indirect);
	struct virtq_packed_desc *table = (void *)rig_here(&driver->memory, A), before[4];
	bool met = (row->ring[0].flags | row->ring[1].flags) & INDIRECT;
	int right = met && !indirect ? -EINVAL : row->result, result;

	for (unsigned i = 0; i < 4; i++)
		driver->ring[i] =
			descriptor(row->ring[i].address, row->ring[i].bytes, i, row->ring[i].flags);
	for (unsigned i = 0; i < 2; i++)
		table[i] = descriptor(
			row->table[i].address, row->table[i].bytes, 0, row->table[i].flags);
	memcpy(before, driver->ring, sizeof(before));
	assert_int_equal(packed_set_base(&driver->queue, 0x80008000, NULL), 0);
	result = take(driver);
	expect(result == right, "%s: %d", row->what, result);
	/* Nothing is ever written by taking. */
	assert_memory_equal(before, driver->ring, sizeof(before));
	free_driver(driver);
}

static void test_hostile(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		check_hostile(&hostile[i], true);
		check_hostile(&hostile[i], false);
	}
}

/* A driver that goes on before anything is used: the ring holds no more than it has. */
static void test_too_many(void **state)
{
	(void)state;
	for (unsigned put_some = 0; put_some < 2; put_some++) {
		struct driver *driver = make_driver(4, false, false);

		start_at(driver, 1, true);
		for (unsigned i = 0; i < 4; i++) {
			offer(driver, C, 1, i, 0);
			assert_int_equal(take(driver), 1);
		}
		if (put_some)
			put(driver, 0, 1, false, 0); /* the driver has not been told */
		offer(driver, C, 1, 4, 0);
		assert_int_equal(take(driver), -EINVAL);
		free_driver(driver);
	}
	for (unsigned used = 0; used < 4; used++) { /* and a chain no more than is left */
		struct driver *driver = make_driver(4, false, false);

		start_at(driver, 1, true);
		for (unsigned i = 0; i < 3; i++)
			offer(driver, C, 1, i, i < 2 ? NEXT : 0);
		assert_int_equal(take(driver), 1);
		if (used > 0)
			put(driver, 0, 3, false, 0);
		if (used > 1)
			packed_publish(&driver->queue);
		offer(driver, C, 1, 4, NEXT);
		offer(driver, C, 1, 4, 0);
		assert_int_equal(take(driver), used > 1 ? 1 : -ELOOP);
		free_driver(driver);
	}
}

/* --- all rings of four ----------------------------------------------------------------------- */

enum { FOUR = 4, CHOICES = 32 }; /* of a descriptor: eight flags, four states */

/* What each descriptor refers to: a plain buffer, or a table of a kind of its own. */
static const struct {
	uint64_t address;
	uint32_t bytes;
	bool good_table;
} place[FOUR] = {
	{A, 32, true},		/* entry 0, writable, then entry 1, readable */
	{A + 0x100, 16, false}, /* of an address that is nowhere */
	{A + 0x200, 0, false},	/* empty */
	{A + 0x300, 17, false}, /* no table at all */
};

static unsigned flags_of(unsigned choice)
{
	return choice % 8 | (choice & 8 ? VIRTQ_PACKED_AVAIL : 0u) |
	       (choice & 16 ? VIRTQ_PACKED_USED : 0u);
}

/* The chain by the book: 1, 0, or -1 for nonsense. */
static int by_the_book(const unsigned *choice, struct virtq_position at, struct virtq_chain *right)
{
	*right = (struct virtq_chain){0};
	while (right->slots < FOUR) {
		unsigned flags = flags_of(choice[at.index]), i = at.index;
		bool writable = flags & WRITE, table = flags & INDIRECT;

		if (!(flags & VIRTQ_PACKED_AVAIL) != !at.wrap ||
			!(flags & VIRTQ_PACKED_USED) == !at.wrap)
			return right->slots ? -1 : 0;
		right->slots++;
		if (table && (right->slots > 1 || flags & NEXT || !place[i].good_table))
			return -1;
		right->malformed |= table || (!writable && right->writable);
		right->readable += table || (!writable && place[i].bytes);
		right->writable += table || (writable && place[i].bytes);
		right->readable_bytes += table ? 3 : writable ? 0 : place[i].bytes;
		right->writable_bytes += table ? 5 : writable ? place[i].bytes : 0;
		if (!(flags & NEXT))
			return 1;
		virtq_advance(&at, FOUR, 1);
	}
	return -1;
}

static void check_ring_of_four(struct driver *driver, const unsigned *choice)
{
	for (unsigned begin = 0; begin < 2 * FOUR; begin++) {
		struct virtq_position at = {begin % FOUR, begin / FOUR};
		const struct virtq_chain *chain = &driver->chain;
		struct virtq_chain right;
		int verdict = by_the_book(choice, at, &right), result;

		driver->queue.next_available = driver->queue.next_used =
			driver->queue.published_used = at;
		result = packed_take(&driver->queue, &driver->memory, &driver->chain, NULL);
		expect((result > 0) == (verdict > 0) && (result < 0) == (verdict < 0),
			"begin %u, choices %u %u %u %u: %d", begin, choice[0], choice[1], choice[2],
			choice[3], result);
		if (result == 1)
			expect(chain->malformed == right.malformed && chain->slots == right.slots &&
					chain->readable == right.readable &&
					chain->writable == right.writable &&
					chain->readable_bytes == right.readable_bytes &&
					chain->writable_bytes == right.writable_bytes,
				"begin %u, choices %u %u %u %u: another chain", begin, choice[0],
				choice[1], choice[2], choice[3]);
	}
}

static void test_all_rings_of_four(void **state)
{
	struct driver *driver = make_driver(FOUR, false, true);
	struct virtq_packed_desc *table = (void *)rig_here(&driver->memory, A);
	unsigned choice[FOUR];

	(void)state;
	table[0] = descriptor(C, 5, 0, WRITE);
	table[1] = descriptor(C + 64, 3, 0, 0);
	table[0x10] = descriptor(0x30000, 1, 0, 0);
	for (unsigned ring = 0; ring < CHOICES * CHOICES * CHOICES * CHOICES; ring++) {
		for (unsigned i = 0, rest = ring; i < FOUR; i++, rest /= CHOICES) {
			choice[i] = rest % CHOICES;
			driver->ring[i] = descriptor(
				place[i].address, place[i].bytes, i, flags_of(choice[i]));
		}
		check_ring_of_four(driver, choice);
	}
	free_driver(driver);
}

/* --- a driver that changes the ring under us ------------------------------------------------- */

static atomic_bool enough;

static void *scribble(void *argument)
{
	struct driver *driver = argument;
	struct random random = {.state = 5};

	while (!atomic_load(&enough)) {
		static const uint64_t addresses[] = {A, B - 32, C, C + C_BYTES - 16, 0x30000};
		struct virtq_packed_desc bad = descriptor(addresses[random_below(&random, 5)],
			16 * (uint32_t)random_below(&random, 6), (unsigned)random_below(&random, 6),
			flags_of((unsigned)random_below(&random, 32)));
		unsigned at = (unsigned)random_below(&random, 8);
		struct virtq_packed_desc *table = (void *)rig_here(&driver->memory, A);
		struct virtq_packed_desc *to = at < 4 ? &driver->ring[at] : &table[at - 4];
		uint64_t words[2];

		memcpy(words, &bad, sizeof(words));
		__atomic_store_n((uint64_t *)to, words[0], __ATOMIC_RELAXED);
		__atomic_store_n((uint64_t *)to + 1, words[1], __ATOMIC_RELAXED);
	}
	return NULL;
}

static void test_scribbling_driver(void **state)
{
	struct driver *driver = make_driver(4, false, true);
	unsigned taken = 0, refused = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, scribble, driver), 0);
	for (unsigned i = 0; i < 1000000 || !taken || !refused; i++) {
		struct virtq_position at = {i % 4, i & 4};
		struct fail fail;
		int result;

		driver->queue.next_available = driver->queue.next_used =
			driver->queue.published_used = at;
		result = packed_take(&driver->queue, &driver->memory, &driver->chain, &fail);
		refused += result < 0;
		if (result <= 0)
			continue;
		taken++;
		assert_in_range(driver->chain.slots, 1, 4);
		rig_check_sound(&driver->memory, &driver->chain);
	}
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	free_driver(driver);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_framings),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_notifications),
		cmocka_unit_test(test_wishes),
		cmocka_unit_test(test_base),
		cmocka_unit_test(test_retract),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_all_rings_of_four),
		cmocka_unit_test(test_scribbling_driver),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
