/* SPDX-License-Identifier: Apache-2.0 */
#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char letters[] = "KMGTPE";

/* The factor of a suffix: "", "K", "KiB", "KB", "B". 0 when it is none. */
static uint64_t suffix_factor(const char *suffix, uint64_t bare_unit)
{
	const char *letter;
	uint64_t base = 1024, factor = 1;

	if (!*suffix)
		return bare_unit;
	if (!strcasecmp(suffix, "b"))
		return 1;
	letter = strchr(letters, toupper((unsigned char)*suffix));
	if (!letter)
		return 0;
	if (!strcasecmp(suffix + 1, "b"))
		base = 1000;
	else if (suffix[1] && strcasecmp(suffix + 1, "ib"))
		return 0;
	for (const char *at = letters; at <= letter; at++)
		factor *= base;
	return factor;
}

int units_parse(uint64_t *bytes, const char *text, uint64_t bare_unit, struct fail *fail)
{
	char *end;
	double number;
	uint64_t factor;

	if (!isdigit((unsigned char)*text))
		return fail_set(
			fail, EINVAL, "'%s' is no size: write a number like 128K or 1.8T", text);
	number = strtod(text, &end);
	/* Not what else strtod() takes: 0x10, 1e3. */
	if ((size_t)(end - text) != strspn(text, "0123456789."))
		end = (char *)text + strspn(text, "0123456789.");
	factor = suffix_factor(end, bare_unit);
	if (!factor || !isfinite(number))
		return fail_set(fail, EINVAL,
			"'%s' is no size: '%s' is no unit, use K, M, G, T (1024s) or KB, MB, GB, "
			"TB (1000s)",
			text, end);
	if (number * (double)factor >= 0x1p63)
		return fail_set(fail, EINVAL, "the size '%s' is too large", text);
	if (strspn(text, "0123456789") == (size_t)(end - text))
		*bytes = strtoull(text, NULL, 10) * factor;
	else
		*bytes = (uint64_t)(number * (double)factor);
	return 0;
}

char *units_print(uint64_t bytes, char *text)
{
	double value = (double)bytes;
	int unit = -1;

	while (value >= 1024 && unit < (int)sizeof(letters) - 2) {
		value /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(text, UNITS_TEXT_BYTES, "%u B", (unsigned)bytes);
	else
		snprintf(text, UNITS_TEXT_BYTES, value == floor(value) ? "%.0f %ciB" : "%.1f %ciB",
			value, letters[unit]);
	return text;
}

int name_check(const char *name, const char *what, struct fail *fail)
{
	size_t length = strlen(name);
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

	if (!length || length > 63 || strspn(name, allowed) != length || strchr(".-", name[0]))
		return fail_set(fail, EINVAL,
			"%s '%s' is no usable name: use 1 to 63 letters, digits, '.', '_' or '-', "
			"beginning with neither '.' nor '-'",
			what, name);
	return 0;
}
