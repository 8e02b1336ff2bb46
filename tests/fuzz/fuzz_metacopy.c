/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The value of the metacopy attribute. */
#include "base/check.h"
#include "format/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct metacopy m;

	if (metacopy_decode(data, size, &m) == 0) {
		CHECK(m.digest_len <= sizeof(m.digest));
		CHECK(m.digest_len == 0 || m.digest_len + 4u == size);
		CHECK(m.algorithm != 0 || m.digest_len == 0);
	}
	return 0;
}
