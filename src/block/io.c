/* SPDX-License-Identifier: Apache-2.0 */
#include "block/io.h"

#include <assert.h>
#include <string.h>

#include "base/bits.h"

struct iov_cursor iov_cursor_at(const struct io *io, size_t bytes)
{
	struct iov_cursor cursor = {.iov = io->iov, .skip = io->iov_skip + bytes};

	while (cursor.skip && cursor.skip >= cursor.iov->iov_len) {
		cursor.skip -= cursor.iov->iov_len;
		cursor.iov++;
	}
	return cursor;
}

/* The next piece that is contiguous in memory, at most `bytes` long; moves the cursor behind it. */
static size_t cursor_next(struct iov_cursor *cursor, size_t bytes, char **piece)
{
	size_t length;

	while (cursor->skip >= cursor->iov->iov_len) {
		cursor->skip -= cursor->iov->iov_len;
		cursor->iov++;
	}
	length = MIN(bytes, cursor->iov->iov_len - cursor->skip);
	*piece = (char *)cursor->iov->iov_base + cursor->skip;
	cursor->skip += length;
	return length;
}

void iov_copy_from(struct iov_cursor *cursor, void *to, size_t bytes)
{
	char *at = to, *piece;

	for (size_t length; bytes; bytes -= length, at += length) {
		length = cursor_next(cursor, bytes, &piece);
		memcpy(at, piece, length);
	}
}

void iov_copy_to(struct iov_cursor *cursor, const void *from, size_t bytes)
{
	const char *at = from;
	char *piece;

	for (size_t length; bytes; bytes -= length, at += length) {
		length = cursor_next(cursor, bytes, &piece);
		memcpy(piece, at, length);
	}
}

void iov_fill(struct iov_cursor *cursor, int byte, size_t bytes)
{
	char *piece;

	for (size_t length; bytes; bytes -= length) {
		length = cursor_next(cursor, bytes, &piece);
		memset(piece, byte, length);
	}
}

void io_part(
	struct io *part, const struct io *io, uint32_t first, uint32_t blocks, uint32_t block_bytes)
{
	part->kind = io->kind;
	part->fua = io->fua;
	part->may_unmap = io->may_unmap;
	part->blocks = blocks;
	part->iov = io->iov;
	part->iovs = io->iovs;
	part->iov_skip = 0;
	assert((uint64_t)first + blocks <= io->blocks);
	if (io_carries_data(io)) {
		struct iov_cursor start = iov_cursor_at(io, (size_t)first * block_bytes);

		part->iov = start.iov;
		part->iovs = io->iovs - (uint32_t)(start.iov - io->iov);
		part->iov_skip = (uint32_t)start.skip;
	}
}
