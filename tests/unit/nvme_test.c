/* SPDX-License-Identifier: Apache-2.0 */
/* The NVMe driver over a controller that behaves: io of every shape, what the drive can and what it
 * cannot. */
#include "nvme_rig.h"

#include <errno.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/random.h"

static char *data(void)
{
	return mock->namespaces[0].data;
}

/* --- bring-up -------------------------------------------------------------------------------- */

static void test_identity(void **state)
{
	struct nvme_identity identity;
	struct nvme_namespace namespace;

	(void)state;
	rig_attach(0);
	nvme_identity(nvme, &identity);
	assert_string_equal(identity.address, "0000:65:00.0");
	assert_string_equal(identity.serial, "MOCK0001");
	assert_string_equal(identity.model, "braid mock drive");
	assert_string_equal(identity.firmware, "1.0");
	assert_int_equal(identity.transfer_bytes_max, 128 << 10);
	assert_int_equal(identity.queues, 1);
	assert_true(identity.volatile_cache && identity.can_format && identity.can_sanitize_block);
	assert_false(identity.can_crypto_erase);
	assert_string_equal(dev->name, "0000:65:00.0:1");
	assert_string_equal(dev->ops->driver, "nvme");
	assert_int_equal(dev->block_bytes, 4096);
	assert_int_equal(dev->sector_bytes, 512);
	assert_int_equal(dev->blocks, (64 << 20) / 4096);
	assert_true(dev->volatile_cache && dev->discard_zeroes);
	assert_ptr_equal(nvme_of(dev), nvme);
	nvme_namespace(dev, &namespace);
	assert_string_equal(namespace.identity, "uuid.10203040-5060-4780-90a0-b0c0d0e0f001");
	assert_int_equal(namespace.formats, 2);
	assert_int_equal(namespace.format[1].lba_bytes, 4096);
	assert_int_equal(nvme_state(nvme, NULL), NVME_LIVE);
	rig_detach();
	assert_int_equal(mock->shutdowns, 1);
	assert_false(mock->enabled);
}

/* The best identity that there is. */
static void test_identities(void **state)
{
	struct mock_namespace *namespace = &mock->namespaces[0];
	struct nvme_namespace seen;
	static const char *const expected[] = {
		"eui.0102030405060708090a0b0c0d0e0f10", "eui.a1a2a3a4a5a6a7a8", "nvme.MOCK0001.1"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		memset(namespace->uuid, 0, 16);
		memcpy(namespace->nguid,
			"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10", 16);
		memcpy(namespace->eui64, "\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8", 8);
		if (i >= 1)
			memset(namespace->nguid, 0, 16);
		if (i == 2)
			memset(namespace->eui64, 0, 8);
		mock->silenced = false;
		rig_attach(0);
		nvme_namespace(dev, &seen);
		assert_string_equal(seen.identity, expected[i]);
		rig_detach();
	}
}

static void refused(const char *text)
{
	struct fail fail = {0};

	mock->silenced = mock->destroyed = false;
	assert_true(rig_try(&fail) < 0);
	expect(strstr(fail.text, text), "'%s' is not in: %s", text, fail.text);
	assert_true(mock->destroyed);
	assert_false(mock->enabled && mock->ready && !mock->silenced);
}

static void test_refusals(void **state)
{
	uint32_t cap_high;

	(void)state;
	mock->will_not_enable = true;
	refused("has not become ready");
	mock->will_not_enable = false;
	mock->queues_granted = 8;
	mock->namespaces[0].metadata_bytes = 8;
	refused("has metadata beside its blocks");
	mock->namespaces[0].metadata_bytes = 0;
	mock->namespaces[0].command_set = 2;
	refused("not of the NVM command set");
	mock->namespaces[0].command_set = 0;
	mock->namespaces[0].lbas = 0;
	refused("no size that makes sense");
	mock_namespace_set(mock, 0, 64 << 20, 14);
	refused("has blocks of 16384 bytes");
	mock_namespace_set(mock, 0, 64 << 20, 9);
	mock->identity.controller_type = NVME_CONTROLLER_DISCOVERY;
	refused("discovery controller");
	mock->identity.controller_type = NVME_CONTROLLER_IO;
	mock_rule(mock, (struct mock_rule){.admin = true,
				.opcode = NVME_IDENTIFY,
				.action = MOCK_STATUS,
				.value = NVME_INTERNAL_ERROR});
	refused("refuses to identify its controller: internal error");
	mock_rules_clear(mock);
	mock_rule(mock,
		(struct mock_rule){.admin = true, .opcode = NVME_CREATE_SQ, .action = MOCK_NEVER});
	refused("has not answered in time when asked to create a submission queue");
	mock_rules_clear(mock);
	memcpy(&cap_high, mock->registers + NVME_CAP + 4, 4);
	cap_high |= 1 << 16;
	memcpy(mock->registers + NVME_CAP + 4, &cap_high, 4);
	refused("memory pages of 8192 bytes");
	mock_die(mock);
	refused("does not answer: is it plugged in?");
}

/* No namespaces: that is success. */
static void test_no_namespaces(void **state)
{
	struct fail fail = {0};

	(void)state;
	mock->namespaces[0].present = false;
	assert_int_equal(rig_try(&fail), 0);
	assert_int_equal(nvme_device_count(nvme), 0);
	nvme_destroy(nvme);
}

/* A controller that someone has left running. */
static void test_left_enabled(void **state)
{
	uint32_t cc = NVME_CC_ENABLE, csts = NVME_CSTS_READY;

	(void)state;
	memcpy(mock->registers + NVME_CC, &cc, sizeof(cc));
	memcpy(mock->registers + NVME_CSTS, &csts, sizeof(csts));
	mock->enabled = mock->ready = true;
	mock->disable_ns = 50000000;
	rig_attach(0);
	assert_int_equal(rig_io(IO_READ, space, 0, 1), 0);
	rig_detach();
	assert_int_equal(mock->resets, 0);
	/* One that does not let itself be disabled is reset. */
	mock->will_not_disable = mock->enabled = mock->ready = true;
	memcpy(mock->registers + NVME_CC, &cc, sizeof(cc));
	memcpy(mock->registers + NVME_CSTS, &csts, sizeof(csts));
	mock->silenced = false;
	rig_attach(0);
	assert_int_equal(mock->resets, 1);
	mock->will_not_disable = false;
	rig_detach();
}

/* --- io -------------------------------------------------------------------------------------- */

static void test_simple(void **state)
{
	(void)state;
	rig_attach(0);
	fill(space, 8192, 1);
	assert_int_equal(rig_io(IO_WRITE, space, 3, 2), 0);
	assert_memory_equal(data() + 3 * 4096, space, 8192);
	assert_int_equal(rig_io(IO_READ, space + 16384, 3, 2), 0);
	assert_memory_equal(space + 16384, space, 8192);
	assert_int_equal(mock->reads, 1);
	assert_int_equal(mock->writes, 1);
	assert_int_equal(mock->fuas, 0);
	check_range_errors();
	rig_detach();
}

static void test_flush_and_fua(void **state)
{
	struct job job;

	(void)state;
	for (unsigned cache = 0; cache < 2; cache++) {
		mock->identity.volatile_cache = (uint8_t)cache;
		mock->flushes = mock->fuas = 0;
		mock->silenced = false;
		rig_attach(0);
		assert_int_equal(dev->volatile_cache, cache);
		assert_int_equal(rig_io(IO_FLUSH, NULL, 0, 0), 0);
		assert_int_equal(mock->flushes, cache);
		rig_job(&job, IO_WRITE, space, 0, 1)->io.fua = true;
		rig_submit(&job, 1);
		rig_wait();
		rig_job(&job, IO_WRITE_ZEROES, NULL, 0, 1)->io.fua = true;
		rig_submit(&job, 1);
		rig_wait();
		assert_int_equal(mock->fuas, 2);
		rig_detach();
	}
}

/* A vector of pieces of multiples of `unit` bytes in the registered space, or outside. */
static size_t random_vector(
	struct random *random, struct iovec *iov, unsigned *count, size_t bytes, unsigned unit)
{
	static char outside[SPACE_BYTES];
	bool pages = random_chance(random, 500);
	size_t left = bytes, at = 0;
	char *base = random_chance(random, 150) ? outside : space;

	at = random_below(random, 64) * (pages ? 4096 : unit);
	for (*count = 0; left; (*count)++) {
		size_t length = pages ? 4096 * (1 + random_below(random, 8))
				      : unit * (1 + random_below(random, 100));

		length = *count == 199 || length > left ? left : length;
		iov[*count] = (struct iovec){base + at, length};
		left -= length;
		at += length;
		if (random_chance(random, 300))
			at += (pages ? 4096 : unit) * random_below(random, 5);
		at = pages ? align_up(at, 4096) : at;
		expect(at < SPACE_BYTES, "the test has too little space");
	}
	return bytes;
}

static void copy_vector(const struct iovec *iov, unsigned count, size_t skip, char *flat)
{
	for (unsigned i = 0; i < count; i++) {
		memcpy(flat, (char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
		flat += iov[i].iov_len - skip;
		skip = 0;
	}
}

/* Random reads and writes of every shape against the mock's medium; unit: of the pieces. */
static void check_shapes(uint64_t seed, unsigned steps, unsigned unit)
{
	struct random random = {.state = seed};
	static char flat[2 << 20];
	uint32_t blocks_max = (600 << 10) / dev->block_bytes;

	for (unsigned step = 0; step < steps; step++) {
		bool read = random_chance(&random, 500), large = random_chance(&random, 200);
		uint32_t blocks = 1 + (uint32_t)random_below(&random, large ? blocks_max : 40);
		uint64_t block = random_below(&random, dev->blocks - blocks);
		size_t bytes = (size_t)blocks * dev->block_bytes;
		struct iovec iov[200];
		struct job job = {.completions = 0};
		unsigned count;

		random_vector(&random, iov, &count, bytes, unit);
		job.io = (struct io){.kind = read ? IO_READ : IO_WRITE,
			.block = block,
			.blocks = blocks,
			.iov = iov,
			.iovs = count};
		fill(data() + block * dev->block_bytes, bytes, seed + step);
		if (!read)
			for (unsigned i = 0; i < count; i++)
				fill(iov[i].iov_base, iov[i].iov_len, step * 1000 + i);
		rig_submit(&job, 1);
		rig_wait();
		assert_int_equal(job.io.status, 0);
		copy_vector(iov, count, 0, flat);
		expect(!memcmp(flat, data() + block * dev->block_bytes, bytes),
			"seed %llu step %u: wrong data", (unsigned long long)seed, step);
	}
	for (unsigned i = 0; i < reactor_count(group); i++)
		assert_int_equal(arena_free_bytes(memory_arena(i)), arena_bytes(memory_arena(i)));
}

static void test_shapes(void **state)
{
	static const uint8_t mdts[] = {1, 5, 0, 9, 5, 9, 0, 1};
	static const uint8_t sgls[] = {
		0, 0, 0, 0, NVME_SGLS_BYTES, NVME_SGLS_BYTES, NVME_SGLS_DWORDS, NVME_SGLS_DWORDS};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(mdts); i++) {
		mock->identity.mdts = mdts[i];
		mock->identity.sgls = le32_of(sgls[i]);
		mock->sgls = 0;
		mock->blocks_max = 0;
		mock->silenced = false;
		rig_attach(i % 2 ? 512 : 4096);
		check_shapes(i, 150, i % 2 ? 4 : 512);
		check_shapes(100 + i, 60, 1);
		if (mdts[i])
			assert_true(mock->blocks_max * 512 <= (4096u << mdts[i]));
		assert_int_equal(mock->sgls > 20, sgls[i] > 0);
		rig_detach();
	}
}

/* Reads 16 KiB into equal pieces, the first one `skip` bytes into a page; how many commands. */
static unsigned commands_for(size_t piece, size_t skip)
{
	struct iovec iov[64];
	struct job job = {.iov = {NULL, 0}};
	unsigned before = mock->reads;

	for (unsigned i = 0; i < 16384 / piece; i++)
		iov[i] = (struct iovec){space + i * 8192 + skip, piece};
	job.io = (struct io){.kind = IO_READ,
		.block = 7,
		.blocks = 4,
		.iov = iov,
		.iovs = (uint32_t)(16384 / piece)};
	rig_submit(&job, 1);
	rig_wait();
	assert_int_equal(job.io.status, 0);
	for (unsigned i = 0; i < 16384 / piece; i++)
		assert_memory_equal(iov[i].iov_base, data() + 7 * 4096 + i * piece, piece);
	return mock->reads - before;
}

/* Where PRPs need several commands, or a copy, one SGL does. */
static void test_sgls(void **state)
{
	static const struct {
		uint8_t sgls;
		size_t piece, skip;
		unsigned commands, by_sgl;
	} cases[] = {
		{0, 4096, 0, 1, 0}, {NVME_SGLS_BYTES, 4096, 0, 1, 0}, /* PRPs cover it: they stay */
		{0, 4096, 512, 4, 0}, {NVME_SGLS_BYTES, 4096, 512, 1, 1},
		{NVME_SGLS_DWORDS, 4096, 512, 1, 1}, {0, 1024, 512, 1, 0}, /* copied */
		{NVME_SGLS_BYTES, 1024, 512, 1, 1}, {NVME_SGLS_BYTES, 1024, 3, 1, 1},
		{NVME_SGLS_DWORDS, 1024, 3, 1, 0}, /* copied */
		{NVME_SGLS_BYTES, 256, 512, 2, 2}, /* 64 pieces, and a list holds 32 */
	};

	(void)state;
	fill(mock->namespaces[0].data + 7 * 4096, 16384, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		mock->identity.sgls = le32_of(cases[i].sgls);
		mock->sgls = 0;
		mock->silenced = false;
		rig_attach(0);
		assert_int_equal(commands_for(cases[i].piece, cases[i].skip), cases[i].commands);
		expect(mock->sgls == cases[i].by_sgl, "case %u: %u SGLs", i, mock->sgls);
		rig_detach();
	}
}

/* The model of every driver: memory that no device reaches, all kinds of requests. */
static void test_model(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 4; kind++) {
		mock_namespace_set(mock, 0, 16 << 20, kind & 1 ? 12 : 9);
		mock->identity.mdts = kind & 2 ? 1 : 7;
		mock->limits.write_zeroes_limit = kind & 2 ? 3 : 0;
		mock->silenced = false;
		rig_attach(kind == 2 ? 512 : 0);
		check_against_model(kind, 200, 1, (1 << 20) / dev->block_bytes);
		rig_detach();
	}
}

/* What large ios become: one command as far as it may be, straight to the memory. */
static void test_large(void **state)
{
	(void)state;
	rig_attach(0);
	assert_int_equal(rig_io(IO_READ, space, 0, 32), 0); /* 128 KiB: mdts */
	assert_int_equal(mock->reads, 1);
	assert_int_equal(rig_io(IO_READ, space + 512, 0, 32), 0); /* not on a page */
	assert_int_equal(mock->reads, 2);
	assert_int_equal(rig_io(IO_READ, space, 0, 33), 0);
	assert_int_equal(mock->reads, 4);
	assert_int_equal(rig_io(IO_READ, space + 2, 0, 1), 0); /* through a bounce buffer */
	assert_int_equal(mock->reads, 5);
	rig_detach();
}

/* More at once than there are slots. */
static void test_many(void **state)
{
	struct job *jobs = calloc(JOBS_MAX, sizeof(*jobs));

	(void)state;
	rig_attach(0);
	for (unsigned i = 0; i < JOBS_MAX; i++)
		rig_job(&jobs[i], i % 2 ? IO_READ : IO_WRITE, space + i % 900 * 4096, i, 1);
	rig_submit(jobs, JOBS_MAX);
	rig_wait();
	for (unsigned i = 0; i < JOBS_MAX; i++) {
		assert_int_equal(jobs[i].completions, 1);
		assert_int_equal(jobs[i].io.status, 0);
	}
	assert_int_equal(mock->reads + mock->writes, JOBS_MAX);
	rig_detach();
	free(jobs);
}

/* --- discard and zeroes ---------------------------------------------------------------------- */

static void clear_and_check(enum io_kind kind, bool may_unmap, bool zeros)
{
	struct job job;

	memset(data(), 7, 64 << 20);
	rig_job(&job, kind, NULL, 100, 9000)->io.may_unmap = may_unmap;
	rig_submit(&job, 1);
	rig_wait();
	assert_int_equal(job.io.status, 0);
	assert_int_equal(data()[100 * 4096 - 1], 7);
	assert_int_equal(data()[9100 * 4096], 7);
	if (!zeros)
		return;
	for (size_t i = 100 * 4096; i < 9100 * 4096; i++)
		expect(!data()[i], "not zero");
}

static void test_zeroes(void **state)
{
	static const struct {
		uint8_t deallocate;
		uint16_t commands;
		bool discard_zeroes;
	} drives[] = {
		{NVME_DLFEAT_ZEROES | NVME_DLFEAT_WRITE_ZEROES,
			NVME_ONCS_DATASET | NVME_ONCS_WRITE_ZEROES, true},
		{2 | NVME_DLFEAT_WRITE_ZEROES, NVME_ONCS_DATASET | NVME_ONCS_WRITE_ZEROES, false},
		{0, NVME_ONCS_DATASET | NVME_ONCS_WRITE_ZEROES, false},
		{NVME_DLFEAT_ZEROES, NVME_ONCS_DATASET, false},
		{0, 0, false},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(drives); i++) {
		bool dataset = drives[i].commands & NVME_ONCS_DATASET;

		mock->namespaces[0].deallocate = drives[i].deallocate;
		mock->identity.io_commands = le16_of(drives[i].commands);
		mock->limits.dsm_range_blocks = le32_of(i % 2 ? 8 * 1000 : 0);
		mock->limits.write_zeroes_limit = i % 2 ? 4 : 0;
		mock->datasets = mock->deallocations = mock->zeroes = 0;
		mock->silenced = false;
		rig_attach(0);
		assert_int_equal(dev->discard_zeroes, drives[i].discard_zeroes);
		clear_and_check(IO_WRITE_ZEROES, false, true);
		assert_int_equal(mock->deallocations, 0);
		clear_and_check(IO_WRITE_ZEROES, true, true);
		assert_int_equal(mock->deallocations > 0, drives[i].discard_zeroes);
		clear_and_check(IO_DISCARD, true, drives[i].discard_zeroes);
		assert_int_equal(mock->datasets > 0, dataset && !drives[i].discard_zeroes);
		rig_detach();
	}
}

/* --- several namespaces ---------------------------------------------------------------------- */

static void test_namespaces(void **state)
{
	struct fail fail = {0};

	(void)state;
	mock_namespace_set(mock, 1, 8 << 20, 12);
	mock_namespace_set(mock, 3, 4 << 20, 9);
	mock_namespace_set(mock, 2, 4 << 20, 9);
	mock->namespaces[2].metadata_bytes = 16; /* left out */
	assert_int_equal(rig_try(&fail), 0);
	assert_int_equal(nvme_device_count(nvme), 3);
	for (unsigned i = 0; i < 3; i++) {
		unsigned nsid = i == 2 ? 4 : i + 1;

		dev = nvme_device(nvme, i);
		open_device();
		assert_int_equal(blockdev_bytes(dev), mock->namespaces[nsid - 1].bytes);
		fill(space, 4096, nsid);
		assert_int_equal(rig_io(IO_WRITE, space, nsid, 1), 0);
		assert_memory_equal(mock->namespaces[nsid - 1].data + nsid * 4096, space, 4096);
		blockdev_close_queue(queue);
		blockdev_destroy(dev); /* does nothing */
	}
	nvme_destroy(nvme);
}

/* --- threads --------------------------------------------------------------------------------- */

static int start_threads(void **state)
{
	if (start_thread(state))
		return -1;
	space = memory_map(SPACE_BYTES, NULL);
	mock = mock_create(NULL, true);
	return !space || dma_register(space, SPACE_BYTES, "a test", NULL) ? -1 : 0;
}

static int stop_threads(void **state)
{
	mock_destroy(mock);
	dma_unregister(space);
	memory_unmap(space, SPACE_BYTES);
	return stop_thread(state);
}

static void await_state(enum nvme_state state)
{
	for (unsigned i = 0; i < 1000 && nvme_state(nvme, NULL) != state; i++)
		usleep(10000);
	assert_int_equal(nvme_state(nvme, NULL), state);
}

/* With real reactors and the watcher's own thread: load, a fatal error under load, and the end. */
static void test_threads(void **state)
{
	struct nvme_options options = {.group = group, .deadline_ms = 1000};
	struct fail fail = {0};
	static struct request batch[200];

	(void)state;
	mock_thread_start(mock);
	expect(!nvme_create(&nvme, &mock->bus, &options, true, &fail), "%s", fail.text);
	dev = nvme_device(nvme, 0);
	open_device();
	fill(space, SPACE_BYTES, 3);
	for (unsigned round = 0; round < 5; round++) {
		if (round == 2)
			mock_rule(mock, (struct mock_rule){.opcode = -1,
						.after = 100,
						.count = 1,
						.action = MOCK_FATAL});
		for (unsigned i = 0; i < 200; i++) {
			batch[i].iov = (struct iovec){space + i * 4096, 4096};
			batch[i].io = (struct io){.kind = round % 2 ? IO_READ : IO_WRITE,
				.block = i,
				.blocks = 1,
				.iov = &batch[i].iov,
				.iovs = 1};
		}
		run_batch(batch, 200);
		for (unsigned i = 0; i < 200; i++)
			assert_int_equal(batch[i].io.status, 0);
	}
	assert_memory_equal(data(), space, 200 * 4096);
	assert_int_equal(mock->enables, 2);
	await_state(NVME_LIVE);
	mock->removed = true;
	await_state(NVME_GONE);
	assert_int_equal(transfer(IO_READ, space, 0, 1), -ENODEV);
	blockdev_close_queue(queue);
	nvme_destroy(nvme);
}

#define RELAYED_TEST(name)                                                  \
	{                                                                   \
#name " (relayed)", name, rig_start_relayed, rig_stop, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_identity),
		RIG_TEST(test_identities),
		RIG_TEST(test_refusals),
		RIG_TEST(test_no_namespaces),
		RIG_TEST(test_left_enabled),
		RIG_TEST(test_simple),
		RIG_TEST(test_flush_and_fua),
		RIG_TEST(test_shapes),
		RIG_TEST(test_sgls),
		RIG_TEST(test_model),
		RIG_TEST(test_large),
		RIG_TEST(test_many),
		RIG_TEST(test_zeroes),
		RIG_TEST(test_namespaces),
		RELAYED_TEST(test_simple),
		RELAYED_TEST(test_flush_and_fua),
		RELAYED_TEST(test_shapes),
		RELAYED_TEST(test_model),
		RELAYED_TEST(test_large),
		RELAYED_TEST(test_many),
		cmocka_unit_test_setup_teardown(test_threads, start_threads, stop_threads),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
