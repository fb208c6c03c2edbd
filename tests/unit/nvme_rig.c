/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme_rig.h"

#include <errno.h>

#include "reactor/sim.h"

enum { ARENA_BYTES = 4 << 20, RELAYED_REACTORS = 3 };

struct mock *mock;
struct nvme *nvme;
char *space;
static struct job *to_submit;
static unsigned to_submit_count, waiting;

static int start(unsigned reactors)
{
	if (start_simulation_of(reactors) || memory_start(reactors, ARENA_BYTES, NULL))
		return -1;
	space = memory_map(SPACE_BYTES, NULL);
	if (!space || dma_register(space, SPACE_BYTES, "a test", NULL))
		return -1;
	mock = mock_create(group, false);
	waiting = 0;
	return 0;
}

int rig_start(void **state)
{
	(void)state;
	return start(1);
}

int rig_start_relayed(void **state)
{
	int error = start(RELAYED_REACTORS);

	(void)state;
	if (!error)
		mock->queues_granted = 1;
	return error;
}

int rig_stop(void **state)
{
	mock_destroy(mock);
	dma_unregister(space);
	memory_unmap(space, SPACE_BYTES);
	memory_stop();
	return stop_simulation(state);
}

int rig_try(struct fail *fail)
{
	struct nvme_options options = {.group = group};

	return nvme_create(&nvme, &mock->bus, &options, false, fail);
}

void rig_attach(uint32_t block_bytes)
{
	struct nvme_options options = {.group = group, .block_bytes = block_bytes};
	struct fail fail = {0};

	expect(!nvme_create(&nvme, &mock->bus, &options, false, &fail), "%s", fail.text);
	assert_int_equal(nvme_device_count(nvme), 1);
	dev = nvme_device(nvme, 0);
	reactor = reactor_at(group, (nvme->first_reactor + 1) % reactor_count(group));
	open_device();
}

void rig_detach(void)
{
	blockdev_close_queue(queue);
	nvme_destroy(nvme);
	assert_true(mock->destroyed);
	assert_int_equal(mock->bad_prps, 0);
	assert_int_equal(mock->iommu_faults, 0);
}

struct job *rig_job(
	struct job *job, enum io_kind kind, void *memory, uint64_t block, uint32_t blocks)
{
	*job = (struct job){.iov = {memory, (size_t)blocks * dev->block_bytes}};
	job->io = (struct io){
		.kind = kind, .block = block, .blocks = blocks, .iov = &job->iov, .iovs = 1};
	return job;
}

static void job_done(struct io *io)
{
	struct job *job = container_of(io, struct job, io);

	assert_ptr_equal(reactor_self(), reactor);
	job->completions++;
	job->done_at_ns = reactor_now_ns(reactor);
	waiting--;
	/* Its memory is the owner's again: no drive may write into it any more. */
	if (io_carries_data(io))
		for (unsigned i = 0; i < io->iovs; i++)
			expect(!mock_holds(mock, io->iov[i].iov_base, io->iov[i].iov_len),
				"an io was given back while the drive still had it");
}

static int submit_all(void *argument)
{
	(void)argument;
	for (unsigned i = 0; i < to_submit_count; i++)
		io_submit(queue, &to_submit[i].io);
	return 0;
}

void rig_submit(struct job *jobs, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		jobs[i].io.done = job_done;
	to_submit = jobs;
	to_submit_count = count;
	waiting += count;
	reactor_call(reactor, submit_all, NULL);
}

/* What the watcher's thread does, every quarter of a second and when it is called. */
static void watch(void)
{
	static uint64_t last_ns;
	uint64_t now_ns = reactor_sim_now_ns(group);

	if (!atomic_load(&nvme->trouble) && now_ns >= last_ns && now_ns - last_ns < 250000000)
		return;
	last_ns = now_ns;
	nvme_watch(nvme);
}

void rig_wait(void)
{
	while (waiting) {
		assert_true(reactor_sim_step(group));
		watch();
	}
}

void rig_pass(uint64_t ns)
{
	uint64_t end_ns = reactor_sim_now_ns(group) + ns;

	while (reactor_sim_now_ns(group) < end_ns) {
		assert_true(reactor_sim_step(group));
		watch();
	}
}

int rig_io(enum io_kind kind, void *memory, uint64_t block, uint32_t blocks)
{
	struct job job;

	rig_submit(rig_job(&job, kind, memory, block, blocks), 1);
	rig_wait();
	assert_int_equal(job.completions, 1);
	return job.io.status;
}

unsigned rig_events(enum nvme_event_kind kind)
{
	struct nvme_event event;
	unsigned count = 0;

	while (nvme_next_event(nvme, &event))
		count += event.kind == kind;
	return count;
}
