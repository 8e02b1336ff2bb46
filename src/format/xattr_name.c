/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which extended attributes are the overlay's own, and under which name a client's attribute of
 * such a name is kept: PREFIX.NAME set from above becomes PREFIX.overlay.NAME below, one level more
 * each time, so that overlays nest.  Only the prefix in use is treated so, as in the kernel.
 */
#include "format/format.h"

#include <errno.h>
#include <string.h>

#define ESCAPE "overlay."
#define ESCAPE_LEN (sizeof(ESCAPE) - 1)

static bool begins(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static const char *own_prefix(bool userxattr)
{
	return userxattr ? XATTR_USER_OVL : XATTR_TRUSTED_OVL;
}

/* What fuse-overlayfs and container tools keep beside a file for their own use. */
static bool is_foreign_private(const char *name)
{
	return begins(name, XATTR_FUSE_OVL) || strcmp(name, XATTR_OVERRIDE_CONTAINERS) == 0 ||
	       strcmp(name, XATTR_OVERRIDE_PRIVILEGED) == 0;
}

enum xattr_class xattr_classify(const char *stored, bool userxattr)
{
	const char *prefix = own_prefix(userxattr);

	if (is_foreign_private(stored))
		return XATTR_PRIVATE;
	if (!begins(stored, prefix))
		return XATTR_PLAIN;
	return begins(stored + strlen(prefix), ESCAPE) ? XATTR_ESCAPED : XATTR_PRIVATE;
}

int xattr_escape(const char *name, bool userxattr, char *out)
{
	const char *prefix = own_prefix(userxattr);
	size_t prefix_len = strlen(prefix);
	size_t len = strnlen(name, XATTR_NAME_LIMIT + 1);
	bool own = begins(name, prefix);

	if (is_foreign_private(name))
		return -EPERM;
	if (len + (own ? ESCAPE_LEN : 0) > XATTR_NAME_LIMIT)
		return -EOPNOTSUPP;
	if (!own) {
		memcpy(out, name, len + 1);
		return 0;
	}
	memcpy(out, name, prefix_len);
	memcpy(out + prefix_len, ESCAPE, ESCAPE_LEN);
	memcpy(out + prefix_len + ESCAPE_LEN, name + prefix_len, len - prefix_len + 1);
	return 0;
}

int xattr_unescape(const char *stored, bool userxattr, char *out)
{
	size_t prefix_len = strlen(own_prefix(userxattr));
	size_t len = strnlen(stored, XATTR_NAME_LIMIT + 1);

	if (len > XATTR_NAME_LIMIT || xattr_classify(stored, userxattr) != XATTR_ESCAPED)
		return -EINVAL;
	memcpy(out, stored, prefix_len);
	memcpy(out + prefix_len, stored + prefix_len + ESCAPE_LEN,
	       len - prefix_len - ESCAPE_LEN + 1);
	return 0;
}
