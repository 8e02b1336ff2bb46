/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names in the index: what decodes encodes to the same name. */
#include "base/check.h"
#include "base/cleanup.h"
#include "format/format.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input as a string. */
static char *as_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	CHECK(text);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_FREE char *text = as_text(data, size);
	char name[INDEX_NAME_MAX + 1];
	struct fh fh;

	if (index_name_decode(text, &fh) == 0) {
		index_name_encode(&fh, name);
		CHECK(strcmp(name, text) == 0);
	}
	return 0;
}
