/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/units.h"
#include "control/drives.h"
#include "control/jobs.h"
#include "control/monitor.h"

enum { ENDED_JOBS_KEPT = 16, SWEEP_END_POLL_US = 500 };

/* A sweep that failed is due again: not at once, or it would fail all the time. */
static const uint64_t after_failure_ns = 30000000000;

const char *job_type_name(enum job_type type)
{
	static const char *const names[] = {
		[JOB_REBUILD] = "rebuild",
		[JOB_RESYNC] = "resync",
		[JOB_SCRUB] = "scrub",
		[JOB_REPAIR] = "repair",
		[JOB_INITIALISE] = "initialise",
		[JOB_SANITIZE] = "sanitize",
		[JOB_SELF_TEST] = "self-test",
	};

	return names[type];
}

/* --- all kinds ------------------------------------------------------------------------------- */

void job_free(struct job *job)
{
	list_remove(&job->link);
	free(job->plan);
	free(job);
}

/* Forgets the oldest of the jobs that have ended, beyond those that are kept to be looked at. */
static void forget_old(struct daemon *daemon)
{
	struct list_node *node, *after;
	unsigned ended = 0;

	list_for_each (node, &daemon->jobs)
		ended += container_of(node, struct job, link)->state != JOB_RUNNING;
	list_for_each_safe (node, after, &daemon->jobs) {
		struct job *job = container_of(node, struct job, link);

		if (ended <= ENDED_JOBS_KEPT || job->state == JOB_RUNNING)
			continue;
		pthread_join(job->thread, NULL);
		job_free(job);
		ended--;
	}
}

struct job *job_new(
	struct daemon *daemon, enum job_type type, const char *target, struct fail *fail)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job) {
		fail_set(fail, ENOMEM, "no memory for a job");
		return NULL;
	}
	forget_old(daemon);
	job->type = type;
	snprintf(job->target, sizeof(job->target), "%s", target);
	job->started_ns = job->sampled_ns = monotonic_ns();
	job->daemon = daemon;
	list_push_back(&daemon->jobs, &job->link);
	return job;
}

int job_run(struct job *job, void *(*main)(void *), struct fail *fail)
{
	int error;

	job->id = ++job->daemon->last_job;
	error = pthread_create(&job->thread, NULL, main, job);
	return error ? fail_set(fail, error, "cannot start a thread: %s", strerror(error)) : 0;
}

/* The lock is held. */
void job_end(struct job *job, int error, const char *text)
{
	job->ended_ns = monotonic_ns();
	job->state = !error ? JOB_DONE : error == -ECANCELED ? JOB_CANCELLED : JOB_FAILED;
	if (!error)
		return;
	snprintf(job->error, sizeof(job->error), "%s", text);
	if (job->state == JOB_FAILED)
		log_error("event=JobFailed job=%u type=%s %s=%s error=\"%s\"", job->id,
			job_type_name(job->type), job->type > JOB_INITIALISE ? "drive" : "array",
			job->target, text);
}

void jobs_end(struct daemon *daemon)
{
	struct list_node *node;

	list_for_each (node, &daemon->jobs) {
		struct job *job = container_of(node, struct job, link);

		atomic_store(&job->clear.cancel, true);
		atomic_store(&job->sweep.pause, false);
		atomic_store(&job->sweep.cancel, true);
		atomic_store(&job->let_be, true);
	}
	pthread_cond_broadcast(&daemon->ending);
	while ((node = list_first(&daemon->jobs))) {
		struct job *job = container_of(node, struct job, link);

		pthread_join(job->thread, NULL);
		job_free(job);
	}
}

void job_bytes(const struct job *job, uint64_t *done, uint64_t *total)
{
	bool clears = job->type == JOB_INITIALISE;

	*done = clears ? atomic_load(&job->clear.done_bytes) : atomic_load(&job->sweep.done_bytes);
	*total = clears ? atomic_load(&job->clear.total_bytes)
			: atomic_load(&job->sweep.total_bytes);
	*done = MIN(*done, *total);
}

/* What `job limit auto` does now. */
static void throttle_text(const struct job *job, char *text, size_t bytes)
{
	const struct throttle *throttle;
	char limit[UNITS_TEXT_BYTES];

	text[0] = '\0';
	if (job->state != JOB_RUNNING || !job->entry || !job->entry->settings[job->type].automatic)
		return;
	throttle = &job->entry->throttle;
	units_print(throttle->limit, limit);
	if (!throttle->limit)
		snprintf(text, bytes, "guests are idle");
	else if (throttle->probing || !throttle->idle_p99_ns)
		snprintf(text, bytes, "%s/s while guests are measured", limit);
	else
		snprintf(text, bytes, "%s/s, guests' p99 %.1f of %.1f ms", limit,
			(double)throttle->p99_ns / 1e6, (double)throttle_bound_ns(throttle) / 1e6);
}

/* What the drive does by itself has no bytes. */
static void add_percent(json_t *json, const struct job *job, uint64_t elapsed_ms)
{
	unsigned left = 1000 - job->per_thousand,
		 gone = job->per_thousand - job->first_per_thousand;
	uint64_t eta_s = 0, elapsed_s = elapsed_ms / 1000;

	if (job->state == JOB_RUNNING && gone)
		eta_s = elapsed_ms * left / gone / 1000;
	else if (job->state == JOB_RUNNING && job->estimate_s > elapsed_s)
		eta_s = job->estimate_s - elapsed_s;
	json_object_set_new(json, "percent", json_integer(job->per_thousand / 10));
	json_object_set_new(json, "eta_s", json_integer((json_int_t)eta_s));
}

json_t *job_json(const struct job *job)
{
	static const char *const states[] = {"running", "done", "failed", "cancelled"};
	const struct sweep_setting *setting =
		job->entry ? &job->entry->settings[job->type] : &(struct sweep_setting){0};
	uint64_t end = job->state == JOB_RUNNING ? monotonic_ns() : job->ended_ns;
	bool paused = job->state == JOB_RUNNING && atomic_load(&job->sweep.pause);
	uint64_t done, total, speed = paused ? 0 : job->bytes_per_second;
	uint64_t elapsed_ms = (end - job->started_ns) / 1000000;
	uint64_t from = job->sweep.begin.done_bytes;
	char throttled[96];
	json_t *json;

	job_bytes(job, &done, &total);
	throttle_text(job, throttled, sizeof(throttled));
	if ((!speed && !paused && elapsed_ms && job->type == JOB_INITIALISE) ||
		job->state != JOB_RUNNING)
		speed = elapsed_ms ? (done - MIN(done, from)) * 1000 / elapsed_ms : 0;
	json = json_pack("{s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "id", (int)job->id,
		"type", job_type_name(job->type), "target", job->target, "state",
		paused ? "paused" : states[job->state], "error", job->error, "done_bytes",
		(json_int_t)done, "total_bytes", (json_int_t)total, "elapsed_ms",
		(json_int_t)elapsed_ms, "bytes_per_second", (json_int_t)speed, "eta_s",
		(json_int_t)(speed ? (total - done) / speed : 0));
	if (job->type == JOB_SANITIZE || job->type == JOB_SELF_TEST)
		add_percent(json, job, elapsed_ms);
	if (!job_is_sweep(job))
		return json;
	json_object_update_new(
		json, json_pack("{s:s, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I}", "throttle",
			      throttled, "limit_now_bytes_per_second",
			      (json_int_t)atomic_load(&job->sweep.limit_bytes_per_second),
			      "resumed_bytes", (json_int_t)from, "limit_bytes_per_second",
			      (json_int_t)setting->limit_bytes_per_second, "limit_auto",
			      setting->automatic, "mismatches",
			      (json_int_t)atomic_load(&job->sweep.mismatches), "located",
			      (json_int_t)atomic_load(&job->sweep.located), "repaired",
			      (json_int_t)atomic_load(&job->sweep.repaired), "unreadable",
			      (json_int_t)atomic_load(&job->sweep.unreadable)));
	return json;
}

/* --- initialise ------------------------------------------------------------------------------ */

static void release_all(const struct array_plan *plan)
{
	for (unsigned i = 0; i < plan->config.members; i++)
		blockdev_release(plan->config.member[i]);
	for (unsigned i = 0; i < plan->spares; i++)
		blockdev_release(plan->spare[i]);
}

/* The lock is held. An array with all its spares, or none. */
static int make_array(struct daemon *daemon, struct array_entry *entry,
	const struct array_plan *plan, struct fail *fail)
{
	struct array_config config = plan->config;
	int error;

	for (unsigned i = 0; i < config.members; i++)
		config.fingerprint[i] = drive_of(daemon, config.member[i])->fingerprint;
	error = array_create(&entry->array, &config, daemon->group, fail);
	if (error)
		return error;
	for (unsigned i = 0; i < plan->spares && !error; i++)
		error = array_add_spare(entry->array, plan->spare[i],
			drive_of(daemon, plan->spare[i])->fingerprint, fail);
	if (error) {
		array_delete(entry->array);
		entry->array = NULL;
		return error;
	}
	entry->uuid = *array_uuid(entry->array);
	entry->phase = PHASE_RUNNING;
	drives_adopt(daemon, entry);
	state_changed(daemon);
	return 0;
}

/* Clears the members and makes the array; what fails leaves no array. */
static void *initialise_main(void *argument)
{
	struct job *job = argument;
	struct daemon *daemon = job->daemon;
	const struct array_plan *plan = job->plan;
	const struct array_config *config = &plan->config;
	uint64_t blocks = UINT64_MAX;
	struct array_entry *entry;
	struct fail fail = {0};
	int error = 0;

	for (unsigned i = 0; i < config->members; i++)
		blocks = MIN(blocks, config->member[i]->blocks);
	if (!plan->assume_clean)
		error = clear_members(
			config->member, config->members, blocks, daemon->group, &job->clear, &fail);
	LOCK_SCOPE(&daemon->lock);
	release_all(plan);
	entry = array_find(daemon, config->name, NULL);
	if (!error)
		error = make_array(daemon, entry, plan, &fail);
	if (error)
		array_free(entry);
	else
		log_info("event=NewArray array=%s level=\"%s\" drives=%u spares=%u", job->target,
			config->level->text, config->members, plan->spares);
	job_end(job, error, fail.text);
	state_save(daemon);
	return NULL;
}

int job_start_initialise(struct daemon *daemon, const struct array_plan *plan, struct job **created,
	struct fail *fail)
{
	struct array_entry *entry = calloc(1, sizeof(*entry));
	struct array_plan *copy = malloc(sizeof(*copy));
	struct job *job = NULL;
	char user[BLOCKDEV_USER_BYTES];
	int error = fail_set(fail, ENOMEM, "no memory for an array");

	if (entry && copy)
		job = job_new(daemon, JOB_INITIALISE, plan->config.name, fail);
	if (!job)
		goto free_both;
	*copy = *plan;
	job->plan = copy;
	snprintf(user, sizeof(user), "array %.63s", plan->config.name);
	for (unsigned i = 0; i < plan->config.members + plan->spares; i++) {
		struct blockdev *dev = i < plan->config.members
					       ? plan->config.member[i]
					       : plan->spare[i - plan->config.members];

		error = blockdev_claim(dev, user, fail);
		assert(!error); /* they have been checked, under the same lock */
	}
	strcpy(entry->name, plan->config.name);
	entry->phase = PHASE_MAKING;
	entry->config = plan->config;
	entry->wanted_sweep = -1;
	list_init(&entry->volumes);
	entry->made_at = (uint64_t)time(NULL);
	list_push_back(&daemon->arrays, &entry->link);
	error = job_run(job, initialise_main, fail);
	if (!error) {
		*fail = (struct fail){0};
		*created = job;
		return 0;
	}
	release_all(plan);
	list_remove(&entry->link);
	job_free(job);
	copy = NULL;
free_both:
	free(copy);
	free(entry);
	return error;
}

/* --- sweeps ---------------------------------------------------------------------------------- */

struct job *sweep_of(struct daemon *daemon, const struct array_entry *entry)
{
	struct list_node *node;

	list_for_each (node, &daemon->jobs) {
		struct job *job = container_of(node, struct job, link);

		if (job->state == JOB_RUNNING && job_is_sweep(job) && job->entry == entry)
			return job;
	}
	return NULL;
}

void sweep_steer(struct job *job)
{
	const struct sweep_setting *setting = &job->entry->settings[job->type];
	uint64_t limit = setting->limit_bytes_per_second;

	if (setting->automatic)
		limit = job->entry->throttle.limit;
	atomic_store(&job->sweep.limit_bytes_per_second, limit);
	atomic_store(&job->sweep.pause, setting->paused);
}

void sweep_mark(struct job *job)
{
	struct array_entry *entry = job->entry;

	if (entry->wanted_sweep != (int)job->type)
		return;
	entry->wanted_mark = sweep_mark_of(&job->sweep);
	entry->marked_ns = monotonic_ns();
	state_changed(job->daemon);
}

void sweep_end(struct daemon *daemon, struct array_entry *entry)
{
	struct job *job = sweep_of(daemon, entry);

	if (!job)
		return;
	atomic_store(&job->sweep.pause, false);
	atomic_store(&job->sweep.cancel, true);
	while (!atomic_load(&job->swept))
		usleep(SWEEP_END_POLL_US);
	sweep_mark(job);
	job->entry = NULL;
}

void want_sweep(struct array_entry *entry, int kind)
{
	entry->wanted_sweep = kind;
	entry->wanted_mark = (struct sweep_mark){0};
}

/* What a sweep that ended by itself leaves behind. */
static void settle_sweep(struct job *job, int error)
{
	struct array_entry *entry = job->entry;

	if (!entry)
		return;
	if (error && error != -ECANCELED)
		entry->sweep_after_ns = monotonic_ns() + after_failure_ns;
	if (!error)
		entry->settings[job->type] = (struct sweep_setting){0};
	sweep_mark(job);
	if (!error && entry->wanted_sweep == (int)job->type)
		want_sweep(entry, -1);
	if (entry->array)
		drives_adopt(job->daemon, entry);
	state_changed(job->daemon);
}

static void log_sweep(const struct job *job)
{
	unsigned long long mismatches = atomic_load(&job->sweep.mismatches);

	if (job->type == JOB_REBUILD) {
		log_info("event=RebuildFinished array=%s job=%u", job->target, job->id);
		return;
	}
	if (job->type != JOB_RESYNC && mismatches)
		log_warning("event=ScrubMismatch array=%s job=%u rows=%llu located=%llu "
			    "repaired=%llu",
			job->target, job->id, mismatches,
			(unsigned long long)atomic_load(&job->sweep.located),
			(unsigned long long)atomic_load(&job->sweep.repaired));
	log_info("event=%sFinished array=%s job=%u mismatches=%llu unreadable=%llu",
		job->type == JOB_RESYNC	 ? "Resync"
		: job->type == JOB_SCRUB ? "Scrub"
					 : "Repair",
		job->target, job->id, mismatches,
		(unsigned long long)atomic_load(&job->sweep.unreadable));
}

static void *sweep_main(void *argument)
{
	struct job *job = argument;
	struct daemon *daemon = job->daemon;
	struct fail fail = {0};
	int error = array_sweep(job->entry->array, (enum sweep_kind)job->type, &job->sweep, &fail);

	atomic_store(&job->swept, true);
	LOCK_SCOPE(&daemon->lock);
	job_end(job, error, fail.text);
	if (!error)
		log_sweep(job);
	settle_sweep(job, error);
	job->entry = NULL;
	monitor_wake(daemon);
	state_save(daemon);
	return NULL;
}

int job_start_sweep(struct daemon *daemon, struct array_entry *entry, enum sweep_kind kind,
	struct job **created, struct fail *fail)
{
	struct job *job = job_new(daemon, (enum job_type)kind, entry->name, fail);
	int error;

	if (!job)
		return -fail->error;
	job->entry = entry;
	if (entry->wanted_sweep == (int)kind)
		job->sweep.begin = entry->wanted_mark;
	job->sampled_bytes = job->sweep.begin.done_bytes;
	sweep_steer(job);
	error = job_run(job, sweep_main, fail);
	if (error) {
		job_free(job);
		return error;
	}
	log_info("event=JobStarted job=%u type=%s array=%s from_bytes=%llu", job->id,
		job_type_name(job->type), entry->name,
		(unsigned long long)job->sweep.begin.done_bytes);
	if (created)
		*created = job;
	return 0;
}
