/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading and writing by id and offset, over a bounded cache of descriptors.  A file is opened for
 * reading until the first write, which copies it up; the descriptor of the lower file is left behind
 * then, so every later read sees the new bytes.
 */
#include "core.h"

#include <errno.h>

/* Where a metacopy file's data is: a descriptor of it. */
static int open_metacopy_data(struct lam_stack *s, struct node *n)
{
	char name[LAM_NAME_MAX + 1];
	CLEANUP_FREE char *path = NULL;
	struct rdir *dir = NULL;
	struct fdent *e;
	int fd = -EIO;

	mutex_lock(&n->lock);
	if (n->extra && n->extra->data_dir) {
		dir = rdir_ref(n->extra->data_dir);
		strcpy(name, n->extra->data_name);
	} else if (n->extra && n->extra->data_path) {
		path = strdup(n->extra->data_path);
	}
	mutex_unlock(&n->lock);
	if (dir) {
		fd = rdir_open(s, dir, &e);
		if (fd == 0) {
			fd = sys_openat(e->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
					0);
			fdcache_put(&s->fds, e);
		}
		rdir_put(s, dir);
		return fd;
	}
	/* Data-only layers, from the top: a regular file at this path, no symlink on the way. */
	for (unsigned i = 0; path && i < s->n_data; i++) {
		fd = sys_open_beneath(s->layers[s->n_lower + 1u + i].fd, path + 1,
				      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, true);
		if (fd != -ENOENT && fd != -ENOTDIR)
			break;
	}
	return fd;
}

static int check_regular(int fd)
{
	struct stat st;
	int r = sys_stat(fd, "", &st);

	if (r < 0)
		return r;
	return S_ISREG(st.st_mode) ? 0 : -EIO;
}

/* In the last resort an owner without read or write permission (0200, 0000, 0444) lets itself in for a
 * moment: only without privilege does the layer's mode hold us up. */
static int open_forced(struct lam_stack *s, struct node *n, int flags)
{
	CLEANUP_CLOSE int path_fd = node_open(s, n, O_PATH);
	struct stat st;
	int fd, r;

	if (path_fd < 0)
		return path_fd;
	r = sys_stat(path_fd, "", &st);
	if (r < 0)
		return r;
	if (st.st_uid != s->self_uid || n->layer != LAYER_UPPER)
		return -EACCES;
	r = sys_chmod(path_fd, "", (st.st_mode & 07777u) | 0600u);
	if (r < 0)
		return -EACCES;
	fd = sys_reopen(path_fd, flags);
	r = sys_chmod(path_fd, "", st.st_mode & 07777u);
	if (fd >= 0 && r < 0) {
		sys_close(fd);
		return r;
	}
	return fd;
}

static int open_data(struct lam_stack *s, struct node *n, bool write)
{
	int flags = write ? O_RDWR : O_RDONLY;
	int fd, r;
	unsigned prot = 0;

	if (n->flags & NF_METACOPY) {
		if (write)
			return -EIO; /* callers copy the data first */
		fd = open_metacopy_data(s, n);
		if (fd < 0)
			return fd;
		r = check_regular(fd);
		if (r < 0) {
			sys_close(fd);
			return r;
		}
		return fd;
	}
	if (write && n->flags & NF_PROTATTR && attr_protect(s, n, &prot) == 0 &&
	    prot & PROTATTR_APPEND)
		flags |= O_APPEND;
	fd = node_open(s, n, flags);
	if (fd == -EACCES || (fd == -EPERM && !s->privileged))
		fd = open_forced(s, n, flags);
	return fd;
}

int data_fd(struct lam_stack *s, struct node *n, bool write, struct fdent **ret)
{
	struct fdent *e;
	int fd;

	if (!S_ISREG(node_mode_type(n)))
		return node_is_dir(n) ? -EISDIR : -EINVAL;
	e = fdcache_get(&s->fds, &n->fde, write);
	if (e) {
		*ret = e;
		return 0;
	}
	for (unsigned tries = 0;; tries++) {
		bool upper = node_is_upper(n);

		fd = open_data(s, n, write);
		if ((fd == -EMFILE || fd == -ENFILE) && tries < 2) {
			fdcache_shrink(&s->fds, s->fds.limit / 4);
			continue;
		}
		if (fd < 0)
			return fd;
		e = fdcache_add(&s->fds, &n->fde, fd, write);
		if (!e)
			return -ENOMEM;
		/* Copied up between opening and caching: that descriptor is of the old file. */
		if (upper == node_is_upper(n))
			break;
		fdcache_drop(&s->fds, &n->fde);
		fdcache_put(&s->fds, e);
	}
	*ret = e;
	return 0;
}

/* Whoever needs the whole of what is being copied up behind its writer waits for it. */
static int settled(struct lam_stack *s, const struct lam_call *call, struct node *n)
{
	struct behind *b = behind_get(s, n->id);

	behind_put(s, b);
	return b ? copyup_data(s, call, n, UINT64_MAX) : 0;
}

ssize_t lam_read(struct lam_stack *s, const struct lam_call *call, uint64_t id, uint64_t off,
		 void *buf, size_t size)
{
	HELD(n, s);
	struct behind *b;
	struct fdent *e;
	ssize_t done;
	int r = node_get(s, id, &n.n);

	(void)call;
	if (r < 0)
		return r;
	b = behind_get(s, id);
	if (b) {
		done = behind_read(s, b, n.n, buf, size, off);
		behind_put(s, b);
		return done;
	}
	r = data_fd(s, n.n, false, &e);
	if (r < 0)
		return r;
	done = sys_pread(e->fd, buf, size, off);
	fdcache_put(&s->fds, e);
	return done;
}

/* A write to what is copied up behind its writer, or will be.  -EAGAIN: it is not. */
static ssize_t write_behind(struct lam_stack *s, const struct lam_call *call, struct node *n,
			    uint64_t off, const void *buf, size_t size, unsigned flags)
{
	struct behind *b = behind_get(s, n->id);
	ssize_t done = -EAGAIN;

	if (!b && (node_is_upper(n) || s->behinds.min == UINT64_MAX || s->read_only))
		return -EAGAIN;
	if (!b && S_ISREG(node_mode_type(n))) {
		int r = attr_check_change(s, n, flags & LAM_WRITE_APPEND);

		if (r == 0)
			r = copyup_behind(s, call, n);
		if (r < 0)
			return r;
		b = behind_get(s, n->id);
	}
	if (b)
		done = behind_write(s, b, n, buf, size, off);
	behind_put(s, b);
	return done;
}

static int kill_priv(struct lam_stack *s, const struct lam_call *call, int fd)
{
	struct statx st;
	int r = sys_statx(fd, "", &st);

	return r < 0 ? r : attr_kill_priv(s, fd, &st, call->cred.gid);
}

/* Make N ready to be written: permitted, copied up with its data, and open. */
static int writable_fd(struct lam_stack *s, const struct lam_call *call, struct node *n,
		       bool append, struct fdent **ret)
{
	int r;

	if (s->read_only)
		return -EROFS;
	if (!S_ISREG(node_mode_type(n)))
		return node_is_dir(n) ? -EISDIR : -EINVAL;
	*ret = fdcache_get(&s->fds, &n->fde, true);
	if (*ret && !(n->flags & NF_PROTATTR))
		return 0;
	fdcache_put(&s->fds, *ret);
	r = attr_check_change(s, n, append);
	if (r == 0)
		r = copyup_data(s, call, n, UINT64_MAX);
	return r < 0 ? r : data_fd(s, n, true, ret);
}

ssize_t lam_write(struct lam_stack *s, const struct lam_call *call, uint64_t id, uint64_t off,
		  const void *buf, size_t size, unsigned flags)
{
	HELD(n, s);
	struct fdent *e;
	ssize_t done;
	int r = node_get(s, id, &n.n);

	if (r < 0)
		return r;
	if (off > INT64_MAX || size > INT64_MAX - off)
		return -EFBIG;
	done = write_behind(s, call, n.n, off, buf, size, flags);
	if (done != -EAGAIN)
		return done;
	r = writable_fd(s, call, n.n, flags & LAM_WRITE_APPEND, &e);
	if (r < 0)
		return r;
	if (flags & LAM_WRITE_KILL_PRIV)
		r = kill_priv(s, call, e->fd);
	done = r < 0 ? r : sys_pwrite(e->fd, buf, size, off);
	fdcache_put(&s->fds, e);
	return done;
}

int lam_fallocate(struct lam_stack *s, const struct lam_call *call, uint64_t id, int mode,
		  uint64_t off, uint64_t len)
{
	HELD(n, s);
	struct fdent *e;
	int r = node_get(s, id, &n.n);

	if (r < 0)
		return r;
	r = writable_fd(s, call, n.n, false, &e);
	if (r < 0)
		return r;
	/* The request does not tell whether the caller may keep set-uid bits: they go, as they do for
	 * everybody but root, and root loses nothing that a chmod does not give back. */
	if (call->cred.uid != 0)
		r = kill_priv(s, call, e->fd);
	if (r == 0)
		r = sys_fallocate(e->fd, mode, off, len);
	fdcache_put(&s->fds, e);
	return r;
}

static int64_t seek_all_data(int fd, uint64_t off, int whence)
{
	struct stat st;
	int r = sys_stat(fd, "", &st);

	if (r < 0)
		return r;
	if (off >= (uint64_t)st.st_size)
		return -ENXIO;
	return whence == SEEK_DATA ? (int64_t)off : (int64_t)st.st_size;
}

int64_t lam_seek(struct lam_stack *s, const struct lam_call *call, uint64_t id, uint64_t off,
		 int whence)
{
	HELD(n, s);
	struct fdent *e;
	int64_t pos;
	int r = node_get(s, id, &n.n);

	(void)call;
	if (r < 0)
		return r;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	if (off > INT64_MAX)
		return -ENXIO;
	r = settled(s, call, n.n);
	if (r == 0)
		r = data_fd(s, n.n, false, &e);
	if (r < 0)
		return r;
	pos = sys_lseek(e->fd, (int64_t)off, whence);
	/* A filesystem that knows no holes: all is data, as the kernel says for such ones. */
	if (pos == -EINVAL || pos == -EOPNOTSUPP)
		pos = seek_all_data(e->fd, off, whence);
	fdcache_put(&s->fds, e);
	return pos;
}

ssize_t lam_copy_range(struct lam_stack *s, const struct lam_call *call, uint64_t id_in,
		       uint64_t off_in, uint64_t id_out, uint64_t off_out, size_t len)
{
	HELD(in, s);
	HELD(out, s);
	struct fdent *ein, *eout;
	ssize_t done;
	int r = node_get(s, id_in, &in.n);

	if (r == 0)
		r = node_get(s, id_out, &out.n);
	if (r < 0)
		return r;
	r = writable_fd(s, call, out.n, false, &eout);
	if (r < 0)
		return r;
	r = settled(s, call, in.n);
	if (r == 0)
		r = data_fd(s, in.n, false, &ein);
	if (r < 0) {
		fdcache_put(&s->fds, eout);
		return r;
	}
	if (call->cred.uid != 0)
		r = kill_priv(s, call, eout->fd);
	done = r < 0 ? r : sys_copy_file_range(ein->fd, off_in, eout->fd, off_out, len);
	fdcache_put(&s->fds, ein);
	fdcache_put(&s->fds, eout);
	return done;
}

int lam_fsync(struct lam_stack *s, const struct lam_call *call, uint64_t id, bool data_only)
{
	HELD(n, s);
	struct fdent *e;
	CLEANUP_CLOSE int fd = -1;
	int r = node_get(s, id, &n.n);

	if (r == 0)
		r = settled(s, call, n.n);
	if (r < 0)
		return r;
	/* What is only below was durable before we came. */
	if (s->fsync == LAM_FSYNC_VOLATILE || !node_is_upper(n.n))
		return 0;
	if (!S_ISREG(node_mode_type(n.n))) {
		if (!node_is_dir(n.n))
			return 0;
		fd = node_open(s, n.n, O_RDONLY | O_DIRECTORY);
		return fd < 0 ? fd : sys_fsync(fd);
	}
	if (n.n->flags & NF_METACOPY) {
		fd = node_open(s, n.n, O_RDONLY);
		return fd < 0 ? fd : sys_fsync(fd);
	}
	r = data_fd(s, n.n, false, &e);
	if (r < 0)
		return r;
	r = data_only ? sys_fdatasync(e->fd) : sys_fsync(e->fd);
	fdcache_put(&s->fds, e);
	return r;
}

int lam_syncfs(struct lam_stack *s)
{
	int r = behinds_settle(s);

	if (r < 0 || !s->has_upper || s->fsync == LAM_FSYNC_VOLATILE)
		return r;
	return sys_syncfs(s->layers[LAYER_UPPER].fd);
}

int lam_backing(struct lam_stack *s, const struct lam_call *call, uint64_t id, bool write,
		int *ret_fd, bool *ret_lower)
{
	HELD(n, s);
	int fd, r = node_get(s, id, &n.n);

	if (r == 0)
		r = settled(s, call, n.n);
	if (r < 0)
		return r;
	if (!S_ISREG(node_mode_type(n.n)))
		return node_is_dir(n.n) ? -EISDIR : -EINVAL;
	if (write) {
		if (s->read_only)
			return -EROFS;
		r = attr_check_change(s, n.n, false);
		if (r == 0)
			r = copyup_data(s, call, n.n, UINT64_MAX);
		if (r < 0)
			return r;
	}
	fd = open_data(s, n.n, write);
	if (fd < 0)
		return fd;
	*ret_lower = !node_is_upper(n.n) || n.n->flags & NF_METACOPY;
	*ret_fd = fd;
	return 0;
}
