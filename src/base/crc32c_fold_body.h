/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of the kernels that fold. A file for one instruction set defines what follows, and
 * includes this:
 *
 *	CRC32C_TARGET                 the attribute of functions that use its instructions
 *	FOLD_KERNEL, FOLD_COPY        the external names
 *	FOLD_VECTORS                  vectors per round
 *	vector                        a type of 16, 32 or 64 bytes
 *	vector_load(from)             from any address
 *	vector_load_once(from)        likewise, once however often the value is used (volatile)
 *	vector_store(to, v)           to any address
 *	vector_of(low)                low in the first four bytes, zeros in the rest
 *	vector_powers(first, second)  a pair of 64-bit numbers in every 16 bytes
 *	vector_xor(a, b)
 *	vector_fold(v, by, next)      per 16 bytes: first half * by's first + second * second + next
 *	vector_join(v)                its 16-byte lanes folded into the last one, an __m128i
 *
 * Folding: two carry-less multiplications move 16 bytes of the message over the n bytes that follow
 * them, that is, replace them by 16 bytes which, added to those n bytes further on, leave the
 * same checksum. The first half has 8 bytes more to go. The crc32 instruction keeps another unit of
 * the CPU busy, so a round folds vectors and steps three lanes of words beside them:
 *
 *	| round 0's vectors | round 1's ... | lane 0's words | lane 1's words | lane 2's words |
 */
#include "base/bits.h"
#include "base/crc32c_words.h"

enum {
	VECTOR_BYTES = sizeof(vector),
	FOLD_BYTES = FOLD_VECTORS * VECTOR_BYTES,
	LANE_WORDS = 4, /* of each lane, per round */
	LANE_BYTES = LANE_WORDS * CRC32C_WORD_BYTES,
	ROUND_BYTES = FOLD_BYTES + LANES * LANE_BYTES,
	ROUNDS_MAX = CRC32C_WORDS_MAX / (LANES * LANE_WORDS),
	ROUNDS_LEAST = 4, /* joining the lanes costs more than fewer gain */
};

CRC32C_INLINE vector powers_over(size_t bytes)
{
	size_t words = bytes / CRC32C_WORD_BYTES;

	return vector_powers(crc32c_over_words[words + 1], crc32c_over_words[words]);
}

CRC32C_INLINE vector span_vector(struct span span, size_t offset)
{
	vector v;

	if (!span.copied)
		return vector_load(span.at + offset);
	v = vector_load_once(span.at + offset);
	vector_store(span.to + offset, v);
	return v;
}

/* Sums of a round's vectors: the message so far is worth as much as they are. */
struct sums {
	vector of[FOLD_VECTORS];
};

CRC32C_INLINE void sums_start(struct sums *sums, uint32_t crc, struct span span)
{
	UNROLLED
	for (unsigned i = 0; i < FOLD_VECTORS; i++)
		sums->of[i] = span_vector(span, i * (size_t)VECTOR_BYTES);
	sums->of[0] = vector_xor(sums->of[0], vector_of(crc));
}

CRC32C_INLINE void sums_fold(struct sums *sums, vector by, struct span span)
{
	UNROLLED
	for (unsigned i = 0; i < FOLD_VECTORS; i++)
		sums->of[i] =
			vector_fold(sums->of[i], by, span_vector(span, i * (size_t)VECTOR_BYTES));
}

CRC32C_INLINE vector sums_join(const struct sums *sums)
{
	vector sum = sums->of[FOLD_VECTORS - 1];

	UNROLLED
	for (unsigned i = 0; i < FOLD_VECTORS - 1; i++)
		sum = vector_fold(sums->of[i],
			powers_over((FOLD_VECTORS - 1 - i) * (size_t)VECTOR_BYTES), sum);
	return sum;
}

/* 16 bytes of message have the checksum that the instruction gives them. */
CRC32C_INLINE uint32_t reduce(vector v)
{
	__m128i last = vector_join(v);
	uint64_t crc = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(last));

	return (uint32_t)_mm_crc32_u64(
		crc, (uint64_t)_mm_cvtsi128_si64(_mm_unpackhi_epi64(last, last)));
}

CRC32C_INLINE uint32_t by_rounds(uint32_t crc, struct span span, size_t rounds)
{
	const vector by = powers_over(FOLD_BYTES);
	struct lanes lanes;
	struct sums sums;

	lanes_start(&lanes, 0, span_from(span, rounds * FOLD_BYTES), rounds * LANE_BYTES);
	sums_start(&sums, crc, span);
	for (size_t round = 0;;) {
		UNROLLED
		for (unsigned word = 0; word < LANE_WORDS; word++)
			lanes_step(&lanes, round * LANE_BYTES + word * CRC32C_WORD_BYTES);
		if (++round == rounds)
			break;
		sums_fold(&sums, by, span_from(span, round * FOLD_BYTES));
	}
	crc = over_zeros(reduce(sums_join(&sums)), LANES * rounds * LANE_WORDS);
	return crc ^ lanes_join(&lanes, rounds * LANE_WORDS);
}

/* count: a multiple of a vector, and not zero. */
CRC32C_INLINE uint32_t by_vectors(uint32_t crc, struct span span, size_t count)
{
	const vector by = powers_over(VECTOR_BYTES);
	size_t done = VECTOR_BYTES;
	vector sum;

	if (count >= 2 * FOLD_BYTES) {
		const vector by_fold = powers_over(FOLD_BYTES);
		struct sums sums;

		sums_start(&sums, crc, span);
		for (done = FOLD_BYTES; count - done >= FOLD_BYTES; done += FOLD_BYTES)
			sums_fold(&sums, by_fold, span_from(span, done));
		sum = sums_join(&sums);
	} else {
		sum = vector_xor(span_vector(span, 0), vector_of(crc));
	}
	for (; done < count; done += VECTOR_BYTES)
		sum = vector_fold(sum, by, span_vector(span, done));
	return reduce(sum);
}

CRC32C_INLINE uint32_t by_all(uint32_t crc, struct span span, size_t count)
{
	while (count >= ROUNDS_LEAST * ROUND_BYTES) {
		size_t rounds = MIN(count / ROUND_BYTES, (size_t)ROUNDS_MAX);

		crc = by_rounds(crc, span, rounds);
		span = span_from(span, rounds * ROUND_BYTES);
		count -= rounds * ROUND_BYTES;
	}
	if (count >= 2 * VECTOR_BYTES) {
		size_t whole = count / VECTOR_BYTES * VECTOR_BYTES;

		crc = by_vectors(crc, span, whole);
		span = span_from(span, whole);
		count -= whole;
	}
	return by_words(crc, span, count);
}

CRC32C_TARGET uint32_t FOLD_KERNEL(uint32_t crc, const uint8_t *at, size_t count)
{
	return by_all(crc, (struct span){.at = at}, count);
}

CRC32C_TARGET uint32_t FOLD_COPY(uint32_t crc, uint8_t *to, const uint8_t *from, size_t count)
{
	return by_all(crc, (struct span){.at = from, .to = to, .copied = true}, count);
}
