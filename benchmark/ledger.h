/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a verifying load knows of the content of its span: per unit, which generation was last
 * written and whether a request is in flight on it. Four bytes per unit, only for mixed loads.
 */
#ifndef BENCH_LEDGER_H
#define BENCH_LEDGER_H

#include "benchmark/load.h"

struct ledger {
	enum load_verify verify;
	uint64_t seed;
	uint32_t unit_bytes; /* 4096 where the load allows it, else 512 */
	uint64_t first;	     /* unit at which the span begins */
	/* Bit 31: in flight; below: generation, 0 not known. NULL: every unit is as filled. */
	uint32_t *units;
};

/* Does nothing when spec asks for no verification. */
int ledger_open(struct ledger *ledger, const struct load_spec *spec, struct fail *fail);
void ledger_close(struct ledger *ledger);

/* Takes the units that slot covers for it; stamps its buffer for a write. False: some are in
 * flight, nothing is taken. */
bool ledger_claim(struct ledger *ledger, struct load_slot *slot);
/* The request is over: checks what a read brought, into result, and lets the units go. */
void ledger_settle(struct ledger *ledger, const struct load_slot *slot, int status,
	struct load_result *result);

#endif
