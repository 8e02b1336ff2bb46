/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Strict parsing of numbers.  Takes no lock, allocates nothing, does not look at the locale. */
#include "base/parse.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define NO_DIGIT 255u

static unsigned digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a') + 10u;
	if (c >= 'A' && c <= 'F')
		return (unsigned)(c - 'A') + 10u;
	return NO_DIGIT;
}

int parse_u64_base(const char *s, unsigned len, unsigned base, uint64_t *ret)
{
	uint64_t value = 0;
	bool too_big = false;

	if (len == 0 || (base != 8 && base != 10 && base != 16))
		return -EINVAL;
	/* To the end even after an overflow: what is no number at all is -EINVAL however long. */
	for (unsigned i = 0; i < len; i++) {
		unsigned digit = digit_value(s[i]);

		if (digit >= base)
			return -EINVAL;
		if (__builtin_mul_overflow(value, (uint64_t)base, &value) ||
		    __builtin_add_overflow(value, (uint64_t)digit, &value))
			too_big = true;
	}
	if (too_big)
		return -ERANGE;
	*ret = value;
	return 0;
}

int parse_u64(const char *s, uint64_t *ret)
{
	size_t len = strlen(s);

	/* Longer than anybody's option: no number. */
	if (len > 4096)
		return -EINVAL;
	return parse_u64_base(s, (unsigned)len, 10, ret);
}

int parse_u32(const char *s, uint32_t *ret)
{
	uint64_t value;
	int r = parse_u64(s, &value);

	if (r < 0)
		return r;
	if (value > UINT32_MAX)
		return -ERANGE;
	*ret = (uint32_t)value;
	return 0;
}
