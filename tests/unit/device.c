/* SPDX-License-Identifier: Apache-2.0 */
#include "device.h"

#include <errno.h>
#include <sched.h>
#include <semaphore.h>

#include "base/random.h"
#include "memory/memory.h"
#include "reactor/sim.h"

enum { ARENA_BYTES = 8 << 20 };

struct reactor_group *group;
struct reactor *reactor;
static bool simulated;
struct blockdev *dev;
struct blockdev_queue *queue;

void open_device(void)
{
	struct fail fail = {0};

	expect(!blockdev_open_queue(dev, reactor, &queue, &fail), "%s", fail.text);
	assert_ptr_equal(queue->dev, dev);
	assert_ptr_equal(queue->reactor, reactor);
}

void close_device(void)
{
	blockdev_close_queue(queue);
	blockdev_destroy(dev);
}

int start_simulation_of(unsigned reactors)
{
	group = reactor_sim_create(reactors, 1);
	reactor = reactor_at(group, 0);
	simulated = true;
	return 0;
}

int start_simulation(void **state)
{
	(void)state;
	return start_simulation_of(1);
}

int stop_simulation(void **state)
{
	(void)state;
	reactor_sim_destroy(group);
	return 0;
}

int start_thread(void **state)
{
	struct cpumask mask = {{0}};
	cpu_set_t set;
	unsigned core = 0;

	(void)state;
	sched_getaffinity(0, sizeof(set), &set);
	while (!CPU_ISSET(core, &set))
		core++;
	cpumask_add(&mask, core);
	simulated = false;
	if (memory_start(1, ARENA_BYTES, NULL) ||
		reactor_group_start(&group, &mask, REACTOR_IDLE_ADAPTIVE, NULL))
		return -1;
	reactor = reactor_at(group, 0);
	return 0;
}

int stop_thread(void **state)
{
	(void)state;
	reactor_group_stop(group);
	memory_stop();
	return 0;
}

/* --- requests -------------------------------------------------------------------------------- */

static struct request *requests;
static unsigned pending, to_submit;
static sem_t all_done;
static bool finished;

static void request_done(struct io *io)
{
	struct request *request = container_of(io, struct request, io);

	assert_ptr_equal(reactor_self(), reactor);
	request->completions++;
	request->done_at_ns = reactor_now_ns(reactor);
	if (--pending)
		return;
	finished = true;
	if (!simulated)
		sem_post(&all_done);
}

static int submit_all(void *argument)
{
	(void)argument;
	for (unsigned i = 0; i < to_submit; i++)
		io_submit(queue, &requests[i].io);
	return 0;
}

/* Submits them at once and waits for all. */
void run_batch(struct request *batch, unsigned count)
{
	requests = batch;
	to_submit = pending = count;
	finished = false;
	for (unsigned i = 0; i < count; i++) {
		batch[i].completions = 0;
		batch[i].io.status = 1;
		batch[i].io.done = request_done;
	}
	if (!simulated)
		sem_init(&all_done, 0, 0);
	reactor_call(reactor, submit_all, NULL);
	if (simulated)
		assert_true(reactor_sim_until(group, &finished));
	else
		while (sem_wait(&all_done))
			assert_int_equal(errno, EINTR);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(batch[i].completions, 1);
}

int run_io(struct io io)
{
	struct request request = {.io = io};

	run_batch(&request, 1);
	return request.io.status;
}

/* A transfer from or to flat memory. */
int transfer(enum io_kind kind, void *memory, uint64_t block, uint32_t blocks)
{
	struct iovec iov = {memory, (size_t)blocks * dev->block_bytes};

	return run_io((struct io){
		.kind = kind, .block = block, .blocks = blocks, .iov = &iov, .iovs = 1});
}

int clear(enum io_kind kind, uint64_t block, uint32_t blocks, bool may_unmap)
{
	return run_io((struct io){
		.kind = kind, .block = block, .blocks = blocks, .may_unmap = may_unmap});
}

void fill(void *memory, size_t bytes, uint64_t seed)
{
	struct random random = {.state = seed};
	uint8_t *at = memory;

	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(random_next(&random) | 1); /* never zero */
}

/* --- the model: any device that stores blocks ------------------------------------------------ */

struct framing {
	struct iovec iov[256];
	uint32_t count, skip;
	char *memory;
};

/* Cuts `bytes` bytes of memory into pieces of multiples of `unit`, at an offset of `shift`. */
static void frame(
	struct framing *framing, struct random *random, size_t bytes, unsigned unit, unsigned shift)
{
	size_t left, allocated;
	char *at;

	framing->skip =
		random_chance(random, 300) ? unit * (1 + (unsigned)random_below(random, 8)) : 0;
	left = bytes + framing->skip;
	allocated = (left + shift + BLOCK - 1) / BLOCK * BLOCK;
	framing->memory = aligned_alloc(BLOCK, allocated);
	at = framing->memory + shift;
	framing->count = 0;
	while (left) {
		size_t length = unit * (1 + random_below(random, 40));

		if (!framing->count && length <= framing->skip)
			length = framing->skip + unit;
		if (length > left || framing->count == 255)
			length = left;
		framing->iov[framing->count++] = (struct iovec){at, length};
		at += length;
		left -= length;
	}
}

/* One random request, carried out on the device and on the model. */
static void one_model_step(struct random *random, char *model, unsigned unit, uint32_t blocks_max)
{
	static const enum io_kind kinds[] = {IO_READ, IO_READ, IO_WRITE, IO_WRITE, IO_WRITE,
		IO_WRITE_ZEROES, IO_DISCARD, IO_FLUSH};
	uint32_t bytes = dev->block_bytes;
	uint32_t limit = random_chance(random, 300) ? blocks_max : blocks_max / 32 + 1;
	uint32_t blocks = 1 + (uint32_t)random_below(random, limit);
	unsigned shift = unit < 512 ? (unsigned)random_below(random, 64)
				    : 512 * (unsigned)random_below(random, 3);
	struct framing framing;
	struct io io = {
		.kind = kinds[random_below(random, 8)],
		.fua = random_chance(random, 200),
		.may_unmap = random_chance(random, 500),
		.blocks = blocks,
		.block = random_below(random, dev->blocks - blocks + 1),
	};
	char *at = model + io.block * bytes, *data;

	frame(&framing, random, (size_t)blocks * bytes, unit, shift);
	data = framing.iov[0].iov_base;
	data += framing.skip;
	io.iov = framing.iov;
	io.iovs = framing.count;
	io.iov_skip = framing.skip;
	if (io.kind == IO_FLUSH)
		io.blocks = 0, io.block = 0;
	if (io.kind == IO_WRITE) {
		fill(data, (size_t)blocks * bytes, random_next(random));
		memcpy(at, data, (size_t)blocks * bytes);
	}
	if (io.kind == IO_WRITE_ZEROES || io.kind == IO_DISCARD)
		memset(at, 0, (size_t)blocks * bytes);
	assert_int_equal(run_io(io), 0);
	/* The data of a write is lent, not given. */
	if (io.kind == IO_READ || io.kind == IO_WRITE)
		expect(!memcmp(data, at, (size_t)blocks * bytes), "kind %d, block %llu, %u blocks",
			io.kind, (unsigned long long)io.block, blocks);
	free(framing.memory);
}

static void check_content(const char *model)
{
	uint32_t step = 64;
	char *memory = aligned_alloc(BLOCK, (size_t)step * BLOCK);

	for (uint64_t block = 0; block < dev->blocks; block += step) {
		uint32_t blocks =
			dev->blocks - block < step ? (uint32_t)(dev->blocks - block) : step;

		assert_int_equal(transfer(IO_READ, memory, block, blocks), 0);
		assert_memory_equal(memory, model + block * dev->block_bytes,
			(size_t)blocks * dev->block_bytes);
	}
	free(memory);
}

void check_against_model(uint64_t seed, unsigned steps, unsigned unit, uint32_t blocks_max)
{
	struct random random = {.state = seed};
	char *model = calloc(dev->blocks, dev->block_bytes);

	assert_non_null(model);
	assert_true(dev->discard_zeroes);
	for (unsigned i = 0; i < steps; i++)
		one_model_step(&random, model, unit, blocks_max);
	check_content(model);
	free(model);
}

void check_range_errors(void)
{
	char *memory = aligned_alloc(BLOCK, 2 * BLOCK);
	const uint64_t blocks = dev->blocks;

	assert_int_equal(transfer(IO_READ, memory, blocks, 1), -EINVAL);
	assert_int_equal(transfer(IO_WRITE, memory, blocks - 1, 2), -EINVAL);
	assert_int_equal(transfer(IO_READ, memory, UINT64_MAX / 8192, 1), -EINVAL);
	assert_int_equal(clear(IO_DISCARD, blocks - 1, UINT32_MAX, true), -EINVAL);
	assert_int_equal(clear(IO_WRITE_ZEROES, 1, (uint32_t)blocks, true), -EINVAL);
	assert_int_equal(transfer(IO_READ, memory, blocks - 1, 1), 0);
	free(memory);
}
