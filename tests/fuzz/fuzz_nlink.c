/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The values of the nlink and protattr attributes: decoded, encoded, decoded, the same. */
#include "base/check.h"
#include "format/format.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *value = (const char *)data;
	struct nlink_diff diff, again;
	unsigned attrs, attrs_again;
	char out[16];
	size_t len;

	if (nlink_decode(value, size, &diff) == 0) {
		len = nlink_encode(&diff, out);
		CHECK(nlink_decode(out, len, &again) == 0);
		CHECK(again.lower == diff.lower && again.diff == diff.diff);
	}
	if (protattr_decode(value, size, &attrs) == 0) {
		len = protattr_encode(attrs, out);
		CHECK(protattr_decode(out, len, &attrs_again) == 0);
		CHECK(attrs == attrs_again && attrs != 0);
	}
	return 0;
}
