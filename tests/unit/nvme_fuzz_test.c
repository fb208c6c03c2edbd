/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NVMe driver over a controller that says and does anything: random identify data, registers,
 * answers and events, from a printed seed. Whatever comes, every io ends once and in time, its
 * memory is not the drive's any more then, and the driver asks the drive for nothing that it may
 * not reach. Wants to be run under ASan and UBSan.
 *
 *	nvme_fuzz_test [FIRST_SEED [COUNT]]
 */
#include "nvme_rig.h"

#include "base/bits.h"
#include "base/log.h"
#include "reactor/sim.h"

enum {
	LIVES = 400,
	JOBS = 40,
	ROUNDS = 6,
	BLOCKS_MAX = 20,
	PLACE_BYTES = SPACE_BYTES / JOBS & ~511
};

static uint64_t first_seed = 1;
static unsigned lives = LIVES;
static struct random chance;
static struct job jobs[JOBS];
static unsigned attached, succeeded, failed, resets, gone;

static uint64_t below(uint64_t bound)
{
	return random_below(&chance, bound);
}

static bool one_in(unsigned count)
{
	return below(count) == 0;
}

static void scribble(void *memory, size_t bytes, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		((uint8_t *)memory)[below(bytes)] = (uint8_t)random_next(&chance);
}

/* What the drive is, perhaps nonsense. */
static void choose_drive(void)
{
	static const unsigned shifts[] = {9, 12, 9, 12, 0, 8, 13, 16};
	uint32_t word;

	for (unsigned i = 0; i < MOCK_NAMESPACES; i++)
		if (!i || one_in(3))
			mock_namespace_set(mock, i, 8 << 20,
				one_in(4) ? shifts[below(8)] : 9 + 3 * (unsigned)below(2));
	mock->identity.mdts = (uint8_t)(one_in(3) ? random_next(&chance) : 1 + below(8));
	if (one_in(3))
		scribble(&mock->identity, sizeof(mock->identity), 40);
	if (one_in(4))
		scribble(&mock->limits, sizeof(mock->limits.reserved) / 100, 10);
	if (one_in(6))
		scribble((char *)&mock->identity + 512, 32, 8);
	if (one_in(4))
		mock->namespaces[0].lbas = random_next(&chance) >> below(64);
	if (one_in(4))
		mock->queues_granted = (unsigned)below(3) + 1;
	if (one_in(10)) {
		word = (uint32_t)random_next(&chance);
		memcpy(mock->registers + NVME_CAP + 4 * below(2), &word, 4);
	}
	mock->identity.sgls = le32_of((uint32_t)below(4));
	mock->namespaces[0].deallocate = (uint8_t)below(16);
	mock->ignores_abort = one_in(2);
	mock->reset_fails = one_in(5);
	mock->enable_ns = below(200) * 1000000;
	mock->disable_ns = below(200) * 1000000;
}

static void choose_rules(void)
{
	mock_rules_clear(mock);
	for (uint64_t i = below(4); i; i--)
		mock_rule(mock, (struct mock_rule){.admin = one_in(3),
					.opcode = one_in(2) ? -1 : (int)below(13),
					.after = (unsigned)below(20),
					.count = (unsigned)below(4),
					.action = (enum mock_action)below(MOCK_DIE + !one_in(4)),
					.value = one_in(2) ? below(0x2000) : below(1000000000)});
}

/* Random bytes where the drive may write: completion queues, and the page of admin data. */
static void scribble_memory(void)
{
	struct mock_completion *completion = &mock->completions[below(2)];
	struct nvme_completion *entries;

	if (!completion->there || !completion->entries)
		return;
	entries = mock_reach(mock, completion->iova, completion->entries * sizeof(*entries));
	if (entries && one_in(2))
		scribble(&entries[completion->tail], sizeof(*entries), 16);
	else if (entries)
		scribble(entries, completion->entries * sizeof(*entries), 20);
	if (nvme->memory && one_in(3))
		scribble(nvme->memory + NVME_ADMIN_PAGE, NVME_PAGE_BYTES, 200);
}

static void disturb(void)
{
	uint32_t word = (uint32_t)random_next(&chance);

	switch (below(12)) {
	case 0:
		scribble_memory();
		break;
	case 1:
		memcpy(mock->registers + 4 * below(16), &word, sizeof(word));
		break;
	case 2:
		mock_event(mock, (unsigned)below(8), (unsigned)below(4), (unsigned)below(256));
		break;
	case 3:
		mock->namespaces[below(MOCK_NAMESPACES)].lbas = below(20000);
		break;
	case 4:
		mock->namespaces[0].present = one_in(2);
		break;
	case 5:
		mock->fatal = one_in(4);
		break;
	case 6:
		mock->removed = one_in(20);
		break;
	case 7:
		mock->will_not_disable = one_in(4);
		break;
	case 8:
		scribble(&mock->identity, sizeof(mock->identity), one_in(4) ? 20 : 0);
		break;
	default:
		choose_rules();
	}
}

static void submit_some(void)
{
	static const enum io_kind kinds[] = {
		IO_READ, IO_READ, IO_WRITE, IO_WRITE_ZEROES, IO_DISCARD, IO_FLUSH};
	static char outside[64 << 10];
	uint64_t blocks_most = MIN(dev->blocks, (uint64_t)BLOCKS_MAX);

	for (unsigned i = 0; i < JOBS; i++) {
		enum io_kind kind = kinds[below(6)];
		uint32_t blocks = 1 + (uint32_t)below(blocks_most);
		size_t bytes = (size_t)blocks * dev->block_bytes;
		/* Places of their own: what the drive still holds is then known by its address. */
		char *memory =
			space + i * PLACE_BYTES + below((PLACE_BYTES - bytes) / 512 - 1) * 512;

		if (one_in(4))
			memory += 4 * below(100); /* an SGL's business, or a copy's */
		if (one_in(4) && bytes <= sizeof(outside))
			memory = outside;
		rig_job(&jobs[i], kind, memory, below(dev->blocks - blocks + 1), blocks);
		jobs[i].io.fua = one_in(3);
		jobs[i].io.may_unmap = one_in(2);
		if (kind == IO_FLUSH)
			jobs[i].io.block = jobs[i].io.blocks = 0;
	}
	rig_submit(jobs, JOBS);
}

/* What control threads do meanwhile. */
static void ask(void)
{
	struct nvme_smart smart;
	struct nvme_event event;
	char log[8192];

	if (one_in(3))
		nvme_smart(nvme, &smart, NULL);
	if (one_in(5))
		nvme_log(nvme, (unsigned)below(256), NVME_NSID_ALL, log, sizeof(log), NULL);
	while (nvme_next_event(nvme, &event))
		assert_true(strlen(event.text) < NVME_EVENT_TEXT_BYTES);
}

static void count_job(const struct job *job)
{
	assert_int_equal(job->completions, 1);
	if (job->io.status)
		failed++;
	else
		succeeded++;
}

static void serve(void)
{
	uint64_t start_ns = reactor_sim_now_ns(group);

	dev = nvme_device(nvme, 0);
	assert_true(dev->blocks && dev->block_bytes >= 512);
	open_device();
	for (unsigned round = 0; round < ROUNDS; round++) {
		submit_some();
		for (uint64_t i = below(4); i; i--) {
			disturb();
			rig_pass(below(100) * 1000000);
		}
		rig_wait();
		for (unsigned i = 0; i < JOBS; i++)
			count_job(&jobs[i]);
		ask();
	}
	expect(reactor_sim_now_ns(group) - start_ns < 3600ull * 1000000000, "it took an hour");
	blockdev_close_queue(queue);
	attached++;
	resets += nvme->resets;
	gone += nvme_state(nvme, NULL) == NVME_GONE;
}

static void live(uint64_t seed)
{
	struct nvme_options options = {.group = NULL, .deadline_ms = 200, .admin_deadline_ms = 300};
	struct fail fail = {0};
	void *state = NULL;

	/* A third with more reactors than queues. */
	assert_int_equal(seed % 3 ? rig_start(&state) : rig_start_relayed(&state), 0);
	reactor = reactor_at(group, (unsigned)(seed / 3 % reactor_count(group)));
	chance.state = mock->random.state = seed;
	options.group = group;
	choose_drive();
	if (one_in(4))
		choose_rules();
	if (nvme_create(&nvme, &mock->bus, &options, false, &fail)) {
		expect(fail.text[0], "a failure without a sentence");
	} else {
		if (nvme_device_count(nvme))
			serve();
		nvme_destroy(nvme);
	}
	assert_true(mock->destroyed);
	for (unsigned i = 0; i < reactor_count(group); i++)
		assert_int_equal(arena_free_bytes(memory_arena(i)), arena_bytes(memory_arena(i)));
	assert_int_equal(rig_stop(&state), 0);
}

static void test_lives(void **state)
{
	(void)state;
	for (unsigned i = 0; i < lives; i++) {
		fprintf(stderr, "seed %llu\n", (unsigned long long)(first_seed + i));
		live(first_seed + i);
	}
	fprintf(stderr, "%u of %u attached, %u ios succeeded, %u failed, %u resets, %u gone\n",
		attached, lives, succeeded, failed, resets, gone);
	/* The random drive is no brick: both kinds happen. */
	expect(lives < LIVES || (succeeded > failed / 4 && failed > succeeded / 20 && resets),
		"the chances are badly chosen");
}

int main(int count, char **arguments)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_lives)};

	unit_start();
	if (count > 1)
		first_seed = strtoull(arguments[1], NULL, 10);
	if (count > 2)
		lives = (unsigned)strtoul(arguments[2], NULL, 10);
	log_threshold(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
