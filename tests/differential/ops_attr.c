/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Steps on attributes, flags and file handles. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "differential.h"

#define UNUSED __attribute__((unused))
#define DO(name)                                                                                  \
	long do_##name(struct run *run UNUSED, struct side *s UNUSED, const struct op *op UNUSED, \
		       struct rec *r UNUSED)

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static long ret(long n)
{
	return n < 0 ? -errno : n;
}

DO(chmod)
{
	return ret(
		syscall(SYS_fchmodat2, op_dir(s, op->at), op->path.p, (mode_t)op->b, (int)op->a));
}

DO(fchmod)
{
	return ret(fchmod(op_fd(s, op->fd), (mode_t)op->b));
}

DO(chown)
{
	return ret(fchownat(op_dir(s, op->at), op->path.p, (uid_t)op->b, (gid_t)op->c, (int)op->a));
}

DO(fchown)
{
	return ret(fchown(op_fd(s, op->fd), (uid_t)op->b, (gid_t)op->c));
}

/* -1 is now, -2 leaves it as it is; else seconds. */
static struct timespec when(uint64_t v)
{
	int64_t t = (int64_t)v;

	if (t == -1)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	if (t == -2)
		return (struct timespec){ .tv_nsec = UTIME_OMIT };
	return (struct timespec){ .tv_sec = t, .tv_nsec = 123456789 };
}

DO(utimens)
{
	const struct timespec ts[2] = { when(op->b), when(op->c) };

	return ret(utimensat(op_dir(s, op->at), op->path.p, ts, (int)op->a));
}

DO(futimens)
{
	const struct timespec ts[2] = { when(op->b), when(op->c) };

	return ret(futimens(op_fd(s, op->fd), ts));
}

/* ---- Extended attributes ---- */

DO(setxattr)
{
	int e = op_enter(s, op->at);

	if (e < 0)
		return e;
	return ret(lsetxattr(op->path.p, op->path2.p, op->text.p, op->text.len, (int)op->a));
}

DO(fsetxattr)
{
	return ret(fsetxattr(op_fd(s, op->fd), op->path2.p, op->text.p, op->text.len, (int)op->a));
}

static long got_value(struct rec *r, ssize_t n, size_t size)
{
	if (n < 0)
		return -errno;
	if (size)
		rec_put(r, W_CALL, TAG_XATTR, look_hash(op_buffer(), (size_t)n));
	return n;
}

DO(getxattr)
{
	int e = op_enter(s, op->at);

	if (e < 0)
		return e;
	return got_value(r, lgetxattr(op->path.p, op->path2.p, op_buffer(), op->a), op->a);
}

DO(fgetxattr)
{
	return got_value(r, fgetxattr(op_fd(s, op->fd), op->path2.p, op_buffer(), op->a), op->a);
}

static long got_names(struct rec *r, ssize_t n)
{
	size_t first = r->n;

	if (n < 0)
		return -errno;
	for (char *p = op_buffer(); p < op_buffer() + n; p += strlen(p) + 1)
		rec_put_key(r, W_CALL, TAG_XATTR, (struct str){ p, strlen(p) }, 0);
	rec_sort(r, first);
	return 0;
}

DO(listxattr)
{
	int e = op_enter(s, op->at);

	return e < 0 ? e : got_names(r, llistxattr(op->path.p, op_buffer(), 65536));
}

DO(flistxattr)
{
	return got_names(r, flistxattr(op_fd(s, op->fd), op_buffer(), 65536));
}

DO(removexattr)
{
	int e = op_enter(s, op->at);

	return e < 0 ? e : ret(lremovexattr(op->path.p, op->path2.p));
}

DO(fremovexattr)
{
	return ret(fremovexattr(op_fd(s, op->fd), op->path2.p));
}

/* ---- Looking ---- */

DO(stat)
{
	return look_at(run, s, r, W_CALL, op_dir(s, op->at), op->path.p, (unsigned)op->a);
}

DO(fstat)
{
	return look_at(run, s, r, W_CALL, op_fd(s, op->fd), "", AT_EMPTY_PATH);
}

DO(statfs)
{
	CLEANUP_CLOSE int fd = openat(op_dir(s, op->at), op->path.p, O_PATH | O_CLOEXEC);
	struct statfs f;

	if (fd < 0 || fstatfs(fd, &f) < 0)
		return -errno;
	rec_put(r, W_CALL, TAG_VALUE, (uint64_t)f.f_bsize);
	rec_put(r, W_CALL, TAG_VALUE, (uint64_t)f.f_frsize);
	rec_put(r, W_CALL, TAG_VALUE, (uint64_t)f.f_namelen);
	rec_put(r, W_CALL, TAG_VALUE, f.f_blocks);
	rec_put(r, W_CALL, TAG_VALUE, f.f_files > 0);
	return 0;
}

DO(access)
{
	return ret(syscall(SYS_faccessat2, op_dir(s, op->at), op->path.p, (int)op->b, (int)op->a));
}

/* ---- Flags ---- */

static int open_for_ioctl(const struct side *s, const struct op *op)
{
	return openat(op_dir(s, op->at), op->path.p,
		      O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
}

enum {
	FLAGS_OF_INTEREST = FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL |
			    FS_SYNC_FL
};

DO(getflags)
{
	CLEANUP_CLOSE int fd = open_for_ioctl(s, op);
	unsigned flags = 0;

	if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return -errno;
	rec_put(r, W_CALL, TAG_VALUE, flags & FLAGS_OF_INTEREST);
	return 0;
}

DO(setflags)
{
	CLEANUP_CLOSE int fd = open_for_ioctl(s, op);
	unsigned flags = 0;

	if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return -errno;
	flags = (flags & ~(unsigned)FLAGS_OF_INTEREST) | (unsigned)op->a;
	return ret(ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

DO(getfsx)
{
	CLEANUP_CLOSE int fd = open_for_ioctl(s, op);
	struct fsxattr x;

	if (fd < 0 || ioctl(fd, FS_IOC_FSGETXATTR, &x) < 0)
		return -errno;
	rec_put(r, W_CALL, TAG_VALUE,
		x.fsx_xflags & (FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND | FS_XFLAG_SYNC |
				FS_XFLAG_NOATIME | FS_XFLAG_NODUMP));
	rec_put(r, W_CALL, TAG_VALUE, x.fsx_projid);
	return 0;
}

DO(setfsx)
{
	CLEANUP_CLOSE int fd = open_for_ioctl(s, op);
	struct fsxattr x;

	if (fd < 0 || ioctl(fd, FS_IOC_FSGETXATTR, &x) < 0)
		return -errno;
	x.fsx_projid = (uint32_t)op->a;
	return ret(ioctl(fd, FS_IOC_FSSETXATTR, &x));
}

/* ---- Handles ---- */

union handle_buffer {
	struct file_handle h;
	char room[sizeof(struct file_handle) + 128];
};

DO(handle)
{
	unsigned i = op->a % HANDLES;
	union handle_buffer b;
	int mount;

	b.h.handle_bytes = 128;
	if (name_to_handle_at(op_dir(s, op->at), op->path.p, &b.h, &mount, 0) < 0) {
		s->handle[i].len = 0;
		return -errno;
	}
	s->handle[i].type = b.h.handle_type;
	s->handle[i].len = b.h.handle_bytes;
	memcpy(s->handle[i].bytes, b.h.f_handle, b.h.handle_bytes);
	return 0;
}

DO(openhandle)
{
	unsigned i = op->a % HANDLES;
	union handle_buffer b;
	int fd, slot = op->fd % SLOTS;

	if (!s->handle[i].len)
		return -EINVAL;
	b.h.handle_type = s->handle[i].type;
	b.h.handle_bytes = s->handle[i].len;
	memcpy(b.h.f_handle, s->handle[i].bytes, s->handle[i].len);
	fd = open_by_handle_at(s->root, &b.h, (int)op->b | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (s->fd[slot] >= 0)
		(void)close(s->fd[slot]);
	s->fd[slot] = fd;
	return 0;
}
