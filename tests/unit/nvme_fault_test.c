/* SPDX-License-Identifier: Apache-2.0 */
/* The NVMe driver over a controller that misbehaves: rows 1 to 4 and 32 to 36 of the fault matrix
 * (../shared/design/FAULTS.md). That no io is given back while the drive may still touch its memory
 * is checked at every completion: nvme_rig.c. */
#include "nvme_rig.h"

#include <errno.h>
#include <unistd.h>

#include "base/bits.h"
#include "drivers/vfio/bar.h"
#include "reactor/sim.h"

enum { COUNT = 100 };

static const uint64_t SECOND_NS = 1000000000, HOUR_NS = 3600 * 1000000000ull;
static struct job jobs[COUNT];

static void rule(enum mock_action action, unsigned after, unsigned count, uint64_t value)
{
	mock_rule(mock, (struct mock_rule){.opcode = -1,
				.after = after,
				.count = count,
				.action = action,
				.value = value});
}

static void submit_reads(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		rig_job(&jobs[i], IO_READ, space + i * 4096, i, 1);
	rig_submit(jobs, count);
}

/* Waits, and expects that all ended once, with that status. */
static void expect_all(unsigned count, int status)
{
	rig_wait();
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(jobs[i].completions, 1);
		expect(jobs[i].io.status == status, "io %u: %d", i, jobs[i].io.status);
	}
}

static void expect_state(enum nvme_state state, const char *text)
{
	char reason[FAIL_TEXT_BYTES];

	assert_int_equal(nvme_state(nvme, reason), state);
	expect(strstr(reason, text), "'%s' is not in: %s", text, reason);
}

/* It serves, and what it reads is right. */
static void expect_alive(void)
{
	expect_state(NVME_LIVE, "");
	fill(space, 4096, 99);
	assert_int_equal(rig_io(IO_WRITE, space, 77, 1), 0);
	memset(space, 0, 4096);
	assert_int_equal(rig_io(IO_READ, space, 77, 1), 0);
	assert_memory_equal(space, mock->namespaces[0].data + 77 * 4096, 4096);
}

/* --- rows 1 and 2: pulled out ---------------------------------------------------------------- */

static void expect_gone(void)
{
	expect_state(NVME_GONE, "pulled out");
	assert_int_equal(rig_events(NVME_HAPPENED_GONE), 1);
	assert_true(mock->destroyed); /* the system does not have to wait */
	submit_reads(3);
	expect_all(3, -ENODEV);
	assert_int_equal(rig_io(IO_FLUSH, NULL, 0, 0), -ENODEV);
	rig_pass(SECOND_NS);
}

static void test_pulled_out(void **state)
{
	struct nvme_smart smart;
	struct fail fail = {0};

	(void)state;
	rig_attach(0);
	rule(MOCK_DELAY, 0, 50, SECOND_NS);
	rule(MOCK_DIE, 0, 1, 0);
	submit_reads(COUNT);
	expect_all(COUNT, -ENODEV);
	expect_gone();
	assert_int_equal(nvme_smart(nvme, &smart, &fail), -ENODEV);
	assert_non_null(strstr(fail.text, "pulled out"));
	rig_detach();
}

static void test_pulled_out_idle(void **state)
{
	(void)state;
	rig_attach(0);
	mock_die(mock);
	rig_pass(SECOND_NS);
	expect_gone();
	rig_detach();
}

/* The system asks for the device: it still answers. */
static void test_wanted_back(void **state)
{
	(void)state;
	rig_attach(0);
	rule(MOCK_NEVER, 0, 0, 0);
	submit_reads(COUNT);
	rig_pass(SECOND_NS / 2);
	mock->removed = true;
	expect_all(COUNT, -ENODEV);
	assert_true(mock->silenced);
	expect_gone();
	rig_detach();
}

static void test_sigbus(void **state)
{
	(void)state;
	rig_attach(0);
	rule(MOCK_NEVER, 0, 0, 0);
	submit_reads(10);
	rig_pass(SECOND_NS / 2);
	/* The handler of cmocka has taken the place of ours. */
	bar_unguard(mock->registers);
	bar_guard(mock->registers, MOCK_REGISTER_BYTES);
	mock->dead = mock->cut = true;
	mock->pending_count = 0;
	assert_int_equal(ftruncate(mock->registers_fd, 0), 0);
	submit_reads(0);
	expect_all(10, -ENODEV);
	expect_gone();
	rig_detach();
}

/* While it is being brought up again. */
static void test_pulled_out_in_reset(void **state)
{
	(void)state;
	rig_attach(0);
	rule(MOCK_FATAL, 0, 1, 0);
	mock_rule(mock,
		(struct mock_rule){.admin = true, .opcode = NVME_CREATE_CQ, .action = MOCK_DIE});
	submit_reads(10);
	expect_all(10, -ENODEV);
	expect_gone();
	rig_detach();
}

/* --- rows 3, 4, 36: late, and never ---------------------------------------------------------- */

static void test_slow(void **state)
{
	(void)state;
	rig_attach(0);
	rule(MOCK_DELAY, 0, 0, 7 * SECOND_NS);
	submit_reads(COUNT);
	expect_all(COUNT, 0);
	assert_int_equal(mock->aborts, 0);
	assert_int_equal(mock->enables, 1);
	rig_detach();
}

static void test_never_aborted(void **state)
{
	(void)state;
	rig_attach(0);
	rule(MOCK_NEVER, 20, 1, 0);
	submit_reads(COUNT);
	expect_all(COUNT, 0); /* tried again */
	assert_int_equal(mock->aborts, 1);
	assert_int_equal(mock->enables, 1);
	assert_true(jobs[20].done_at_ns >= 8 * SECOND_NS && jobs[20].done_at_ns < 10 * SECOND_NS);
	expect_alive();
	rig_detach();
}

static void test_never_reset(void **state)
{
	(void)state;
	rig_attach(0);
	mock->ignores_abort = true;
	rule(MOCK_NEVER, 20, 3, 0);
	submit_reads(COUNT);
	expect_all(COUNT, 0);
	assert_int_equal(mock->aborts, 3);
	assert_int_equal(mock->enables, 2);
	assert_int_equal(rig_events(NVME_HAPPENED_RESET), 1);
	expect_alive();
	rig_detach();
}

/* It answers at last, while the driver is at its throat. */
static void test_late(void **state)
{
	static const uint64_t delays_ms[] = {7990, 8000, 8050, 8100, 8200, 8500, 9000, 9500, 12000};

	(void)state;
	rig_attach(0);
	mock->ignores_abort = true;
	mock->disable_ns = SECOND_NS; /* it can still write during that */
	for (unsigned i = 0; i < ARRAY_SIZE(delays_ms); i++) {
		mock_rules_clear(mock);
		rule(MOCK_DELAY, 3, 2, delays_ms[i] * 1000000);
		submit_reads(10);
		expect_all(10, 0);
		rig_pass(HOUR_NS / 2);
	}
	expect_alive();
	rig_detach();
}

/* One that hangs for ever on one command takes the whole drive with it, in the end. */
static void test_never_again(void **state)
{
	(void)state;
	rig_attach(0);
	mock->ignores_abort = true;
	rule(MOCK_NEVER, 0, 0, 0);
	submit_reads(10);
	expect_all(10, -EIO);
	assert_true(reactor_sim_now_ns(group) < 60 * SECOND_NS);
	rig_detach();
}

static void test_deaf_to_admin(void **state)
{
	struct nvme_smart smart;
	struct fail fail = {0};

	(void)state;
	rig_attach(0);
	mock_rule(mock, (struct mock_rule){.admin = true,
				.opcode = NVME_GET_LOG_PAGE,
				.count = 1,
				.action = MOCK_NEVER});
	assert_int_equal(nvme_smart(nvme, &smart, &fail), -ETIMEDOUT);
	assert_non_null(strstr(fail.text, "not answered in time"));
	assert_int_equal(nvme_smart(nvme, &smart, &fail), -EBUSY);
	rig_pass(SECOND_NS);
	assert_int_equal(nvme_smart(nvme, &smart, &fail), 0);
	expect_alive();
	rig_detach();
}

/* --- row 32: fatal, and resets --------------------------------------------------------------- */

static void test_fatal(void **state)
{
	(void)state;
	rig_attach(0);
	for (unsigned i = 0; i < COUNT; i++)
		fill(mock->namespaces[0].data + i * 4096, 4096, i);
	rule(MOCK_FATAL, 50, 1, 0);
	submit_reads(COUNT);
	expect_all(COUNT, 0);
	assert_memory_equal(space, mock->namespaces[0].data, COUNT * 4096);
	assert_int_equal(mock->enables, 2);
	expect_alive();
	rig_detach();
}

/* Writes through bounce buffers, and large ones, survive a reset as well. */
static void test_fatal_writes(void **state)
{
	static char outside[64 << 10];

	(void)state;
	rig_attach(0);
	fill(outside, sizeof(outside), 5);
	fill(space, SPACE_BYTES, 6);
	rule(MOCK_FATAL, 3, 1, 0);
	rig_job(&jobs[0], IO_WRITE, outside, 0, 16);
	rig_job(&jobs[1], IO_WRITE, space, 100, 200);
	rig_job(&jobs[2], IO_WRITE_ZEROES, NULL, 1000, 100);
	rig_submit(jobs, 3);
	expect_all(3, 0);
	assert_memory_equal(mock->namespaces[0].data, outside, sizeof(outside));
	assert_memory_equal(mock->namespaces[0].data + 100 * 4096, space, 200 * 4096);
	assert_int_equal(mock->enables, 2);
	assert_int_equal(arena_free_bytes(memory_arena(0)), arena_bytes(memory_arena(0)));
	rig_detach();
}

static void test_too_many_resets(void **state)
{
	(void)state;
	rig_attach(0);
	for (unsigned i = 0; i < 3; i++) {
		mock->fatal = true;
		rig_pass(SECOND_NS);
		expect_alive();
	}
	rig_pass(HOUR_NS); /* forgotten */
	for (unsigned i = 0; i < 3; i++) {
		mock->fatal = true;
		rig_pass(SECOND_NS);
		expect_alive();
	}
	rule(MOCK_FATAL, 0, 1, 0);
	submit_reads(10);
	expect_all(10, -EIO);
	expect_state(NVME_FAILED, "more than 3 resets within an hour");
	assert_int_equal(rig_events(NVME_HAPPENED_FAILED), 1);
	assert_false(mock->enabled);
	submit_reads(3);
	expect_all(3, -EIO);
	rig_detach();
}

/* It can only be silenced. */
static void test_cannot_be_reset(void **state)
{
	(void)state;
	rig_attach(0);
	mock->will_not_disable = mock->reset_fails = true;
	rule(MOCK_NEVER, 0, 0, 0);
	mock->ignores_abort = true;
	submit_reads(10);
	expect_all(10, -EIO);
	assert_true(mock->silenced);
	expect_state(NVME_FAILED, "does not let itself be reset");
	rig_detach();
}

/* A reset of the whole function helps. */
static void test_function_reset(void **state)
{
	(void)state;
	rig_attach(0);
	mock->will_not_disable = true;
	mock->fatal = true;
	submit_reads(10);
	expect_all(10, 0);
	assert_int_equal(mock->resets, 1);
	mock->will_not_disable = false;
	expect_alive();
	rig_detach();
}

static void test_other_drive(void **state)
{
	(void)state;
	rig_attach(0);
	memcpy(mock->identity.serial, "OTHER", 5);
	mock->fatal = true;
	submit_reads(10);
	expect_all(10, -EIO);
	expect_state(NVME_FAILED, "came back as another one: OTHER001, not MOCK0001");
	rig_detach();
}

/* --- row 33: garbage ------------------------------------------------------------------------- */

static void test_garbage(void **state)
{
	static const struct {
		enum mock_action action;
		uint64_t value;
	} kinds[] = {
		{MOCK_BOGUS_ID, 0xffff},
		{MOCK_BOGUS_ID, 200}, /* a slot that is not in use */
		{MOCK_BOGUS_ID, 0},
		{MOCK_BOGUS_SQ, 0},
		{MOCK_BOGUS_HEAD, 0},
		{MOCK_TWICE, 0},
		{MOCK_AGAIN, 30000000}, /* its slot has been used again since */
		{MOCK_RANDOM, 0},
	};

	(void)state;
	rig_attach(0);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		mock_rules_clear(mock);
		rule(kinds[i].action, 10, 1, kinds[i].value);
		if (kinds[i].action == MOCK_AGAIN)
			rule(MOCK_DELAY, 0, 0, 100000000);
		mock->enables = 0;
		submit_reads(40);
		expect_all(40, 0);
		rig_pass(SECOND_NS);
		expect(mock->enables == 1, "kind %u was believed", i);
		mock_rules_clear(mock);
		expect_alive();
		rig_pass(HOUR_NS / 2);
	}
	rig_detach();
}

/* A second answer comes when the next command has the slot, and would end it before its time. */
static void test_answered_again(void **state)
{
	(void)state;
	rig_attach(0);
	rule(MOCK_AGAIN, 0, 1, SECOND_NS / 10);
	rule(MOCK_DELAY, 0, 1, SECOND_NS / 2);
	submit_reads(1);
	expect_all(1, 0);
	fill(mock->namespaces[0].data, 4096, 4);
	memset(space, 0, 4096);
	submit_reads(1);
	expect_all(1, 0);
	assert_memory_equal(space, mock->namespaces[0].data, 4096);
	assert_int_equal(mock->enables, 2);
	expect_alive();
	rig_detach();
}

/* The admin queue as well. */
static void test_garbage_admin(void **state)
{
	struct nvme_smart smart;

	(void)state;
	rig_attach(0);
	for (unsigned i = 0; i < 3; i++) {
		static const enum mock_action actions[] = {
			MOCK_BOGUS_ID, MOCK_TWICE, MOCK_BOGUS_SQ};

		mock_rules_clear(mock);
		mock_rule(mock, (struct mock_rule){.admin = true,
					.opcode = NVME_GET_LOG_PAGE,
					.count = 1,
					.action = actions[i],
					.value = 0x1234});
		mock->enables = 0;
		nvme_smart(nvme, &smart, NULL);
		rig_pass(SECOND_NS);
		assert_int_equal(mock->enables, 1);
		expect_alive();
		rig_pass(HOUR_NS);
	}
	rig_detach();
}

/* --- row 34: namespaces that change ---------------------------------------------------------- */

static void change_shrink(void)
{
	mock->namespaces[0].lbas /= 2;
}

static void change_remove(void)
{
	mock->namespaces[0].present = false;
}

static void change_identity(void)
{
	mock->namespaces[0].uuid[3]++;
}

static void change_format(void)
{
	mock->namespaces[0].lba_shift = 12;
	mock->namespaces[0].lbas /= 8;
}

static void test_namespace_changes(void **state)
{
	static void (*const changes[])(void) = {
		change_shrink, change_remove, change_identity, change_format};

	(void)state;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(changes); i++) {
		mock_namespace_set(mock, 0, 64 << 20, 9);
		mock->silenced = false;
		rig_attach(0);
		changes[i / 2]();
		if (i % 2)
			mock->fatal = true; /* seen after a reset */
		else
			mock_event(mock, NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACE,
				NVME_LOG_CHANGED_NAMESPACES);
		rig_pass(SECOND_NS);
		expect_state(NVME_LIVE, ""); /* others of the drive may still be good */
		submit_reads(3);
		expect_all(3, -EIO);
		assert_int_equal(rig_events(NVME_HAPPENED_NAMESPACES), 1);
		rig_detach();
	}
}

/* Nobody said so: the first io that fails brings it out. */
static void test_namespace_shrinks_silently(void **state)
{
	(void)state;
	rig_attach(0);
	mock->namespaces[0].lbas /= 2;
	assert_int_equal(rig_io(IO_READ, space, dev->blocks - 1, 1), -EIO);
	rig_pass(SECOND_NS);
	assert_int_equal(rig_io(IO_READ, space, 0, 1), -EIO);
	rig_detach();
}

static void test_namespace_grows(void **state)
{
	uint64_t blocks;

	(void)state;
	mock->namespaces[0].lbas /= 2;
	rig_attach(0);
	blocks = dev->blocks;
	mock->namespaces[0].lbas *= 2;
	mock_event(mock, NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACE, NVME_LOG_CHANGED_NAMESPACES);
	rig_pass(SECOND_NS);
	assert_int_equal(dev->blocks, blocks);
	assert_int_equal(rig_events(NVME_HAPPENED_NAMESPACES), 1);
	expect_alive();
	rig_detach();
}

/* --- row 35: warnings ------------------------------------------------------------------------ */

static void test_health(void **state)
{
	struct nvme_event event;

	(void)state;
	rig_attach(0);
	for (unsigned i = 0; i < 10; i++) {
		mock_event(mock, NVME_EVENT_HEALTH, 2, NVME_LOG_HEALTH);
		rig_pass(SECOND_NS);
		assert_true(nvme_next_event(nvme, &event));
		assert_int_equal(event.kind, NVME_HAPPENED_HEALTH);
		assert_non_null(strstr(event.text, "spare blocks"));
		assert_false(nvme_next_event(nvme, &event));
	}
	expect_alive();
	rig_detach();
}

/* More than anybody collects. */
static void test_event_flood(void **state)
{
	(void)state;
	rig_attach(0);
	for (unsigned i = 0; i < 100; i++) {
		for (unsigned j = 0; j < 6; j++)
			mock_event(mock, NVME_EVENT_VENDOR, j, 0xc0);
		rig_pass(SECOND_NS / 2);
	}
	assert_int_equal(rig_events(NVME_HAPPENED_OTHER), NVME_EVENTS_MAX);
	expect_alive();
	rig_detach();
}

/* --- errors of single commands --------------------------------------------------------------- */

static void test_statuses(void **state)
{
	static const struct {
		unsigned status, times;
		int expected;
		unsigned commands;
	} cases[] = {
		{NVME_UNRECOVERED_READ, 1, -EIO, 1},
		{NVME_COMMAND_INTERRUPTED, 1, 0, 2},
		{NVME_NAMESPACE_NOT_READY, 3, 0, 4},
		{NVME_NAMESPACE_NOT_READY, 0, -EIO, 4},
		{NVME_NAMESPACE_NOT_READY | NVME_STATUS_DO_NOT_RETRY, 1, -EIO, 1},
		{NVME_INVALID_OPCODE, 1, -EIO, 1},
	};

	(void)state;
	rig_attach(0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		mock_rules_clear(mock);
		rule(MOCK_STATUS, 0, cases[i].times, cases[i].status);
		mock->commands = 0;
		assert_int_equal(rig_io(IO_READ, space, 0, 1), cases[i].expected);
		assert_int_equal(mock->commands, cases[i].commands);
	}
	mock_rules_clear(mock);
	expect_alive();
	assert_int_equal(mock->enables, 1);
	rig_detach();
}

static void test_media_error(void **state)
{
	(void)state;
	rig_attach(0);
	mock->namespaces[0].bad_first = 80;
	mock->namespaces[0].bad_end = 81;
	assert_int_equal(rig_io(IO_READ, space, 0, 20), -EIO);
	assert_int_equal(rig_io(IO_READ, space, 0, 10), 0);
	assert_int_equal(rig_io(IO_READ, space, 10, 1), -EIO);
	assert_int_equal(rig_io(IO_WRITE, space, 10, 1), 0);
	assert_int_equal(rig_io(IO_READ, space, 10, 1), 0);
	rig_detach();
}

/* No memory to bounce through: the queue has one buffer of its own, and the others wait for it. */
static void test_no_bounce_memory(void **state)
{
	static char outside[COUNT * 4096];
	struct arena *arena;
	void *all;

	(void)state;
	rig_attach(0);
	arena = memory_arena(reactor_index(nvme->queues[0]->reactor));
	all = arena_alloc(arena, arena_bytes(arena));
	assert_non_null(all);
	fill(mock->namespaces[0].data, COUNT * 4096, 8);
	for (unsigned i = 0; i < COUNT; i++)
		rig_job(&jobs[i], IO_READ, outside + i * 4096, i, 1);
	rig_submit(jobs, COUNT);
	expect_all(COUNT, 0);
	assert_memory_equal(outside, mock->namespaces[0].data, COUNT * 4096);
	assert_true(reactor_sim_now_ns(group) < SECOND_NS / 4); /* not one at a tick */
	/* Also when it is given back by a reset. */
	rule(MOCK_FATAL, 0, 1, 0);
	rig_submit(jobs, COUNT);
	rig_wait();
	assert_int_equal(jobs[COUNT - 1].io.status, 0);
	arena_free(arena, all);
	rig_detach();
}

/* On a reactor with a queue pair of its own, and on one whose ios another carries. */
#define BOTH(name)                                                          \
	cmocka_unit_test_setup_teardown(name, rig_start, rig_stop),         \
	{                                                                   \
#name " (relayed)", name, rig_start_relayed, rig_stop, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_pulled_out),
		BOTH(test_pulled_out_idle),
		BOTH(test_wanted_back),
		BOTH(test_sigbus),
		BOTH(test_pulled_out_in_reset),
		BOTH(test_slow),
		BOTH(test_never_aborted),
		BOTH(test_never_reset),
		BOTH(test_late),
		BOTH(test_never_again),
		BOTH(test_deaf_to_admin),
		BOTH(test_fatal),
		BOTH(test_fatal_writes),
		BOTH(test_too_many_resets),
		BOTH(test_cannot_be_reset),
		BOTH(test_function_reset),
		BOTH(test_other_drive),
		BOTH(test_garbage),
		BOTH(test_answered_again),
		BOTH(test_garbage_admin),
		BOTH(test_namespace_changes),
		BOTH(test_namespace_shrinks_silently),
		BOTH(test_namespace_grows),
		BOTH(test_health),
		BOTH(test_event_flood),
		BOTH(test_statuses),
		BOTH(test_media_error),
		BOTH(test_no_bounce_memory),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
