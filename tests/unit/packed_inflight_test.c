/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in flight on a packed virtqueue, over a kill between any two instructions, and against
 * every kind of nonsense in the front end's memory.
 */
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/random.h"
#include "virtio/packed_inflight.h"

enum { SIZE = 11, ENTRIES = 16, CHAINS = 9, BASE = 0x80008000 };

/* What outlives the device: the ring and the area, as bytes, because it ends in an array. */
struct arena {
	struct virtq_packed_desc ring[SIZE];
	struct virtq_event driver_event, device_event;
	_Alignas(8) uint8_t area[32 + 32 * ENTRIES];
};

static struct packed_area *area_of(struct arena *arena)
{
	return (void *)arena->area;
}

struct device {
	struct packed_queue ring;
	struct packed_inflight inflight;
	struct virtq_chain chain[CHAINS]; /* by id */
};

/* The driver's own: it is not killed, and knows what it has seen. Ids 0 to 8 are sent in their
 * order, of 1, 2, 3, 1, 2 ... descriptors. */
struct driver {
	struct virtq_position next, next_used;
	unsigned sent, seen[CHAINS];
	volatile bool busy; /* between two of its states */
};

static uint16_t slots_of(unsigned id)
{
	return (uint16_t)(id % 3 + 1);
}

/* Sends what fits. */
static void send(struct arena *arena, struct driver *driver)
{
	driver->busy = true;
	for (; driver->sent < CHAINS; driver->sent++) {
		uint16_t slots = slots_of(driver->sent);

		if (virtq_distance(SIZE, driver->next_used, driver->next) + slots > SIZE)
			break;
		for (uint16_t i = 0; i < slots; i++) {
			unsigned flags = virtq_available_flags(driver->next.wrap) |
					 (i + 1 < slots ? VIRTQ_DESC_NEXT : 0u);

			/* The buffers are empty, and known by their address. */
			arena->ring[driver->next.index] = (struct virtq_packed_desc){
				.address = le64_of(0x1000u * driver->sent + i),
				.id = le16_of((uint16_t)driver->sent),
				.flags = le16_of((uint16_t)flags),
			};
			virtq_advance(&driver->next, SIZE, 1);
		}
	}
	driver->busy = false;
}

/* Looks at what is used. */
static void receive(struct arena *arena, struct driver *driver)
{
	driver->busy = true;
	while (true) {
		const struct virtq_packed_desc *used = &arena->ring[driver->next_used.index];
		uint16_t id = le16_get(used->id);

		if ((le16_get(used->flags) & VIRTQ_PACKED_STATE) !=
			virtq_used_flags(driver->next_used.wrap))
			break;
		expect(id < CHAINS, "id %u was never sent", id);
		driver->seen[id]++;
		virtq_advance(&driver->next_used, SIZE, slots_of(id));
	}
	driver->busy = false;
}

static int start_known(
	struct device *device, struct arena *arena, uint32_t base, bool known, struct fail *fail)
{
	int error;

	*device = (struct device){
		.ring = {.size = SIZE,
			.ring = arena->ring,
			.driver_event = &arena->driver_event,
			.device_event = &arena->device_event},
	};
	error = packed_set_base(&device->ring, base, fail);
	return error ? error
		     : packed_inflight_recover(&device->inflight, area_of(arena), ENTRIES,
			       &device->ring, known, fail);
}

/* As after a kill: the base is as old as it can be. */
static int start(struct device *device, struct arena *arena, struct fail *fail)
{
	return start_known(device, arena, BASE, false, fail);
}

static const struct guest_memory nothing; /* empty buffers are in it */

/* The id of the next new chain, -1: there is none. */
static int take(struct device *device)
{
	struct virtq_chain chain;

	if (packed_take(&device->ring, &nothing, &chain, NULL) != 1)
		return -1;
	expect(chain.head < CHAINS, "id %u was never sent", chain.head);
	packed_inflight_take(&device->inflight, &device->ring, &chain);
	device->chain[chain.head] = chain;
	return chain.head;
}

static void take_some(struct device *device, unsigned count)
{
	for (; count; count--)
		take(device);
}

static uint16_t take_again(struct device *device)
{
	struct virtq_chain chain;

	packed_inflight_again(&device->inflight, &device->ring, &chain);
	expect(packed_take_again(&device->ring, &nothing, &chain, NULL) == 1, "not taken again");
	expect(chain.head < CHAINS, "id %u was never sent", chain.head);
	expect(chain.slots == slots_of(chain.head), "of %u descriptors", chain.slots);
	for (unsigned i = 0; i < chain.slots; i++)
		expect(le64_get(device->ring.taken[i].address) == 0x1000u * chain.head + i,
			"id %u has another address", chain.head);
	device->chain[chain.head] = chain;
	return chain.head;
}

static void put(struct device *device, uint16_t id)
{
	packed_put(&device->ring, &device->chain[id], 0);
	packed_inflight_put(&device->inflight, &device->chain[id]);
}

static void publish(struct device *device)
{
	packed_inflight_commit(&device->inflight, &device->ring);
	packed_publish(&device->ring);
	packed_inflight_publish(&device->inflight, &device->ring);
}

/* All nine through a ring that holds five or six of them: answered out of order, in batches of one
 * to three, with others in flight, more than once round. */
static void live(struct device *device, struct arena *arena, struct driver *driver)
{
	send(arena, driver);
	take_some(device, 4);
	put(device, 2);
	put(device, 0);
	publish(device);
	take_some(device, 1);
	put(device, 4);
	put(device, 1);
	publish(device);
	receive(arena, driver);
	send(arena, driver);
	take_some(device, 2);
	put(device, 6);
	put(device, 3);
	put(device, 5);
	publish(device);
	take_some(device, 2);
	put(device, 8);
	publish(device);
	put(device, 7);
	publish(device);
}

struct crash {
	struct arena arena;
	struct driver driver;
};

static struct crash *make_crash(void)
{
	struct crash *crash = calloc(1, sizeof(*crash));

	assert_non_null(crash);
	crash->driver.next = crash->driver.next_used = virtq_position_of((uint16_t)BASE);
	return crash;
}

static void answer(struct device *device, struct crash *crash, int id, unsigned step)
{
	expect(!crash->driver.seen[id], "step %u: %d was answered before", step, id);
	put(device, (uint16_t)id);
	publish(device);
	receive(&crash->arena, &crash->driver);
	expect(crash->driver.seen[id] == 1, "step %u: %d was answered %u times", step, id,
		crash->driver.seen[id]);
}

/* Every id is answered once, and those that are carried out again come in their order. goes_on: so
 * did the driver, while nobody was there. */
static void check_crash(const struct crash *found, bool goes_on, unsigned step)
{
	struct crash *crash = malloc(sizeof(*crash));
	bool again[CHAINS] = {false};
	struct device device;
	struct fail fail;
	int id, last = -1;

	memcpy(crash, found, sizeof(*crash));
	if (goes_on) {
		receive(&crash->arena, &crash->driver);
		send(&crash->arena, &crash->driver);
	}
	expect(!start(&device, &crash->arena, &fail), "step %u: %s", step, fail.text);
	while (packed_inflight_waiting(&device.inflight)) {
		id = take_again(&device);
		expect(id > last, "step %u: %d comes again too late", step, id);
		last = id;
		again[id] = true;
	}
	receive(&crash->arena, &crash->driver);
	/* In another order than the last life's, one by one: what that left behind would show. */
	for (id = CHAINS - 1; id >= 0; id--)
		if (again[id])
			answer(&device, crash, id, step);
	do {
		send(&crash->arena, &crash->driver);
		id = take(&device);
		if (id >= 0)
			answer(&device, crash, id, step);
	} while (id >= 0);
	for (id = 0; id < CHAINS; id++)
		expect(crash->driver.seen[id] == 1, "step %u: %d was answered %u times", step, id,
			crash->driver.seen[id]);
	packed_inflight_release(&device.inflight);
	free(crash);
}

/* A child lives through it one instruction at a time; after each, its memory is a crash's. */
static void kill_at_any_instruction(void **state)
{
	struct crash *shared = mmap(
		NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct crash *fresh = make_crash();
	unsigned steps = 0;
	int status;
	pid_t child;

	(void)state;
	assert_ptr_not_equal(shared, MAP_FAILED);
	memcpy(shared, fresh, sizeof(*shared));
	free(fresh);
	child = fork();
	if (!child) {
		static struct device device;

		if (start(&device, &shared->arena, NULL) || ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(2);
		raise(SIGSTOP);
		live(&device, &shared->arena, &shared->driver);
		kill(getpid(), SIGKILL);
	}
	while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
		if (!shared->driver.busy) {
			check_crash(shared, false, steps);
			check_crash(shared, true, steps);
		}
		steps++;
		ptrace(PTRACE_SINGLESTEP, child, 0, 0);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		skip(); /* nobody may trace here */
	assert_true(WIFSIGNALED(status));
	receive(&shared->arena, &shared->driver);
	for (unsigned id = 0; id < CHAINS; id++)
		assert_int_equal(shared->driver.seen[id], 1);
	assert_in_range(steps, 1000, 1000000);
	printf("killed at %u instructions\n", steps);
	munmap(shared, sizeof(*shared));
}

/* Lives that end while they carry out what the one before left, and the last that does it all. */
static void several_lives(void **state)
{
	struct crash *crash = make_crash();
	struct device device;

	(void)state;
	send(&crash->arena, &crash->driver);
	assert_int_equal(start(&device, &crash->arena, NULL), 0);
	take_some(&device, 5);
	put(&device, 3); /* never published */
	put(&device, 2);
	packed_inflight_release(&device.inflight);
	for (unsigned life = 0; life < 5; life++) {
		assert_int_equal(start(&device, &crash->arena, NULL), 0);
		assert_int_equal(packed_inflight_waiting(&device.inflight), 5 - life);
		assert_int_equal(take_again(&device), life);
		put(&device, (uint16_t)life);
		packed_inflight_commit(&device.inflight, &device.ring);
		packed_publish(&device.ring); /* killed before packed_inflight_publish() */
		packed_inflight_release(&device.inflight);
		check_crash(crash, life % 2, life);
	}
	free(crash);
}

/* Who knows where the ring stands: the area if it was used, unless this session has run the ring
 * and nothing is in flight. */
static void whose_base_counts(void **state)
{
	enum { OTHER = 0x80058005 };
	static const struct {
		bool used, known, marked;
		uint32_t stands;
	} rows[] = {
		{false, false, false, OTHER},
		{false, true, false, OTHER},
		{true, false, false, BASE},
		{true, true, false, OTHER},
		{true, false, true, BASE},
		{true, true, true, BASE},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct crash *crash = make_crash();
		struct device device;
		struct fail fail;
		uint32_t stands;

		send(&crash->arena, &crash->driver);
		if (rows[i].used) {
			assert_int_equal(start(&device, &crash->arena, NULL), 0);
			if (rows[i].marked)
				assert_int_equal(take(&device), 0);
			packed_inflight_release(&device.inflight);
		} else { /* what it holds means nothing */
			memset(area_of(&crash->arena)->entry, 0xa5, 32 * ENTRIES);
		}
		expect(!start_known(&device, &crash->arena, OTHER, rows[i].known, &fail),
			"row %u: %s", i, fail.text);
		stands = packed_base(&device.ring);
		expect(stands >> 16 == rows[i].stands >> 16, "row %u: %x", i, stands);
		assert_int_equal(packed_inflight_waiting(&device.inflight), rows[i].marked);
		assert_int_equal((uint16_t)stands - (stands >> 16), rows[i].marked);
		packed_inflight_release(&device.inflight);
		free(crash);
	}
}

static void one_mark(struct packed_area *area)
{
	area->entry[1].in_flight = 1;
	area->entry[1].count = 1;
	area->entry[1].last = 1;
}

static void bad_version(struct packed_area *area)
{
	area->version = 2;
}
static void bad_features(struct packed_area *area)
{
	area->features = 1;
}
static void bad_entries(struct packed_area *area)
{
	area->entries = SIZE;
}
static void bad_mark(struct packed_area *area)
{
	one_mark(area);
	area->entry[1].in_flight = 2;
}
static void no_count(struct packed_area *area)
{
	one_mark(area);
	area->entry[1].count = 0;
}
static void more_than_the_ring(struct packed_area *area)
{
	for (uint16_t i = 0; i < ENTRIES; i++)
		area->entry[i].next = (uint16_t)(i + 1);
	one_mark(area);
	area->entry[1].count = SIZE + 1;
}
static void more_than_the_ring_together(struct packed_area *area)
{
	more_than_the_ring(area);
	area->entry[0].in_flight = 1;
	area->entry[0].count = 1;
	area->entry[1].count = SIZE;
}
static void loop(struct packed_area *area)
{
	one_mark(area);
	area->entry[1].count = 2;
	area->entry[1].next = 1;
}
static void next_outside(struct packed_area *area)
{
	loop(area);
	area->entry[1].next = ENTRIES;
}
static void shared_entry(struct packed_area *area)
{
	loop(area);
	area->entry[1].next = 5;
	area->entry[2] = area->entry[1];
}
static void bad_index(struct packed_area *area)
{
	area->used_index = SIZE;
}
static void bad_old_index(struct packed_area *area)
{
	area->old_used_index = UINT16_MAX;
}
static void bad_wrap(struct packed_area *area)
{
	area->old_used_wrap = 2;
}
/* A batch that the ring says was published. */
static void batch_outside(struct packed_area *area)
{
	area->used_index = 1;
	area->old_used_wrap = 0; /* the descriptor's USED is 0, too */
	area->free_head = ENTRIES;
	area->old_free_head = 0;
}
static void batch_without_end(struct packed_area *area)
{
	batch_outside(area);
	area->free_head = 3;
	area->entry[3].last = 4;
	area->entry[4].next = 3;
}
static void last_outside(struct packed_area *area)
{
	batch_without_end(area);
	area->entry[3].last = ENTRIES;
}

static void nonsense_is_refused(void **state)
{
	static void (*const rows[])(struct packed_area * area) = {bad_version, bad_features,
		bad_entries, bad_mark, no_count, more_than_the_ring, more_than_the_ring_together,
		loop, next_outside, shared_entry, bad_index, bad_old_index, bad_wrap, batch_outside,
		batch_without_end, last_outside};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct crash *crash = make_crash();
		struct device device;
		struct fail fail = {0};

		assert_int_equal(start(&device, &crash->arena, NULL), 0);
		packed_inflight_release(&device.inflight);
		rows[i](area_of(&crash->arena));
		expect(start(&device, &crash->arena, &fail) == -EINVAL, "row %u was accepted", i);
		assert_non_null(strstr(fail.text, "inflight region"));
		assert_null(device.inflight.area);
		assert_null(device.inflight.next);
		assert_null(device.inflight.again);
		free(crash);
	}
}

/* Any content: what is accepted is sound, and what then runs stays inside. */
static void one_random_area(struct random *random, unsigned changes, unsigned *accepted)
{
	struct crash *crash = make_crash();
	struct packed_area *area = area_of(&crash->arena);
	unsigned total = 0;
	struct device device;

	send(&crash->arena, &crash->driver);
	area->version = INFLIGHT_VERSION;
	area->entries = ENTRIES;
	area->used_index = (uint16_t)random_below(random, SIZE);
	area->old_used_index = random_next(random) % 2 ? area->used_index : 0;
	area->used_wrap = area->old_used_wrap = random_next(random) % 2;
	area->free_head = (uint16_t)random_below(random, ENTRIES);
	area->old_free_head = random_next(random) % 2 ? UINT16_MAX : area->free_head;
	for (unsigned i = 0; i < ENTRIES; i++)
		area->entry[i] = (struct packed_entry){.in_flight = random_chance(random, 200),
			.count = (uint16_t)(1 + random_below(random, 3)),
			.next = (uint16_t)random_below(random, ENTRIES),
			.last = (uint16_t)random_below(random, ENTRIES),
			.counter = random_next(random)};
	for (; changes; changes--)
		crash->arena.area[random_below(random, sizeof(crash->arena.area))] =
			(uint8_t)random_next(random);
	if (!start(&device, &crash->arena, NULL)) {
		++*accepted;
		while (packed_inflight_waiting(&device.inflight)) {
			struct virtq_chain chain;

			packed_inflight_again(&device.inflight, &device.ring, &chain);
			assert_in_range(chain.slots, 1, SIZE);
			total += chain.slots;
			packed_put(&device.ring, &chain, 0);
			packed_inflight_put(&device.inflight, &chain);
		}
		assert_in_range(total, 0, SIZE);
		publish(&device);
		packed_inflight_release(&device.inflight);
	}
	free(crash);
}

static void random_areas(void **state)
{
	struct random random = {46};
	unsigned accepted = 0;

	(void)state;
	for (unsigned round = 0; round < 200000; round++)
		one_random_area(
			&random, round % 4 ? (unsigned)random_next(&random) % 4 : 0, &accepted);
	for (unsigned round = 0; round < 20000; round++)
		one_random_area(&random, 400, &accepted);
	assert_in_range(accepted, 1000, 219000);
	printf("%u of 220000 accepted\n", accepted);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(kill_at_any_instruction),
		cmocka_unit_test(several_lives),
		cmocka_unit_test(whose_base_counts),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(random_areas),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
