/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/controller.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "vhost/session.h"

enum { ACCEPT_PAUSE_US = 10000 };

struct controller {
	struct controller_config config;
	struct reactor_group *group;
	int listen_fd, stop_fd;
	pthread_t thread;

	pthread_mutex_t lock;	 /* what follows */
	struct session *session; /* NULL: no front end is connected; changed by the thread only */
	uint64_t sessions;
	uint64_t past_requests, past_notifications, past_errors; /* of sessions that have ended */
	char trouble[FAIL_TEXT_BYTES];
};

/* --- the socket ------------------------------------------------------------------------------ */

/* Whether somebody answers at the path. */
static bool is_live(const struct sockaddr_un *address)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && !connect(fd, (const struct sockaddr *)address, sizeof(*address));
}

static int make_way(const struct sockaddr_un *address, struct fail *fail)
{
	struct stat status;

	if (lstat(address->sun_path, &status))
		return 0;
	if (!S_ISSOCK(status.st_mode))
		return fail_set(fail, EEXIST, "%s exists and is no socket: choose another path",
			address->sun_path);
	if (is_live(address))
		return fail_set(
			fail, EADDRINUSE, "another process listens on %s", address->sun_path);
	unlink(address->sun_path);
	return 0;
}

int controller_listen(const char *path, struct fail *fail)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t mask;
	int fd, error;

	if (strlen(path) >= sizeof(address.sun_path))
		return fail_set(fail, ENAMETOOLONG,
			"the socket path %s is longer than the %zu bytes that Unix sockets allow: "
			"use a "
			"shorter name or --socket PATH",
			path, sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, path);
	error = make_way(&address, fail);
	if (error)
		return error;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail_set(fail, errno, "cannot make a socket: %s", strerror(errno));
	mask = umask(0117);
	error = bind(fd, (const struct sockaddr *)&address, sizeof(address)) || listen(fd, 4)
			? errno
			: 0;
	umask(mask);
	if (error) {
		close(fd);
		return fail_set(fail, error, "cannot listen on %s: %s", path, strerror(error));
	}
	return fd;
}

/* --- the thread ------------------------------------------------------------------------------ */

static void end_session(struct controller *controller, const struct fail *fail)
{
	struct session *session = controller->session;
	struct controller_status last = {0};

	session_status(session, &last);
	{
		LOCK_SCOPE(&controller->lock);
		controller->session = NULL;
		controller->past_requests += last.requests;
		controller->past_notifications += last.notifications;
		controller->past_errors += last.errors;
		if (fail->error && fail->error != ECONNRESET)
			snprintf(
				controller->trouble, sizeof(controller->trouble), "%s", fail->text);
		else if (last.trouble[0])
			snprintf(controller->trouble, sizeof(controller->trouble), "%s",
				last.trouble);
	}
	session_destroy(session);
	if (fail->error && fail->error != ECONNRESET)
		log_warning("event=VhostSessionEnded controller=%s reason=\"%s\"",
			controller->config.name, fail->text);
	else
		log_info("event=VhostDisconnect controller=%s", controller->config.name);
}

static void accept_one(struct controller *controller)
{
	int fd = accept4(controller->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	struct session *session;
	struct fail fail;

	if (fd < 0) {
		/* Out of descriptors, perhaps: poll() will be back at once. */
		usleep(ACCEPT_PAUSE_US);
		return;
	}
	if (controller->session) {
		log_warning("event=VhostSecondFrontEnd controller=%s effect=\"refused: one front "
			    "end at "
			    "a time\"",
			controller->config.name);
		close(fd);
		return;
	}
	if (session_create(&session, &controller->config, controller->group, fd, &fail)) {
		log_error("event=VhostConnect controller=%s error=\"%s\"", controller->config.name,
			fail.text);
		return;
	}
	log_info("event=VhostConnect controller=%s", controller->config.name);
	LOCK_SCOPE(&controller->lock);
	controller->session = session;
	controller->sessions++;
	controller->trouble[0] = '\0';
}

static void *controller_main(void *argument)
{
	struct controller *controller = argument;

	while (true) {
		struct pollfd fds[] = {
			{.fd = controller->stop_fd, .events = POLLIN},
			{.fd = controller->listen_fd, .events = POLLIN},
			{.fd = controller->session ? controller->session->fd : -1,
				.events = POLLIN},
		};
		struct fail fail = {0};

		if (poll(fds, 3, -1) < 0) {
			assert(errno == EINTR);
			continue;
		}
		if (fds[0].revents)
			break;
		/* The session first: a front end that has gone makes room for the one that
		 * waits. */
		if (fds[2].revents && session_message(controller->session, &fail))
			end_session(controller, &fail);
		else if (fds[1].revents)
			accept_one(controller);
	}
	if (controller->session)
		end_session(controller, &(struct fail){0});
	return NULL;
}

/* --- making and unmaking --------------------------------------------------------------------- */

int controller_create(struct controller **created, const struct controller_config *config,
	struct reactor_group *group, int listen_fd, struct fail *fail)
{
	struct controller *controller = calloc(1, sizeof(*controller));
	char name[16];
	int error;

	if (!controller) {
		if (listen_fd >= 0)
			close(listen_fd);
		return fail_set(fail, ENOMEM, "no memory for controller %s", config->name);
	}
	controller->config = *config;
	controller->group = group;
	controller->listen_fd = listen_fd >= 0 ? listen_fd : controller_listen(config->path, fail);
	if (controller->listen_fd < 0) {
		error = controller->listen_fd;
		goto free_controller;
	}
	controller->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (controller->stop_fd < 0) {
		error = fail_set(fail, errno, "cannot make an eventfd: %s", strerror(errno));
		goto close_listen;
	}
	pthread_mutex_init(&controller->lock, NULL);
	error = pthread_create(&controller->thread, NULL, controller_main, controller);
	if (error) {
		error = fail_set(fail, error, "cannot start a thread: %s", strerror(error));
		goto close_stop;
	}
	snprintf(name, sizeof(name), "%.15s", config->name);
	pthread_setname_np(controller->thread, name);
	*created = controller;
	return 0;

close_stop:
	close(controller->stop_fd);
close_listen:
	close(controller->listen_fd);
	unlink(config->path);
free_controller:
	free(controller);
	return error;
}

void controller_destroy(struct controller *controller)
{
	uint64_t one = 1;
	ssize_t written = write(controller->stop_fd, &one, sizeof(one));

	assert(written == sizeof(one));
	(void)written;
	pthread_join(controller->thread, NULL);
	close(controller->listen_fd);
	close(controller->stop_fd);
	unlink(controller->config.path);
	pthread_mutex_destroy(&controller->lock);
	free(controller);
}

const struct controller_config *controller_config(const struct controller *controller)
{
	return &controller->config;
}

/* Whether the front end has hung up, which the thread may not have come to yet. */
static bool has_gone(const struct session *session)
{
	struct pollfd fd = {.fd = session->fd, .events = POLLRDHUP};

	return poll(&fd, 1, 0) > 0 && fd.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

void controller_status(struct controller *controller, struct controller_status *status)
{
	LOCK_SCOPE(&controller->lock);

	*status = (struct controller_status){
		.connected = controller->session && !has_gone(controller->session),
		.sessions = controller->sessions,
		.queue_bytes = QUEUE_REQUESTS_MAX * sizeof(struct queue_request),
	};
	snprintf(status->trouble, sizeof(status->trouble), "%s", controller->trouble);
	if (controller->session)
		session_status(controller->session, status);
	status->requests += controller->past_requests;
	status->notifications += controller->past_notifications;
	status->errors += controller->past_errors;
}
