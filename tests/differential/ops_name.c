/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Steps on names and listings. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "differential.h"

#define UNUSED __attribute__((unused))
#define DO(name)                                                                                  \
	long do_##name(struct run *run UNUSED, struct side *s UNUSED, const struct op *op UNUSED, \
		       struct rec *r UNUSED)

static long ret(long n)
{
	return n < 0 ? -errno : n;
}

/* Both directories of a step; the current one is entered for whichever needs it. */
static void two_dirs(const struct side *s UNUSED, const struct op *op UNUSED, int dir[2])
{
	dir[0] = op_dir(s, op->at);
	dir[1] = op_dir(s, op->at2);
}

DO(link)
{
	int dir[2];

	two_dirs(s, op, dir);
	return ret(linkat(dir[0], op->path.p, dir[1], op->path2.p, (int)op->a));
}

DO(linkfd)
{
	return ret(linkat(op_fd(s, op->fd), "", op_dir(s, op->at2), op->path2.p, AT_EMPTY_PATH));
}

DO(symlink)
{
	return ret(symlinkat(op->text.p, op_dir(s, op->at), op->path.p));
}

DO(readlink)
{
	ssize_t n = readlinkat(op_dir(s, op->at), op->path.p, op_buffer(), 4096);

	if (n < 0)
		return -errno;
	rec_put(r, W_CALL, TAG_TARGET, look_hash(op_buffer(), (size_t)n));
	return n;
}

DO(mknod)
{
	return ret(mknodat(op_dir(s, op->at), op->path.p, (mode_t)op->b, (dev_t)op->a));
}

DO(mkdir)
{
	return ret(mkdirat(op_dir(s, op->at), op->path.p, (mode_t)op->b));
}

DO(unlink)
{
	return ret(unlinkat(op_dir(s, op->at), op->path.p, 0));
}

DO(rmdir)
{
	return ret(unlinkat(op_dir(s, op->at), op->path.p, AT_REMOVEDIR));
}

DO(rename)
{
	int dir[2];

	two_dirs(s, op, dir);
	return ret(renameat2(dir[0], op->path.p, dir[1], op->path2.p, (unsigned)op->a));
}

DO(chdir)
{
	int dir = op_dir(s, op->at), fd = openat(dir, op->path.p, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fchdir(fd) < 0) {
		int e = errno;

		(void)close(fd);
		return -e;
	}
	if (s->cwd >= 0)
		(void)close(s->cwd);
	s->cwd = fd;
	return 0;
}

DO(umask)
{
	(void)umask((mode_t)op->a);
	return 0;
}

/* ---- Listings ---- */

struct entry64 {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

/*
 * Count the names from a place in the middle, which was reached by a seek, and those before it:
 * together they must be all.
 */
static long count_parts(int fd, uint64_t part)
{
	_Alignas(8) char buf[4096];
	long n, before = 0, after = 0;
	int64_t off = 0;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	n = syscall(SYS_getdents64, fd, buf, sizeof(buf));
	for (long at = 0; at < n && (uint64_t)before < part; before++) {
		const struct entry64 *e = (const void *)(buf + at);

		off = e->d_off;
		at += e->d_reclen;
	}
	if (lseek(fd, off, SEEK_SET) < 0)
		return -errno;
	while ((n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0)
		for (long at = 0; at < n; after++)
			at += ((const struct entry64 *)(const void *)(buf + at))->d_reclen;
	return n < 0 ? -errno : before + after;
}

DO(list)
{
	CLEANUP_CLOSE int fd = openat(op_dir(s, op->at), op->path.p,
				      O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
	size_t first = r->n;
	unsigned tries = 0;
	long n;

	if (fd < 0)
		return -errno;
	do
		n = count_parts(fd, op->a);
	while (n < 0 && look_refused(run, s, (int)-n, tries++));
	if (n < 0)
		return n;
	if (!look_listing(run, s, fd, r, W_CALL, 1))
		return -EIO;
	/* the whole of the listing has as many names as its two parts */
	for (size_t i = first; i < r->n; i++)
		n -= r->f[i].tag == TAG_NAME;
	return n ? -EBADE : 0;
}

DO(readdir)
{
	return look_listing(run, s, op_fd(s, op->fd), r, W_CALL, 1) ? 0 : -errno;
}

/* ---- What the worker does itself ---- */

DO(check)
{
	return 0;
}

DO(remount)
{
	return 0;
}

DO(drop)
{
	return 0;
}
