/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cursors over vectors, and parts of requests: every cut of a small request in every framing.
 * The buffers of a vector are separate allocations, so that a sanitizer sees any step outside.
 */
#include "unit.h"

#include "block/io.h"

enum {
	BLOCK = 4,
	BLOCKS = 3,
	BYTES = BLOCK * BLOCKS,
	SKIP_MAX = 3,
	PIECES_MAX = BYTES + SKIP_MAX + 3
};

struct vector {
	struct iovec *iov;
	unsigned count;
};

/* A vector of `bytes` bytes cut where `cuts` has a bit, with an empty piece where `empty` has one;
 * byte i holds `base + i`. */
static struct vector make_vector(unsigned bytes, uint32_t cuts, uint32_t empty, unsigned base)
{
	struct vector vector = {.iov = calloc(2 * bytes + 2, sizeof(struct iovec))};

	for (unsigned first = 0; first < bytes;) {
		unsigned end = first + 1;
		char *piece;

		while (end < bytes && !(cuts >> end & 1))
			end++;
		/* Not before the first byte: there iov_skip needs a piece to lie in. */
		if (first && empty >> first & 1)
			vector.iov[vector.count++] = (struct iovec){malloc(1), 0};
		piece = malloc(end - first);
		for (unsigned i = first; i < end; i++)
			piece[i - first] = (char)(base + i);
		vector.iov[vector.count++] = (struct iovec){piece, end - first};
		first = end;
	}
	/* Of the exact size: one read behind the last entry is seen too. */
	vector.iov = realloc(vector.iov, vector.count * sizeof(struct iovec));
	return vector;
}

static void free_vector(struct vector *vector)
{
	for (unsigned i = 0; i < vector->count; i++)
		free(vector->iov[i].iov_base);
	free(vector->iov);
}

static char byte_at(const struct vector *vector, unsigned index)
{
	const struct iovec *iov = vector->iov;

	while (index >= iov->iov_len)
		index -= (unsigned)(iov++)->iov_len;
	return ((char *)iov->iov_base)[index];
}

static void check_bytes(
	const struct iov_cursor *cursor, unsigned base, unsigned first, unsigned bytes)
{
	struct iov_cursor copy = *cursor;
	char flat[BYTES];

	iov_copy_from(&copy, flat, bytes);
	for (unsigned i = 0; i < bytes; i++)
		expect(flat[i] == (char)(base + first + i), "byte %u of the request is another",
			first + i);
}

/* io covers BLOCKS blocks behind skip bytes of the vector. Each part, and each part of that part.
 */
static void check_parts(const struct io *io, unsigned skip)
{
	for (uint32_t first = 0; first <= BLOCKS; first++)
		for (uint32_t count = 0; first + count <= BLOCKS; count++) {
			struct io part = {.block = 77}, inner;
			struct iov_cursor cursor;

			io_part(&part, io, first, count, BLOCK);
			assert_int_equal(part.blocks, count);
			assert_int_equal(part.block, 77);
			assert_true(part.kind == io->kind && part.fua == io->fua &&
				    part.may_unmap == io->may_unmap);
			if (!count)
				continue;
			assert_true(part.iov_skip < part.iov->iov_len || !part.iov_skip);
			assert_ptr_equal(part.iov + part.iovs, io->iov + io->iovs);
			cursor = iov_cursor_at(&part, 0);
			check_bytes(&cursor, skip, first * BLOCK, count * BLOCK);
			for (uint32_t i = 0; i < count; i++) {
				io_part(&inner, &part, i, 1, BLOCK);
				cursor = iov_cursor_at(&inner, 0);
				check_bytes(&cursor, skip, (first + i) * BLOCK, BLOCK);
			}
		}
}

static void check_cursors(const struct io *io, unsigned skip)
{
	for (unsigned at = 0; at < BYTES; at++) {
		struct iov_cursor cursor = iov_cursor_at(io, at);

		/* In two steps: the cursor goes on where it stopped. */
		for (unsigned first = 1; at + first < BYTES; first++) {
			struct iov_cursor moved = cursor;
			char flat[BYTES];

			iov_copy_from(&moved, flat, first);
			check_bytes(&moved, skip, at + first, BYTES - at - first);
		}
		check_bytes(&cursor, skip, at, BYTES - at);
	}
}

/* Writing [at, at + bytes) into the vector changes those bytes and no others. */
static void check_writes(const struct io *io, struct vector *vector, unsigned skip, unsigned total)
{
	for (unsigned at = 0; at < BYTES; at += 3)
		for (unsigned bytes = 1; at + bytes <= BYTES; bytes++) {
			struct iov_cursor to = iov_cursor_at(io, at), fill = to, back = to;
			char flat[BYTES], original[BYTES];

			iov_copy_from(&back, original, bytes);
			memset(flat, 0x55, sizeof(flat));
			iov_copy_to(&to, flat, bytes);
			for (unsigned i = 0; i < total; i++) {
				bool inside = i >= skip + at && i < skip + at + bytes;

				expect(byte_at(vector, i) == (inside ? 0x55 : (char)i),
					"byte %u after a write of [%u, +%u)", i, at, bytes);
			}
			iov_fill(&fill, 0x66, bytes);
			for (unsigned i = 0; i < total; i++) {
				bool inside = i >= skip + at && i < skip + at + bytes;

				expect(byte_at(vector, i) == (inside ? 0x66 : (char)i),
					"byte %u after a fill of [%u, +%u)", i, at, bytes);
			}
			to = iov_cursor_at(io, at);
			iov_copy_to(&to, original, bytes);
		}
}

static void check_framing(uint32_t cuts, uint32_t empty, unsigned skip, unsigned tail)
{
	unsigned total = skip + BYTES + tail;
	struct vector vector = make_vector(total, cuts, empty, 0);
	struct io io = {.kind = IO_WRITE,
		.fua = true,
		.blocks = BLOCKS,
		.iov = vector.iov,
		.iovs = vector.count,
		.iov_skip = skip};

	check_parts(&io, skip);
	check_cursors(&io, skip);
	check_writes(&io, &vector, skip, total);
	free_vector(&vector);
}

static void test_every_framing(void **state)
{
	(void)state;
	/* Every set of cuts inside the request; sampled empty pieces, skips and tails. */
	for (uint32_t cuts = 0; cuts < 1u << (BYTES - 1); cuts += 1) {
		unsigned skip = cuts % (SKIP_MAX + 1), tail = cuts / 3 % 3;
		/* No cut within the skip: it is less than the first piece. */
		uint32_t shifted = cuts << (skip + 1);

		check_framing(shifted, 0, skip, tail);
		if (cuts % 8 == 5)
			check_framing(shifted, shifted, skip, tail);
	}
}

static void test_no_data(void **state)
{
	struct io io = {.kind = IO_DISCARD, .may_unmap = true, .blocks = 100, .block = 5}, part;

	(void)state;
	io_part(&part, &io, 10, 20, 4096);
	assert_int_equal(part.kind, IO_DISCARD);
	assert_true(part.may_unmap && !part.fua);
	assert_int_equal(part.blocks, 20);
	assert_int_equal(part.iov_skip, 0);
	io.kind = IO_WRITE_ZEROES;
	io.fua = true;
	io_part(&part, &io, 0, 100, 4096);
	assert_true(part.fua && part.may_unmap);
}

static void test_kinds(void **state)
{
	static const struct {
		enum io_kind kind;
		bool carries, changes;
	} rows[] = {
		{IO_READ, true, false},
		{IO_WRITE, true, true},
		{IO_FLUSH, false, false},
		{IO_DISCARD, false, true},
		{IO_WRITE_ZEROES, false, true},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct io io = {.kind = rows[i].kind};

		assert_int_equal(io_carries_data(&io), rows[i].carries);
		assert_int_equal(io_changes_data(&io), rows[i].changes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_framing),
		cmocka_unit_test(test_no_data),
		cmocka_unit_test(test_kinds),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
