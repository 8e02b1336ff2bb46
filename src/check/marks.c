/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The overlay's own attributes, as the check reads and writes them: all of one object by one list. */
#include "check.h"

#include <errno.h>

#define LIST_MAX 65536u /* XATTR_LIST_MAX */

static const char *prefix_in_use(const struct check *c)
{
	return c->userxattr ? XATTR_USER_OVL : XATTR_TRUSTED_OVL;
}

static const char *after(const char *name, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(name, prefix, len) ? NULL : name + len;
}

static void note_own(struct marks *m, const char *rest)
{
	const struct {
		const char *name;
		bool *flag;
	} known[] = {
		{ "opaque", &m->opaque },     { "redirect", &m->redirect },
		{ "metacopy", &m->metacopy }, { "origin", &m->origin },
		{ "impure", &m->impure },     { "whiteout", &m->whiteout },
		{ "nlink", &m->nlink },	      { "protattr", &m->protattr },
		{ "upper", &m->upper },	      { "uuid", &m->uuid },
	};

	m->any = true;
	if (after(rest, "overlay.")) /* an escaped one: a client's */
		return;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (strcmp(rest, known[i].name) != 0)
			continue;
		*known[i].flag = true;
		return;
	}
	(void)snprintf(m->unknown, sizeof(m->unknown), "%s", rest); /* a long one is cut */
}

static void note(const struct check *c, struct marks *m, const char *name)
{
	const char *rest = after(name, prefix_in_use(c));

	if (rest) {
		note_own(m, rest);
		return;
	}
	rest = after(name, c->userxattr ? XATTR_TRUSTED_OVL : XATTR_USER_OVL);
	if (rest) {
		m->other_opaque |= !strcmp(rest, "opaque");
		return;
	}
	if (!strcmp(name, XATTR_OVERRIDE_CONTAINERS) || !strcmp(name, XATTR_OVERRIDE_FUSE) ||
	    !strcmp(name, XATTR_OVERRIDE_PRIVILEGED)) {
		m->override = m->any = true;
		(void)snprintf(m->override_name, sizeof(m->override_name), "%s", name);
		return;
	}
	rest = after(name, XATTR_FUSE_OVL);
	if (!rest)
		return;
	m->any = true;
	if (!strcmp(rest, "opaque"))
		m->fuse_opaque = true;
	else if (!strcmp(rest, "origin"))
		m->fuse_origin = true;
	else
		m->fuse_other = true;
}

int marks_read(struct check *c, int dirfd, const char *name, struct marks *ret)
{
	char small[1024];
	CLEANUP_FREE char *big = NULL;
	char *list = small;
	ssize_t n = sys_listxattr(dirfd, name, small, sizeof(small));

	*ret = (struct marks){ 0 };
	if (n == -ERANGE) {
		list = big = malloc(LIST_MAX);
		if (!big)
			return -ENOMEM;
		n = sys_listxattr(dirfd, name, big, LIST_MAX);
	}
	if (n == -EOPNOTSUPP || n == -ENOSYS || n == -E2BIG || n == -ENOENT)
		return 0;
	if (n < 0)
		return (int)n;
	for (size_t pos = 0; pos < (size_t)n;) {
		size_t len = strnlen(list + pos, (size_t)n - pos);

		if (pos + len == (size_t)n)
			break;
		note(c, ret, list + pos);
		pos += len + 1;
	}
	return 0;
}

static const char *full_name(const struct check *c, const char *mark, char out[64])
{
	(void)snprintf(out, 64, "%s%s", prefix_in_use(c), mark); /* our own names: short */
	return out;
}

ssize_t mark_get(struct check *c, int dirfd, const char *name, const char *mark, void *value,
		 size_t size)
{
	char full[64];

	return sys_getxattr(dirfd, name, full_name(c, mark, full), value, size);
}

int mark_set(struct check *c, int dirfd, const char *name, const char *mark, const void *value,
	     size_t size)
{
	char full[64];

	return sys_setxattr(dirfd, name, full_name(c, mark, full), value, size, 0);
}

int mark_remove(struct check *c, int dirfd, const char *name, const char *mark)
{
	char full[64];
	int r = sys_removexattr(dirfd, name, full_name(c, mark, full));

	return r == -ENODATA ? 0 : r;
}

int mark_get_fh(struct check *c, int dirfd, const char *name, const char *mark, struct fh *ret)
{
	struct fh_view view;
	struct fh fh;
	ssize_t n = mark_get(c, dirfd, name, mark, fh.bytes, sizeof(fh.bytes));
	int r;

	if (n == -ERANGE)
		return -EINVAL;
	if (n < 0)
		return (int)n;
	r = fh_decode(fh.bytes, (size_t)n, &view);
	if (r < 0)
		return r;
	fh.len = (uint8_t)view.len;
	*ret = fh;
	return 0;
}
