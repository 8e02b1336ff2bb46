/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The `protattr` attribute: `a` for append-only, `i` for immutable. */
#include "format/format.h"

#include <errno.h>

/* The longest value that the kernel looks at. */
#define PROTATTR_LIMIT 32u

int protattr_decode(const char *value, size_t len, unsigned *ret)
{
	unsigned attrs = 0;

	if (len == 0 || len > PROTATTR_LIMIT)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (value[i] == 'a')
			attrs |= PROTATTR_APPEND;
		else if (value[i] == 'i')
			attrs |= PROTATTR_IMMUTABLE;
		else
			return -EINVAL;
	}
	*ret = attrs;
	return 0;
}

size_t protattr_encode(unsigned attrs, char out[4])
{
	size_t len = 0;

	if (attrs & PROTATTR_APPEND)
		out[len++] = 'a';
	if (attrs & PROTATTR_IMMUTABLE)
		out[len++] = 'i';
	out[len] = '\0';
	return len;
}
