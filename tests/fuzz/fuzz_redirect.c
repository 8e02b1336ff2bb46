/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Redirects: the components of a good one are names, and make up the whole. */
#include "base/check.h"
#include "format/format.h"

#include <errno.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *value = (const char *)data, *part;
	size_t pos = 0, len, sum = 0, n = 0;
	int r = redirect_check(value, size);

	CHECK(r == 0 || r == -EINVAL || r == -EACCES);
	while (redirect_next(value, size, &pos, &part, &len)) {
		CHECK(part >= value && part + len <= value + size && pos <= size);
		CHECK(r != 0 || (len > 0 && !memchr(part, '/', len) && !memchr(part, '\0', len)));
		CHECK(r != 0 || !(part[0] == '.' && (len == 1 || (len == 2 && part[1] == '.'))));
		sum += len;
		n++;
	}
	if (r == 0)
		CHECK(sum + (value[0] == '/' ? n : 0) == size && n > 0);
	return 0;
}
