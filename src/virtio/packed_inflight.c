/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/packed_inflight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Program order is all that a kill needs, and release stores among each other keep it. */
#define STORE(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)
#define FETCH(place) __atomic_load_n(&(place), __ATOMIC_RELAXED)

/* Ends the list of free entries. */
enum { NO_ENTRY = UINT16_MAX };
static_assert((int)NO_ENTRY > (int)VIRTQUEUE_SIZE_MAX, "no entry has that number");

/* --- the two positions ------------------------------------------------------------------------ */

static void store_used(
	struct packed_area *area, struct virtq_position now, struct virtq_position before)
{
	struct packed_area words = {
		.used_index = now.index,
		.old_used_index = before.index,
		.used_wrap = now.wrap,
		.old_used_wrap = before.wrap,
	};

	STORE(area->used, words.used);
}

static int fetch_used(const struct packed_area *area, uint16_t size, struct virtq_position *now,
	struct virtq_position *before, struct fail *fail)
{
	struct packed_area words = {.used = FETCH(area->used)};

	*now = (struct virtq_position){words.used_index, words.used_wrap};
	*before = (struct virtq_position){words.old_used_index, words.old_used_wrap};
	if (now->index < size && before->index < size && words.used_wrap <= 1 &&
		words.old_used_wrap <= 1)
		return 0;
	return fail_set(fail, EINVAL,
		"the inflight region says descriptors %u and %u, in a ring of %u",
		words.old_used_index, words.used_index, size);
}

/* --- taking up an area ------------------------------------------------------------------------ */

static bool is_marked(const struct packed_area *area, unsigned entries)
{
	for (unsigned i = 0; i < entries; i++)
		if (FETCH(area->entry[i].in_flight))
			return true;
	return false;
}

/* Nobody has used it: what it holds means nothing. */
static void make_empty(struct packed_area *area, uint16_t entries, struct virtq_position used)
{
	memset(area->entry, 0, entries * sizeof(area->entry[0]));
	area->features = 0;
	area->entries = entries;
	area->free_head = area->old_free_head = NO_ENTRY;
	store_used(area, used, used);
	STORE(area->version, INFLIGHT_VERSION);
}

static int check_header(const struct packed_area *area, uint16_t entries,
	const struct packed_queue *ring, struct fail *fail)
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

/* The batch was published: takes the marks off that are still there. */
static int unmark_batch(struct packed_area *area, uint16_t entries, struct fail *fail)
{
	uint16_t head = FETCH(area->free_head), end = FETCH(area->old_free_head);

	for (unsigned left = entries; head != end; left--) {
		uint16_t last = head < entries ? FETCH(area->entry[head].last) : UINT16_MAX;

		if (!left || last >= entries)
			return fail_set(fail, EINVAL,
				"the inflight region's last batch has descriptor %u of %u", head,
				entries);
		STORE(area->entry[head].in_flight, 0);
		head = FETCH(area->entry[last].next);
	}
	return 0;
}

/* "When reconnecting": finishes a batch that was published, or forgets that it was to be. */
static int settle_batch(
	struct packed_area *area, uint16_t entries, struct packed_queue *ring, struct fail *fail)
{
	struct virtq_position now, before;
	int error = fetch_used(area, ring->size, &now, &before, fail);

	if (error)
		return error;
	if (!virtq_same_position(now, before)) {
		if (!packed_was_published(ring, before))
			now = before;
		else
			error = unmark_batch(area, entries, fail);
	}
	if (error)
		return error;
	store_used(area, now, now);
	ring->next_used = ring->published_used = now;
	return 0;
}

/* The entries of the chain that head begins, each in one chain only: keeps what links them. */
static int link_chain(struct packed_inflight *inflight, uint16_t entries, bool *met,
	const struct packed_again *chain, struct fail *fail)
{
	uint16_t at = chain->head;

	for (unsigned i = 0; i < chain->count; i++) {
		uint16_t next;

		if (at >= entries || met[at])
			return fail_set(fail, EINVAL,
				"the inflight region's chain %u has entry %u of %u", chain->head,
				at, entries);
		met[at] = true;
		next = FETCH(inflight->area->entry[at].next);
		inflight->next[at] = next;
		at = next;
	}
	return 0;
}

/* Reads the marks once, and finds the chains. Their descriptors, or -errno. */
static int collect(struct packed_inflight *inflight, uint16_t entries, uint16_t ring_size,
	bool *met, struct fail *fail)
{
	int total = 0;

	for (unsigned i = 0; i < entries; i++) {
		const struct packed_entry *entry = &inflight->area->entry[i];
		struct packed_again chain = {.head = (uint16_t)i};
		uint8_t mark = FETCH(entry->in_flight);
		int error;

		if (!mark)
			continue;
		chain.count = FETCH(entry->count);
		chain.counter = FETCH(entry->counter);
		if (mark != 1 || !chain.count || chain.count > PACKED_CHAIN_MAX ||
			chain.count > ring_size - total)
			return fail_set(fail, EINVAL,
				"the inflight region marks entry %u with %u, a chain of %u", i,
				mark, chain.count);
		error = link_chain(inflight, entries, met, &chain, fail);
		if (error)
			return error;
		total += chain.count;
		inflight->again[inflight->again_count++] = chain;
	}
	return total;
}

/* Links all that is in no chain. */
static void link_free(struct packed_inflight *inflight, uint16_t entries, const bool *met)
{
	struct packed_area *area = inflight->area;
	uint16_t head = NO_ENTRY;

	for (unsigned i = entries; i-- > 0;) {
		if (met[i])
			continue;
		inflight->next[i] = head;
		STORE(area->entry[i].next, head);
		head = (uint16_t)i;
	}
	inflight->free_head = head;
	STORE(area->free_head, head);
	STORE(area->old_free_head, head);
}

static int compare_again(const void *left, const void *right)
{
	const struct packed_again *a = left, *b = right;

	if (a->counter != b->counter)
		return a->counter < b->counter ? -1 : 1;
	return (a->head > b->head) - (a->head < b->head);
}

/* Finds what is in flight and what is free. */
static int adopt(struct packed_inflight *inflight, uint16_t entries, struct packed_queue *ring,
	struct fail *fail)
{
	bool *met = calloc(entries, sizeof(*met));
	int total;

	inflight->next = calloc(entries, sizeof(inflight->next[0]));
	inflight->again = calloc(entries, sizeof(inflight->again[0]));
	if (!met || !inflight->next || !inflight->again) {
		free(met);
		return fail_set(fail, ENOMEM, "no memory for %u chains in flight", entries);
	}
	total = collect(inflight, entries, ring->size, met, fail);
	if (total >= 0)
		link_free(inflight, entries, met);
	free(met);
	if (total < 0)
		return total;
	qsort(inflight->again, inflight->again_count, sizeof(inflight->again[0]), compare_again);
	if (inflight->again_count)
		inflight->counter = inflight->again[inflight->again_count - 1].counter + 1;
	ring->next_available = ring->next_used;
	virtq_advance(&ring->next_available, ring->size, (uint16_t)total);
	packed_retract(ring);
	return 0;
}

int packed_inflight_recover(struct packed_inflight *inflight, struct packed_area *area,
	uint16_t entries, struct packed_queue *ring, bool known, struct fail *fail)
{
	int error;

	assert(!inflight->area && (uintptr_t)area % 8 == 0);
	if (!FETCH(area->version))
		make_empty(area, entries, ring->next_used);
	error = check_header(area, entries, ring, fail);
	if (error)
		return error;
	if (known && !is_marked(area, entries))
		store_used(area, ring->next_used, ring->next_used);
	error = settle_batch(area, entries, ring, fail);
	if (error)
		return error;
	*inflight = (struct packed_inflight){.area = area};
	error = adopt(inflight, entries, ring, fail);
	if (error)
		packed_inflight_release(inflight);
	return error;
}

void packed_inflight_release(struct packed_inflight *inflight)
{
	free(inflight->next);
	free(inflight->again);
	*inflight = (struct packed_inflight){0};
}

/* --- while the queue runs --------------------------------------------------------------------- */

/* There are as many entries as the ring has descriptors, and a chain keeps its own until the driver
 * has been told: a free one is always there. */
void packed_inflight_take(struct packed_inflight *inflight, const struct packed_queue *ring,
	struct virtq_chain *chain)
{
	struct packed_area *area = inflight->area;
	uint16_t at = inflight->free_head;
	struct packed_entry *head;

	if (!area)
		return;
	head = &area->entry[at];
	chain->entry = at;
	for (unsigned i = 0; i < chain->slots; i++) {
		const struct virtq_packed_desc *descriptor = &ring->taken[i];
		struct packed_entry *entry = &area->entry[at];

		assert(at != NO_ENTRY);
		STORE(entry->address, le64_get(descriptor->address));
		STORE(entry->bytes, le32_get(descriptor->bytes));
		STORE(entry->id, le16_get(descriptor->id));
		STORE(entry->flags, le16_get(descriptor->flags));
		STORE(entry->next, inflight->next[at]);
		chain->last_entry = at;
		at = inflight->next[at];
	}
	inflight->free_head = at;
	STORE(head->last, chain->last_entry);
	STORE(head->count, chain->slots);
	STORE(head->counter, inflight->counter);
	inflight->counter++;
	STORE(area->free_head, at);
	STORE(area->old_free_head, at);
	STORE(head->in_flight, 1);
}

void packed_inflight_put(struct packed_inflight *inflight, const struct virtq_chain *chain)
{
	if (!inflight->area)
		return;
	assert(inflight->batch_count < INFLIGHT_BATCH_MAX);
	inflight->batch[inflight->batch_count].head = chain->entry;
	inflight->batch[inflight->batch_count++].last = chain->last_entry;
}

void packed_inflight_commit(struct packed_inflight *inflight, const struct packed_queue *ring)
{
	struct packed_area *area = inflight->area;

	if (!area || !inflight->batch_count)
		return;
	for (unsigned i = 0; i < inflight->batch_count; i++) {
		uint16_t head = inflight->batch[i].head, last = inflight->batch[i].last;

		inflight->next[last] = inflight->free_head;
		STORE(area->entry[head].last, last);
		STORE(area->entry[last].next, inflight->free_head);
		inflight->free_head = head;
	}
	STORE(area->free_head, inflight->free_head);
	store_used(area, ring->next_used, ring->published_used);
}

void packed_inflight_publish(struct packed_inflight *inflight, const struct packed_queue *ring)
{
	struct packed_area *area = inflight->area;

	if (!area || !inflight->batch_count)
		return;
	for (unsigned i = 0; i < inflight->batch_count; i++)
		STORE(area->entry[inflight->batch[i].head].in_flight, 0);
	inflight->batch_count = 0;
	store_used(area, ring->published_used, ring->published_used);
	STORE(area->old_free_head, inflight->free_head);
}

void packed_inflight_again(
	struct packed_inflight *inflight, struct packed_queue *ring, struct virtq_chain *chain)
{
	const struct packed_again *again = &inflight->again[inflight->again_next++];
	uint16_t at = again->head;

	chain->entry = at;
	chain->slots = again->count;
	for (unsigned i = 0; i < again->count; i++) {
		const struct packed_entry *entry = &inflight->area->entry[at];

		ring->taken[i] = (struct virtq_packed_desc){
			.address = le64_of(FETCH(entry->address)),
			.bytes = le32_of(FETCH(entry->bytes)),
			.id = le16_of(FETCH(entry->id)),
			.flags = le16_of(FETCH(entry->flags)),
		};
		chain->last_entry = at;
		at = inflight->next[at];
	}
}
