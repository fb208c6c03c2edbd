/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of memory that devices reach, against listeners that keep book of what is mapped. */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/random.h"
#include "memory/dma.h"
#include "memory/memory.h"
#include "vhost/shared_memory.h"

enum { PAGE = MEMORY_PAGE_BYTES, MAPS_MAX = 256, STEPS = 20000 };

/* Addresses that nothing lies at; the registry never looks at the memory. */
static char *const space = (char *)0x7f0000000000ull;

struct book {
	struct dma_listener listener;
	struct {
		char *memory;
		uint64_t iova;
		size_t bytes;
	} maps[MAPS_MAX];
	unsigned count;
	unsigned fail_after; /* maps that succeed; 0: all */
	char last_what[64];
};

static int book_map(struct dma_listener *listener, const struct iovec *memory, uint64_t iova,
	const char *what, struct fail *fail)
{
	struct book *book = container_of(listener, struct book, listener);

	if (book->fail_after && book->count == book->fail_after)
		return fail_set(fail, ENOMEM, "no room for %s", what);
	for (unsigned i = 0; i < book->count; i++)
		expect(iova + memory->iov_len <= book->maps[i].iova ||
				iova >= book->maps[i].iova + book->maps[i].bytes,
			"device addresses overlap");
	expect(book->count < MAPS_MAX, "too many maps");
	book->maps[book->count].memory = memory->iov_base;
	book->maps[book->count].iova = iova;
	book->maps[book->count++].bytes = memory->iov_len;
	snprintf(book->last_what, sizeof(book->last_what), "%s", what);
	return 0;
}

static void book_unmap(struct dma_listener *listener, uint64_t iova, size_t bytes)
{
	struct book *book = container_of(listener, struct book, listener);

	for (unsigned i = 0; i < book->count; i++)
		if (book->maps[i].iova == iova) {
			assert_int_equal(book->maps[i].bytes, bytes);
			book->maps[i] = book->maps[--book->count];
			return;
		}
	fail_msg("unmapping what is not mapped");
}

static struct book *book_create(uint64_t first, uint64_t last)
{
	struct book *book = calloc(1, sizeof(*book));

	book->listener.map = book_map;
	book->listener.unmap = book_unmap;
	book->listener.ranges[0] = (struct dma_range){first, last};
	book->listener.range_count = 1;
	list_node_init(&book->listener.link);
	return book;
}

static void must_register(void *memory, size_t bytes)
{
	struct fail fail = {0};

	expect(!dma_register(memory, bytes, "a test", &fail), "%s", fail.text);
}

static uint64_t iova_of(const void *memory)
{
	struct dma_cache cache = {0};
	uint64_t iova = 0;

	expect(dma_find(&cache, memory, 1, &iova) == 1, "not registered");
	return iova;
}

static void test_find(void **state)
{
	struct dma_cache cache = {0};
	uint64_t iova = 0, base = 0;

	(void)state;
	assert_int_equal(dma_find(&cache, space, 1, &iova), 0);
	must_register(space, 16 * PAGE);
	must_register(space + 16 * PAGE, 4 * PAGE); /* a neighbour is another region */
	assert_int_equal(dma_find(&cache, space, 100, &base), 100);
	assert_true(base >= 1ull << 32 && base < 1ull << 39);
	assert_int_equal(dma_find(&cache, space + 3, 16 * PAGE, &iova), 16 * PAGE - 3);
	assert_true(iova == base + 3);
	assert_int_equal(dma_find(&cache, space + 15 * PAGE, 2 * PAGE, &iova), PAGE);
	assert_int_equal(dma_find(&cache, space + 16 * PAGE, 9 * PAGE, &iova), 4 * PAGE);
	assert_int_equal(dma_find(&cache, space + 20 * PAGE, 1, &iova), 0);
	assert_int_equal(dma_find(&cache, space - 1, 1, &iova), 0);
	/* What was found last is not believed when the table has changed. */
	assert_int_equal(dma_find(&cache, space, 1, &iova), 1);
	dma_unregister(space);
	assert_int_equal(dma_find(&cache, space, 1, &iova), 0);
	dma_unregister(space); /* no harm */
	dma_unregister(space + 16 * PAGE);
}

static void test_large_pages(void **state)
{
	(void)state;
	must_register(space + PAGE, PAGE);
	must_register(space + (2 << 20) + 5 * PAGE, 4 << 20);
	assert_int_equal(iova_of(space + (2 << 20) + 5 * PAGE) % (2 << 20), 5 * PAGE);
	must_register(space + (3ull << 30) + (2 << 20), 2ull << 30);
	assert_int_equal(iova_of(space + (3ull << 30) + (2 << 20)) % (1 << 30), 2 << 20);
	dma_unregister(space + PAGE);
	dma_unregister(space + (2 << 20) + 5 * PAGE);
	dma_unregister(space + (3ull << 30) + (2 << 20));
}

static void test_width(void **state)
{
	struct book *narrow = book_create(0, (8ull << 30) - 1);
	struct book *wide = book_create(0, (1ull << 48) - 1);
	struct fail fail = {0};

	(void)state;
	/* Nobody listens: 39 bits. */
	assert_int_equal(dma_register(space, 600ull << 30, "guest 7", &fail), -ENOSPC);
	assert_non_null(strstr(fail.text, "guest 7"));
	/* The narrowest decides. */
	assert_int_equal(dma_listen(&wide->listener, &fail), 0);
	must_register(space, 600ull << 30);
	assert_int_equal(dma_listen(&narrow->listener, &fail), -ERANGE);
	assert_int_equal(narrow->count, 0);
	dma_unregister(space);
	assert_int_equal(dma_listen(&narrow->listener, &fail), 0);
	assert_int_equal(dma_register(space, 5ull << 30, "guest 7", &fail), -ENOSPC);
	must_register(space, 4ull << 30);
	assert_true(iova_of(space) == 4ull << 30);
	assert_int_equal(dma_register(space + (4ull << 30), PAGE, "guest 8", &fail), -ENOSPC);
	dma_ignore(&narrow->listener, true);
	assert_int_equal(narrow->count, 0);
	must_register(space + (4ull << 30), PAGE);
	dma_unregister(space);
	dma_unregister(space + (4ull << 30));
	assert_int_equal(wide->count, 0);
	dma_ignore(&wide->listener, true);
	free(narrow);
	free(wide);
}

/* Holes in what a listener can map are gone around. */
static void test_holes(void **state)
{
	struct book *book = book_create(0, (5ull << 30) - 1);

	(void)state;
	book->listener.ranges[1] = (struct dma_range){6ull << 30, (1ull << 40) - 1};
	book->listener.range_count = 2;
	assert_int_equal(dma_listen(&book->listener, NULL), 0);
	must_register(space, 3ull << 29);
	assert_true(iova_of(space) >= 6ull << 30);
	must_register(space + (1ull << 40), 1 << 20);
	assert_true(iova_of(space + (1ull << 40)) < 5ull << 30);
	dma_unregister(space);
	dma_unregister(space + (1ull << 40));
	dma_ignore(&book->listener, true);
	free(book);
}

/* A listener that cannot map leaves nothing behind, neither in the table nor with others. */
static void test_refused(void **state)
{
	struct book *good = book_create(0, (1ull << 40) - 1);
	struct book *bad = book_create(0, (1ull << 40) - 1);
	struct fail fail = {0};
	struct dma_cache cache = {0};
	uint64_t iova = 0;

	(void)state;
	bad->fail_after = 2;
	assert_int_equal(dma_listen(&good->listener, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		must_register(space + i * PAGE, PAGE);
	assert_int_equal(dma_listen(&bad->listener, &fail), -ENOMEM);
	assert_string_equal(fail.text, "no room for a test");
	assert_int_equal(bad->count, 0);
	dma_unregister(space);
	assert_int_equal(dma_listen(&bad->listener, &fail), 0);
	assert_int_equal(bad->count, 2);
	assert_int_equal(dma_register(space, PAGE, "another", &fail), -ENOMEM);
	assert_string_equal(fail.text, "no room for another");
	assert_int_equal(good->count, 2);
	assert_int_equal(dma_find(&cache, space, 1, &iova), 0);
	dma_ignore(&bad->listener, true);
	dma_ignore(&good->listener, true);
	dma_unregister(space + PAGE);
	dma_unregister(space + 2 * PAGE);
	free(good);
	free(bad);
}

/* --- many, and while others look ------------------------------------------------------------- */

enum { PLACES = 64, PLACE_PAGES = 32 };

static bool used[PLACES];
static size_t sizes[PLACES];

static char *place(unsigned index)
{
	return space + (size_t)index * PLACE_PAGES * PAGE;
}

static void check_place(struct dma_cache *cache, const struct book *book, unsigned index)
{
	uint64_t iova = 0;
	size_t found = dma_find(cache, place(index) + 7, PLACE_PAGES * PAGE, &iova);

	expect(found == (used[index] ? sizes[index] - 7 : 0), "place %u", index);
	for (unsigned i = 0; found && i < book->count; i++)
		if (book->maps[i].memory == place(index))
			expect(book->maps[i].iova + 7 == iova, "place %u leads elsewhere", index);
}

static void test_model(void **state)
{
	struct book *book = book_create(0, (1ull << 33) - 1);
	struct random random = {.state = 7};
	struct dma_cache cache = {0};
	unsigned count = 0;

	(void)state;
	assert_int_equal(dma_listen(&book->listener, NULL), 0);
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned index = (unsigned)random_below(&random, PLACES);

		if (used[index]) {
			dma_unregister(place(index));
		} else {
			sizes[index] = (1 + random_below(&random, PLACE_PAGES)) * PAGE;
			must_register(place(index), sizes[index]);
		}
		used[index] = !used[index];
		count += used[index] ? 1 : -1u;
		expect(book->count == count, "the listener knows %u of %u", book->count, count);
		check_place(&cache, book, index);
		check_place(&cache, book, (unsigned)random_below(&random, PLACES));
	}
	for (unsigned i = 0; i < PLACES; i++)
		if (used[i])
			dma_unregister(place(i));
	dma_ignore(&book->listener, true);
	free(book);
}

static atomic_bool stop;
static uint64_t steady_iova;

/* A region that stays is found, and at the same place, whatever comes and goes beside it. */
static void *look(void *argument)
{
	struct dma_cache cache = {0};
	uint64_t iova = 0;

	(void)argument;
	while (!atomic_load(&stop))
		expect(dma_find(&cache, place(9) + 5, 10, &iova) == 10 && iova == steady_iova + 5,
			"lost sight of it");
	return NULL;
}

static void test_concurrent(void **state)
{
	pthread_t thread;

	(void)state;
	must_register(place(9), PAGE);
	steady_iova = iova_of(place(9));
	atomic_store(&stop, false);
	pthread_create(&thread, NULL, look, NULL);
	for (unsigned step = 0; step < STEPS * 5; step++) {
		must_register(place(step % 8), PAGE);
		must_register(place(10 + step % 5), PAGE);
		dma_unregister(place(step % 8));
		dma_unregister(place(10 + step % 5));
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	dma_unregister(place(9));
}

static int guest_file(size_t bytes)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0 && !ftruncate(fd, (off_t)bytes));
	return fd;
}

/* What a guest shares is mapped for drives as long as it is mapped here. */
static void test_guest_memory(void **state)
{
	struct book *book = book_create(0, (1ull << 39) - 1);
	struct guest_memory *memory = guest_memory_create();
	struct guest_region low = {.bytes = 10 * PAGE},
			    high = {.guest_address = 1 << 30,
				    .user_address = 1 << 30,
				    .bytes = 5000},
			    more = {.guest_address = 2u << 30,
				    .user_address = 2u << 30,
				    .bytes = PAGE};
	struct fail fail = {0};

	(void)state;
	assert_int_equal(dma_listen(&book->listener, NULL), 0);
	assert_int_equal(shared_memory_add(memory, &low, guest_file(10 * PAGE), 0, &fail), 0);
	/* Not made of whole pages: the pages that it touches. */
	assert_int_equal(shared_memory_add(memory, &high, guest_file(4 * PAGE), 300, &fail), 0);
	assert_int_equal(book->count, 2);
	assert_ptr_equal(book->maps[0].memory, memory->regions[0].memory);
	assert_int_equal(book->maps[0].bytes, 10 * PAGE);
	assert_ptr_equal(book->maps[1].memory, memory->regions[1].memory - 300);
	assert_int_equal(book->maps[1].bytes, 2 * PAGE);
	iova_of(memory->regions[1].memory + 4999);
	book->fail_after = 2;
	assert_int_equal(shared_memory_add(memory, &more, guest_file(PAGE), 0, &fail), -ENOMEM);
	assert_string_equal(fail.text, "no room for the memory of a guest");
	assert_int_equal(memory->count, 2);
	assert_int_equal(shared_memory_remove(memory, &more), -ENOENT);
	assert_int_equal(shared_memory_remove(memory, &low), 0);
	assert_int_equal(book->count, 1);
	shared_memory_destroy(memory);
	assert_int_equal(book->count, 0);
	dma_ignore(&book->listener, true);
	free(book);
}

/* Memory for I/O is registered as it is made; when that is impossible it is memory all the same,
 * but an arena has to be reached. */
static void test_memory(void **state)
{
	struct book *book = book_create(0, (1ull << 39) - 1);
	struct fail fail = {0};
	struct dma_cache cache = {0};
	uint64_t iova = 0;
	char *first, *second;

	(void)state;
	assert_int_equal(dma_listen(&book->listener, NULL), 0);
	first = memory_map(5000, NULL);
	assert_int_equal(book->count, 1);
	iova_of(first + 4999);
	must_register(first, 2 * PAGE); /* known already */
	must_register(first + PAGE, PAGE);
	assert_int_equal(book->count, 1);
	book->fail_after = 1;
	second = memory_map(5000, NULL);
	assert_non_null(second);
	assert_int_equal(dma_find(&cache, second, 1, &iova), 0);
	assert_int_equal(memory_start(1, 1 << 20, &fail), -ENOMEM);
	assert_string_equal(fail.text, "no room for the I/O buffers");
	memory_unmap(second, 5000);
	memory_unmap(first, 5000);
	assert_int_equal(book->count, 0);
	dma_ignore(&book->listener, true);
	free(book);
}

static void test_arenas(void **state)
{
	struct book *book = book_create(0, (1ull << 39) - 1);

	(void)state;
	assert_int_equal(dma_listen(&book->listener, NULL), 0);
	assert_int_equal(memory_start(2, 4 << 20, NULL), 0);
	assert_int_equal(book->count, 2);
	assert_string_equal(book->last_what, "I/O memory");
	iova_of(arena_base(memory_arena(1)));
	memory_stop();
	assert_int_equal(book->count, 0);
	dma_ignore(&book->listener, true);
	free(book);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_large_pages),
		cmocka_unit_test(test_width),
		cmocka_unit_test(test_holes),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_concurrent),
		cmocka_unit_test(test_guest_memory),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_arenas),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
