/* SPDX-License-Identifier: Apache-2.0 */
/* Groups and containers: /dev/vfio/N and /dev/vfio/vfio. See linux/vfio.h. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "drivers/vfio/device.h"
#include "drivers/vfio/sysfs.h"
#include "memory/dma.h"

enum { INFO_MAX_BYTES = 64 << 10 };

struct container {
	int fd;
	unsigned groups;
	struct dma_listener listener;
	struct list_node link;
};

struct vfio_group {
	char name[VFIO_NAME_BYTES];
	int fd;
	unsigned users;
	struct container *container;
	struct list_node link;
};

static struct list containers = {{&containers.head, &containers.head}};
static struct list groups = {{&groups.head, &groups.head}};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* --- mappings -------------------------------------------------------------------------------- */

/* Why the kernel did not map. */
static int explain(int error, const struct iovec *memory, const char *what, struct fail *fail)
{
	struct rlimit limit = {0};
	size_t mib = memory->iov_len >> 20;

	getrlimit(RLIMIT_MEMLOCK, &limit);
	if (error == ENOMEM && limit.rlim_cur != RLIM_INFINITY)
		return fail_set(fail, ENOMEM,
			"%s (%zu MiB) cannot be locked for drives: this process may lock %llu MiB; "
			"give the service LimitMEMLOCK=infinity, or ulimit -l unlimited before "
			"starting it",
			what, mib, (unsigned long long)limit.rlim_cur >> 20);
	if (error == ENOSPC)
		return fail_set(fail, ENOSPC,
			"%s cannot be mapped for drives: the kernel's limit of mappings is "
			"reached; "
			"raise /sys/module/vfio_iommu_type1/parameters/dma_entry_limit",
			what);
	return fail_set(fail, error, "%s (%zu MiB) cannot be mapped for drives: %s", what, mib,
		strerror(error));
}

static int container_map(struct dma_listener *listener, const struct iovec *memory, uint64_t iova,
	const char *what, struct fail *fail)
{
	const struct container *container = container_of(listener, struct container, listener);
	struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory->iov_base,
		.iova = iova,
		.size = memory->iov_len};

	return ioctl(container->fd, VFIO_IOMMU_MAP_DMA, &map) ? explain(errno, memory, what, fail)
							      : 0;
}

static void container_unmap(struct dma_listener *listener, uint64_t iova, size_t bytes)
{
	const struct container *container = container_of(listener, struct container, listener);
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = iova, .size = bytes};

	if (ioctl(container->fd, VFIO_IOMMU_UNMAP_DMA, &unmap) || unmap.size != bytes)
		log_error("event=vfio.unmap iova=%#llx bytes=%zu error=\"%s\"",
			(unsigned long long)iova, bytes, strerror(errno));
}

/* Copies the usable ranges out of the answer of VFIO_IOMMU_GET_INFO; 0: it has none. */
static unsigned find_ranges(const struct vfio_iommu_type1_info *info, struct dma_range *ranges)
{
	uint32_t at = info->flags & VFIO_IOMMU_INFO_CAPS ? info->cap_offset : 0;

	while (at && at + sizeof(struct vfio_info_cap_header) <= info->argsz) {
		const struct vfio_iommu_type1_info_cap_iova_range *capability =
			(const void *)((const char *)info + at);
		unsigned count = 0;

		if (capability->header.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
			for (; count < capability->nr_iovas && count < DMA_RANGES_MAX; count++)
				ranges[count] =
					(struct dma_range){capability->iova_ranges[count].start,
						capability->iova_ranges[count].end};
			return count;
		}
		if (capability->header.next <= at)
			break;
		at = capability->header.next;
	}
	return 0;
}

/* Asks the container what device addresses it can map. */
static void ask_ranges(const struct container *container, struct dma_range *ranges, unsigned *count)
{
	AUTO_FREE struct vfio_iommu_type1_info *info = calloc(1, INFO_MAX_BYTES);

	*count = 0;
	if (info) {
		info->argsz = INFO_MAX_BYTES;
		if (!ioctl(container->fd, VFIO_IOMMU_GET_INFO, info))
			*count = find_ranges(info, ranges);
	}
	if (!*count) {
		/* Kernels before 5.4 do not say: what every IOMMU can. */
		ranges[0] = (struct dma_range){0, (1ull << 39) - 1};
		*count = 1;
	}
}

/* --- containers, under the lock -------------------------------------------------------------- */

static int container_open(struct container *container, int group, struct fail *fail)
{
	char path[VFIO_PATH_BYTES];

	vfio_node_path(path, "vfio");
	container->fd = open(path, O_RDWR | O_CLOEXEC);
	if (container->fd < 0)
		return fail_set(fail, errno, "cannot open %s: %s%s", path, strerror(errno),
			errno == EACCES ? "; run braidd as root" : "");
	if (ioctl(container->fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
		ioctl(container->fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) <= 0)
		return fail_set(fail, EOPNOTSUPP,
			"the kernel has no VFIO of type 1: load the module vfio_iommu_type1");
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container->fd))
		return fail_set(fail, errno,
			"cannot put the drive's IOMMU group into a VFIO "
			"container: %s",
			strerror(errno));
	if (ioctl(container->fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)) {
		int error = errno;

		ioctl(group, VFIO_GROUP_UNSET_CONTAINER);
		return fail_set(fail, error,
			error == EPERM ? "the IOMMU cannot isolate interrupts: boot with interrupt "
					 "remapping, or allow vfio_iommu_type1.allow_unsafe_"
					 "interrupts=1 (%s)"
				       : "the IOMMU does not work with VFIO: %s",
			strerror(error));
	}
	return 0;
}

static int container_create(struct container **created, int group, struct fail *fail)
{
	struct container *container = calloc(1, sizeof(*container));
	int error;

	if (!container)
		return fail_set(fail, ENOMEM, "no memory for a VFIO container");
	error = container_open(container, group, fail);
	if (!error) {
		container->listener.map = container_map;
		container->listener.unmap = container_unmap;
		ask_ranges(container, container->listener.ranges, &container->listener.range_count);
		error = dma_listen(&container->listener, fail);
		if (error)
			ioctl(group, VFIO_GROUP_UNSET_CONTAINER);
	}
	if (error) {
		if (container->fd >= 0)
			close(container->fd);
		free(container);
		return error;
	}
	list_push_back(&containers, &container->link);
	*created = container;
	return 0;
}

/* A container that takes the group as well as those it has; the kernel maps what is mapped for the
 * new group too. */
static struct container *container_join(int group)
{
	struct list_node *node;

	list_for_each (node, &containers) {
		struct container *container = container_of(node, struct container, link);
		struct dma_range ranges[DMA_RANGES_MAX];
		unsigned count;

		if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container->fd))
			continue;
		ask_ranges(container, ranges, &count);
		dma_set_ranges(&container->listener, ranges, count);
		return container;
	}
	return NULL;
}

static void container_leave(struct container *container)
{
	if (--container->groups)
		return;
	list_remove(&container->link);
	/* The mappings go with the descriptor. */
	dma_ignore(&container->listener, false);
	close(container->fd);
	free(container);
}

/* --- groups ---------------------------------------------------------------------------------- */

static int group_open(struct vfio_group *group, const char *address, struct fail *fail)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	char path[VFIO_PATH_BYTES];

	vfio_node_path(path, group->name);
	group->fd = open(path, O_RDWR | O_CLOEXEC);
	if (group->fd < 0 && errno == EBUSY)
		return fail_set(fail, EBUSY,
			"drive %s is in use through VFIO by another process, perhaps a virtual "
			"machine "
			"or another braidd",
			address);
	if (group->fd < 0)
		return fail_set(fail, errno, "cannot open %s of drive %s: %s%s", path, address,
			strerror(errno), errno == EACCES ? "; run braidd as root" : "");
	if (ioctl(group->fd, VFIO_GROUP_GET_STATUS, &status))
		return fail_set(fail, errno, "cannot examine the IOMMU group of drive %s: %s",
			address, strerror(errno));
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return fail_set(fail, EBUSY,
			"the IOMMU group %s of drive %s has other devices with drivers of the "
			"kernel: give those to vfio-pci too, or put the drive into another slot",
			group->name, address);
	group->container = container_join(group->fd);
	return group->container ? 0 : container_create(&group->container, group->fd, fail);
}

int vfio_group_get(struct vfio_group **found, const char *address, struct fail *fail)
{
	LOCK_SCOPE(&lock);
	struct vfio_group *group;
	struct list_node *node;
	char name[VFIO_NAME_BYTES];
	int error;

	if (!vfio_link(address, "iommu_group", name))
		return fail_set(fail, ENODEV, "drive %s is behind no IOMMU", address);
	list_for_each (node, &groups) {
		group = container_of(node, struct vfio_group, link);
		if (strcmp(group->name, name) != 0)
			continue;
		group->users++;
		*found = group;
		return 0;
	}
	group = calloc(1, sizeof(*group));
	if (!group)
		return fail_set(fail, ENOMEM, "no memory for an IOMMU group");
	memcpy(group->name, name, sizeof(name));
	group->users = 1;
	error = group_open(group, address, fail);
	if (error) {
		if (group->fd >= 0)
			close(group->fd);
		free(group);
		return error;
	}
	group->container->groups++;
	list_push_back(&groups, &group->link);
	*found = group;
	return 0;
}

void vfio_group_put(struct vfio_group *group)
{
	LOCK_SCOPE(&lock);

	if (--group->users)
		return;
	list_remove(&group->link);
	ioctl(group->fd, VFIO_GROUP_UNSET_CONTAINER);
	close(group->fd);
	container_leave(group->container);
	free(group);
}

int vfio_group_fd(const struct vfio_group *group)
{
	return group->fd;
}
