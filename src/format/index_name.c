/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names in the index directory: a stored handle in lower-case hex. */
#include "format/format.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"

void index_name_encode(const struct fh *fh, char out[INDEX_NAME_MAX + 1])
{
	static const char digits[] = "0123456789abcdef";
	size_t at = 0;

	CHECK(fh->len <= FH_MAX);
	for (size_t i = 0; i < fh->len; i++) {
		out[at++] = digits[fh->bytes[i] >> 4];
		out[at++] = digits[fh->bytes[i] & 15];
	}
	out[at] = '\0';
}

/* The value of a digit, or -1.  Capitals are not taken: no lookup would find such a name. */
static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int index_name_decode(const char *name, struct fh *ret)
{
	size_t len = strnlen(name, INDEX_NAME_MAX + 2); /* one too many would be odd */
	struct fh_view view;
	struct fh fh;
	int r;

	if (len % 2 || len < 2 * (size_t)FH_HEADER || len > INDEX_NAME_MAX)
		return -EINVAL;
	for (size_t i = 0; i < len / 2; i++) {
		int high = hex_value(name[2 * i]), low = hex_value(name[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		fh.bytes[i] = (uint8_t)(high << 4 | low);
	}
	r = fh_decode(fh.bytes, len / 2, &view);
	if (r < 0)
		return r;
	/* Bytes behind the handle would make two names of one. */
	if (view.len != len / 2)
		return -EINVAL;
	fh.len = (uint8_t)view.len;
	*ret = fh;
	return 0;
}
