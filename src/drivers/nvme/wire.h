/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVM Express as it stands in registers and memory: the NVM Express Base Specification 2.x
 * ("base"), the PCIe Transport Specification ("pcie") and the NVM Command Set Specification
 * ("nvm"). Sections are those of base 2.1, nvm 1.1 and pcie 1.1.
 *
 * A controller is hostile or broken until shown otherwise: fields are fetched once and checked at
 * the edge. Fields that nobody here reads are reserved bytes.
 */
#ifndef DRIVERS_NVME_WIRE_H
#define DRIVERS_NVME_WIRE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/endian.h"

/* --- registers: offsets in BAR 0 (base 3.1.4, pcie 3.1.2) ------------------------------------ */

enum nvme_register {
	NVME_CAP = 0x00,   /* 64 bits */
	NVME_VS = 0x08,	   /* 32 bits: major << 16 | minor << 8 | tertiary */
	NVME_INTMS = 0x0c, /* not used: interrupts stay off */
	NVME_CC = 0x14,
	NVME_CSTS = 0x1c,
	NVME_NSSR = 0x20,
	NVME_AQA = 0x24, /* queue sizes, 0-based: completion << 16 | submission */
	NVME_ASQ = 0x28, /* 64 bits */
	NVME_ACQ = 0x30, /* 64 bits */
	NVME_DOORBELLS = 0x1000,
};

/* CAP. */
static inline unsigned nvme_cap_mqes(uint64_t cap) /* entries per queue, 0-based */
{
	return (unsigned)(cap & 0xffff);
}

static inline unsigned nvme_cap_timeout(uint64_t cap) /* of RDY, in 500 ms */
{
	return (unsigned)(cap >> 24 & 0xff);
}

static inline unsigned nvme_cap_stride(uint64_t cap) /* of doorbells: 4 << stride bytes */
{
	return (unsigned)(cap >> 32 & 0xf);
}

static inline unsigned nvme_cap_sets(uint64_t cap) /* command sets */
{
	return (unsigned)(cap >> 37 & 0xff);
}

static inline unsigned nvme_cap_page_min(uint64_t cap) /* pages of 4096 << this at least */
{
	return (unsigned)(cap >> 48 & 0xf);
}

enum {
	NVME_CAP_SETS_NVM = 1 << 0,
	NVME_CAP_SETS_IO = 1 << 6, /* I/O command sets that Identify names */
};

/* CC. */
enum {
	NVME_CC_ENABLE = 1 << 0,
	NVME_CC_SETS_NVM = 0 << 4,
	NVME_CC_SETS_ALL = 6 << 4,
	NVME_CC_PAGE_SHIFT = 7,
	NVME_CC_SHUTDOWN_MASK = 3 << 14,
	NVME_CC_SHUTDOWN_NORMAL = 1 << 14,
	NVME_CC_SHUTDOWN_ABRUPT = 2 << 14,
	NVME_CC_SQES_64 = 6 << 16,
	NVME_CC_CQES_16 = 4 << 20,
};

/* CSTS. All ones: nobody answers. */
enum {
	NVME_CSTS_READY = 1 << 0,
	NVME_CSTS_FATAL = 1 << 1,
	NVME_CSTS_SHUTDOWN_MASK = 3 << 2,
	NVME_CSTS_SHUTDOWN_DONE = 2 << 2,
};

enum { NVME_REGISTER_GONE = 0xffffffffu };

/* The doorbells of queue `id` (pcie 3.1.2.1). */
static inline size_t nvme_doorbell_submission(unsigned id, unsigned stride)
{
	return NVME_DOORBELLS + (size_t)(2 * id) * (4u << stride);
}

static inline size_t nvme_doorbell_completion(unsigned id, unsigned stride)
{
	return NVME_DOORBELLS + (size_t)(2 * id + 1) * (4u << stride);
}

/* --- commands and completions ---------------------------------------------------------------- */

/* Base 4.3.2. */
struct nvme_sgl {
	le64 address;
	le32 bytes;
	uint8_t reserved[3];
	uint8_t type; /* type << 4 | subtype */
};

static_assert(sizeof(struct nvme_sgl) == 16, "base 4.3.2");

enum {
	NVME_SGL_DATA = 0x00,
	NVME_SGL_DATA_OFFSET = 0x01, /* in-capsule data at that offset */
	NVME_SGL_SEGMENT = 0x20,
	NVME_SGL_LAST_SEGMENT = 0x30,
	NVME_SGL_TRANSPORT = 0x5a, /* NVMe/TCP: the transport moves the data */
};

/* SGLS of the identity of a controller: what data addresses and lengths must be multiples of. */
enum {
	NVME_SGLS_UNIT_MASK = 3,
	NVME_SGLS_BYTES = 1,
	NVME_SGLS_DWORDS = 2,
};

/* Base 4.1.1, common command format. */
struct nvme_command {
	uint8_t opcode;
	uint8_t flags; /* PSDT in bits 7:6, FUSE in 1:0 */
	le16 id;
	le32 nsid;
	le32 cdw2, cdw3;
	le64 metadata;
	union {
		struct {
			le64 prp1, prp2;
		};
		struct nvme_sgl sgl;
	};
	le32 cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};

static_assert(sizeof(struct nvme_command) == 64, "base 4.1.1");
static_assert(offsetof(struct nvme_command, prp1) == 24, "base 4.1.1");
static_assert(offsetof(struct nvme_command, cdw10) == 40, "base 4.1.1");

enum { NVME_COMMAND_SGL = 1 << 6 }; /* PSDT: SGL, metadata by address */

/* Base 4.2.1. */
struct nvme_completion {
	le32 dw0, dw1;
	le16 sq_head;
	le16 sq_id;
	le16 id;
	le16 status; /* phase in bit 0 */
};

static_assert(sizeof(struct nvme_completion) == 16, "base 4.2.1");

enum { NVME_PHASE = 1 << 0 };

/* A status without its phase bit: code | type << 8 | retry delay << 11 | more << 13 | dnr << 14. */
static inline unsigned nvme_status_of(const struct nvme_completion *completion)
{
	return (unsigned)le16_get(completion->status) >> 1;
}

static inline unsigned nvme_status_code(unsigned status) /* type << 8 | code */
{
	return status & 0x7ff;
}

enum { NVME_STATUS_MORE = 1 << 13, NVME_STATUS_DO_NOT_RETRY = 1 << 14 };

/* type << 8 | code: base 4.2.3, nvm 3.1.2.6. */
enum nvme_status {
	NVME_OK = 0x000,
	NVME_INVALID_OPCODE = 0x001,
	NVME_INVALID_FIELD = 0x002,
	NVME_ID_CONFLICT = 0x003,
	NVME_DATA_TRANSFER_ERROR = 0x004,
	NVME_POWER_LOSS = 0x005,
	NVME_INTERNAL_ERROR = 0x006,
	NVME_ABORTED_BY_REQUEST = 0x007,
	NVME_ABORTED_SQ_DELETED = 0x008,
	NVME_INVALID_NAMESPACE = 0x00b,
	NVME_COMMAND_SEQUENCE_ERROR = 0x00c,
	NVME_SANITIZE_FAILED = 0x01c,
	NVME_SANITIZE_IN_PROGRESS = 0x01d,
	NVME_NAMESPACE_WRITE_PROTECTED = 0x020,
	NVME_COMMAND_INTERRUPTED = 0x021,
	NVME_TRANSIENT_TRANSPORT_ERROR = 0x022,
	NVME_LBA_OUT_OF_RANGE = 0x080,
	NVME_CAPACITY_EXCEEDED = 0x081,
	NVME_NAMESPACE_NOT_READY = 0x082,
	NVME_RESERVATION_CONFLICT = 0x083,
	NVME_FORMAT_IN_PROGRESS = 0x084,
	NVME_INVALID_QUEUE = 0x101,
	NVME_INVALID_QUEUE_SIZE = 0x102,
	NVME_ABORT_LIMIT = 0x103,
	NVME_AER_LIMIT = 0x105,
	NVME_INVALID_SLOT = 0x106,
	NVME_INVALID_IMAGE = 0x107,
	NVME_INVALID_FORMAT = 0x10a,
	NVME_NEEDS_CONVENTIONAL_RESET = 0x10b, /* the firmware is there, and begins with one */
	NVME_NEEDS_SUBSYSTEM_RESET = 0x110,
	NVME_NEEDS_CONTROLLER_RESET = 0x111,
	NVME_NEEDS_MORE_TIME = 0x112,
	NVME_ACTIVATION_PROHIBITED = 0x113,
	NVME_OVERLAPPING_RANGE = 0x114,
	NVME_SELF_TEST_IN_PROGRESS = 0x11d,
	NVME_INVALID_PROTECTION = 0x181,
	NVME_READ_ONLY_RANGE = 0x182,
	NVME_WRITE_FAULT = 0x280,
	NVME_UNRECOVERED_READ = 0x281,
	NVME_GUARD_CHECK = 0x282,
	NVME_ACCESS_DENIED = 0x286,
	NVME_DEALLOCATED_BLOCK = 0x287,
	NVME_ANA_INTERNAL = 0x300,
	NVME_ANA_PERSISTENT_LOSS = 0x301,
	NVME_ANA_INACCESSIBLE = 0x302,
	NVME_ANA_TRANSITION = 0x303,
	NVME_PATH_ERROR = 0x360,
	NVME_HOST_PATH_ERROR = 0x370,
	NVME_HOST_ABORTED = 0x371,
};

/* Base 3.1.3.4, figure "Opcodes for Admin Commands". */
enum nvme_admin_opcode {
	NVME_DELETE_SQ = 0x00,
	NVME_CREATE_SQ = 0x01,
	NVME_GET_LOG_PAGE = 0x02,
	NVME_DELETE_CQ = 0x04,
	NVME_CREATE_CQ = 0x05,
	NVME_IDENTIFY = 0x06,
	NVME_ABORT = 0x08,
	NVME_SET_FEATURES = 0x09,
	NVME_GET_FEATURES = 0x0a,
	NVME_ASYNC_EVENT = 0x0c,
	NVME_FIRMWARE_COMMIT = 0x10,
	NVME_FIRMWARE_DOWNLOAD = 0x11,
	NVME_DEVICE_SELF_TEST = 0x14,
	NVME_KEEP_ALIVE = 0x18,
	NVME_FORMAT = 0x80,
	NVME_SANITIZE = 0x84,
	NVME_FABRICS = 0x7f,
};

/* Nvm 3. */
enum nvme_io_opcode {
	NVME_FLUSH = 0x00,
	NVME_WRITE = 0x01,
	NVME_READ = 0x02,
	NVME_WRITE_ZEROES = 0x08,
	NVME_DATASET_MANAGEMENT = 0x09,
};

/* CDW12 of READ, WRITE and WRITE ZEROES (nvm 3.2.4, 3.2.6, 3.2.8); bits 15:0 blocks, 0-based. */
#define NVME_RW_DEALLOCATE (1u << 25)
#define NVME_RW_FUA (1u << 30)
#define NVME_RW_LIMITED_RETRY (1u << 31)

/* Nvm 3.2.3: CDW10 ranges, 0-based; CDW11. */
enum { NVME_DSM_DEALLOCATE = 1 << 2, NVME_DSM_RANGES_MAX = 256 };

struct nvme_dsm_range {
	le32 attributes;
	le32 blocks; /* not 0-based */
	le64 lba;
};

static_assert(sizeof(struct nvme_dsm_range) == 16, "nvm 3.2.3");

/* CDW11 of CREATE I/O COMPLETION and SUBMISSION QUEUE (base 5.2.1, 5.2.2). */
enum { NVME_QUEUE_CONTIGUOUS = 1 << 0, NVME_QUEUE_INTERRUPTS = 1 << 1 };

/* CDW10 of IDENTIFY (base 5.1.13). */
enum nvme_identify {
	NVME_IDENTIFY_NAMESPACE = 0x00,
	NVME_IDENTIFY_CONTROLLER = 0x01,
	NVME_IDENTIFY_NAMESPACES = 0x02,     /* active ids above NSID */
	NVME_IDENTIFY_DESCRIPTORS = 0x03,    /* of a namespace: its identities */
	NVME_IDENTIFY_NVM_CONTROLLER = 0x06, /* I/O command set specific; CSI 0 */
};

/* FID of SET and GET FEATURES (base 5.1.25). */
enum nvme_feature {
	NVME_FEATURE_VOLATILE_CACHE = 0x06,
	NVME_FEATURE_QUEUES = 0x07,
	NVME_FEATURE_ASYNC_EVENTS = 0x0b,
	NVME_FEATURE_KEEP_ALIVE = 0x0f,
	NVME_FEATURE_HOST_BEHAVIOR = 0x16,
};

/* CDW11 of the feature ASYNC_EVENTS (base 5.1.25.1.6): which events are wanted. */
enum {
	NVME_EVENTS_SPARE = 1 << 0,
	NVME_EVENTS_TEMPERATURE = 1 << 1,
	NVME_EVENTS_DEGRADED = 1 << 2,
	NVME_EVENTS_READ_ONLY = 1 << 3,
	NVME_EVENTS_BACKUP = 1 << 4,
	NVME_EVENTS_NAMESPACE = 1 << 8,
	NVME_EVENTS_FIRMWARE = 1 << 9,
	NVME_EVENTS_ANA = 1 << 11,
};

#define NVME_EVENTS_DISCOVERY (1u << 31)

/* DW0 of an asynchronous event (base 5.1.2): type, information << 8, log page << 16. */
enum nvme_event_type {
	NVME_EVENT_ERROR = 0,
	NVME_EVENT_HEALTH = 1,
	NVME_EVENT_NOTICE = 2,
	NVME_EVENT_IO_COMMAND_SET = 6,
	NVME_EVENT_VENDOR = 7,
};

enum { NVME_NOTICE_NAMESPACE = 0, NVME_NOTICE_FIRMWARE = 1, NVME_NOTICE_ANA = 3 };

static inline unsigned nvme_event_type(uint32_t dw0)
{
	return dw0 & 7;
}

static inline unsigned nvme_event_information(uint32_t dw0)
{
	return dw0 >> 8 & 0xff;
}

static inline unsigned nvme_event_page(uint32_t dw0)
{
	return dw0 >> 16 & 0xff;
}

/* Base 5.1.10: FORMAT NVM, CDW10. */
enum nvme_erase { NVME_ERASE_NONE = 0, NVME_ERASE_USER = 1, NVME_ERASE_CRYPTO = 2 };

/* Base 5.1.5: DEVICE SELF-TEST, CDW10. */
enum nvme_self_test_code {
	NVME_SELF_TEST_SHORT = 1,
	NVME_SELF_TEST_EXTENDED = 2,
	NVME_SELF_TEST_VENDOR = 14,
	NVME_SELF_TEST_ABORT = 15,
};

/* Base 5.1.8: FIRMWARE COMMIT, CDW10: slot in bits 2:0, action in 5:3. */
enum nvme_firmware_action {
	NVME_FIRMWARE_STORE = 0,      /* the image goes into the slot */
	NVME_FIRMWARE_STORE_NEXT = 1, /* and begins with the next reset */
	NVME_FIRMWARE_NEXT = 2,	      /* what is in the slot does */
	NVME_FIRMWARE_NOW = 3,	      /* the image, or what is in the slot, at once */
};

/* Base 5.1.22: SANITIZE, CDW10: action in bits 2:0, passes of an overwrite in 7:4 (0: 16). */
enum nvme_sanitize_action {
	NVME_SANITIZE_EXIT_FAILURE = 1,
	NVME_SANITIZE_BLOCK = 2,
	NVME_SANITIZE_OVERWRITE = 3,
	NVME_SANITIZE_CRYPTO = 4,
};

/* --- identify -------------------------------------------------------------------------------- */

enum { NVME_IDENTIFY_BYTES = 4096, NVME_SERIAL_BYTES = 20, NVME_MODEL_BYTES = 40 };
enum { NVME_FIRMWARE_BYTES = 8, NVME_NQN_BYTES = 256 };

/* Base 5.1.13.2.1. */
struct nvme_identify_controller {
	le16 vendor, subsystem_vendor;
	char serial[NVME_SERIAL_BYTES]; /* padded with blanks, as are the next two */
	char model[NVME_MODEL_BYTES];
	char firmware[NVME_FIRMWARE_BYTES];
	uint8_t arbitration_burst;
	uint8_t oui[3];
	uint8_t multipath; /* CMIC */
	uint8_t mdts;	   /* largest transfer: smallest pages << mdts; 0: no limit */
	le16 controller_id;
	le32 version;
	le32 rtd3_resume_us, rtd3_entry_us;
	le32 async_events; /* OAES: as CDW11 of the feature */
	le32 attributes;   /* CTRATT */
	uint8_t reserved100[11];
	uint8_t controller_type;
	uint8_t fru_guid[16];
	uint8_t reserved128[128];
	le16 admin_commands;	  /* OACS */
	uint8_t abort_limit;	  /* 0-based */
	uint8_t event_limit;	  /* asynchronous event requests at a time, 0-based */
	uint8_t firmware_updates; /* FRMW */
	uint8_t log_attributes;	  /* LPA */
	uint8_t error_entries;	  /* in the error log, 0-based */
	uint8_t power_states;
	uint8_t vendor_admin;
	uint8_t apst;
	le16 warning_kelvin, critical_kelvin;
	le16 firmware_activation_100ms;
	le32 host_buffer_preferred, host_buffer_minimum;
	uint8_t total_capacity[16], unallocated_capacity[16]; /* bytes */
	le32 rpmb;
	le16 self_test_minutes;
	uint8_t self_test_options;
	uint8_t firmware_granularity; /* FWUG: 4096 bytes; 0 not said, 255 no limit */
	le16 keep_alive_100ms;	      /* granularity; 0: not supported */
	uint8_t reserved322[6];
	le32 sanitize; /* SANICAP */
	uint8_t reserved332[8];
	le16 endurance_group_max;
	uint8_t ana_seconds;
	uint8_t ana_capabilities;
	le32 ana_group_max;
	le32 ana_groups;
	uint8_t reserved352[160];
	uint8_t sqes, cqes;    /* log2: maximum << 4 | required */
	le16 capsule_commands; /* MAXCMD */
	le32 namespaces;       /* highest valid namespace id */
	le16 io_commands;      /* ONCS */
	le16 fuses;
	uint8_t format_attributes;		    /* FNA */
	uint8_t volatile_cache;			    /* VWC */
	le16 atomic_write, atomic_write_power_fail; /* blocks, 0-based */
	uint8_t vendor_io;
	uint8_t write_protection;
	le16 atomic_compare;
	le16 copy_formats;
	le32 sgls; /* SGLS */
	le32 namespaces_allowed;
	uint8_t reserved544[224];
	char nqn[NVME_NQN_BYTES];
	uint8_t reserved1024[768];
	/* Fabrics. */
	le32 capsule_bytes16; /* IOCCSZ: I/O command capsule, in 16 bytes */
	le32 capsule_response_bytes16;
	le16 capsule_data_offset16; /* ICDOFF */
	uint8_t fabrics_attributes;
	uint8_t sgl_blocks_max;
	le16 fabrics_commands;
	uint8_t reserved1806[242];
	uint8_t power_descriptors[32][32];
	uint8_t vendor_specific[1024];
};

static_assert(sizeof(struct nvme_identify_controller) == NVME_IDENTIFY_BYTES, "base 5.1.13.2.1");
static_assert(offsetof(struct nvme_identify_controller, mdts) == 77, "base 5.1.13.2.1");
static_assert(offsetof(struct nvme_identify_controller, controller_type) == 111, "base 5.1.13.2.1");
static_assert(offsetof(struct nvme_identify_controller, admin_commands) == 256, "base 5.1.13.2.1");
static_assert(offsetof(struct nvme_identify_controller, warning_kelvin) == 266, "base 5.1.13.2.1");
static_assert(offsetof(struct nvme_identify_controller, total_capacity) == 280, "base 5.1.13.2.1");
static_assert(
	offsetof(struct nvme_identify_controller, keep_alive_100ms) == 320, "base 5.1.13.2.1");
static_assert(offsetof(struct nvme_identify_controller, sanitize) == 328, "base 5.1.13.2.1");
static_assert(
	offsetof(struct nvme_identify_controller, endurance_group_max) == 340, "base 5.1.13.2.1");
static_assert(offsetof(struct nvme_identify_controller, sqes) == 512, "base 5.1.13.2.1");
static_assert(offsetof(struct nvme_identify_controller, volatile_cache) == 525, "base 5.1.13.2.1");
static_assert(offsetof(struct nvme_identify_controller, sgls) == 536, "base 5.1.13.2.1");
static_assert(offsetof(struct nvme_identify_controller, nqn) == 768, "base 5.1.13.2.1");
static_assert(
	offsetof(struct nvme_identify_controller, capsule_bytes16) == 1792, "base 5.1.13.2.1");
static_assert(
	offsetof(struct nvme_identify_controller, power_descriptors) == 2048, "base 5.1.13.2.1");

/* admin_commands */
enum {
	NVME_OACS_FORMAT = 1 << 1,
	NVME_OACS_FIRMWARE = 1 << 2,
	NVME_OACS_NAMESPACES = 1 << 3,
	NVME_OACS_SELF_TEST = 1 << 4,
};
/* firmware_updates; slots in bits 3:1 */
enum {
	NVME_FRMW_SLOT1_FIXED = 1 << 0,
	NVME_FRMW_NOW = 1 << 4, /* activates without a reset */
};
/* io_commands */
enum {
	NVME_ONCS_DATASET = 1 << 2,
	NVME_ONCS_WRITE_ZEROES = 1 << 3,
};
/* format_attributes */
enum {
	NVME_FNA_FORMAT_ALL = 1 << 0, /* a format changes all namespaces */
	NVME_FNA_ERASE_ALL = 1 << 1,
	NVME_FNA_CRYPTO = 1 << 2,
};
/* volatile_cache */
enum { NVME_VWC_PRESENT = 1 << 0 };
/* sanitize */
enum {
	NVME_SANICAP_CRYPTO = 1 << 0,
	NVME_SANICAP_BLOCK = 1 << 1,
	NVME_SANICAP_OVERWRITE = 1 << 2,
};
/* sgls */
enum { NVME_SGLS_MASK = 3 };
/* log_attributes */
enum { NVME_LPA_EFFECTS = 1 << 1, NVME_LPA_EXTENDED = 1 << 2 };
/* controller_type */
enum { NVME_CONTROLLER_IO = 1, NVME_CONTROLLER_DISCOVERY = 2, NVME_CONTROLLER_ADMIN = 3 };

/* Nvm 4.1.5.1: LBA format. */
struct nvme_lba_format {
	le16 metadata_bytes;
	uint8_t data_shift;  /* block of 1 << this bytes; below 9: not available */
	uint8_t performance; /* bits 1:0; 0 best */
};

static_assert(sizeof(struct nvme_lba_format) == 4, "nvm 4.1.5.1");

enum { NVME_LBA_FORMATS_MAX = 64 };

/* Nvm 4.1.5.1. */
struct nvme_identify_namespace {
	le64 blocks;   /* NSZE */
	le64 capacity; /* NCAP */
	le64 used;
	uint8_t features; /* NSFEAT */
	uint8_t formats;  /* 0-based */
	uint8_t format;	  /* FLBAS */
	uint8_t metadata_capabilities;
	uint8_t protection_capabilities;
	uint8_t protection; /* DPS: bits 2:0, 0 none */
	uint8_t multipath;  /* NMIC */
	uint8_t reservations;
	uint8_t format_progress;
	uint8_t deallocate; /* DLFEAT */
	le16 atomic_write, atomic_write_power_fail, atomic_compare;
	le16 boundary, boundary_offset, boundary_power_fail;
	le16 optimal_boundary;	    /* NOIOB, blocks */
	uint8_t capacity_bytes[16]; /* NVMCAP */
	le16 preferred_write;	    /* NPWG, 0-based blocks */
	le16 preferred_write_alignment;
	le16 preferred_deallocate;
	le16 preferred_deallocate_alignment;
	le16 optimal_write; /* NOWS, 0-based blocks */
	uint8_t reserved74[18];
	le32 ana_group;
	uint8_t reserved96[3];
	uint8_t attributes; /* NSATTR */
	le16 nvm_set, endurance_group;
	uint8_t nguid[16];
	uint8_t eui64[8];
	struct nvme_lba_format lba_formats[NVME_LBA_FORMATS_MAX];
	uint8_t vendor_specific[3712];
};

static_assert(sizeof(struct nvme_identify_namespace) == NVME_IDENTIFY_BYTES, "nvm 4.1.5.1");
static_assert(offsetof(struct nvme_identify_namespace, deallocate) == 33, "nvm 4.1.5.1");
static_assert(offsetof(struct nvme_identify_namespace, optimal_boundary) == 46, "nvm 4.1.5.1");
static_assert(offsetof(struct nvme_identify_namespace, preferred_write) == 64, "nvm 4.1.5.1");
static_assert(offsetof(struct nvme_identify_namespace, optimal_write) == 72, "nvm 4.1.5.1");
static_assert(offsetof(struct nvme_identify_namespace, ana_group) == 92, "nvm 4.1.5.1");
static_assert(offsetof(struct nvme_identify_namespace, attributes) == 99, "nvm 4.1.5.1");
static_assert(offsetof(struct nvme_identify_namespace, nguid) == 104, "nvm 4.1.5.1");
static_assert(offsetof(struct nvme_identify_namespace, eui64) == 120, "nvm 4.1.5.1");
static_assert(offsetof(struct nvme_identify_namespace, lba_formats) == 128, "nvm 4.1.5.1");

/* The index of the format in use: FLBAS bits 3:0, and 6:5 when there are more than 16 formats. */
static inline unsigned nvme_format_index(const struct nvme_identify_namespace *namespace)
{
	unsigned format = namespace->format;

	return namespace->formats < 16 ? format & 0xf : (format & 0xf) | (format >> 5 & 3) << 4;
}

/* features */
enum { NVME_NSFEAT_PREFERRED = 1 << 4 };
/* deallocate: bits 2:0, what is read after it; bit 3: WRITE ZEROES may deallocate */
enum { NVME_DLFEAT_READS = 7, NVME_DLFEAT_ZEROES = 1, NVME_DLFEAT_WRITE_ZEROES = 1 << 3 };
/* attributes */
enum { NVME_NSATTR_WRITE_PROTECTED = 1 << 0 };

enum { NVME_NAMESPACE_IDS = 1024, NVME_NSID_ALL = 0xffffffff };

/* Base 5.1.13.2.3: a namespace's identities, a list that ends with a zero type. */
struct nvme_descriptor {
	uint8_t type;
	uint8_t bytes;
	uint8_t reserved[2];
	uint8_t value[];
};

static_assert(sizeof(struct nvme_descriptor) == 4, "base 5.1.13.2.3");

enum nvme_descriptor_type {
	NVME_DESCRIPTOR_EUI64 = 1, /* 8 bytes */
	NVME_DESCRIPTOR_NGUID = 2, /* 16 */
	NVME_DESCRIPTOR_UUID = 3,  /* 16 */
	NVME_DESCRIPTOR_CSI = 4,   /* 1: command set; 0 is NVM */
};

/* Nvm 4.1.5.4: I/O command set specific identify controller. */
struct nvme_identify_nvm_controller {
	uint8_t verify_limit;
	uint8_t write_zeroes_limit; /* WZSL: as mdts; 0: no limit */
	uint8_t write_uncorrectable_limit;
	uint8_t dsm_ranges;    /* DMRL: 0 no limit */
	le32 dsm_range_blocks; /* DMRSL */
	le64 dsm_blocks;       /* DMSL */
	uint8_t reserved[4080];
};

static_assert(sizeof(struct nvme_identify_nvm_controller) == NVME_IDENTIFY_BYTES, "nvm 4.1.5.4");

/* --- log pages (base 5.1.12) ----------------------------------------------------------------- */

enum nvme_log_page {
	NVME_LOG_ERROR = 0x01,
	NVME_LOG_HEALTH = 0x02,
	NVME_LOG_FIRMWARE = 0x03,
	NVME_LOG_CHANGED_NAMESPACES = 0x04,
	NVME_LOG_EFFECTS = 0x05,
	NVME_LOG_SELF_TEST = 0x06,
	NVME_LOG_ENDURANCE = 0x09,
	NVME_LOG_ANA = 0x0c,
	NVME_LOG_DISCOVERY = 0x70,
	NVME_LOG_SANITIZE = 0x81,
};

/* Base 5.1.12.1.2; newest first. */
struct nvme_error_entry {
	le64 count; /* 0: no entry */
	le16 sq_id, command_id;
	le16 status; /* with its phase bit */
	le16 location;
	le64 lba;
	le32 nsid;
	uint8_t vendor_page;
	uint8_t transport;
	uint8_t reserved30[2];
	le64 command_information;
	le16 transport_information;
	uint8_t reserved42[22];
};

static_assert(sizeof(struct nvme_error_entry) == 64, "base 5.1.12.1.2");
static_assert(offsetof(struct nvme_error_entry, lba) == 16, "base 5.1.12.1.2");

/* Base 5.1.12.1.3. Counters are 128 bits, little-endian. */
struct nvme_health {
	uint8_t warnings;
	uint8_t kelvin[2]; /* not aligned: nvme_health_kelvin() */
	uint8_t spare_percent, spare_threshold_percent;
	uint8_t used_percent; /* may exceed 100 */
	uint8_t endurance_warnings;
	uint8_t reserved7[25];
	le64 read_units[2]; /* 512000 bytes */
	le64 written_units[2];
	le64 reads[2], writes[2];
	le64 busy_minutes[2];
	le64 power_cycles[2];
	le64 power_on_hours[2];
	le64 unsafe_shutdowns[2];
	le64 media_errors[2];
	le64 error_entries[2];
	le32 warning_minutes, critical_minutes;
	le16 sensor_kelvin[8]; /* 0: there is none */
	uint8_t reserved216[296];
};

static_assert(sizeof(struct nvme_health) == 512, "base 5.1.12.1.3");
static_assert(offsetof(struct nvme_health, read_units) == 32, "base 5.1.12.1.3");
static_assert(offsetof(struct nvme_health, media_errors) == 160, "base 5.1.12.1.3");
static_assert(offsetof(struct nvme_health, sensor_kelvin) == 200, "base 5.1.12.1.3");

static inline unsigned nvme_health_kelvin(const struct nvme_health *health)
{
	return (unsigned)health->kelvin[0] | (unsigned)health->kelvin[1] << 8;
}

/* warnings */
enum {
	NVME_WARN_SPARE = 1 << 0,
	NVME_WARN_TEMPERATURE = 1 << 1,
	NVME_WARN_DEGRADED = 1 << 2,
	NVME_WARN_READ_ONLY = 1 << 3,
	NVME_WARN_BACKUP = 1 << 4,
	NVME_WARN_MEMORY_REGION = 1 << 5,
};

/* Base 5.1.12.1.4. */
struct nvme_firmware_log {
	uint8_t active; /* slot in bits 2:0, next reset's in 6:4 */
	uint8_t reserved1[7];
	char slots[7][NVME_FIRMWARE_BYTES];
	uint8_t reserved64[448];
};

static_assert(sizeof(struct nvme_firmware_log) == 512, "base 5.1.12.1.4");

/* Base 5.1.12.1.7. */
struct nvme_self_test_result {
	uint8_t status; /* test in bits 7:4, result in 3:0; result 0xf: no entry */
	uint8_t segment;
	uint8_t valid; /* bit 0 nsid, 1 lba, 2 type, 3 code */
	uint8_t reserved;
	uint8_t power_on_hours[8]; /* not aligned */
	uint8_t nsid[4];
	uint8_t lba[8];
	uint8_t status_type, status_code;
	uint8_t vendor_specific[2];
};

static_assert(sizeof(struct nvme_self_test_result) == 28, "base 5.1.12.1.7");

/* status, bits 3:0 */
enum nvme_self_test_outcome {
	NVME_SELF_TEST_PASSED = 0,
	NVME_SELF_TEST_ABORTED = 1, /* by command; 2 to 4, 8, 9: otherwise */
	NVME_SELF_TEST_FAILED = 7,  /* in the segment that is named; 5, 6: otherwise */
	NVME_SELF_TEST_NONE = 15,   /* no entry */
};
/* valid */
enum {
	NVME_SELF_TEST_NSID = 1 << 0,
	NVME_SELF_TEST_LBA = 1 << 1,
	NVME_SELF_TEST_TYPE = 1 << 2,
	NVME_SELF_TEST_CODE = 1 << 3,
};

struct nvme_self_test_log {
	uint8_t current; /* 0: none is running; 1 short, 2 extended */
	uint8_t percent; /* bits 6:0 */
	uint8_t reserved[2];
	struct nvme_self_test_result results[20];
};

static_assert(sizeof(struct nvme_self_test_log) == 564, "base 5.1.12.1.7");

/* Base 5.1.12.1, "Sanitize Status". */
struct nvme_sanitize_log {
	le16 progress; /* of 65536 */
	le16 status;   /* bits 2:0 enum nvme_sanitize_status, 7:3 passes done, 8 */
	le32 command;  /* CDW10 */
	le32 overwrite_seconds, block_seconds, crypto_seconds; /* all ones: not said */
	uint8_t reserved[492];
};

static_assert(sizeof(struct nvme_sanitize_log) == 512, "base 5.1.12.1.34");

enum nvme_sanitize_status {
	NVME_SANITIZE_NEVER = 0,
	NVME_SANITIZE_DONE = 1,
	NVME_SANITIZE_RUNNING = 2,
	NVME_SANITIZE_BROKEN = 3,
	NVME_SANITIZE_DONE_DEALLOCATED = 4,
};
enum { NVME_SANITIZE_ERASED = 1 << 8 }; /* and nothing has been written since */

#endif
