/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	make --> [(start, KILL)*, start, session, verify, operation, load, KILL]* -->
 *	heal, verify, scrub, stop, look for what was left
 *
 * The kill of a cycle is ordered before the session or after the operation, so it may come at any
 * moment. What may be lost is decided by what the array said last: never more than it tolerates.
 */
#include "life.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/random.h"
#include "cli/json.h"
#include "guest.h"
#include "victim.h"

enum {
	MEMBERS_MAX = 10,
	EXTRA = 2, /* drives beside the members */
	FILES_MAX = MEMBERS_MAX + EXTRA,
	PATIENCE_US = 20000000,
	HEAL_US = 30000000,
	POLL_US = 2000,
	DESCRIPTORS_SPARE = 3,	       /* a job or an RPC that ends meanwhile */
	RESIDENT_SPARE_KIB = 16 << 10, /* of each core: what may be touched of its buffers */
};

struct shape {
	const char *level;
	unsigned least, most, step; /* members */
};

static const struct shape shapes[] = {
	{"5", 3, 6, 1},
	{"6", 4, 7, 1},
	{"7", 5, 8, 1},
	{"10", 4, 6, 2},
	{"5", 3, 6, 1},
	{"6", 4, 7, 1},
	{"1", 2, 3, 1},
	{"50", 6, 8, 2},
	{"60", 8, 10, 2},
};

/* What array.show said last. */
struct array_look {
	char state[16], why[256];
	bool copying;
	unsigned tolerates, dirty;
	struct {
		char drive[64], state[24], uuid[40];
	} slot[MEMBERS_MAX];
	unsigned slots;
};

struct life {
	struct victim victim;
	struct guest guest;
	struct random random;
	const struct life_options *options;
	struct figures *figures;
	const struct shape *shape;
	unsigned members, files;
	const char *consistency;
	bool away[FILES_MAX]; /* files that were taken */
	unsigned budget;      /* so many members more may be lost */
	bool touched;	      /* something was lost since all was well */
	bool copying;	      /* a copy was begun in this cycle */
	struct array_look look;
	struct victim_usage baseline[FILES_MAX + 1]; /* by the drives that are there */
	bool verified;
};

static bool chance(struct life *life, unsigned percent)
{
	return random_below(&life->random, 100) < percent;
}

static unsigned below(struct life *life, unsigned bound)
{
	return (unsigned)random_below(&life->random, bound);
}

static bool is_log(const struct life *life)
{
	return !strcmp(life->consistency, "log");
}

/* --- files ------------------------------------------------------------------------------------ */

static void file_path(const struct life *life, unsigned file, bool away, char *path, size_t bytes)
{
	snprintf(path, bytes, "%s/%s/m%u", life->victim.dir, away ? "away" : "files", file);
}

static void move_file(struct life *life, unsigned file, bool away)
{
	char from[96], to[96];

	file_path(life, file, !away, from, sizeof(from));
	file_path(life, file, away, to, sizeof(to));
	if (rename(from, to))
		perror(from);
	life->away[file] = away;
}

static unsigned away_count(const struct life *life)
{
	unsigned count = 0;

	for (unsigned i = 0; i < life->files; i++)
		count += life->away[i];
	return count;
}

static int make_files(struct life *life, struct fail *fail)
{
	static const char *const folders[] = {"", "/run", "/files", "/away"};
	unsigned mib = 24 + 8 * below(life, 4);

	for (unsigned i = 0; i < ARRAY_SIZE(folders); i++) {
		char path[96];

		snprintf(path, sizeof(path), "%s%s", life->victim.dir, folders[i]);
		if (mkdir(path, 0755) && errno != EEXIST)
			return fail_set(fail, errno, "cannot make %s: %s", path, strerror(errno));
	}
	for (unsigned i = 0; i < life->files; i++) {
		char path[96];
		int fd;

		file_path(life, i, false, path, sizeof(path));
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0 || ftruncate(fd, (off_t)mib << 20))
			return fail_set(fail, errno, "cannot make %s: %s", path, strerror(errno));
		close(fd);
	}
	return 0;
}

/* --- what the array says ---------------------------------------------------------------------- */

static void take_look(struct life *life, const json_t *array)
{
	struct array_look *look = &life->look;
	const json_t *rows = json_object_get(array, "members"), *row;
	size_t i;

	memset(look, 0, sizeof(*look));
	snprintf(look->state, sizeof(look->state), "%s", text_of(array, "state"));
	snprintf(look->why, sizeof(look->why), "%s", text_of(array, "why"));
	look->copying = number_of(array, "rebuilding") || number_of(array, "replacing");
	look->tolerates = (unsigned)number_of(array, "tolerates");
	look->dirty = (unsigned)number_of(array, "dirty_regions");
	json_array_foreach(rows, i, row)
	{
		if (i >= life->members)
			break;
		snprintf(look->slot[i].drive, sizeof(look->slot[i].drive), "%s",
			text_of(row, "drive"));
		snprintf(look->slot[i].state, sizeof(look->slot[i].state), "%s",
			text_of(row, "state"));
		snprintf(
			look->slot[i].uuid, sizeof(look->slot[i].uuid), "%s", text_of(row, "uuid"));
		look->slots++;
	}
}

static int look(struct life *life, struct fail *fail)
{
	json_t *answer;
	int error = victim_call(
		&life->victim, "array.show", json_pack("{s:s}", "name", "a"), &answer, fail);

	if (error)
		return error;
	take_look(life, json_object_get(answer, "array"));
	json_decref(answer);
	return 0;
}

static bool slot_is(const struct life *life, unsigned slot, const char *state)
{
	return !strcmp(life->look.slot[slot].state, state);
}

/* The file of a drive by that name; -1: none of ours. */
static int file_of(const char *drive)
{
	return drive[0] == 'm' ? atoi(drive + 1) : -1;
}

/* A drive that is there and that nothing uses, though it may hold what it was once. */
static bool free_drive(struct life *life, char *name, size_t bytes)
{
	json_t *answer;
	const json_t *row;
	bool found = false;
	size_t i;

	if (victim_call(&life->victim, "drive.list", NULL, &answer, NULL))
		return false;
	json_array_foreach(json_object_get(answer, "drives"), i, row)
	{
		const char *user = text_of(row, "user");

		if (!truth_of(row, "present") || (user[0] && strncmp(user, "once of", 7)))
			continue;
		snprintf(name, bytes, "%s", text_of(row, "name"));
		found = true;
		break;
	}
	json_decref(answer);
	return found;
}

/* --- operations ------------------------------------------------------------------------------- */

static int on_array(struct life *life, const char *method, json_t *params, struct fail *fail)
{
	json_object_set_new(params, "name", json_string("a"));
	return victim_call(&life->victim, method, params, NULL, fail);
}

static int replace(struct life *life, unsigned slot, struct fail *fail)
{
	char drive[64];

	if (!free_drive(life, drive, sizeof(drive)))
		return -ENOENT;
	return on_array(life, "array.replace",
		json_pack("{s:s, s:s, s:b}", "old", life->look.slot[slot].uuid, "new", drive,
			"wipe_signatures", 1),
		fail);
}

/* A failed slot gets its drive back, or another one. */
static int mend(struct life *life, unsigned slot, struct fail *fail)
{
	const char *drive = life->look.slot[slot].drive;
	int error = -ENOENT;

	if (drive[0] && !life->away[file_of(drive)])
		error = on_array(life, "array.readd", json_pack("{s:s}", "drive", drive), fail);
	return error ? replace(life, slot, fail) : 0;
}

/* At most one thing per cycle; all of them may be refused. */
static void operate(struct life *life)
{
	unsigned slot = below(life, life->members), what = below(life, 100);
	/* Without a log, what is dirty is lost with a member. */
	bool degradable =
		life->budget &&
		(is_log(life) || (!life->look.dirty && strcmp(life->consistency, "bitmap")));
	struct fail fail = {0};

	if (what < 20 && slot_is(life, slot, "failed")) {
		life->copying = !mend(life, slot, &fail);
	} else if (what < 30 && slot_is(life, slot, "in sync")) {
		life->copying = !replace(life, slot, &fail);
	} else if (what < 45 && slot_is(life, slot, "in sync") && degradable) {
		life->budget--;
		life->touched = true;
		on_array(life, "array.fail",
			json_pack("{s:s}", "drive", life->look.slot[slot].uuid), &fail);
	} else if (what < 50) {
		on_array(life, "array.scrub", json_object(), &fail);
	} else if (what < 65) {
		for (unsigned i = 0; i < life->look.slots && !life->copying; i++)
			if (slot_is(life, i, "failed"))
				life->copying = !mend(life, i, &fail);
	}
}

/* --- life and death --------------------------------------------------------------------------- */

static int wrong(struct life *life, struct fail *fail)
{
	if (life->guest.first.error)
		return fail_set(fail, EILSEQ, "%s", life->guest.first.text);
	return fail_set(fail, ETIMEDOUT, "%u requests are never completed; the array is %s: %s",
		life->guest.in_flight, life->look.state, life->look.why);
}

static int start(struct life *life, struct fail *fail)
{
	life->budget = MIN(life->budget, life->look.tolerates);
	return victim_start(&life->victim, fail);
}

/* Kills what runs, or waits for the kill that was ordered. */
static int end(struct life *life, struct fail *fail)
{
	int error = victim_reap(&life->victim, life->victim.doomed ? 0 : SIGKILL, fail);

	guest_cut(&life->guest);
	if (!error && life->guest.first.error)
		error = wrong(life, fail);
	life->figures->cycles++;
	return error;
}

/* Until the guest is connected: 0, -ECONNRESET: the daemon has gone first. */
static int connect_guest(struct life *life, struct fail *fail)
{
	uint64_t begun = victim_now_us(), took;

	while (!victim_is_dead(&life->victim)) {
		struct fail refused = {0};

		if (!guest_connect(&life->guest, &refused)) {
			took = victim_now_us() - begun;
			life->figures->restart_us += took;
			life->figures->restart_us_max = MAX(life->figures->restart_us_max, took);
			life->figures->restarts++;
			return 0;
		}
		if (victim_now_us() - begun > PATIENCE_US) {
			look(life, NULL);
			return fail_set(fail, ETIMEDOUT,
				"no session after %u s: %s; the array is %s: %s",
				PATIENCE_US / 1000000, refused.text, life->look.state,
				life->look.why);
		}
		usleep(POLL_US);
	}
	return -ECONNRESET;
}

/* It starts, and is killed at it, perhaps several times. */
static int die_starting(struct life *life, struct fail *fail)
{
	int error = 0;

	while (!error && chance(life, 25)) {
		error = start(life, fail);
		if (error)
			return error;
		victim_doom(&life->victim,
			random_below(&life->random, chance(life, 50) ? 60000 : 15000));
		while (!victim_is_dead(&life->victim))
			if (!life->guest.connected && guest_connect(&life->guest, NULL))
				usleep(POLL_US / 4);
		life->figures->kills_starting++;
		error = end(life, fail);
	}
	return error;
}

/* Members come and go while nobody looks. */
static void take_and_bring(struct life *life)
{
	unsigned slot = below(life, life->members);
	int file = life->look.slots ? file_of(life->look.slot[slot].drive) : -1;

	for (unsigned i = 0; i < life->files; i++)
		if (life->away[i] && chance(life, 40))
			move_file(life, i, false);
	if (!is_log(life) || !life->budget || !chance(life, 35) || file < 0 || life->away[file] ||
		!slot_is(life, slot, "in sync"))
		return;
	life->budget--;
	life->touched = true;
	life->figures->lost_at_kill++;
	move_file(life, (unsigned)file, true);
}

/* --- checks ----------------------------------------------------------------------------------- */

/* The daemon idles, the guest is connected. */
static int check_usage(struct life *life, struct fail *fail)
{
	struct victim_usage now = victim_usage(&life->victim);
	struct victim_usage *before = &life->baseline[life->files - away_count(life)];
	unsigned cores = life->victim.cores[1] ? 2 : 1;

	if (victim_is_dead(&life->victim))
		return 0;
	if (!before->descriptors) {
		*before = now;
		return 0;
	}
	if (now.descriptors <= before->descriptors + DESCRIPTORS_SPARE &&
		now.resident_kib <= before->resident_kib + RESIDENT_SPARE_KIB * cores)
		return 0;
	life->figures->leaks++;
	return fail_set(fail, EMFILE,
		"a daemon with %u descriptors and %u KiB has now %u descriptors and %u KiB",
		before->descriptors, before->resident_kib, now.descriptors, now.resident_kib);
}

static int check_state(struct life *life, struct fail *fail)
{
	int error = look(life, fail);

	if (error)
		return error == -ENOTCONN ? -ECONNRESET : error;
	life->budget = life->look.tolerates;
	if (!strcmp(life->look.state, "optimal"))
		life->touched = away_count(life) > 0 && life->touched;
	else if (strcmp(life->look.state, "degraded") || !life->touched)
		return fail_set(fail, EINVAL, "the array is %s, which it should not be: %s",
			life->look.state, life->look.why);
	return 0;
}

/* What is optimal, in place and copied. */
static bool is_healed(const struct life *life)
{
	return !strcmp(life->look.state, "optimal") && !life->look.copying && !life->look.dirty;
}

/* Everything comes back, live, and the array is made whole again. */
static int heal(struct life *life, struct fail *fail)
{
	uint64_t begun = victim_now_us();
	struct fail refused = {0};

	for (unsigned i = 0; i < life->files; i++)
		if (life->away[i])
			move_file(life, i, false);
	for (;;) {
		int error = look(life, fail);

		if (error)
			return error;
		if (is_healed(life))
			break;
		for (unsigned i = 0; i < life->look.slots; i++)
			if (slot_is(life, i, "failed") && !mend(life, i, &refused))
				break;
		if (victim_now_us() - begun > HEAL_US)
			return fail_set(fail, ETIMEDOUT,
				"not healed after %u s: the array is %s: %s; the last refusal: %s",
				HEAL_US / 1000000, life->look.state, life->look.why, refused.text);
		usleep(20000);
	}
	life->touched = false;
	life->budget = life->look.tolerates;
	return 0;
}

static int scrub(struct life *life, struct fail *fail)
{
	uint64_t begun = victim_now_us(), mismatches = 0;
	bool done = false;
	int error;

	while ((error = on_array(life, "array.scrub", json_object(), fail)) == -EBUSY &&
		victim_now_us() - begun < HEAL_US)
		usleep(20000); /* one of ours may still run */
	while (!error && !done) {
		json_t *answer;
		const json_t *job;
		size_t i;

		error = victim_call(&life->victim, "job.list", NULL, &answer, fail);
		if (error)
			return error;
		done = true;
		mismatches = 0;
		json_array_foreach(json_object_get(answer, "jobs"), i, job)
		{
			if (strcmp(text_of(job, "type"), "scrub"))
				continue;
			done &= strcmp(text_of(job, "state"), "running") != 0;
			mismatches += number_of(job, "mismatches") + number_of(job, "unreadable");
		}
		json_decref(answer);
		if (!done && victim_now_us() - begun > HEAL_US)
			return fail_set(fail, ETIMEDOUT, "the scrub does not end");
		usleep(POLL_US);
	}
	life->figures->mismatches += mismatches;
	if (!error && mismatches)
		error = fail_set(fail, EILSEQ,
			"the scrub at the end finds %llu rows that do not agree",
			(unsigned long long)mismatches);
	return error;
}

/* --- a life ----------------------------------------------------------------------------------- */

static int await_array(struct life *life, struct fail *fail)
{
	uint64_t begun = victim_now_us();

	do {
		struct fail refused = {0};
		int error = look(life, &refused);

		if (!error && !strcmp(life->look.state, "optimal"))
			return 0;
		usleep(POLL_US);
	} while (victim_now_us() - begun < PATIENCE_US);
	return fail_set(fail, ETIMEDOUT, "the array is never made: %s", life->look.why);
}

/* A daemon with an array of all members and an export; two drives are left over. */
static int make(struct life *life, struct fail *fail)
{
	unsigned delay_us = chance(life, 60) ? 50 + below(life, 400) : 0;
	unsigned jitter_us = delay_us ? below(life, 3000) : 0;
	json_t *drives = json_array();
	int error = start(life, fail);

	for (unsigned i = 0; i < PATIENCE_US / POLL_US && !error; i++) {
		error = victim_call(&life->victim, "version.get", NULL, NULL, fail);
		if (error != -ENOTCONN || victim_is_dead(&life->victim))
			break;
		error = 0;
		usleep(POLL_US);
	}
	for (unsigned i = 0; i < life->files && !error; i++) {
		char path[96];

		file_path(life, i, false, path, sizeof(path));
		error = victim_call(&life->victim, "drive.attach",
			json_pack("{s:s, s:i, s:i}", "source", path, "delay_us", (int)delay_us,
				"jitter_us", (int)jitter_us),
			NULL, fail);
		snprintf(path, sizeof(path), "m%u", i);
		if (i < life->members)
			json_array_append_new(drives, json_string(path));
	}
	if (!error)
		error = on_array(life, "array.create",
			json_pack("{s:s, s:O, s:i, s:s, s:b}", "level", life->shape->level,
				"drives", drives, "chunk_bytes", 4096 << below(life, 6),
				"consistency", life->consistency, "assume_clean", 1),
			fail);
	json_decref(drives);
	if (!error)
		error = await_array(life, fail);
	if (!error)
		error = victim_call(&life->victim, "vhost.create",
			json_pack("{s:s}", "volume", "a"), NULL, fail);
	return error;
}

static void choose_load(struct life *life, struct guest_load *load)
{
	*load = (struct guest_load){
		.depth = 1 + below(life, GUEST_REQUESTS),
		.read_percent = below(life, 60),
		.units_max = 1u << below(life, 6),
		.hot_units = chance(life, 30) ? 16 + below(life, 64) : GUEST_SEGMENT_UNITS,
		.zeroes_percent = chance(life, 30) ? 10 : 0,
		.flush_percent = chance(life, 40) ? 5 : 0,
	};
	load->units_max = MIN(load->units_max, (unsigned)GUEST_REQUEST_UNITS);
}

/* A crash that takes a member where there is no log: refused while the member is away, and nothing
 * is wrong when it is back. */
static int expose(struct life *life, struct fail *fail)
{
	unsigned slot = below(life, life->members);
	int file = file_of(life->look.slot[slot].drive), error;
	uint64_t begun;

	if (life->touched || !life->budget || life->look.copying || life->copying || file < 0 ||
		!slot_is(life, slot, "in sync"))
		return 0;
	move_file(life, (unsigned)file, true);
	error = start(life, fail);
	begun = victim_now_us();
	while (!error && victim_now_us() - begun < PATIENCE_US) {
		struct fail refused = {0};

		life->look.state[0] = '\0';
		look(life, &refused);
		if (!strcmp(life->look.state, "refused") || !strcmp(life->look.state, "degraded"))
			break;
		usleep(POLL_US);
	}
	if (!error && !strcmp(life->look.state, "refused")) {
		life->figures->refused++;
		if (!strstr(life->look.why, "accept-loss"))
			error = fail_set(
				fail, EINVAL, "refused without a cure: %s", life->look.why);
		move_file(life, (unsigned)file, false);
		return error ? error : end(life, fail);
	}
	/* Nothing was exposed: it goes on without the member, and gets it back. */
	life->touched = true;
	life->figures->lost_at_kill++;
	if (!error)
		error = connect_guest(life, fail);
	if (!error)
		error = guest_drain(&life->guest) ? wrong(life, fail) : 0;
	if (!error)
		error = heal(life, fail);
	return error ? error : end(life, fail);
}

/* Under a daemon that may be gone at any moment: 0, or -ECONNRESET, or what is wrong. */
static int session(struct life *life, struct fail *fail)
{
	struct guest_load load;
	int error = connect_guest(life, fail);

	life->copying = life->verified = false;
	choose_load(life, &load);
	if (error)
		return error;
	error = guest_drain(&life->guest);
	if (!error)
		error = guest_verify(&life->guest);
	life->verified = !error;
	if (error)
		return error == -ECONNRESET ? error : wrong(life, fail);
	error = check_state(life, fail);
	if (!error && !life->victim.doomed)
		error = check_usage(life, fail);
	if (error)
		return error;
	operate(life);
	if (!life->victim.doomed)
		victim_doom(&life->victim, random_below(&life->random, 120000));
	error = guest_run(&life->guest, &load, PATIENCE_US);
	return error == -ECONNRESET ? error : wrong(life, fail);
}

/* From the start of a daemon to its death. */
static int cycle(struct life *life, struct fail *fail)
{
	int error = start(life, fail);

	if (error)
		return error;
	if (chance(life, 25))
		victim_doom(&life->victim, 5000 + random_below(&life->random, 100000));
	error = session(life, fail);
	if (error != -ECONNRESET)
		return error;
	if (!life->verified)
		life->figures->kills_starting++;
	else if (life->copying || life->look.copying)
		life->figures->kills_copying++;
	error = end(life, fail);
	if (!error && chance(life, 15)) {
		guest_die(&life->guest);
		life->figures->guest_deaths++;
	}
	take_and_bring(life);
	if (!error && !is_log(life) && chance(life, 20))
		error = expose(life, fail);
	return error ? error : die_starting(life, fail);
}

/* Some sessions that end and begin under one daemon. */
static int reconnect(struct life *life, struct fail *fail)
{
	unsigned before = victim_usage(&life->victim).descriptors, after;
	int error = 0;

	for (unsigned i = 0; i < 4 && !error; i++) {
		struct guest_load load;

		choose_load(life, &load);
		error = guest_run(&life->guest, &load, 5000) ? wrong(life, fail) : 0;
		if (chance(life, 50))
			guest_die(&life->guest);
		else
			guest_cut(&life->guest);
		usleep(POLL_US);
		error = error ? error : connect_guest(life, fail);
		if (!error && (guest_drain(&life->guest) || guest_verify(&life->guest)))
			error = wrong(life, fail);
	}
	after = victim_usage(&life->victim).descriptors;
	if (error || after <= before + DESCRIPTORS_SPARE)
		return error;
	life->figures->leaks++;
	return fail_set(
		fail, EMFILE, "sessions leak descriptors: %u before, %u after", before, after);
}

static int finish(struct life *life, struct fail *fail)
{
	int error = start(life, fail);
	unsigned left;

	if (!error)
		error = connect_guest(life, fail);
	if (!error && (guest_drain(&life->guest) || guest_verify(&life->guest)))
		error = wrong(life, fail);
	if (!error)
		error = reconnect(life, fail);
	if (!error)
		error = heal(life, fail);
	if (!error && guest_verify(&life->guest))
		error = wrong(life, fail);
	if (!error)
		error = scrub(life, fail);
	if (error)
		return error == -ECONNRESET ? fail_set(fail, ECONNRESET, "braidd has gone") : error;
	guest_die(&life->guest);
	error = victim_reap(&life->victim, SIGTERM, fail);
	left = victim_leftovers(&life->victim);
	life->figures->leaks += left;
	if (!error && left)
		error = fail_set(fail, EBUSY, "%u sockets or locks are left behind", left);
	return error;
}

static void choose(struct life *life)
{
	/* The default more often than the others. */
	const char *const consistencies[] = {
		"log", "log", "log", "log", "log", "log", "adaptive", "bitmap"};
	const char *const cores[] = {"0", "1", "0-1"};

	life->shape = &shapes[below(life, ARRAY_SIZE(shapes))];
	life->members = life->shape->least +
			life->shape->step * below(life, (life->shape->most - life->shape->least) /
									life->shape->step +
								1);
	life->files = life->members + EXTRA;
	life->consistency = consistencies[below(life, ARRAY_SIZE(consistencies))];
	if (life->options->consistency)
		life->consistency = life->options->consistency;
	snprintf(life->victim.cores, sizeof(life->victim.cores), "%s",
		life->options->cpus > 1 ? cores[below(life, ARRAY_SIZE(cores))] : "0");
}

int life_run(const struct life_options *options, struct figures *figures, struct fail *fail)
{
	struct life *life = calloc(1, sizeof(*life));
	char socket[108];
	int error;

	if (!life)
		return fail_set(fail, ENOMEM, "no memory for a life");
	life->options = options;
	life->figures = figures;
	life->random.state = options->seed;
	life->victim.program = options->program;
	snprintf(life->victim.dir, sizeof(life->victim.dir), "%s", options->dir);
	snprintf(socket, sizeof(socket), "%s/run/vhost/a.sock", options->dir);
	choose(life);
	guest_init(&life->guest, socket, options->seed, 1 + below(life, GUEST_QUEUES_MAX));
	error = make_files(life, fail);
	if (!error)
		error = make(life, fail);
	life->budget = life->look.tolerates;
	if (!error)
		error = victim_reap(&life->victim, chance(life, 50) ? SIGTERM : SIGKILL, fail);
	for (unsigned i = 0; i < options->cycles && !error; i++)
		error = cycle(life, fail);
	if (!error)
		error = finish(life, fail);
	if (error)
		fail_prefix(fail, "RAID %s of %u, %s, cores %s", life->shape->level, life->members,
			life->consistency, life->victim.cores);
	if (life->victim.pid)
		victim_reap(&life->victim, SIGKILL, NULL);
	guest_die(&life->guest);
	figures->lives++;
	figures->failed_lives += error != 0;
	figures->completed += life->guest.completed;
	figures->checked += life->guest.checked;
	figures->resubmitted += life->guest.resubmitted;
	figures->wrong += life->guest.wrong;
	free(life);
	return error;
}
