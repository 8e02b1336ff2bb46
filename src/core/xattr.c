/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extended attributes and file attributes as clients see them: the overlay's own are hidden, and a
 * client's attributes with such names are stored escaped, as the kernel's overlayfs does.
 */
#include "core.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/xattr.h>

static bool is_acl(const char *name)
{
	return !strcmp(name, "system.posix_acl_access") ||
	       !strcmp(name, "system.posix_acl_default");
}

/* The name in the layer for a client's NAME. */
static int stored_name(struct lam_stack *s, const char *name, char out[XATTR_NAME_LIMIT + 1])
{
	if (s->no_xattr)
		return -EOPNOTSUPP;
	if (strnlen(name, XATTR_NAME_LIMIT + 1) > XATTR_NAME_LIMIT)
		return -ERANGE;
	if (s->no_acl && is_acl(name))
		return -EOPNOTSUPP;
	if (!strcmp(name, s->userxattr ? XATTR_USER_OVL : XATTR_TRUSTED_OVL))
		return -EINVAL; /* a prefix alone is no name */
	return xattr_escape(name, s->userxattr, out);
}

static bool same_place(const struct place *a, const struct place *b)
{
	return a->ino == b->ino && a->layer == b->layer && !strcmp(a->name, b->name) &&
	       (a->pin == b->pin);
}

/* Call FN at the node's place, again if a rename came between. */
typedef ssize_t (*at_place_fn)(const struct place *p, void *ctx);
static ssize_t at_place(struct lam_stack *s, struct node *n, at_place_fn fn, void *ctx)
{
	for (unsigned tries = 0;; tries++) {
		struct place p, again;
		ssize_t r = node_place(s, n, &p);
		bool same;

		if (r < 0)
			return r;
		r = fn(&p, ctx);
		same = p.owned >= 0 || (node_place(s, n, &again) == 0 && same_place(&p, &again));
		if (p.owned < 0)
			place_done(s, &again);
		place_done(s, &p);
		if (same || tries > 8)
			return r == -ENOENT ? -ESTALE : r;
	}
}

struct get {
	const char *name;
	void *value;
	size_t size;
};

static ssize_t get_at(const struct place *p, void *ctx)
{
	struct get *g = ctx;

	return sys_getxattr(p->dirfd, p->name, g->name, g->value, g->size);
}

ssize_t lam_getxattr(struct lam_stack *s, const struct lam_call *call, uint64_t id,
		     const char *name, void *value, size_t size)
{
	char stored[XATTR_NAME_LIMIT + 1];
	struct get g = { stored, value, size };
	HELD(n, s);
	ssize_t len;
	int r = node_get(s, id, &n.n);

	(void)call;
	if (r < 0)
		return r;
	r = stored_name(s, name, stored);
	if (r == -EPERM)
		return -ENODATA;
	if (r < 0)
		return r;
	if (xattr_classify(stored, s->userxattr) == XATTR_PRIVATE)
		return -ENODATA;
	len = at_place(s, n.n, get_at, &g);
	if (len > 0 && size && is_acl(name)) {
		r = perm_acl_map(s, value, (size_t)len, false);
		if (r < 0)
			return r;
	}
	return len;
}

struct list {
	char *buf;
	size_t size;
};

static ssize_t list_at(const struct place *p, void *ctx)
{
	struct list *l = ctx;

	return sys_listxattr(p->dirfd, p->name, l->buf, l->size);
}

/* Filter a raw list in place; returns the new length. */
static size_t filter(struct lam_stack *s, bool trusted, char *buf, size_t len)
{
	size_t in = 0, out = 0;

	while (in < len) {
		char *name = buf + in, plain[XATTR_NAME_LIMIT + 1];
		size_t n = strnlen(name, len - in);
		enum xattr_class class;

		if (in + n == len)
			break;
		in += n + 1;
		class = xattr_classify(name, s->userxattr);
		if (class == XATTR_PRIVATE || (s->no_acl && is_acl(name)) ||
		    (!trusted && !strncmp(name, "trusted.", 8)))
			continue;
		if (class == XATTR_ESCAPED) {
			if (xattr_unescape(name, s->userxattr, plain) < 0)
				continue;
			name = plain; /* shorter: it fits where the longer one was */
			n = strlen(plain);
		}
		memmove(buf + out, name, n + 1);
		out += n + 1;
	}
	return out;
}

ssize_t lam_listxattr(struct lam_stack *s, const struct lam_call *call, uint64_t id, char *list,
		      size_t size)
{
	CLEANUP_FREE char *buf = malloc(XATTR_LIST_MAX);
	struct list l = { buf, XATTR_LIST_MAX };
	HELD(n, s);
	ssize_t len;
	int r = node_get(s, id, &n.n);

	if (r < 0)
		return r;
	if (!buf)
		return -ENOMEM;
	if (s->no_xattr)
		return 0;
	len = at_place(s, n.n, list_at, &l);
	if (len < 0)
		return len == -EOPNOTSUPP ? 0 : len;
	/* trusted.* is for CAP_SYS_ADMIN; capabilities are not told, so for root. */
	len = (ssize_t)filter(s, call->cred.uid == 0, buf, (size_t)len);
	if (!size)
		return len;
	if ((size_t)len > size)
		return -ERANGE;
	memcpy(list, buf, (size_t)len);
	return len;
}

/* A new access ACL also clears set-gid where the caller may not keep it. */
static int after_acl(int fd, const char *name, unsigned flags)
{
	struct stat st;
	int r;

	if (!(flags & LAM_XATTR_KILL_SGID) || strcmp(name, "system.posix_acl_access"))
		return 0;
	r = sys_stat(fd, "", &st);
	if (r < 0 || !(st.st_mode & S_ISGID))
		return r;
	return sys_chmod(fd, "", st.st_mode & 07777u & ~(mode_t)S_ISGID);
}

static int change_begin(struct lam_stack *s, const struct lam_call *call, uint64_t id,
			const char *name, char stored[XATTR_NAME_LIMIT + 1], struct held *n)
{
	int r = node_get(s, id, &n->n);

	if (r < 0)
		return r;
	if (s->read_only)
		return -EROFS;
	r = stored_name(s, name, stored);
	if (r < 0)
		return r;
	if (xattr_classify(stored, s->userxattr) == XATTR_PRIVATE)
		return -EPERM;
	(void)call;
	return attr_check_change(s, n->n, false);
}

/* Whether the attribute is there, asked before anything is copied up for it. */
static int exists(struct lam_stack *s, struct node *n, const char *stored)
{
	struct get g = { stored, NULL, 0 };
	ssize_t r = at_place(s, n, get_at, &g);

	if (r == -ENODATA)
		return 0;
	return r < 0 ? (int)r : 1;
}

int lam_setxattr(struct lam_stack *s, const struct lam_call *call, uint64_t id, const char *name,
		 const void *value, size_t size, unsigned flags)
{
	char stored[XATTR_NAME_LIMIT + 1];
	CLEANUP_FREE void *mapped = NULL;
	CLEANUP_CLOSE int fd = -1;
	HELD(n, s);
	int r = change_begin(s, call, id, name, stored, &n), how = 0;

	if (r < 0)
		return r;
	if (flags & (LAM_XATTR_CREATE | LAM_XATTR_REPLACE)) {
		how = flags & LAM_XATTR_CREATE ? XATTR_CREATE : XATTR_REPLACE;
		r = exists(s, n.n, stored);
		if (r < 0)
			return r;
		if (r && how == XATTR_CREATE)
			return -EEXIST;
		if (!r && how == XATTR_REPLACE)
			return -ENODATA;
	}
	if (is_acl(name) && (s->uidmap.extents || s->gidmap.extents)) {
		mapped = malloc(size ? size : 1);
		if (!mapped)
			return -ENOMEM;
		memcpy(mapped, value, size);
		r = perm_acl_map(s, mapped, size, true);
		if (r < 0)
			return r;
		value = mapped;
	}
	r = copyup(s, call, n.n);
	if (r < 0)
		return r;
	fd = node_open_marks(s, n.n);
	if (fd < 0)
		return fd;
	r = node_set_mark(s, n.n, fd, &(struct node_mark){ stored, value ? value : "", size, how });
	if (r == 0 && is_acl(name))
		r = after_acl(fd, name, flags);
	return r;
}

int lam_removexattr(struct lam_stack *s, const struct lam_call *call, uint64_t id, const char *name)
{
	char stored[XATTR_NAME_LIMIT + 1];
	CLEANUP_CLOSE int fd = -1;
	HELD(n, s);
	int r = change_begin(s, call, id, name, stored, &n);

	if (r < 0)
		return r;
	r = exists(s, n.n, stored);
	if (r <= 0)
		return r < 0 ? r : is_acl(name) ? 0 : -ENODATA;
	r = copyup(s, call, n.n);
	if (r < 0)
		return r;
	fd = node_open_marks(s, n.n);
	if (fd < 0)
		return fd;
	return node_set_mark(s, n.n, fd, &(struct node_mark){ .name = stored });
}
