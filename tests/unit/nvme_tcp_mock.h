/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NVMe/TCP target on the loopback interface, in threads of this process: one subsystem with one
 * namespace whose blocks are the caller's memory, so that it survives a restart. It can break the
 * protocol in every way that the initiator has to survive, and complains of what the initiator
 * does wrong.
 */
#ifndef TESTS_UNIT_NVME_TCP_MOCK_H
#define TESTS_UNIT_NVME_TCP_MOCK_H

#include <stdbool.h>
#include <stdint.h>

#define MOCK_NQN "nqn.2014-08.org.example:mock"

enum { MOCK_BYTES = 4 << 20 };

/* What goes wrong with an I/O command. */
enum mock_fault {
	MOCK_FINE,
	MOCK_SILENT,	    /* carried out, never answered */
	MOCK_CUT_BEFORE,    /* the connection is cut instead of carrying it out, */
	MOCK_CUT_AFTER,	    /* or of answering, */
	MOCK_CUT_IN_DATA,   /* in the midst of a read's data, */
	MOCK_CUT_IN_ANSWER, /* or of the answer's PDU */
	MOCK_CUT_IN_GRANT,  /* in the midst of an R2T */
	MOCK_PDU_TYPE,	    /* PDUs that make no sense */
	MOCK_PDU_HEADER_BYTES,
	MOCK_PDU_BYTES,
	MOCK_PDU_HUGE,
	MOCK_DATA_PLACE, /* PDO within the header */
	MOCK_UNKNOWN_ID, /* answers to nothing */
	MOCK_STALE_ID,
	MOCK_ANSWER_OLD, /* again, when its id's slot is in use by a write; which is not done */
	MOCK_ANSWER_TWICE,
	MOCK_DATA_TWICE,
	MOCK_DATA_BEYOND, /* offset and length beyond the command */
	MOCK_DATA_LONG,	  /* more than the command asked for */
	MOCK_DATA_GAP,
	MOCK_DATA_MISSING, /* a success without data */
	MOCK_DATA_FOR_WRITE,
	MOCK_DATA_EMPTY,
	MOCK_GRANT_BEYOND,
	MOCK_GRANT_EMPTY,
	MOCK_GRANT_FOR_READ,
	MOCK_GRANT_TWICE,
	MOCK_HEADER_DIGEST, /* wrong ones */
	MOCK_DATA_DIGEST,
	MOCK_DIGEST_FLAG,
	MOCK_TERMINATE,
	MOCK_STATUS, /* answered with mock_config.status */
	MOCK_FAULTS,
};

/* What goes wrong before there is I/O. */
enum mock_refusal {
	MOCK_WELCOME,
	MOCK_MUTE,	  /* accepts, and says nothing */
	MOCK_CUT_ACCEPT,  /* hangs up after accepting, */
	MOCK_CUT_REQUEST, /* after the ICReq, */
	MOCK_CUT_CONNECT, /* after Connect */
	MOCK_NOISE,	  /* says something else */
	MOCK_VERSION,
	MOCK_LIMIT,	/* MAXH2CDATA 16 */
	MOCK_ALIGNMENT, /* CPDA 200 */
	MOCK_AUTHENTICATE,
	MOCK_BUSY,
	MOCK_STRANGER, /* does not know this host */
	MOCK_NEVER_READY,
	MOCK_FATAL,
};

/* What goes wrong while it authenticates (authentication.h). */
enum mock_auth_fault {
	MOCK_AUTH_FINE,
	MOCK_AUTH_STATUS,     /* Authentication Send is refused, */
	MOCK_AUTH_NO_RECEIVE, /* Authentication Receive is, */
	MOCK_AUTH_FAILURE1,   /* the answer to Negotiate is Failure1 */
	MOCK_AUTH_MESSAGE,    /* another message than the challenge, */
	MOCK_AUTH_TRANSACTION,
	MOCK_AUTH_HASH, /* 9; */
	MOCK_AUTH_HASH_BYTES,
	MOCK_AUTH_GROUP, /* 9; */
	MOCK_AUTH_PUBLIC_BYTES,
	MOCK_AUTH_PUBLIC,	  /* 1 */
	MOCK_AUTH_SHORT,	  /* nothing comes, and all is well */
	MOCK_AUTH_CUT,		  /* instead of the challenge, */
	MOCK_AUTH_CUT_REPLY,	  /* or of what answers the reply */
	MOCK_AUTH_WRONG_RESPONSE, /* of the controller */
	MOCK_AUTH_NO_RESPONSE,
};

struct mock_auth {
	const char *secret;	       /* "DHHC-1:...", NULL: none is demanded */
	const char *controller_secret; /* NULL: none */
	unsigned hash, group;
	enum mock_auth_fault fault;
	uint8_t explanation; /* of MOCK_AUTH_FAILURE1 */
	bool fault_on_io;    /* on I/O queues, instead of the admin queue */
};

struct mock_config {
	unsigned lba_shift;	/* 9 or 12 */
	unsigned capsule_bytes; /* in-capsule data of I/O commands */
	unsigned mdts;
	unsigned alignment;   /* CPDA */
	uint32_t h2c_bytes;   /* MAXH2CDATA */
	uint32_t grant_bytes; /* of one R2T; 0: all */
	uint32_t c2h_bytes;   /* of one C2HData; 0: all */
	bool success_flag;    /* the last C2HData stands for the answer */
	bool shuffle;	      /* answers overtake each other */
	bool no_digests;
	bool volatile_cache, no_write_zeroes, no_dataset, metadata;
	unsigned queues, entries; /* 0: 8, 128 */
	uint8_t uuid;		  /* of the namespace: every byte */
	uint8_t ana_state;	  /* 0: no ANA */
	uint32_t bytes;		  /* of the namespace; 0: MOCK_BYTES */
	bool gone;		  /* the namespace is */
	bool no_events;		  /* asynchronous event requests are refused */
	unsigned status;	  /* of MOCK_STATUS */
	enum mock_refusal refusal;
	struct mock_auth auth;
	unsigned corrupt_per_million; /* bytes sent, flipped */
	bool corrupt_admin;	      /* there as well */
	uint64_t seed;
};

/* What it has seen. */
struct mock_counts {
	unsigned connections, io_connections, connects, disables, keep_alives;
	unsigned authentications, mutual_authentications; /* that went well */
	unsigned reads, writes, stable_writes, flushes, zeroes, unmaps, discards;
	unsigned grants, h2c_data;
	unsigned events, event_requests; /* told; asked for */
};

struct mock;

extern const struct mock_config mock_default;

/* Port 0: any. Content: MOCK_BYTES. */
struct mock *mock_start(const struct mock_config *config, char *content, uint16_t port);
/* Cuts all connections and frees it. */
void mock_stop(struct mock *mock);
uint16_t mock_port(const struct mock *mock);

/* From now on, `count` of the reads or writes, after `after` more of them. */
void mock_fault(
	struct mock *mock, enum mock_fault fault, bool writes, unsigned after, unsigned count);
void mock_count(struct mock *mock, struct mock_counts *counts);
/* What the initiator has done wrong; "" nothing. */
const char *mock_complaint(struct mock *mock);
/* The namespace, and how it is reached, are others from now on: ana_state, bytes, gone and uuid of
 * *config. Nobody is told. */
void mock_change(struct mock *mock, const struct mock_config *config);
/* An asynchronous event, DW0, to every host that waits for one: those that ask for it now, or will;
 * MOCK_BABBLE is the answer to a request that there is not. */
enum { MOCK_BABBLE = 0xffff };
void mock_event(struct mock *mock, uint32_t event);
/* No byte leaves or is taken any more, and no connection is closed: as if a cable was pulled. */
void mock_freeze(struct mock *mock, bool frozen);

#endif
