/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notes: text of the daemon's that is kept on every member. Two slots are written in turn, so
 * that a crash leaves the former one; the newest valid copy on any member that is in sync counts.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "base/mutant.h"
#include "memory/memory.h"
#include "raid/internal.h"
#include "raid/transfer.h"

static const char magic[8] = {'b', 'r', 'a', 'i', 'd', 'n', 'o', 't'};

struct disk_notes {
	char magic[8];
	struct uuid array_uuid;
	le64 generation;
	le32 bytes;
	uint8_t reserved[24];
	le32 checksum; /* of what is before, and of the text */
	char text[];
};

static_assert(offsetof(struct disk_notes, text) == 64, "FORMAT.md");

static uint32_t checksum(const struct disk_notes *notes, size_t bytes)
{
	uint32_t crc = crc32c(0, notes, offsetof(struct disk_notes, checksum));

	return crc32c(crc, notes->text, bytes);
}

static size_t slot_bytes(const struct array *array)
{
	return array->keeper->superblock.layout.notes.bytes / 2;
}

size_t array_notes_bytes_max(const struct array *array)
{
	return slot_bytes(array) - sizeof(struct disk_notes) - 1;
}

static bool is_valid(const struct array *array, const struct disk_notes *notes)
{
	size_t bytes = le32_get(notes->bytes);

	return !memcmp(notes->magic, magic, sizeof(magic)) &&
	       uuid_equal(&notes->array_uuid, &array->keeper->superblock.array_uuid) &&
	       bytes <= array_notes_bytes_max(array) &&
	       le32_get(notes->checksum) == checksum(notes, bytes);
}

static bool holds_notes(const struct keeper *keeper, unsigned row)
{
	enum row_state state = keeper->superblock.rows[row].state;

	return keeper->rows[row].queue && state != ROW_EMPTY && state != ROW_FAILED;
}

/* The newest of all copies, into *newest (slot_bytes); its generation, 0: there is none. */
static uint64_t read_newest(struct array *array, struct disk_notes *newest, struct disk_notes *one)
{
	const struct keeper *keeper = array->keeper;
	uint64_t offset = keeper->superblock.layout.notes.offset, generation = 0;

	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++)
		for (unsigned slot = 0; slot < 2 && holds_notes(keeper, i); slot++) {
			if (transfer(keeper->rows[i].queue, IO_READ,
				    offset + slot * slot_bytes(array), one, slot_bytes(array)) ||
				!is_valid(array, one) || le64_get(one->generation) <= generation)
				continue;
			generation = le64_get(one->generation);
			memcpy(newest, one, slot_bytes(array));
		}
	return generation;
}

static uint64_t newest_generation(struct array *array, char *memory)
{
	return read_newest(array, (struct disk_notes *)memory,
		(struct disk_notes *)(memory + slot_bytes(array)));
}

/* Makes *memory the notes of that generation and writes them to every member that holds notes.
 * Returns how many took them. */
static unsigned write_all(
	struct array *array, struct disk_notes *notes, uint64_t generation, size_t bytes)
{
	const struct keeper *keeper = array->keeper;
	size_t padded = align_up(sizeof(*notes) + bytes, LAYOUT_UNIT_BYTES);
	unsigned written = 0;

	notes->generation = le64_of(generation);
	notes->checksum = le32_of(checksum(notes, bytes));
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++)
		written += holds_notes(keeper, i) &&
			   !transfer(keeper->rows[i].queue, IO_WRITE,
				   keeper->superblock.layout.notes.offset +
					   generation % 2 * slot_bytes(array),
				   notes, padded);
	return written;
}

void notes_spread(struct array *array)
{
	size_t slot = slot_bytes(array);
	char *memory = memory_map(2 * slot, NULL);
	struct disk_notes *notes = (struct disk_notes *)memory;
	uint64_t generation;

	if (!memory)
		return; /* the next change of the notes does it */
	generation = newest_generation(array, memory);
	if (generation && !MUTANT(notes_not_spread))
		write_all(array, notes, generation + 1, le32_get(notes->bytes));
	memory_unmap(memory, 2 * slot);
}

int array_notes_write(struct array *array, const char *text, struct fail *fail)
{
	size_t bytes = strlen(text), slot = slot_bytes(array);
	struct disk_notes *notes;
	uint64_t generation;
	unsigned written;
	char *memory;

	if (bytes > array_notes_bytes_max(array))
		return fail_set(fail, ENOSPC,
			"array %s keeps at most %zu bytes about its volumes and controllers: "
			"delete "
			"some",
			array->config.name, array_notes_bytes_max(array));
	memory = memory_map(2 * slot, NULL);
	if (!memory)
		return fail_set(fail, ENOMEM, "no memory for the notes of %s", array->config.name);
	pthread_mutex_lock(&array->change);
	generation = newest_generation(array, memory) + 1;
	notes = (struct disk_notes *)memory;
	memset(notes, 0, slot);
	memcpy(notes->magic, magic, sizeof(magic));
	notes->array_uuid = array->keeper->superblock.array_uuid;
	notes->bytes = le32_of((uint32_t)bytes);
	memcpy(notes->text, text, bytes);
	written = write_all(array, notes, generation, bytes);
	pthread_mutex_unlock(&array->change);
	memory_unmap(memory, 2 * slot);
	if (!written)
		return fail_set(
			fail, EIO, "no member of array %s could be written", array->config.name);
	return 0;
}

int array_notes_read(struct array *array, char **text, struct fail *fail)
{
	size_t slot = slot_bytes(array);
	char *memory = memory_map(2 * slot, NULL);
	const struct disk_notes *notes = (const struct disk_notes *)memory;

	if (!memory)
		return fail_set(fail, ENOMEM, "no memory for the notes of %s", array->config.name);
	pthread_mutex_lock(&array->change);
	*text = newest_generation(array, memory) ? strndup(notes->text, le32_get(notes->bytes))
						 : strdup("");
	pthread_mutex_unlock(&array->change);
	memory_unmap(memory, 2 * slot);
	return *text ? 0 : fail_set(fail, ENOMEM, "no memory for the notes");
}
