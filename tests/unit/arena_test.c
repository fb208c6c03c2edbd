/* SPDX-License-Identifier: Apache-2.0 */
/* The arena against a model that marks every page of it. */
#include "unit.h"

#include "base/random.h"
#include "memory/memory.h"

enum { PAGE = MEMORY_PAGE_BYTES, PAGES = 256, BLOCKS_MAX = PAGES, STEPS = 200000 };

struct block {
	char *memory;
	size_t bytes, rounded;
};

static struct model {
	struct arena *arena;
	bool used[PAGES];
	size_t used_bytes;
	unsigned count;
	struct block blocks[BLOCKS_MAX];
} model;

static size_t rounded(size_t bytes)
{
	size_t size = PAGE;

	while (size < bytes)
		size *= 2;
	return size;
}

static void mark(const struct block *block, bool used)
{
	size_t first = (size_t)(block->memory - (char *)arena_base(model.arena)) / PAGE;

	for (size_t page = first; page < first + block->rounded / PAGE; page++) {
		expect(model.used[page] != used, "page %zu is handed out twice", page);
		model.used[page] = used;
	}
	model.used_bytes += used ? block->rounded : -block->rounded;
}

/* Whether an aligned run of free pages of that size exists: then a buddy system must find it. */
static bool there_is_room(size_t size)
{
	for (size_t first = 0; first < PAGES; first += size / PAGE) {
		size_t page = first;

		while (page < first + size / PAGE && !model.used[page])
			page++;
		if (page == first + size / PAGE)
			return true;
	}
	return false;
}

static void allocate(size_t bytes)
{
	struct block block = {.bytes = bytes, .rounded = rounded(bytes)};
	bool room = block.rounded <= PAGES * PAGE && there_is_room(block.rounded);
	size_t offset;

	block.memory = arena_alloc(model.arena, bytes);
	expect((block.memory != NULL) == room, "%zu bytes: %s", bytes,
		room ? "refused although there is room" : "given although there is no room");
	if (!block.memory)
		return;
	offset = (size_t)(block.memory - (char *)arena_base(model.arena));
	expect(offset + block.rounded <= arena_bytes(model.arena), "a block outside the arena");
	expect(offset % block.rounded == 0, "a block is not aligned to its size");
	expect((uintptr_t)block.memory % PAGE == 0, "a block is not aligned to a page");
	mark(&block, true);
	memset(block.memory, (int)(model.count & 0x7f), bytes < 64 ? bytes : 64);
	model.blocks[model.count++] = block;
}

static void release(unsigned index)
{
	struct block block = model.blocks[index];

	mark(&block, false);
	arena_free(model.arena, block.memory);
	model.blocks[index] = model.blocks[--model.count];
}

static void check_free_bytes(void)
{
	expect(arena_free_bytes(model.arena) == (size_t)PAGES * PAGE - model.used_bytes,
		"%zu bytes are free, not %zu", arena_free_bytes(model.arena),
		(size_t)PAGES * PAGE - model.used_bytes);
}

static void release_all(void)
{
	while (model.count)
		release(model.count - 1);
	check_free_bytes();
	/* Everything has merged: the whole arena is one block again. */
	allocate((size_t)PAGES * PAGE);
	assert_int_equal(model.count, 1);
	release(0);
}

static void test_random(void **state)
{
	struct random random = {.state = 42};

	(void)state;
	for (unsigned step = 0; step < STEPS; step++) {
		/* Phases that fill and phases that empty; now and then all goes. */
		unsigned filling = step / 2000 % 2 ? 350 : 650;

		if (random_chance(&random, filling)) {
			size_t limit = (size_t)PAGE << random_below(&random, 10);

			allocate(1 + random_below(&random, limit));
		} else if (model.count) {
			release((unsigned)random_below(&random, model.count));
		}
		check_free_bytes();
		if (step % 20000 == 19999)
			release_all();
	}
	release_all();
}

/* Every page taken alone, given back in every stride, merges to one. */
static void test_pages(void **state)
{
	(void)state;
	for (unsigned stride = 1; stride < PAGES; stride += 2) {
		char *pages[PAGES];

		for (unsigned i = 0; i < PAGES; i++) {
			pages[i] = arena_alloc(model.arena, PAGE);
			assert_non_null(pages[i]);
		}
		assert_null(arena_alloc(model.arena, 1));
		for (unsigned i = 0; i < PAGES; i++)
			arena_free(model.arena, pages[i * stride % PAGES]);
		release_all();
	}
}

/* Warm blocks of one size do not keep another size from being served. */
static void test_last_freed_comes_first(void **state)
{
	char *a = arena_alloc(model.arena, 2 * PAGE), *b = arena_alloc(model.arena, 2 * PAGE);

	(void)state;
	arena_free(model.arena, a);
	arena_free(model.arena, b);
	assert_ptr_equal(arena_alloc(model.arena, PAGE + 1), b);
	assert_ptr_equal(arena_alloc(model.arena, 2 * PAGE), a);
	arena_free(model.arena, a);
	arena_free(model.arena, b);
	release_all();
}

static void test_sizes(void **state)
{
	struct arena *arena = arena_create(PAGE + 1);

	(void)state;
	assert_non_null(arena);
	assert_int_equal(arena_bytes(arena), 2 * PAGE);
	assert_int_equal(arena_free_bytes(arena), 2 * PAGE);
	assert_null(arena_alloc(arena, 2 * PAGE + 1));
	assert_int_equal(arena_free_bytes(arena), 2 * PAGE);
	arena_destroy(arena);
	arena = arena_create(1);
	assert_non_null(arena);
	assert_ptr_equal(arena_alloc(arena, 1), arena_base(arena));
	assert_null(arena_alloc(arena, 1));
	arena_destroy(arena);
}

static void test_per_reactor(void **state)
{
	struct fail fail;

	(void)state;
	assert_int_equal(memory_start(3, 1 << 20, &fail), 0);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned j = 0; j < i; j++)
			assert_ptr_not_equal(memory_arena(i), memory_arena(j));
	memory_stop();
	assert_int_equal(memory_start(1, 1 << 20, &fail), 0);
	memory_stop();
}

static int set_up(void **state)
{
	(void)state;
	model.arena = arena_create((size_t)PAGES * PAGE);
	return model.arena ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	arena_destroy(model.arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_last_freed_comes_first),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_per_reactor),
	};

	unit_start();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
