/* SPDX-License-Identifier: Apache-2.0 */
#include "control/drive_job.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "control/care.h"
#include "control/drive_log.h"
#include "control/drives.h"
#include "control/jobs.h"
#include "control/methods.h"
#include "control/monitor.h"
#include "drivers/nvme/wire.h"

enum { LOOK_MS = 500, MISSES_MAX = 120, SHORT_TEST_S = 120, PASSES_MAX = 16 };

/* Who has the drives of a controller meanwhile. */
static const char sanitize_user[] = "sanitize";

/* --- looking at the drive -------------------------------------------------------------------- */

/* How far it is. *done: it has ended. */
struct look {
	bool done;
	unsigned per_thousand;
	uint64_t estimate_s;
	int error; /* how it has ended */
	char text[FAIL_TEXT_BYTES];
};

static int look_at_sanitize(struct nvme *nvme, struct look *look, struct fail *fail)
{
	struct nvme_sanitize_state state;
	int error = nvme_sanitize_state(nvme, &state, fail);

	if (error)
		return error;
	look->done = state.status != NVME_SANITIZE_RUNNING;
	look->per_thousand = state.per_thousand;
	look->estimate_s = state.seconds;
	if (state.status == NVME_SANITIZE_BROKEN) {
		look->error = -EIO;
		snprintf(look->text, sizeof(look->text),
			"the drive has failed to sanitize itself: what it held may still be there, "
			"and it takes nothing but another braid drive sanitize");
	}
	return 0;
}

static int look_at_self_test(struct nvme *nvme, struct look *look, struct fail *fail)
{
	struct nvme_identity identity;
	struct nvme_test_state state;
	int error = nvme_self_test_state(nvme, &state, fail);

	if (error)
		return error;
	nvme_identity(nvme, &identity);
	look->done = !state.running;
	look->per_thousand = state.running ? state.percent * 10 : 1000;
	look->estimate_s = state.running == NVME_SELF_TEST_EXTENDED
				   ? identity.self_test_minutes * 60ull
				   : SHORT_TEST_S;
	if (!look->done || state.result == NVME_SELF_TEST_PASSED)
		return 0;
	look->error = state.result == NVME_SELF_TEST_ABORTED ? -ECANCELED : -EIO;
	snprintf(look->text, sizeof(look->text),
		"the self-test %s: see braid drive log NAME self-test",
		drive_self_test_text(state.result));
	return 0;
}

/* Asks the drive that the job is about. -ENODEV: there is no such drive any more. */
static int ask_job(struct job *job, struct look *look, struct fail *fail)
{
	struct drive *drive = drive_find(job->daemon, job->target);
	struct nvme_entry *entry = drive ? drive->nvme : NULL;
	int error;

	*look = (struct look){.done = false};
	if (!entry || nvme_state(entry->nvme, NULL) > NVME_RESETTING)
		return fail_set(fail, ENODEV, "drive %s is not there any more", job->target);
	nvmes_ask(job->daemon, entry);
	error = job->type == JOB_SANITIZE ? look_at_sanitize(entry->nvme, look, fail)
					  : look_at_self_test(entry->nvme, look, fail);
	nvmes_answered(job->daemon, entry);
	return error;
}

static void wait_a_moment(struct daemon *daemon)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOOK_MS * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&daemon->ending, &daemon->lock, &until);
}

/* Until the drive is done. A drive that is being reset, or does not answer, is asked again. */
static int follow(struct job *job, struct fail *fail)
{
	unsigned misses = 0;

	while (!atomic_load(&job->let_be)) {
		struct fail why = {0};
		struct look now;
		int error = ask_job(job, &now, &why);

		if (!error && now.done) {
			job->per_thousand = now.error ? job->per_thousand : 1000;
			return now.error ? fail_set(fail, -now.error, "%s", now.text) : 0;
		}
		misses = error ? misses + 1 : 0;
		if (error == -ENODEV || misses > MISSES_MAX) {
			*fail = why;
			return error;
		}
		if (!error) {
			job->estimate_s = now.estimate_s;
			job->per_thousand = MAX(job->per_thousand, MIN(now.per_thousand, 1000u));
		}
		wait_a_moment(job->daemon);
	}
	return fail_set(fail, ECANCELED, "braidd has ended; the drive goes on");
}

/* What it was found at when the job began is no speed. */
static void begin(struct job *job)
{
	struct look now;

	if (ask_job(job, &now, NULL) || now.done)
		return;
	job->estimate_s = now.estimate_s;
	job->first_per_thousand = job->per_thousand = MIN(now.per_thousand, 1000u);
}

/* Its drives are free again, and hold nothing that was known. */
static void end_sanitize(struct daemon *daemon, const char *name)
{
	struct drive *drive = drive_find(daemon, name);
	struct nvme_entry *entry = drive ? drive->nvme : NULL;
	struct list_node *node;

	if (!entry)
		return;
	entry->sanitizing = false;
	care_release(daemon, entry, sanitize_user);
	list_for_each (node, &daemon->drives) {
		struct drive *other = container_of(node, struct drive, link);

		if (other->nvme == entry && nvme_state(entry->nvme, NULL) == NVME_LIVE)
			drive_identify(daemon, other);
	}
	state_changed(daemon);
}

static void *follow_main(void *argument)
{
	struct job *job = argument;
	struct daemon *daemon = job->daemon;
	struct fail fail = {0};
	LOCK_SCOPE(&daemon->lock);
	int error;

	begin(job);
	error = follow(job, &fail);
	if (job->type == JOB_SANITIZE && !atomic_load(&job->let_be))
		end_sanitize(daemon, job->target);
	job_end(job, error, fail.text);
	if (!atomic_load(&job->let_be))
		log_info("event=%s drive=%s job=%u error=%d",
			job->type == JOB_SANITIZE ? "SanitizeFinished" : "SelfTestFinished",
			job->target, job->id, -error);
	monitor_wake(daemon);
	state_save(daemon);
	return NULL;
}

/* --- starting -------------------------------------------------------------------------------- */

static int start_job(struct daemon *daemon, enum job_type type, const char *name, struct job **job,
	struct fail *fail)
{
	int error;

	*job = job_new(daemon, type, name, fail);
	if (!*job)
		return -fail->error;
	error = job_run(*job, follow_main, fail);
	if (error) {
		job_free(*job);
		return error;
	}
	log_info("event=JobStarted job=%u type=%s drive=%s", (*job)->id, job_type_name(type), name);
	return 0;
}

/* The one that runs for a drive of that controller; NULL: none. */
static struct job *running(
	struct daemon *daemon, enum job_type type, const struct nvme_entry *entry)
{
	struct list_node *node;

	list_for_each (node, &daemon->jobs) {
		struct job *job = container_of(node, struct job, link);
		const struct drive *drive;

		if (job->type != type || job->state != JOB_RUNNING)
			continue;
		drive = drive_find(daemon, job->target);
		if (drive && drive->nvme == entry)
			return job;
	}
	return NULL;
}

void drive_job_resume(struct daemon *daemon, struct drive *drive)
{
	struct nvme_entry *entry = drive->nvme;
	struct fail fail = {0};
	struct job *job;
	int error = 0;

	if (!entry)
		return;
	if (entry->sanitizing) {
		blockdev_claim(drive->dev, sanitize_user, NULL);
		if (!running(daemon, JOB_SANITIZE, entry))
			error = start_job(daemon, JOB_SANITIZE, drive->name, &job, &fail);
	} else if (entry->testing && !running(daemon, JOB_SELF_TEST, entry)) {
		error = start_job(daemon, JOB_SELF_TEST, drive->name, &job, &fail);
	}
	entry->testing = false;
	if (error)
		log_warning("event=JobNotStarted drive=%s why=\"%s\"", drive->name, fail.text);
}

/* --- sanitize -------------------------------------------------------------------------------- */

/* What the drive can, for people. */
static const char *can_text(const struct nvme_identity *identity, char *text, size_t bytes)
{
	snprintf(text, bytes, "%s%s%s", identity->can_sanitize_block ? " block" : "",
		identity->can_sanitize_crypto ? " crypto" : "",
		identity->can_sanitize_overwrite ? " overwrite" : "");
	return text;
}

static int parse_how(
	const struct drive *drive, const char *how, unsigned *action, struct fail *fail)
{
	const struct nvme_identity *identity = &drive->nvme->identity;
	const struct {
		unsigned action;
		bool can;
	} actions[] = {
		{NVME_SANITIZE_BLOCK, identity->can_sanitize_block},
		{NVME_SANITIZE_CRYPTO, identity->can_sanitize_crypto},
		{NVME_SANITIZE_OVERWRITE, identity->can_sanitize_overwrite},
	};
	char can[32];

	can_text(identity, can, sizeof(can));
	if (!can[0])
		return fail_set(fail, ENOTSUP,
			"drive %s cannot sanitize itself: braid drive format %s --erase user-data "
			"is the next best",
			drive->name, drive->name);
	for (unsigned i = 0; i < ARRAY_SIZE(actions); i++) {
		if (strcmp(drive_sanitize_name(actions[i].action), how) != 0)
			continue;
		*action = actions[i].action;
		if (actions[i].can)
			return 0;
		return fail_set(fail, ENOTSUP, "drive %s cannot sanitize by %s: it has%s",
			drive->name, how, can);
	}
	return fail_set(fail, EINVAL,
		"to sanitize is by block, crypto or overwrite, not '%.40s'; "
		"drive %s has%s",
		how, drive->name, can);
}

/* The drives are claimed before it is asked: nobody begins to use one meanwhile. */
static int start_sanitize(struct daemon *daemon, struct drive *drive, unsigned action,
	unsigned passes, struct job **job, struct fail *fail)
{
	struct nvme_entry *entry = drive->nvme;
	char name[BLOCKDEV_NAME_BYTES];
	int error;

	snprintf(name, sizeof(name), "%s", drive->name);
	care_claim(daemon, entry, sanitize_user);
	entry->sanitizing = true;
	nvmes_ask(daemon, entry);
	error = nvme_sanitize(entry->nvme, action, passes, fail);
	nvmes_answered(daemon, entry);
	if (!error) {
		log_info(
			"event=SanitizeStarted drive=%s how=%s", name, drive_sanitize_name(action));
		error = start_job(daemon, JOB_SANITIZE, name, job, fail);
	}
	if (error) {
		entry->sanitizing = false;
		care_release(daemon, entry, sanitize_user);
	}
	return error;
}

METHOD(drive_sanitize)
{
	struct drive *drive = care_drive(daemon, params, fail);
	int64_t passes = rpc_integer(params, "passes", 1);
	unsigned action = 0;
	struct job *job;
	int error;

	if (!drive)
		return -fail->error;
	error = parse_how(drive, rpc_string(params, "how", ""), &action, fail);
	if (!error && (passes < 1 || passes > PASSES_MAX))
		error = fail_set(fail, EINVAL, "an overwrite has 1 to %d passes", PASSES_MAX);
	if (!error && json_object_get(params, "passes") && action != NVME_SANITIZE_OVERWRITE)
		error = fail_set(fail, EINVAL, "only an overwrite has passes");
	if (!error)
		error = care_check_unused(daemon, drive, fail);
	if (error)
		return error;
	if (rpc_boolean(params, "dry_run")) {
		*result = json_object();
		return 0;
	}
	error = start_sanitize(daemon, drive, action, (unsigned)passes, &job, fail);
	if (!error)
		*result = json_pack("{s:o}", "job", job_json(job));
	return error;
}

/* --- self-test ------------------------------------------------------------------------------- */

static int ask_self_test(
	struct daemon *daemon, struct drive *drive, unsigned kind, struct fail *fail)
{
	struct nvme_entry *entry = drive->nvme;
	int error;

	nvmes_ask(daemon, entry);
	error = nvme_self_test(entry->nvme, kind, fail);
	nvmes_answered(daemon, entry);
	return error;
}

int drive_self_test_end(struct daemon *daemon, const char *name, struct fail *fail)
{
	struct drive *drive = drive_find(daemon, name);

	if (!drive || !drive->nvme)
		return fail_set(fail, ENODEV, "drive %s is not there any more", name);
	return ask_self_test(daemon, drive, NVME_SELF_TEST_ABORT, fail);
}

METHOD(drive_self_test)
{
	const char *kind = rpc_string(params, "kind", "short");
	struct drive *drive = care_drive(daemon, params, fail);
	bool extended = !strcmp(kind, "extended"), end = !strcmp(kind, "abort");
	char name[BLOCKDEV_NAME_BYTES];
	struct job *job;
	int error;

	if (!drive)
		return -fail->error;
	if (!extended && !end && strcmp(kind, "short") != 0)
		return fail_set(
			fail, EINVAL, "a self-test is short, extended or abort, not '%.40s'", kind);
	snprintf(name, sizeof(name), "%s", drive->name);
	error = ask_self_test(daemon, drive,
		end	   ? NVME_SELF_TEST_ABORT
		: extended ? NVME_SELF_TEST_EXTENDED
			   : NVME_SELF_TEST_SHORT,
		fail);
	if (error)
		return error;
	if (end) {
		*result = json_object();
		return 0;
	}
	error = start_job(daemon, JOB_SELF_TEST, name, &job, fail);
	if (!error)
		*result = json_pack("{s:o}", "job", job_json(job));
	return error;
}
