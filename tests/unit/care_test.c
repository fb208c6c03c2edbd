/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's methods about NVMe drives, over a mock controller, with real threads: a drive that
 * does not answer holds up nobody but who asks it; sanitize, self-tests and firmware from the
 * method to the drive and back, over a restart of the daemon.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "control/drives.h"
#include "control/jobs.h"
#include "control/nvmes.h"
#include "control/rpc.h"
#include "drivers/nvme/controller.h"
#include "memory/memory.h"
#include "reactor/reactor.h"
#include "tests/mock_nvme/mock.h"

enum { PATIENCE_S = 100, PATH_BYTES = 64, ARENA_BYTES = 16 << 20, TRIES = 5, ADDRESS_BYTES = 32 };

static struct daemon engine;
static struct reactor_group *group;
static struct mock *mock;
static char folder[PATH_BYTES], image_path[PATH_BYTES + 16];
static _Thread_local struct fail failed; /* of the last call */
static atomic_uint answers; /* that have been given; it changes under the engine's lock */

/* --- the rig --------------------------------------------------------------------------------- */

static void engine_begin(void)
{
	struct daemon_options options = {.run_dir = folder, .state_dir = folder};
	struct nvme_options nvme_options = {.group = group, .admin_deadline_ms = 1000 * PATIENCE_S};
	struct nvme_entry *entry;
	struct fail fail = {0};
	struct nvme *nvme;

	daemon_init(&engine, group, &options);
	expect(!state_load(&engine, folder, &fail), "%s", fail.text);
	mock->silenced = mock->destroyed = false;
	expect(!nvme_create(&nvme, &mock->bus, &nvme_options, true, &fail), "%s", fail.text);
	entry = nvmes_add(&engine, nvme);
	assert_non_null(entry);
	LOCK_SCOPE(&engine.lock);
	entry->kept++; /* it has no drives yet */
	drives_retry(&engine, true);
	entry->kept--;
	engine.alone = false;
}

static void engine_end(void)
{
	{
		LOCK_SCOPE(&engine.lock);
		engine.stopping = true;
		state_changed(&engine);
		state_save(&engine);
	}
	daemon_shutdown(&engine);
	assert_true(mock->destroyed);
}

static int start(void **state)
{
	struct cpumask mask = {{0}};
	cpu_set_t set;
	unsigned core = 0;

	(void)state;
	sched_getaffinity(0, sizeof(set), &set);
	while (!CPU_ISSET(core, &set))
		core++;
	cpumask_add(&mask, core);
	if (memory_start(1, ARENA_BYTES, NULL) ||
		reactor_group_start(&group, &mask, REACTOR_IDLE_ADAPTIVE, NULL))
		return -1;
	snprintf(folder, sizeof(folder), "/tmp/braid-care.XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(image_path, sizeof(image_path), "%s/image", folder);
	setenv("BRAID_HOST_ROOT", folder, 1);
	mock = mock_create(NULL, true);
	mock_thread_start(mock);
	mock->identity.sanitize = le32_of(NVME_SANICAP_BLOCK | NVME_SANICAP_OVERWRITE);
	mock->identity.admin_commands =
		le16_of(NVME_OACS_FORMAT | NVME_OACS_SELF_TEST | NVME_OACS_FIRMWARE);
	mock->identity.firmware_updates = 2 << 1 | NVME_FRMW_NOW | NVME_FRMW_SLOT1_FIXED;
	mock->identity.firmware_granularity = 2;
	mock->identity.self_test_minutes = le16_of(60);
	engine_begin();
	return 0;
}

static int stop(void **state)
{
	char command[PATH_BYTES + 16];

	(void)state;
	engine_end();
	mock_destroy(mock);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	assert_int_equal(system(command), 0);
	reactor_group_stop(group);
	memory_stop();
	return 0;
}

/* Takes params. New reference to the answer; NULL: `failed` says why. */
static json_t *call(const char *name, json_t *params)
{
	size_t count;
	const struct rpc_method *methods = rpc_methods(&count), *method = methods;
	json_t *result = NULL;
	int error;

	while (strcmp(method->name, name) != 0) {
		method++;
		assert_true(method < methods + count);
	}
	failed = (struct fail){0};
	{
		LOCK_SCOPE(&engine.lock);
		error = method->handle(&engine, params, &result, &failed);
		atomic_fetch_add(&answers, 1);
	}
	json_decref(params);
	assert_int_equal(!error, result != NULL);
	return result;
}

static json_t *drive_call(const char *name)
{
	return call(name, json_pack("{s:s}", "name", "MOCK0001"));
}

static void done(json_t *result)
{
	expect(result, "%s", failed.text);
	json_decref(result);
}

static void refused(json_t *result, int error, const char *text)
{
	assert_null(result);
	expect(failed.error == error, "%s: %s", strerror(failed.error), failed.text);
	expect(strstr(failed.text, text), "'%s' is not in: %s", text, failed.text);
}

static void attach(void)
{
	done(call("drive.attach", json_pack("{s:s}", "source", "nvme:MOCK0001/1")));
}

/* The member `key` of the only drive; NULL: there is none. */
static const char *drive_text(const char *key)
{
	static char text[256];
	json_t *result = call("drive.list", json_object());
	const json_t *row = json_array_get(json_object_get(result, "drives"), 0);

	snprintf(text, sizeof(text), "%s", rpc_string(row, key, ""));
	json_decref(result);
	return row ? text : NULL;
}

/* Waits until the newest job has ended; its state. */
static const char *job_end_state(char error[FAIL_TEXT_BYTES])
{
	static char text[32];

	for (unsigned i = 0; i < PATIENCE_S * 100; i++) {
		json_t *result = call("job.list", json_object());
		const json_t *jobs = json_object_get(result, "jobs");
		const json_t *job = json_array_get(jobs, json_array_size(jobs) - 1);

		snprintf(text, sizeof(text), "%s", rpc_string(job, "state", "none"));
		snprintf(error, FAIL_TEXT_BYTES, "%s", rpc_string(job, "error", ""));
		json_decref(result);
		if (strcmp(text, "running") != 0)
			break;
		usleep(10000);
	}
	return text;
}

static void expect_job(const char *state, const char *text)
{
	char error[FAIL_TEXT_BYTES];

	assert_string_equal(job_end_state(error), state);
	expect(strstr(error, text), "'%s' is not in: %s", text, error);
}

/* --- a drive that does not answer ------------------------------------------------------------ */

struct asker {
	const char *method, *key, *value; /* key and value: its parameter */
	pthread_t thread;
	atomic_bool ended;
	json_t *result;
};

static void *asker_main(void *argument)
{
	struct asker *asker = argument;

	asker->result = call(asker->method, json_pack("{s:s}", asker->key, asker->value));
	atomic_store(&asker->ended, true);
	return NULL;
}

static void ask_with(struct asker *asker, const char *method, const char *key, const char *value)
{
	*asker = (struct asker){.method = method, .key = key, .value = value};
	assert_int_equal(pthread_create(&asker->thread, NULL, asker_main, asker), 0);
}

static void ask(struct asker *asker, const char *method)
{
	ask_with(asker, method, "name", "MOCK0001");
}

static void never_answer(unsigned opcode)
{
	LOCK_SCOPE(&mock->lock);
	mock_rule(mock,
		(struct mock_rule){
			.admin = true, .opcode = (int)opcode, .count = 1, .action = MOCK_NEVER});
}

static void set(unsigned *field, unsigned value)
{
	LOCK_SCOPE(&mock->lock);
	*field = value;
}

static void await_question(unsigned opcode)
{
	for (unsigned i = 0; !mock_waiting(mock, opcode); i++) {
		expect(i < PATIENCE_S * 100, "the drive was not asked");
		usleep(10000);
	}
}

/* The lock is free although the drive has a question that it does not answer, and will not before
 * this is over: however slow this machine is. How many answers had been given when it was. */
static unsigned expect_free(void)
{
	unsigned given;
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S / 2;
	assert_int_equal(pthread_mutex_timedlock(&engine.lock, &until), 0);
	given = atomic_load(&answers);
	pthread_mutex_unlock(&engine.lock);
	return given;
}

static void test_smart_holds_nobody(void **state)
{
	struct asker asker;

	(void)state;
	attach();
	never_answer(NVME_GET_LOG_PAGE);
	ask(&asker, "drive.smart");
	await_question(NVME_GET_LOG_PAGE);
	expect_free();
	done(call("status.get", json_object()));
	assert_string_equal(drive_text("name"), "MOCK0001");
	assert_false(atomic_load(&asker.ended));
	mock_answer(mock);
	pthread_join(asker.thread, NULL);
	done(asker.result);
}

/* The minute's look is nobody's question, and holds nobody up either; nor is it asked of a drive
 * that somebody asks something. */
static void *health_main(void *argument)
{
	(void)argument;
	LOCK_SCOPE(&engine.lock);
	nvmes_ask_health(&engine);
	return NULL;
}

static void test_health_holds_nobody(void **state)
{
	struct nvme_entry *entry;
	pthread_t thread;

	(void)state;
	attach();
	entry = container_of(list_first(&engine.nvmes), struct nvme_entry, link);
	entry->smart_ns = 0;
	mock->health.kelvin[0] = 300 & 0xff;
	mock->health.kelvin[1] = 300 >> 8;
	never_answer(NVME_GET_LOG_PAGE);
	assert_int_equal(pthread_create(&thread, NULL, health_main, NULL), 0);
	await_question(NVME_GET_LOG_PAGE);
	expect_free();
	done(call("status.get", json_object()));
	{
		LOCK_SCOPE(&engine.lock);
		assert_int_equal(entry->kept, 1);
		entry->smart_ns = 0;
		nvmes_ask_health(&engine); /* returns: it is not asked twice */
	}
	mock_answer(mock);
	pthread_join(thread, NULL);
	assert_int_equal(entry->smart.kelvin, 300);
}

/* A drive is not taken away from one who asks it. */
static void test_detach_waits(void **state)
{
	struct asker asker, detacher, second;

	(void)state;
	attach();
	never_answer(NVME_GET_LOG_PAGE);
	ask(&asker, "drive.smart");
	await_question(NVME_GET_LOG_PAGE);
	ask(&detacher, "drive.detach");
	ask(&second, "drive.detach");
	for (unsigned i = 0; i < 20; i++) {
		usleep(10000);
		expect_free();
		assert_string_equal(drive_text("name"), "MOCK0001");
	}
	assert_false(mock->destroyed);
	mock_answer(mock);
	pthread_join(asker.thread, NULL);
	done(asker.result);
	pthread_join(detacher.thread, NULL);
	pthread_join(second.thread, NULL);
	/* One of the two had it; the other finds no such drive. */
	assert_int_equal(!detacher.result + !second.result, 1);
	json_decref(detacher.result);
	json_decref(second.result);
	assert_null(drive_text("name"));
	assert_true(mock->destroyed);
}

/* Its controller goes while a question is under way, and with it the answer. */
static void test_pulled_out_while_asked(void **state)
{
	struct asker asker;

	(void)state;
	attach();
	never_answer(NVME_GET_LOG_PAGE);
	ask(&asker, "drive.smart");
	await_question(NVME_GET_LOG_PAGE);
	{
		LOCK_SCOPE(&mock->lock);
		mock->removed = true;
		mock_die(mock);
	}
	pthread_join(asker.thread, NULL);
	assert_null(asker.result);
	for (unsigned i = 0; drive_text("state")[0]; i++) {
		LOCK_SCOPE(&engine.lock);
		nvmes_watch(&engine);
		expect(i < PATIENCE_S * 100, "it is still there");
		usleep(10000);
	}
	assert_string_equal(drive_text("note"), "it was pulled out");
	assert_true(list_empty(&engine.nvmes));
}

/* A target that takes connections and says nothing is waited for, for seconds, by who asks for it
 * alone. Whether the others got their turn before it was given up shows in the answers; a machine
 * that stands still for as long has another try. */
static void check_target(int listener, const char *method, const char *key, const char *value)
{
	bool in_time = false;

	for (unsigned i = 0; i < TRIES && !in_time; i++) {
		unsigned before = atomic_load(&answers);
		struct asker asker;
		int fd;

		ask_with(&asker, method, key, value);
		fd = accept(listener, NULL, NULL);
		assert_true(fd >= 0);
		in_time = expect_free() == before;
		assert_null(drive_text("name"));
		pthread_join(asker.thread, NULL);
		assert_null(asker.result);
		close(fd);
	}
	assert_true(in_time);
	assert_null(drive_text("name"));
}

/* Fills text with HOST:PORT. */
static int listen_somewhere(char text[ADDRESS_BYTES])
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&address, bytes), 0);
	assert_int_equal(listen(listener, TRIES), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
	snprintf(text, ADDRESS_BYTES, "127.0.0.1:%u", ntohs(address.sin_port));
	return listener;
}

static void test_target_holds_nobody(void **state)
{
	char address[ADDRESS_BYTES], url[ADDRESS_BYTES + 100];
	int listener = listen_somewhere(address);

	(void)state;
	check_target(listener, "drive.discover", "address", address);
	snprintf(url, sizeof(url), "nvme+tcp://%s/nqn.2014-08.org.example:x", address);
	check_target(listener, "drive.attach", "source", url);
	close(listener);
}

static void *retry_main(void *argument)
{
	(void)argument;
	LOCK_SCOPE(&engine.lock);
	drives_retry(&engine, true);
	return NULL;
}

/* A remembered drive whose target is being tried is not taken from who tries. */
static void test_detach_waits_for_target(void **state)
{
	struct drive *drive = calloc(1, sizeof(*drive));
	char address[ADDRESS_BYTES];
	int listener = listen_somewhere(address), fd;
	struct asker asker;
	pthread_t thread;

	(void)state;
	strcpy(drive->name, "far");
	snprintf(drive->source, sizeof(drive->source), "nvme+tcp://%s/nqn.2014-08.org.example:x",
		address);
	list_push_back(&engine.drives, &drive->link);
	assert_int_equal(pthread_create(&thread, NULL, retry_main, NULL), 0);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	ask_with(&asker, "drive.detach", "name", "far");
	for (unsigned i = 0; i < 20; i++) {
		usleep(10000);
		expect_free();
	}
	close(fd); /* it is given up */
	close(listener);
	pthread_join(thread, NULL);
	pthread_join(asker.thread, NULL);
	done(asker.result);
	assert_null(drive_text("name"));
}

/* --- sanitize -------------------------------------------------------------------------------- */

static json_t *sanitize(const char *how)
{
	return call("drive.sanitize", json_pack("{s:s, s:s}", "name", "MOCK0001", "how", how));
}

static void test_sanitize(void **state)
{
	(void)state;
	attach();
	refused(sanitize("crypto"), ENOTSUP, "it has block overwrite");
	refused(sanitize("wish"), EINVAL, "by block, crypto or overwrite");
	refused(call("drive.sanitize", json_pack("{s:s, s:s, s:i}", "name", "MOCK0001", "how",
					       "block", "passes", 3)),
		EINVAL, "only an overwrite has passes");
	assert_int_equal(mock->sanitize.status, NVME_SANITIZE_NEVER);
	memset(mock->namespaces[0].data, 7, 4096);
	set(&mock->sanitize.step, 0);
	done(sanitize("overwrite"));
	assert_string_equal(drive_text("user"), "sanitize");
	refused(drive_call("drive.detach"), EBUSY, "in use by sanitize");
	refused(sanitize("block"), EBUSY, "in use by sanitize");
	refused(drive_call("drive.format"), EBUSY, "in use by sanitize");
	set(&mock->sanitize.step, 30000);
	expect_job("done", "");
	assert_string_equal(drive_text("user"), "");
	assert_int_equal(mock->namespaces[0].data[0], 0);
	done(drive_call("drive.detach"));
}

static void test_sanitize_fails(void **state)
{
	(void)state;
	attach();
	mock->sanitize.fails = true;
	done(sanitize("block"));
	expect_job("failed", "takes nothing but another braid drive sanitize");
	mock->sanitize.fails = false;
	done(sanitize("block"));
	expect_job("done", "");
}

/* A drive that is a member, or whose neighbour is one, keeps what it holds. */
static void test_sanitize_member(void **state)
{
	(void)state;
	attach();
	{
		LOCK_SCOPE(&engine.lock);
		blockdev_claim(drive_find(&engine, "MOCK0001")->dev, "array m", NULL);
	}
	refused(sanitize("block"), EBUSY, "in use by array m");
	refused(drive_call("drive.format"), EBUSY, "in use by array m");
	assert_int_equal(mock->sanitize.status, NVME_SANITIZE_NEVER);
	{
		LOCK_SCOPE(&engine.lock);
		blockdev_release(drive_find(&engine, "MOCK0001")->dev);
	}
}

/* The drive goes on while there is no daemon; the next one finds it at it, and the drive taken. */
static void test_sanitize_restart(void **state)
{
	json_t *result;

	(void)state;
	attach();
	set(&mock->sanitize.step, 0);
	done(sanitize("block"));
	engine_end();
	set(&mock->sanitize.progress, 32768);
	engine_begin();
	assert_string_equal(drive_text("user"), "sanitize");
	result = call("job.list", json_object());
	assert_int_equal(json_array_size(json_object_get(result, "jobs")), 1);
	json_decref(result);
	refused(drive_call("drive.detach"), EBUSY, "in use by sanitize");
	set(&mock->sanitize.step, 16384);
	expect_job("done", "");
	assert_string_equal(drive_text("user"), "");
}

/* --- self-test ------------------------------------------------------------------------------- */

static json_t *self_test(const char *kind)
{
	return call("drive.self_test", json_pack("{s:s, s:s}", "name", "MOCK0001", "kind", kind));
}

static void test_self_test(void **state)
{
	json_t *result;
	int id;

	(void)state;
	attach();
	refused(self_test("long"), EINVAL, "short, extended or abort");
	done(self_test("short"));
	expect_job("done", "");
	set(&mock->self_test.outcome, NVME_SELF_TEST_FAILED);
	done(self_test("extended"));
	expect_job("failed", "the self-test failed");
	set(&mock->self_test.step, 0);
	done(self_test("extended"));
	refused(self_test("short"), EIO, "a self-test is running");
	done(self_test("abort"));
	expect_job("cancelled", "aborted by command");
	result = self_test("extended");
	id = (int)rpc_integer(json_object_get(result, "job"), "id", 0);
	done(result);
	refused(call("job.pause", json_pack("{s:i}", "id", id)), EINVAL, "cannot be paused");
	done(call("job.cancel", json_pack("{s:i}", "id", id)));
	expect_job("cancelled", "aborted by command");
	result = call("drive.log",
		json_pack("{s:s, s:i, s:i}", "name", "MOCK0001", "page", 6, "bytes", 564));
	assert_int_equal(json_array_size(json_object_get(result, "tests")), 4);
	done(result);
}

static void test_self_test_restart(void **state)
{
	(void)state;
	attach();
	set(&mock->self_test.step, 0);
	done(self_test("extended"));
	engine_end();
	engine_begin();
	set(&mock->self_test.step, 50);
	expect_job("done", "");
}

/* --- firmware -------------------------------------------------------------------------------- */

static void write_image(size_t bytes)
{
	FILE *file = fopen(image_path, "w");
	char *image = calloc(1, bytes);

	memcpy(image, "FIRMWARE2.0     ", MIN(bytes, (size_t)16));
	assert_true(file && image && fwrite(image, 1, bytes, file) == bytes && !fclose(file));
	free(image);
}

static json_t *update(const char *file, int slot, const char *action)
{
	json_t *params =
		json_pack("{s:s, s:i, s:s}", "name", "MOCK0001", "slot", slot, "action", action);

	if (file)
		json_object_set_new(params, "file", json_string(file));
	return call("drive.firmware_update", params);
}

static void test_firmware(void **state)
{
	json_t *result;

	(void)state;
	attach();
	write_image(40000);
	refused(update(image_path, 2, "now"), EINVAL, "in multiples of 8192");
	write_image(0);
	refused(update(image_path, 2, "now"), EINVAL, "that is no firmware");
	refused(update(folder, 2, "now"), EINVAL, "is no file");
	refused(update("/nonexistent", 2, "now"), ENOENT, "cannot read");
	write_image(5 * 8192);
	refused(update(image_path, 1, "now"), EINVAL, "cannot be written: choose another");
	refused(update(image_path, 3, "now"), EINVAL, "slots 1 to 2");
	refused(update(image_path, 2, "soon"), EINVAL, "not 'soon'");
	refused(update(NULL, 2, "store"), EINVAL, "takes a file");
	assert_int_equal(mock->firmware.pieces, 0);
	result = update(image_path, 2, "now");
	expect(result, "%s", failed.text);
	assert_string_equal(rpc_string(result, "running", ""), "2.0");
	assert_string_equal(rpc_string(result, "effect", ""), "the drive runs it");
	json_decref(result);
	assert_int_equal(mock->firmware.pieces, 5);
	assert_string_equal(drive_text("firmware"), "2.0");
	set(&mock->firmware.needs, NVME_NEEDS_SUBSYSTEM_RESET);
	result = update(NULL, 1, "reset");
	expect(result, "%s", failed.text);
	assert_non_null(strstr(rpc_string(result, "effect", ""), "power has been off"));
	json_decref(result);
	result = drive_call("drive.firmware");
	expect(json_array_size(json_object_get(json_object_get(result, "firmware"), "slots")) == 2,
		"not two slots");
	json_decref(result);
}

/* Stored for the next reset, and that is what a detach and an attach are. */
static void test_firmware_reset(void **state)
{
	(void)state;
	attach();
	write_image(8192);
	set(&mock->firmware.needs, NVME_NEEDS_CONTROLLER_RESET);
	done(update(image_path, 2, "reset"));
	assert_string_equal(drive_text("firmware"), "1.0");
	engine_end();
	engine_begin();
	assert_string_equal(drive_text("firmware"), "2.0");
}

/* The other member is memory: an array with one to spare, and one without. */
static void make_array(const char *level)
{
	done(call("array.create", json_pack("{s:s, s:s, s:[s,s], s:b}", "name", "m", "level", level,
					  "drives", "MOCK0001", "r0", "assume_clean", 1)));
	expect_job("done", "");
}

static void test_firmware_member(void **state)
{
	json_t *result;

	(void)state;
	attach();
	done(call("drive.attach", json_pack("{s:s}", "source", "ram:r0:67108864")));
	write_image(8192);
	make_array("0");
	refused(update(image_path, 2, "now"), EPERM, "would not survive without drive MOCK0001");
	refused(sanitize("block"), EBUSY, "in use by array m");
	assert_int_equal(mock->firmware.pieces, 0);
	done(call("array.delete", json_pack("{s:s}", "name", "m")));
	make_array("1");
	result = call("drive.firmware_update",
		json_pack("{s:s, s:i, s:s, s:s, s:b}", "name", "MOCK0001", "slot", 2, "action",
			"now", "file", image_path, "dry_run", 1));
	assert_non_null(strstr(rpc_string(result, "warning", ""), "in use by array m"));
	done(result);
	done(update(image_path, 2, "now"));
	done(call("array.delete", json_pack("{s:s}", "name", "m")));
}

/* --- the command ----------------------------------------------------------------------------- */

/* What `braid ARGUMENTS` exits with and says. */
static void braid(int status, const char *pattern, const char *arguments)
{
	char command[512], said[4096];
	FILE *pipe;
	size_t bytes;
	int exited;

	snprintf(command, sizeof(command), "%s --socket %s/rpc.sock %s 2>&1", getenv("BRAID_CLI"),
		folder, arguments);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	bytes = fread(said, 1, sizeof(said) - 1, pipe);
	said[bytes] = '\0';
	exited = pclose(pipe);
	expect(WIFEXITED(exited) && WEXITSTATUS(exited) == status, "%s: status %#x: %s", arguments,
		exited, said);
	expect(strstr(said, pattern), "'%s' is not in what %s says: %s", pattern, arguments, said);
}

/* meson says where it is; without, there is nothing to test. */
static void test_cli(void **state)
{
	char path[PATH_BYTES + 16], update_arguments[200];
	struct rpc_server *server;
	struct fail fail = {0};

	(void)state;
	if (!getenv("BRAID_CLI"))
		skip();
	snprintf(path, sizeof(path), "%s/rpc.sock", folder);
	expect(!rpc_server_start(&server, &engine, path, &fail), "%s", fail.text);
	attach();
	braid(5, "LOST beyond recovery", "drive sanitize MOCK0001 --how block");
	braid(1, "it has block overwrite", "drive sanitize MOCK0001 --how crypto --yes");
	assert_int_equal(mock->sanitize.status, NVME_SANITIZE_NEVER);
	braid(0, "drive MOCK0001 sanitized",
		"drive sanitize MOCK0001 --how overwrite --passes 3 --yes");
	assert_int_equal(mock->sanitize.passes, 3);
	braid(0, "done", "drive log MOCK0001 sanitize");
	braid(0, "has passed its self-test", "drive self-test MOCK0001");
	set(&mock->self_test.outcome, NVME_SELF_TEST_FAILED);
	braid(1, "the self-test failed", "drive self-test MOCK0001 --extended");
	braid(0, "extended  failed", "drive log MOCK0001 self-test");
	braid(0, "\"result\": 7", "drive log MOCK0001 self-test -o json");
	braid(0, "000000  00", "drive log MOCK0001 6 --hex");
	set(&mock->self_test.step, 0);
	braid(0, "braid job watch", "drive self-test MOCK0001 --no-wait");
	braid(0, "no self-test runs", "drive self-test MOCK0001 --abort");
	expect_job("cancelled", "aborted");
	braid(0, "self-test  MOCK0001  cancelled", "job list");
	braid(0, "runs 1.0; 2 slots (the first cannot be written)", "drive firmware MOCK0001");
	write_image(8192);
	snprintf(update_arguments, sizeof(update_arguments),
		"drive firmware MOCK0001 --slot 2 --begin now --file %s", image_path);
	braid(5, "may never work again", update_arguments);
	assert_int_equal(mock->firmware.pieces, 0);
	strcat(update_arguments, " --yes");
	braid(0, "the drive runs it", update_arguments);
	assert_string_equal(drive_text("firmware"), "2.0");
	rpc_server_stop(server);
}

#define CARE_TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CARE_TEST(test_smart_holds_nobody),
		CARE_TEST(test_health_holds_nobody),
		CARE_TEST(test_detach_waits),
		CARE_TEST(test_pulled_out_while_asked),
		CARE_TEST(test_target_holds_nobody),
		CARE_TEST(test_detach_waits_for_target),
		CARE_TEST(test_sanitize),
		CARE_TEST(test_sanitize_fails),
		CARE_TEST(test_sanitize_member),
		CARE_TEST(test_sanitize_restart),
		CARE_TEST(test_self_test),
		CARE_TEST(test_self_test_restart),
		CARE_TEST(test_firmware),
		CARE_TEST(test_firmware_reset),
		CARE_TEST(test_firmware_member),
		CARE_TEST(test_cli),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
