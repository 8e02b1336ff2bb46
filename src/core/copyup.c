/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copy up: an object of a lower layer gets an upper one, at its first change.
 *
 * The copy is prepared in the work directory without any lock but the node's NF_COPYING mark, on which
 * only other writers of the same object wait; it appears by one link or rename under the parent's lock.
 * A failure or a crash before that leaves the old object and nothing else that anybody sees.
 * docs/design/copy-up.md
 */
#include "core.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/sysmacros.h>

struct copyup {
	struct lam_stack *s;
	const struct lam_call *call;
	struct node *n;
	struct place from;
	struct statx st;      /* of the lower object */
	uint32_t lower_nlink; /* its real count */
	int32_t adjust;	      /* names that were removed, already taken off its count */
	int32_t seen;	      /* ... as the node had it then */
	uint64_t size;	      /* bytes of data to copy */
	bool meta_only;	      /* leave the data below */
	bool has_origin;
	bool name_gone;	  /* the name on record was removed: only others are left */
	bool same_object; /* and no broken link of one */
	struct fh origin;
	char key[INDEX_NAME_MAX + 1]; /* index entry; "" if not indexed */
	struct fdent *data;	      /* of the lower file's data, if it is its own; or NULL */
	int fd;			      /* of the copy; -1 for what is not opened */
	char temp[32];		      /* name in the work directory; "" for O_TMPFILE */
	struct behind *behind;	      /* the copy was begun behind a writer; a reference, or NULL */
	bool behind_locked;
	uint64_t ino;	     /* of the copy */
	uint32_t generation; /* ... and its filesystem's word for the number's use */
	/* For the node, when it becomes an upper one. */
	struct rdir *up;
	char *index_name;
};

static bool want_xattr(void *ctx, const char *name)
{
	struct lam_stack *s = ctx;
	enum xattr_class class = xattr_classify(name, s->userxattr);

	if (s->no_xattr)
		return false;
	if (s->no_acl && !strncmp(name, "system.posix_acl_", 17))
		return false;
	return class != XATTR_PRIVATE;
}

static int copy_owner(struct lam_stack *s, const struct statx *st, int to_fd, const char *to)
{
	if (st->stx_uid == s->self_uid && st->stx_gid == s->self_gid && !(st->stx_mode & S_ISGID))
		return 0; /* what was created is ours already */
	return perm_chown(s, to_fd, to, st->stx_uid, st->stx_gid);
}

static int copy_override(struct lam_stack *s, struct node *n, const struct statx *st, int to_fd,
			 const char *to)
{
	struct lam_attr a;
	struct place p;
	int r;

	attr_from_statx(s, st, &a);
	r = node_place(s, n, &p);
	if (r == 0) {
		r = perm_override_apply(s, p.layer, p.dirfd, p.name, &a);
		place_done(s, &p);
	}
	return r < 0 ? r : perm_override_store(s, to_fd, to, &a);
}

/* Flags and project id need real descriptors of both; a file's are open already. */
static void copy_fileattr(const struct copyup *c, int to_fd, const char *to)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
	CLEANUP_CLOSE int own_in = -1, own_out = -1;
	int in = c->data ? c->data->fd : -1, out = to_fd;

	if (in < 0)
		in = own_in = sys_openat(c->from.dirfd, *c->from.name ? c->from.name : ".", flags,
					 0);
	if (*to)
		out = own_out = sys_openat(to_fd, to, flags, 0);
	if (in >= 0 && out >= 0)
		(void)sys_copy_fileattr(in,
					out); /* what upper cannot hold is lost, as documented */
}

static int set_protattr(struct copyup *c, int to_fd, const char *to)
{
	unsigned prot = 0;
	char value[4];
	size_t len;

	if (c->st.stx_attributes & STATX_ATTR_APPEND)
		prot |= PROTATTR_APPEND;
	if (c->st.stx_attributes & STATX_ATTR_IMMUTABLE)
		prot |= PROTATTR_IMMUTABLE;
	/* Of a device the flag is its inode's in the layer alone, as in the kernel. */
	if (!prot || (!S_ISREG(c->st.stx_mode) && !S_ISDIR(c->st.stx_mode)))
		return 0;
	len = protattr_encode(prot, value);
	c->n->flags |= NF_PROTATTR;
	return ovl_set(c->s, to_fd, to, "protattr", value, len);
}

/* Relative to the lower inode, whose count the links to come do not change: right at any moment. */
static int set_nlink(struct copyup *c, int to_fd, const char *to)
{
	struct nlink_diff d = { .lower = true, .diff = c->adjust };
	struct fsys *fs = fsys_by_dev(c->s, statx_dev(&c->st));
	char value[16];

	if (special_key(c->key))
		return 0;	    /* it can carry none: special_names() */
	if (!fs || !fs->can_decode) /* the lower inode could not be found again by its handle */
		return index_write_nlink(c->s, to_fd, to, c->st.stx_nlink, 1);
	return ovl_set(c->s, to_fd, to, "nlink", value, nlink_encode(&d, value));
}

/* What marks the copy as one, in the overlay's own attributes. */
static int set_marks(struct copyup *c, int to_fd, const char *to)
{
	struct lam_stack *s = c->s;
	int r = set_protattr(c, to_fd, to);

	if (r == 0 && c->has_origin)
		r = ovl_set(s, to_fd, to, "origin", c->origin.bytes, c->origin.len);
	if (r == -EPERM || r == -EOPNOTSUPP)
		r = 0; /* user attributes on a symlink or device; an upper without any */
	if (r == 0 && c->meta_only)
		r = ovl_set(s, to_fd, to, "metacopy", "", 0);
	return r == 0 && c->key[0] ? set_nlink(c, to_fd, to) : r;
}

/* Everything but data.  The order matters: changing the owner clears set-uid bits and capabilities;
 * the mode comes after the attributes, for some need write permission, and after the ACL, whose mask
 * it agrees with; anything changes the times. */
static int copy_meta(struct copyup *c, int to_fd, const char *to)
{
	struct lam_stack *s = c->s;
	bool override = s->layers[LAYER_UPPER].override_name != NULL;
	uint32_t type = c->st.stx_mode & S_IFMT;
	struct timespec ts[2];
	int r;

	r = override ? copy_override(s, c->n, &c->st, to_fd, to) : copy_owner(s, &c->st, to_fd, to);
	if (r == 0 && !s->no_xattr)
		r = sys_copy_xattrs(c->from.dirfd, c->from.name, to_fd, to, want_xattr, s);
	if (r < 0)
		return r;
	if (type == S_IFREG || type == S_IFDIR)
		copy_fileattr(c, to_fd, to);
	r = set_marks(c, to_fd, to);
	if (r == 0 && !override && type != S_IFLNK)
		r = sys_chmod(to_fd, to, c->st.stx_mode & 07777u);
	if (r < 0)
		return r;
	ts[0] = (struct timespec){ .tv_sec = c->st.stx_atime.tv_sec,
				   .tv_nsec = c->st.stx_atime.tv_nsec };
	ts[1] = (struct timespec){ .tv_sec = c->st.stx_mtime.tv_sec,
				   .tv_nsec = c->st.stx_mtime.tv_nsec };
	return sys_utimens(to_fd, to, ts);
}

/* ---- The copy, out of sight ---- */

/* The data must be there before the name is: never may a crash leave the name of an empty file.  Where
 * the filesystem keeps the order of what has reached the device, that it has is enough
 * (docs/adr/0005-order-instead-of-fsync.md); elsewhere it has to be durable. */
static int make_durable(const struct copyup *c)
{
	struct lam_stack *s = c->s;
	bool data = c->size && !c->meta_only;
	int r = -EOPNOTSUPP;

	if (s->fsync == LAM_FSYNC_VOLATILE || (s->fsync == LAM_FSYNC_AUTO && !data))
		return 0;
	if (s->fsync == LAM_FSYNC_AUTO && s->upper_ordered)
		r = sys_write_out(c->fd);
	return r == -EOPNOTSUPP ? sys_fsync(c->fd) : r;
}

/* Owner, mode and so on, as what is only in the file below. */
static int dress_file(struct copyup *c, struct fdent *from)
{
	int r;

	c->data = c->n->flags & NF_METACOPY ? NULL : from;
	r = copy_meta(c, c->fd, "");
	c->data = NULL;
	return r;
}

/* Most of it is copied, and durable, before writers have to wait. */
static int finish_behind(struct copyup *c)
{
	struct lam_stack *s = c->s;
	struct fdent *e = NULL;
	int r = behind_fill(s, c->behind, c->n, c->call ? c->call->cancelled : NULL);

	if (r == 0)
		r = c->fd = behind_dup(c->behind);
	if (r >= 0)
		r = data_fd(s, c->n, false, &e);
	if (r == 0)
		r = dress_file(c, e);
	fdcache_put(&s->fds, e);
	c->size = c->st.stx_size;
	if (r == 0)
		r = make_durable(c);
	if (r == 0)
		r = behind_lock(c->behind);
	if (r < 0)
		return r;
	c->behind_locked = true;
	return make_durable(c);
}

static int make_file(struct copyup *c)
{
	struct lam_stack *s = c->s;
	struct fdent *e = NULL;
	uint64_t copied = 0;
	int r;

	if (c->behind)
		return finish_behind(c);
	if (s->upper_tmpfile) {
		c->fd = sys_openat(s->work_fd, ".", O_TMPFILE | O_RDWR, 0600);
	} else {
		work_temp_name(s, c->temp);
		c->fd = sys_openat(s->work_fd, c->temp, O_CREAT | O_EXCL | O_RDWR, 0600);
	}
	if (c->fd < 0)
		return c->fd;
	if (c->meta_only || !c->size) {
		r = c->meta_only ? sys_ftruncate(c->fd, c->st.stx_size) : 0;
	} else {
		r = data_fd(s, c->n, false, &e);
		if (r < 0)
			return r;
		r = sys_copy_data(e->fd, c->fd, c->size, c->call ? c->call->cancelled : NULL,
				  &copied);
		atomic_fetch_add(&s->stat_copyup_bytes, copied);
	}
	if (r == 0)
		r = dress_file(c, e);
	fdcache_put(&s->fds, e);
	return r < 0 ? r : make_durable(c);
}

static int make_symlink(struct copyup *c)
{
	CLEANUP_FREE char *target = malloc(65536);
	ssize_t n;

	if (!target)
		return -ENOMEM;
	n = sys_readlink(c->from.dirfd, c->from.name, target, 65535);
	if (n < 0)
		return (int)n;
	target[n] = '\0';
	return sys_symlink(target, c->s->work_fd, c->temp);
}

/* Symlinks, devices, FIFOs, sockets, directories: under a temporary name. */
static int make_other(struct copyup *c)
{
	struct lam_stack *s = c->s;
	uint32_t type = c->st.stx_mode & S_IFMT;
	int fd, r;

	work_temp_name(s, c->temp);
	if (type == S_IFDIR)
		r = sys_mkdir(s->work_fd, c->temp, 0700);
	else if (type == S_IFLNK)
		r = make_symlink(c);
	else
		r = sys_mknod(s->work_fd, c->temp, type,
			      makedev(c->st.stx_rdev_major, c->st.stx_rdev_minor));
	if (r < 0) {
		c->temp[0] = '\0';
		return r;
	}
	r = copy_meta(c, s->work_fd, c->temp);
	if (r == 0 && type == S_IFDIR && s->fsync == LAM_FSYNC_STRICT) {
		fd = sys_openat(s->work_fd, c->temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		r = fd < 0 ? fd : sys_fsync(fd);
		if (fd >= 0)
			sys_close(fd);
	}
	return r;
}

/* Give the copy its name: only where there is none. */
static int install(struct copyup *c, int dirfd, const char *name)
{
	int r;

	if (c->behind)
		return behind_install(c->s, c->behind, dirfd, name);
	if (!c->temp[0])
		return sys_link_fd(c->fd, dirfd, name);
	r = sys_rename(c->s->work_fd, c->temp, dirfd, name, RENAME_NOREPLACE);
	if (r == -EINVAL) /* a filesystem that knows no flags; the parent is locked */
		r = sys_rename(c->s->work_fd, c->temp, dirfd, name, 0);
	if (r == 0)
		c->temp[0] = '\0';
	return r;
}

static void undo(struct copyup *c)
{
	if (c->temp[0])
		work_discard(c->s, c->temp, S_ISDIR(c->st.stx_mode));
	if (c->fd >= 0)
		sys_close(c->fd);
	if (c->behind_locked)
		behind_unlock(c->behind);
	behind_put(c->s, c->behind);
	rdir_put(c->s, c->up);
	free(c->index_name);
	place_done(c->s, &c->from);
}

/* ---- Publishing ---- */

int copyup_set_impure(struct lam_stack *s, struct node *d)
{
	struct rdir *up = d->dir->upper;
	struct fdent *e;
	int r;

	if (atomic_load(&up->impure) == 2)
		return 0;
	r = rdir_open(s, up, &e);
	if (r < 0)
		return r;
	r = ovl_set(s, e->fd, "", "impure", "y", 1);
	fdcache_put(&s->fds, e);
	if (r == -EOPNOTSUPP)
		r = 0;
	if (r == 0)
		atomic_store(&up->impure, 2);
	return r;
}

/* The memory that become_upper() needs: once the copy has a name, nothing may fail. */
static int ready_node(struct copyup *c, struct node *parent, const char *name)
{
	struct node *n = c->n;
	int r = 0;

	if (node_is_dir(n) && parent) {
		rdir_put(c->s, c->up); /* of an attempt under another parent */
		c->up = rdir_new(parent->dir->upper, name, LAYER_UPPER, c->ino);
		if (!c->up)
			return -ENOMEM;
		atomic_store(&c->up->impure, 1);
	}
	if (c->key[0] && !c->index_name) {
		c->index_name = strdup(c->key);
		if (!c->index_name)
			return -ENOMEM;
	}
	mutex_lock(&n->lock);
	if ((c->key[0] || c->meta_only) && !node_extra(n))
		r = -ENOMEM;
	mutex_unlock(&n->lock);
	return r;
}

/* The node is the upper object from here on. */
static void become_upper(struct copyup *c, struct node *parent, const char *name,
			 uint16_t add_flags)
{
	struct lam_stack *s = c->s;
	struct node *n = c->n;
	bool indexed = c->key[0];

	if (c->behind)
		behind_unname(s, c->behind); /* its links are counted from here on */
	mutex_lock(&n->lock);
	if (indexed) {
		free(n->extra->index_name);
		n->extra->index_name = TAKE_PTR(c->index_name);
		n->extra->nlink_adjust = 0;
	}
	if (c->up)
		n->dir->upper = TAKE_PTR(c->up);
	if (node_is_dir(n))
		n->dir->never_pure = true;
	n->real_ino = c->ino;
	n->flags |= (uint16_t)(add_flags | (indexed ? NF_INDEXED : 0) |
			       (c->has_origin ? NF_ORIGIN : 0));
	if (!c->meta_only)
		n->flags &= (uint16_t)~NF_METACOPY;
	n->layer = LAYER_UPPER;
	mutex_unlock(&n->lock);
	fdcache_drop(&s->fds, &n->fde);
	/* What made it upper comes next, and a descriptor of it is here. */
	if (S_ISREG(c->st.stx_mode) && !c->meta_only && !(n->flags & NF_PROTATTR))
		fdcache_put(&s->fds, fdcache_add(&s->fds, &n->fde, TAKE_FD(c->fd), true));
	uppermap_note(s, n, c->ino, c->generation);
	if (n->flags & NF_BY_NAME && !node_is_dir(n))
		alias_note(s, n, c->ino);
	if (parent)
		dirlist_note_upper(s, parent, name, node_mode_type(n), false);
	atomic_fetch_add(&s->stat_copyups, 1);
}

static int publish_orphan(struct copyup *c)
{
	char orphan[32];
	int r;

	work_orphan_name(c->n->id, orphan);
	c->key[0] = '\0';
	r = ready_node(c, NULL, NULL);
	if (r == 0)
		r = install(c, c->s->orphan_fd, orphan);
	if (r < 0)
		return r;
	atomic_fetch_add(&c->s->stat_orphans, 1);
	become_upper(c, NULL, NULL, NF_ORPHAN);
	return 0;
}

/* What goes with an entry in our own index: the count is of one link, the entry's. */
static int special_names(const struct copyup *c)
{
	struct nlink_diff d = { .diff = (int32_t)c->st.stx_nlink - 1 };
	char value[16];

	(void)nlink_encode(&d, value);
	return special_prepare(c->s, c->key, c->ino, value);
}

/* An indexed copy gets its entry in the index first and is linked from there, so that a crash between leaves
 * an entry that is complete, and every name finds it.  But a file that has one name below is indexed for
 * its handle only, and there the kernel takes an entry without a name for a dead one, and makes a
 * whiteout of it that hides the file: so the name comes first, and the entry is a link of it. */
static int publish_indexed(struct copyup *c, int dirfd, const char *name)
{
	struct lam_stack *s = c->s;
	bool name_first = c->lower_nlink == 1 && !c->name_gone;
	int index_fd = index_dir(s, c->key);
	int r = special_key(c->key) ? special_names(c) : 0;

	if (r == 0)
		r = name_first ? install(c, dirfd, name) : install(c, index_fd, c->key);
	if (r < 0 || c->name_gone)
		return r;
	r = name_first ? sys_link(dirfd, name, index_fd, c->key)
		       : sys_link(index_fd, c->key, dirfd, name);
	if (r < 0)
		goto undo_install;
	r = index_write_nlink(s, index_fd, c->key, c->st.stx_nlink, 2);
	if (r == 0)
		return 0;
	(void)(name_first ? sys_unlink(index_fd, c->key) : sys_unlink(dirfd, name));
undo_install:
	(void)(name_first ? sys_unlink(dirfd, name) : sys_unlink(index_fd, c->key));
	return r;
}

/* The copy's names: in its directory, and in the index. */
static int publish_names(struct copyup *c, struct node *parent, const char *name)
{
	struct lam_stack *s = c->s;
	struct statx before;
	struct fdent *e;
	int r = rdir_open(s, parent->dir->upper, &e);

	if (r < 0)
		return r;
	r = sys_statx(e->fd, "", &before);
	if (r == 0 && c->has_origin)
		r = copyup_set_impure(s, parent);
	if (r == 0)
		r = c->key[0] ? publish_indexed(c, e->fd, name) : install(c, e->fd, name);
	if (r == 0) {
		struct timespec ts[2] = {
			{ .tv_sec = before.stx_atime.tv_sec, .tv_nsec = before.stx_atime.tv_nsec },
			{ .tv_sec = before.stx_mtime.tv_sec, .tv_nsec = before.stx_mtime.tv_nsec },
		};

		(void)sys_utimens(e->fd, "", ts); /* nice to have, as the kernel does */
	}
	fdcache_put(&s->fds, e);
	return r == -EEXIST ? -ESTALE : r;
}

/* Names may have been removed while the copy was made: the count that it carries follows. */
static int follow_names(struct copyup *c)
{
	struct lam_stack *s = c->s;
	int32_t adjust, gone;

	mutex_lock(&c->n->lock);
	adjust = c->n->extra ? c->n->extra->nlink_adjust : 0;
	mutex_unlock(&c->n->lock);
	gone = c->seen - adjust;
	if (gone <= 0)
		return 0;
	c->seen = adjust;
	if ((uint32_t)gone >= c->st.stx_nlink)
		gone = (int32_t)c->st.stx_nlink - 1;
	c->adjust -= gone;
	c->st.stx_nlink -= (uint32_t)gone;
	if (!c->key[0])
		return 0;
	return c->temp[0] ? set_nlink(c, s->work_fd, c->temp) : set_nlink(c, c->fd, "");
}

/* Under the lock of the directory that the name is in. */
static int publish_locked(struct copyup *c, struct node *parent, const char *name)
{
	struct names_lock names = names_lock(c->s, c->n, NULL);
	int r = follow_names(c);

	if (r == 0)
		r = ready_node(c, parent, name);
	if (r == 0)
		r = publish_names(c, parent, name);
	if (r == 0)
		become_upper(c, c->name_gone ? NULL : parent, name, 0);
	names_note(c->s);
	names_unlock(&names);
	return r;
}

static int publish(struct copyup *c)
{
	struct lam_stack *s = c->s;
	struct node *n = c->n;

	for (;;) {
		char name[LAM_NAME_MAX + 1];
		HELD(parent, s);
		int r;

		mutex_lock(&n->lock);
		if (!(n->flags & NF_DEAD)) {
			parent.n = n->parent ? node_ref(n->parent) : NULL;
			if (n->name)
				strcpy(name, n->name);
		}
		mutex_unlock(&n->lock);
		if (!parent.n)
			return publish_orphan(c);
		mutex_lock(&parent.n->dir->lock);
		mutex_lock(&n->lock);
		r = !(n->flags & NF_DEAD) && n->parent == parent.n && !strcmp(n->name, name) &&
		    parent.n->dir->upper;
		/* For this name that stays so while its directory is locked; others may be met meanwhile. */
		c->name_gone = n->flags & NF_NAME_GONE;
		mutex_unlock(&n->lock);
		if (r) {
			r = publish_locked(c, parent.n, name);
			mutex_unlock(&parent.n->dir->lock);
			return r;
		}
		mutex_unlock(&parent.n->dir->lock);
		if (!parent.n->dir->upper && !(n->flags & NF_DEAD))
			return -EAGAIN; /* seen elsewhere meanwhile: that parent first */
	}
}

/* ---- One object ---- */

static int prepare_origin(struct copyup *c)
{
	struct lam_stack *s = c->s;
	struct fsys *fs = fsys_by_dev(s, statx_dev(&c->st));
	bool dir = S_ISDIR(c->st.stx_mode);
	/* An entry carries attributes, which a symlink or a device cannot with the user prefix: then it is in
	 * our own index, if it needs one. */
	bool indexed = s->index_fd >= 0 && !dir && (c->st.stx_nlink > 1 || s->nfs_export) &&
		       (!s->userxattr || S_ISREG(c->st.stx_mode) ||
			(c->st.stx_nlink > 1 && special_applies(s, c->st.stx_mode)));
	int r;

	if (!dir && c->st.stx_nlink > 1 && !indexed)
		return 0; /* a hard link is broken: no claim to the old identity */
	c->same_object = true;
	if (!s->upper_xattr)
		return 0;
	c->has_origin = true;
	if (!fs || !fs->can_encode || (!fs->can_decode && fs->opaque_handles && !indexed))
		return 0; /* zero length: copied up from somewhere */
	r = fsys_fh(s, fs, c->from.dirfd, c->from.name, false, &c->origin);
	if (r < 0) {
		c->origin.len = 0;
		/* Any other failure would cost the object its identity. */
		return r == -EOPNOTSUPP ? 0 : r;
	}
	if (indexed && index_key_of(s, &c->origin, c->st.stx_mode, c->key) < 0)
		c->key[0] = '\0';
	return 0;
}

/* The real directory that a lower file is in, or NULL.  Caller holds N's lock. */
static struct rdir *lower_dir_of(const struct node *n)
{
	const struct dir *pd = n->parent && n->name ? n->parent->dir : NULL;

	for (unsigned i = 0; pd && i < pd->n_lower; i++)
		if (pd->lower[i]->layer == n->layer)
			return pd->lower[i];
	return NULL;
}

/* Whether the data of a copy without any would be found below. */
static bool knows_data(struct node *n)
{
	bool known;

	mutex_lock(&n->lock);
	known = n->flags & NF_METACOPY || lower_dir_of(n);
	mutex_unlock(&n->lock);
	return known;
}

/* 1: with MAY_BE_BEHIND, it has only been begun. */
static int copyup_one(struct lam_stack *s, const struct lam_call *call, struct node *n,
		      uint64_t size, bool data, bool may_be_behind)
{
	struct copyup c = { .s = s, .call = call, .n = n, .from = PLACE_NONE, .fd = -1 };
	char record[ORIGIN_RECORD_LEN + 1] = "";
	struct statx st;
	int r;

	perm_thread_init();
	sys_umask(0);
	r = node_place(s, n, &c.from);
	if (r == 0)
		r = sys_statx(c.from.dirfd, c.from.name, &c.st);
	if (r == 0 && c.st.stx_ino != c.from.ino)
		r = -ESTALE;
	if (r == 0 && may_be_behind && c.st.stx_size >= s->behinds.min)
		r = behind_begin(s, n);
	if (r == 0)
		r = prepare_origin(&c);
	if (r != 0)
		goto out;
	c.lower_nlink = c.st.stx_nlink;
	mutex_lock(&n->lock);
	c.adjust = c.seen = n->extra ? n->extra->nlink_adjust : 0;
	mutex_unlock(&n->lock);
	/* From a record on disk: at least this name is there. */
	if (c.adjust < 0 && c.st.stx_nlink <= (uint32_t)-c.adjust)
		c.adjust = 1 - (int32_t)c.st.stx_nlink;
	c.st.stx_nlink += (uint32_t)c.adjust;
	c.size = size < c.st.stx_size ? size : c.st.stx_size;
	c.behind = behind_get(s, n->id);
	c.meta_only = !data && !c.behind && s->metacopy && S_ISREG(c.st.stx_mode) &&
		      c.st.stx_size && !(n->flags & NF_DEAD) && knows_data(n);
	r = S_ISREG(c.st.stx_mode) ? make_file(&c) : make_other(&c);
	if (r == 0) {
		r = c.temp[0] ? sys_statx(s->work_fd, c.temp, &st) : sys_statx(c.fd, "", &st);
		c.ino = st.stx_ino;
		c.generation = fsys_generation(s, s->layers[LAYER_UPPER].fs,
					       c.temp[0] ? s->work_fd : c.fd, c.temp, NULL);
	}
	if (r == 0 && c.same_object && !node_is_dir(n) && !(n->flags & NF_DEAD) &&
	    (!c.origin.len || record_needed(s, st.stx_mode)))
		r = record_store(s, n, c.temp[0] ? s->work_fd : c.fd, c.temp, &st, record);
	if (r == 0 && c.meta_only && !(n->flags & NF_METACOPY))
		r = copyup_keep_data(s, n);
	c.has_origin |= record[0] != '\0';
	if (r == 0)
		r = publish(&c);
	if (r < 0)
		record_drop(s, c.ino, record);
	if (r == 0 && c.behind)
		behind_over(s, c.behind);
	if (r == 0 && c.key[0] && c.adjust)
		(void)links_adjust_store(s, c.key, 0); /* the nlink attribute has it now */
	if (r == 0 && node_is_dir(n) && s->nfs_export)
		(void)index_mark_dir(s, n);
out:
	undo(&c);
	return r;
}

/* A metadata-only copy reads its data where the lower object was. */
int copyup_keep_data(struct lam_stack *s, struct node *n)
{
	struct node_extra *x;
	struct rdir *dir;
	int r = -ENOMEM;

	(void)s;
	mutex_lock(&n->lock);
	x = node_extra(n);
	dir = lower_dir_of(n);
	if (x && !dir)
		r = -EAGAIN; /* a rename came between */
	else if (x)
		x->data_name = strdup(n->name);
	if (x && x->data_name) {
		x->data_dir = rdir_ref(dir);
		n->flags |= NF_METACOPY;
		r = 0;
	}
	mutex_unlock(&n->lock);
	return r;
}

/* Copy the data into a metadata-only upper file, in place: the kernel's format knows no other way, and the
 * attribute goes only when the data is durable. */
static int fill_metacopy(struct lam_stack *s, const struct lam_call *call, struct node *n,
			 uint64_t size)
{
	char caps[64];
	CLEANUP_CLOSE int fd = node_open(s, n, O_RDWR);
	struct timespec ts[2];
	uint64_t copied = 0;
	struct fdent *e;
	struct statx st;
	ssize_t n_caps;
	int r;

	if (fd < 0)
		return fd;
	r = sys_statx(fd, "", &st);
	if (r == 0)
		r = data_fd(s, n, false, &e);
	if (r < 0)
		return r;
	n_caps = sys_getxattr(fd, "", "security.capability", caps, sizeof(caps));
	r = sys_copy_data(e->fd, fd, size < st.stx_size ? size : st.stx_size,
			  call ? call->cancelled : NULL, &copied);
	fdcache_put(&s->fds, e);
	if (r == 0 &&
	    size < st.stx_size) /* or a crash would leave the old size with a hole in it */
		r = sys_ftruncate(fd, size);
	if (r == 0 && n_caps > 0)
		r = sys_setxattr(fd, "", "security.capability", caps, (size_t)n_caps, 0);
	ts[0] = (struct timespec){ .tv_sec = st.stx_atime.tv_sec, .tv_nsec = st.stx_atime.tv_nsec };
	ts[1] = (struct timespec){ .tv_sec = st.stx_mtime.tv_sec, .tv_nsec = st.stx_mtime.tv_nsec };
	if (r == 0)
		r = sys_utimens(fd, "", ts);
	if (r == 0 && s->fsync != LAM_FSYNC_VOLATILE)
		r = sys_fsync(fd);
	if (r == 0)
		r = ovl_remove(s, fd, "", "metacopy");
	if (r < 0)
		return r;
	n->flags &= (uint16_t)~NF_METACOPY;
	fdcache_drop(&s->fds, &n->fde);
	atomic_fetch_add(&s->stat_copyup_bytes, copied);
	return 0;
}

/* ---- Who copies, and who waits ---- */

static bool is_done(const struct node *n, bool data)
{
	return node_is_upper(n) && !(data && n->flags & NF_METACOPY);
}

/* Become the one that copies N up: 1; or find it done by another: 0. */
static int begin(struct lam_stack *s, const struct lam_call *call, struct node *n, bool data)
{
	int r = 1;

	mutex_lock(&s->copyup_lock);
	while (n->flags & NF_COPYING) {
		if (call && call->cancelled && atomic_load(call->cancelled)) {
			r = -EINTR;
			break;
		}
		cond_wait_for(&s->copyup_cond, &s->copyup_lock, 20);
	}
	if (r == 1 && is_done(n, data))
		r = 0;
	if (r == 1)
		n->flags |= NF_COPYING;
	mutex_unlock(&s->copyup_lock);
	return r;
}

static void end(struct lam_stack *s, struct node *n)
{
	mutex_lock(&s->copyup_lock);
	n->flags &= (uint16_t)~NF_COPYING;
	mutex_unlock(&s->copyup_lock);
	cond_broadcast(&s->copyup_cond);
}

/* The topmost ancestor of N (or N itself) that is not in upper, held. */
static struct node *next_to_copy(struct lam_stack *s, struct node *n)
{
	struct node *at = node_ref(n);

	for (;;) {
		struct node *parent;

		mutex_lock(&at->lock);
		parent = at->parent && !(at->flags & NF_DEAD) ? node_ref(at->parent) : NULL;
		mutex_unlock(&at->lock);
		if (!parent || node_is_upper(parent)) {
			node_put(s, parent);
			return at;
		}
		node_put(s, at);
		at = parent;
	}
}

/* As copyup_one(). */
static int copyup_all(struct lam_stack *s, const struct lam_call *call, struct node *n,
		      uint64_t size, bool data, bool may_be_behind)
{
	int r;

	if (is_done(n, data))
		return 0;
	if (s->read_only)
		return -EROFS;
	/* Reached by a handle: its name must be known, or the copy would be nobody's. */
	r = resolve_connect_or_end(s, n);
	if (r < 0)
		return r;
	for (;;) {
		HELD(at, s);
		bool own;

		at.n = node_is_upper(n) ? node_ref(n) : next_to_copy(s, n);
		own = at.n == n;
		r = begin(s, call, at.n, own && data);
		if (r > 0) {
			r = node_is_upper(at.n) ? fill_metacopy(s, call, at.n, size)
						: copyup_one(s, call, at.n, size, own && data,
							     own && may_be_behind);
			end(s, at.n);
			if (r == 1)
				return 1;
			if (r == -EAGAIN)
				continue;
		}
		if (r < 0)
			return r;
		if (own && is_done(n, data))
			return 0;
	}
}

int copyup(struct lam_stack *s, const struct lam_call *call, struct node *n)
{
	return copyup_all(s, call, n, UINT64_MAX, false, false);
}

int copyup_data(struct lam_stack *s, const struct lam_call *call, struct node *n, uint64_t size)
{
	return copyup_all(s, call, n, size, true, false);
}

int copyup_behind(struct lam_stack *s, const struct lam_call *call, struct node *n)
{
	int r = copyup_all(s, call, n, UINT64_MAX, true, true);

	return r == 1 && behind_kick(s) < 0 ? copyup_data(s, call, n, UINT64_MAX) : r;
}
