/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New objects: made directly in upper where nothing is in the way, else in the work directory and
 * renamed over the whiteout.
 */
#include "core.h"

#include <errno.h>
#include <sys/sysmacros.h>

struct creation {
	struct lam_stack *s;
	struct node *d;
	const char *name;
	const struct newobj *o;
	struct found f;	   /* what was at the name */
	struct fdent *dir; /* upper part of D */
	uint32_t uid, gid; /* in the layer's terms */
	int fd;		   /* of a new regular file */
	bool override;
	bool entered; /* acting as the caller */
};

/* Act as the caller for one creation, so that owner, group and mode are right from the start. */
static int enter(struct creation *c)
{
	int r;

	perm_thread_init();
	sys_umask((mode_t)(c->o->call->cred.umask & 0777u));
	if (!c->s->can_switch_ids || c->override)
		return 0;
	r = sys_creds_enter(c->uid, c->gid);
	c->entered = r == 0;
	/* Ids that are not to be had here, and that nobody is shown: the server's own do as well. */
	return (r == -EINVAL || r == -EPERM) && c->s->squash_uid && c->s->squash_gid ? 0 : r;
}

static void leave(struct creation *c)
{
	if (c->entered)
		sys_creds_leave();
	c->entered = false;
	sys_umask(0);
}

/* The mode that the layer's object gets: with override_stat the owner keeps access to it. */
static uint32_t real_mode(const struct creation *c)
{
	uint32_t mode = c->o->mode & 07777u;

	if (!c->override)
		return mode;
	return (mode & 0777u) | (S_ISDIR(c->o->mode) ? 0700u : 0600u);
}

/* Make the object as NAME in DIRFD. */
static int make(struct creation *c, int dirfd, const char *name)
{
	uint32_t type = c->o->mode & S_IFMT, mode = real_mode(c);
	int r = enter(c);

	if (r < 0)
		return r;
	switch (type) {
	case S_IFDIR:
		r = sys_mkdir(dirfd, name, mode);
		break;
	case S_IFLNK:
		r = sys_symlink(c->o->target, dirfd, name);
		break;
	case S_IFREG:
		r = sys_openat(dirfd, name, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW, mode);
		if (r >= 0) {
			c->fd = r;
			r = 0;
		}
		break;
	default:
		if (c->override && (type == S_IFCHR || type == S_IFBLK)) {
			/* Recorded in the attribute of a file that stands for it. */
			r = sys_mknod(dirfd, name, S_IFREG | 0600u, 0);
			break;
		}
		r = sys_mknod(dirfd, name, type | mode, makedev(c->o->major, c->o->minor));
	}
	leave(c);
	if (r == 0 && c->override) {
		struct lam_attr a = { .mode = c->o->mode & ~(c->o->call->cred.umask & 0777u),
				      .uid = c->uid,
				      .gid = c->gid,
				      .rdev_major = c->o->major,
				      .rdev_minor = c->o->minor };

		r = perm_override_store(c->s, dirfd, name, &a);
		if (r < 0)
			(void)(type == S_IFDIR ? sys_rmdir(dirfd, name) : sys_unlink(dirfd, name));
	}
	return r;
}

/* ---- Over a whiteout ---- */

/* The work directory has neither the parent's default ACL nor its set-gid bit: a temporary parent there
 * gets them, and the filesystem does with the new object what it would have done in place. */
static int make_parent(struct creation *c, char temp[32])
{
	struct lam_stack *s = c->s;
	char acl[4096];
	struct stat st;
	ssize_t n;
	int r = sys_stat(c->dir->fd, "", &st);

	if (r < 0)
		return r;
	n = sys_getxattr(c->dir->fd, "", "system.posix_acl_default", acl, sizeof(acl));
	if (n <= 0 && !(st.st_mode & S_ISGID)) {
		temp[0] = '\0';
		return 0;
	}
	work_temp_name(s, temp);
	r = sys_mkdir(s->work_fd, temp, 0700);
	if (r < 0)
		return r;
	if (n > 0)
		r = sys_setxattr(s->work_fd, temp, "system.posix_acl_default", acl, (size_t)n, 0);
	if (r == 0 && st.st_mode & S_ISGID)
		r = sys_chown(s->work_fd, temp, (uid_t)-1, st.st_gid);
	if (r == 0)
		r = sys_chmod(s->work_fd, temp, (st.st_mode & S_ISGID) | 0777u);
	if (r < 0)
		(void)sys_rmdir(s->work_fd, temp);
	return r;
}

static int make_temp(struct creation *c, char temp[32])
{
	struct lam_stack *s = c->s;
	char parent[32];
	int fd, r = make_parent(c, parent);

	if (r < 0)
		return r;
	work_temp_name(s, temp);
	if (!parent[0])
		return make(c, s->work_fd, temp);
	fd = sys_openat(s->work_fd, parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	r = fd;
	if (fd >= 0) {
		r = make(c, fd, temp);
		if (r == 0)
			r = sys_rename(fd, temp, s->work_fd, temp, 0);
		if (r < 0) {
			(void)sys_unlink(fd, temp);
			(void)sys_rmdir(fd, temp);
		}
		sys_close(fd);
	}
	(void)sys_rmdir(s->work_fd, parent);
	return r;
}

/* ---- In place ---- */

static int create_here(struct creation *c)
{
	struct lam_stack *s = c->s;
	int r = make(c, c->dir->fd, c->name);

	if (r < 0)
		return r;
	if (!S_ISDIR(c->o->mode))
		return c->f.upper_dot_wh ? work_unwhiteout(s, c->dir->fd, c->name, true) : 0;
	/* Nothing is below now; that it stays so when lower layers change is worth a mark.  As in the
	 * kernel's overlayfs lower layers may change between mounts where no newer feature is on. */
	if ((c->d->dir->n_lower && (s->index || s->redirect_on || s->metacopy || s->xino_on)) ||
	    c->f.upper_dot_wh) {
		r = ovl_set(s, c->dir->fd, c->name, "opaque", "y", 1);
		if (c->f.upper_dot_wh && r == 0)
			r = work_unwhiteout(s, c->dir->fd, c->name, true);
	}
	return 0;
}

/* ---- Over a whiteout, the step itself ---- */

static int create_over(struct creation *c)
{
	struct lam_stack *s = c->s;
	bool dir = S_ISDIR(c->o->mode);
	char temp[32];
	int r;

	if (dir && !s->upper_xattr) { /* no attribute can make it opaque: `.wh.NAME` does */
		r = work_whiteout_to_dot(s, c->dir->fd, c->name);
		c->f.upper_dot_wh = true;
		return r < 0 ? r : create_here(c);
	}
	r = make_temp(c, temp);
	if (r < 0)
		return r;
	if (dir) {
		r = ovl_set(s, s->work_fd, temp, "opaque", "y", 1);
		if (r == 0)
			r = work_replace(s, c->dir->fd, c->name, temp);
		if (r == 0)
			(void)sys_unlink(s->work_fd,
					 temp); /* the whiteout; else at the next mount */
	} else {
		r = sys_rename(s->work_fd, temp, c->dir->fd, c->name, 0);
	}
	if (r < 0)
		work_discard(s, temp, dir);
	return r;
}

/* Whether the name is free; fills in what hides it. */
static int check_free(struct creation *c)
{
	int r;

	/* In a directory that is only in upper the creation itself tells. */
	if (!c->d->dir->n_lower && !c->d->dir->never_pure && !c->d->dir->listing)
		return 0;
	r = lookup_locked(c->s, c->d, c->name, &c->f);
	if (r < 0)
		return r;
	return c->f.type ? -EEXIST : 0;
}

static int try_create(struct creation *c)
{
	int r = check_free(c);

	if (r < 0)
		return r;
	if (c->f.upper_whiteout || c->f.upper_dead_file)
		return create_over(c);
	r = create_here(c);
	if (r != -EEXIST)
		return r;
	r = lookup_locked(c->s, c->d, c->name, &c->f); /* a whiteout that we did not expect? */
	if (r < 0)
		return r;
	return c->f.upper_whiteout || c->f.upper_dead_file ? create_over(c) : -EEXIST;
}

/* The node and entry of what was made. */
static int adopt(struct creation *c, struct lam_entry *ret)
{
	struct lam_stack *s = c->s;
	struct found f = { .layer = LAYER_UPPER };
	struct lam_entry entry;
	struct node *n = NULL;
	int r;

	r = c->fd >= 0 ? sys_statx(c->fd, "", &f.st) : sys_statx(c->dir->fd, c->name, &f.st);
	if (r < 0)
		return r;
	f.type = f.st.stx_mode & S_IFMT;
	if (S_ISDIR(f.type)) {
		f.upper = rdir_new(c->d->dir->upper, c->name, LAYER_UPPER, f.st.stx_ino);
		if (!f.upper)
			return -ENOMEM;
		atomic_store(&f.upper->impure, 1);
		f.bottom_ino = f.st.stx_ino;
		f.bottom_dev = statx_dev(&f.st);
	}
	dirlist_note_upper(s, c->d, c->name, f.type, true);
	r = lookup_node_locked(s, c->d, c->name, &f, &n);
	if (r == 0)
		r = attr_of_node(s, n, &f.st, &entry.attr);
	found_done(s, &f);
	if (!n)
		return r;
	entry.id = n->id;
	entry.generation = n->generation;
	uppermap_note(s, n, n->real_ino, n->generation);
	if (c->fd >= 0) {
		struct fdent *e = fdcache_add(&s->fds, &n->fde, TAKE_FD(c->fd), true);

		fdcache_put(&s->fds, e);
	}
	if (r == 0) {
		*ret = entry;
	} else {
		uppermap_gone(s, n);
		n->flags |= NF_DEAD;
		node_retire(s, n);
	}
	node_put(s, n);
	return r;
}

/* What was made and cannot be told about goes again, so that an error means that there is nothing new.  Nobody
 * else has seen it: the directory is locked.  Where this fails too, it stays. */
static void take_back(struct creation *c)
{
	struct lam_stack *s = c->s;
	const bool dir = S_ISDIR(c->o->mode);
	const bool hides = c->f.upper_whiteout || c->f.upper_dead_file || c->f.upper_dot_wh;
	char temp[32];
	int r;

	if (!hides)
		r = dir ? sys_rmdir(c->dir->fd, c->name) : sys_unlink(c->dir->fd, c->name);
	else if (!dir)
		r = work_whiteout_over(s, c->dir->fd, c->name);
	else
		r = work_whiteout_exchange(s, NULL, c->dir->fd, c->name, temp);
	if (r == 0 && hides && dir)
		work_discard(s, temp, true);
	if (r == 0)
		dirlist_note_removed(s, c->d, c->name, hides);
}

int create_in(struct lam_stack *s, struct node *d, const char *name, const struct newobj *o,
	      struct lam_entry *ret)
{
	struct creation c = { .s = s, .d = d, .name = name, .o = o, .fd = -1 };
	int r;

	if (s->read_only)
		return -EROFS;
	r = name_check(s, name, true);
	perm_creator(s, o->call, &c.uid, &c.gid);
	if (r == 0)
		r = attr_check_change(s, d, true);
	if (r == 0)
		r = copyup(s, o->call, d);
	if (r < 0)
		return r;
	c.override = s->layers[LAYER_UPPER].override_name != NULL;
	mutex_lock(&d->dir->lock);
	r = d->flags & NF_DEAD ? -ENOENT : rdir_open(s, d->dir->upper, &c.dir);
	if (r == 0) {
		r = try_create(&c);
		if (r == 0) {
			r = adopt(&c, ret);
			if (r < 0)
				take_back(&c);
		}
		fdcache_put(&s->fds, c.dir);
	}
	mutex_unlock(&d->dir->lock);
	found_done(s, &c.f);
	if (c.fd >= 0)
		sys_close(c.fd);
	return r;
}

static int create_by_id(struct lam_stack *s, uint64_t parent, const char *name,
			const struct newobj *o, struct lam_entry *ret)
{
	HELD(d, s);
	int r = node_get_dir(s, parent, &d.n);

	nodes_check(s);
	return r < 0 ? r : create_in(s, d.n, name, o, ret);
}

int lam_mknod(struct lam_stack *s, const struct lam_call *call, uint64_t parent, const char *name,
	      uint32_t mode, uint32_t major, uint32_t minor, struct lam_entry *ret)
{
	struct newobj o = { .mode = mode, .major = major, .minor = minor, .call = call };

	if (!(mode & S_IFMT))
		o.mode |= S_IFREG;
	switch (o.mode & S_IFMT) {
	case S_IFCHR:
		if (!major && !minor)
			return -EPERM; /* would be a whiteout */
		break;
	case S_IFREG:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		break;
	default:
		return -EINVAL;
	}
	return create_by_id(s, parent, name, &o, ret);
}

int lam_mkdir(struct lam_stack *s, const struct lam_call *call, uint64_t parent, const char *name,
	      uint32_t mode, struct lam_entry *ret)
{
	struct newobj o = { .mode = S_IFDIR | (mode & 07777u), .call = call };

	return create_by_id(s, parent, name, &o, ret);
}

int lam_symlink(struct lam_stack *s, const struct lam_call *call, uint64_t parent, const char *name,
		const char *target, struct lam_entry *ret)
{
	struct newobj o = { .mode = S_IFLNK | 0777u, .target = target, .call = call };

	return create_by_id(s, parent, name, &o, ret);
}

/* ---- Files without a name ---- */

/* They live in the orphan area from the start: an id is enough to find them there. */
static int tmpfile_adopt(struct lam_stack *s, struct node *d, int fd, struct lam_entry *ret)
{
	struct found f = { .layer = LAYER_UPPER };
	struct fsys *fs = s->layers[LAYER_UPPER].fs;
	struct lam_entry entry;
	char orphan[32];
	struct node *n;
	bool is_new;
	int r = sys_statx(fd, "", &f.st);

	if (r < 0)
		return r;
	entry.id = id_make(s, fs, f.st.stx_ino, true);
	work_orphan_name(entry.id, orphan);
	r = sys_link_fd(fd, s->orphan_fd, orphan);
	if (r < 0)
		return r;
	n = node_fresh(s, entry.id, S_IFREG, &is_new);
	if (!n) {
		(void)sys_unlink(s->orphan_fd, orphan);
		return -ENOMEM;
	}
	mutex_lock(&n->lock);
	n->real_ino = f.st.stx_ino;
	n->layer = LAYER_UPPER;
	n->flags |= NF_ORPHAN;
	n->generation = fsys_generation(s, fs, fd, "", NULL);
	mutex_unlock(&n->lock);
	atomic_fetch_add(&s->stat_orphans, 1);
	f.st.stx_nlink = 1; /* as the orphan area's name makes it; 0 is shown */
	(void)d;
	r = attr_of_node(s, n, &f.st, &entry.attr);
	entry.generation = n->generation;
	if (r == 0)
		*ret = entry;
	node_put(s, n);
	return r;
}

int lam_tmpfile(struct lam_stack *s, const struct lam_call *call, uint64_t parent, uint32_t mode,
		struct lam_entry *ret)
{
	struct newobj o = { .mode = S_IFREG | (mode & 07777u), .call = call };
	struct creation c = { .s = s, .o = &o, .fd = -1 };
	CLEANUP_CLOSE int fd = -1;
	HELD(d, s);
	int r = node_get_dir(s, parent, &d.n);

	if (r < 0)
		return r;
	if (s->read_only)
		return -EROFS;
	if (!s->upper_tmpfile)
		return -EOPNOTSUPP;
	perm_creator(s, call, &c.uid, &c.gid);
	r = attr_check_change(s, d.n, true);
	if (r == 0)
		r = copyup(s, call, d.n);
	/* A directory that was removed without a copy has none. */
	if (r == 0 && !d.n->dir->upper)
		r = -ENOENT;
	if (r == 0)
		r = rdir_open(s, d.n->dir->upper, &c.dir);
	if (r < 0)
		return r;
	c.override = s->layers[LAYER_UPPER].override_name != NULL;
	r = enter(&c);
	if (r == 0) {
		fd = sys_openat(c.dir->fd, ".", O_TMPFILE | O_RDWR, real_mode(&c));
		r = fd < 0 ? fd : 0;
		leave(&c);
	}
	fdcache_put(&s->fds, c.dir);
	if (r == 0 && c.override) {
		struct lam_attr a = { .mode = o.mode & ~(call->cred.umask & 0777u),
				      .uid = c.uid,
				      .gid = c.gid };

		r = perm_override_store(s, fd, "", &a);
	}
	return r < 0 ? r : tmpfile_adopt(s, d.n, fd, ret);
}
