/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who we are to a target: the names that nvme-cli has left in /etc/nvme, or else ones made from the
 * machine's id. The target tells hosts apart by them, so they stay the same over restarts; without
 * either file they last as long as the process.
 */
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/entropy.h"
#include "base/random.h"
#include "drivers/nvme_tcp/controller.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char own_nqn[NVME_TCP_NQN_BYTES];
static uint8_t own_id[CONTROLLER_HOST_ID_BYTES];

/* The first word of a file; false: there is none. */
static bool read_word(const char *path, char *word, size_t room)
{
	FILE *file = fopen(path, "re");
	char line[512] = "";
	bool read = file && fgets(line, sizeof(line), file);

	if (file)
		fclose(file);
	line[strcspn(line, " \t\r\n")] = '\0';
	if (!read || !line[0] || strlen(line) >= room)
		return false;
	snprintf(word, room, "%s", line);
	return true;
}

/* 32 hexadecimal digits, dashes between them or not. */
static bool parse_id(uint8_t *id, const char *text)
{
	unsigned digits = 0;

	memset(id, 0, CONTROLLER_HOST_ID_BYTES);
	for (; *text; text++) {
		int c = tolower((unsigned char)*text);

		if (c == '-')
			continue;
		if (!isxdigit(c) || digits == 2 * CONTROLLER_HOST_ID_BYTES)
			return false;
		c = isdigit(c) ? c - '0' : c - 'a' + 10;
		id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | c);
		digits++;
	}
	return digits == 2 * CONTROLLER_HOST_ID_BYTES;
}

/* Another id, from which the first cannot be seen. */
static void derive(uint8_t *id, const char *salt)
{
	uint64_t half[2];

	memcpy(half, id, sizeof(half));
	for (unsigned round = 0; *salt; salt++, round++)
		half[round & 1] = random_mix(half[round & 1] ^ half[!(round & 1)] ^ (uint8_t)*salt);
	memcpy(id, half, sizeof(half));
	id[6] = (id[6] & 0x0f) | 0x40; /* RFC 9562: version 4, */
	id[8] = (id[8] & 0x3f) | 0x80; /* variant */
}

static void find_identity(void)
{
	char text[64];
	const uint8_t *id = own_id;

	if (read_word("/etc/nvme/hostnqn", own_nqn, sizeof(own_nqn)) &&
		!strncmp(own_nqn, "nqn.", 4) && read_word("/etc/nvme/hostid", text, sizeof(text)) &&
		parse_id(own_id, text))
		return;
	if (!read_word("/etc/machine-id", text, sizeof(text)) || !parse_id(own_id, text))
		entropy_get(own_id, sizeof(own_id));
	derive(own_id, "braid nvme host identity");
	snprintf(own_nqn, sizeof(own_nqn),
		"nqn.2014-08.org.nvmexpress:uuid:%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
		"%02x%02x%02x%02x%02x%02x",
		id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10],
		id[11], id[12], id[13], id[14], id[15]);
}

void host_identity(const struct nvme_tcp_target *target, char *nqn, uint8_t *id)
{
	pthread_once(&once, find_identity);
	memcpy(id, own_id, sizeof(own_id));
	snprintf(nqn, NVME_TCP_NQN_BYTES, "%s", target->host_nqn[0] ? target->host_nqn : own_nqn);
	/* One name, one id (base 3.1.1): another name is another host. */
	if (target->host_nqn[0])
		derive(id, target->host_nqn);
}
