/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of NVMe/TCP drives: what they mean, and the sentence for each way to be wrong. */
#include "unit.h"

#include <errno.h>

#include "base/bits.h"
#include "drivers/drivers.h"

static struct nvme_tcp_target target;

static void good(const char *url)
{
	struct fail fail = {0};

	expect(!nvme_tcp_parse(&target, url, &fail), "%s: %s", url, fail.text);
}

static void test_good(void **state)
{
	(void)state;
	good("nvme+tcp://storage/nqn.2014-08.org.example:d1");
	assert_string_equal(target.path[0].host, "storage");
	assert_int_equal(target.path[0].port, 4420);
	assert_int_equal(target.paths, 1);
	assert_string_equal(target.nqn, "nqn.2014-08.org.example:d1");
	assert_int_equal(target.nsid, 1);
	assert_int_equal(target.hold_s, 30);
	assert_int_equal(target.keep_alive_s, 5);
	assert_int_equal(target.failback_s, 10);
	assert_false(target.header_digest || target.data_digest || target.write_back);
	assert_string_equal(target.host_nqn, "");

	good("nvme+tcp://10.0.0.1:4421/"
	     "nqn.a:b?nsid=7&hdgst=1&ddgst=1&path=10.0.1.1&path=[fe80::1]:9"
	     "&hold=3&keep-alive=2&failback=0&hostnqn=nqn.h&writeback=1&block=512");
	assert_int_equal(target.paths, 3);
	assert_int_equal(target.path[0].port, 4421);
	assert_string_equal(target.path[1].host, "10.0.1.1");
	assert_int_equal(target.path[1].port, 4420);
	assert_string_equal(target.path[2].host, "fe80::1");
	assert_int_equal(target.path[2].port, 9);
	assert_int_equal(target.nsid, 7);
	assert_true(target.header_digest && target.data_digest && target.write_back);
	assert_int_equal(target.hold_s, 3);
	assert_int_equal(target.keep_alive_s, 2);
	assert_int_equal(target.failback_s, 0);
	assert_string_equal(target.host_nqn, "nqn.h");
	assert_int_equal(target.block_bytes, 512);
	assert_string_equal(target.secret_file, "");
	good("nvme+tcp://host/nqn.a?dhchap-secret=/etc/braid/a b&dhchap-controller-secret=/c");
	assert_string_equal(target.secret_file, "/etc/braid/a b");
	assert_string_equal(target.controller_secret_file, "/c");
	good("nvme+tcp://[::1]/nqn.a?");
	assert_string_equal(target.path[0].host, "::1");
}

static void test_wrong(void **state)
{
	static const struct {
		const char *url, *says;
	} wrong[] = {
		{"", "is no address of an NVMe/TCP drive"},
		{"/dev/nvme0n1", "is no address of an NVMe/TCP drive"},
		{"nvme+tcp://", "no name of a subsystem"},
		{"nvme+tcp://host", "no name of a subsystem"},
		{"nvme+tcp://host/", "no name of a subsystem"},
		{"nvme+tcp:///nqn.a", "no host"},
		{"nvme+tcp://:4420/nqn.a", "no host"},
		{"nvme+tcp://host:0/nqn.a", "no number from 1 to 65535"},
		{"nvme+tcp://host:65536/nqn.a", "no number from 1 to 65535"},
		{"nvme+tcp://host:/nqn.a", "no number from 1 to 65535"},
		{"nvme+tcp://host:x/nqn.a", "no number from 1 to 65535"},
		{"nvme+tcp://::1/nqn.a", "in brackets"},
		{"nvme+tcp://[::1/nqn.a", "in brackets"},
		{"nvme+tcp://[::1]4420/nqn.a", "in brackets"},
		{"nvme+tcp://host/disk", "begin with nqn."},
		{"nvme+tcp://host/nqn.a b", "blanks"},
		{"nvme+tcp://host/nqn.a?nsid", "has no value"},
		{"nvme+tcp://host/nqn.a?nsid=0", "option nsid: '0' is no number from 1"},
		{"nvme+tcp://host/nqn.a?nsid=4294967295", "is no number"},
		{"nvme+tcp://host/nqn.a?nsid=1x", "is no number"},
		{"nvme+tcp://host/nqn.a?nsid=-1", "is no number"},
		{"nvme+tcp://host/nqn.a?hdgst=2", "option hdgst"},
		{"nvme+tcp://host/nqn.a?ddgst=yes", "option ddgst"},
		{"nvme+tcp://host/nqn.a?hold=9999", "option hold"},
		{"nvme+tcp://host/nqn.a?keep-alive=0", "option keep-alive"},
		{"nvme+tcp://host/nqn.a?failback=86401", "option failback"},
		{"nvme+tcp://host/nqn.a?block=1024", "512 or 4096"},
		{"nvme+tcp://host/nqn.a?hostnqn=x", "option hostnqn"},
		{"nvme+tcp://host/nqn.a?path=", "option path: there is no host"},
		{"nvme+tcp://host/nqn.a?path=a&path=b&path=c&path=d", "at most 4 paths"},
		{"nvme+tcp://host/nqn.a?colour=red", "no option 'colour'"},
		{"nvme+tcp://host/nqn.a?dhchap-secret=DHHC-1:00:x:",
			"write the secret into a file"},
		{"nvme+tcp://host/nqn.a?dhchap-secret=secret", "must begin with a /"},
		{"nvme+tcp://host/nqn.a?dhchap-controller-secret=/c", "without dhchap-secret"},
	};
	char url[3000] = "nvme+tcp://host/nqn.";
	struct fail fail;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(nvme_tcp_parse(&target, wrong[i].url, &fail), -EINVAL);
		expect(strstr(fail.text, wrong[i].says), "%s: %s", wrong[i].url, fail.text);
	}
	memset(url + strlen(url), 'a', 300);
	assert_int_equal(nvme_tcp_parse(&target, url, &fail), -EINVAL);
	assert_non_null(strstr(fail.text, "longer than 223"));
	memset(url + strlen(url), 'a', 2500);
	assert_int_equal(nvme_tcp_parse(&target, url, &fail), -EINVAL);
	assert_non_null(strstr(fail.text, "longer than"));
	snprintf(url, sizeof(url), "nvme+tcp://host/nqn.a?dhchap-secret=/%0600d", 0);
	assert_int_equal(nvme_tcp_parse(&target, url, &fail), -EINVAL);
	assert_non_null(strstr(fail.text, "longer than 511"));
	memset(url + 11, 'h', 400);
	memcpy(url + 400, "/nqn.a", 7);
	assert_int_equal(nvme_tcp_parse(&target, url, &fail), -EINVAL);
	assert_non_null(strstr(fail.text, "longer than 255"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_wrong),
	};

	unit_start();
	return cmocka_run_group_tests_name("nvme_tcp_url", tests, NULL, NULL);
}
