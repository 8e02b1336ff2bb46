/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chattr and lsattr.  Append-only and immutable are marks of the overlay object (`protattr`), as in the
 * kernel: the real flags would keep us from linking and renaming.  All other flags are the real ones.
 */
#include "core.h"

#include <errno.h>
#include <linux/fs.h>

#define PROT_FL ((unsigned)(FS_APPEND_FL | FS_IMMUTABLE_FL))
#define PROT_XFLAGS ((unsigned)(FS_XFLAG_APPEND | FS_XFLAG_IMMUTABLE))

static int open_for_flags(struct lam_stack *s, struct node *n)
{
	if (!S_ISREG(node_mode_type(n)) && !node_is_dir(n))
		return -ENOTTY;
	return node_open(s, n, O_RDONLY);
}

int lam_get_fileattr(struct lam_stack *s, const struct lam_call *call, uint64_t id,
		     struct lam_fileattr *ret)
{
	CLEANUP_CLOSE int fd = -1;
	struct fsxattr x = { 0 };
	unsigned flags = 0, prot = 0;
	HELD(n, s);
	int r = node_get(s, id, &n.n);

	(void)call;
	if (r < 0)
		return r;
	fd = open_for_flags(s, n.n);
	if (fd < 0)
		return fd;
	r = sys_getflags(fd, &flags);
	if (r == 0 && sys_fsgetxattr(fd, &x) < 0)
		x = (struct fsxattr){ 0 };
	if (r == 0 && node_is_upper(n.n))
		r = attr_protect(s, n.n, &prot);
	if (r < 0)
		return r;
	if (prot & PROTATTR_APPEND) {
		flags |= FS_APPEND_FL;
		x.fsx_xflags |= FS_XFLAG_APPEND;
	}
	if (prot & PROTATTR_IMMUTABLE) {
		flags |= FS_IMMUTABLE_FL;
		x.fsx_xflags |= FS_XFLAG_IMMUTABLE;
	}
	*ret = (struct lam_fileattr){
		.flags = flags,
		.xflags = x.fsx_xflags,
		.extsize = x.fsx_extsize,
		.nextents = x.fsx_nextents,
		.projid = x.fsx_projid,
		.cowextsize = x.fsx_cowextsize,
		.flags_valid = true,
	};
	return 0;
}

/* A descriptor that is kept was opened with O_APPEND or without, as the mark was. */
static int store_protattr(struct lam_stack *s, struct node *n, int fd, unsigned prot)
{
	char value[4];
	size_t len = protattr_encode(prot, value);
	int r;

	if (!prot) {
		r = ovl_remove(s, fd, "", "protattr");
		if (r == 0)
			n->flags &= (uint16_t)~NF_PROTATTR;
	} else {
		r = ovl_set(s, fd, "", "protattr", value, len);
		if (r == 0)
			n->flags |= NF_PROTATTR;
	}
	if (r == 0)
		fdcache_drop(&s->fds, &n->fde);
	return r;
}

/* What the caller was shown of a file below, and what it means to change: flags that a filesystem sets by
 * itself are no part of that, and the copy is on another one. */
static int changed_below(struct lam_stack *s, struct node *n, const struct lam_fileattr *a,
			 unsigned *ret)
{
	CLEANUP_CLOSE int fd = -1;
	unsigned shown;
	int r;

	if (!a->flags_valid || node_is_upper(n))
		return 0;
	fd = open_for_flags(s, n);
	r = fd < 0 ? fd : sys_getflags(fd, &shown);
	if (r < 0)
		return r;
	*ret = shown ^ a->flags;
	return 1;
}

static int set_real(int fd, const struct lam_fileattr *a)
{
	struct fsxattr x;
	unsigned now;
	int r;

	if (a->flags_valid) {
		r = sys_getflags(fd, &now);
		if (r < 0)
			return r;
		r = sys_setflags(fd, a->flags & ~PROT_FL);
		/* Setting what is set already moves the change time, but need not be possible. */
		if ((now & ~PROT_FL) == (a->flags & ~PROT_FL) && (r == -EOPNOTSUPP || r == -ENOTTY))
			r = 0;
		return r;
	}
	r = sys_fsgetxattr(fd, &x);
	if (r < 0)
		return r;
	x.fsx_xflags = a->xflags & ~PROT_XFLAGS;
	x.fsx_extsize = a->extsize;
	x.fsx_projid = a->projid;
	x.fsx_cowextsize = a->cowextsize;
	return sys_fssetxattr(fd, &x);
}

int lam_set_fileattr(struct lam_stack *s, const struct lam_call *call, uint64_t id,
		     const struct lam_fileattr *a)
{
	CLEANUP_CLOSE int fd = -1;
	unsigned prot = 0, had = 0, change = 0, now;
	struct lam_fileattr own = *a;
	HELD(n, s);
	int r = node_get(s, id, &n.n), below;

	if (r < 0)
		return r;
	if (s->read_only)
		return -EROFS;
	below = changed_below(s, n.n, a, &change);
	if (below < 0)
		return below;
	if (a->flags_valid ? a->flags & FS_APPEND_FL : a->xflags & FS_XFLAG_APPEND)
		prot |= PROTATTR_APPEND;
	if (a->flags_valid ? a->flags & FS_IMMUTABLE_FL : a->xflags & FS_XFLAG_IMMUTABLE)
		prot |= PROTATTR_IMMUTABLE;
	r = copyup(s, call, n.n);
	if (r < 0)
		return r;
	r = attr_protect(s, n.n, &had);
	if (r < 0)
		return r;
	/* Only CAP_LINUX_IMMUTABLE may change these two: the caller's capabilities are not told, but without
	 * being root of the mount it cannot have that one over the layers. */
	if (prot != had && call->cred.uid != 0)
		return -EPERM;
	fd = open_for_flags(s, n.n);
	if (fd < 0)
		return fd;
	if (below) {
		r = sys_getflags(fd, &now);
		if (r < 0)
			return r;
		own.flags = now ^ change;
	}
	r = set_real(fd, &own);
	if (r == 0 && prot != had)
		r = store_protattr(s, n.n, fd, prot);
	return r;
}

int lam_get_version(struct lam_stack *s, const struct lam_call *call, uint64_t id, uint32_t *ret)
{
	CLEANUP_CLOSE int fd = -1;
	HELD(n, s);
	int r = node_get(s, id, &n.n);

	(void)call;
	if (r < 0)
		return r;
	fd = open_for_flags(s, n.n);
	if (fd < 0)
		return fd;
	/* The one that file handles have: the layer's own would change with the copy-up. */
	if (!n.n->generation)
		return sys_getversion(fd, ret);
	*ret = n.n->generation;
	return 0;
}
