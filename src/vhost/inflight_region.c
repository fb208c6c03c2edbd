/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/inflight_region.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vhost/controller.h"
#include "virtio/guest_memory.h"
#include "virtio/virtq.h"

struct inflight_region {
	struct guest_memory *memory; /* one region, of no address */
	char *areas;
	unsigned queues;
	uint16_t entries; /* of each area */
	bool packed;
};

static int check_queues(const struct vhost_inflight *wire, bool packed, struct fail *fail)
{
	if (!wire->queues || wire->queues > CONTROLLER_QUEUES_MAX)
		return fail_set(fail, EINVAL, "an inflight region for %u queues, of at most %d",
			wire->queues, CONTROLLER_QUEUES_MAX);
	if (!virtq_size_fits(packed, wire->queue_size))
		return fail_set(fail, EINVAL, "an inflight region for virtqueues of %u entries",
			wire->queue_size);
	return 0;
}

static int write_headers(int fd, const struct vhost_inflight *wire)
{
	const struct inflight_area header = {
		.version = INFLIGHT_VERSION,
		.entries = wire->queue_size,
	};
	size_t distance = inflight_area_bytes(wire->queue_size);

	for (unsigned i = 0; i < wire->queues; i++)
		if (pwrite(fd, &header, sizeof(header), (off_t)(i * distance)) != sizeof(header))
			return errno;
	return 0;
}

/* Sealed: nobody cuts it short. The zeros in it take no memory until they are written. */
int inflight_region_make(struct vhost_inflight *wire, bool packed, struct fail *fail)
{
	int fd, error = check_queues(wire, packed, fail);

	if (error)
		return error;
	wire->mmap_bytes = wire->queues * virtq_area_bytes(packed, wire->queue_size);
	wire->mmap_offset = 0;
	fd = memfd_create("braid-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return fail_set(fail, errno, "cannot make an inflight region: %s", strerror(errno));
	if (ftruncate(fd, (off_t)wire->mmap_bytes) ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		error = errno;
	else if (!packed) /* otherwise version 0: it begins with its ring */
		error = write_headers(fd, wire);
	if (!error)
		return fd;
	close(fd);
	return fail_set(fail, error, "cannot make an inflight region: %s", strerror(error));
}

int inflight_region_map(struct inflight_region **mapped, const struct vhost_inflight *wire,
	bool packed, int fd, struct fail *fail)
{
	struct guest_region range = {
		.bytes = wire->queues * virtq_area_bytes(packed, wire->queue_size)};
	AUTO_CLOSE int file = fd;
	struct inflight_region *region;
	int error = check_queues(wire, packed, fail);

	if (error)
		return error;
	if (wire->mmap_bytes < range.bytes || wire->mmap_offset % 8)
		return fail_set(fail, EINVAL,
			"an inflight region of %llu bytes at %llu, for %u queues of %u entries",
			(unsigned long long)wire->mmap_bytes, (unsigned long long)wire->mmap_offset,
			wire->queues, wire->queue_size);
	region = calloc(1, sizeof(*region));
	if (!region)
		return fail_set(fail, ENOMEM, "no memory for an inflight region");
	region->memory = guest_memory_create();
	if (!region->memory) {
		free(region);
		return fail_set(fail, ENOMEM, "no memory for an inflight region");
	}
	error = guest_memory_add(region->memory, &range, file, wire->mmap_offset, fail);
	file = -1;
	if (error) {
		inflight_region_unmap(region);
		return fail_prefix(fail, "as an inflight region");
	}
	region->areas = region->memory->regions[0].memory;
	region->queues = wire->queues;
	region->entries = wire->queue_size;
	region->packed = packed;
	*mapped = region;
	return 0;
}

void inflight_region_unmap(struct inflight_region *region)
{
	if (!region)
		return;
	guest_memory_destroy(region->memory);
	free(region);
}

void *inflight_region_area(
	const struct inflight_region *region, unsigned queue, bool packed, uint16_t *entries)
{
	if (queue >= region->queues || packed != region->packed)
		return NULL;
	*entries = region->entries;
	return region->areas + queue * virtq_area_bytes(packed, region->entries);
}

bool inflight_region_cut(const struct inflight_region *region)
{
	return atomic_load_explicit(&region->memory->cut, memory_order_relaxed);
}
