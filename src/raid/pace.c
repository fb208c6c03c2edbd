/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/pace.h"

#include "base/bits.h"
#include "base/log.h"
#include "base/mutant.h"
#include "memory/memory.h"
#include "raid/internal.h"

enum {
	SLOW = 8,
	FAST = 4,
	SLOW_NS_MIN = 3000000, /* whoever answers within this is not slow */
	JUDGE_NS = 10000000,
	PROBE_NS = 50000000,
	MEAN_SHARE = 16,
};

static uint64_t estimate(const struct pace_member *member, uint64_t now_ns)
{
	uint64_t waits = member->waiting ? now_ns - member->since_ns : 0;

	return MAX(member->mean_ns, waits);
}

static void probe_done(struct io *io)
{
	struct pace *pace = container_of(io, struct pace, probe);
	struct shard *shard = container_of(pace, struct shard, pace);

	pace->probing = false;
	shard->ops_busy--;
	arena_free(memory_arena(shard->index), pace->probe_memory.iov_base);
	pace_end(shard, pace->probed, pace->probed_ns);
}

/* Asks the slow member for a block that nobody waits for. */
static void probe(struct shard *shard, uint64_t block, uint64_t now_ns)
{
	struct pace *pace = &shard->pace;
	unsigned member = (unsigned)__builtin_ctz(pace->slow);
	size_t bytes = shard->array->geometry.block_bytes;
	void *memory;

	if (pace->probing || shard->paused || now_ns - pace->probed_ns < PROBE_NS)
		return;
	memory = arena_alloc(memory_arena(shard->index), bytes);
	if (!memory)
		return;
	pace->probing = true;
	pace->probed = member;
	pace->probed_ns = now_ns;
	pace->probe_memory = (struct iovec){memory, bytes};
	pace->probe = (struct io){.kind = IO_READ,
		.block = block,
		.blocks = 1,
		.iov = &pace->probe_memory,
		.iovs = 1,
		.done = probe_done};
	shard->ops_busy++;
	if (!pace->member[member].waiting++)
		pace->member[member].since_ns = now_ns;
	io_submit(shard->members[member], &pace->probe);
}

static void set_slow(struct shard *shard, uint32_t slow, uint64_t took_ns, uint64_t others_ns)
{
	unsigned member = (unsigned)__builtin_ctz(slow ? slow : shard->pace.slow);
	const struct array *array = shard->array;

	log_warning("event=%s array=%s member=%u drive=\"%s\" read_us=%llu others_us=%llu%s",
		slow ? "SlowDrive" : "SlowDriveRecovered", array->config.name, member,
		array->config.member[member] ? array->config.member[member]->name : "",
		(unsigned long long)(took_ns / 1000), (unsigned long long)(others_ns / 1000),
		slow ? " effect=\"what it holds is reconstructed from the others\"" : "");
	shard->pace.slow = slow;
}

static void judge(struct shard *shard, uint64_t now_ns)
{
	struct pace *pace = &shard->pace;
	uint32_t even =
		bits_below(shard->array->geometry.members) & ~(shard->lost | shard->rebuilding);
	uint64_t sum = 0, worst_ns = 0, others_ns;
	unsigned member, worst = 0;

	pace->judged_ns = now_ns;
	if (pace->slow & ~even)
		pace->slow = 0;
	if (bits_count(even) < 2)
		return;
	bits_for_each (member, even) {
		uint64_t ns = estimate(&pace->member[member], now_ns);

		sum += ns;
		if (pace->slow ? pace->slow >> member & 1 : ns > worst_ns) {
			worst_ns = ns;
			worst = member;
		}
	}
	others_ns = (sum - worst_ns) / (bits_count(even) - 1);
	if (!pace->slow && worst_ns > SLOW_NS_MIN && worst_ns > SLOW * others_ns)
		set_slow(shard, 1u << worst, worst_ns, others_ns);
	else if (pace->slow && (worst_ns <= SLOW_NS_MIN || worst_ns <= FAST * others_ns))
		set_slow(shard, 0, worst_ns, others_ns);
}

void pace_begin(struct shard *shard, unsigned member, uint64_t block)
{
	struct pace *pace = &shard->pace;
	uint64_t now_ns = reactor_now_ns(shard->reactor);

	if (!pace->member[member].waiting++)
		pace->member[member].since_ns = now_ns;
	if (now_ns - pace->judged_ns < JUDGE_NS)
		return;
	judge(shard, now_ns);
	if (pace->slow)
		probe(shard, block, now_ns);
}

void pace_end(struct shard *shard, unsigned member, uint64_t begun_ns)
{
	struct pace_member *pace = &shard->pace.member[member];
	uint64_t now_ns = reactor_now_ns(shard->reactor), took_ns = now_ns - begun_ns;

	/* It may have been forgotten meanwhile. */
	if (pace->waiting)
		pace->waiting--;
	pace->since_ns = now_ns;
	pace->mean_ns = pace->mean_ns - pace->mean_ns / MEAN_SHARE + took_ns / MEAN_SHARE;
}

void pace_forget(struct shard *shard, unsigned member)
{
	shard->pace.member[member] = (struct pace_member){0};
	shard->pace.slow &= ~(1u << member);
}

uint32_t pace_avoid(const struct shard *shard, uint64_t stripe, uint32_t without)
{
	const struct geometry *geometry = &shard->array->geometry;
	uint32_t slow, all;

	if (!shard->pace.slow || shard->broken ||
		(intent_is_dirty(shard, stripe) && !MUTANT(pace_dirty)))
		return 0;
	slow = geometry_columns(geometry, stripe, shard->pace.slow);
	all = without | slow | shard_unreadable_columns(shard, geometry, stripe);
	return bits_count(all) > geometry->redundant ? 0 : slow;
}
