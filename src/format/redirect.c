/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The `redirect` attribute: where the lower part of a renamed object is. */
#include "format/format.h"

#include <errno.h>
#include <string.h>

static bool is_dots(const char *part, size_t len)
{
	return (len == 1 || len == 2) && part[0] == '.' && part[len - 1] == '.';
}

/* Malformed goes before "." and "..": the kernel finds the one when it reads the value and the
 * other when it walks. */
int redirect_check(const char *value, size_t len)
{
	const char *part;
	size_t pos = 0, part_len;
	bool dots = false;

	if (len == 0 || memchr(value, '\0', len))
		return -EINVAL;
	if (value[0] != '/') {
		if (memchr(value, '/', len))
			return -EINVAL;
		return is_dots(value, len) ? -EACCES : 0;
	}
	if (value[len - 1] == '/')
		return -EINVAL;
	while (redirect_next(value, len, &pos, &part, &part_len)) {
		if (part_len == 0)
			return -EINVAL;
		dots = dots || is_dots(part, part_len);
	}
	return dots ? -EACCES : 0;
}

/* Gives a relative redirect as its one component, so that callers need not tell them apart. */
bool redirect_next(const char *value, size_t len, size_t *pos, const char **ret_part,
		   size_t *ret_part_len)
{
	size_t start = *pos, end;
	const char *slash;

	if (start >= len)
		return false;
	if (value[start] == '/')
		start++;
	slash = start < len ? memchr(value + start, '/', len - start) : NULL;
	end = slash ? (size_t)(slash - value) : len;
	*ret_part = value + start;
	*ret_part_len = end - start;
	*pos = end;
	return true;
}
