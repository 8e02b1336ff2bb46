/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The steps that there are: their names, the words of their text form, and what is looked at
 * after them; and what the functions that do them share.
 *
 * Words are NAME=FIELD: f g descriptors' slots, d e directories, p q paths, t bytes, A O octal
 * numbers in op.a and op.b, a b c D numbers in op.a to op.d.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "differential.h"

enum {
	FD = 1 << W_FD,
	T = 1 << W_TARGET,
	TP = T | 1 << W_PARENT,
	T2 = 1 << W_TARGET2 | 1 << W_PARENT2,
};

#define OP(id, lower, words, look) [OP_##id] = { #lower, words, look, do_##lower }

const struct op_info op_table[OP_COUNT] = {
	OP(OPEN, open, "fd=f at=d path=p flags=A mode=O", TP | FD),
	OP(CLOSE, close, "fd=f", 0),
	OP(READ, read, "fd=f len=a", FD),
	OP(PREAD, pread, "fd=f len=a off=b", FD),
	OP(WRITE, write, "fd=f len=a seed=c", FD),
	OP(PWRITE, pwrite, "fd=f len=a off=b seed=c", FD),
	OP(READV, readv, "fd=f len=a", FD),
	OP(WRITEV, writev, "fd=f len=a seed=c", FD),
	OP(LSEEK, lseek, "fd=f off=a whence=b", FD),
	OP(TRUNCATE, truncate, "at=d path=p len=a", TP),
	OP(FTRUNCATE, ftruncate, "fd=f len=a", FD),
	OP(FALLOCATE, fallocate, "fd=f mode=a off=b len=c", FD),
	OP(COPY_RANGE, copy_file_range, "fd=f fd2=g off=a off2=b len=c", FD),
	OP(SENDFILE, sendfile, "fd=f fd2=g off=a len=b", FD),
	OP(SPLICE, splice, "fd=f fd2=g off=a off2=b len=c", FD),
	OP(FSYNC, fsync, "fd=f", FD),
	OP(FDATASYNC, fdatasync, "fd=f", FD),
	OP(SYNCFS, syncfs, "fd=f", FD),
	OP(FADVISE, fadvise, "fd=f off=a len=b advice=c", FD),
	OP(MMAP, mmap, "map=g fd=f len=a prot=b flags=c", FD),
	OP(MREAD, mread, "map=g", 0),
	OP(MWRITE, mwrite, "map=g off=a len=b seed=c", 0),
	OP(MSYNC, msync, "map=g flags=a", 0),
	OP(MUNMAP, munmap, "map=g", 0),
	OP(LINK, link, "at=d path=p at2=e path2=q flags=A", TP | T2),
	OP(LINKFD, linkfd, "fd=f at2=e path2=q", FD | T2),
	OP(SYMLINK, symlink, "target=t at=d path=p", TP),
	OP(READLINK, readlink, "at=d path=p", T),
	OP(MKNOD, mknod, "at=d path=p rdev=a mode=O", TP),
	OP(MKDIR, mkdir, "at=d path=p mode=O", TP),
	OP(UNLINK, unlink, "at=d path=p", TP),
	OP(RMDIR, rmdir, "at=d path=p", TP),
	OP(RENAME, rename, "at=d path=p at2=e path2=q flags=a", TP | T2),
	OP(CHMOD, chmod, "at=d path=p flags=A mode=O", TP),
	OP(FCHMOD, fchmod, "fd=f mode=O", FD),
	OP(CHOWN, chown, "at=d path=p flags=A uid=b gid=c", TP),
	OP(FCHOWN, fchown, "fd=f uid=b gid=c", FD),
	OP(UTIMENS, utimens, "at=d path=p flags=A atime=b mtime=c", TP),
	OP(FUTIMENS, futimens, "fd=f atime=b mtime=c", FD),
	OP(SETXATTR, setxattr, "at=d path=p name=q value=t flags=a", TP),
	OP(FSETXATTR, fsetxattr, "fd=f name=q value=t flags=a", FD),
	OP(GETXATTR, getxattr, "at=d path=p name=q size=a", T),
	OP(FGETXATTR, fgetxattr, "fd=f name=q size=a", FD),
	OP(LISTXATTR, listxattr, "at=d path=p", T),
	OP(FLISTXATTR, flistxattr, "fd=f", FD),
	OP(REMOVEXATTR, removexattr, "at=d path=p name=q", TP),
	OP(FREMOVEXATTR, fremovexattr, "fd=f name=q", FD),
	OP(STAT, stat, "at=d path=p flags=A", 0),
	OP(FSTAT, fstat, "fd=f", 0),
	OP(STATFS, statfs, "at=d path=p", 0),
	OP(ACCESS, access, "at=d path=p mode=b flags=A", T),
	OP(LIST, list, "at=d path=p part=a", 0),
	OP(READDIR, readdir, "fd=f", 0),
	OP(FLOCK, flock, "fd=f op=a", 0),
	OP(LOCK, lock, "fd=f type=a off=b len=c ofd=D", 0),
	OP(GETLK, getlk, "fd=f type=a off=b len=c ofd=D", 0),
	OP(GETFLAGS, getflags, "at=d path=p", T),
	OP(SETFLAGS, setflags, "at=d path=p flags=A", TP),
	OP(GETFSX, getfsx, "at=d path=p", T),
	OP(SETFSX, setfsx, "at=d path=p projid=a", TP),
	OP(HANDLE, handle, "handle=a at=d path=p", T),
	OP(OPENHANDLE, openhandle, "fd=f handle=a flags=O", FD),
	OP(CHDIR, chdir, "at=d path=p", 0),
	OP(UMASK, umask, "mask=A", 0),
	OP(CHECK, check, "", 0),
	OP(REMOUNT, remount, "swap=a", 0),
	OP(DROP, drop, "machine=a", 0),
};

const struct op_info layer_table[LY_COUNT] = {
	[LY_DIR] = { "dir", "layer=a path=p", 0, NULL },
	[LY_FILE] = { "file", "layer=a path=p size=b seed=c hole=D", 0, NULL },
	[LY_SYMLINK] = { "symlink", "layer=a path=p target=t", 0, NULL },
	[LY_NODE] = { "node", "layer=a path=p mode=O rdev=c", 0, NULL },
	[LY_LINK] = { "link", "layer=a path=p to=q", 0, NULL },
	[LY_ATTR] = { "attr", "layer=a path=p mode=O uid=c gid=D", 0, NULL },
	[LY_XATTR] = { "xattr", "layer=a path=p name=q value=t", 0, NULL },
	[LY_FLAGS] = { "flags", "layer=a path=p flags=O", 0, NULL },
	[LY_TIME] = { "mtime", "layer=a path=p seconds=b", 0, NULL },
	[LY_ORIGIN] = { "origin", "layer=a path=p of=b what=q", 0, NULL },
};

/* The descriptor to give to a ...at() call; the current directory is set for it. */
int op_dir(const struct side *s, int at)
{
	if (at == AT_ROOT)
		return s->root;
	if (at == AT_CWD)
		return fchdir(s->cwd) < 0 ? -1 : AT_FDCWD;
	return s->fd[at % SLOTS];
}

/* For calls that have no ...at() form: make the directory the current one. */
int op_enter(const struct side *s, int at)
{
	int fd = at == AT_ROOT ? s->root : at == AT_CWD ? s->cwd : s->fd[at % SLOTS];

	return fchdir(fd) < 0 ? -errno : 0;
}

int op_fd(const struct side *s, int slot)
{
	return s->fd[slot % SLOTS];
}

char *op_buffer(void)
{
	static char *buf;

	if (!buf && !(buf = malloc(OP_BUFFER)))
		abort();
	return buf;
}

/* Bytes that depend on the seed, so that what was written where can be told apart. */
void op_fill(char *p, size_t n, uint64_t seed)
{
	uint64_t x = seed * 0x9E3779B97F4A7C15ull + 1;

	for (size_t i = 0; i < n; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(p + i, &x, n - i < 8 ? n - i : 8);
	}
}

bool op_writes_open(const struct op *op)
{
	if (op->code != OP_OPEN && op->code != OP_OPENHANDLE)
		return false;
	if ((op->code == OP_OPEN ? op->a : op->b) & O_PATH)
		return false;
	return ((op->code == OP_OPEN ? op->a : op->b) & (O_ACCMODE | O_TRUNC)) != 0;
}
