/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A failure as the operator gets it: an errno value and one sentence that says what was wrong,
 * why, and what to do. Control functions take a struct fail as their last argument and return
 * 0 or -errno; the I/O path returns -errno alone.
 */
#ifndef BASE_FAIL_H
#define BASE_FAIL_H

enum { FAIL_TEXT_BYTES = 512 };

struct fail {
	int error; /* positive errno value; 0: nothing failed */
	char text[FAIL_TEXT_BYTES];
};

/* Records the failure and returns -error, so that callers write return fail_set(...). A NULL
 * fail records nothing. error: a positive errno value. */
int fail_set(struct fail *fail, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the sentence that is there. Returns -fail->error. */
int fail_prefix(struct fail *fail, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
