/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/inflight.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Program order is all that a kill needs, and release stores among each other keep it. */
#define STORE(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)
#define FETCH(place) __atomic_load_n(&(place), __ATOMIC_RELAXED)

struct taken {
	uint64_t counter;
	uint16_t head;
};

static int compare_taken(const void *left, const void *right)
{
	const struct taken *a = left, *b = right;

	if (a->counter != b->counter)
		return a->counter < b->counter ? -1 : 1;
	return (a->head > b->head) - (a->head < b->head);
}

/* Reads the marks once. Their number, or -errno. */
static int collect(const struct inflight_area *area, unsigned entries, unsigned ring_size,
	struct taken *taken, struct fail *fail)
{
	int count = 0;

	for (unsigned i = 0; i < entries; i++) {
		uint8_t mark = FETCH(area->entry[i].in_flight);

		if (!mark)
			continue;
		if (mark != 1 || i >= ring_size)
			return fail_set(fail, EINVAL,
				"the inflight region marks descriptor %u of %u with %u", i,
				ring_size, mark);
		taken[count++] = (struct taken){FETCH(area->entry[i].counter), (uint16_t)i};
	}
	return count;
}

static bool is_marked(const struct inflight_area *area, unsigned entries)
{
	for (unsigned i = 0; i < entries; i++)
		if (FETCH(area->entry[i].in_flight))
			return true;
	return false;
}

/* "When reconnecting": the used index was published, the marks of its batch perhaps not taken off.
 * An area without marks may be new, and lag behind by any number. */
static int finish_batch(
	struct inflight_area *area, unsigned entries, uint16_t used_index, struct fail *fail)
{
	uint16_t behind = (uint16_t)(used_index - FETCH(area->used_index));
	uint16_t head = FETCH(area->last_batch);

	if (!is_marked(area, entries))
		behind = 0;
	if (behind > entries)
		return fail_set(fail, EINVAL,
			"the inflight region is %u answers behind a ring of at most %u", behind,
			entries);
	for (; behind; behind--) {
		if (head >= entries)
			return fail_set(fail, EINVAL,
				"the inflight region's last batch has descriptor %u of %u", head,
				entries);
		STORE(area->entry[head].in_flight, 0);
		head = FETCH(area->entry[head].next);
	}
	STORE(area->used_index, used_index);
	return 0;
}

/* Nobody has used it: what it holds means nothing. */
static void make_empty(struct inflight_area *area, uint16_t entries, uint16_t used_index)
{
	memset(area->entry, 0, entries * sizeof(area->entry[0]));
	area->features = 0;
	area->entries = entries;
	area->last_batch = 0;
	area->used_index = used_index;
	STORE(area->version, INFLIGHT_VERSION);
}

static int check_header(const struct inflight_area *area, uint16_t entries,
	const struct split_queue *ring, struct fail *fail)
{
	if (FETCH(area->version) != INFLIGHT_VERSION || FETCH(area->features))
		return fail_set(fail, EINVAL, "the inflight region has version %u, features 0x%llx",
			FETCH(area->version), (unsigned long long)FETCH(area->features));
	if (FETCH(area->entries) != entries)
		return fail_set(fail, EINVAL,
			"the inflight region says it has %u entries, the message %u",
			FETCH(area->entries), entries);
	if (ring->size > entries)
		return fail_set(fail, EINVAL, "an inflight region of %u entries for a ring of %u",
			entries, ring->size);
	return 0;
}

int inflight_recover(struct inflight *inflight, struct inflight_area *area, uint16_t entries,
	struct split_queue *ring, struct fail *fail)
{
	struct taken *taken;
	uint16_t unanswered;
	int count;

	assert(!inflight->area && !inflight->again && (uintptr_t)area % 8 == 0);
	if (!FETCH(area->version))
		make_empty(area, entries, ring->next_used);
	count = check_header(area, entries, ring, fail);
	if (!count)
		count = finish_batch(area, entries, ring->next_used, fail);
	if (count)
		return count;
	taken = calloc(entries, sizeof(*taken));
	inflight->again = calloc(entries, sizeof(inflight->again[0]));
	if (!taken || !inflight->again) {
		count = fail_set(fail, ENOMEM, "no memory for %u chains in flight", entries);
		goto out;
	}
	count = collect(area, entries, ring->size, taken, fail);
	/* A driver whose ring has fewer unanswered chains did not send these. */
	unanswered =
		(uint16_t)(le16_get((le16){FETCH(ring->available->index.raw)}) - ring->next_used);
	if (count > unanswered)
		count = fail_set(fail, EINVAL,
			"the inflight region marks %d chains, the ring has %u unanswered", count,
			unanswered);
	if (count < 0)
		goto out;
	qsort(taken, (size_t)count, sizeof(*taken), compare_taken);
	for (int i = 0; i < count; i++)
		inflight->again[i] = taken[i].head;
	inflight->counter = count ? taken[count - 1].counter + 1 : 0;
	inflight->area = area;
	inflight->again_count = (unsigned)count;
	inflight->again_next = inflight->batch_count = 0;
	ring->next_available = (uint16_t)(ring->next_used + count);
out:
	free(taken);
	if (count < 0)
		inflight_release(inflight);
	return count < 0 ? count : 0;
}

void inflight_release(struct inflight *inflight)
{
	free(inflight->again);
	*inflight = (struct inflight){0};
}

int inflight_take(struct inflight *inflight, uint16_t head, struct fail *fail)
{
	struct inflight_entry *entry;

	if (!inflight->area)
		return 0;
	entry = &inflight->area->entry[head];
	if (FETCH(entry->in_flight))
		return fail_set(fail, EBUSY, "chain head %u is in flight already", head);
	STORE(entry->counter, inflight->counter);
	inflight->counter++;
	STORE(entry->in_flight, 1);
	return 0;
}

void inflight_put(struct inflight *inflight, uint16_t head)
{
	struct inflight_area *area = inflight->area;

	if (!area)
		return;
	assert(inflight->batch_count < INFLIGHT_BATCH_MAX);
	inflight->batch[inflight->batch_count++] = head;
	STORE(area->entry[head].next, FETCH(area->last_batch));
	STORE(area->last_batch, head);
}

void inflight_publish(struct inflight *inflight, uint16_t used_index)
{
	struct inflight_area *area = inflight->area;

	if (!area || !inflight->batch_count)
		return;
	for (unsigned i = 0; i < inflight->batch_count; i++)
		STORE(area->entry[inflight->batch[i]].in_flight, 0);
	inflight->batch_count = 0;
	STORE(area->used_index, used_index);
}
