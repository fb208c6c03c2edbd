/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a target tells by itself: a namespace that grows, shrinks, goes or becomes another one, and
 * paths that become better or worse; and how a drive with several paths goes from one to another.
 * No test here looks for something to have happened within a time: they wait until it has, or for
 * so long that only a fault is the reason.
 */
#include "nvme_tcp_rig.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "drivers/nvme/wire.h"
#include "drivers/nvme_tcp/pdu.h"

enum { PATIENCE_MS = 20000, HOLD_S = 120 };

#define NOTICE(information, page) (NVME_EVENT_NOTICE | (information) << 8 | (uint32_t)(page) << 16)
#define NAMESPACE_CHANGED NOTICE(NVME_NOTICE_NAMESPACE, NVME_LOG_CHANGED_NAMESPACES)
#define ANA_CHANGED NOTICE(NVME_NOTICE_ANA, NVME_LOG_ANA)

static struct nvme_tcp_status now;

static uint64_t now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void exercise(uint64_t seed)
{
	static char wrote[4 * BLOCK], seen[4 * BLOCK];

	for (unsigned i = 0; i < 4; i++) {
		fill(wrote, sizeof(wrote), seed + i);
		assert_int_equal(transfer(IO_WRITE, wrote, 4 * i, 4), 0);
		assert_int_equal(transfer(IO_READ, seen, 4 * i, 4), 0);
		assert_memory_equal(seen, wrote, sizeof(wrote));
	}
}

/* Until the condition about `now` holds; `with_load`: with requests all the time, none of which may
 * fail. */
#define await(condition, with_load)                                                              \
	do {                                                                                     \
		uint64_t await_end_ms = now_ms() + PATIENCE_MS;                                  \
		nvme_tcp_status(dev, &now);                                                      \
		while (!(condition)) {                                                           \
			expect(now_ms() < await_end_ms, "%s did not happen: %s, %s", #condition, \
				nvme_tcp_state_name(now.state), now.reason);                     \
			if (with_load)                                                           \
				exercise(now_ms());                                              \
			else                                                                     \
				usleep(2000);                                                    \
			nvme_tcp_status(dev, &now);                                              \
		}                                                                                \
	} while (0)

static void start(const struct mock_config *config)
{
	rig_start(config);
	rig.target.hold_s = HOLD_S; /* so what fails soon does so for another reason */
}

/* --- the namespace --------------------------------------------------------------------------- */

static void test_growth(void **state)
{
	struct mock_config config = mock_default;
	struct mock_counts counts;

	(void)state;
	config.bytes = MOCK_BYTES / 4;
	start(&config);
	rig_open();
	for (unsigned i = 2; i <= 4; i++) {
		char says[80];

		config.bytes = MOCK_BYTES / 4 * i;
		snprintf(says, sizeof(says), "has grown from 1048576 to %u bytes", config.bytes);
		mock_change(rig.mock, &config);
		mock_event(rig.mock, NAMESPACE_CHANGED);
		await(strstr(now.reason, says), true);
		assert_int_equal(now.state, NVME_TCP_LIVE);
	}
	assert_int_equal(blockdev_bytes(dev), MOCK_BYTES / 4);
	assert_int_equal(now.losses, 0);
	mock_count(rig.mock, &counts);
	assert_int_equal(counts.events, 3);
	/* A new association does not mind either. */
	rig_kill();
	rig_revive(&config);
	exercise(1);
	await(now.losses == 1 && strstr(now.reason, "has grown from"), true);
	rig_close();
	rig_stop();
}

/* It fails at once, whatever the hold, and serves again when it is what it was. */
static void test_namespace_changes(void **state)
{
	static char memory[BLOCK];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		static const char *const says[] = {"has shrunk from 4194304 to 2097152 bytes",
			"there is no namespace 1", "another namespace, uuid.77777777",
			"has shrunk from"};
		struct mock_config config = mock_default;

		start(&config);
		rig_open();
		exercise(1);
		config.bytes = i == 0 ? MOCK_BYTES / 2 : i == 3 ? 512 : 0;
		config.gone = i == 1;
		config.uuid = i == 2 ? 0x77 : config.uuid;
		mock_change(rig.mock, &config);
		mock_event(rig.mock, NAMESPACE_CHANGED);
		await(now.state == NVME_TCP_AWAY, false);
		await(strstr(now.reason, says[i]), false);
		assert_int_equal(transfer(IO_READ, memory, 0, 1), -ENODEV);
		assert_int_equal(transfer(IO_WRITE, memory, 0, 1), -ENODEV);
		mock_change(rig.mock, &mock_default);
		await(now.state == NVME_TCP_LIVE, false);
		while (transfer(IO_READ, memory, 0, 1)) /* its queue follows in a moment */
			usleep(1000);
		exercise(2);
		rig_close();
		rig_stop();
	}
}

/* Requests that wait when the news come fail as well. */
static void test_waiting_requests(void **state)
{
	struct mock_config config = mock_default;
	static char memory[BLOCK];

	(void)state;
	start(&config);
	rig_open();
	config.gone = true;
	mock_change(rig.mock, &config);
	mock_fault(rig.mock, MOCK_SILENT, true, 0, 1000);
	mock_event(rig.mock, NAMESPACE_CHANGED);
	assert_int_equal(transfer(IO_WRITE, memory, 0, 1), -ENODEV);
	rig_close();
	rig_stop();
}

/* Nobody tells; the first request that is refused does. */
static void test_silent_changes(void **state)
{
	static const unsigned statuses[] = {NVME_LBA_OUT_OF_RANGE, NVME_INVALID_NAMESPACE};
	static char memory[BLOCK];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct mock_config config = mock_default;

		config.no_events = true;
		config.status = statuses[i] | NVME_STATUS_DO_NOT_RETRY;
		start(&config);
		rig_open();
		config.bytes = i ? 0 : MOCK_BYTES / 2;
		config.gone = i;
		mock_change(rig.mock, &config);
		mock_fault(rig.mock, MOCK_STATUS, true, 0, 1);
		assert_int_equal(transfer(IO_WRITE, memory, 600, 1), i ? -ENODEV : -EIO);
		await(now.state == NVME_TCP_AWAY, false);
		await(strstr(now.reason, i ? "no namespace 1" : "has shrunk"), false);
		assert_int_equal(transfer(IO_READ, memory, 0, 1), -ENODEV);
		rig_close();
		rig_stop();
	}
}

/* --- other events ---------------------------------------------------------------------------- */

static void test_other_events(void **state)
{
	struct mock_counts counts;

	(void)state;
	start(&mock_default);
	rig_open();
	mock_event(rig.mock, NVME_EVENT_HEALTH | 1 << 8 | NVME_LOG_HEALTH << 16);
	mock_event(rig.mock, NVME_EVENT_ERROR | 1 << 8 | NVME_LOG_ERROR << 16);
	mock_event(rig.mock, NOTICE(NVME_NOTICE_FIRMWARE, NVME_LOG_FIRMWARE));
	mock_event(rig.mock, NVME_EVENT_VENDOR | 0xc0 << 16);
	do {
		exercise(1);
		mock_count(rig.mock, &counts);
	} while (counts.events < 4);
	exercise(2);
	nvme_tcp_status(dev, &now);
	assert_int_equal(now.losses, 0);
	mock_event(rig.mock, NVME_EVENT_ERROR | 3 << 8 | NVME_LOG_ERROR << 16);
	await(now.losses == 1, true);
	mock_event(rig.mock, MOCK_BABBLE);
	await(now.losses == 2, true);
	exercise(3);
	rig_close();
	rig_stop();
}

/* A target that has none serves as well. */
static void test_no_events(void **state)
{
	struct mock_config config = mock_default;
	struct mock_counts counts;

	(void)state;
	config.no_events = true;
	start(&config);
	rig_open();
	exercise(1);
	rig_kill();
	rig_revive(&config);
	exercise(2);
	nvme_tcp_status(dev, &now);
	assert_int_equal(now.losses, 1);
	for (uint64_t end_ms = now_ms() + 500; now_ms() < end_ms;)
		exercise(3);
	mock_count(rig.mock, &counts);
	assert_in_range(counts.event_requests, 1, 3); /* and not again */
	rig_close();
	rig_stop();
}

/* --- paths ----------------------------------------------------------------------------------- */

static struct mock *second;

/* Two ways to the same blocks; ANA states, 0: none. */
static void start_two(unsigned first_state, unsigned second_state, unsigned failback_s)
{
	struct mock_config config = mock_default;

	config.ana_state = (uint8_t)first_state;
	start(&config);
	config.ana_state = (uint8_t)second_state;
	second = mock_start(&config, rig.content, 0);
	rig.target.paths = 2;
	rig.target.path[1] = rig.target.path[0];
	rig.target.path[1].port = mock_port(second);
	rig.target.failback_s = failback_s;
}

static void stop_two(void)
{
	rig_close();
	assert_string_equal(mock_complaint(second), "");
	mock_stop(second);
	rig_stop();
}

static void set_ana(struct mock *mock, unsigned ana_state)
{
	struct mock_config config = mock_default;

	config.ana_state = (uint8_t)ana_state;
	mock_change(mock, &config);
	mock_event(mock, ANA_CHANGED);
}

static void test_ana_choice(void **state)
{
	static const struct {
		unsigned first, second, path;
	} rows[] = {
		{ANA_OPTIMIZED, ANA_OPTIMIZED, 0},
		{ANA_NON_OPTIMIZED, ANA_OPTIMIZED, 1},
		{ANA_NON_OPTIMIZED, ANA_NON_OPTIMIZED, 0},
		{ANA_INACCESSIBLE, ANA_NON_OPTIMIZED, 1},
		{ANA_CHANGE, ANA_OPTIMIZED, 1},
		{ANA_OPTIMIZED, ANA_PERSISTENT_LOSS, 0},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		start_two(rows[i].first, rows[i].second, 0);
		rig_open();
		nvme_tcp_status(dev, &now);
		assert_int_equal(now.path, rows[i].path);
		exercise(i);
		stop_two();
	}
}

/* A path that becomes inaccessible is left at once; one that is not optimized any more as soon as
 * there is a better one. */
static void test_ana_change(void **state)
{
	(void)state;
	start_two(ANA_OPTIMIZED, ANA_NON_OPTIMIZED, 1);
	rig_open();
	exercise(1);
	set_ana(rig.mock, ANA_INACCESSIBLE);
	await(now.state == NVME_TCP_LIVE && now.path == 1, true);
	assert_false(now.optimized);
	assert_int_equal(now.losses, 1);
	set_ana(second, ANA_OPTIMIZED);
	await(now.optimized && now.path == 1, true);
	set_ana(rig.mock, ANA_OPTIMIZED);
	await(now.state == NVME_TCP_LIVE && now.path == 0, true);
	assert_int_equal(now.moves, 1);
	set_ana(rig.mock, ANA_NON_OPTIMIZED);
	await(now.state == NVME_TCP_LIVE && now.path == 1, true);
	assert_int_equal(now.moves, 2);
	assert_int_equal(now.losses, 1);
	stop_two();
}

/* All are inaccessible, as in a transition: requests wait. */
static void test_ana_transition(void **state)
{
	(void)state;
	start_two(ANA_OPTIMIZED, ANA_INACCESSIBLE, 0);
	rig_open();
	set_ana(rig.mock, ANA_CHANGE);
	await(strstr(now.reason, "ANA state"), false);
	assert_int_equal(now.state, NVME_TCP_RECONNECTING);
	set_ana(second, ANA_OPTIMIZED);
	exercise(1);
	await(now.state == NVME_TCP_LIVE && now.path == 1, true);
	stop_two();
}

/* A namespace that is gone on one path is still there on the other. */
static void test_gone_on_one_path(void **state)
{
	struct mock_config config = mock_default;

	(void)state;
	start_two(0, 0, 0);
	rig_open();
	config.gone = true;
	mock_change(rig.mock, &config);
	mock_event(rig.mock, NAMESPACE_CHANGED);
	await(now.state == NVME_TCP_LIVE && now.path == 1, true);
	stop_two();
}

static void test_failback(void **state)
{
	uint64_t revived_ms;

	(void)state;
	start_two(0, 0, 1);
	rig_open();
	exercise(1);
	rig_kill();
	await(now.state == NVME_TCP_LIVE && now.path == 1, true);
	rig_revive(&mock_default);
	revived_ms = now_ms();
	await(now.state == NVME_TCP_LIVE && now.path == 0, true);
	assert_true(now_ms() - revived_ms >= 1000);
	assert_int_equal(now.moves, 1);
	assert_int_equal(now.losses, 1);
	exercise(2);
	stop_two();
}

/* Another namespace, or a smaller one, is no better path. */
static void test_no_failback(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct mock_config config = mock_default;
		struct mock_counts before, counts;

		start_two(0, 0, i ? 1 : 0);
		rig_open();
		rig_kill();
		await(now.state == NVME_TCP_LIVE && now.path == 1, true);
		config.uuid = i == 1 ? 0x77 : config.uuid;
		config.bytes = i == 2 ? MOCK_BYTES / 2 : 0;
		rig_revive(&config);
		mock_count(rig.mock, &before);
		if (!i) /* nobody looks */
			for (uint64_t end_ms = now_ms() + 1500; now_ms() < end_ms;)
				exercise(1);
		do { /* several have looked */
			exercise(2);
			mock_count(rig.mock, &counts);
		} while (i && counts.connections < 6);
		assert_int_equal(counts.io_connections, 0);
		assert_true(i || counts.connections == 0);
		nvme_tcp_status(dev, &now);
		assert_int_equal(now.path, 1);
		assert_int_equal(now.moves, 0);
		stop_two();
	}
}

/* A path that comes and goes has to be good for longer and longer. */
static void test_flapping(void **state)
{
	(void)state;
	start_two(0, 0, 1);
	rig_open();
	for (unsigned i = 0; i < 3; i++) {
		uint64_t revived_ms;

		rig_kill();
		await(now.state == NVME_TCP_LIVE && now.path == 1, true);
		rig_revive(&mock_default);
		revived_ms = now_ms();
		await(now.state == NVME_TCP_LIVE && now.path == 0, true);
		assert_true(now_ms() - revived_ms >= 1000u << i);
		assert_int_equal(now.moves, i + 1);
	}
	stop_two();
}

/* Who looks for a better path may be on its way when the drive ends. */
static void test_end_while_looking(void **state)
{
	(void)state;
	start_two(0, 0, 1);
	rig_open();
	rig_kill();
	await(now.state == NVME_TCP_LIVE && now.path == 1, true);
	rig_revive(&mock_default);
	mock_freeze(rig.mock, true);
	for (uint64_t end_ms = now_ms() + 1500; now_ms() < end_ms;)
		exercise(3);
	stop_two();
}

int main(void)
{
#define ON_THREAD(test) cmocka_unit_test_setup_teardown(test, start_thread, stop_thread)
	const struct CMUnitTest tests[] = {
		ON_THREAD(test_growth),
		ON_THREAD(test_namespace_changes),
		ON_THREAD(test_waiting_requests),
		ON_THREAD(test_silent_changes),
		ON_THREAD(test_other_events),
		ON_THREAD(test_no_events),
		ON_THREAD(test_ana_choice),
		ON_THREAD(test_ana_change),
		ON_THREAD(test_ana_transition),
		ON_THREAD(test_gone_on_one_path),
		ON_THREAD(test_failback),
		ON_THREAD(test_no_failback),
		ON_THREAD(test_flapping),
		ON_THREAD(test_end_while_looking),
	};

	unit_start();
	/* BRAID_TEST=PATTERN runs some of them, with the log. */
	log_threshold(getenv("BRAID_TEST") ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR - 1);
	cmocka_set_test_filter(getenv("BRAID_TEST"));
	return cmocka_run_group_tests_name("nvme_tcp_path", tests, NULL, NULL);
}
