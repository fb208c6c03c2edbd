/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme_tcp_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

struct rig rig;

/* While the target is away nobody else may come by its port: a connection that leaves from there
 * would keep it from coming back. A port that a socket is bound to is not given to others. */
static uint16_t hold_port(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int one = 1;

	rig.port_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(rig.port_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	/* Not before: a port of its own, which it then shares with the target. */
	setsockopt(rig.port_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(getsockname(rig.port_fd, (struct sockaddr *)&address, &length), 0);
	return ntohs(address.sin_port);
}

void rig_start(const struct mock_config *config)
{
	rig.content = calloc(1, MOCK_BYTES);
	rig.mock = mock_start(config, rig.content, hold_port());
	rig.target = (struct nvme_tcp_target){.paths = 1,
		.path[0] = {"127.0.0.1", mock_port(rig.mock)},
		.nqn = MOCK_NQN,
		.nsid = 1,
		.hold_s = 5,
		.keep_alive_s = 1};
}

void rig_kill(void)
{
	if (!rig.mock)
		return;
	assert_string_equal(mock_complaint(rig.mock), "");
	mock_stop(rig.mock);
	rig.mock = NULL;
}

void rig_revive(const struct mock_config *config)
{
	rig.mock = mock_start(config, rig.content, rig.target.path[0].port);
}

void rig_stop(void)
{
	rig_kill();
	rig_drop();
}

void rig_drop(void)
{
	if (rig.mock)
		mock_stop(rig.mock);
	rig.mock = NULL;
	close(rig.port_fd);
	free(rig.content);
}

void rig_open(void)
{
	struct fail fail = {0};

	expect(!nvme_tcp_create(&dev, &rig.target, &fail), "%s", fail.text);
	open_device();
}

void rig_close(void)
{
	close_device();
}
