/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The `metacopy` attribute: nothing, or {version 0, length of all, flags, algorithm, digest}. */
#include "format/format.h"

#include <errno.h>
#include <string.h>

#define HEADER 4u

/* The flags are not looked at, as in the kernel. */
int metacopy_decode(const void *value, size_t len, struct metacopy *ret)
{
	const uint8_t *v = value;
	struct metacopy m = { 0 };

	if (len == 0) {
		*ret = m;
		return 0;
	}
	if (len < HEADER || v[0] != 0 || v[1] != len || len - HEADER > sizeof(m.digest))
		return -EINVAL;
	m.algorithm = v[3];
	if (m.algorithm != 0) {
		m.digest_len = (uint8_t)(len - HEADER);
		memcpy(m.digest, v + HEADER, m.digest_len);
	}
	*ret = m;
	return 0;
}
