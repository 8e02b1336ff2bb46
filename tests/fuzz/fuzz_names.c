/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of files and of extended attributes. */
#include "base/check.h"
#include "base/cleanup.h"
#include "base/log.h"
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

/* What a client sets comes back under its name, and never under one of the overlay's own. */
static void check_attribute(const char *name, bool userxattr)
{
	char stored[XATTR_NAME_LIMIT + 1], back[XATTR_NAME_LIMIT + 1];

	if (xattr_escape(name, userxattr, stored) < 0)
		return;
	CHECK(strlen(stored) <= XATTR_NAME_LIMIT);
	switch (xattr_classify(stored, userxattr)) {
	case XATTR_PLAIN:
		CHECK(strcmp(stored, name) == 0);
		break;
	case XATTR_ESCAPED:
		CHECK(xattr_unescape(stored, userxattr, back) == 0);
		CHECK(strcmp(back, name) == 0);
		break;
	case XATTR_PRIVATE: /* never: it would become the overlay's own */
		CHECK(false);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_FREE char *text = as_text(data, size);
	char back[XATTR_NAME_LIMIT + 1];
	const char *target = dot_wh_target(text);
	struct log_name quoted = log_quote(text);

	check_attribute(text, false);
	check_attribute(text, true);
	(void)xattr_unescape(text, false, back);
	(void)xattr_unescape(text, true, back);
	CHECK(!target || (name_is_dot_wh(text) && *target && !name_is_dot_wh(target)));
	CHECK(strlen(quoted.text) < sizeof(quoted.text) && quoted.text[0] == '"');
	return 0;
}
