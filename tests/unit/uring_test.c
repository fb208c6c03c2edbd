/* SPDX-License-Identifier: Apache-2.0 */
/* Files over a real io_uring on a thread, in the current directory and in /dev/shm. */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/drivers.h"
#include "memory/memory.h"

enum { FILE_BYTES = 4 << 20 };

static char path[PATH_MAX];

static void need_uring(void)
{
	struct io_uring ring;
	int error = io_uring_queue_init(4, &ring, 0);

	if (error) {
		print_message("no io_uring here: %s\n", strerror(-error));
		skip();
	}
	io_uring_queue_exit(&ring);
}

static void make_file(const char *folder, off_t bytes)
{
	int fd;

	snprintf(path, sizeof(path), "%s/drivers_test.XXXXXX", folder);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, bytes), 0);
	close(fd);
}

static void open_file(uint32_t block_bytes)
{
	char reason[FAIL_TEXT_BYTES];
	struct fail fail = {0};

	expect(!uring_create(&dev, path, block_bytes, reason, &fail), "%s", fail.text);
	assert_string_equal(dev->name, path);
	assert_int_equal(dev->block_bytes, block_bytes);
	assert_true(dev->volatile_cache);
	print_message("%s: %s\n", path, reason[0] ? reason : "direct I/O");
	open_device();
}

/* What is in the file when all is flushed, seen without the driver. */
static void check_file(const char *model, size_t bytes)
{
	char *content = malloc(bytes);
	int fd = open(path, O_RDONLY);

	assert_int_equal(pread(fd, content, bytes, 0), bytes);
	assert_memory_equal(content, model, bytes);
	close(fd);
	free(content);
}

static void check_file_in(const char *folder)
{
	static const unsigned units[] = {512, 1, 37, BLOCK};

	for (unsigned i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		for (uint32_t bytes = 512; bytes <= BLOCK; bytes *= 8) {
			make_file(folder, FILE_BYTES + 100);
			open_file(bytes);
			assert_int_equal(dev->blocks, FILE_BYTES / bytes);
			check_against_model(units[i] + bytes, 150, units[i], (1 << 20) / bytes);
			check_range_errors();
			close_device();
			unlink(path);
		}
}

static void test_file(void **state)
{
	(void)state;
	need_uring();
	check_file_in(".");
}

static void test_file_in_memory(void **state)
{
	(void)state;
	need_uring();
	check_file_in("/dev/shm");
}

/* More requests than slots, many of them through the one bounce buffer. */
static void test_file_batch(void **state)
{
	enum { COUNT = 900 };
	struct request *batch = calloc(COUNT, sizeof(*batch));
	char *memory = aligned_alloc(BLOCK, (COUNT + 1) * BLOCK);
	char *model = calloc(COUNT, BLOCK);

	(void)state;
	need_uring();
	make_file(".", FILE_BYTES);
	open_file(BLOCK);
	fill(memory, (COUNT + 1) * BLOCK, 4);
	for (unsigned round = 0; round < 2; round++) {
		if (round)
			memset(memory, 0, (COUNT + 1) * BLOCK);
		for (unsigned i = 0; i < COUNT; i++) {
			/* Every third is misaligned; its last bytes lie in the place of the next,
			 * which is a flush. */
			char *at = memory + (size_t)i * BLOCK + (i % 3 ? 0 : 2);

			batch[i].iov = (struct iovec){at, BLOCK};
			batch[i].io = (struct io){.kind = round ? IO_READ : IO_WRITE,
				.block = i,
				.blocks = 1,
				.fua = i % 50 == 0,
				.iov = &batch[i].iov,
				.iovs = 1};
			if (i % 3 == 1)
				batch[i].io = (struct io){.kind = IO_FLUSH};
			else if (!round)
				memcpy(model + (size_t)i * BLOCK, at, BLOCK);
		}
		run_batch(batch, COUNT);
		for (unsigned i = 0; i < COUNT; i++) {
			assert_int_equal(batch[i].io.status, 0);
			if (i % 3 != 1)
				assert_memory_equal(
					batch[i].iov.iov_base, model + (size_t)i * BLOCK, BLOCK);
		}
	}
	check_file(model, (size_t)COUNT * BLOCK);
	close_device();
	unlink(path);
	free(model);
	free(memory);
	free(batch);
}

/* Memory of the reactor's arena is registered with the ring. */
static void test_file_arena(void **state)
{
	enum { BYTES = 1 << 20 };
	char *memory, *model = malloc(BYTES);

	(void)state;
	need_uring();
	memory = arena_alloc(memory_arena(0), BYTES);
	make_file(".", FILE_BYTES);
	open_file(BLOCK);
	fill(model, BYTES, 5);
	memcpy(memory, model, BYTES);
	assert_int_equal(transfer(IO_WRITE, memory, 100, BYTES / BLOCK), 0);
	memset(memory, 0, BYTES);
	assert_int_equal(transfer(IO_READ, memory, 100, BYTES / BLOCK), 0);
	assert_memory_equal(memory, model, BYTES);
	arena_free(memory_arena(0), memory);
	close_device();
	unlink(path);
	free(model);
}

/* Pieces that begin where direct I/O likes it, and end where it does not. */
static void test_file_odd_lengths(void **state)
{
	char *memory = aligned_alloc(BLOCK, 2 * BLOCK), model[512];
	struct iovec iov[] = {{memory, 100}, {memory + BLOCK, 412}};
	struct io io = {.kind = IO_WRITE, .block = 9, .blocks = 1, .iov = iov, .iovs = 2};

	(void)state;
	need_uring();
	make_file(".", FILE_BYTES);
	open_file(512);
	fill(model, sizeof(model), 3);
	memcpy(memory, model, 100);
	memcpy(memory + BLOCK, model + 100, 412);
	assert_int_equal(run_io(io), 0);
	memset(memory, 0, 2 * BLOCK);
	io.kind = IO_READ;
	assert_int_equal(run_io(io), 0);
	assert_memory_equal(memory, model, 100);
	assert_memory_equal(memory + BLOCK, model + 100, 412);
	close_device();
	unlink(path);
	free(memory);
}

static void test_file_that_shrinks(void **state)
{
	char *memory;

	(void)state;
	need_uring();
	memory = aligned_alloc(BLOCK, 4 * BLOCK);
	make_file(".", 16 * BLOCK);
	open_file(BLOCK);
	assert_int_equal(truncate(path, 2 * BLOCK), 0);
	assert_int_equal(transfer(IO_READ, memory, 8, 1), -EIO);
	assert_int_equal(transfer(IO_READ, memory, 0, 4), -EIO);
	assert_int_equal(transfer(IO_READ, memory, 0, 2), 0);
	close_device();
	unlink(path);
	free(memory);
}

/* Two files on one reactor share its ring. */
static void test_two_files(void **state)
{
	struct blockdev *first;
	struct blockdev_queue *first_queue;
	char first_path[PATH_MAX];

	(void)state;
	need_uring();
	make_file(".", FILE_BYTES);
	memcpy(first_path, path, sizeof(path));
	open_file(BLOCK);
	first = dev;
	first_queue = queue;
	make_file(".", FILE_BYTES);
	open_file(512);
	check_against_model(8, 30, 512, 64);
	close_device();
	unlink(path);
	dev = first;
	queue = first_queue;
	check_against_model(9, 30, 512, 16);
	close_device();
	unlink(first_path);
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void expect_refusal(const char *name, uint32_t block_bytes, int error, const char *sentence)
{
	unsigned before = open_descriptors();
	char reason[FAIL_TEXT_BYTES];
	struct blockdev *none = NULL;
	struct fail fail = {0};
	int result = uring_create(&none, name, block_bytes, reason, &fail);

	expect(result == -error, "%.100s: %d instead of %d", name, result, -error);
	assert_int_equal(fail.error, error);
	expect(strstr(fail.text, sentence) != NULL, "the sentence was: %s", fail.text);
	assert_null(none);
	assert_int_equal(open_descriptors(), before);
}

static void test_file_refusals(void **state)
{
	char too_long[BLOCKDEV_NAME_BYTES + 2], reason[FAIL_TEXT_BYTES];
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct blockdev *mine, *again;
	int fd;

	(void)state;
	expect_refusal("./no/such/file", BLOCK, ENOENT, "./no/such/file");
	expect_refusal(".", BLOCK, EINVAL, "neither a file nor a block device");
	expect_refusal("/dev/null", BLOCK, EINVAL, "neither a file nor a block device");
	memset(too_long, 'x', sizeof(too_long) - 1);
	too_long[sizeof(too_long) - 1] = '\0';
	expect_refusal(too_long, BLOCK, ENAMETOOLONG, "longer than 255 bytes");
	make_file(".", 0);
	expect_refusal(path, BLOCK, EINVAL, "is empty");
	assert_int_equal(truncate(path, BLOCK - 1), 0);
	expect_refusal(path, BLOCK, EINVAL, "is empty");
	assert_int_equal(truncate(path, FILE_BYTES), 0);
	/* Locked by somebody else, then by ourselves, then no more. */
	fd = open(path, O_RDWR);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	expect_refusal(path, BLOCK, EBUSY, "is locked by another process");
	close(fd);
	assert_int_equal(uring_create(&mine, path, BLOCK, reason, NULL), 0);
	expect_refusal(path, BLOCK, EBUSY, "is locked by another process");
	blockdev_destroy(mine);
	assert_int_equal(uring_create(&again, path, BLOCK, reason, NULL), 0);
	blockdev_destroy(again);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_file, start_thread, stop_thread),
		cmocka_unit_test_setup_teardown(test_file_in_memory, start_thread, stop_thread),
		cmocka_unit_test_setup_teardown(test_file_batch, start_thread, stop_thread),
		cmocka_unit_test_setup_teardown(test_file_arena, start_thread, stop_thread),
		cmocka_unit_test_setup_teardown(test_file_odd_lengths, start_thread, stop_thread),
		cmocka_unit_test_setup_teardown(test_file_that_shrinks, start_thread, stop_thread),
		cmocka_unit_test_setup_teardown(test_two_files, start_thread, stop_thread),
		cmocka_unit_test(test_file_refusals),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
