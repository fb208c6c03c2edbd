/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrays that come and go, all or nothing: a crash before every single write of array_create() and
 * of array_delete(). What is left is the whole array, or is recognised as what is left of one that
 * is not there: in every subset of the drives from the moment on in which the first one is no
 * member any more. FAULTS.md, row 44.
 */
#include "unit.h"

#include <errno.h>

#include "base/bits.h"
#include "base/log.h"
#include "drivers/drivers.h"
#include "raid/array.h"
#include "raid/assembly.h"
#include "reactor/sim.h"

enum { DRIVES = 5, SLOTS = 4, DRIVE_BYTES = 12 << 20, WRITES_MAX = 1000 };

/* A drive on a machine that stops: writes are lost from then on. */
struct mortal {
	struct blockdev dev;
	struct blockdev *below;
};

struct mortal_queue {
	struct blockdev_queue base;
	struct blockdev_queue *below;
};

static struct reactor_group *group;
static struct mortal drives[DRIVES];
static unsigned writes_left;

static int mortal_open(struct blockdev *dev, struct reactor *reactor, struct blockdev_queue **base,
	struct fail *fail)
{
	struct mortal_queue *queue = calloc(1, sizeof(*queue));

	assert_non_null(queue);
	*base = &queue->base;
	return blockdev_open_queue(
		container_of(dev, struct mortal, dev)->below, reactor, &queue->below, fail);
}

static void mortal_close(struct blockdev_queue *base)
{
	struct mortal_queue *queue = container_of(base, struct mortal_queue, base);

	blockdev_close_queue(queue->below);
	free(queue);
}

static void mortal_submit(struct blockdev_queue *base, struct io *io)
{
	if (!io_changes_data(io) || writes_left) {
		writes_left -= io_changes_data(io);
		io_submit(container_of(base, struct mortal_queue, base)->below, io);
		return;
	}
	io_complete(io, 0);
}

static const struct blockdev_ops mortal_ops = {
	.driver = "mortal",
	.open_queue = mortal_open,
	.close_queue = mortal_close,
	.submit = mortal_submit,
};

static void begin_world(void)
{
	static const char *const names[DRIVES] = {"d0", "d1", "d2", "d3", "d4"};

	group = reactor_sim_create(1, 1);
	writes_left = UINT32_MAX;
	for (unsigned i = 0; i < DRIVES; i++) {
		assert_int_equal(
			ram_create(&drives[i].below, names[i], DRIVE_BYTES, 4096, NULL), 0);
		drives[i].dev = *drives[i].below;
		drives[i].dev.ops = &mortal_ops;
	}
}

static void end_world(void)
{
	for (unsigned i = 0; i < DRIVES; i++)
		blockdev_destroy(drives[i].below);
	reactor_sim_destroy(group);
}

static struct array *create(const char *level)
{
	struct array_config config = {.name = "u",
		.chunk_bytes = 64 << 10,
		.block_bytes = 4096,
		.members = SLOTS,
		.places = &layout_standard};
	struct array *array;
	struct fail fail;

	assert_int_equal(level_find(&config.level, level, NULL), 0);
	for (unsigned i = 0; i < SLOTS; i++)
		config.member[i] = &drives[i].dev;
	expect(!array_create(&array, &config, group, &fail), "%s", fail.text);
	return array;
}

/* --- what is left ---------------------------------------------------------------------------- */

struct remains {
	struct superblock superblock[DRIVES];
	bool member[DRIVES];
	struct uuid array;
	unsigned members, unmarked;
};

static void look(struct remains *remains)
{
	memset(remains, 0, sizeof(*remains));
	for (unsigned i = 0; i < DRIVES; i++) {
		struct superblock *superblock = &remains->superblock[i];
		int error = superblock_read(
			superblock, &drives[i].dev, reactor_at(group, 0), &layout_standard, NULL);

		assert_true(!error || error == -ENODATA);
		remains->member[i] = !error;
		if (error)
			continue;
		remains->members++;
		remains->unmarked += !superblock->unmade;
		remains->array = superblock->array_uuid;
	}
}

static void decide(struct assembly *assembly, const struct remains *remains, unsigned subset)
{
	struct found found[DRIVES];
	unsigned count = 0;

	for (unsigned i = 0; i < DRIVES; i++)
		if (remains->member[i] && subset & 1u << i)
			found[count++] =
				(struct found){&drives[i].dev, &remains->superblock[i], ""};
	assembly_decide(assembly, &remains->array, found, count);
}

static unsigned all_of(const struct remains *remains)
{
	unsigned subset = 0;

	for (unsigned i = 0; i < DRIVES; i++)
		subset |= (unsigned)remains->member[i] << i;
	return subset;
}

/* The array is whole: it starts, and all its members are in it. */
static void check_whole(struct assembly *assembly, unsigned failed)
{
	struct array_start_options options = {.places = &layout_standard};
	struct array_status status;
	struct array *array;
	struct fail fail;

	expect(!array_start(&array, assembly, &options, group, &fail), "%s", fail.text);
	array_status(array, &status);
	assert_int_equal(status.failed, failed);
	array_stop(array);
}

/* True: nothing is left. */
static bool check_remains(unsigned writes, unsigned failed, bool erasing)
{
	static struct assembly assembly;
	struct remains remains;

	look(&remains);
	if (!remains.members)
		return true;
	decide(&assembly, &remains, all_of(&remains));
	expect(assembly.state == ASSEMBLY_UNMADE || assembly.state == ASSEMBLY_COMPLETE,
		"a crash before write %u leaves state %u: %s", writes, assembly.state,
		assembly.why);
	if (assembly.state == ASSEMBLY_COMPLETE) {
		check_whole(&assembly, failed);
		return false;
	}
	/* Erasing has come to those that know: no subset may look like anything else. */
	for (unsigned subset = 1; erasing && remains.members < SLOTS && subset < 1u << DRIVES;
		subset++) {
		if (!(subset & all_of(&remains)))
			continue;
		decide(&assembly, &remains, subset);
		expect(assembly.state == ASSEMBLY_UNMADE,
			"a crash before write %u: drives %x look like an array", writes, subset);
	}
	return false;
}

/* --- the tests ------------------------------------------------------------------------------- */

static void test_delete(void **state)
{
	unsigned whole = 0, unmade = 0;
	bool gone = false;

	(void)state;
	for (unsigned failed = 0; failed < 2; failed++, gone = false)
		for (unsigned writes = 0; !gone; writes++) {
			struct remains remains;
			struct array *array;

			begin_world();
			array = create("5");
			assert_int_equal(array_add_spare(array, &drives[4].dev, "", NULL), 0);
			if (failed)
				assert_int_equal(array_fail_member(array, 1, false, NULL), 0);
			writes_left = writes;
			array_delete(array);
			writes_left = UINT32_MAX;
			look(&remains);
			whole += remains.unmarked == remains.members;
			unmade += remains.members && remains.unmarked <= failed;
			gone = check_remains(writes, failed, true);
			expect(writes < WRITES_MAX, "it never comes to an end");
			end_world();
		}
	expect(whole && unmade, "%u are whole, %u are not there", whole, unmade);
}

static void test_create(void **state)
{
	bool whole = false;

	(void)state;
	for (unsigned writes = 0; !whole; writes++) {
		struct remains remains;

		begin_world();
		writes_left = writes;
		array_stop(create("6"));
		writes_left = UINT32_MAX;
		look(&remains);
		check_remains(writes, 0, false);
		look(&remains);
		whole = remains.members == SLOTS && remains.superblock[0].clean;
		expect(writes < WRITES_MAX, "it never comes to an end");
		end_world();
	}
}

/* An array that has lost too much leaves nothing behind either. */
static void test_delete_broken(void **state)
{
	static struct assembly assembly;
	struct remains remains;
	bool gone = false;

	(void)state;
	for (unsigned writes = 0; !gone; writes++) {
		struct array *array;

		begin_world();
		array = create("5");
		assert_int_equal(array_fail_member(array, 1, false, NULL), 0);
		assert_int_equal(array_fail_member(array, 2, true, NULL), 0);
		writes_left = writes;
		array_delete(array);
		writes_left = UINT32_MAX;
		look(&remains);
		gone = !remains.members;
		decide(&assembly, &remains, all_of(&remains));
		expect(gone || remains.members == SLOTS || assembly.state == ASSEMBLY_UNMADE,
			"a crash before write %u leaves %u members, state %u", writes,
			remains.members, assembly.state);
		expect(writes < WRITES_MAX, "it never comes to an end");
		end_world();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delete),
		cmocka_unit_test(test_delete_broken),
		cmocka_unit_test(test_create),
	};

	unit_start();
	log_threshold(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
