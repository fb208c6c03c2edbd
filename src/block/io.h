/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unit of work that every block device takes.
 *
 * Ownership: the submitter owns the struct and lends it, together with the iovec array and the
 * memory behind it, from io_submit() until done() is called. done() is called exactly once, on the
 * reactor that submitted, possibly from inside io_submit(). Owners embed struct io in what the
 * request means to them and use container_of(). A layer may move io->block on the way down. Whoever
 * submits from inside done() bounds the recursion.
 *
 * An io covers blocks * block_bytes bytes, which begin iov_skip bytes into iov[0]; what lies behind
 * in the vector is not touched. So a part of a larger request is another struct io over the same
 * vector: nothing is copied to split a request.
 */
#ifndef BLOCK_IO_H
#define BLOCK_IO_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/list.h"

enum io_kind {
	IO_READ,
	IO_WRITE,
	IO_FLUSH,	 /* everything completed before, on any queue, becomes stable */
	IO_DISCARD,	 /* content is no longer needed; advisory */
	IO_WRITE_ZEROES, /* reads return zeros afterwards */
};

/* A status: what could serve it is away and may come back. Nothing is known to be lost, and whoever
 * can wait may submit the same again then; a write may have been carried out in part. */
enum { IO_OFFLINE = -ENOLINK };

struct io {
	enum io_kind kind;
	bool fua;	 /* WRITE, WRITE_ZEROES: stable at completion */
	bool may_unmap;	 /* WRITE_ZEROES: may deallocate, if zeros are still read */
	uint32_t blocks; /* 0 for FLUSH */
	uint64_t block;	 /* first block, on the device submitted to */
	const struct iovec *iov;
	uint32_t iovs;
	uint32_t iov_skip; /* bytes; less than iov[0].iov_len */
	int status;	   /* 0 or -errno, valid from done() on */
	void (*done)(struct io *io);
	struct list_node link; /* for whoever holds the io meanwhile */
};

static inline bool io_carries_data(const struct io *io)
{
	return io->kind == IO_READ || io->kind == IO_WRITE;
}

static inline bool io_changes_data(const struct io *io)
{
	return io->kind == IO_WRITE || io->kind == IO_DISCARD || io->kind == IO_WRITE_ZEROES;
}

static inline void io_complete(struct io *io, int status)
{
	io->status = status;
	io->done(io);
}

/* A place in a vector of buffers. */
struct iov_cursor {
	const struct iovec *iov;
	size_t skip; /* bytes into *iov */
};

/* The cursor `bytes` behind the beginning of io's data. */
struct iov_cursor iov_cursor_at(const struct io *io, size_t bytes);

/* Copies between the vector and flat memory, and moves the cursor behind what was copied. The
 * vector must hold that many bytes. Guest memory is read exactly once. */
void iov_copy_from(struct iov_cursor *cursor, void *to, size_t bytes);
void iov_copy_to(struct iov_cursor *cursor, const void *from, size_t bytes);
void iov_fill(struct iov_cursor *cursor, int byte, size_t bytes);

/* Makes part the io for `blocks` blocks that begin `first` blocks behind io's own first one, on the
 * same vector; kind and flags as in io. The caller sets block and done. */
void io_part(struct io *part, const struct io *io, uint32_t first, uint32_t blocks,
	uint32_t block_bytes);

#endif
