/* SPDX-License-Identifier: Apache-2.0 */
/* vhost-user messages as they stand on the socket. QEMU's docs/interop/vhost-user.rst. Host byte
 * order, as the specification asks. */
#ifndef VHOST_WIRE_H
#define VHOST_WIRE_H

#include <assert.h>
#include <stdint.h>

/* "Front-end message types" */
enum vhost_request {
	VHOST_GET_FEATURES = 1,
	VHOST_SET_FEATURES = 2,
	VHOST_SET_OWNER = 3,
	VHOST_RESET_OWNER = 4,
	VHOST_SET_MEM_TABLE = 5,
	VHOST_SET_LOG_BASE = 6,
	VHOST_SET_LOG_FD = 7,
	VHOST_SET_VRING_NUM = 8,
	VHOST_SET_VRING_ADDR = 9,
	VHOST_SET_VRING_BASE = 10,
	VHOST_GET_VRING_BASE = 11,
	VHOST_SET_VRING_KICK = 12,
	VHOST_SET_VRING_CALL = 13,
	VHOST_SET_VRING_ERR = 14,
	VHOST_GET_PROTOCOL_FEATURES = 15,
	VHOST_SET_PROTOCOL_FEATURES = 16,
	VHOST_GET_QUEUE_NUM = 17,
	VHOST_SET_VRING_ENABLE = 18,
	VHOST_SEND_RARP = 19,
	VHOST_NET_SET_MTU = 20,
	VHOST_SET_BACKEND_REQ_FD = 21,
	VHOST_GET_CONFIG = 24,
	VHOST_SET_CONFIG = 25,
	VHOST_GET_INFLIGHT_FD = 31,
	VHOST_SET_INFLIGHT_FD = 32,
	VHOST_RESET_DEVICE = 34,
	VHOST_GET_MAX_MEM_SLOTS = 36,
	VHOST_ADD_MEM_REG = 37,
	VHOST_REM_MEM_REG = 38,
	VHOST_SET_STATUS = 39,
	VHOST_GET_STATUS = 40,
	VHOST_REQUEST_COUNT = 41,
};

/* Message header */
enum { VHOST_VERSION_MASK = 3, VHOST_VERSION = 1, VHOST_REPLY = 4, VHOST_NEED_REPLY = 8 };

struct vhost_header {
	uint32_t request;
	uint32_t flags;
	uint32_t payload_bytes;
};
static_assert(sizeof(struct vhost_header) == 12, "vhost-user header");

/* Virtio feature bit that says protocol features are understood */
#define VHOST_F_PROTOCOL_FEATURES (1ull << 30)

/* "Protocol features" */
#define VHOST_PROTOCOL_MQ (1ull << 0)
#define VHOST_PROTOCOL_LOG_SHMFD (1ull << 1)
#define VHOST_PROTOCOL_REPLY_ACK (1ull << 3)
#define VHOST_PROTOCOL_BACKEND_REQ (1ull << 5)
#define VHOST_PROTOCOL_CONFIG (1ull << 9)
#define VHOST_PROTOCOL_INFLIGHT_SHMFD (1ull << 12)
#define VHOST_PROTOCOL_RESET_DEVICE (1ull << 13)
#define VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS (1ull << 15)
#define VHOST_PROTOCOL_STATUS (1ull << 16)

enum {
	VHOST_TABLE_REGIONS_MAX = 8, /* SET_MEM_TABLE */
	VHOST_CONFIG_BYTES_MAX = 256,
	VHOST_FDS_MAX = 8,
};

/* SET_VRING_KICK, _CALL, _ERR */
#define VHOST_VRING_INDEX_MASK 0xffull
#define VHOST_VRING_NO_FD (1ull << 8)

struct vhost_vring_state {
	uint32_t index;
	uint32_t number;
};

struct vhost_vring_address {
	uint32_t index;
	uint32_t flags;
	uint64_t descriptors, used, available; /* front-end virtual addresses */
	uint64_t log;			       /* guest physical */
};
static_assert(sizeof(struct vhost_vring_address) == 40, "vhost-user vring address");

struct vhost_region {
	uint64_t guest_address; /* guest physical */
	uint64_t bytes;
	uint64_t user_address; /* front-end virtual */
	uint64_t file_offset;
};
static_assert(sizeof(struct vhost_region) == 32, "vhost-user memory region");

struct vhost_mem_table {
	uint32_t regions;
	uint32_t padding;
	struct vhost_region region[VHOST_TABLE_REGIONS_MAX];
};
static_assert(sizeof(struct vhost_mem_table) == 264, "vhost-user memory regions description");

struct vhost_single_region {
	uint64_t padding;
	struct vhost_region region;
};

/* GET_CONFIG, SET_CONFIG: followed by `bytes` bytes */
enum { VHOST_CONFIG_WRITABLE = 0, VHOST_CONFIG_MIGRATION = 1 };

struct vhost_config {
	uint32_t offset;
	uint32_t bytes;
	uint32_t flags;
	uint8_t region[VHOST_CONFIG_BYTES_MAX];
};
static_assert(sizeof(struct vhost_config) == 12 + VHOST_CONFIG_BYTES_MAX, "vhost-user config");

/* GET_INFLIGHT_FD, SET_INFLIGHT_FD: the specification has 20 bytes, QEMU sends its struct of 24. */
enum { VHOST_INFLIGHT_BYTES = 20 };

struct vhost_inflight {
	uint64_t mmap_bytes, mmap_offset;
	uint16_t queues, queue_size;
	uint32_t padding;
};
static_assert(sizeof(struct vhost_inflight) == 24, "vhost-user inflight description");

union vhost_payload {
	uint64_t u64;
	struct vhost_vring_state state;
	struct vhost_vring_address address;
	struct vhost_mem_table table;
	struct vhost_single_region single;
	struct vhost_config config;
	struct vhost_inflight inflight;
};

#endif
