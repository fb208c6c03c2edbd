/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fail.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fail_set(struct fail *fail, int error, const char *format, ...)
{
	va_list arguments;

	assert(error > 0);
	if (!fail)
		return -error;
	fail->error = error;
	va_start(arguments, format);
	vsnprintf(fail->text, sizeof(fail->text), format, arguments);
	va_end(arguments);
	return -error;
}

int fail_prefix(struct fail *fail, const char *format, ...)
{
	char old[FAIL_TEXT_BYTES];
	va_list arguments;
	int used;

	memcpy(old, fail->text, sizeof(old));
	va_start(arguments, format);
	used = vsnprintf(fail->text, sizeof(fail->text), format, arguments);
	va_end(arguments);
	if (used >= 0 && used < (int)sizeof(fail->text))
		snprintf(fail->text + used, sizeof(fail->text) - used, ": %s", old);
	return -fail->error;
}
