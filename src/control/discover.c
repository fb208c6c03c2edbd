/* SPDX-License-Identifier: Apache-2.0 */
/* What an NVMe/TCP target offers: its subsystems, and the namespaces of each. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "control/methods.h"
#include "drivers/drivers.h"

#define SCHEME "nvme+tcp://"

enum { NSIDS_MAX = 256 };

/* HOST[:PORT], with or without the scheme. */
static int parse_address(struct nvme_tcp_target *target, const char *address, struct fail *fail)
{
	char url[NVME_TCP_HOST_BYTES + 100];
	size_t scheme = strncmp(address, SCHEME, strlen(SCHEME)) ? 0 : strlen(SCHEME);
	size_t length = strcspn(address + scheme, "/?");

	if (!length || length >= NVME_TCP_HOST_BYTES)
		return fail_set(fail, EINVAL,
			"'%.80s' is no address of an NVMe/TCP target: write HOST or HOST:PORT",
			address);
	snprintf(url, sizeof(url), SCHEME "%.*s/nqn.2014-08.org.nvmexpress.discovery", (int)length,
		address + scheme);
	return nvme_tcp_parse(target, url, fail);
}

static void add_row(
	json_t *rows, const struct nvme_tcp_found *found, uint32_t nsid, const char *note)
{
	bool colons = strchr(found->path.host, ':');
	char url[NVME_TCP_HOST_BYTES + NVME_TCP_NQN_BYTES + 64];

	snprintf(url, sizeof(url), SCHEME "%s%s%s:%u/%s?nsid=%u", colons ? "[" : "",
		found->path.host, colons ? "]" : "", found->path.port, found->nqn, nsid);
	json_array_append_new(rows, json_pack("{s:s, s:s, s:i, s:o, s:s, s:s}", "nqn", found->nqn,
					    "host", found->path.host, "port", (int)found->path.port,
					    "nsid", nsid ? json_integer(nsid) : json_null(), "url",
					    nsid ? url : "", "note", note));
}

static void add_subsystem(json_t *rows, const struct nvme_tcp_found *found)
{
	struct nvme_tcp_target target = {.path[0] = found->path, .paths = 1};
	uint32_t nsids[NSIDS_MAX];
	struct fail fail = {0};
	unsigned count = 0;

	if (found->discovery) {
		add_row(rows, found, 0, "another discovery controller");
		return;
	}
	snprintf(target.nqn, sizeof(target.nqn), "%s", found->nqn);
	if (nvme_tcp_namespaces(&target, nsids, NSIDS_MAX, &count, &fail))
		add_row(rows, found, 0, fail.text);
	else if (!count)
		add_row(rows, found, 0, "it has no namespaces");
	for (unsigned i = 0; i < count; i++)
		add_row(rows, found, nsids[i], "");
}

METHOD(drive_discover)
{
	const char *address = rpc_string(params, "address", "");
	AUTO_FREE struct nvme_tcp_found *found = calloc(NVME_TCP_FOUND_MAX, sizeof(*found));
	struct nvme_tcp_target target;
	json_t *rows;
	unsigned count;
	int error;

	if (!found)
		return fail_set(fail, ENOMEM, "no memory to ask a target");
	error = parse_address(&target, address, fail);
	if (error)
		return error;
	rows = json_array();
	/* Nothing of the daemon's is looked at: targets may take their time. */
	daemon_let_go(daemon);
	error = nvme_tcp_discover(&target.path[0], found, &count, fail);
	for (unsigned i = 0; !error && i < count; i++)
		add_subsystem(rows, &found[i]);
	daemon_take_back(daemon);
	if (error)
		json_decref(rows);
	else
		*result = json_pack("{s:o}", "found", rows);
	return error;
}
