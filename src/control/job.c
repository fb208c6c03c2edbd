/* SPDX-License-Identifier: Apache-2.0 */
/* Long work: a thread of straight code each, with one number for its progress. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "control/methods.h"

enum { ENDED_JOBS_KEPT = 16 };

/* Clears the members and makes the array; what fails leaves no array. */
static int initialise(struct job *job, struct fail *fail)
{
	struct daemon *daemon = job->daemon;
	struct array_config *config = &job->config;
	struct blockdev **member = config->member;
	uint64_t blocks = UINT64_MAX;
	struct array_entry *entry;
	int error;

	for (unsigned i = 0; i < config->members; i++)
		if (member[i]->blocks < blocks)
			blocks = member[i]->blocks;
	error = clear_members(member, config->members, blocks, daemon->group, &job->progress, fail);
	LOCK_SCOPE(&daemon->lock);
	for (unsigned i = 0; i < config->members; i++)
		blockdev_release(member[i]);
	entry = array_find(daemon, config->name, NULL);
	if (!error)
		error = array_create(&entry->array, config, daemon->group, fail);
	if (error)
		array_free(entry);
	return error;
}

static void *job_main(void *argument)
{
	struct job *job = argument;
	struct fail fail;
	int error = initialise(job, &fail);
	LOCK_SCOPE(&job->daemon->lock);

	job->ended_ns = monotonic_ns();
	job->state = error ? JOB_FAILED : JOB_DONE;
	if (error) {
		snprintf(job->error, sizeof(job->error), "%s", fail.text);
		log_error("event=JobFailed job=%u type=%s target=%s error=\"%s\"", job->id,
			job->type, job->target, fail.text);
	} else {
		log_info("event=NewArray array=%s level=\"%s\" drives=%u", job->target,
			job->config.level->text, job->config.members);
	}
	return NULL;
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
		list_remove(&job->link);
		free(job);
		ended--;
	}
}

int job_start_initialise(struct daemon *daemon, const struct array_config *config,
	struct job **created, struct fail *fail)
{
	struct job *job = calloc(1, sizeof(*job));
	struct array_entry *entry = calloc(1, sizeof(*entry));
	char user[BLOCKDEV_USER_BYTES];
	int error;

	if (!job || !entry) {
		error = fail_set(fail, ENOMEM, "no memory for a job");
		goto free_both;
	}
	forget_old(daemon);
	snprintf(user, sizeof(user), "array %.63s", config->name);
	for (unsigned i = 0; i < config->members; i++) {
		error = blockdev_claim(config->member[i], user, fail);
		assert(!error); /* array_check() has looked, under the same lock */
	}
	strcpy(entry->name, config->name);
	entry->config = *config;
	list_init(&entry->volumes);
	entry->made_at = (uint64_t)time(NULL);
	list_push_back(&daemon->arrays, &entry->link);
	job->id = ++daemon->last_job;
	job->type = "initialise";
	strcpy(job->target, config->name);
	job->started_ns = monotonic_ns();
	job->daemon = daemon;
	job->config = *config;
	list_push_back(&daemon->jobs, &job->link);
	error = pthread_create(&job->thread, NULL, job_main, job);
	if (!error) {
		*created = job;
		return 0;
	}
	error = fail_set(fail, error, "cannot start a thread: %s", strerror(error));
	list_remove(&job->link);
	list_remove(&entry->link);
	for (unsigned i = 0; i < config->members; i++)
		blockdev_release(config->member[i]);
free_both:
	free(job);
	free(entry);
	return error;
}

json_t *job_json(const struct job *job)
{
	static const char *const states[] = {"running", "done", "failed"};
	uint64_t end = job->state == JOB_RUNNING ? monotonic_ns() : job->ended_ns;

	return json_pack("{s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "id", (int)job->id, "type",
		job->type, "target", job->target, "state", states[job->state], "error", job->error,
		"done_bytes", (json_int_t)atomic_load(&job->progress.done_bytes), "total_bytes",
		(json_int_t)atomic_load(&job->progress.total_bytes), "elapsed_ms",
		(json_int_t)((end - job->started_ns) / 1000000));
}

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
