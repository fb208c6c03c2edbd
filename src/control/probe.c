/* SPDX-License-Identifier: Apache-2.0 */
#include "control/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "raid/gpt.h"

static int read_size(int fd, const struct stat *status, uint64_t *bytes)
{
	*bytes = (uint64_t)status->st_size;
	if (S_ISBLK(status->st_mode) && ioctl(fd, BLKGETSIZE64, bytes))
		return -errno;
	return 0;
}

/* Damaged beats absent. */
static void worse(struct fail *why, const struct fail *fail)
{
	if (!why->error || (why->error == ENODATA && fail->error != ENODATA))
		*why = *fail;
}

static bool read_ring(
	int fd, const struct extent *ring, bool found, struct superblock *newest, struct fail *why)
{
	char page[SUPERBLOCK_BYTES];
	struct superblock one;
	struct fail fail;

	for (uint64_t at = ring->offset; at < ring->offset + ring->bytes; at += sizeof(page)) {
		if (pread(fd, page, sizeof(page), (off_t)at) != (ssize_t)sizeof(page))
			fail_set(&fail, EIO, "byte %llu cannot be read", (unsigned long long)at);
		else if (!superblock_decode(&one, at, page, &fail)) {
			if (!found || one.generation > newest->generation)
				*newest = one;
			found = true;
			continue;
		}
		worse(why, &fail);
	}
	return found;
}

static bool has_our_table(int fd)
{
	char head[GPT_LOOK_BYTES];

	return pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) && gpt_head_is_ours(head);
}

int probe_superblock(const char *path, struct superblock *superblock, struct stat *status,
	uint64_t *bytes_read, struct fail *fail)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct fail why = {0};
	struct extent rings[2];
	struct stat own;
	uint64_t bytes;
	bool found = false;

	if (!status)
		status = &own;
	memset(status, 0, sizeof(*status));
	if (fd < 0)
		return fail_set(fail, errno, "cannot open %s: %s", path, strerror(errno));
	if (fstat(fd, status) || (!S_ISREG(status->st_mode) && !S_ISBLK(status->st_mode)))
		return fail_set(fail, EINVAL, "%s is neither a file nor a block device", path);
	if (read_size(fd, status, &bytes))
		return fail_set(fail, EIO, "the size of %s cannot be read", path);
	if (bytes_read)
		*bytes_read = bytes;
	if (!layout_find_superblocks(rings, &layout_standard, bytes))
		return fail_set(fail, ENODATA, "%s is too small to be a member", path);
	for (unsigned i = 0; i < 2; i++)
		found = read_ring(fd, &rings[i], found, superblock, &why);
	if (!found && why.error == ENODATA && has_our_table(fd))
		return fail_set(fail, EILSEQ,
			"%s: its partition table says that it is a member of a braid array, but "
			"its superblocks are gone",
			path);
	if (!found)
		return fail_set(fail, why.error, "%s: %s", path, why.text);
	if (superblock->member_bytes > bytes)
		return fail_set(fail, EILSEQ,
			"%s has %llu bytes, its superblock was written when it had %llu: it has "
			"shrunk",
			path, (unsigned long long)bytes,
			(unsigned long long)superblock->member_bytes);
	return 0;
}
