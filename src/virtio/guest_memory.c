/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/guest_memory.h"

#include <assert.h>
#include <errno.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/sigbus.h"

enum { TABLES_MAX = 1024, PAGE_BYTES = 4096 };

/* The tables that the SIGBUS handler looks through. A table that is given back is kept to be used
 * again, never freed: the handler may be looking at it. */
static _Atomic(struct guest_memory *) tables[TABLES_MAX];
static struct guest_memory *spares[TABLES_MAX];
static unsigned spare_count;
static pthread_mutex_t spares_lock = PTHREAD_MUTEX_INITIALIZER;

static struct guest_memory *take_spare(void)
{
	LOCK_SCOPE(&spares_lock);

	return spare_count ? spares[--spare_count] : calloc(1, sizeof(struct guest_memory));
}

static void keep_spare(struct guest_memory *memory)
{
	LOCK_SCOPE(&spares_lock);

	assert(spare_count < TABLES_MAX);
	spares[spare_count++] = memory;
}

struct guest_memory *guest_memory_create(void)
{
	struct guest_memory *memory = take_spare();

	if (!memory)
		return NULL;
	memory->count = 0;
	atomic_store(&memory->cut, false);
	for (unsigned i = 0; i < TABLES_MAX; i++) {
		struct guest_memory *empty = NULL;

		if (atomic_compare_exchange_strong(&tables[i], &empty, memory))
			return memory;
	}
	keep_spare(memory);
	return NULL;
}

/* Out of the handler's sight first, unmapped then: the addresses may be somebody else's at once. */
void guest_memory_destroy(struct guest_memory *memory)
{
	for (unsigned i = 0; i < TABLES_MAX; i++) {
		struct guest_memory *mine = memory;

		if (atomic_compare_exchange_strong(&tables[i], &mine, NULL))
			break;
	}
	for (unsigned i = 0; i < memory->count; i++)
		munmap(memory->regions[i].mapping, memory->regions[i].mapped_bytes);
	keep_spare(memory);
}

static bool overlaps(uint64_t a, uint64_t b, uint64_t a_bytes, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

/* Only memory that faults in at once: a page of any other file may take for ever. *page_bytes: what
 * mappings of the file are made of. */
static int check_file(int fd, uint64_t end, uint64_t *page_bytes, struct fail *fail)
{
	struct statfs system;
	struct stat file;

	if (fstat(fd, &file) || fstatfs(fd, &system))
		return fail_set(fail, errno, "cannot examine guest memory: %s", strerror(errno));
	if (!S_ISREG(file.st_mode) ||
		(system.f_type != TMPFS_MAGIC && system.f_type != HUGETLBFS_MAGIC))
		return fail_set(fail, EINVAL,
			"guest memory must be a memfd or a file in tmpfs or hugetlbfs: give the "
			"guest "
			"memory-backend-memfd, or memory-backend-file with mem-path=/dev/hugepages "
			"or "
			"/dev/shm, and share=on");
	if (end > (uint64_t)file.st_size)
		return fail_set(fail, EINVAL,
			"a region of guest memory ends at %llu, its file at %lld",
			(unsigned long long)end, (long long)file.st_size);
	*page_bytes = system.f_type == HUGETLBFS_MAGIC ? (uint64_t)system.f_bsize : PAGE_BYTES;
	return 0;
}

static int check_region(const struct guest_memory *memory, const struct guest_region *region,
	uint64_t file_offset, struct fail *fail)
{
	uint64_t end;

	if (memory->count == GUEST_REGIONS_MAX)
		return fail_set(
			fail, ENOSPC, "more than %d regions of guest memory", GUEST_REGIONS_MAX);
	if (!region->bytes || __builtin_add_overflow(region->guest_address, region->bytes, &end) ||
		__builtin_add_overflow(region->user_address, region->bytes, &end) ||
		__builtin_add_overflow(file_offset, region->bytes, &end) || end > INT64_MAX)
		return fail_set(fail, EINVAL, "a region of guest memory has an impossible size");
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *other = &memory->regions[i];

		if (overlaps(region->guest_address, other->guest_address, region->bytes,
			    other->bytes) ||
			overlaps(region->user_address, other->user_address, region->bytes,
				other->bytes))
			return fail_set(fail, EINVAL, "two regions of guest memory overlap");
	}
	return 0;
}

int guest_memory_add(struct guest_memory *memory, const struct guest_region *region, int fd,
	uint64_t file_offset, struct fail *fail)
{
	AUTO_CLOSE int file = fd;
	struct guest_region added = *region;
	uint64_t page_bytes;
	int error = check_region(memory, region, file_offset, fail);

	if (!error)
		error = check_file(file, file_offset + region->bytes, &page_bytes, fail);
	if (error)
		return error;
	/* From the beginning of the file: its offset need not be aligned to the file's page
	 * size. */
	added.mapped_bytes = align_up(region->bytes + file_offset, page_bytes);
	added.mapping = mmap(NULL, added.mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (added.mapping == MAP_FAILED)
		return fail_set(fail, errno, "cannot map guest memory: %s", strerror(errno));
	/* A guest's memory has no place in our core dumps. */
	madvise(added.mapping, added.mapped_bytes, MADV_DONTDUMP);
	added.memory = (char *)added.mapping + file_offset;
	memory->regions[memory->count++] = added;
	return 0;
}

int guest_memory_remove(struct guest_memory *memory, const struct guest_region *region)
{
	struct guest_region taken;

	for (unsigned i = 0; i < memory->count; i++) {
		struct guest_region *at = &memory->regions[i];

		if (at->guest_address != region->guest_address ||
			at->user_address != region->user_address || at->bytes != region->bytes)
			continue;
		taken = *at;
		*at = memory->regions[--memory->count];
		/* Only what the SIGBUS handler cannot find any more is unmapped: the addresses
		 * may be somebody else's in the next moment. */
		atomic_thread_fence(memory_order_seq_cst);
		munmap(taken.mapping, taken.mapped_bytes);
		return 0;
	}
	return -ENOENT;
}

void *guest_memory_find(const struct guest_memory *memory, uint64_t guest_address, uint64_t bytes,
	uint64_t *contiguous)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *region = &memory->regions[i];
		uint64_t offset = guest_address - region->guest_address;

		if (guest_address < region->guest_address || offset >= region->bytes)
			continue;
		*contiguous = MIN(bytes, region->bytes - offset);
		return region->memory + offset;
	}
	return NULL;
}

void *guest_memory_find_user(
	const struct guest_memory *memory, uint64_t user_address, uint64_t bytes)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *region = &memory->regions[i];
		uint64_t offset = user_address - region->user_address;

		if (user_address >= region->user_address && offset < region->bytes &&
			bytes <= region->bytes - offset)
			return region->memory + offset;
	}
	return NULL;
}

/* Puts zeros in the place of a region whose file was cut short; false: the address is not guest
 * memory. Async-signal-safe: mmap and atomics only. */
static bool replace_region(const char *address)
{
	for (unsigned i = 0; i < TABLES_MAX; i++) {
		struct guest_memory *memory = atomic_load(&tables[i]);

		for (unsigned j = 0; memory && j < memory->count; j++) {
			const struct guest_region *region = &memory->regions[j];
			char *start = region->mapping;

			if (address < start || address >= start + region->mapped_bytes)
				continue;
			atomic_store(&memory->cut, true);
			return mmap(start, region->mapped_bytes, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
				       0) == start;
		}
	}
	return false;
}

void guest_memory_guard(void)
{
	sigbus_own(replace_region);
}
