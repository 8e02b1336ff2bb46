/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The value of override_stat: decoded, encoded, decoded, the same. */
#include "base/check.h"
#include "format/format.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct override_stat o, again;
	char out[OVERRIDE_STAT_MAX];
	size_t len;

	if (override_stat_decode((const char *)data, size, &o) < 0)
		return 0;
	CHECK((o.mode & ~07777u) == 0);
	len = override_stat_encode(&o, out);
	CHECK(len < sizeof(out));
	CHECK(override_stat_decode(out, len, &again) == 0);
	CHECK(memcmp(&o, &again, sizeof(o)) == 0);
	return 0;
}
