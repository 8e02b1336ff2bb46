/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The `nlink` attribute of an indexed file: how far its count is from the upper's or the lower's. */
#include "format/format.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "base/parse.h"

int nlink_decode(const char *value, size_t len, struct nlink_diff *ret)
{
	bool negative = false;
	uint64_t number;
	size_t at = 1;

	/* A base, a sign and ten digits are the most there can be. */
	if (len < 2 || len > 12 || (value[0] != 'U' && value[0] != 'L'))
		return -EINVAL;
	if (value[at] == '+' || value[at] == '-')
		negative = value[at++] == '-';
	if (parse_u64_base(value + at, (unsigned)(len - at), 10, &number) < 0)
		return -EINVAL;
	if (number > (uint64_t)INT32_MAX + (negative ? 1u : 0u))
		return -EINVAL;
	ret->lower = value[0] == 'L';
	ret->diff = (int32_t)(negative ? -(int64_t)number : (int64_t)number);
	return 0;
}

size_t nlink_encode(const struct nlink_diff *diff, char out[16])
{
	int n = snprintf(out, 16, "%c%+d", diff->lower ? 'L' : 'U', diff->diff);

	CHECK(n > 0 && n < 16);
	return (size_t)n;
}
