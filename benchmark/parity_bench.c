/* SPDX-License-Identifier: Apache-2.0 */

/*
 * parity-bench: how fast the parity kernels are on this machine, beside memcpy and ISA-L.
 *
 * All subjects of a case take turns, round by round, so that a disturbance of the machine hits all
 * alike; of the rounds the median, the least and the most are printed. Time is this thread's CPU
 * time, cycles are the core's. Rates are GB/s (10^9) of data in. Parity buffers are recycled, as
 * the engine's are, and so are those for copies; in the DRAM cases the data rotates over more than
 * any cache holds. Recovery of two columns reads as many columns as generation does. "copy, then"
 * is memcpy() to the copies and parity of these, "copying" one pass that does both.
 */
#include <isa-l/raid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "parity/kernel.h"
#include "parity/parity.h"

enum {
	KIB = 1024,
	MIB = 1024 * KIB,
	ARENA_BYTES = 320 * MIB,
	PARITY_BYTES = 128 * KIB,
	PARITIES = 2,
	COPIES_MAX = 16,
	ROUNDS = 15,
	SUBJECTS_MAX = 24,
	UPDATE_BYTES = 4 * KIB,
	UPDATE_BUFFERS = 4, /* before, after, P, Q */
};

enum act {
	COPY,
	ISAL_PQ,
	GENERATE,
	COPY_THEN_GENERATE,
	RECOVER,
	UPDATE,
	COPY_THEN_UPDATE,
	COPY_UPDATE,
};

struct subject {
	char name[32];
	enum act act;
	const struct parity_kernel *kernel;
};

/* A shape of row and where its data lies. */
struct scene {
	const char *name;
	unsigned data;
	size_t strip_bytes;
	size_t span_bytes;   /* data rotates over this much */
	size_t sample_bytes; /* data per sample */
};

struct sample {
	double ns; /* per row, or per update */
	double cycles;
};

struct result {
	struct sample samples[ROUNDS];
};

/* clang-format off */
static const struct scene row_scenes[] = {
	{"8+2 L2 16K", 8, 16 * KIB, 128 * KIB, 32 * MIB},
	{"16+2 L2 16K", 16, 16 * KIB, 256 * KIB, 32 * MIB},
	{"8+2 L3 128K", 8, 128 * KIB, 1 * MIB, 64 * MIB},
	{"16+2 L3 128K", 16, 128 * KIB, 2 * MIB, 64 * MIB},
	{"8+2 DRAM 128K", 8, 128 * KIB, ARENA_BYTES, ARENA_BYTES},
	{"16+2 DRAM 128K", 16, 128 * KIB, ARENA_BYTES, ARENA_BYTES},
};

static const struct scene update_scenes[] = {
	{"update 4K L1", UPDATE_BUFFERS, UPDATE_BYTES, 16 * KIB, 16 * MIB},
	{"update 4K L2", UPDATE_BUFFERS, UPDATE_BYTES, 256 * KIB, 32 * MIB},
	{"update 4K DRAM", UPDATE_BUFFERS, UPDATE_BYTES, ARENA_BYTES, ARENA_BYTES},
};
/* clang-format on */

static uint8_t *arena;
static uint8_t *parity_pool; /* recycled buffers: parities, recovered columns, copies */

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The core's clock, by a chain of additions that each take a cycle; the best of a few. */
static double cycles_per_ns(void)
{
	enum { TRIES = 5, STEPS = 16000 };
	uint64_t best_ns = UINT64_MAX;

	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t start = now_ns(CLOCK_MONOTONIC), ns;

		for (uint64_t step = 0; step < STEPS; step++)
			__asm__ volatile("" : "+r"(step));
		ns = now_ns(CLOCK_MONOTONIC) - start;
		best_ns = ns < best_ns ? ns : best_ns;
	}
	return (double)STEPS / (double)best_ns;
}

/* Memory in huge pages where there are some, filled so that every page is there. */
static uint8_t *map_filled(size_t bytes)
{
	uint8_t *memory = mmap(
		NULL, bytes + 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		perror("parity-bench: mmap");
		exit(1);
	}
	memory += -(uintptr_t)memory % (2 * MIB);
	madvise(memory, bytes, MADV_HUGEPAGE);
	for (size_t i = 0; i < bytes; i++)
		memory[i] = (uint8_t)(i * 167 >> 5);
	return memory;
}

enum { LOST_A = 1, LOST_B = 4 }; /* RECOVER */

static void copy_columns(unsigned data, size_t bytes, void *const *from, void *const *to)
{
	for (unsigned i = 0; i < data; i++)
		memcpy(to[i], from[i], bytes);
}

/* One row: its data columns at `row`, what is written in the pool. */
static void row_once(enum act act, const struct scene *scene, uint8_t *row)
{
	void *columns[PARITY_COLUMNS_MAX], *copies[PARITY_COLUMNS_MAX];
	const void *const *data_columns = (const void *const *)columns;
	void *parity[PARITIES] = {parity_pool, parity_pool + PARITY_BYTES};
	size_t strip = scene->strip_bytes, at = (size_t)(row - arena);
	unsigned data = scene->data;

	for (unsigned i = 0; i < data; i++) {
		columns[i] = row + i * strip;
		copies[i] = parity_pool + (PARITIES + 2) * PARITY_BYTES + i * strip;
		if (act == COPY)
			copies[i] = arena + ARENA_BYTES + (at + i * strip) % scene->span_bytes;
	}
	if (act == COPY || act == COPY_THEN_GENERATE)
		copy_columns(data, strip, columns, copies);
	if (act == COPY_THEN_GENERATE)
		parity_generate(data, PARITIES, strip, (const void *const *)copies, parity);
	if (act == GENERATE)
		parity_generate(data, PARITIES, strip, data_columns, parity);
	if (act == ISAL_PQ) {
		memcpy(columns + data, parity, sizeof(parity));
		pq_gen((int)data + PARITIES, (int)strip, columns);
	}
	if (act == RECOVER) {
		columns[LOST_A] = parity_pool + 2 * PARITY_BYTES;
		columns[LOST_B] = parity_pool + 3 * PARITY_BYTES;
		/* The lost columns' place in memory serves as the stored parities: as cold. */
		parity[0] = row + LOST_A * strip;
		parity[1] = row + LOST_B * strip;
		parity_recover(data, PARITIES, strip, 1u << LOST_A | 1u << LOST_B, columns,
			(const void *const *)parity);
	}
}

/* Before, after, P and Q one behind the other. */
static void update_once(enum act act, uint8_t *buffers)
{
	enum { COLUMN = 5 };
	uint8_t *after = buffers + UPDATE_BYTES, *copy = parity_pool;
	void *parity[PARITIES] = {buffers + 2 * UPDATE_BYTES, buffers + 3 * UPDATE_BYTES};
	struct parity_change change = {
		.bytes = UPDATE_BYTES, .before = buffers, .after = after, .copy = copy};

	if (act == COPY_THEN_UPDATE)
		memcpy(copy, after, UPDATE_BYTES);
	if (act == COPY_UPDATE)
		parity_copy_update(COLUMN, PARITIES, &change, parity);
	else
		parity_update(COLUMN, PARITIES, UPDATE_BYTES, buffers,
			act == COPY_THEN_UPDATE ? copy : after, parity);
}

static bool is_update(enum act act)
{
	return act == UPDATE || act == COPY_THEN_UPDATE || act == COPY_UPDATE;
}

static void act_once(const struct subject *subject, const struct scene *scene, uint8_t *at)
{
	if (is_update(subject->act))
		update_once(subject->act, at);
	else
		row_once(subject->act, scene, at);
}

static struct sample measure(const struct subject *subject, const struct scene *scene)
{
	size_t row_bytes = scene->data * scene->strip_bytes;
	size_t rows = scene->sample_bytes / row_bytes;
	size_t at = 0;
	double ns_each, cycles = cycles_per_ns();
	uint64_t ns;

	if (subject->kernel)
		parity_kernel_in_use = subject->kernel;
	act_once(subject, scene, arena);
	ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
	for (size_t row = 0; row < rows; row++) {
		act_once(subject, scene, arena + at);
		at += row_bytes;
		if (at + row_bytes > scene->span_bytes)
			at = 0;
	}
	ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - ns;
	ns_each = (double)ns / (double)rows;
	return (struct sample){ns_each, ns_each * cycles};
}

static int by_ns(const void *a, const void *b)
{
	const struct sample *x = a;
	const struct sample *y = b;

	return (x->ns > y->ns) - (x->ns < y->ns);
}

static void measure_all(const struct subject *subjects, size_t count, const struct scene *scene,
	struct result *results)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < count; i++)
			results[i].samples[round] = measure(&subjects[i], scene);
	}
	for (size_t i = 0; i < count; i++)
		qsort(results[i].samples, ROUNDS, sizeof(struct sample), by_ns);
}

/* One line, or one JSON object, per subject. GB/s are bytes per nanosecond. */
static void print_rates(const struct scene *scene, const struct subject *subjects, size_t count,
	const struct result *results, bool json)
{
	double row_bytes = (double)(scene->data * scene->strip_bytes);

	for (size_t i = 0; i < count; i++) {
		const struct sample *samples = results[i].samples;
		const struct sample *median = &samples[ROUNDS / 2];

		if (json) {
			static bool started;

			printf("%s\n  {\"case\": \"%s\", \"subject\": \"%s\", \"gb_s\": %.2f, "
			       "\"min\": %.2f, \"max\": %.2f, \"ns\": %.0f, \"cycles\": %.0f}",
				started ? "," : "", scene->name, subjects[i].name,
				row_bytes / median->ns, row_bytes / samples[ROUNDS - 1].ns,
				row_bytes / samples[0].ns, median->ns, median->cycles);
			started = true;
			continue;
		}
		if (is_update(subjects[i].act))
			printf("%-15s %-22s %7.0f ns %6.0f cycles   (%.0f .. %.0f ns)\n",
				scene->name, subjects[i].name, median->ns, median->cycles,
				samples[0].ns, samples[ROUNDS - 1].ns);
		else
			printf("%-15s %-22s %7.1f GB/s %6.1f B/cycle   (%.1f .. %.1f)   %.2f\n",
				scene->name, subjects[i].name, row_bytes / median->ns,
				row_bytes / median->cycles, row_bytes / samples[ROUNDS - 1].ns,
				row_bytes / samples[0].ns,
				results[0].samples[ROUNDS / 2].ns / median->ns);
	}
}

static size_t add_subjects(struct subject *subjects, size_t count, enum act act, const char *prefix)
{
	size_t kernels;
	const struct parity_kernel *table = parity_kernels(&kernels);

	for (size_t i = 0; i < kernels && count < SUBJECTS_MAX; i++) {
		if (!parity_kernel_runs_here(&table[i]))
			continue;
		subjects[count].act = act;
		subjects[count].kernel = &table[i];
		snprintf(subjects[count].name, sizeof(subjects[count].name), "%s%s", prefix,
			parity_kernel_name(&table[i]));
		count++;
	}
	return count;
}

int main(int argc, char **argv)
{
	struct subject subjects[SUBJECTS_MAX] = {
		{"memcpy", COPY, NULL}, {"isa-l pq_gen", ISAL_PQ, NULL}};
	struct subject updates[SUBJECTS_MAX] = {0};
	struct result results[SUBJECTS_MAX];
	bool json = argc == 2 && !strcmp(argv[1], "--json");
	size_t count = 2;
	size_t update_count;

	if (argc > 1 && !json) {
		fprintf(stderr, "usage: parity-bench [--json]\n");
		return 2;
	}
	/* The second half is where COPY writes to. */
	arena = map_filled(2 * (size_t)ARENA_BYTES);
	parity_pool = map_filled((PARITIES + 2 + COPIES_MAX) * PARITY_BYTES);
	count = add_subjects(subjects, count, GENERATE, "");
	count = add_subjects(subjects, count, COPY_THEN_GENERATE, "copy, then ");
	count = add_subjects(subjects, count, RECOVER, "recover 2: ");
	update_count = add_subjects(updates, 0, UPDATE, "");
	update_count = add_subjects(updates, update_count, COPY_THEN_UPDATE, "copy, then ");
	update_count = add_subjects(updates, update_count, COPY_UPDATE, "copying: ");

	printf(json ? "[" : "P+Q from all data columns; the last figure is relative to memcpy\n");
	for (size_t i = 0; i < sizeof(row_scenes) / sizeof(row_scenes[0]); i++) {
		measure_all(subjects, count, &row_scenes[i], results);
		print_rates(&row_scenes[i], subjects, count, results, json);
	}
	for (size_t i = 0; i < sizeof(update_scenes) / sizeof(update_scenes[0]); i++) {
		measure_all(updates, update_count, &update_scenes[i], results);
		print_rates(&update_scenes[i], updates, update_count, results, json);
	}
	if (json)
		printf("\n]\n");
	return 0;
}
