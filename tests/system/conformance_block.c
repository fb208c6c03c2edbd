/* SPDX-License-Identifier: Apache-2.0 */
/* The block device itself: lines 35 to 62 of the conformance list, by number. */
#include "base/bits.h"
#include "client.h"

#define IN VIRTIO_BLK_T_IN
#define OUT VIRTIO_BLK_T_OUT

static void c35_flush_offered(void **state)
{
	struct client client;

	(void)state;
	client_open(&client, 1, 0);
	assert_true(client.frontend.features & VIRTIO_BLK_F_FLUSH);
	assert_int_equal(client_request(&client, VIRTIO_BLK_T_FLUSH, 0, NULL, 0), 0);
	client_close(&client);
}

static void c36_writeback_without_flush(void **state)
{
	struct client client;

	(void)state;
	client_open(&client, 1, VIRTIO_BLK_F_FLUSH);
	client_need_feature(&client, VIRTIO_BLK_F_CONFIG_WCE);
	assert_int_equal(frontend_read_config(&client.frontend, NULL), 0);
	assert_int_equal(client.frontend.config.writeback, 0);
	client_close(&client);
}

static void c37_38_unused_fields(void **state)
{
	struct client client;

	(void)state;
	client_open(&client, 1, 0);
	assert_int_equal(client.frontend.config.unused0, 0);
	for (unsigned i = 0; i < sizeof(client.frontend.config.unused1); i++)
		assert_int_equal(client.frontend.config.unused1[i], 0);
	assert_false(client.frontend.offered & VIRTIO_BIT(17)); /* ZONED */
	client_close(&client);
}

static void c40_capacity(void **state)
{
	struct client client;
	uint64_t blocks = client_environment("BRAID_TEST_BLOCKS");
	uint64_t block_bytes = client_environment("BRAID_TEST_BLOCK_BYTES");
	uint8_t *data;
	uint64_t sectors;

	(void)state;
	client_open(&client, 1, 0);
	sectors = le64_get(client.frontend.config.capacity);
	if (block_bytes)
		assert_int_equal(le32_get(client.frontend.config.blk_size), block_bytes);
	if (blocks)
		assert_int_equal(
			sectors, blocks * (le32_get(client.frontend.config.blk_size) / SECTOR));
	data = client_memory(&client, 2 * SECTOR, 0);
	assert_int_equal(client_request(&client, IN, sectors - 1, data, SECTOR), 0);
	assert_int_equal(client_request(&client, IN, sectors, data, SECTOR), VIRTIO_BLK_S_IOERR);
	assert_int_equal(
		client_request(&client, IN, sectors - 1, data, 2 * SECTOR), VIRTIO_BLK_S_IOERR);
	client_close(&client);
}

static void c41_read_only(void **state)
{
	const char *path = getenv("BRAID_TEST_RO_SOCKET");
	struct fail fail = {0};
	struct client client = {0};
	struct frontend_options options = {
		.path = path,
		.features = client_features(),
		.protocol = FRONTEND_PROTOCOL,
		.queues = 1,
		.queue_size = CLIENT_QUEUE_SIZE,
		.memory_bytes = CLIENT_MEMORY_BYTES,
	};
	uint8_t *data, *before;

	(void)state;
	if (!path)
		skip();
	if (frontend_open(&client.frontend, &options, &fail))
		fail_msg("%s", fail.text);
	client.header = client_memory(&client, sizeof(*client.header), 0);
	client.status = client_memory(&client, 1, 0);
	assert_true(client.frontend.features & VIRTIO_BLK_F_RO);
	before = client_memory(&client, 4096, 0);
	data = client_memory(&client, 4096, 0x77);
	assert_int_equal(client_request(&client, IN, 0, before, 4096), 0);
	assert_int_equal(client_request(&client, OUT, 0, data, 4096), VIRTIO_BLK_S_IOERR);
	if (client.frontend.features & VIRTIO_BLK_F_DISCARD)
		assert_int_equal(
			client_segment(&client, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR);
	if (client.frontend.features & VIRTIO_BLK_F_WRITE_ZEROES)
		assert_int_equal(client_segment(&client, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0),
			VIRTIO_BLK_S_IOERR);
	assert_int_equal(client_request(&client, IN, 0, data, 4096), 0);
	assert_memory_equal(before, data, 4096);
	client_close(&client);
}

static void c42_43_segment_flags(void **state)
{
	struct client client;

	(void)state;
	client_open(&client, 1, 0);
	client_need_feature(&client, VIRTIO_BLK_F_DISCARD);
	client_need_feature(&client, VIRTIO_BLK_F_WRITE_ZEROES);
	assert_int_equal(
		client_segment(&client, VIRTIO_BLK_T_DISCARD, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(
		client_segment(&client, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(
		client_segment(&client, VIRTIO_BLK_T_DISCARD, 0, 8, VIRTIO_BLK_SEGMENT_UNMAP),
		VIRTIO_BLK_S_UNSUPP);
	client_close(&client);
}

static void c44_zeroes_read_zero(void **state)
{
	static const uint32_t flags[] = {0, VIRTIO_BLK_SEGMENT_UNMAP};
	enum { SECTORS = 24 };
	struct client client;
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	client_need_feature(&client, VIRTIO_BLK_F_WRITE_ZEROES);
	data = client_memory(&client, SECTORS * SECTOR, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
		client_fill_pattern(data, SECTORS * SECTOR, 9);
		assert_int_equal(client_request(&client, OUT, 64, data, SECTORS * SECTOR), 0);
		/* Not aligned to 4 KiB: what lies around it stays. */
		assert_int_equal(
			client_segment(&client, VIRTIO_BLK_T_WRITE_ZEROES, 67, 14, flags[i]), 0);
		memset(data, 0xa5, SECTORS * SECTOR);
		assert_int_equal(client_request(&client, IN, 64, data, SECTORS * SECTOR), 0);
		for (unsigned at = 0; at < SECTORS * SECTOR; at++) {
			bool zeroed = at / SECTOR >= 3 && at / SECTOR < 17;

			assert_int_equal(data[at], zeroed ? 0 : (uint8_t)(at * 31 + at / 509 + 9));
		}
	}
	client_close(&client);
}

/* On every queue; 46 and the durability behind 47 need power loss, see tests/sim. */
static void c47_flush_on_all_queues(void **state)
{
	struct client client;

	(void)state;
	client_open(&client, 4, 0);
	for (unsigned i = 0; i < client.frontend.queues; i++) {
		struct virtqueue_piece pieces[] = {
			client_header(&client, VIRTIO_BLK_T_FLUSH, 0), client_status(&client)};

		assert_int_equal(client_chain(&client, i, pieces, 2, NULL), 0);
		assert_int_equal(*client.status, 0);
	}
	client_close(&client);
}

/* SCSI_CMD 2, 3, 5, 6, ZONE_* 15 to 26 and nonsense. */
static void c39_49_unknown_types(void **state)
{
	static const uint32_t types[] = {
		2, 3, 5, 6, 7, 9, 12, 15, 16, 18, 20, 22, 24, 26, 1000, UINT32_MAX};
	struct client client;
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	data = client_memory(&client, SECTOR, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		assert_int_equal(
			client_request(&client, types[i], 0, data, SECTOR), VIRTIO_BLK_S_UNSUPP);
	client_close(&client);
}

/* One byte, the last writable one: the byte before it belongs to the data, the one behind it to
 * nobody. */
static void c50_status_byte(void **state)
{
	struct client client;
	struct virtqueue_piece pieces[2];
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	data = client_memory(&client, SECTOR, 0x11);
	assert_int_equal(client_request(&client, OUT, 9, data, SECTOR), 0);
	data = client_memory(&client, SECTOR + 2, 0xee);
	pieces[0] = client_header(&client, IN, 9);
	pieces[1] = client_writable(&client, data, SECTOR + 1);
	assert_int_equal(client_chain(&client, 0, pieces, 2, NULL), 0);
	assert_int_equal(data[0], 0x11);
	assert_int_equal(data[SECTOR - 1], 0x11);
	assert_int_equal(data[SECTOR], 0);
	assert_int_equal(data[SECTOR + 1], 0xee);
	client_close(&client);
}

static void c51_length_and_range(void **state)
{
	static const uint32_t bad[] = {1, 100, 511, 513, 1000};
	struct client client;
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	data = client_memory(&client, 4096, 0x3c);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(client_request(&client, IN, 0, data, bad[i]), VIRTIO_BLK_S_IOERR);
		assert_int_equal(client_request(&client, OUT, 0, data, bad[i]), VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(client_request(&client, IN, UINT64_MAX, data, SECTOR), VIRTIO_BLK_S_IOERR);
	assert_int_equal(
		client_request(&client, IN, UINT64_MAX - 7, data, 4096), VIRTIO_BLK_S_IOERR);
	/* 2^55 sectors are 2^64 bytes: 0 when computed in 64 bits. */
	assert_int_equal(
		client_request(&client, OUT, 1ull << 55, data, SECTOR), VIRTIO_BLK_S_IOERR);
	client_close(&client);
}

static void c52_small_requests(void **state)
{
	enum { BYTES = 8192 };
	struct client client;
	uint8_t *data, *part, expected[BYTES];

	(void)state;
	client_open(&client, 1, 0);
	data = client_memory(&client, BYTES, 0);
	part = client_memory(&client, BYTES, 0);
	client_fill_pattern(data, BYTES, 1);
	memcpy(expected, data, BYTES);
	assert_int_equal(client_request(&client, OUT, 128, data, BYTES), 0);
	for (unsigned first = 0; first < 16; first += 3) {
		unsigned sectors = MIN(16 - first, first % 5 + 1);

		client_fill_pattern(part, sectors * SECTOR, 77 + first);
		assert_int_equal(
			client_request(&client, OUT, 128 + first, part, sectors * SECTOR), 0);
		memcpy(expected + first * SECTOR, part, sectors * SECTOR);
	}
	memset(data, 0, BYTES);
	assert_int_equal(client_request(&client, IN, 128, data, BYTES), 0);
	assert_memory_equal(data, expected, BYTES);
	for (unsigned sector = 0; sector < 16; sector++) {
		assert_int_equal(client_request(&client, IN, 128 + sector, part, SECTOR), 0);
		assert_memory_equal(part, expected + sector * SECTOR, SECTOR);
	}
	client_close(&client);
}

static void c53_get_id(void **state)
{
	struct client client;
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	data = client_memory(&client, VIRTIO_BLK_ID_BYTES + 1, 0xee);
	assert_int_equal(
		client_request(&client, VIRTIO_BLK_T_GET_ID, 0, data, VIRTIO_BLK_ID_BYTES), 0);
	for (unsigned i = 0, ended = 0; i < VIRTIO_BLK_ID_BYTES; i++) {
		ended |= !data[i];
		assert_true(ended ? !data[i] : data[i] >= 0x20 && data[i] < 0x7f);
	}
	assert_int_equal(data[VIRTIO_BLK_ID_BYTES], 0xee);
	client_close(&client);
}

static void c54_segments(void **state)
{
	struct virtio_blk_segment *segments;
	struct client client;
	uint32_t most;
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	client_need_feature(&client, VIRTIO_BLK_F_WRITE_ZEROES);
	most = MIN(le32_get(client.frontend.config.max_write_zeroes_seg), 8u);
	assert_true(most >= 1);
	segments = client_memory(&client, 16 * sizeof(*segments), 0);
	data = client_memory(&client, 64 * SECTOR, 0x42);
	assert_int_equal(client_request(&client, OUT, 0, data, 64 * SECTOR), 0);
	for (unsigned i = 0; i < most; i++) {
		segments[i].sector = le64_of(i * 8ull);
		segments[i].sectors = le32_of(3);
	}
	assert_int_equal(client_request(&client, VIRTIO_BLK_T_WRITE_ZEROES, 0, segments,
				 most * (uint32_t)sizeof(*segments)),
		0);
	assert_int_equal(client_request(&client, IN, 0, data, 64 * SECTOR), 0);
	for (unsigned i = 0; i < most; i++) {
		assert_int_equal(data[i * 8 * SECTOR], 0);
		assert_int_equal(data[(i * 8 + 3) * SECTOR - 1], 0);
		assert_int_equal(data[(i * 8 + 3) * SECTOR], 0x42);
	}
	/* Half a segment, and none. */
	assert_int_not_equal(client_request(&client, VIRTIO_BLK_T_WRITE_ZEROES, 0, segments, 8), 0);
	client_request(&client, VIRTIO_BLK_T_WRITE_ZEROES, 0, NULL, 0);
	client_close(&client);
}

static void c55_56_57_config(void **state)
{
	const struct virtio_blk_config *config;
	struct client client;
	uint32_t block_bytes;

	(void)state;
	client_open(&client, 1, 0);
	config = &client.frontend.config;
	if (client.frontend.offered & VIRTIO_BIT(1) && client_strict())
		assert_int_not_equal(le32_get(config->size_max), 0);
	if (client.frontend.offered & VIRTIO_BLK_F_SEG_MAX)
		assert_int_not_equal(le32_get(config->seg_max), 0);
	if (client.frontend.offered & VIRTIO_BLK_F_MQ)
		assert_true(le16_get(config->num_queues) >= 1);
	block_bytes = le32_get(config->blk_size);
	assert_true(block_bytes >= SECTOR && is_power_of_two(block_bytes));
	assert_true(config->physical_block_exp < 16);
	if (le16_get(config->min_io_size))
		assert_int_equal(le32_get(config->opt_io_size) % le16_get(config->min_io_size), 0);
	client_close(&client);
}

/* A failed request is answered like any other, and the queue goes on. */
static void c59_60_errors_complete(void **state)
{
	struct client client;
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	data = client_memory(&client, SECTOR, 0);
	for (unsigned i = 0; i < 300; i++) {
		uint64_t sector = i % 2 ? UINT64_MAX / 1024 : 0;

		assert_int_equal(client_request(&client, IN, sector, data, SECTOR),
			i % 2 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
	}
	client_close(&client);
}

static void c61_odd_flush(void **state)
{
	struct client client;
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	data = client_memory(&client, SECTOR, 0);
	assert_in_range(client_request(&client, VIRTIO_BLK_T_FLUSH, 77, NULL, 0), 0, 2);
	assert_in_range(client_request(&client, VIRTIO_BLK_T_FLUSH, 0, data, SECTOR), 0, 2);
	assert_int_equal(client_request(&client, IN, 0, data, SECTOR), 0);
	client_close(&client);
}

/* clang-format off */
#define ROW(name) cmocka_unit_test_setup(name, client_setup)
static const struct CMUnitTest tests[] = {
	ROW(c35_flush_offered), ROW(c36_writeback_without_flush), ROW(c37_38_unused_fields),
	ROW(c40_capacity), ROW(c41_read_only), ROW(c42_43_segment_flags),
	ROW(c44_zeroes_read_zero), ROW(c47_flush_on_all_queues), ROW(c39_49_unknown_types),
	ROW(c50_status_byte), ROW(c51_length_and_range), ROW(c52_small_requests), ROW(c53_get_id),
	ROW(c54_segments), ROW(c55_56_57_config), ROW(c59_60_errors_complete), ROW(c61_odd_flush),
};
/* clang-format on */

int main(void)
{
	cmocka_set_test_filter(getenv("BRAID_TEST_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
