/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The drivers: bottoms, which store blocks somewhere, and layers, which put a behaviour on top of
 * another device. All have the block face (block/blockdev.h) and know nothing of each other.
 *
 * Constructors run on a control thread, return 0 or -errno with a sentence, and hand over a device
 * that blockdev_destroy() frees. A layer owns the device below it from its success on.
 */
#ifndef DRIVERS_DRIVERS_H
#define DRIVERS_DRIVERS_H

#include "block/blockdev.h"

/* Memory of this process (a memfd; huge pages when there are any). Content is lost with it. */
int ram_create(struct blockdev **dev, const char *name, uint64_t bytes, uint32_t block_bytes,
	struct fail *fail);

/* Stores nothing: writes succeed, reads leave the buffer as it is. For measuring. */
int null_create(struct blockdev **dev, const char *name, uint64_t bytes, uint32_t block_bytes,
	struct fail *fail);

/*
 * A file or a block device through io_uring, opened with O_DIRECT and exclusively locked. When
 * direct I/O is refused the page cache is used and *reason (FAIL_TEXT_BYTES) says why; it is empty
 * otherwise. block_bytes: 512 or 4096; -EINVAL when the device cannot do it.
 */
int uring_create(struct blockdev **dev, const char *path, uint32_t block_bytes, char *reason,
	struct fail *fail);

/*
 * Layer: holds every io back for base_ns plus a random part below jitter_ns (seeded), then passes
 * it on. Completions overtake each other as the jitter wants.
 */
int delay_create(struct blockdev **dev, struct blockdev *below, uint64_t base_ns,
	uint64_t jitter_ns, uint64_t seed, struct fail *fail);

/*
 * Layer: a drive that is only so fast, for benchmarks. Each queue serves its requests in order, one
 * at a time, and answers latency_ns later. 0: no limit.
 */
struct throttle_model {
	uint64_t requests_per_second, bytes_per_second, latency_ns;
};
int throttle_create(struct blockdev **dev, struct blockdev *below,
	const struct throttle_model *model, struct fail *fail);

/* Layer: misbehaves by rule. */
enum fault_kind {
	FAULT_ERROR, /* nothing is done; -EIO */
	FAULT_TORN,  /* a write: only its first half is done; -EIO */
	FAULT_LOST,  /* a write: nothing is done; success */
	FAULT_FLIP,  /* a read: done, then one bit of the first block is flipped; success */
	FAULT_KINDS,
};

struct fault_rule {
	enum fault_kind kind;
	bool reads, writes;  /* which ios it is for; writes: all that change data, and FLUSH */
	uint64_t first, end; /* blocks [first, end) */
	unsigned after;	     /* lets that many matching ios pass first */
	unsigned count;	     /* then misbehaves that often; 0: for ever */
};

enum { FAULT_RULES_MAX = 16 };

int fault_create(struct blockdev **dev, struct blockdev *below, struct fail *fail);
/* Replaces all rules at once. Any thread; ios already passed on are not affected. */
int fault_rules(
	struct blockdev *dev, const struct fault_rule *rules, unsigned count, struct fail *fail);
bool fault_is(const struct blockdev *dev);
const char *fault_kind_name(enum fault_kind kind);

/* --- NVMe drives over PCIe ------------------------------------------------------------------- */

/*
 * A controller that vfio-pci has handed to us, and its namespaces, each a blockdev.
 *
 *	nvme_attach() -> nvme_device(0..count-1) -> ... queues, io ... -> nvme_detach()
 *
 * The devices belong to the controller: they go with nvme_detach(), blockdev_destroy() is not
 * called on them (a layer that destroys the device below it may: it changes nothing). All
 * functions run on control threads and may wait for the drive, up to the admin deadline.
 */
struct nvme;
struct reactor_group;

enum {
	NVME_ADDRESS_BYTES = 16,   /* "0000:65:00.0" */
	NVME_IDENTITY_BYTES = 128, /* "uuid.8e2f...", "eui.0025...", "nvme.SERIAL.NSID" */
	NVME_NAMESPACES_MAX = 32,
	NVME_FORMATS_MAX = 64,
};

enum nvme_state {
	NVME_LIVE,
	NVME_RESETTING, /* io waits */
	NVME_FAILED,	/* every io fails: the sentence of nvme_state() says why */
	NVME_GONE,	/* pulled out; every io fails */
};

struct nvme_options {
	struct reactor_group *group; /* whose reactors may open queues */
	uint32_t block_bytes;	     /* 0: 4096 where the namespace allows it, else its own */
	uint32_t deadline_ms;	     /* of an io; 0: 8000 */
	uint32_t admin_deadline_ms;  /* 0: 30000 */
	bool keep_bound;	     /* when attaching fails, do not give the device back */
};

/* Text is trimmed, and printable whatever the drive says. */
struct nvme_identity {
	char address[NVME_ADDRESS_BYTES];
	char serial[21], model[41], firmware[9];
	uint16_t pci_vendor;
	uint32_t version; /* of NVMe: major << 16 | minor << 8 | tertiary */
	uint32_t transfer_bytes_max;
	unsigned queues;	 /* I/O queues granted */
	unsigned devices;	 /* namespaces in use */
	uint64_t capacity_bytes; /* of the whole drive; 0: not said */
	bool volatile_cache;
	bool can_format, can_crypto_erase, can_self_test;
	bool can_sanitize_block, can_sanitize_crypto, can_sanitize_overwrite;
	unsigned warning_kelvin, critical_kelvin; /* 0: not said */
	unsigned error_entries;			  /* room in the error log */
	unsigned self_test_minutes;		  /* an extended one; 0: not said */
	unsigned firmware_slots;		  /* 0: it takes none */
	bool firmware_slot1_fixed;		  /* the first one cannot be written */
	bool firmware_now;			  /* it begins with new firmware without a reset */
	uint32_t firmware_granularity_bytes;	  /* images come in multiples of this */
};

struct nvme_format_info {
	uint32_t lba_bytes, metadata_bytes;
	unsigned performance; /* 0 best, 3 worst */
};

struct nvme_namespace {
	uint32_t nsid;
	char identity[NVME_IDENTITY_BYTES]; /* the same for ever, wherever it is plugged in */
	uint64_t bytes;
	uint32_t lba_bytes; /* of the drive; the blockdev's block_bytes may be a multiple */
	bool write_protected;
	unsigned in_use; /* index into format */
	unsigned formats;
	struct nvme_format_info format[NVME_FORMATS_MAX];
};

/* The health page, decoded; counters that do not fit are UINT64_MAX. */
struct nvme_smart {
	unsigned warnings; /* NVME_WARN_* of nvme/wire.h; 0: healthy */
	unsigned kelvin;
	unsigned spare_percent, spare_threshold_percent, used_percent;
	uint64_t read_bytes, written_bytes, reads, writes;
	uint64_t busy_minutes, power_cycles, power_on_hours, unsafe_shutdowns;
	uint64_t media_errors, error_entries;
	unsigned warning_minutes, critical_minutes;
	unsigned sensor_kelvin[8]; /* 0: there is none */
};

/*
 * Takes the PCI device `address` from its driver (see vfio_take), brings the controller up and
 * finds its namespaces. On failure nothing is left: the device is back with its former driver.
 * A namespace that cannot be used (metadata, no NVM command set, 0 blocks) is left out with a line
 * in the log; -ENODEV when none is left, unless the drive has none at all, which is success.
 */
int nvme_attach(struct nvme **nvme, const char *address, const struct nvme_options *options,
	struct fail *fail);
/* No queue of its devices is open. give_back: to the kernel's driver; otherwise the device stays
 * with vfio-pci, shut down, ready for the next nvme_attach(). A failure to give back is told in
 * *fail; the controller is freed in any case. */
int nvme_detach(struct nvme *nvme, bool give_back, struct fail *fail);

unsigned nvme_device_count(const struct nvme *nvme);
struct blockdev *nvme_device(struct nvme *nvme, unsigned index);
/* The controller of a device; NULL when dev is something else. */
struct nvme *nvme_of(struct blockdev *dev);

void nvme_identity(struct nvme *nvme, struct nvme_identity *identity);
/* What the namespace of an nvme device is. */
void nvme_namespace(struct blockdev *dev, struct nvme_namespace *namespace);
/* Its state now; reason (FAIL_TEXT_BYTES, may be NULL) is the sentence of FAILED and GONE, "" in
 * the others. Never waits. */
enum nvme_state nvme_state(struct nvme *nvme, char *reason);
const char *nvme_state_name(enum nvme_state state);

/* What has happened since the last call, oldest first; false: nothing. Never waits. The last
 * NVME_EVENTS_MAX are kept. */
enum { NVME_EVENTS_MAX = 32, NVME_EVENT_TEXT_BYTES = 160 };
enum nvme_event_kind {
	NVME_HAPPENED_RESET,	  /* the controller was reset and serves again */
	NVME_HAPPENED_FAILED,	  /* it is not used any more */
	NVME_HAPPENED_GONE,	  /* it was pulled out */
	NVME_HAPPENED_HEALTH,	  /* a critical warning: read the SMART data */
	NVME_HAPPENED_NAMESPACES, /* namespaces came, went or grew: attach again to see them */
	NVME_HAPPENED_FIRMWARE,
	NVME_HAPPENED_OTHER,
};
struct nvme_event {
	enum nvme_event_kind kind;
	uint32_t nsid; /* 0: the controller */
	char text[NVME_EVENT_TEXT_BYTES];
};
bool nvme_next_event(struct nvme *nvme, struct nvme_event *event);

int nvme_smart(struct nvme *nvme, struct nvme_smart *smart, struct fail *fail);
struct nvme_health;
void nvme_smart_decode(const struct nvme_health *page, struct nvme_smart *smart);
/* What a status (type << 8 | code) means. */
const char *nvme_status_text(unsigned status);
/* A fixed field as text: printable, trimmed; to: bytes + 1. */
void nvme_text(char *to, const char *field, size_t bytes);
/* Reads a log page (enum nvme_log_page of nvme/wire.h, whose structs describe it) from its
 * beginning; bytes: a multiple of 4, at most 1 MiB. nsid: 0xffffffff for the controller. */
int nvme_log(struct nvme *nvme, unsigned page, uint32_t nsid, void *log, size_t bytes,
	struct fail *fail);

/* Starts a self-test, or ends it: enum nvme_self_test_code of nvme/wire.h. */
int nvme_self_test(struct nvme *nvme, unsigned kind, struct fail *fail);
struct nvme_test_state {
	unsigned running; /* 0: none */
	unsigned percent;
	unsigned kind, result; /* of the last one that ended; kind 0: there is none */
};
int nvme_self_test_state(struct nvme *nvme, struct nvme_test_state *state, struct fail *fail);
/*
 * DESTROYS ALL DATA of the device (of all devices of a controller that can only format all).
 * lba_bytes: 0 keeps the format; erase: enum nvme_erase of nvme/wire.h. No queue is open on any of
 * its devices; block_bytes and blocks of the device change. Waits up to an hour.
 */
int nvme_format(struct blockdev *dev, uint32_t lba_bytes, unsigned erase, struct fail *fail);
/* DESTROYS ALL DATA of the drive; action: enum nvme_sanitize_action; passes of an overwrite, 1 to
 * 16. Starts it, and returns: the drive goes on by itself, whatever happens to us. */
int nvme_sanitize(struct nvme *nvme, unsigned action, unsigned passes, struct fail *fail);
struct nvme_sanitize_state {
	unsigned status; /* enum nvme_sanitize_status: of the last one */
	unsigned action;
	unsigned per_thousand;
	uint32_t seconds; /* it will take in all, as the drive says; 0: it does not */
};
int nvme_sanitize_state(struct nvme *nvme, struct nvme_sanitize_state *state, struct fail *fail);

/* Hands over an image, in pieces that suit the drive; nothing is changed by that. bytes: a multiple
 * of firmware_granularity_bytes. */
int nvme_firmware_download(struct nvme *nvme, const void *image, size_t bytes, struct fail *fail);
/* What becomes of the image, or of what is in the slot; action: enum nvme_firmware_action. Requests
 * wait while the drive changes over. `effect` says what is left to do. */
enum nvme_firmware_effect {
	NVME_FIRMWARE_STORED,
	NVME_FIRMWARE_ACTIVE,	       /* identity.firmware is the new one */
	NVME_FIRMWARE_AFTER_RESET,     /* of the controller: as by nvme_detach(), nvme_attach() */
	NVME_FIRMWARE_AFTER_POWER_OFF, /* that, or another reset that is not ours to make */
};
int nvme_firmware_commit(struct nvme *nvme, unsigned slot, unsigned action,
	enum nvme_firmware_effect *effect, struct fail *fail);

/* --- namespaces of an NVMe/TCP target -------------------------------------------------------- */

enum {
	NVME_TCP_PATHS_MAX = 4,
	NVME_TCP_PORT = 4420,
	NVME_TCP_DISCOVERY_PORT = 8009,
	NVME_TCP_HOST_BYTES = 256,
	NVME_TCP_NQN_BYTES = 224,
	NVME_TCP_FOUND_MAX = 128,
	NVME_TCP_FILE_BYTES = 512,
};

struct nvme_tcp_path {
	char host[NVME_TCP_HOST_BYTES]; /* a name or an address; IPv6 without brackets */
	uint16_t port;
};

/* One namespace and the ways to it. */
struct nvme_tcp_target {
	struct nvme_tcp_path
		path[NVME_TCP_PATHS_MAX]; /* of one subsystem; the first is preferred */
	unsigned paths;
	char nqn[NVME_TCP_NQN_BYTES];
	char host_nqn[NVME_TCP_NQN_BYTES]; /* "": this machine's, /etc/nvme/hostnqn or its own */
	/* Files with secrets of DH-HMAC-CHAP, "" none: this host's, which the target may demand,
	 * and the target's, which it must know then. Read at every connection. */
	char secret_file[NVME_TCP_FILE_BYTES], controller_secret_file[NVME_TCP_FILE_BYTES];
	uint32_t nsid;
	bool header_digest, data_digest; /* CRC32C; refused when the target cannot */
	bool write_back;       /* use the target's volatile cache: see nvme_tcp_create() */
	uint32_t hold_s;       /* how long io waits for a target that is away */
	uint32_t keep_alive_s; /* the target gives up on us after so long */
	uint32_t failback_s;   /* a better path must have been good for so long; 0: never */
	uint32_t block_bytes;  /* 0: 4096 where the namespace allows it, else its own */
};

/*
 * nvme+tcp://HOST[:PORT]/NQN[?OPTION=VALUE&...] into *target, with the defaults for what is not
 * said: nsid=1, hdgst=0, ddgst=0, path=HOST[:PORT] (up to three more), hold=30, keep-alive=5,
 * failback=10, hostnqn=NQN, writeback=0, block=512|4096, dhchap-secret=FILE,
 * dhchap-controller-secret=FILE. -EINVAL with a sentence. Does not resolve names.
 */
int nvme_tcp_parse(struct nvme_tcp_target *target, const char *url, struct fail *fail);

/*
 * Connects to the target and opens its namespace; dev->name is "HOST:PORT/NQN/NSID". From then on
 * a thread keeps the association: when it breaks, ios wait up to hold_s and are sent again over the
 * same path or the next one; after that they fail with -ENODEV until the target is back. They fail
 * at once when the target says that the namespace has gone, shrunk or become another one.
 *
 * Of the paths that lead there an optimized one (ANA) is taken, else any, the first of them. When a
 * better one has been good for failback_s the drive moves to it, while ios wait for a moment; when
 * it is lost soon after, the next time takes twice as long, up to 32 times.
 *
 * A target may lose its volatile cache without our noticing: it restarts while ios wait. So every
 * write to a namespace with such a cache is made stable (FUA) and the device says that it has none.
 * With write_back the cache is used, and after every loss in which the target may have restarted
 * the next FLUSH on each queue fails with -EIO.
 *
 * Control thread; waits a few seconds for a target that does not answer. The blockdev is the
 * caller's: blockdev_destroy().
 */
int nvme_tcp_create(struct blockdev **dev, const struct nvme_tcp_target *target, struct fail *fail);
bool nvme_tcp_is(const struct blockdev *dev);

enum nvme_tcp_state {
	NVME_TCP_LIVE,
	NVME_TCP_RECONNECTING, /* ios wait */
	NVME_TCP_AWAY,	       /* for longer than hold_s: ios fail; still trying */
};

/* Text is trimmed, and printable whatever the target says. */
struct nvme_tcp_status {
	enum nvme_tcp_state state;
	char reason[FAIL_TEXT_BYTES];		 /* not LIVE: why; LIVE: "", or what to know */
	char identity[NVME_IDENTITY_BYTES];	 /* as of struct nvme_namespace */
	char serial[21], model[41], firmware[9]; /* of the subsystem */
	uint32_t lba_bytes;
	unsigned path;			     /* index of the one in use, or tried last, */
	char peer[NVME_TCP_HOST_BYTES + 24]; /* "HOST:PORT" */
	bool optimized;			     /* it is, as far as the target tells (ANA) */
	unsigned queues;		     /* I/O queues granted: as many reactors may use it */
	uint64_t losses;		     /* of the association, since it was created */
	uint64_t moves;			     /* to better paths */
};

/* Control thread; never waits. */
void nvme_tcp_status(struct blockdev *dev, struct nvme_tcp_status *status);
const char *nvme_tcp_state_name(enum nvme_tcp_state state);

/* A subsystem that a discovery controller tells of. */
struct nvme_tcp_found {
	struct nvme_tcp_path path;
	char nqn[NVME_TCP_NQN_BYTES];
	bool discovery; /* another discovery controller rather than drives */
};

/* Asks the discovery controller at `path` (port 0: NVME_TCP_PORT); found holds NVME_TCP_FOUND_MAX.
 * What does not speak TCP is left out. */
int nvme_tcp_discover(const struct nvme_tcp_path *path, struct nvme_tcp_found *found,
	unsigned *count, struct fail *fail);
/* The ids of the namespaces of target->nqn, ascending, at most `room`. */
int nvme_tcp_namespaces(const struct nvme_tcp_target *target, uint32_t *nsids, unsigned room,
	unsigned *count, struct fail *fail);

/* --- VFIO: PCI devices in user space --------------------------------------------------------- */

enum { VFIO_DRIVER_BYTES = 64 };

/* 0 when the device could be taken: it is there, is an NVMe controller, this process may, and there
 * is an IOMMU and a module. Otherwise the sentence says what is missing. Changes nothing. */
int vfio_usable(const char *address, struct fail *fail);
/* Binds the device to vfio-pci; former: the driver it had, "" none. Whether somebody uses the
 * drive is the caller's to know. All or nothing. Also fine when vfio-pci has it already. */
int vfio_take(const char *address, char former[VFIO_DRIVER_BYTES], struct fail *fail);
/* Gives it back: to `former`, or, "", to whatever driver the kernel finds. */
int vfio_give_back(const char *address, const char *former, struct fail *fail);
/* For tests: another /sys and another /dev; NULL: the real ones. */
void vfio_roots(const char *sys, const char *dev);

#endif
