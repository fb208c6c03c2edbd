/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon knows: drives, arrays, volumes, controllers and jobs, by name. One lock guards
 * all of it; RPC handlers hold it, and so do jobs and the monitor where they look or change
 * something. Nothing here is touched by the I/O path.
 *
 * Nobody holds it while a drive or a target is waited for: daemon_let_go(). What the waiting one
 * goes on with afterwards stays: a drive that is `opening`, a controller that is `kept`
 * (control/nvmes.h); who would free such a thing waits for its turn with daemon_wait().
 *
 *	drive <--claims-- array <--has-- volume <--exports-- controller
 *
 * The truth is on the drives: superblocks say what an array is, its notes which volumes and
 * controllers it has. The state file (control/state.h) remembers where the drives were.
 */
#ifndef CONTROL_DAEMON_H
#define CONTROL_DAEMON_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/fail.h"
#include "base/list.h"
#include "block/blockdev.h"
#include "control/state.h"
#include "control/throttle.h"
#include "raid/array.h"
#include "raid/assembly.h"
#include "vhost/controller.h"

enum { DRIVE_SOURCE_BYTES = 4096, ATTENDANTS = 2 };

/* How a drive was attached; what attaches it again. */
struct drive_options {
	uint32_t block_bytes; /* 0: what suits the drive, 4096 where that goes */
	bool injectable;
	uint32_t delay_us, jitter_us;
};

struct drive {
	char name[BLOCKDEV_NAME_BYTES];
	/* A path, nvme:SERIAL/NSID, nvme+tcp://..., ram:NAME:BYTES or null:NAME:BYTES. */
	char source[DRIVE_SOURCE_BYTES];
	struct drive_options options;
	struct blockdev *dev;	 /* NULL: it is not there, but remembered */
	struct blockdev *bottom; /* NVMe: below the layers */
	struct nvme_entry *nvme; /* NVMe over PCIe: its controller */
	char address[16];	 /* NVMe over PCIe: where it was last */
	char identity[128];	 /* NVMe: of the namespace, the same wherever it is; "" */
	uint32_t lba_bytes;	 /* NVMe: of the medium */
	uint64_t retry_after_ns; /* dev is NULL: not before */
	char driver[16];
	char note[FAIL_TEXT_BYTES]; /* why direct I/O is not used, or why it is not there; "" */
	char fingerprint[SUPERBLOCK_FINGERPRINT_BYTES];
	dev_t device; /* of a file: where it lies; with inode its identity */
	ino_t inode;  /* 0: a block device, and `device` is its number */
	/* What it said when it was last read; NULL: nothing. While its array runs only the two
	 * uuids below are kept right. */
	struct superblock *superblock;
	bool damaged;			     /* there was a superblock once */
	bool locked;			     /* dev is NULL: another process has it */
	bool opening;			     /* dev is NULL: it belongs to whoever waits for it */
	struct uuid array_uuid, member_uuid; /* null: a member of nothing */
	bool is_spare;			     /* for any array that needs one */
	struct list_node link;
};

struct volume_entry {
	char name[ARRAY_NAME_BYTES];
	struct array_entry *array;
	struct blockdev *dev;
	struct list_node link; /* in array->volumes, by position */
};

/*
 *	MAKING --> RUNNING <--> HELD            (array stop, array start)
 *	              ^
 *	WAITING ------+   INCOMPLETE, REFUSED, FOREIGN: listed, until drives come or the operator
 *	                  starts or imports it
 */
enum array_phase {
	PHASE_MAKING,	  /* a job clears the drives */
	PHASE_WAITING,	  /* could start degraded, but more drives may come until deadline_ns */
	PHASE_INCOMPLETE, /* too few drives are there */
	PHASE_REFUSED,	  /* see why */
	PHASE_FOREIGN,	  /* of another host */
	PHASE_HELD,	  /* stopped by the operator, for this run of the daemon */
	PHASE_RUNNING,
};

/* What the operator said of a kind of sweep; kept until that sweep is done. */
struct sweep_setting {
	bool paused;
	bool automatic; /* steered by the guests' latency: control/throttle.h */
	uint64_t limit_bytes_per_second;
};

struct array_entry {
	char name[ARRAY_NAME_BYTES];
	struct uuid uuid; /* null while it is being made */
	enum array_phase phase;
	struct array *array;	    /* RUNNING */
	struct array_config config; /* MAKING */
	struct assembly *assembly;  /* found and not running; NULL: none of its drives is there */
	uint64_t deadline_ns;	    /* WAITING: then it starts as it is. 0: not set */
	bool held;		    /* HELD */
	bool start_failed;	    /* why says how; until other drives are there */
	bool seen;		    /* by the assembly pass that runs */
	char why[FAIL_TEXT_BYTES];  /* it does not run */
	char notes_trouble[FAIL_TEXT_BYTES]; /* why its volumes cannot be changed; "" */
	struct list volumes;
	uint64_t made_at; /* seconds since 1970 */
	struct sweep_setting settings[SWEEPS];
	int wanted_sweep;	       /* SWEEP_SCRUB or SWEEP_REPAIR that was asked for; -1 */
	struct sweep_mark wanted_mark; /* how far that one has got; in the state file */
	uint64_t marked_ns;	       /* when wanted_mark was taken */
	struct throttle throttle;
	uint64_t throttled_ns;	 /* its last tick */
	uint64_t sweep_after_ns; /* not before: the last one failed */
	/* What the monitor saw last. */
	struct {
		enum array_state state;
		bool spares_missing;
		char spare_trouble[FAIL_TEXT_BYTES];
	} seen_last;
	struct list_node link;
};

/* A controller, also one that cannot be had now: it is not forgotten. */
struct export
{
	struct controller_config config; /* as it runs, or would */
	char cores[CPUMASK_TEXT_BYTES];	 /* as asked for; "": all */
	bool own_path;			 /* the socket was asked for by name */
	struct controller *controller;	 /* NULL: see trouble */
	char trouble[FAIL_TEXT_BYTES];
	char volume_name[ARRAY_NAME_BYTES]; /* "": the whole array */
	struct volume_entry *volume;	    /* NULL: the whole array, or it is not there */
	struct array_entry *array;
	struct list_node link;
};

struct daemon_options {
	const char *run_dir, *state_dir;
	double assemble_wait_s;
	bool auto_rebuild;
};

struct daemon {
	pthread_mutex_t lock;
	pthread_cond_t settled; /* somebody has what it had let go of the lock for */
	pthread_cond_t ending;	/* stopping is set */
	bool alone;		/* it starts or ends, and serves nobody: the lock is kept */
	struct reactor_group *group;
	char run_dir[64];
	struct list drives, nvmes, arrays, exports, jobs;
	struct list sockets; /* control/sockets.h: empty but while the daemon starts */
	unsigned last_job;
	struct uuid host_id;
	struct state state;
	uint64_t assemble_wait_ns;
	uint64_t searched_ns; /* when drives were last looked for elsewhere */
	uint64_t nvme_searched_ns;
	uint32_t nvme_picture; /* of what was plugged in then */
	bool auto_rebuild;
	/* The monitor, and the attendants. */
	pthread_t monitor, attendants[ATTENDANTS];
	pthread_cond_t wake;
	bool stopping;
};

void daemon_init(
	struct daemon *daemon, struct reactor_group *group, const struct daemon_options *options);
/* Cancels jobs, ends exports, stops arrays and closes drives. */
void daemon_shutdown(struct daemon *daemon);

/* Others have the lock while the caller waits for a drive or a target, until it takes it back:
 * everything may be different then, but for what is kept (see above). While the daemon is alone
 * these do nothing: nobody is served before what was is there. */
void daemon_let_go(struct daemon *daemon);
void daemon_take_back(struct daemon *daemon);
/* Something that was kept so is not any more. */
void daemon_settled(struct daemon *daemon);
/* Until somebody says so; the lock is free meanwhile, so look everything up again. */
void daemon_wait(struct daemon *daemon);

/* NULL when there is none of that name; with a sentence in the second form. */
struct drive *drive_find(struct daemon *daemon, const char *name);
struct drive *drive_of(struct daemon *daemon, const struct blockdev *dev);
struct drive *drive_of_member(struct daemon *daemon, const struct uuid *member);
/* By name, or by uuid. */
struct array_entry *array_find(struct daemon *daemon, const char *name, struct fail *fail);
struct array_entry *array_find_uuid(struct daemon *daemon, const struct uuid *uuid);
/* The same, and it runs. */
struct array_entry *running_array(struct daemon *daemon, const char *name, struct fail *fail);
struct volume_entry *volume_find(struct daemon *daemon, const char *name, struct fail *fail);
struct export *export_find(struct daemon *daemon, const char *name);

/* Sets the owners of an array's stripes from the exports of its volumes. */
int exports_set_owners(struct daemon *daemon, struct array_entry *array, struct fail *fail);

uint64_t monotonic_ns(void);

/* Frees one thing each; nothing uses it any more. */
/* The drive is absent from then on. */
void drive_close(struct drive *drive);
void drive_free(struct drive *drive);
/* Stops the array when it runs. */
void array_free(struct array_entry *entry);
void volume_free(struct volume_entry *volume);
void export_free(struct export *export);
/* Ends all exports and forgets all volumes of an array; its notes keep them. */
void array_clear(struct daemon *daemon, struct array_entry *entry);

#endif
