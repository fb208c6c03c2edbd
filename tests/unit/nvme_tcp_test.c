/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe/TCP drives over a mock target on the loopback interface: what they are and what they do when
 * all goes well. What goes wrong is in nvme_tcp_fault_test.c. */
#include "nvme_tcp_rig.h"

#include <errno.h>

#include "base/bits.h"
#include "base/random.h"

/* --- what it is ------------------------------------------------------------------------------ */

static void test_facts(void **state)
{
	struct nvme_tcp_status status;
	struct mock_config config = mock_default;
	char name[64];

	(void)state;
	rig_start(&config);
	rig_open();
	snprintf(name, sizeof(name), "127.0.0.1:%u/" MOCK_NQN "/1", mock_port(rig.mock));
	assert_string_equal(dev->name, name);
	assert_string_equal(dev->ops->driver, "nvme-tcp");
	assert_true(nvme_tcp_is(dev));
	assert_int_equal(dev->block_bytes, 4096);
	assert_int_equal(dev->sector_bytes, 512);
	assert_int_equal(blockdev_bytes(dev), MOCK_BYTES);
	assert_false(dev->volatile_cache);
	nvme_tcp_status(dev, &status);
	assert_int_equal(status.state, NVME_TCP_LIVE);
	assert_string_equal(nvme_tcp_state_name(status.state), "live");
	assert_string_equal(status.identity, "uuid.5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a");
	assert_string_equal(status.serial, "MOCK1");
	assert_string_equal(status.model, "Mock ?target");
	assert_string_equal(status.firmware, "1");
	assert_int_equal(status.lba_bytes, 512);
	assert_int_equal(status.queues, 8);
	check_range_errors();
	rig_close();
	rig_stop();
}

static void test_identity_without_uuid(void **state)
{
	struct nvme_tcp_status status;
	struct mock_config config = mock_default;

	(void)state;
	config.uuid = 0;
	rig_start(&config);
	rig_open();
	nvme_tcp_status(dev, &status);
	assert_string_equal(status.identity, "nvme.MOCK1.1");
	rig_close();
	rig_stop();
}

/* --- data ------------------------------------------------------------------------------------ */

/* Random requests of all kinds against a copy in memory, and then the blocks themselves. */
static void check(uint64_t seed)
{
	dev->discard_zeroes = true; /* this one does, though it does not promise it */
	check_against_model(seed, 150, 1, (uint32_t)dev->blocks / 4);
}

static void test_shapes(void **state)
{
	static const struct {
		unsigned lba_shift, capsule, mdts, alignment;
		uint32_t h2c, grant, c2h;
		bool success, shuffle;
	} shapes[] = {
		{9, 8192, 0, 0, 128 << 10, 0, 0, false, false},
		{9, 8192, 0, 0, 128 << 10, 0, 0, true, true},
		{12, 0, 1, 0, 4096, 0, 4096, false, true},
		{12, 4096, 5, 31, 64 << 10, 12 << 10, 516, true, true},
		{9, 512, 3, 7, 4096, 4096, 3 << 10, false, true},
		{9, 16384, 0, 2, 4100, 8 << 10, 10000, true, false},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++)
		for (unsigned digests = 0; digests < 4; digests++) {
			struct mock_config config = mock_default;

			config.lba_shift = shapes[i].lba_shift;
			config.capsule_bytes = shapes[i].capsule;
			config.mdts = shapes[i].mdts;
			config.alignment = shapes[i].alignment;
			config.h2c_bytes = shapes[i].h2c;
			config.grant_bytes = shapes[i].grant;
			config.c2h_bytes = shapes[i].c2h;
			config.success_flag = shapes[i].success;
			config.shuffle = shapes[i].shuffle;
			config.seed = i;
			rig_start(&config);
			rig.target.header_digest = digests & 1;
			rig.target.data_digest = digests & 2;
			rig_open();
			check(10 * i + digests);
			rig_close();
			rig_stop();
		}
}

static void test_blocks_of_512(void **state)
{
	struct mock_config config = mock_default;

	(void)state;
	rig_start(&config);
	rig.target.block_bytes = 512;
	rig_open();
	assert_int_equal(dev->block_bytes, 512);
	check(1);
	rig_close();
	rig_stop();
}

/* Many at once, more than there is room for; answers overtake each other. */
static void test_batches(void **state)
{
	enum { COUNT = 700 };
	struct request *batch = calloc(COUNT, sizeof(*batch));
	char *memory = malloc((size_t)COUNT * BLOCK);
	struct mock_config config = mock_default;
	static const unsigned entries[] = {2, 16, 128};

	(void)state;
	config.shuffle = true;
	for (unsigned round = 0; round < 2 * ARRAY_SIZE(entries); round++) {
		config.entries = entries[round / 2];
		rig_start(&config);
		rig.target.data_digest = round & 1;
		rig_open();
		fill(memory, (size_t)COUNT * BLOCK, round + 1);
		for (unsigned pass = 0; pass < 2; pass++) {
			for (unsigned i = 0; i < COUNT; i++) {
				batch[i].iov = (struct iovec){memory + (size_t)i * BLOCK, BLOCK};
				batch[i].io = (struct io){.kind = pass ? IO_READ : IO_WRITE,
					.block = i,
					.blocks = 1,
					.iov = &batch[i].iov,
					.iovs = 1};
			}
			if (pass)
				memset(memory, 0, (size_t)COUNT * BLOCK);
			run_batch(batch, COUNT);
			for (unsigned i = 0; i < COUNT; i++)
				assert_int_equal(batch[i].io.status, 0);
		}
		assert_memory_equal(memory, rig.content, (size_t)COUNT * BLOCK);
		rig_close();
		rig_stop();
	}
	free(memory);
	free(batch);
}

/* --- flags ----------------------------------------------------------------------------------- */

static void submit_flags(struct mock_counts *counts)
{
	static char memory[2 * BLOCK];
	struct iovec iov = {memory, sizeof(memory)};
	struct io io = {.kind = IO_WRITE, .block = 3, .blocks = 2, .iov = &iov, .iovs = 1};

	assert_int_equal(run_io(io), 0);
	io.fua = true;
	assert_int_equal(run_io(io), 0);
	assert_int_equal(run_io((struct io){.kind = IO_FLUSH}), 0);
	assert_int_equal(clear(IO_WRITE_ZEROES, 1, 3, false), 0);
	assert_int_equal(clear(IO_WRITE_ZEROES, 1, 3, true), 0);
	assert_int_equal(clear(IO_DISCARD, 1, 3, true), 0);
	mock_count(rig.mock, counts);
}

static void test_cache(void **state)
{
	struct mock_config config = mock_default;
	struct mock_counts counts;

	(void)state;
	rig_start(&config);
	rig_open();
	submit_flags(&counts);
	/* Without a cache there is nothing to make stable. */
	assert_int_equal(counts.stable_writes, 0);
	assert_int_equal(counts.flushes, 0);
	assert_int_equal(counts.writes, 2);
	assert_int_equal(counts.zeroes, 2);
	assert_int_equal(counts.unmaps, 1);
	assert_int_equal(counts.discards, 1);
	rig_close();
	rig_stop();

	config.volatile_cache = true;
	rig_start(&config);
	rig_open();
	assert_false(dev->volatile_cache); /* written through */
	submit_flags(&counts);
	assert_int_equal(counts.stable_writes, 2);
	assert_int_equal(counts.flushes, 1);
	rig_close();
	rig_stop();

	rig_start(&config);
	rig.target.write_back = true;
	rig_open();
	assert_true(dev->volatile_cache);
	submit_flags(&counts);
	assert_int_equal(counts.stable_writes, 1);
	assert_int_equal(counts.flushes, 1);
	rig_close();
	rig_stop();
}

/* Zeroes are written by a target that cannot; a discard is nothing. */
static void test_poor_target(void **state)
{
	static const char zeros[64 << 10];
	struct mock_config config = mock_default;
	struct mock_counts counts;

	(void)state;
	config.no_dataset = config.no_write_zeroes = true;
	rig_start(&config);
	rig_open();
	fill(rig.content, 1 << 20, 3);
	assert_int_equal(clear(IO_WRITE_ZEROES, 4, 64, true), 0);
	assert_int_equal(clear(IO_DISCARD, 0, 100, true), 0);
	mock_count(rig.mock, &counts);
	assert_int_equal(counts.zeroes + counts.discards, 0);
	for (unsigned i = 4; i < 68; i += 16)
		assert_memory_equal(rig.content + i * BLOCK, zeros, sizeof(zeros));
	assert_int_not_equal(rig.content[4 * BLOCK - 1], 0);
	assert_int_not_equal(rig.content[68 * BLOCK], 0);
	rig_close();
	rig_stop();
}

/* --- discovery ------------------------------------------------------------------------------- */

static void test_discovery(void **state)
{
	static struct nvme_tcp_found found[NVME_TCP_FOUND_MAX];
	struct mock_config config = mock_default;
	struct fail fail = {0};
	uint32_t nsids[8];
	unsigned count;

	(void)state;
	rig_start(&config);
	expect(!nvme_tcp_discover(&rig.target.path[0], found, &count, &fail), "%s", fail.text);
	assert_int_equal(count, 2); /* neither itself nor what is on another transport */
	assert_string_equal(found[0].nqn, MOCK_NQN);
	assert_string_equal(found[0].path.host, "127.0.0.1");
	assert_int_equal(found[0].path.port, mock_port(rig.mock));
	assert_false(found[0].discovery);
	assert_true(found[1].discovery);
	expect(!nvme_tcp_namespaces(&rig.target, nsids, 8, &count, &fail), "%s", fail.text);
	assert_int_equal(count, 2);
	assert_int_equal(nsids[0], 1);
	assert_int_equal(nsids[1], 9);
	rig_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_facts, start_thread, stop_thread),
		cmocka_unit_test_setup_teardown(
			test_identity_without_uuid, start_thread, stop_thread),
		cmocka_unit_test_setup_teardown(test_shapes, start_thread, stop_thread),
		cmocka_unit_test_setup_teardown(test_blocks_of_512, start_thread, stop_thread),
		cmocka_unit_test_setup_teardown(test_batches, start_thread, stop_thread),
		cmocka_unit_test_setup_teardown(test_cache, start_thread, stop_thread),
		cmocka_unit_test_setup_teardown(test_poor_target, start_thread, stop_thread),
		cmocka_unit_test(test_discovery),
	};

	unit_start();
	return cmocka_run_group_tests_name("nvme_tcp", tests, NULL, NULL);
}
