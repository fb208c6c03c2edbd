/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notes: text of the daemon's that is kept on every member. Two slots are written in turn, so
 * that a crash leaves the former one; the newest valid copy on a member that is in sync counts.
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

/* Every member has room for the notes, but only what members in sync hold counts: another may come
 * from a past of its own. */
static bool has_room(const struct keeper *keeper, unsigned row)
{
	enum row_state state = keeper->superblock.rows[row].state;

	return keeper->rows[row].queue && state != ROW_EMPTY && state != ROW_FAILED;
}

static bool counts(const struct keeper *keeper, unsigned row)
{
	return has_room(keeper, row) && keeper->superblock.rows[row].state == ROW_IN_SYNC;
}

static uint64_t slot_offset(const struct array *array, uint64_t generation)
{
	return array->keeper->superblock.layout.notes.offset + generation % 2 * slot_bytes(array);
}

/* The newest copy of all, into memory (two slots; the second is working room). Its generation,
 * 0: there is none; *holders: the rows that hold it. */
static uint64_t read_newest(struct array *array, char *memory, uint64_t *holders)
{
	const struct keeper *keeper = array->keeper;
	size_t bytes = slot_bytes(array);
	struct disk_notes *one = (struct disk_notes *)(memory + bytes);
	uint64_t newest = 0;

	*holders = 0;
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++)
		for (unsigned slot = 0; slot < 2 && counts(keeper, i); slot++) {
			if (transfer(keeper->rows[i].queue, IO_READ, slot_offset(array, slot), one,
				    bytes) ||
				!is_valid(array, one) || le64_get(one->generation) < newest)
				continue;
			if (le64_get(one->generation) > newest)
				*holders = 0;
			*holders |= (uint64_t)1 << i;
			newest = le64_get(one->generation);
			memcpy(memory, one, bytes);
		}
	return newest;
}

/* To row, which had other notes or none: in the slot of its generation, which leaves the former
 * ones; in both where those do not count. */
static bool write_one(struct array *array, unsigned row, struct disk_notes *notes)
{
	struct blockdev_queue *queue = array->keeper->rows[row].queue;
	uint64_t generation = le64_get(notes->generation);
	size_t padded = align_up(sizeof(*notes) + le32_get(notes->bytes), LAYOUT_UNIT_BYTES);

	if (!counts(array->keeper, row) &&
		transfer(queue, IO_WRITE, slot_offset(array, generation + 1), notes, padded))
		return false;
	return !transfer(queue, IO_WRITE, slot_offset(array, generation), notes, padded);
}

/* To all rows but those. Returns how many took them. */
static unsigned write_all(struct array *array, struct disk_notes *notes, uint64_t but)
{
	unsigned written = 0;

	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++)
		written +=
			has_room(array->keeper, i) && !(but >> i & 1) && write_one(array, i, notes);
	return written;
}

void notes_spread(struct array *array)
{
	size_t slot = slot_bytes(array);
	char *memory = memory_map(2 * slot, NULL);
	uint64_t holders;

	if (!memory)
		return; /* the next change of the notes does it */
	if (read_newest(array, memory, &holders) && !MUTANT(notes_not_spread))
		write_all(array, (struct disk_notes *)memory, holders);
	memory_unmap(memory, 2 * slot);
}

int array_notes_write(struct array *array, const char *text, struct fail *fail)
{
	size_t bytes = strlen(text), slot = slot_bytes(array);
	struct disk_notes *notes;
	uint64_t generation, holders;
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
	notes = (struct disk_notes *)memory;
	generation = read_newest(array, memory, &holders) + 1;
	memset(notes, 0, slot);
	memcpy(notes->magic, magic, sizeof(magic));
	notes->array_uuid = array->keeper->superblock.array_uuid;
	notes->generation = le64_of(generation);
	notes->bytes = le32_of((uint32_t)bytes);
	memcpy(notes->text, text, bytes);
	notes->checksum = le32_of(checksum(notes, bytes));
	written = write_all(array, notes, 0);
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
	struct disk_notes *notes = (struct disk_notes *)memory;
	uint64_t holders;

	if (!memory)
		return fail_set(fail, ENOMEM, "no memory for the notes of %s", array->config.name);
	pthread_mutex_lock(&array->change);
	/* What is read once is read for ever: a crash may have left it on one member only. */
	if (read_newest(array, memory, &holders)) {
		write_all(array, notes, holders);
		*text = strndup(notes->text, le32_get(notes->bytes));
	} else {
		*text = strdup("");
	}
	pthread_mutex_unlock(&array->change);
	memory_unmap(memory, 2 * slot);
	return *text ? 0 : fail_set(fail, ENOMEM, "no memory for the notes");
}
