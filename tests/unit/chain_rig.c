/* SPDX-License-Identifier: Apache-2.0 */
#include "chain_rig.h"

static void add_region(struct guest_memory *memory, uint64_t address, uint64_t bytes)
{
	memory->regions[memory->count++] = (struct guest_region){
		.guest_address = address, .bytes = bytes, .memory = calloc(1, bytes)};
}

void rig_make(struct guest_memory *memory)
{
	add_region(memory, A, A_BYTES);
	add_region(memory, B, B_BYTES);
	add_region(memory, C, C_BYTES);
}

void rig_free(struct guest_memory *memory)
{
	for (unsigned i = 0; i < memory->count; i++)
		free(memory->regions[i].memory);
}

char *rig_here(const struct guest_memory *memory, uint64_t address)
{
	unsigned region = address >= C ? 2 : address >= B ? 1 : 0;
	const uint64_t first[] = {A, B, C};

	return memory->regions[region].memory + (address - first[region]);
}

struct chain_buffer rig_random_buffer(struct random *random, bool writable)
{
	uint32_t bytes = (uint32_t)random_below(random, random_chance(random, 300) ? 9000 : 600);
	uint64_t address;

	if (random_chance(random, 150)) /* across the seam of A and B */
		address = B - random_below(random, (uint64_t)bytes + 1);
	else if (random_chance(random, 500))
		address = A + random_below(random, A_BYTES - 0x4000 - bytes);
	else
		address = C + random_below(random, C_BYTES - bytes + 1);
	return (struct chain_buffer){address, bytes, writable};
}

void rig_check_segments(const struct guest_memory *memory, const struct virtq_chain *chain,
	const struct chain_buffer *buffers, unsigned count)
{
	uint32_t totals[2] = {0, 0};
	unsigned segment = 0;
	size_t skip = 0;

	for (int writable = 0; writable < 2; writable++) {
		expect(!writable || segment == chain->readable,
			"the writable part begins elsewhere");
		for (unsigned i = 0; i < count; i++) {
			if (buffers[i].writable != writable)
				continue;
			totals[writable] += buffers[i].bytes;
			for (uint32_t b = 0; b < buffers[i].bytes; b++) {
				expect(segment < chain->readable + chain->writable,
					"there are too few segments");
				expect((char *)chain->iov[segment].iov_base + skip ==
						rig_here(memory, buffers[i].address + b),
					"byte %u of buffer %u is elsewhere", b, i);
				if (++skip == chain->iov[segment].iov_len) {
					segment++;
					skip = 0;
				}
			}
		}
	}
	expect(segment == chain->readable + chain->writable && !skip,
		"there are too many segments");
	expect(chain->readable_bytes == totals[0] && chain->writable_bytes == totals[1],
		"the sums are wrong");
}

bool rig_holds(const struct guest_memory *memory, const struct iovec *iov)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *region = &memory->regions[i];
		char *base = iov->iov_base;

		if (base >= region->memory && iov->iov_len &&
			base + iov->iov_len <= region->memory + region->bytes)
			return true;
	}
	return false;
}

void rig_check_sound(const struct guest_memory *memory, const struct virtq_chain *chain)
{
	uint32_t sums[2] = {0, 0};

	for (unsigned i = 0; i < chain->readable + chain->writable; i++) {
		assert_true(rig_holds(memory, &chain->iov[i]));
		sums[i >= chain->readable] += (uint32_t)chain->iov[i].iov_len;
	}
	assert_true(sums[0] == chain->readable_bytes && sums[1] == chain->writable_bytes);
}
