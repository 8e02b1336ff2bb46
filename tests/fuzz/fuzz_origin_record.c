/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records of origins: decoded, encoded, the same but for the case of digits. */
#include "base/check.h"
#include "format/format.h"

#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct origin_record rec, again;
	char out[ORIGIN_RECORD_LEN + 1];

	if (origin_record_decode((const char *)data, size, &rec) < 0)
		return 0;
	origin_record_encode(&rec, out);
	CHECK(size == ORIGIN_RECORD_LEN && !strncasecmp(out, (const char *)data, size));
	CHECK(origin_record_decode(out, strlen(out), &again) == 0);
	CHECK(!memcmp(&rec, &again, sizeof(rec)));
	return 0;
}
