/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attributes: what an object shows, and how they are changed.  Changes are made on a descriptor of the
 * upper inode that was checked to be the right one, never on a name.
 */
#include "core.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/sysmacros.h>

static struct timespec ts_of(const struct statx_timestamp *t)
{
	return (struct timespec){ .tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec };
}

void attr_from_statx(struct lam_stack *s, const struct statx *st, struct lam_attr *ret)
{
	(void)s;
	*ret = (struct lam_attr){
		.ino = st->stx_ino,
		.size = st->stx_size,
		.blocks = st->stx_blocks,
		.atime = ts_of(&st->stx_atime),
		.mtime = ts_of(&st->stx_mtime),
		.ctime = ts_of(&st->stx_ctime),
		.btime = ts_of(&st->stx_btime),
		.mode = st->stx_mode,
		.nlink = st->stx_nlink,
		.uid = st->stx_uid,
		.gid = st->stx_gid,
		.rdev_major = st->stx_rdev_major,
		.rdev_minor = st->stx_rdev_minor,
		.blksize = st->stx_blksize,
		.attributes =
			(uint32_t)(st->stx_attributes &
				   (STATX_ATTR_APPEND | STATX_ATTR_IMMUTABLE | STATX_ATTR_NODUMP |
				    STATX_ATTR_COMPRESSED | STATX_ATTR_ENCRYPTED)),
		.has_btime = st->stx_mask & STATX_BTIME,
	};
}

/* The number of names: of indexed inodes by their nlink attribute, of lower ones less what was removed. */
static int visible_nlink(struct lam_stack *s, struct node *n, const struct statx *st,
			 uint32_t *nlink)
{
	uint16_t flags;
	int32_t adjust;

	mutex_lock(&n->lock);
	flags = n->flags;
	adjust = n->extra && n->layer != LAYER_UPPER ? n->extra->nlink_adjust : 0;
	mutex_unlock(&n->lock);

	if (flags & NF_DEAD) {
		*nlink = 0;
		return 0;
	}
	if (n->dir) {
		/* As the kernel: a merged directory does not count its subdirectories. */
		bool merged = n->dir->n_lower + (n->dir->upper ? 1u : 0u) > 1;

		*nlink = merged || s->static_nlink ? 1 : st->stx_nlink;
		return 0;
	}
	if (flags & NF_ORPHAN) { /* the orphan area's name does not count */
		*nlink = st->stx_nlink ? st->stx_nlink - 1 : 0;
		return 0;
	}
	if (flags & NF_INDEXED)
		return index_node_nlink(s, n, st, nlink);
	*nlink = (int64_t)st->stx_nlink + adjust > 0 ? (uint32_t)((int64_t)st->stx_nlink + adjust)
						     : 1;
	return 0;
}

static int metacopy_blocks(struct lam_stack *s, struct node *n, struct lam_attr *a)
{
	struct rdir *dir;
	struct fdent *e;
	struct statx st;
	char name[LAM_NAME_MAX + 1];
	int r;

	a->blocks = (a->size + 511) / 512;
	mutex_lock(&n->lock);
	if (!n->extra || !n->extra->data_dir || !(n->flags & NF_METACOPY)) {
		mutex_unlock(&n->lock);
		return 0;
	}
	dir = rdir_ref(n->extra->data_dir);
	strcpy(name, n->extra->data_name);
	mutex_unlock(&n->lock);
	r = rdir_open(s, dir, &e);
	if (r == 0) {
		r = sys_statx(e->fd, name, &st);
		fdcache_put(&s->fds, e);
	}
	rdir_put(s, dir);
	if (r == 0)
		a->blocks = st.stx_blocks;
	return 0;
}

/* The append-only and immutable marks that live in `protattr`. */
static void add_protattr(struct lam_stack *s, struct node *n, struct lam_attr *a)
{
	unsigned prot;

	if (n->layer != LAYER_UPPER || !(n->flags & NF_PROTATTR))
		return;
	if (attr_protect(s, n, &prot) < 0)
		return;
	a->attributes |= prot & PROTATTR_APPEND ? STATX_ATTR_APPEND : 0;
	a->attributes |= prot & PROTATTR_IMMUTABLE ? STATX_ATTR_IMMUTABLE : 0;
}

/* What was written to a copy that is not finished. */
static void add_behind(struct lam_stack *s, struct node *n, struct lam_attr *a)
{
	struct behind *b = behind_get(s, n->id);

	if (b && !node_is_upper(n))
		behind_attr(b, a);
	behind_put(s, b);
}

uint64_t attr_ino(struct lam_stack *s, struct node *n)
{
	return id_ino(s, n->flags & NF_BY_NAME
				 ? id_make(s, s->layers[n->layer].fs, n->real_ino, node_is_upper(n))
				 : n->id);
}

int attr_of_node(struct lam_stack *s, struct node *n, const struct statx *st, struct lam_attr *ret)
{
	struct lam_attr a;
	int r;

	attr_from_statx(s, st, &a);
	a.ino = attr_ino(s, n);
	r = visible_nlink(s, n, st, &a.nlink);
	if (r < 0)
		return r;
	if (n->flags & NF_METACOPY)
		(void)metacopy_blocks(s, n, &a);
	add_protattr(s, n, &a);
	add_behind(s, n, &a);
	if (s->layers[n->layer].override_name) {
		struct place p;

		r = node_place(s, n, &p);
		if (r == 0) {
			r = perm_override_apply(s, p.layer, p.dirfd, p.name, &a);
			place_done(s, &p);
		}
		if (r < 0)
			return r;
	}
	perm_to_inside(s, &a);
	*ret = a;
	return 0;
}

int attr_get(struct lam_stack *s, struct node *n, struct lam_attr *ret)
{
	struct statx st;
	int r = node_statx(s, n, &st);

	return r < 0 ? r : attr_of_node(s, n, &st, ret);
}

int lam_getattr(struct lam_stack *s, const struct lam_call *call, uint64_t id, struct lam_attr *ret)
{
	HELD(n, s);
	int r = node_get(s, id, &n.n);

	(void)call;
	/* Whether it has a name still decides on its count. */
	if (r == 0 && s->takeover && !node_is_dir(n.n))
		r = resolve_connect_or_end(s, n.n);
	return r < 0 ? r : attr_get(s, n.n, ret);
}

int attr_protect(struct lam_stack *s, struct node *n, unsigned *ret)
{
	char value[16];
	struct place p;
	ssize_t len;
	int r = node_place(s, n, &p);

	if (r < 0)
		return r;
	len = ovl_get(s, p.dirfd, p.name, "protattr", value, sizeof(value));
	place_done(s, &p);
	*ret = 0;
	if (len == -ENODATA || len == -EOPNOTSUPP || len == -ERANGE)
		return 0;
	if (len < 0)
		return (int)len;
	if (protattr_decode(value, (size_t)len, ret) < 0)
		*ret = 0;
	return 0;
}

int attr_check_change(struct lam_stack *s, struct node *n, bool append_ok)
{
	struct statx st;
	uint64_t attrs;
	unsigned prot = 0;
	int r;

	/* Lower objects have their real flags; upper ones carry them in protattr, which is written
	 * only for regular files and directories. */
	if (n->layer == LAYER_UPPER) {
		if (!(n->flags & NF_PROTATTR))
			return 0;
		r = attr_protect(s, n, &prot);
		if (r < 0)
			return r;
		if (prot & PROTATTR_IMMUTABLE)
			return -EPERM;
		return prot & PROTATTR_APPEND && !append_ok ? -EPERM : 0;
	}
	r = node_statx(s, n, &st);
	if (r < 0)
		return r;
	attrs = st.stx_attributes;
	if (attrs & STATX_ATTR_IMMUTABLE)
		return -EPERM;
	return attrs & STATX_ATTR_APPEND && !append_ok ? -EPERM : 0;
}

/* ---- Setting ---- */

static int set_owner(struct lam_stack *s, int fd, unsigned valid, const struct lam_attr *attr)
{
	uint32_t uid = UINT32_MAX, gid = UINT32_MAX;
	int r;

	if (!(valid & (LAM_SET_UID | LAM_SET_GID)))
		return 0;
	r = perm_to_outside(s, valid & LAM_SET_UID ? attr->uid : UINT32_MAX,
			    valid & LAM_SET_GID ? attr->gid : UINT32_MAX, &uid, &gid);
	if (r < 0)
		return r;
	if (s->layers[LAYER_UPPER].override_name)
		return 0; /* recorded by the caller */
	return perm_chown(s, fd, "", uid, gid);
}

static int set_times(int fd, unsigned valid, const struct lam_attr *attr)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };

	if (!(valid & (LAM_SET_ATIME | LAM_SET_MTIME | LAM_SET_ATIME_NOW | LAM_SET_MTIME_NOW)))
		return 0;
	if (valid & LAM_SET_ATIME_NOW)
		ts[0].tv_nsec = UTIME_NOW;
	else if (valid & LAM_SET_ATIME)
		ts[0] = attr->atime;
	if (valid & LAM_SET_MTIME_NOW)
		ts[1].tv_nsec = UTIME_NOW;
	else if (valid & LAM_SET_MTIME)
		ts[1] = attr->mtime;
	return sys_utimens(fd, "", ts);
}

/* As the kernel's rule for a write or change of owner by somebody without CAP_FSETID: set-uid goes, and
 * set-gid where the group may execute or the caller is not in it (of his groups only the first is told);
 * file capabilities go. */
int attr_kill_priv(struct lam_stack *s, int fd, const struct statx *st, uint32_t caller_gid)
{
	uint32_t mode = st->stx_mode & 07777u, kept = mode & ~(uint32_t)S_ISUID;
	int r;

	(void)s;
	if (!S_ISREG(st->stx_mode))
		return 0;
	if (mode & S_IXGRP || caller_gid != st->stx_gid)
		kept &= ~(uint32_t)S_ISGID;
	r = sys_removexattr(fd, "", "security.capability");
	if (r < 0 && r != -ENODATA && r != -EOPNOTSUPP && r != -EPERM)
		return r;
	return kept == mode ? 0 : sys_chmod(fd, "", kept);
}

/* With override_stat, owner and mode are recorded beside the file; what is not changed stays as it shows. */
static int set_override(struct lam_stack *s, struct node *n, int fd, unsigned valid,
			const struct lam_attr *attr)
{
	struct lam_attr now;
	struct statx st;
	int r = sys_statx(fd, "", &st);

	if (r < 0)
		return r;
	attr_from_statx(s, &st, &now);
	r = perm_override_apply(s, LAYER_UPPER, fd, "", &now);
	if (r < 0)
		return r;
	(void)n;
	if (valid & LAM_SET_MODE)
		now.mode = (now.mode & S_IFMT) | (attr->mode & 07777u);
	r = perm_to_outside(s, valid & LAM_SET_UID ? attr->uid : UINT32_MAX,
			    valid & LAM_SET_GID ? attr->gid : UINT32_MAX,
			    valid & LAM_SET_UID ? &now.uid : &(uint32_t){ 0 },
			    valid & LAM_SET_GID ? &now.gid : &(uint32_t){ 0 });
	if (r < 0)
		return r;
	return perm_override_store(s, fd, "", &now);
}

static int apply(struct lam_stack *s, const struct lam_call *call, struct node *n, int fd,
		 unsigned valid, const struct lam_attr *attr)
{
	struct statx st;
	int r;

	if (s->layers[LAYER_UPPER].override_name &&
	    valid & (LAM_SET_MODE | LAM_SET_UID | LAM_SET_GID)) {
		r = set_override(s, n, fd, valid, attr);
		if (r < 0)
			return r;
		valid &= ~(LAM_SET_MODE | LAM_SET_UID | LAM_SET_GID);
	}
	r = set_owner(s, fd, valid, attr);
	if (r < 0)
		return r;
	if (valid & LAM_SET_KILL_PRIV) {
		r = sys_statx(fd, "", &st);
		if (r == 0) /* root keeps set-gid where the group may not execute */
			r = attr_kill_priv(s, fd, &st,
					   call->cred.uid ? call->cred.gid : st.stx_gid);
		if (r < 0)
			return r;
	}
	/* After the owner: changing that clears set-uid bits. */
	if (valid & LAM_SET_MODE) {
		r = sys_chmod(fd, "", attr->mode & 07777u);
		if (r < 0)
			return r;
	}
	return set_times(fd, valid, attr);
}

static int set_size(struct lam_stack *s, const struct lam_call *call, struct node *n, uint64_t size)
{
	struct fdent *e;
	int r;

	if (!S_ISREG(node_mode_type(n)))
		return node_is_dir(n) ? -EISDIR : -EINVAL;
	if (size > INT64_MAX)
		return -EFBIG;
	r = copyup_data(s, call, n, size);
	if (r < 0)
		return r;
	r = data_fd(s, n, true, &e);
	if (r < 0)
		return r;
	r = sys_ftruncate(e->fd, size);
	fdcache_put(&s->fds, e);
	return r;
}

/*
 * A request that names no attribute: for an owner of (-1, -1), or to drop capabilities before a write by
 * somebody who need not own the file.  Only an owner may take set-id bits away by the first; the second
 * is followed by the write, which says whether they go.
 */
static int touch_owner(struct lam_stack *s, const struct lam_call *call, struct node *n, int fd)
{
	struct lam_attr a;
	int r = attr_get(s, n, &a);

	if (r < 0)
		return r;
	if (call->cred.uid == 0 || call->cred.uid == a.uid) {
		r = apply(s, call, n, fd, LAM_SET_KILL_PRIV, &a);
		return r < 0 ? r : sys_chown(fd, "", UINT32_MAX, UINT32_MAX);
	}
	if (!S_ISREG(a.mode)) /* nobody writes to it: it is the first */
		return 0;
	r = sys_removexattr(fd, "", "security.capability");
	return r == -ENODATA || r == -EOPNOTSUPP ? 0 : r;
}

int lam_setattr(struct lam_stack *s, const struct lam_call *call, uint64_t id, unsigned valid,
		const struct lam_attr *attr, struct lam_attr *ret)
{
	const unsigned now = LAM_SET_ATIME_NOW | LAM_SET_MTIME_NOW;
	const bool touch = !(valid & ~(LAM_SET_KILL_PRIV | LAM_SET_CTIME));
	CLEANUP_CLOSE int fd = -1;
	HELD(n, s);
	int r = node_get(s, id, &n.n);

	if (r < 0)
		return r;
	if (s->read_only)
		return -EROFS;
	/* What may only grow may have both times set to now, as by touch(1), and nothing else. */
	r = attr_check_change(s, n.n, (valid & ~LAM_SET_CTIME) == now);
	if (r < 0)
		return r;
	if (valid & LAM_SET_SIZE) {
		r = set_size(s, call, n.n, attr->size);
		if (r < 0)
			return r;
		valid &= ~LAM_SET_SIZE;
	} else {
		r = copyup(s, call, n.n);
		if (r < 0)
			return r;
	}
	if (valid & ~LAM_SET_CTIME || touch) {
		/* One that can be written to is the upper inode's own, never of data that lies below. */
		struct fdent *e = fdcache_get(&s->fds, &n.n->fde, true);

		fd = e ? -1 : node_open_marks(s, n.n);
		if (!e && fd < 0)
			return fd;
		r = touch ? touch_owner(s, call, n.n, e ? e->fd : fd)
			  : apply(s, call, n.n, e ? e->fd : fd, valid, attr);
		fdcache_put(&s->fds, e);
		if (r < 0)
			return r;
	}
	return attr_get(s, n.n, ret);
}

ssize_t lam_readlink(struct lam_stack *s, const struct lam_call *call, uint64_t id, char *buf,
		     size_t size)
{
	CLEANUP_CLOSE int fd = -1;
	HELD(n, s);
	int r = node_get(s, id, &n.n);

	(void)call;
	if (r < 0)
		return r;
	if (!S_ISLNK(node_mode_type(n.n)))
		return -EINVAL;
	fd = node_open(s, n.n, O_PATH);
	return fd < 0 ? fd : sys_readlink(fd, "", buf, size);
}

int lam_statfs(struct lam_stack *s, struct lam_statfs *ret)
{
	struct statfs sf;
	uint32_t namelen = 0;
	int r = -ENODEV;

	for (unsigned i = s->n_layers; i-- > 0;) {
		if (s->layers[i].fd < 0)
			continue;
		r = sys_statfs(s->layers[i].fd, &sf); /* ends with upper, or the topmost lower */
		if (r < 0)
			return r;
		if ((uint32_t)sf.f_namelen > namelen)
			namelen = (uint32_t)sf.f_namelen;
	}
	if (r < 0)
		return r;
	if (s->n_data && !s->has_upper) {
		r = sys_statfs(s->layers[1].fd, &sf);
		if (r < 0)
			return r;
	}
	*ret = (struct lam_statfs){
		.blocks = sf.f_blocks,
		.bfree = sf.f_bfree,
		.bavail = sf.f_bavail,
		.files = sf.f_files,
		.ffree = sf.f_ffree,
		.bsize = (uint32_t)sf.f_bsize,
		.frsize = (uint32_t)(sf.f_frsize ? sf.f_frsize : sf.f_bsize),
		.namelen = namelen < LAM_NAME_MAX ? namelen : LAM_NAME_MAX,
	};
	return 0;
}
