/* SPDX-License-Identifier: Apache-2.0 */
/* Watching and steering jobs. What the operator says of a sweep is kept until it is done. */
#include <errno.h>

#include "control/drive_job.h"
#include "control/jobs.h"
#include "control/methods.h"
#include "control/monitor.h"

METHOD(job_list)
{
	json_t *list = json_array();
	struct list_node *node;

	(void)params, (void)fail;
	list_for_each (node, &daemon->jobs)
		json_array_append_new(list, job_json(container_of(node, struct job, link)));
	*result = json_pack("{s:o}", "jobs", list);
	return 0;
}

/* A job that runs; NULL with a sentence. */
static struct job *running_job(struct daemon *daemon, const json_t *params, struct fail *fail)
{
	int64_t id = rpc_integer(params, "id", 0);
	struct list_node *node;

	list_for_each (node, &daemon->jobs) {
		struct job *job = container_of(node, struct job, link);

		if (job->id != id)
			continue;
		if (job->state == JOB_RUNNING && (!job_is_sweep(job) || job->entry))
			return job;
		fail_set(fail, EALREADY, "job %u has ended", job->id);
		return NULL;
	}
	fail_set(fail, ENOENT, "there is no job %lld: see braid job list", (long long)id);
	return NULL;
}

/* The setting that the job goes by; NULL with a sentence. */
static struct job *steerable_job(struct daemon *daemon, const json_t *params, struct fail *fail)
{
	struct job *job = running_job(daemon, params, fail);

	if (!job || job_is_sweep(job))
		return job;
	if (job->type == JOB_INITIALISE)
		fail_set(fail, EINVAL,
			"job %u clears drives: it cannot be paused or limited, only cancelled",
			job->id);
	else
		fail_set(fail, EINVAL,
			"job %u is what drive %s does by itself: it cannot be paused or limited",
			job->id, job->target);
	return NULL;
}

static void steered(struct daemon *daemon, struct job *job, json_t **result)
{
	sweep_steer(job);
	state_changed(daemon);
	monitor_wake(daemon);
	*result = json_pack("{s:o}", "job", job_json(job));
}

static int set_paused(struct daemon *daemon, const json_t *params, bool paused, json_t **result,
	struct fail *fail)
{
	struct job *job = steerable_job(daemon, params, fail);

	if (!job)
		return -fail->error;
	job->entry->settings[job->type].paused = paused;
	steered(daemon, job, result);
	return 0;
}

METHOD(job_pause)
{
	return set_paused(daemon, params, true, result, fail);
}

METHOD(job_resume)
{
	return set_paused(daemon, params, false, result, fail);
}

METHOD(job_limit)
{
	struct job *job = steerable_job(daemon, params, fail);
	int64_t limit = rpc_integer(params, "bytes_per_second", 0);
	struct sweep_setting *setting;

	if (!job)
		return -fail->error;
	if (limit < 0)
		return fail_set(
			fail, EINVAL, "%lld bytes per second are no limit", (long long)limit);
	setting = &job->entry->settings[job->type];
	setting->limit_bytes_per_second = (uint64_t)limit;
	setting->automatic = rpc_boolean(params, "auto");
	steered(daemon, job, result);
	return 0;
}

METHOD(job_cancel)
{
	struct job *job = running_job(daemon, params, fail);
	int error;

	if (!job)
		return -fail->error;
	if (job->type == JOB_REBUILD || job->type == JOB_RESYNC)
		return fail_set(fail, EPERM,
			"a %s is due until it is done: braid job pause %u holds it; braid array "
			"remove %s DRIVE gives up a drive that is copied to",
			job_type_name(job->type), job->id, job->target);
	if (job->type == JOB_SANITIZE)
		return fail_set(fail, EPERM,
			"a sanitize cannot be ended: drive %s goes on until it is done, also "
			"without power in between",
			job->target);
	if (job->type == JOB_SELF_TEST) {
		json_t *shown = job_json(job); /* it may have gone when the drive has answered */

		error = drive_self_test_end(daemon, job->target, fail);
		if (error)
			json_decref(shown);
		else
			*result = json_pack("{s:o}", "job", shown);
		return error;
	}
	if (job->type == JOB_INITIALISE) {
		atomic_store(&job->clear.cancel, true);
	} else {
		want_sweep(job->entry, -1);
		job->entry->settings[job->type] = (struct sweep_setting){0};
		atomic_store(&job->sweep.pause, false);
		atomic_store(&job->sweep.cancel, true);
		state_changed(daemon);
	}
	*result = json_pack("{s:o}", "job", job_json(job));
	return 0;
}
