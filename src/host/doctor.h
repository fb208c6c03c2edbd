/* SPDX-License-Identifier: Apache-2.0 */
/* What this host has and lacks for braid, with the lines that mend it. Reads only; any thread. */
#ifndef HOST_DOCTOR_H
#define HOST_DOCTOR_H

#include <stddef.h>

enum doctor_verdict {
	DOCTOR_OK,
	DOCTOR_ADVICE,	/* works without */
	DOCTOR_MISSING, /* something that braid is asked to do will not work */
};

enum { DOCTOR_TEXT_BYTES = 256, DOCTOR_FIX_BYTES = 512, DOCTOR_FINDINGS_MAX = 64 };

struct doctor_finding {
	const char *check;
	enum doctor_verdict verdict;
	char found[DOCTOR_TEXT_BYTES];
	char fix[DOCTOR_FIX_BYTES]; /* lines for a shell, or what to do; "" when OK */
};

/* Fills findings, of DOCTOR_FINDINGS_MAX; returns how many. */
size_t doctor_look(struct doctor_finding *findings);
const char *doctor_verdict_name(enum doctor_verdict verdict);

#endif
