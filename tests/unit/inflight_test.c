/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in flight, over a kill between any two instructions, and against every kind of nonsense
 * in the front end's memory.
 */
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "virtio/inflight.h"

enum { SIZE = 8, ENTRIES = 16 };

/* What outlives the device: the ring and the area, as bytes, because each ends in an array. */
struct arena {
	struct virtq_desc descriptors[SIZE];
	_Alignas(8) uint8_t available[4 + 2 * (SIZE + 1)];
	_Alignas(8) uint8_t used[4 + 8 * SIZE + 2];
	_Alignas(8) uint8_t area[16 + 16 * ENTRIES];
};

static struct virtq_avail *available_of(struct arena *arena)
{
	return (void *)arena->available;
}

static struct virtq_used *used_of(struct arena *arena)
{
	return (void *)arena->used;
}

static struct inflight_area *area_of(struct arena *arena)
{
	return (void *)arena->area;
}

struct device {
	struct split_queue ring;
	struct inflight inflight;
};

static const uint8_t heads[SIZE] = {3, 0, 7, 5, 1, 6, 2, 4}; /* as the driver sent them */

static struct arena *make_arena(uint16_t index)
{
	struct arena *arena = calloc(1, sizeof(*arena));

	assert_non_null(arena);
	area_of(arena)->version = INFLIGHT_VERSION;
	area_of(arena)->entries = ENTRIES;
	area_of(arena)->used_index = index;
	used_of(arena)->index = le16_of(index);
	available_of(arena)->index = le16_of((uint16_t)(index + SIZE));
	for (unsigned i = 0; i < SIZE; i++)
		available_of(arena)->ring[(uint16_t)(index + i) % SIZE] = le16_of(heads[i]);
	return arena;
}

static int start(struct device *device, struct arena *arena, struct fail *fail)
{
	*device = (struct device){
		.ring = {.size = SIZE,
			.descriptors = arena->descriptors,
			.available = available_of(arena),
			.used = used_of(arena)},
	};
	device->ring.next_used = device->ring.published_used = le16_get(used_of(arena)->index);
	return inflight_recover(&device->inflight, area_of(arena), ENTRIES, &device->ring, fail);
}

static void take(struct device *device, unsigned count)
{
	for (; count; count--) {
		uint16_t at = device->ring.next_available++ % SIZE;

		inflight_take(&device->inflight, le16_get(device->ring.available->ring[at]), NULL);
	}
}

static void put(struct device *device, uint16_t head)
{
	split_put(&device->ring, head, 0);
	inflight_put(&device->inflight, head);
}

static void publish(struct device *device)
{
	split_publish(&device->ring);
	inflight_publish(&device->inflight, device->ring.published_used);
}

/* Eight chains: answered out of order, in batches, with others in flight. */
static void live(struct device *device)
{
	take(device, 5);
	put(device, 7);
	put(device, 3);
	publish(device);
	take(device, 2);
	put(device, 6);
	put(device, 0);
	put(device, 1);
	publish(device);
	take(device, 1);
	put(device, 4);
	publish(device);
	put(device, 2);
	put(device, 5);
	publish(device);
}

/* Every head is answered, carried out again or still to be taken, once; in order. */
static void check_arena(const struct arena *found, uint16_t begin, unsigned step)
{
	struct arena *arena = malloc(sizeof(*arena));
	unsigned seen[SIZE] = {0}, last = 0;
	struct device device;
	struct fail fail;

	memcpy(arena, found, sizeof(*arena));
	expect(!start(&device, arena, &fail), "step %u: %s", step, fail.text);
	for (uint16_t i = begin; i != le16_get(used_of(arena)->index); i++)
		seen[le32_get(used_of(arena)->ring[i % SIZE].head)]++;
	while (inflight_waiting(&device.inflight)) {
		uint16_t head = inflight_again(&device.inflight);
		unsigned place = 0;

		seen[head]++;
		while (heads[place] != head)
			place++;
		expect(place >= last, "step %u: %u comes again too late", step, head);
		last = place;
	}
	for (uint16_t i = device.ring.next_available; i != le16_get(available_of(arena)->index);
		i++)
		seen[le16_get(available_of(arena)->ring[i % SIZE])]++;
	for (unsigned i = 0; i < SIZE; i++)
		expect(seen[i] == 1, "step %u: head %u %u times", step, i, seen[i]);
	inflight_release(&device.inflight);
	free(arena);
}

/* A child lives through it one instruction at a time; after each, its memory is a crash's. */
static void kill_at_any_instruction(void **state)
{
	static const uint16_t begins[] = {0, 65532};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct arena *fresh = make_arena(begins[i]);
		struct arena *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		unsigned steps = 0;
		int status;
		pid_t child;

		memcpy(shared, fresh, sizeof(*shared));
		free(fresh);
		child = fork();
		if (!child) {
			struct device device;

			if (start(&device, shared, NULL) || ptrace(PTRACE_TRACEME, 0, 0, 0))
				_exit(2);
			raise(SIGSTOP);
			live(&device);
			kill(getpid(), SIGKILL);
		}
		while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
			check_arena(shared, begins[i], steps++);
			ptrace(PTRACE_SINGLESTEP, child, 0, 0);
		}
		if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
			skip(); /* nobody may trace here */
		assert_true(WIFSIGNALED(status));
		assert_int_equal(le16_get(used_of(shared)->index), (uint16_t)(begins[i] + SIZE));
		assert_in_range(steps, 200, 1000000);
		printf("from index %u: killed at %u instructions\n", begins[i], steps);
		munmap(shared, sizeof(*shared));
	}
}

/* Lives that end while they carry out what the one before left, and the last that does it all. */
static void several_lives(void **state)
{
	struct arena *arena = make_arena(65534);
	struct device device;

	(void)state;
	assert_int_equal(start(&device, arena, NULL), 0);
	take(&device, 6);
	put(&device, 5); /* never published */
	inflight_release(&device.inflight);
	for (unsigned life = 0; life < 6; life++) {
		assert_int_equal(start(&device, arena, NULL), 0);
		assert_int_equal(device.inflight.again_count, 6 - life);
		assert_int_equal(inflight_again(&device.inflight), heads[life]);
		assert_int_equal(device.ring.next_available, (uint16_t)(65534 + 6));
		put(&device, heads[life]);
		split_publish(&device.ring); /* killed before inflight_publish() */
		inflight_release(&device.inflight);
		check_arena(arena, 65534, life);
	}
	free(arena);
}

static void order_is_the_counters(void **state)
{
	struct arena *arena = make_arena(0);
	struct device device;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		area_of(arena)->entry[i] =
			(struct inflight_entry){.in_flight = 1, .counter = 100 - i};
	area_of(arena)->entry[2].counter = 1ull << 40;
	assert_int_equal(start(&device, arena, NULL), 0);
	assert_int_equal(inflight_again(&device.inflight), 3);
	assert_int_equal(inflight_again(&device.inflight), 1);
	assert_int_equal(inflight_again(&device.inflight), 0);
	assert_int_equal(inflight_again(&device.inflight), 2);
	assert_false(inflight_waiting(&device.inflight));
	assert_int_equal(inflight_take(&device.inflight, 7, NULL), 0);
	assert_int_equal(area_of(arena)->entry[7].counter, (1ull << 40) + 1);
	assert_int_equal(inflight_take(&device.inflight, 7, NULL), -EBUSY);
	inflight_release(&device.inflight);
	free(arena);
}

/* A new region and a ring that has turned before: a guest that came from elsewhere. */
static void new_region_old_ring(void **state)
{
	static const struct {
		uint16_t version, used, region_used;
	} rows[] = {{1, 3, 0}, {1, 65500, 0}, {0, 0, 0}, {0, 777, 0}, {1, 0, 500}};

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct arena *arena = make_arena(rows[i].used);
		struct device device;
		struct fail fail;

		area_of(arena)->version = rows[i].version;
		area_of(arena)->used_index = rows[i].region_used;
		if (!rows[i].version)
			memset(area_of(arena)->entry, 0xa5, 16 * ENTRIES);
		expect(!start(&device, arena, &fail), "row %u: %s", i, fail.text);
		assert_false(inflight_waiting(&device.inflight));
		assert_int_equal(device.ring.next_available, rows[i].used);
		assert_int_equal(area_of(arena)->used_index, rows[i].used);
		assert_int_equal(area_of(arena)->version, INFLIGHT_VERSION);
		inflight_release(&device.inflight);
		free(arena);
	}
}

static void one_mark(struct arena *arena)
{
	area_of(arena)->entry[1].in_flight = 1;
}

static void bad_version(struct arena *arena)
{
	area_of(arena)->version = 2;
}
static void bad_features(struct arena *arena)
{
	area_of(arena)->features = 1;
}
static void bad_entries(struct arena *arena)
{
	area_of(arena)->entries = SIZE;
}
static void bad_mark(struct arena *arena)
{
	area_of(arena)->entry[1].in_flight = 2;
}
static void mark_behind_ring(struct arena *arena)
{
	area_of(arena)->entry[SIZE].in_flight = 1;
}

static void far_behind(struct arena *arena)
{
	one_mark(arena);
	area_of(arena)->used_index = (uint16_t)(0 - ENTRIES - 1);
}

static void bad_last_batch(struct arena *arena)
{
	one_mark(arena);
	area_of(arena)->used_index = (uint16_t)-1;
	area_of(arena)->last_batch = ENTRIES;
}

static void bad_next(struct arena *arena)
{
	one_mark(arena);
	area_of(arena)->used_index = (uint16_t)-2;
	area_of(arena)->entry[0].next = UINT16_MAX;
}

static void more_than_sent(struct arena *arena)
{
	available_of(arena)->index = le16_of(2);
	for (unsigned i = 0; i < 3; i++)
		area_of(arena)->entry[i].in_flight = 1;
}

static void nonsense_is_refused(void **state)
{
	static void (*const rows[])(struct arena * arena) = {bad_version, bad_features, bad_entries,
		bad_mark, mark_behind_ring, far_behind, bad_last_batch, bad_next, more_than_sent};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct arena *arena = make_arena(0);
		struct device device;
		struct fail fail = {0};

		rows[i](arena);
		expect(start(&device, arena, &fail) == -EINVAL, "row %u was accepted", i);
		assert_non_null(strstr(fail.text, "inflight region"));
		assert_null(device.inflight.area);
		assert_null(device.inflight.again);
		free(arena);
	}
}

/* Any bytes, and good areas with some bytes changed: what is accepted is sound. */
static void random_areas(void **state)
{
	struct random random = {46};
	unsigned accepted = 0;

	(void)state;
	for (unsigned round = 0; round < 300000; round++) {
		struct arena *arena = make_arena((uint16_t)random_next(&random));
		uint8_t *bytes = arena->area;
		size_t count = sizeof(arena->area);
		unsigned changes = round % 4 ? (unsigned)random_next(&random) % 8 : 400;
		struct device device;
		bool seen[SIZE] = {false};

		area_of(arena)->last_batch = (uint16_t)random_next(&random) % ENTRIES;
		area_of(arena)->used_index -= (uint16_t)(random_next(&random) % 4);
		for (unsigned i = 0; i < ENTRIES; i++)
			area_of(arena)->entry[i] = (struct inflight_entry){
				.in_flight = i < SIZE && random_next(&random) % 2,
				.next = (uint16_t)(random_next(&random) % ENTRIES),
				.counter = random_next(&random)};
		for (; changes; changes--)
			bytes[random_next(&random) % count] = (uint8_t)random_next(&random);
		if (!start(&device, arena, NULL)) {
			accepted++;
			assert_in_range(device.inflight.again_count, 0, SIZE);
			while (inflight_waiting(&device.inflight)) {
				uint16_t head = inflight_again(&device.inflight);

				assert_in_range(head, 0, SIZE - 1);
				assert_false(seen[head]);
				seen[head] = true;
			}
			inflight_release(&device.inflight);
		}
		free(arena);
	}
	assert_in_range(accepted, 1000, 299000);
	printf("%u of 300000 accepted\n", accepted);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(kill_at_any_instruction),
		cmocka_unit_test(several_lives),
		cmocka_unit_test(order_is_the_counters),
		cmocka_unit_test(new_region_old_ring),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(random_areas),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
