/* SPDX-License-Identifier: Apache-2.0 */
/* nvme+tcp:// addresses into struct nvme_tcp_target. Pure: no name is resolved here. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "drivers/drivers.h"

#define SCHEME "nvme+tcp://"

enum {
	HOLD_S = 30,
	HOLD_MAX_S = 3600,
	KEEP_ALIVE_S = 5,
	KEEP_ALIVE_MAX_S = 120,
	FAILBACK_S = 10,
	FAILBACK_MAX_S = 86400,
};

static int parse_number(
	uint32_t *value, const char *text, uint32_t least, uint32_t most, struct fail *fail)
{
	unsigned long long number = 0;
	char *end = (char *)text;

	errno = 0;
	if (isdigit((unsigned char)*text))
		number = strtoull(text, &end, 10);
	if (end == text || *end || errno || number < least || number > most)
		return fail_set(
			fail, EINVAL, "'%.40s' is no number from %u to %u", text, least, most);
	*value = (uint32_t)number;
	return 0;
}

static int parse_flag(bool *flag, const char *text, struct fail *fail)
{
	uint32_t value = 0;
	int error = parse_number(&value, text, 0, 1, fail);

	*flag = value;
	return error;
}

/* HOST, HOST:PORT, [V6] or [V6]:PORT */
static int parse_path(struct nvme_tcp_path *path, const char *text, struct fail *fail)
{
	const char *host = text, *end, *rest;
	uint32_t port = NVME_TCP_PORT;

	if (*text == '[') {
		host = text + 1;
		end = strchr(host, ']');
		if (!end || (end[1] && end[1] != ':'))
			return fail_set(fail, EINVAL,
				"'%.80s' is no address: an IPv6 address stands in brackets, "
				"[fe80::1]:4420",
				text);
		rest = end + 1;
	} else {
		end = rest = host + strcspn(host, ":");
		if (strchr(host, ':') != strrchr(host, ':'))
			return fail_set(fail, EINVAL,
				"'%.80s' has several colons: write an IPv6 address in brackets, "
				"[fe80::1]:4420",
				text);
	}
	if (end == host)
		return fail_set(fail, EINVAL, "there is no host before the port in '%.80s'", text);
	if ((size_t)(end - host) >= sizeof(path->host))
		return fail_set(fail, EINVAL, "the host '%.40s...' is longer than %zu bytes", host,
			sizeof(path->host) - 1);
	if (*rest == ':' && parse_number(&port, rest + 1, 1, 65535, fail))
		return fail_prefix(fail, "the port of '%.80s'", text);
	snprintf(path->host, sizeof(path->host), "%.*s", (int)(end - host), host);
	path->port = (uint16_t)port;
	return 0;
}

/* Base 4.7: what begins with "nqn." and has at most 223 bytes. */
static int parse_nqn(char *nqn, const char *text, struct fail *fail)
{
	if (strncmp(text, "nqn.", 4) != 0)
		return fail_set(fail, EINVAL,
			"'%.80s' is no NVMe qualified name: they begin with nqn., such as "
			"nqn.2014-08.org.example:disk1",
			text);
	if (strlen(text) >= NVME_TCP_NQN_BYTES)
		return fail_set(fail, EINVAL, "the name '%.40s...' is longer than %d bytes", text,
			NVME_TCP_NQN_BYTES - 1);
	for (const char *at = text; *at; at++)
		if (!isgraph((unsigned char)*at))
			return fail_set(
				fail, EINVAL, "the name '%.80s' has blanks or the like", text);
	snprintf(nqn, NVME_TCP_NQN_BYTES, "%s", text);
	return 0;
}

/* --- options: a row each --------------------------------------------------------------------- */

static int set_nsid(struct nvme_tcp_target *target, const char *value, struct fail *fail)
{
	return parse_number(&target->nsid, value, 1, UINT32_MAX - 1, fail);
}

static int set_header_digest(struct nvme_tcp_target *target, const char *value, struct fail *fail)
{
	return parse_flag(&target->header_digest, value, fail);
}

static int set_data_digest(struct nvme_tcp_target *target, const char *value, struct fail *fail)
{
	return parse_flag(&target->data_digest, value, fail);
}

static int set_write_back(struct nvme_tcp_target *target, const char *value, struct fail *fail)
{
	return parse_flag(&target->write_back, value, fail);
}

static int set_hold(struct nvme_tcp_target *target, const char *value, struct fail *fail)
{
	return parse_number(&target->hold_s, value, 0, HOLD_MAX_S, fail);
}

static int set_keep_alive(struct nvme_tcp_target *target, const char *value, struct fail *fail)
{
	return parse_number(&target->keep_alive_s, value, 1, KEEP_ALIVE_MAX_S, fail);
}

static int set_failback(struct nvme_tcp_target *target, const char *value, struct fail *fail)
{
	return parse_number(&target->failback_s, value, 0, FAILBACK_MAX_S, fail);
}

static int set_block(struct nvme_tcp_target *target, const char *value, struct fail *fail)
{
	if (strcmp(value, "512") != 0 && strcmp(value, "4096") != 0)
		return fail_set(fail, EINVAL, "blocks have 512 or 4096 bytes, not '%.40s'", value);
	target->block_bytes = (uint32_t)strtoul(value, NULL, 10);
	return 0;
}

static int set_host_nqn(struct nvme_tcp_target *target, const char *value, struct fail *fail)
{
	return parse_nqn(target->host_nqn, value, fail);
}

/* The name of a file, never a secret: what stands in an address is shown, logged and stored. */
static int set_file(char *file, const char *value, struct fail *fail)
{
	if (!strncmp(value, "DHHC-", 5))
		return fail_set(fail, EINVAL,
			"write the secret into a file that only its owner may read, and its name "
			"here: an address is shown to everybody");
	if (value[0] != '/')
		return fail_set(fail, EINVAL, "the file '%.80s' must begin with a /", value);
	if (strlen(value) >= NVME_TCP_FILE_BYTES)
		return fail_set(fail, EINVAL, "the name '%.40s...' is longer than %d bytes", value,
			NVME_TCP_FILE_BYTES - 1);
	snprintf(file, NVME_TCP_FILE_BYTES, "%s", value);
	return 0;
}

static int set_secret(struct nvme_tcp_target *target, const char *value, struct fail *fail)
{
	return set_file(target->secret_file, value, fail);
}

static int set_controller_secret(
	struct nvme_tcp_target *target, const char *value, struct fail *fail)
{
	return set_file(target->controller_secret_file, value, fail);
}

static int add_path(struct nvme_tcp_target *target, const char *value, struct fail *fail)
{
	if (target->paths == NVME_TCP_PATHS_MAX)
		return fail_set(
			fail, EINVAL, "at most %d paths lead to one namespace", NVME_TCP_PATHS_MAX);
	return parse_path(&target->path[target->paths++], value, fail);
}

/* clang-format off */
static const struct {
	const char *name;
	int (*set)(struct nvme_tcp_target *target, const char *value, struct fail *fail);
} options[] = {
	{"nsid",                     set_nsid},
	{"hdgst",                    set_header_digest},
	{"ddgst",                    set_data_digest},
	{"path",                     add_path},
	{"hold",                     set_hold},
	{"keep-alive",               set_keep_alive},
	{"failback",                 set_failback},
	{"hostnqn",                  set_host_nqn},
	{"writeback",                set_write_back},
	{"block",                    set_block},
	{"dhchap-secret",            set_secret},
	{"dhchap-controller-secret", set_controller_secret},
};
/* clang-format on */

static int parse_option(struct nvme_tcp_target *target, char *option, struct fail *fail)
{
	char *value = strchr(option, '=');

	if (!value)
		return fail_set(fail, EINVAL,
			"the option '%.40s' has no value: write nsid=1 or hdgst=1", option);
	*value++ = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		if (strcmp(options[i].name, option) != 0)
			continue;
		if (options[i].set(target, value, fail))
			return fail_prefix(fail, "option %s", option);
		return 0;
	}
	return fail_set(fail, EINVAL,
		"there is no option '%.40s'; there are nsid, hdgst, ddgst, path, hold, "
		"keep-alive, failback, hostnqn, writeback, block, dhchap-secret and "
		"dhchap-controller-secret",
		option);
}

int nvme_tcp_parse(struct nvme_tcp_target *target, const char *url, struct fail *fail)
{
	char text[2048], *nqn, *query, *rest = NULL;
	int error;

	*target = (struct nvme_tcp_target){.nsid = 1,
		.hold_s = HOLD_S,
		.keep_alive_s = KEEP_ALIVE_S,
		.failback_s = FAILBACK_S};
	if (strncmp(url, SCHEME, strlen(SCHEME)) != 0)
		return fail_set(fail, EINVAL,
			"'%.80s' is no address of an NVMe/TCP drive: write "
			"nvme+tcp://HOST:4420/NQN",
			url);
	if (strlen(url) >= sizeof(text))
		return fail_set(fail, EINVAL, "the address '%.40s...' is longer than %zu bytes",
			url, sizeof(text) - 1);
	snprintf(text, sizeof(text), "%s", url + strlen(SCHEME));
	query = strchr(text, '?');
	if (query)
		*query++ = '\0';
	nqn = strchr(text, '/');
	if (!nqn || !nqn[1])
		return fail_set(fail, EINVAL,
			"there is no name of a subsystem in '%.200s': write "
			"nvme+tcp://HOST:4420/NQN",
			url);
	*nqn++ = '\0';
	error = add_path(target, text, fail);
	if (!error)
		error = parse_nqn(target->nqn, nqn, fail);
	for (char *option = query ? strtok_r(query, "&", &rest) : NULL; option && !error;
		option = strtok_r(NULL, "&", &rest))
		error = parse_option(target, option, fail);
	if (!error && target->controller_secret_file[0] && !target->secret_file[0])
		error = fail_set(fail, EINVAL,
			"dhchap-controller-secret is of no use without dhchap-secret: a target "
			"authenticates itself only to a host that does so too");
	return error;
}
