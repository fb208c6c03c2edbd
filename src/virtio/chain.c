/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/chain.h"

#include <errno.h>
#include <string.h>

#include "virtio/ring.h"

/* Writable segments are collected from the end of the array downwards, and moved behind the
 * readable ones at last. */
int chain_add(struct virtq_chain *chain, const struct guest_memory *memory,
	struct chain_buffer buffer, struct fail *fail)
{
	uint64_t address = buffer.address, bytes = buffer.bytes;
	bool writable = buffer.writable;
	uint32_t *total = writable ? &chain->writable_bytes : &chain->readable_bytes;

	if (!writable && chain->writable)
		chain->malformed = true;
	if (__builtin_add_overflow(*total, buffer.bytes, total))
		return fail_set(fail, EINVAL, "a request is longer than 4 GiB");
	while (bytes) {
		uint64_t length;
		void *place = guest_memory_find(memory, address, bytes, &length);

		if (!place)
			return fail_set(fail, EFAULT, "address 0x%llx is not in the guest's memory",
				(unsigned long long)address);
		if (chain->readable + chain->writable == CHAIN_SEGMENTS_MAX)
			return fail_set(fail, EINVAL, "a request has more than %d segments",
				CHAIN_SEGMENTS_MAX);
		chain->iov[writable ? CHAIN_SEGMENTS_MAX - ++chain->writable : chain->readable++] =
			(struct iovec){place, length};
		address += length;
		bytes -= length;
	}
	return 0;
}

void chain_end(struct virtq_chain *chain)
{
	struct iovec *from = &chain->iov[CHAIN_SEGMENTS_MAX - chain->writable];
	struct iovec *to = &chain->iov[chain->readable];

	for (unsigned i = 0; i < chain->writable / 2; i++) {
		struct iovec swap = from[i];

		from[i] = from[chain->writable - 1 - i];
		from[chain->writable - 1 - i] = swap;
	}
	memmove(to, from, chain->writable * sizeof(*to));
}

int chain_find_table(const void **table, const struct guest_memory *memory, uint64_t address,
	uint32_t bytes, struct fail *fail)
{
	uint64_t contiguous;

	if (!bytes || bytes % sizeof(struct virtq_desc) ||
		bytes / sizeof(struct virtq_desc) > VIRTQUEUE_SIZE_MAX)
		return fail_set(fail, EINVAL, "an indirect table of %u bytes", bytes);
	*table = guest_memory_find(memory, address, bytes, &contiguous);
	if (!*table || contiguous < bytes || address % 8)
		return fail_set(fail, EFAULT, "an indirect table is not in the guest's memory");
	return 0;
}
