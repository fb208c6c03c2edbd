/* SPDX-License-Identifier: Apache-2.0 */
/* A drive with fewer queues than there are reactors: all use it at once, and each gets its ios back
 * where it submitted them, whatever the controller does meanwhile. That one reactor meets every
 * fault through another is nvme_fault_test's. */
#include "nvme_rig.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "reactor/sim.h"

enum { REACTORS = 3, COUNT = 300, LANES_MAX = 3, ARENA_BYTES = 1 << 20 };

/* What one reactor asks of the drive. */
struct lane {
	struct reactor *reactor;
	struct blockdev_queue *queue;
	struct job jobs[COUNT];
	unsigned left;
	unsigned elsewhere; /* completed on another reactor */
};

static struct lane lanes[LANES_MAX];
static unsigned lane_count;
static atomic_uint unfinished;

static struct lane *lane_of(const struct job *job)
{
	for (unsigned i = 0; i < lane_count; i++)
		if (job >= lanes[i].jobs && job < lanes[i].jobs + COUNT)
			return &lanes[i];
	return NULL;
}

static void lane_done(struct io *io)
{
	struct job *job = container_of(io, struct job, io);
	struct lane *lane = lane_of(job);

	job->completions++;
	lane->elsewhere += reactor_self() != lane->reactor;
	if (!--lane->left)
		atomic_fetch_sub(&unfinished, 1);
}

static int lane_submit(void *argument)
{
	struct lane *lane = argument;

	lane->left = COUNT;
	for (unsigned i = 0; i < COUNT; i++)
		io_submit(lane->queue, &lane->jobs[i].io);
	return 0;
}

static void lanes_open(void)
{
	struct fail fail = {0};

	lane_count = reactor_count(group);
	for (unsigned i = 0; i < lane_count; i++) {
		lanes[i].reactor = reactor_at(group, i);
		expect(!blockdev_open_queue(dev, lanes[i].reactor, &lanes[i].queue, &fail), "%s",
			fail.text);
	}
}

/* The last one is a guest, whose host hears of it when nobody waits for that any more. */
static void lanes_close(void)
{
	for (unsigned i = 0; i < lane_count; i++)
		blockdev_close_queue(lanes[(nvme->first_reactor + i) % lane_count].queue);
}

/* Every lane at places of its own, in memory and on the drive. */
static void lanes_submit(enum io_kind kind)
{
	atomic_store(&unfinished, lane_count);
	for (unsigned i = 0; i < lane_count; i++) {
		for (unsigned j = 0; j < COUNT; j++) {
			unsigned place = i * COUNT + j;
			struct job *job =
				rig_job(&lanes[i].jobs[j], kind, space + place * 4096, place, 1);

			job->io.done = lane_done;
		}
		reactor_call(lanes[i].reactor, lane_submit, &lanes[i]);
	}
}

static void lanes_check(int status)
{
	for (unsigned i = 0; i < lane_count; i++) {
		assert_int_equal(lanes[i].elsewhere, 0);
		for (unsigned j = 0; j < COUNT; j++) {
			assert_int_equal(lanes[i].jobs[j].completions, 1);
			assert_int_equal(lanes[i].jobs[j].io.status, status);
		}
	}
}

static void lanes_run(enum io_kind kind, int status)
{
	lanes_submit(kind);
	while (atomic_load(&unfinished))
		rig_pass(1);
	lanes_check(status);
}

static void attach(unsigned granted)
{
	struct nvme_identity identity;
	struct fail fail = {0};

	mock->queues_granted = granted;
	expect(!rig_try(&fail), "%s", fail.text);
	nvme_identity(nvme, &identity);
	assert_int_equal(identity.queues, MIN(granted, (unsigned)REACTORS));
	dev = nvme_device(nvme, 0);
	lanes_open();
}

static void detach(void)
{
	lanes_close();
	nvme_destroy(nvme);
	assert_true(mock->destroyed);
	assert_int_equal(mock->iommu_faults, 0);
	mock->silenced = mock->destroyed = false;
}

/* Writes and reads of all, with a reset in their midst. */
static void test_all(void **state)
{
	(void)state;
	for (unsigned granted = 1; granted <= REACTORS + 1; granted++) {
		attach(granted);
		fill(space, LANES_MAX * COUNT * 4096, granted);
		mock_rule(mock,
			(struct mock_rule){
				.opcode = -1, .after = 200, .count = 1, .action = MOCK_FATAL});
		lanes_run(IO_WRITE, 0);
		assert_int_equal(rig_events(NVME_HAPPENED_RESET), 1);
		assert_memory_equal(mock->namespaces[0].data, space, LANES_MAX * COUNT * 4096);
		memset(space, 0, LANES_MAX * COUNT * 4096);
		lanes_run(IO_READ, 0);
		assert_memory_equal(mock->namespaces[0].data, space, LANES_MAX * COUNT * 4096);
		/* As many pairs as it has are used, and no more. */
		for (unsigned i = 1; i < MOCK_QUEUES; i++)
			assert_int_equal(
				mock->submissions[i].there, i <= MIN(granted, (unsigned)REACTORS));
		mock_rules_clear(mock);
		detach();
	}
}

static void test_pulled_out(void **state)
{
	(void)state;
	attach(1);
	mock_rule(mock, (struct mock_rule){.opcode = -1, .action = MOCK_NEVER});
	lanes_submit(IO_READ);
	rig_pass(100000000);
	mock_die(mock);
	while (atomic_load(&unfinished))
		rig_pass(1000);
	lanes_check(-ENODEV);
	lanes_run(IO_WRITE, -ENODEV);
	/* One that opens after the end hears of it as well. */
	lanes_close();
	lanes_open();
	lanes_run(IO_READ, -ENODEV);
	detach();
}

/* Fewer after a reset than before: nobody can say whose work is to stop. */
static void test_shrinks(void **state)
{
	char reason[FAIL_TEXT_BYTES];

	(void)state;
	attach(2);
	mock->queues_granted = 1;
	mock_rule(mock, (struct mock_rule){.opcode = -1, .count = 1, .action = MOCK_FATAL});
	lanes_run(IO_READ, -EIO);
	assert_int_equal(nvme_state(nvme, reason), NVME_FAILED);
	expect(strstr(reason, "grants 1 queues after its reset, and granted 2 before"), "%s",
		reason);
	detach();
}

/* Opened and closed at once, many times, and the controller goes with the last. */
static void test_open_and_close(void **state)
{
	(void)state;
	attach(1);
	for (unsigned i = 0; i < 200; i++) {
		lanes_close();
		lanes_open();
	}
	lanes_run(IO_READ, 0);
	detach();
}

/* Registers that hold the doorbells of one queue pair only. */
static void test_few_doorbells(void **state)
{
	size_t bytes = mock->bus.register_bytes;

	(void)state;
	mock->bus.register_bytes = nvme_doorbell_completion(1, 0) + 4;
	mock->queues_granted = 8;
	assert_int_equal(rig_try(NULL), 0);
	assert_int_equal(nvme->queue_count, 1);
	dev = nvme_device(nvme, 0);
	lanes_open();
	lanes_run(IO_READ, 0);
	detach();
	mock->bus.register_bytes = bytes;
}

/* Drives side by side burden other reactors. */
static void test_spread(void **state)
{
	bool has[REACTORS] = {false};

	(void)state;
	for (unsigned i = 0; i < REACTORS; i++) {
		snprintf(mock->bus.address, sizeof(mock->bus.address), "0000:%02x:00.0", 0x65 + i);
		attach(1);
		has[reactor_index(nvme->queues[0]->reactor)] = true;
		lanes_run(IO_READ, 0);
		detach();
	}
	for (unsigned i = 0; i < REACTORS; i++)
		assert_true(has[i]);
}

/* --- threads --------------------------------------------------------------------------------- */

/* Real reactors, if this machine has cores for two, and the watcher's own thread. */
static void test_threads(void **state)
{
	/* No deadline passes because the machine is busy. */
	struct nvme_options options = {.deadline_ms = 600000};
	struct cpumask mask = {{0}};
	struct fail fail = {0};
	cpu_set_t set;

	(void)state;
	sched_getaffinity(0, sizeof(set), &set);
	for (unsigned core = 0; core < CPU_SETSIZE && cpumask_count(&mask) < 2; core++)
		if (CPU_ISSET(core, &set))
			cpumask_add(&mask, core);
	if (cpumask_count(&mask) < 2)
		skip();
	assert_int_equal(memory_start(2, ARENA_BYTES, NULL), 0);
	expect(!reactor_group_start(&group, &mask, REACTOR_IDLE_ADAPTIVE, &fail), "%s", fail.text);
	space = memory_map(SPACE_BYTES, NULL);
	mock = mock_create(NULL, true);
	mock->queues_granted = 1;
	mock_thread_start(mock);
	options.group = group;
	expect(!nvme_create(&nvme, &mock->bus, &options, true, &fail), "%s", fail.text);
	dev = nvme_device(nvme, 0);
	lanes_open();
	fill(space, SPACE_BYTES, 3);
	for (unsigned round = 0; round < 20; round++) {
		if (round == 5) {
			LOCK_SCOPE(&mock->lock);
			mock_rule(mock, (struct mock_rule){.opcode = -1,
						.after = 100,
						.count = 1,
						.action = MOCK_FATAL});
		}
		lanes_submit(round % 2 ? IO_READ : IO_WRITE);
		while (atomic_load(&unfinished))
			usleep(100);
		lanes_check(0);
	}
	lanes_close();
	nvme_destroy(nvme);
	pthread_mutex_lock(&mock->lock);
	assert_int_equal(mock->enables, 2);
	pthread_mutex_unlock(&mock->lock);
	mock_destroy(mock);
	memory_unmap(space, SPACE_BYTES);
	reactor_group_stop(group);
	memory_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RELAYED_RIG_TEST(test_all),
		RELAYED_RIG_TEST(test_pulled_out),
		RELAYED_RIG_TEST(test_shrinks),
		RELAYED_RIG_TEST(test_open_and_close),
		RELAYED_RIG_TEST(test_few_doorbells),
		RELAYED_RIG_TEST(test_spread),
		cmocka_unit_test(test_threads),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
