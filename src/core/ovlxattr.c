/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The overlay's own extended attributes in the layers: finding, reading and writing them.
 *
 * Which prefixes count.  The prefix in use (trusted.overlay., or user.overlay. without privilege)
 * counts everywhere and fully.  The opaque mark of the other prefix counts in lower layers, where
 * tools of another user may have unpacked it; never in upper, where whoever owns a directory could
 * set user.overlay.* without privilege.  user.fuseoverlayfs.opaque counts everywhere: clients cannot
 * set it through the mount.
 */
#include "core.h"

#include <errno.h>
#include <stdio.h>

static const char *prefix_in_use(const struct lam_stack *s)
{
	return s->userxattr ? XATTR_USER_OVL : XATTR_TRUSTED_OVL;
}

static const char *after_prefix(const char *name, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(name, prefix, len) ? NULL : name + len;
}

static int read_opaque(int dirfd, const char *name, const char *attr, struct ovl_xattrs *x)
{
	char value[8];
	ssize_t n = sys_getxattr(dirfd, name, attr, value, sizeof(value));

	if (n == -ENODATA)
		return 0;
	if (n < 0 && n != -ERANGE)
		return (int)n;
	if (n == 1 && value[0] == 'y')
		x->opaque = true;
	else if (n == 1 && value[0] == 'x')
		x->opaque_x = true;
	return 0;
}

static int note(struct lam_stack *s, uint16_t layer, int dirfd, const char *name, const char *attr,
		struct ovl_xattrs *x)
{
	const char *in_use = prefix_in_use(s), *rest;

	rest = after_prefix(attr, in_use);
	if (rest) {
		if (!strcmp(rest, "opaque"))
			return read_opaque(dirfd, name, attr, x);
		x->redirect |= !strcmp(rest, "redirect");
		x->metacopy |= !strcmp(rest, "metacopy");
		x->origin |= !strcmp(rest, "origin");
		x->impure |= !strcmp(rest, "impure");
		x->whiteout |= !strcmp(rest, "whiteout");
		x->nlink |= !strcmp(rest, "nlink");
		x->protattr |= !strcmp(rest, "protattr");
		x->upper |= !strcmp(rest, "upper");
		return 0;
	}
	rest = after_prefix(attr, XATTR_FUSE_OVL);
	if (rest) {
		if (!strcmp(rest, "opaque"))
			return read_opaque(dirfd, name, attr, x);
		x->fuse_origin |= !strcmp(rest, "origin");
		return 0;
	}
	if (layer == LAYER_UPPER)
		return 0;
	rest = after_prefix(attr, s->userxattr ? XATTR_TRUSTED_OVL : XATTR_USER_OVL);
	if (rest && !strcmp(rest, "opaque"))
		return read_opaque(dirfd, name, attr, x);
	if (rest && !strcmp(rest, "whiteout"))
		x->whiteout = true;
	return 0;
}

/* Go through a list of names; a list that is not terminated is cut at its last terminator. */
static int note_all(struct lam_stack *s, uint16_t layer, int dirfd, const char *name, char *list,
		    size_t len, struct ovl_xattrs *x)
{
	size_t pos = 0;

	while (pos < len) {
		size_t n = strnlen(list + pos, len - pos);
		int r;

		if (pos + n == len)
			break;
		r = note(s, layer, dirfd, name, list + pos, x);
		if (r < 0)
			return r;
		pos += n + 1;
	}
	return 0;
}

int ovl_scan(struct lam_stack *s, uint16_t layer, int dirfd, const char *name,
	     struct ovl_xattrs *ret)
{
	char small[1024];
	CLEANUP_FREE char *big = NULL;
	struct ovl_xattrs x = { 0 };
	ssize_t n;
	int r;

	n = sys_listxattr(dirfd, name, small, sizeof(small));
	if (n == -ERANGE) {
		big = malloc(65536); /* XATTR_LIST_MAX */
		if (!big)
			return -ENOMEM;
		n = sys_listxattr(dirfd, name, big, 65536);
	}
	if (n == -EOPNOTSUPP || n == -ENOSYS || n == -E2BIG)
		n = 0;
	if (n < 0)
		return (int)n;
	r = note_all(s, layer, dirfd, name, big ? big : small, (size_t)n, &x);
	if (r == 0)
		*ret = x;
	return r;
}

static const char *full_name(const struct lam_stack *s, const char *attr, char out[64])
{
	(void)snprintf(out, 64, "%s%s", prefix_in_use(s), attr); /* attrs are our own, short */
	return out;
}

ssize_t ovl_get(struct lam_stack *s, int dirfd, const char *name, const char *attr, void *value,
		size_t size)
{
	char full[64];

	return sys_getxattr(dirfd, name, full_name(s, attr, full), value, size);
}

int ovl_set(struct lam_stack *s, int dirfd, const char *name, const char *attr, const void *value,
	    size_t size)
{
	char full[64];

	if (!s->upper_xattr)
		return -EOPNOTSUPP;
	return perm_setxattr(s, dirfd, name, full_name(s, attr, full), value, size, 0);
}

int ovl_remove(struct lam_stack *s, int dirfd, const char *name, const char *attr)
{
	char full[64];
	int r;

	if (!s->upper_xattr)
		return 0;
	r = perm_removexattr(s, dirfd, name, full_name(s, attr, full));
	return r == -ENODATA ? 0 : r;
}

int ovl_get_redirect(struct lam_stack *s, int dirfd, const char *name, char **ret)
{
	CLEANUP_FREE char *value = NULL;
	ssize_t n;
	int r;

	n = ovl_get(s, dirfd, name, "redirect", NULL, 0);
	if (n < 0)
		return (int)n;
	value = malloc((size_t)n + 1);
	if (!value)
		return -ENOMEM;
	n = ovl_get(s, dirfd, name, "redirect", value, (size_t)n);
	if (n < 0)
		return n == -ERANGE ? -EIO : (int)n;
	r = redirect_check(value, (size_t)n);
	if (r < 0) {
		log_warning("a redirect of %s is not valid: the object cannot be used",
			    QUOTE(name));
		return -EIO;
	}
	value[n] = '\0';
	*ret = TAKE_PTR(value);
	return 0;
}

int ovl_get_origin(struct lam_stack *s, int dirfd, const char *name, struct fh *ret)
{
	struct fh_view view;
	struct fh fh;
	ssize_t n;
	int r;

	n = ovl_get(s, dirfd, name, "origin", fh.bytes, sizeof(fh.bytes));
	if (n < 0)
		return n == -ERANGE ? -ENODATA : (int)n;
	r = fh_decode(fh.bytes, (size_t)n, &view);
	if (r < 0)
		return -ENODATA; /* of unknown make: as the kernel, no origin */
	fh.len = (uint8_t)view.len;
	*ret = fh;
	return 0;
}
