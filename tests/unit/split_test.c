/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split virtqueue against a driver in plain memory: every framing of chains, indexes that wrap,
 * every hostile form of a ring, and all rings of four descriptors.
 * Chains are only translated: nothing behind them is touched.
 */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "base/random.h"
#include "chain_rig.h"
#include "virtio/split.h"

enum {
	SIZE_MAX_HERE = 512,
	NEXT = VIRTQ_DESC_NEXT,
	WRITE = VIRTQ_DESC_WRITE,
	INDIRECT = VIRTQ_DESC_INDIRECT,
};

struct driver {
	struct guest_memory memory;
	struct virtq_desc *descriptors;
	struct virtq_avail *available;
	struct virtq_used *used;
	uint16_t index; /* of the next available entry */
	uint16_t seen;	/* used elements that the driver has taken */
	struct split_queue queue;
	struct virtq_chain chain;
};

static struct driver *make_driver(uint16_t size, bool event_idx, bool indirect)
{
	struct driver *driver = calloc(1, sizeof(*driver));

	assert_non_null(driver);
	rig_make(&driver->memory);
	driver->descriptors = calloc(1, virtq_desc_bytes(size));
	driver->available = calloc(1, virtq_avail_bytes(size));
	driver->used = calloc(1, virtq_used_bytes(size));
	driver->queue = (struct split_queue){
		.size = size,
		.event_idx = event_idx,
		.indirect = indirect,
		.descriptors = driver->descriptors,
		.available = driver->available,
		.used = driver->used,
	};
	return driver;
}

static void free_driver(struct driver *driver)
{
	rig_free(&driver->memory);
	free(driver->descriptors);
	free(driver->available);
	free(driver->used);
	free(driver);
}

/* Both sides begin at an index. */
static void start_at(struct driver *driver, uint16_t index)
{
	driver->index = driver->seen = index;
	driver->queue.next_available = driver->queue.next_used = driver->queue.published_used =
		index;
	driver->available->index = driver->used->index = le16_of(index);
}

static struct virtq_desc descriptor(uint64_t address, uint32_t bytes, unsigned flags, unsigned next)
{
	return (struct virtq_desc){le64_of(address), le32_of(bytes), le16_of((uint16_t)flags),
		le16_of((uint16_t)next)};
}

static void offer(struct driver *driver, uint16_t head)
{
	driver->available->ring[driver->index++ % driver->queue.size] = le16_of(head);
	driver->available->index = le16_of(driver->index);
}

static int take(struct driver *driver)
{
	struct fail fail = {0};
	uint16_t before = driver->queue.next_available;
	int result = split_take(&driver->queue, &driver->memory, &driver->chain, &fail);

	if (result < 0) {
		expect(fail.error == -result && fail.text[0], "no sentence for an error");
		expect(driver->queue.next_available == before, "a broken chain was taken");
	} else {
		expect(driver->queue.next_available == (uint16_t)(before + result),
			"the index did not move by what was taken");
	}
	return result;
}

/* --- chains as drivers make them ------------------------------------------------------------- */

/* Lays buffers out as a chain: the first `direct` in the ring's table, the rest in an indirect one,
 * entries in shuffled places. Returns the head. */
static uint16_t lay_out(struct driver *driver, struct random *random,
	const struct chain_buffer *buffers, unsigned count, unsigned direct)
{
	struct virtq_desc *table = driver->descriptors;
	unsigned in_ring = direct + (direct < count), size = driver->queue.size, places[64];
	uint64_t table_address = A + A_BYTES - 0x4000 + 8 * random_below(random, 256);
	unsigned rest = count - direct;

	for (unsigned i = 0; i < in_ring; i++) {
		bool taken = true;

		while (taken) {
			places[i] = (unsigned)random_below(random, size);
			taken = false;
			for (unsigned j = 0; j < i; j++)
				taken |= places[j] == places[i];
		}
	}
	for (unsigned i = 0; i < direct; i++) {
		bool last = i + 1 == in_ring;

		table[places[i]] = descriptor(buffers[i].address, buffers[i].bytes,
			(buffers[i].writable ? WRITE : 0) | (last ? 0 : NEXT),
			last ? 0xffff : places[i + 1]);
	}
	if (rest) {
		struct virtq_desc *indirect =
			(struct virtq_desc *)rig_here(&driver->memory, table_address);

		/* WRITE on it means nothing: 2.7.5.3.2 */
		table[places[direct]] = descriptor(table_address, 16 * rest,
			INDIRECT | (random_chance(random, 500) ? WRITE : 0), 0xffff);
		for (unsigned i = 0; i < rest; i++) {
			const struct chain_buffer *buffer = &buffers[direct + i];
			/* Forwards and backwards, the first entry in the first place. */
			unsigned place = i && count % 2 ? rest - i : i;
			unsigned next = count % 2 ? rest - i - 1 : i + 1;

			indirect[place] = descriptor(buffer->address, buffer->bytes,
				(buffer->writable ? WRITE : 0) | (i + 1 < rest ? NEXT : 0), next);
		}
	}
	return (uint16_t)places[0];
}

static void one_random_chain(struct driver *driver, struct random *random)
{
	struct chain_buffer buffers[12];
	unsigned readable = (unsigned)random_below(random, 6);
	unsigned count = readable + (unsigned)random_below(random, 6);
	unsigned direct;
	uint16_t head;

	count += !count;
	for (unsigned i = 0; i < count; i++)
		buffers[i] = rig_random_buffer(random, i >= readable);
	direct = driver->queue.indirect ? (unsigned)random_below(random, count + 1) : count;
	if (direct + 1 > driver->queue.size)
		direct = driver->queue.indirect ? driver->queue.size - 1u : count;
	head = lay_out(driver, random, buffers, count, direct);
	offer(driver, head);
	assert_int_equal(take(driver), 1);
	assert_int_equal(driver->chain.head, head);
	assert_false(driver->chain.malformed);
	rig_check_segments(&driver->memory, &driver->chain, buffers, count);
	assert_int_equal(take(driver), 0);
}

static void test_framings(void **state)
{
	struct random random = {.state = 1};

	(void)state;
	for (unsigned indirect = 0; indirect < 2; indirect++) {
		struct driver *driver = make_driver(16, false, indirect);

		start_at(driver, 0xff00);
		for (unsigned i = 0; i < 3000; i++)
			one_random_chain(driver, &random);
		free_driver(driver);
	}
}

/* Readable behind writable is told, and still sorted. */
static void test_malformed_order(void **state)
{
	struct driver *driver = make_driver(8, false, false);
	struct chain_buffer buffers[] = {
		{A, 16, false}, {A + 64, 8, true}, {A + 128, 4, false}, {C, 1, true}};
	struct random random = {.state = 2};

	(void)state;
	offer(driver, lay_out(driver, &random, buffers, 4, 4));
	assert_int_equal(take(driver), 1);
	assert_true(driver->chain.malformed);
	rig_check_segments(&driver->memory, &driver->chain, buffers, 4);
	free_driver(driver);
}

/* Chains of as many segments as there is room for. indirect: the last `indirect` of them. */
static int take_long_chain(uint16_t size, unsigned segments, unsigned indirect)
{
	struct driver *driver = make_driver(size, false, true);
	struct virtq_desc *table = (struct virtq_desc *)rig_here(&driver->memory, C);
	unsigned direct = segments - indirect;
	int result;

	for (unsigned i = 0; i < direct; i++)
		driver->descriptors[i] =
			descriptor(A + 8 * i, 8, i + 1 < segments ? NEXT : 0, i + 1);
	if (indirect)
		driver->descriptors[direct] = descriptor(C, 16 * indirect, INDIRECT, 0);
	for (unsigned i = 0; i < indirect; i++)
		table[i] = descriptor(B + 8 * i, 8, WRITE | (i + 1 < indirect ? NEXT : 0), i + 1);
	offer(driver, 0);
	result = take(driver);
	if (result == 1)
		assert_int_equal(driver->chain.readable + driver->chain.writable, segments);
	free_driver(driver);
	return result;
}

static void test_longest(void **state)
{
	(void)state;
	assert_int_equal(take_long_chain(256, CHAIN_SEGMENTS_MAX, 0), 1);
	assert_int_equal(take_long_chain(256, CHAIN_SEGMENTS_MAX + 1, 0), -EINVAL);
	assert_int_equal(take_long_chain(256, CHAIN_SEGMENTS_MAX, CHAIN_SEGMENTS_MAX), 1);
	assert_int_equal(take_long_chain(256, CHAIN_SEGMENTS_MAX + 1, CHAIN_SEGMENTS_MAX), -EINVAL);
	assert_int_equal(take_long_chain(256, CHAIN_SEGMENTS_MAX, 100), 1);
	/* An indirect table may be longer than the ring. */
	assert_int_equal(take_long_chain(4, 130, 130), 1);
	assert_int_equal(take_long_chain(4, CHAIN_SEGMENTS_MAX - 1, CHAIN_SEGMENTS_MAX - 1), 1);
	assert_true(take_long_chain(4, CHAIN_SEGMENTS_MAX + 1, CHAIN_SEGMENTS_MAX + 1) < 0);
}

/* --- used elements, notifications and indexes that wrap -------------------------------------- */

/* Whether one of the steps from before to after leaves `event`, counted one by one. */
static bool event_passed(uint16_t event, uint16_t after, uint16_t before)
{
	for (uint16_t at = before; at != after; at++)
		if (at == event)
			return true;
	return false;
}

static void test_event_passed(void **state)
{
	struct random random = {.state = 3};

	(void)state;
	for (unsigned before = 0xfff0; before < 0x10010; before++)
		for (unsigned after = before; after < 0x10020; after++)
			for (unsigned event = 0xffe0; event < 0x10030; event++)
				expect(virtq_event_passed((uint16_t)event, (uint16_t)after,
					       (uint16_t)before) == event_passed((uint16_t)event,
									    (uint16_t)after,
									    (uint16_t)before),
					"event %x, %x to %x", event, before, after);
	for (unsigned i = 0; i < 2000; i++) {
		uint16_t event = (uint16_t)random_next(&random),
			 before = (uint16_t)random_next(&random);
		uint16_t after = (uint16_t)random_next(&random);

		expect(virtq_event_passed(event, after, before) ==
				event_passed(event, after, before),
			"event %x, %x to %x", event, before, after);
	}
}

static le16 *used_event(struct driver *driver)
{
	return &driver->available->ring[driver->queue.size];
}

static uint16_t available_event(const struct driver *driver)
{
	return le16_get(*(const le16 *)&driver->used->ring[driver->queue.size]);
}

/* The driver looks at what is used. */
static void check_used(struct driver *driver, const uint16_t *heads, unsigned count)
{
	assert_int_equal(le16_get(driver->used->index), (uint16_t)(driver->seen + count));
	for (unsigned i = 0; i < count; i++) {
		const struct virtq_used_element *element =
			&driver->used->ring[driver->seen++ % driver->queue.size];

		expect(le32_get(element->head) == heads[i] &&
				le32_get(element->bytes) == heads[i] * 3u,
			"a used element is wrong");
	}
}

/* A batch of chains through the ring; what the driver wants to hear comes from the seed. */
static void one_batch(struct driver *driver, struct random *random)
{
	unsigned size = driver->queue.size, count = 1 + (unsigned)random_below(random, size);
	uint16_t before = driver->queue.published_used;
	uint16_t event = (uint16_t)(before - 3 + random_below(random, size + 6));
	bool silent = random_chance(random, 500), notify;
	uint16_t heads[SIZE_MAX_HERE];

	for (unsigned i = 0; i < count; i++) {
		heads[i] = (uint16_t)random_below(random, size);
		driver->descriptors[heads[i]] = descriptor(A, 16, 0, 0);
		offer(driver, heads[i]);
	}
	*used_event(driver) = le16_of(event);
	driver->available->flags = le16_of(silent ? VIRTQ_AVAIL_NO_INTERRUPT : 0);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(take(driver), 1);
		assert_int_equal(driver->chain.head, heads[i]);
		split_put(&driver->queue, heads[i], heads[i] * 3u);
	}
	assert_int_equal(take(driver), 0);
	/* Nothing is seen before it is published. */
	assert_int_equal(le16_get(driver->used->index), before);
	notify = split_publish(&driver->queue);
	expect(notify == (driver->queue.event_idx
					 ? event_passed(event, driver->queue.next_used, before)
					 : !silent),
		"used %u to %u, event %u, silent %d: notify %d", before, driver->queue.next_used,
		event, silent, notify);
	check_used(driver, heads, count);
	assert_false(split_publish(&driver->queue));
}

static void test_notifications(void **state)
{
	static const uint16_t sizes[] = {1, 2, 4, 256, SIZE_MAX_HERE};
	struct random random = {.state = 4};

	(void)state;
	for (unsigned i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct driver *driver = make_driver(sizes[i / 2], i % 2, false);

		start_at(driver, (uint16_t)(0x10000 - 2 * sizes[i / 2]));
		/* The large rings go round the 16 bits, the small ones over the edge. */
		for (unsigned batch = 0; batch < 1500; batch++)
			one_batch(driver, &random);
		free_driver(driver);
	}
}

static void test_wishes(void **state)
{
	(void)state;
	for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
		struct driver *driver = make_driver(4, event_idx, false);

		driver->descriptors[0] = descriptor(A, 1, 0, 0);
		start_at(driver, 0xfffe);
		for (unsigned round = 0; round < 8; round++) {
			split_refuse_notification(&driver->queue);
			assert_int_equal(le16_get(driver->used->flags),
				event_idx ? 0 : VIRTQ_USED_NO_NOTIFY);
			assert_true(split_want_notification(&driver->queue));
			assert_int_equal(le16_get(driver->used->flags), 0);
			if (event_idx)
				assert_int_equal(available_event(driver), driver->index);
			offer(driver, 0);
			assert_false(split_want_notification(&driver->queue));
			assert_int_equal(take(driver), 1);
		}
		free_driver(driver);
	}
}

/* --- hostile rings --------------------------------------------------------------------------- */

/* One ring of 4: descriptors 0 and 1, and an indirect table at A that begins with two more. */
/* clang-format off */
static const struct hostile {
	const char *what;
	uint16_t head, jump; /* jump: how far the available index moves */
	struct {
		uint64_t address;
		uint32_t bytes;
		uint16_t flags, next;
	} ring[2], table[2];
	int result;
} hostile[] = {
	{"a good one", 0, 1, {{C, 16, NEXT, 1}, {C, 1, WRITE, 9}}, {{0}}, 1},
	{"a descriptor that follows itself", 0, 1, {{C, 16, NEXT, 0}}, {{0}}, -1},
	{"two that follow each other", 0, 1, {{C, 0, NEXT, 1}, {C, 0, NEXT, 0}}, {{0}}, -ELOOP},
	{"next beyond the ring", 0, 1, {{C, 16, NEXT, 4}}, {{0}}, -EINVAL},
	{"next far beyond the ring", 0, 1, {{C, 16, NEXT, 0xffff}}, {{0}}, -EINVAL},
	{"head beyond the ring", 4, 1, {{C, 16, 0, 0}}, {{0}}, -EINVAL},
	{"head far beyond the ring", 0xffff, 1, {{C, 16, 0, 0}}, {{0}}, -EINVAL},
	{"the index jumps", 0, 5, {{C, 16, 0, 0}}, {{0}}, -EINVAL},
	{"the index goes back", 0, 0xffff, {{C, 16, 0, 0}}, {{0}}, -EINVAL},
	{"as many as the ring holds", 0, 4, {{C, 16, 0, 0}}, {{0}}, 1},
	{"an address in no region", 0, 1, {{0x30000, 1, 0, 0}}, {{0}}, -EFAULT},
	{"address 0", 0, 1, {{0, 1, 0, 0}}, {{0}}, -EFAULT},
	{"behind the last byte", 0, 1, {{C + C_BYTES, 1, 0, 0}}, {{0}}, -EFAULT},
	{"the last byte", 0, 1, {{C + C_BYTES - 1, 1, 0, 0}}, {{0}}, 1},
	{"over the end of a region", 0, 1, {{C + C_BYTES - 1, 2, 0, 0}}, {{0}}, -EFAULT},
	{"over the end of the last of two", 0, 1, {{B - 1, B_BYTES + 2, 0, 0}}, {{0}}, -EFAULT},
	{"all of two", 0, 1, {{A, A_BYTES + B_BYTES, 0, 0}}, {{0}}, 1},
	{"over the end of the address space", 0, 1, {{UINT64_MAX, 2, 0, 0}}, {{0}}, -EFAULT},
	{"round the address space", 0, 1, {{0ull - 0x1000, 0x12000, 0, 0}}, {{0}}, -EFAULT},
	{"the longest length", 0, 1, {{A, UINT32_MAX, 0, 0}}, {{0}}, -EFAULT},
	{"no length, a bad address", 0, 1, {{0x30000, 0, NEXT, 1}, {C, 1, WRITE, 0}}, {{0}}, 1},
	{"indirect", 0, 1, {{A, 32, INDIRECT, 0}}, {{C, 16, NEXT, 1}, {C, 1, WRITE, 0}}, 1},
	{"indirect and next", 0, 1, {{A, 32, INDIRECT | NEXT, 1}, {C, 1, 0, 0}},
		{{C, 1, 0, 0}}, -EINVAL},
	{"indirect in indirect", 0, 1, {{A, 32, INDIRECT, 0}}, {{A, 32, INDIRECT, 0}}, -EINVAL},
	{"indirect behind entries of indirect", 0, 1, {{A, 32, INDIRECT, 0}},
		{{C, 1, NEXT, 1}, {A, 32, INDIRECT, 0}}, -EINVAL},
	{"indirect behind a direct one", 0, 1, {{C, 16, NEXT, 1}, {A, 16, INDIRECT, 0}},
		{{C, 1, WRITE, 0}}, 1},
	{"an empty table", 0, 1, {{A, 0, INDIRECT, 0}}, {{C, 1, 0, 0}}, -EINVAL},
	{"a table cut short", 0, 1, {{A, 31, INDIRECT, 0}}, {{C, 1, 0, 0}}, -EINVAL},
	{"a table of half an entry", 0, 1, {{A, 8, INDIRECT, 0}}, {{C, 1, 0, 0}}, -EINVAL},
	{"a table of 65536 entries", 0, 1, {{A, 16 << 16, INDIRECT, 0}}, {{C, 1, 0, 0}}, -EINVAL},
	{"a table of 2^28 entries", 0, 1, {{A, 0xfffffff0, INDIRECT, 0}}, {{C, 1, 0, 0}}, -EINVAL},
	{"a table in no region", 0, 1, {{0x30000, 16, INDIRECT, 0}}, {{C, 1, 0, 0}}, -EFAULT},
	{"a table over a seam", 0, 1, {{B - 16, 32, INDIRECT, 0}}, {{C, 1, 0, 0}}, -EFAULT},
	{"a table over the end", 0, 1, {{C + C_BYTES - 16, 32, INDIRECT, 0}}, {{0}}, -EFAULT},
	{"next beyond the table", 0, 1, {{A, 32, INDIRECT, 0}}, {{C, 1, NEXT, 2}}, -EINVAL},
	{"a loop in the table", 0, 1, {{A, 32, INDIRECT, 0}}, {{C, 1, NEXT, 0}}, -1},
	{"a loop of nothing in the table", 0, 1, {{A, 32, INDIRECT, 0}}, {{C, 0, NEXT, 0}}, -ELOOP},
	{"unknown flags", 0, 1, {{C, 16, 0xfff8, 0}}, {{0}}, 1},
};
/* clang-format on */

static void check_hostile(const struct hostile *row, bool indirect)
{
	struct driver *driver = make_driver(4, true, indirect);
	struct virtq_desc *table = (struct virtq_desc *)rig_here(&driver->memory, A);
	/* In every row the walk comes by the indirect descriptor, if there is one. */
	bool met = (row->ring[0].flags | row->ring[1].flags) & INDIRECT;
	int right = met && !indirect ? -EINVAL : row->result, result;

	for (unsigned i = 0; i < 2; i++) {
		driver->descriptors[i] = descriptor(row->ring[i].address, row->ring[i].bytes,
			row->ring[i].flags, row->ring[i].next);
		table[i] = descriptor(row->table[i].address, row->table[i].bytes,
			row->table[i].flags, row->table[i].next);
	}
	start_at(driver, 7);
	for (unsigned i = 0; i < 4; i++)
		driver->available->ring[i] = le16_of(row->head);
	driver->available->index = le16_of((uint16_t)(7 + row->jump));
	result = take(driver);
	expect(right == -1 ? result < 0 : result == right, "%s: %d", row->what, result);
	/* Nothing is ever written by taking. */
	assert_int_equal(le16_get(driver->used->index), 7);
	assert_int_equal(le32_get(driver->used->ring[3].head), 0);
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

/* Lengths that add up to 4 GiB and more, in a region that large. */
static void test_sums(void **state)
{
	static const struct {
		uint32_t first, second;
		int result;
	} rows[] = {{UINT32_MAX, 0, 1}, {UINT32_MAX, 1, -EINVAL}, {1u << 31, 1u << 31, -EINVAL},
		{1u << 31, (1u << 31) - 1, 1}};
	const size_t bytes = 5ull << 30;
	char *memory =
		mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	(void)state;
	assert_ptr_not_equal(memory, MAP_FAILED);
	for (unsigned i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		struct driver *driver = make_driver(4, false, false);
		unsigned write = i % 2 ? WRITE : 0;

		driver->memory.regions[driver->memory.count++] = (struct guest_region){
			.guest_address = 1ull << 40, .bytes = bytes, .memory = memory};
		driver->descriptors[0] = descriptor(1ull << 40, rows[i / 2].first, write | NEXT, 1);
		driver->descriptors[1] = descriptor(1ull << 40, rows[i / 2].second, write, 0);
		offer(driver, 0);
		assert_int_equal(take(driver), rows[i / 2].result);
		/* The two directions are two sums. */
		driver->descriptors[0] = descriptor(1ull << 40, UINT32_MAX, NEXT, 1);
		driver->descriptors[1] = descriptor(1ull << 40, UINT32_MAX, WRITE, 0);
		if (rows[i / 2].result == 1) {
			offer(driver, 0);
			assert_int_equal(take(driver), 1);
		}
		driver->memory.count--;
		free_driver(driver);
	}
	munmap(memory, bytes);
}

/* --- all rings of four ----------------------------------------------------------------------- */

enum { FOUR = 4, FLAGS = 8, NEXTS = 6, CHOICES = FLAGS * NEXTS };

static const uint16_t nexts[NEXTS] = {0, 1, 2, 3, 4, 0xffff};

/* What each descriptor refers to: a plain buffer, or a table of a kind of its own. */
static const struct {
	uint64_t address;
	uint32_t bytes;
	bool good_table;
} place[FOUR] = {
	{A, 32, true},		/* entry 0, writable, then entry 1, readable */
	{A + 0x100, 32, false}, /* a loop */
	{A + 0x200, 16, false}, /* indirect again */
	{A + 0x300, 17, false}, /* no table at all */
};

static void fill_tables(struct driver *driver)
{
	struct virtq_desc *table = (struct virtq_desc *)rig_here(&driver->memory, A);

	table[0] = descriptor(C, 5, WRITE | NEXT, 1);
	table[1] = descriptor(C + 64, 3, 0, 0);
	table[0x10] = descriptor(C, 1, NEXT, 1);
	table[0x11] = descriptor(C, 1, NEXT, 0);
	table[0x20] = descriptor(A, 32, INDIRECT, 0);
}

/* The chain by the book: good unless a descriptor is met twice. */
struct verdict {
	bool good, malformed;
	unsigned readable, writable;
	uint32_t readable_bytes, writable_bytes;
};

static void see_buffer(struct verdict *verdict, uint32_t bytes, bool writable)
{
	if (writable) {
		verdict->writable++;
		verdict->writable_bytes += bytes;
	} else {
		verdict->malformed |= verdict->writable > 0;
		verdict->readable++;
		verdict->readable_bytes += bytes;
	}
}

static struct verdict by_the_book(const unsigned *choice, unsigned head)
{
	struct verdict verdict = {0};
	unsigned met = 0;

	for (unsigned at = head; at < FOUR && !(met >> at & 1);) {
		unsigned flags = choice[at] % FLAGS;

		met |= 1u << at;
		if (flags & INDIRECT) {
			if (flags & NEXT || !place[at].good_table)
				return verdict;
			see_buffer(&verdict, 5, true);
			see_buffer(&verdict, 3, false);
			verdict.good = true;
			return verdict;
		}
		see_buffer(&verdict, place[at].bytes, flags & WRITE);
		if (!(flags & NEXT)) {
			verdict.good = true;
			return verdict;
		}
		at = nexts[choice[at] / FLAGS];
	}
	return verdict;
}

static void check_ring_of_four(struct driver *driver, const unsigned *choice)
{
	for (unsigned head = 0; head <= FOUR; head++) {
		struct verdict right = by_the_book(choice, head);
		const struct virtq_chain *chain = &driver->chain;
		struct fail fail;
		int result;

		driver->available->ring[0] = le16_of((uint16_t)head);
		driver->queue.next_available = 0;
		result = split_take(&driver->queue, &driver->memory, &driver->chain, &fail);
		expect((result == 1) == right.good && result, "head %u, choices %u %u %u %u: %d",
			head, choice[0], choice[1], choice[2], choice[3], result);
		if (result == 1)
			expect(chain->malformed == right.malformed &&
					chain->readable == right.readable &&
					chain->writable == right.writable &&
					chain->readable_bytes == right.readable_bytes &&
					chain->writable_bytes == right.writable_bytes,
				"head %u, choices %u %u %u %u: another chain", head, choice[0],
				choice[1], choice[2], choice[3]);
	}
}

static void test_all_rings_of_four(void **state)
{
	struct driver *driver = make_driver(FOUR, false, true);
	unsigned choice[FOUR] = {0};

	(void)state;
	fill_tables(driver);
	driver->available->index = le16_of(1);
	for (unsigned ring = 0; ring < CHOICES * CHOICES * CHOICES * CHOICES; ring++) {
		for (unsigned i = 0, rest = ring; i < FOUR; i++, rest /= CHOICES) {
			choice[i] = rest % CHOICES;
			driver->descriptors[i] = descriptor(place[i].address, place[i].bytes,
				choice[i] % FLAGS, nexts[choice[i] / FLAGS]);
			if (rest % CHOICES) /* the higher ones are as they were */
				break;
		}
		for (unsigned i = 0, rest = ring; i < FOUR; i++, rest /= CHOICES)
			choice[i] = rest % CHOICES;
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
		struct virtq_desc bad = descriptor(addresses[random_below(&random, 5)],
			16 * (uint32_t)random_below(&random, 6), (unsigned)random_below(&random, 8),
			(unsigned)random_below(&random, 6));
		unsigned at = (unsigned)random_below(&random, 8);
		struct virtq_desc *table =
			at < 4 ? &driver->descriptors[at]
			       : (struct virtq_desc *)rig_here(&driver->memory, A) + at - 4;
		uint64_t words[2];

		memcpy(words, &bad, sizeof(words));
		__atomic_store_n((uint64_t *)table, words[0], __ATOMIC_RELAXED);
		__atomic_store_n((uint64_t *)table + 1, words[1], __ATOMIC_RELAXED);
		__atomic_store_n(&driver->available->ring[0].raw,
			(uint16_t)random_below(&random, 5), __ATOMIC_RELAXED);
	}
	return NULL;
}

static void test_scribbling_driver(void **state)
{
	struct driver *driver = make_driver(4, false, true);
	unsigned taken = 0, refused = 0;
	pthread_t thread;

	(void)state;
	driver->available->index = le16_of(1);
	assert_int_equal(pthread_create(&thread, NULL, scribble, driver), 0);
	for (unsigned i = 0; i < 1000000; i++) {
		struct fail fail;

		driver->queue.next_available = 0;
		if (split_take(&driver->queue, &driver->memory, &driver->chain, &fail) != 1) {
			refused++;
			continue;
		}
		taken++;
		rig_check_sound(&driver->memory, &driver->chain);
	}
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	assert_true(taken && refused);
	free_driver(driver);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_framings),
		cmocka_unit_test(test_malformed_order),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_event_passed),
		cmocka_unit_test(test_notifications),
		cmocka_unit_test(test_wishes),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_sums),
		cmocka_unit_test(test_all_rings_of_four),
		cmocka_unit_test(test_scribbling_driver),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
