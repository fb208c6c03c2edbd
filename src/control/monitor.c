/* SPDX-License-Identifier: Apache-2.0 */
#include "control/monitor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "control/assemble.h"
#include "control/drives.h"
#include "control/jobs.h"
#include "control/members.h"
#include "control/nvmes.h"

enum { TICK_MS = 1000, WAITING_TICK_MS = 500, TOLD_PERCENT = 20, LOCKED_POLL_US = 2000 };

/* How often the members of arrays that wait, or that wait for long, are looked for elsewhere. */
static const uint64_t search_ns = 2000000000, search_seldom_ns = 30000000000;
/* How far a scrub is behind after a crash. */
static const uint64_t mark_ns = 10000000000;
static const uint64_t locked_wait_ns = 1000000000;

/* --- drives that come back ------------------------------------------------------------------- */

static bool any_in_phase(struct daemon *daemon, enum array_phase phase)
{
	struct list_node *node;

	list_for_each (node, &daemon->arrays)
		if (container_of(node, struct array_entry, link)->phase == phase)
			return true;
	return false;
}

static bool search_due(struct daemon *daemon)
{
	uint64_t ago_ns = monotonic_ns() - daemon->searched_ns;

	return (any_in_phase(daemon, PHASE_WAITING) && ago_ns > search_ns) ||
	       (any_in_phase(daemon, PHASE_INCOMPLETE) && ago_ns > search_seldom_ns);
}

static void bring_back(struct daemon *daemon)
{
	bool changed = nvmes_watch(daemon);

	if (search_due(daemon)) {
		changed |= drives_search(daemon);
		daemon->searched_ns = monotonic_ns();
	}
	if (changed)
		assemble(daemon);
	nvmes_release_unused(daemon);
	assemble_overdue(daemon);
}

/* Arrays of the state file of which nothing is left. */
static void say_gone(struct daemon *daemon)
{
	size_t i;
	json_t *row;

	json_array_foreach(daemon->state.arrays, i, row)
	{
		const char *text = json_string_value(json_object_get(row, "uuid"));
		const char *name = json_string_value(json_object_get(row, "name"));
		struct uuid uuid;

		if (text && name && uuid_parse(&uuid, text) && !array_find_uuid(daemon, &uuid))
			log_warning("event=ArrayGone array=%s uuid=%s why=\"no drive holds it any "
				    "more: memory drives end with the daemon\"",
				name, text);
	}
}

static void say_absent(struct daemon *daemon)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives) {
		const struct drive *drive = container_of(node, struct drive, link);

		if (!drive->dev)
			log_warning("event=DeviceDisappeared drive=%s source=%s why=\"%s\"",
				drive->name, drive->source, drive->note);
	}
}

static bool any_locked(struct daemon *daemon)
{
	struct list_node *node;

	list_for_each (node, &daemon->drives)
		if (container_of(node, struct drive, link)->locked)
			return true;
	return false;
}

/* The kernel takes back what a killed process had in io_uring a moment after its death: the locks
 * of the daemon before this one may still be there. */
static void retry_locked(struct daemon *daemon)
{
	uint64_t end_ns = monotonic_ns() + locked_wait_ns;

	drives_retry(daemon, false);
	while (any_locked(daemon) && monotonic_ns() < end_ns) {
		usleep(LOCKED_POLL_US);
		drives_retry(daemon, false);
	}
	drives_retry(daemon, true);
}

void monitor_restore(struct daemon *daemon)
{
	bool remembered = !list_empty(&daemon->drives);

	retry_locked(daemon);
	/* Who is missing shows only when those that are there have been read. A complete array
	 * starts here and now. */
	assemble(daemon);
	daemon->searched_ns = 0;
	if (remembered && search_due(daemon)) {
		daemon->searched_ns = monotonic_ns();
		if (drives_search(daemon))
			assemble(daemon);
	}
	say_absent(daemon);
	say_gone(daemon);
	assemble_overdue(daemon);
	state_changed(daemon);
	state_save(daemon);
}

/* --- one array ------------------------------------------------------------------------------- */

/* Losses, and drives that come into service, are said where they happen: in raid/. */
static void say_changes(struct array_entry *entry, const struct array_status *status)
{
	if (status->state == entry->seen_last.state)
		return;
	if (status->state == ARRAY_DEGRADED)
		log_warning("event=DegradedArray array=%s failed=%u tolerates=%u", entry->name,
			status->failed, status->tolerates);
	else if (status->state == ARRAY_OPTIMAL)
		log_info("event=ArrayOptimal array=%s", entry->name);
	entry->seen_last.state = status->state;
}

static int failed_slot(const struct array_status *status)
{
	for (unsigned i = 0; i < status->members; i++)
		if (status->member[i].state == ROW_FAILED)
			return (int)i;
	return -1;
}

/* A spare of the array's own, or a shared one that becomes it. -1: there is none. */
static int find_spare(struct daemon *daemon, struct array_entry *entry,
	const struct array_status *status, struct fail *fail)
{
	struct list_node *node;
	unsigned row;

	for (unsigned i = status->members; i < status->rows; i++)
		if (status->member[i].state == ROW_SPARE && status->member[i].dev)
			return (int)i;
	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (!drive->is_spare || !drive->dev || drive->dev->user[0])
			continue;
		if (!member_add_spare(daemon, entry, drive, &row, fail))
			return (int)row;
	}
	return -1;
}

static void use_spare(
	struct daemon *daemon, struct array_entry *entry, const struct array_status *status)
{
	char *trouble = entry->seen_last.spare_trouble;
	int slot = failed_slot(status), spare;
	struct fail fail = {0};
	bool missing;

	if (!daemon->auto_rebuild || status->state != ARRAY_DEGRADED || slot < 0) {
		trouble[0] = '\0';
		entry->seen_last.spares_missing = false;
		return;
	}
	spare = find_spare(daemon, entry, status, &fail);
	missing = spare < 0 && !fail.error;
	if (missing && !entry->seen_last.spares_missing)
		log_warning("event=SparesMissing array=%s", entry->name);
	entry->seen_last.spares_missing = missing;
	if (spare >= 0 && !array_use_spare(entry->array, (unsigned)spare, (unsigned)slot, &fail)) {
		log_info("event=SpareUsed array=%s slot=%d", entry->name, slot);
		entry->sweep_after_ns = 0;
		trouble[0] = '\0';
		drives_adopt(daemon, entry);
		state_changed(daemon);
		return;
	}
	if (fail.error && strcmp(trouble, fail.text))
		log_warning("event=SpareRefused array=%s slot=%d why=\"%s\"", entry->name, slot,
			fail.text);
	snprintf(trouble, FAIL_TEXT_BYTES, "%s", fail.error ? fail.text : "");
}

/* Speed, and mdadm's RebuildNN. */
static void watch_sweep(struct job *job)
{
	uint64_t now = monotonic_ns(), elapsed = now - job->sampled_ns, done, total;
	unsigned percent;

	sweep_steer(job);
	if (now - job->entry->marked_ns > mark_ns)
		sweep_mark(job);
	job_bytes(job, &done, &total);
	if (elapsed >= TICK_MS * 900000ull) {
		uint64_t rate = done > job->sampled_bytes
					? (uint64_t)((double)(done - job->sampled_bytes) * 1e9 /
						     (double)elapsed)
					: 0;

		job->bytes_per_second =
			job->bytes_per_second ? (job->bytes_per_second * 3 + rate) / 4 : rate;
		job->sampled_ns = now;
		job->sampled_bytes = done;
	}
	percent = total ? (unsigned)(done * 100 / total) : 0;
	percent -= percent % TOLD_PERCENT;
	if (percent > job->told_percent && percent < 100) {
		log_info("event=%s%u array=%s job=%u",
			job->type == JOB_REBUILD  ? "Rebuild"
			: job->type == JOB_RESYNC ? "Resync"
						  : "Scrub",
			percent, job->target, job->id);
		job->told_percent = percent;
	}
}

/* What is due is started; a scrub makes way for what is. */
static void start_due(struct daemon *daemon, struct array_entry *entry)
{
	struct job *job = sweep_of(daemon, entry);
	int due = array_sweep_due(entry->array);
	struct fail fail = {0};

	if (job) {
		watch_sweep(job);
		if (due >= 0 && (job->type == JOB_SCRUB || job->type == JOB_REPAIR)) {
			log_info("event=ScrubPostponed array=%s job=%u", entry->name, job->id);
			sweep_end(daemon, entry);
		}
		return;
	}
	if (due < 0)
		due = entry->wanted_sweep;
	if (due < 0 || monotonic_ns() < entry->sweep_after_ns)
		return;
	if (job_start_sweep(daemon, entry, (enum sweep_kind)due, NULL, &fail))
		log_error("event=SweepNotStarted array=%s why=\"%s\"", entry->name, fail.text);
}

/* What the guests notice of the sweep. */
static void measure_guests(
	struct daemon *daemon, struct array_entry *entry, const struct array_status *status)
{
	const struct job *job = sweep_of(daemon, entry);
	bool sweeping = job && !atomic_load(&job->sweep.pause);
	uint64_t now = monotonic_ns();

	if (now - entry->throttled_ns < TICK_MS * 900000ull)
		return;
	entry->throttled_ns = now;
	throttle_tick(&entry->throttle, status->counters.latency, sweeping,
		sweeping ? job->bytes_per_second : 0);
}

static void look_at(struct daemon *daemon, struct array_entry *entry)
{
	struct array_status status;

	array_status(entry->array, &status);
	measure_guests(daemon, entry, &status);
	say_changes(entry, &status);
	drives_adopt(daemon, entry);
	use_spare(daemon, entry, &status);
	start_due(daemon, entry);
}

/* --- the thread ------------------------------------------------------------------------------ */

static void sleep_ms(struct daemon *daemon, unsigned ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)ms % 1000 * 1000000;
	until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&daemon->wake, &daemon->lock, &until);
}

static void *monitor_main(void *argument)
{
	struct daemon *daemon = argument;
	LOCK_SCOPE(&daemon->lock);

	while (!daemon->stopping) {
		struct list_node *node;

		bring_back(daemon);
		list_for_each (node, &daemon->arrays) {
			struct array_entry *entry = container_of(node, struct array_entry, link);

			if (entry->array)
				look_at(daemon, entry);
		}
		state_save(daemon);
		sleep_ms(daemon, any_in_phase(daemon, PHASE_WAITING) ? WAITING_TICK_MS : TICK_MS);
	}
	return NULL;
}

int monitor_start(struct daemon *daemon, struct fail *fail)
{
	int error = pthread_create(&daemon->monitor, NULL, monitor_main, daemon);

	return error ? fail_set(fail, error, "cannot start a thread: %s", strerror(error)) : 0;
}

void monitor_stop(struct daemon *daemon)
{
	{
		LOCK_SCOPE(&daemon->lock);
		daemon->stopping = true;
		monitor_wake(daemon);
	}
	pthread_join(daemon->monitor, NULL);
}

void monitor_wake(struct daemon *daemon)
{
	pthread_cond_signal(&daemon->wake);
}
