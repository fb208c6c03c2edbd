/* SPDX-License-Identifier: Apache-2.0 */
/* DH-HMAC-CHAP between a drive and the mock target: every hash and group, one way and both ways, on
 * every queue; what is refused, and the sentence for it. */
#include "nvme_tcp_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "drivers/nvme_tcp/chap.h"

#define OURS "DHHC-1:00:AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dyVhg6h:"
#define THEIRS "DHHC-1:02:BQwTGiEoLzY9REtSWWBnbnV8g4qRmJ+mrbS7wsnQ197l7PP6AQgPFh0kKzI5QEdO0rntOQ==:"
#define OTHER "DHHC-1:01:BAsSGSAnLjU8Q0pRWF9mbXR7gomQl56lrLO6wcjP1t39By5T:"

static char folder[] = "/tmp/braid-auth.XXXXXX";

static void write_secret(char *path, const char *name, const char *secret)
{
	int fd;

	snprintf(path, NVME_TCP_FILE_BYTES, "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, secret, strlen(secret)), strlen(secret));
	close(fd);
}

/* A target that demands OURS and knows THEIRS, and what the drive knows of it. */
static void start(const struct mock_config *config, const char *ours, const char *theirs)
{
	rig_start(config);
	if (ours)
		write_secret(rig.target.secret_file, "ours", ours);
	if (theirs)
		write_secret(rig.target.controller_secret_file, "theirs", theirs);
}

static struct mock_config demanding(unsigned hash, unsigned exchange)
{
	struct mock_config config = mock_default;

	config.auth = (struct mock_auth){
		.secret = OURS, .controller_secret = THEIRS, .hash = hash, .group = exchange};
	return config;
}

static void exercise(void)
{
	static char wrote[4 * BLOCK], seen[4 * BLOCK];

	fill(wrote, sizeof(wrote), 5);
	assert_int_equal(transfer(IO_WRITE, wrote, 3, 4), 0);
	assert_int_equal(transfer(IO_READ, seen, 3, 4), 0);
	assert_memory_equal(seen, wrote, sizeof(wrote));
}

static void test_all(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3 * 6 * 2; i++) {
		struct mock_config config = demanding(i % 3 + 1, i / 3 % 6);
		bool mutual = i >= 18;
		struct mock_counts counts;

		start(&config, OURS, mutual ? THEIRS : NULL);
		rig.target.header_digest = rig.target.data_digest = i & 1;
		rig_open();
		exercise();
		mock_count(rig.mock, &counts);
		assert_int_equal(counts.authentications, 2); /* admin and I/O queue */
		assert_int_equal(counts.mutual_authentications, mutual ? 2 : 0);
		rig_close();
		rig_stop();
	}
}

static void expect_refusal(int error, const char *says)
{
	struct fail fail = {0};
	int result = nvme_tcp_create(&dev, &rig.target, &fail);
	struct mock_counts counts;

	expect(result == error && strstr(fail.text, says), "%d: %s", result, fail.text);
	assert_null(strstr(fail.text, "AwoRGB"));
	assert_null(strstr(fail.text, "BQwTGi"));
	assert_null(strstr(fail.text, "BAsSGS"));
	mock_count(rig.mock, &counts);
	assert_int_equal(counts.io_connections, 0);
	rig_stop();
}

static void test_secrets(void **state)
{
	struct mock_config config = demanding(CHAP_SHA256, CHAP_FFDHE2048);
	struct mock_config silent = config;

	(void)state;
	start(&config, OTHER, NULL);
	expect_refusal(-EACCES, "does not accept the secret in /tmp/braid-auth");
	start(&config, NULL, NULL);
	expect_refusal(-EACCES, "put its secret into a file and attach with --dhchap-secret-file");
	start(&config, "nonsense", NULL);
	expect_refusal(-EINVAL, "holds no secret");
	start(&config, OURS, OTHER);
	expect_refusal(-EACCES, "does not know the secret in /tmp/braid-auth");
	silent.auth.controller_secret = NULL;
	start(&silent, OURS, THEIRS);
	expect_refusal(-EACCES, "does not know the secret in");
	silent.auth.secret = NULL;
	start(&silent, OURS, THEIRS);
	expect_refusal(-EACCES, "does not authenticate itself for " MOCK_NQN);
	/* With nothing asked and nothing to be shown, all is well. */
	start(&silent, OURS, NULL);
	rig_open();
	exercise();
	rig_close();
	rig_stop();
	start(&config, OURS, NULL);
	chmod(rig.target.secret_file, 0644);
	expect_refusal(-EACCES, "others may read the secret in");
	unlink(rig.target.secret_file);
}

static void test_faults(void **state)
{
	static const struct {
		enum mock_auth_fault fault;
		uint8_t explanation;
		int error;
		const char *says;
	} rows[] = {
		{MOCK_AUTH_STATUS, 0, -EACCES, "breaks off the authentication"},
		{MOCK_AUTH_NO_RECEIVE, 0, -EACCES, "(status 002)"},
		{MOCK_AUTH_FAILURE1, 1, -EACCES, "does not accept the secret"},
		{MOCK_AUTH_FAILURE1, 2, -EACCES, "wants a protocol"},
		{MOCK_AUTH_FAILURE1, 3, -EACCES, "wants a secure channel"},
		{MOCK_AUTH_FAILURE1, 4, -EACCES, "wants a hash"},
		{MOCK_AUTH_FAILURE1, 5, -EACCES, "wants a group"},
		{MOCK_AUTH_FAILURE1, 200, -EACCES, "(explanation 200)"},
		{MOCK_AUTH_MESSAGE, 0, -EPROTO, "another message than the one that is due"},
		{MOCK_AUTH_TRANSACTION, 0, -EPROTO, "another transaction"},
		{MOCK_AUTH_HASH, 0, -EPROTO, "a hash that was not offered"},
		{MOCK_AUTH_HASH_BYTES, 0, -EPROTO, "a hash that was not offered"},
		{MOCK_AUTH_GROUP, 0, -EPROTO, "a group that was not offered"},
		{MOCK_AUTH_PUBLIC_BYTES, 0, -EPROTO, "a group that was not offered"},
		{MOCK_AUTH_PUBLIC, 0, -EPROTO, "a public value that is none of its group"},
		{MOCK_AUTH_SHORT, 0, -EPROTO, "another message"},
		{MOCK_AUTH_CUT, 0, -ECONNRESET, "hung up"},
		{MOCK_AUTH_CUT_REPLY, 0, -EACCES, "most likely it does not accept the secret"},
		{MOCK_AUTH_WRONG_RESPONSE, 0, -EACCES, "does not know the secret"},
		{MOCK_AUTH_NO_RESPONSE, 0, -EACCES, "does not know the secret"},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct mock_config config = demanding(CHAP_SHA384, CHAP_FFDHE2048);

		config.auth.fault = rows[i].fault;
		config.auth.explanation = rows[i].explanation;
		start(&config, OURS, THEIRS);
		expect_refusal(rows[i].error, rows[i].says);
	}
}

/* Somebody who knows how to authenticate the admin queue only gets no I/O. */
static void test_io_queue(void **state)
{
	struct mock_config config = demanding(CHAP_SHA512, CHAP_NO_GROUP);
	static char memory[BLOCK];
	struct nvme_tcp_status status;

	(void)state;
	config.auth.fault = MOCK_AUTH_WRONG_RESPONSE;
	config.auth.fault_on_io = true;
	start(&config, OURS, THEIRS);
	rig.target.hold_s = 1;
	rig_open();
	assert_int_equal(transfer(IO_READ, memory, 0, 1), -ENODEV);
	nvme_tcp_status(dev, &status);
	expect(strstr(status.reason, "does not know the secret in"), "%s", status.reason);
	rig_close();
	rig_stop();
}

/* The target's secret is changed, and the file with it: the next association uses it. */
static void test_rotation(void **state)
{
	struct mock_config config = demanding(CHAP_SHA256, CHAP_FFDHE3072);
	struct mock_counts counts;

	(void)state;
	start(&config, OURS, THEIRS);
	rig_open();
	exercise();
	rig_kill();
	config.auth.secret = OTHER;
	write_secret(rig.target.secret_file, "ours", OTHER);
	rig_revive(&config);
	exercise();
	mock_count(rig.mock, &counts);
	assert_true(counts.mutual_authentications >= 2);
	rig_close();
	rig_stop();
}

/* Flipped bits on the way: the drive is made, or there is a sentence. */
static void test_noise(void **state)
{
	unsigned made = 0;

	(void)state;
	for (unsigned seed = 0; seed < 60; seed++) {
		struct mock_config config = demanding(seed % 3 + 1, seed % 2);
		struct fail fail = {0};

		config.seed = seed;
		config.corrupt_per_million = seed % 4 ? 1000 : 100;
		config.corrupt_admin = true;
		start(&config, OURS, seed % 5 ? THEIRS : NULL);
		if (!nvme_tcp_create(&dev, &rig.target, &fail)) {
			made++;
			blockdev_destroy(dev);
		} else {
			assert_true(fail.error && fail.text[0]);
		}
		rig_drop();
	}
	print_message("%u of 60 were made\n", made);
}

int main(void)
{
#define ON_THREAD(test) cmocka_unit_test_setup_teardown(test, start_thread, stop_thread)
	const struct CMUnitTest tests[] = {
		ON_THREAD(test_all),
		ON_THREAD(test_secrets),
		cmocka_unit_test(test_faults),
		ON_THREAD(test_io_queue),
		ON_THREAD(test_rotation),
		cmocka_unit_test(test_noise),
	};
	char path[NVME_TCP_FILE_BYTES];
	int failed;

	unit_start();
	log_threshold(getenv("BRAID_TEST") ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR - 1);
	cmocka_set_test_filter(getenv("BRAID_TEST"));
	if (!mkdtemp(folder))
		return 1;
	failed = cmocka_run_group_tests_name("nvme_tcp_auth", tests, NULL, NULL);
	snprintf(path, sizeof(path), "%s/ours", folder);
	unlink(path);
	snprintf(path, sizeof(path), "%s/theirs", folder);
	unlink(path);
	rmdir(folder);
	return failed;
}
