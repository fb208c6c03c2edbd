/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe/TCP drives over a mock target that breaks the protocol, hangs up, restarts, does not answer
 * or is somebody else. */
#include "nvme_tcp_rig.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/random.h"
#include "drivers/nvme/wire.h"

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t losses(void)
{
	struct nvme_tcp_status status;

	nvme_tcp_status(dev, &status);
	return status.losses;
}

/* Writes and reads back; each transfer is larger than half of a capsule. What lies behind the data
 * in the vector of a read is not touched. */
static void exercise(uint64_t seed)
{
	static char wrote[4 * BLOCK], seen[5 * BLOCK], behind[BLOCK];
	struct iovec iov = {seen, sizeof(seen)};

	memset(behind, 0xee, sizeof(behind));
	for (unsigned i = 0; i < 8; i++) {
		struct io read = {
			.kind = IO_READ, .block = 4 * i, .blocks = 4, .iov = &iov, .iovs = 1};

		fill(wrote, sizeof(wrote), seed + i);
		memset(seen, 0xee, sizeof(seen));
		assert_int_equal(transfer(IO_WRITE, wrote, 4 * i, 4), 0);
		assert_int_equal(run_io(read), 0);
		assert_memory_equal(seen, wrote, sizeof(wrote));
		assert_memory_equal(seen + sizeof(wrote), behind, sizeof(behind));
		assert_memory_equal(rig.content + 4 * i * BLOCK, wrote, sizeof(wrote));
	}
}

/* --- a command goes wrong -------------------------------------------------------------------- */

/* clang-format off */
static const struct wrong {
	enum mock_fault fault;
	bool write, in_capsule, header_digest, data_digest;
	unsigned losses; /* of the association; 0: only the command suffers */
} wrongs[] = {
	{MOCK_CUT_BEFORE,       false, false, false, false, 1},
	{MOCK_CUT_BEFORE,       true,  true,  false, false, 1},
	{MOCK_CUT_BEFORE,       true,  false, false, false, 1},
	{MOCK_CUT_AFTER,        false, false, false, false, 1},
	{MOCK_CUT_AFTER,        true,  true,  false, false, 1},
	{MOCK_CUT_AFTER,        true,  false, true,  true,  1},
	{MOCK_CUT_IN_DATA,      false, false, false, false, 1},
	{MOCK_CUT_IN_DATA,      false, false, true,  true,  1},
	{MOCK_CUT_IN_ANSWER,    false, false, false, false, 1},
	{MOCK_CUT_IN_ANSWER,    true,  true,  false, false, 1},
	{MOCK_CUT_IN_GRANT,     true,  false, false, false, 1},
	{MOCK_PDU_TYPE,         false, false, false, false, 1},
	{MOCK_PDU_TYPE,         true,  true,  false, false, 1},
	{MOCK_PDU_HEADER_BYTES, false, false, false, false, 1},
	{MOCK_PDU_HEADER_BYTES, true,  true,  false, false, 1},
	{MOCK_PDU_BYTES,        false, false, false, false, 1},
	{MOCK_PDU_BYTES,        true,  true,  false, false, 1},
	{MOCK_PDU_HUGE,         false, false, false, false, 1},
	{MOCK_PDU_HUGE,         true,  true,  false, false, 1},
	{MOCK_DATA_PLACE,       false, false, true,  false, 1},
	{MOCK_UNKNOWN_ID,       false, false, false, false, 1},
	{MOCK_UNKNOWN_ID,       true,  true,  false, false, 1},
	{MOCK_STALE_ID,         false, false, false, false, 1},
	{MOCK_STALE_ID,         true,  false, false, false, 1},
	{MOCK_ANSWER_OLD,       true,  true,  false, false, 1},
	{MOCK_ANSWER_TWICE,     false, false, false, false, 1},
	{MOCK_ANSWER_TWICE,     true,  true,  false, false, 1},
	{MOCK_DATA_TWICE,       false, false, false, false, 1},
	{MOCK_DATA_BEYOND,      false, false, false, false, 1},
	{MOCK_DATA_LONG,        false, false, false, false, 1},
	{MOCK_DATA_LONG,        false, false, true,  true,  1},
	{MOCK_DATA_GAP,         false, false, false, false, 1},
	{MOCK_DATA_MISSING,     false, false, false, false, 1},
	{MOCK_DATA_FOR_WRITE,   true,  false, false, false, 1},
	{MOCK_DATA_EMPTY,       false, false, false, false, 1},
	{MOCK_GRANT_BEYOND,     true,  false, false, false, 1},
	{MOCK_GRANT_EMPTY,      true,  false, false, false, 1},
	{MOCK_GRANT_FOR_READ,   false, false, false, false, 1},
	{MOCK_GRANT_TWICE,      true,  false, false, false, 1},
	{MOCK_HEADER_DIGEST,    false, false, true,  false, 1},
	{MOCK_HEADER_DIGEST,    true,  true,  true,  true,  1},
	{MOCK_DIGEST_FLAG,      false, false, true,  false, 1},
	{MOCK_DIGEST_FLAG,      true,  true,  false, false, 1},
	{MOCK_TERMINATE,        false, false, true,  true,  1},
	{MOCK_DATA_DIGEST,      false, false, false, true,  0},
	{MOCK_DATA_DIGEST,      false, false, true,  true,  0},
};
/* clang-format on */

/* Whatever goes wrong once is made good, and what is read is right. */
static void test_wrongs(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrongs); i++) {
		const struct wrong *wrong = &wrongs[i];
		struct mock_config config = mock_default;
		struct mock_counts counts;

		config.capsule_bytes = wrong->in_capsule ? 32 << 10 : 0;
		rig_start(&config);
		rig.target.header_digest = wrong->header_digest;
		rig.target.data_digest = wrong->data_digest;
		rig_open();
		exercise(1000 * i);
		assert_int_equal(losses(), 0);
		mock_fault(rig.mock, wrong->fault, wrong->write, 2, 1);
		exercise(1000 * i + 500);
		expect(losses() == wrong->losses, "fault %d, write %d: %llu losses", wrong->fault,
			wrong->write, (unsigned long long)losses());
		mock_count(rig.mock, &counts);
		assert_int_equal(counts.io_connections, 1 + wrong->losses);
		rig_close();
		rig_stop();
	}
}

/* What is wrong every time ends in an error, after a bounded number of attempts. */
static void test_wrong_for_ever(void **state)
{
	static const enum mock_fault faults[] = {
		MOCK_DATA_DIGEST, MOCK_HEADER_DIGEST, MOCK_CUT_BEFORE, MOCK_UNKNOWN_ID};
	static char seen[BLOCK];
	struct mock_counts counts;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(faults); i++) {
		rig_start(&mock_default);
		rig.target.header_digest = rig.target.data_digest = true;
		rig_open();
		mock_fault(rig.mock, faults[i], false, 0, 1000);
		assert_int_equal(transfer(IO_READ, seen, 0, 1), -EIO);
		mock_count(rig.mock, &counts);
		assert_true(counts.io_connections <= 7);
		mock_fault(rig.mock, MOCK_FINE, false, 0, 0);
		exercise(i);
		rig_close();
		rig_stop();
	}
}

static void test_silence(void **state)
{
	uint64_t begun_ms = now_ms();

	(void)state;
	rig_start(&mock_default);
	rig_open();
	mock_fault(rig.mock, MOCK_SILENT, true, 1, 1);
	exercise(1);
	assert_int_equal(losses(), 1);
	assert_in_range(now_ms() - begun_ms, 7900, 60000); /* load makes it later */
	rig_close();
	rig_stop();
}

static void test_statuses(void **state)
{
	enum { DNR = 1 << 14 };
	static const struct {
		unsigned status, times, losses;
		int result;
	} rows[] = {
		{NVME_UNRECOVERED_READ, 1, 0, -EIO},
		{NVME_LBA_OUT_OF_RANGE | DNR, 1, 0, -EIO},
		{NVME_INVALID_NAMESPACE | DNR, 1, 0, -ENODEV},
		{NVME_NAMESPACE_WRITE_PROTECTED, 1, 0, -EROFS},
		{NVME_NAMESPACE_NOT_READY, 1, 0, 0},
		{NVME_NAMESPACE_NOT_READY, 100, 0, -EIO},
		{NVME_NAMESPACE_NOT_READY | DNR, 1, 0, -EIO},
		{NVME_DATA_TRANSFER_ERROR, 2, 0, 0},
		{NVME_ANA_TRANSITION, 1, 1, 0},
		{NVME_ANA_INACCESSIBLE, 100, 6, -EIO},
	};
	static char memory[2 * BLOCK];

	(void)state;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		struct mock_config config = mock_default;
		bool write = i & 1;

		config.status = rows[i / 2].status;
		rig_start(&config);
		rig_open();
		mock_fault(rig.mock, MOCK_STATUS, write, 0, rows[i / 2].times);
		assert_int_equal(
			transfer(write ? IO_WRITE : IO_READ, memory, 0, 2), rows[i / 2].result);
		/* The thread counts them, a moment after the last one has ended an io. */
		for (unsigned wait = 0; losses() < rows[i / 2].losses && wait < 200; wait++)
			usleep(10 * 1000);
		assert_int_equal(losses(), rows[i / 2].losses);
		mock_fault(rig.mock, MOCK_FINE, write, 0, 0);
		assert_int_equal(transfer(IO_READ, memory, 0, 2), 0);
		rig_close();
		rig_stop();
	}
}

/* --- the target goes ------------------------------------------------------------------------- */

static atomic_bool stop_restarts;
static unsigned restarts;

static bool has_served(void)
{
	struct mock_counts counts;

	mock_count(rig.mock, &counts);
	return counts.reads + counts.writes >= 20;
}

static void *restart(void *argument)
{
	const struct mock_config *config = argument;

	for (restarts = 0; !atomic_load(&stop_restarts); restarts++) {
		usleep(150 * 1000);
		/* However slow the machine is: a request breaks a few times only. */
		while (restarts % 3 == 0 && !has_served() && !atomic_load(&stop_restarts))
			usleep(1000);
		rig_kill();
		usleep(restarts % 3 * 100 * 1000);
		rig_revive(config);
	}
	return NULL;
}

/* A target that restarts again and again: nothing is lost, and nobody is told. */
static void test_restarts(void **state)
{
	(void)state;
	for (unsigned digests = 0; digests < 2; digests++) {
		struct mock_config config = mock_default;
		pthread_t thread;

		config.shuffle = true;
		config.seed = digests;
		rig_start(&config);
		rig.target.header_digest = rig.target.data_digest = digests;
		rig.target.hold_s = 60;
		rig_open();
		dev->discard_zeroes = true;
		atomic_store(&stop_restarts, false);
		pthread_create(&thread, NULL, restart, &config);
		for (uint64_t i = 0, end_ms = now_ms() + 6000; now_ms() < end_ms || losses() < 5;
			i++) {
			assert_int_equal(
				clear(IO_WRITE_ZEROES, 0, (uint32_t)dev->blocks, false), 0);
			check_against_model(i, 300, 1, (uint32_t)dev->blocks / 8);
		}
		atomic_store(&stop_restarts, true);
		pthread_join(thread, NULL);
		print_message("%u restarts, %llu losses\n", restarts, (unsigned long long)losses());
		rig_close();
		rig_stop();
	}
}

static void test_hold(void **state)
{
	static char memory[BLOCK];
	struct nvme_tcp_status status;
	uint64_t begun_ms;

	(void)state;
	rig_start(&mock_default);
	rig.target.hold_s = 1;
	rig_open();
	exercise(1);
	rig_kill();
	begun_ms = now_ms();
	assert_int_equal(transfer(IO_WRITE, memory, 0, 1), -ENODEV);
	assert_in_range(now_ms() - begun_ms, 900, 30000); /* likewise */
	nvme_tcp_status(dev, &status);
	assert_int_equal(status.state, NVME_TCP_AWAY);
	assert_non_null(strstr(status.reason, "refuses connections"));
	begun_ms = now_ms();
	assert_int_equal(transfer(IO_READ, memory, 0, 1), -ENODEV); /* at once */
	assert_true(now_ms() - begun_ms < 300);
	rig_revive(&mock_default);
	while (status.state != NVME_TCP_LIVE && now_ms() - begun_ms < 9000) {
		usleep(10000);
		nvme_tcp_status(dev, &status);
	}
	usleep(100 * 1000);
	exercise(2);
	rig_close();
	rig_stop();
}

/* Another namespace at the same place is not ours. */
static void test_stranger(void **state)
{
	static char memory[BLOCK];
	struct nvme_tcp_status status;
	struct mock_config other = mock_default;

	(void)state;
	other.uuid = 0x77;
	/* With the usual hold: the stranger has to be met before it ends, on a busy machine too. */
	rig_start(&mock_default);
	rig_open();
	rig_kill();
	rig_revive(&other);
	assert_int_equal(transfer(IO_READ, memory, 0, 1), -ENODEV);
	nvme_tcp_status(dev, &status);
	assert_non_null(strstr(status.reason, "another namespace, uuid.77777777"));
	rig_close();
	rig_stop();
}

static void test_paths(void **state)
{
	struct nvme_tcp_status status;
	struct mock_counts counts;
	struct mock *second;

	(void)state;
	rig_start(&mock_default);
	second = mock_start(&mock_default, rig.content, 0);
	rig.target.paths = 3;
	rig.target.path[1] = rig.target.path[2] = rig.target.path[0];
	rig.target.path[1].port = 1; /* nobody */
	rig.target.path[2].port = mock_port(second);
	rig_open();
	exercise(1);
	mock_count(second, &counts);
	assert_int_equal(counts.connections, 0);
	rig_kill();
	exercise(2);
	nvme_tcp_status(dev, &status);
	assert_int_equal(status.path, 2);
	rig_revive(&mock_default);
	mock_stop(second);
	exercise(3);
	nvme_tcp_status(dev, &status);
	assert_int_equal(status.path, 0);
	rig_close();
	/* The first one is away from the beginning. */
	rig.target.path[1] = rig.target.path[0];
	rig.target.path[0].port = 1;
	rig_open();
	exercise(4);
	rig_close();
	rig_stop();
}

/* --- writes in doubt ------------------------------------------------------------------------- */

/* The cable of the first path is pulled with a write in flight: it must not be written over the
 * second before the first controller has given up by itself (2 * keep alive). */
static void test_fence(void **state)
{
	static char memory[BLOCK];
	struct mock_counts counts;
	struct mock *second;
	uint64_t begun_ms, took_ms[2];

	(void)state;
	for (unsigned write = 0; write < 2; write++) {
		rig_start(&mock_default);
		second = mock_start(&mock_default, rig.content, 0);
		rig.target.paths = 2;
		rig.target.hold_s = 20;
		rig.target.path[1] = rig.target.path[0];
		rig.target.path[1].port = mock_port(second);
		rig_open();
		exercise(1);
		mock_freeze(rig.mock, true);
		begun_ms = now_ms();
		assert_int_equal(transfer(write ? IO_WRITE : IO_READ, memory, 0, 1), 0);
		took_ms[write] = now_ms() - begun_ms;
		mock_count(second, &counts);
		assert_int_equal(counts.io_connections, 1);
		print_message("%s: %llu ms\n", write ? "write" : "read",
			(unsigned long long)took_ms[write]);
		rig_close();
		mock_stop(second);
		rig_stop();
	}
	assert_true(took_ms[1] >= took_ms[0] + 2500);
	assert_true(took_ms[0] < 7000);
}

/* With a cache in use, a flush does not vouch for what a restart may have lost. */
static void test_suspicion(void **state)
{
	static char memory[BLOCK];
	struct mock_config config = mock_default;
	struct io flush = {.kind = IO_FLUSH};

	(void)state;
	config.volatile_cache = true;
	rig_start(&config);
	rig.target.write_back = true;
	rig_open();
	assert_int_equal(transfer(IO_WRITE, memory, 0, 1), 0);
	assert_int_equal(run_io(flush), 0);
	rig_kill();
	rig_revive(&config);
	assert_int_equal(transfer(IO_WRITE, memory, 0, 1), 0);
	assert_int_equal(run_io(flush), -EIO);
	assert_int_equal(run_io(flush), 0);
	mock_fault(rig.mock, MOCK_CUT_BEFORE, true, 0, 1); /* the flush is in flight */
	assert_int_equal(run_io(flush), 0); /* and the controller has been reset: it lives */
	assert_int_equal(losses(), 2);
	rig_close();
	rig_stop();
}

/* --- no connection --------------------------------------------------------------------------- */

static void refused(const struct mock_config *config, int error, const char *says)
{
	struct fail fail = {0};
	int result;

	rig_start(config);
	result = nvme_tcp_create(&dev, &rig.target, &fail);
	expect(result == error && strstr(fail.text, says), "%d: %s", result, fail.text);
	rig_stop();
}

static void test_refusals(void **state)
{
	static const struct {
		enum mock_refusal refusal;
		int error;
		const char *says;
	} rows[] = {
		{MOCK_MUTE, -ETIMEDOUT, "does not answer"},
		{MOCK_CUT_ACCEPT, -ECONNRESET, "hung up"},
		{MOCK_CUT_REQUEST, -ECONNRESET, "hung up"},
		{MOCK_CUT_CONNECT, -ECONNRESET, "hung up"},
		{MOCK_NOISE, -EPROTO, "does not speak NVMe/TCP as it should: its first PDU"},
		{MOCK_VERSION, -EPROTO, "version"},
		{MOCK_LIMIT, -EPROTO, "MAXH2CDATA"},
		{MOCK_ALIGNMENT, -EPROTO, "alignment"},
		{MOCK_AUTHENTICATE, -EACCES, "demands authentication (DH-HMAC-CHAP)"},
		{MOCK_BUSY, -EBUSY, "no more room"},
		{MOCK_STRANGER, -EACCES, "does not let this host use"},
		{MOCK_NEVER_READY, -ETIMEDOUT, "does not become ready"},
		{MOCK_FATAL, -EIO, "fatal error"},
	};
	struct mock_config config = mock_default;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		config.refusal = rows[i].refusal;
		refused(&config, rows[i].error, rows[i].says);
	}
	config = mock_default;
	config.metadata = true;
	refused(&config, -ENOTSUP, "formatted with metadata");
	config = mock_default;
	config.ana_state = 3;
	refused(&config, -EHOSTUNREACH, "ANA state 3");
}

static void expect_refusal(int error, const char *says)
{
	struct fail fail = {0};
	int result = nvme_tcp_create(&dev, &rig.target, &fail);

	expect(result == error && strstr(fail.text, says), "%d: %s", result, fail.text);
}

static void test_wrong_targets(void **state)
{
	struct mock_config config = mock_default;

	(void)state;
	config.no_digests = true;
	config.ana_state = 2;
	rig_start(&config);
	snprintf(rig.target.nqn, sizeof(rig.target.nqn), "nqn.nobody");
	expect_refusal(-ENOENT, "there is no subsystem nqn.nobody at 127.0.0.1");
	snprintf(rig.target.nqn, sizeof(rig.target.nqn), MOCK_NQN);
	rig.target.nsid = 2;
	expect_refusal(-ENOENT, "there is no namespace 2 in");
	expect_refusal(-ENOENT, "it has 1, 9");
	rig.target.nsid = 100;
	expect_refusal(-ENOENT, "there is no namespace 100 in");
	rig.target.nsid = 1;
	rig.target.header_digest = true;
	expect_refusal(-ENOTSUP, "cannot do header digests: attach without hdgst=1");
	rig.target.header_digest = false;
	rig.target.data_digest = true;
	expect_refusal(-ENOTSUP, "attach without ddgst=1");
	rig.target.data_digest = false;
	rig.target.path[0].port = 1;
	expect_refusal(-ECONNREFUSED, "127.0.0.1:1 refuses connections");
	snprintf(rig.target.path[0].host, NVME_TCP_HOST_BYTES, "no.such.host.invalid");
	expect_refusal(-EHOSTUNREACH, "the address of 'no.such.host.invalid' cannot be found");
	rig_stop();
}

/* --- noise ----------------------------------------------------------------------------------- */

/* Flipped bits on the I/O connection: an io may fail, but none hangs, and with digests none that
 * succeeds has wrong data. */
static void test_noise(void **state)
{
	enum { COUNT = 64 };
	static char memory[COUNT * BLOCK];
	static struct request batch[COUNT];
	unsigned good = 0, bad = 0;

	(void)state;
	for (unsigned seed = 0; seed < 24; seed++) {
		struct mock_config config = mock_default;
		bool digests = seed % 3;

		config.seed = seed;
		config.corrupt_per_million = seed % 2 ? 3 : 200;
		config.shuffle = true;
		config.capsule_bytes = seed % 4 < 2 ? 0 : 8192;
		rig_start(&config);
		rig.target.hold_s = 1;
		rig.target.header_digest = rig.target.data_digest = digests;
		rig_open();
		fill(rig.content, COUNT * BLOCK, seed);
		for (unsigned i = 0; i < COUNT; i++) {
			bool write = !digests && i % 3 == 0;

			batch[i].iov = (struct iovec){memory + i * BLOCK, BLOCK};
			batch[i].io = (struct io){.kind = write ? IO_WRITE : IO_READ,
				.block = i,
				.blocks = 1,
				.iov = &batch[i].iov,
				.iovs = 1};
		}
		run_batch(batch, COUNT);
		for (unsigned i = 0; i < COUNT; i++) {
			bad += batch[i].io.status != 0;
			good += !batch[i].io.status;
			expect(!digests || batch[i].io.status ||
					!memcmp(memory + i * BLOCK, rig.content + i * BLOCK, BLOCK),
				"seed %u: block %u is wrong", seed, i);
		}
		rig_close();
		rig_drop();
	}
	print_message("%u requests well, %u failed\n", good, bad);
	assert_true(good > 300);
}

/* Flipped bits while the drive is made: it is, or there is a sentence. */
static void test_noise_at_creation(void **state)
{
	unsigned made = 0;

	(void)state;
	for (unsigned seed = 0; seed < 60; seed++) {
		struct mock_config config = mock_default;
		struct fail fail = {0};

		config.seed = seed;
		config.corrupt_per_million = 1500;
		config.corrupt_admin = true;
		rig_start(&config);
		rig.target.header_digest = seed & 1;
		rig.target.data_digest = seed & 2;
		if (!nvme_tcp_create(&dev, &rig.target, &fail)) {
			made++;
			blockdev_destroy(dev);
		} else {
			assert_true(fail.error && fail.text[0]);
		}
		rig_drop();
	}
	print_message("%u of 60 were made\n", made);
}

int main(void)
{
#define ON_THREAD(test) cmocka_unit_test_setup_teardown(test, start_thread, stop_thread)
	const struct CMUnitTest tests[] = {
		ON_THREAD(test_wrongs),
		ON_THREAD(test_wrong_for_ever),
		ON_THREAD(test_silence),
		ON_THREAD(test_statuses),
		ON_THREAD(test_restarts),
		ON_THREAD(test_hold),
		ON_THREAD(test_stranger),
		ON_THREAD(test_paths),
		ON_THREAD(test_fence),
		ON_THREAD(test_suspicion),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_wrong_targets),
		ON_THREAD(test_noise),
		cmocka_unit_test(test_noise_at_creation),
	};

	unit_start();
	/* BRAID_TEST=PATTERN runs some of them, with the log. */
	log_threshold(getenv("BRAID_TEST") ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR - 1);
	cmocka_set_test_filter(getenv("BRAID_TEST"));
	return cmocka_run_group_tests_name("nvme_tcp_fault", tests, NULL, NULL);
}
