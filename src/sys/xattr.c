/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extended attributes of a name in a directory, or of a descriptor.
 *
 * A name takes one call where the kernel has the *xattrat family (6.13), else an O_PATH open and
 * /proc/self/fd.  A descriptor takes one call, or two if it is O_PATH: the kernel refuses those
 * with EBADF even in the new family (seen on 6.18), and the way through /proc stays.
 * /proc/self/fd/N leads to the inode itself, also a symlink's, so nothing is ever followed.
 */
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sys/compat.h"
#include "sys/feature.h"

enum xattr_kind { XATTR_GET, XATTR_LIST, XATTR_SET, XATTR_REMOVE };

/* One call, whichever way it takes. */
struct xattr_op {
	enum xattr_kind kind;
	int flags;
	const char *attr;
	void *out;	/* get, list */
	const void *in; /* set */
	size_t size;
};

static long op_at(int dirfd, const char *name, const struct xattr_op *op)
{
	/* The kernel takes no more than XATTR_SIZE_MAX (64 KiB): a larger buffer is as good. */
	struct compat_xattr_args args = {
		.size = op->size > UINT32_MAX ? UINT32_MAX : (uint32_t)op->size,
		.flags = (uint32_t)op->flags,
	};
	const int at = AT_SYMLINK_NOFOLLOW;

	switch (op->kind) {
	case XATTR_GET:
		args.value = (uintptr_t)op->out;
		return SYS_RETRY(
			syscall(SYS_getxattrat, dirfd, name, at, op->attr, &args, sizeof(args)));
	case XATTR_LIST:
		return SYS_RETRY(syscall(SYS_listxattrat, dirfd, name, at, op->out, op->size));
	case XATTR_SET:
		args.value = (uintptr_t)op->in;
		return SYS_RETRY(
			syscall(SYS_setxattrat, dirfd, name, at, op->attr, &args, sizeof(args)));
	case XATTR_REMOVE:
		return SYS_RETRY(syscall(SYS_removexattrat, dirfd, name, at, op->attr));
	}
	return -EINVAL;
}

static long op_fd(int fd, const struct xattr_op *op)
{
	switch (op->kind) {
	case XATTR_GET:
		return SYS_RETRY(fgetxattr(fd, op->attr, op->out, op->size));
	case XATTR_LIST:
		return SYS_RETRY(flistxattr(fd, op->out, op->size));
	case XATTR_SET:
		return SYS_RETRY(fsetxattr(fd, op->attr, op->in, op->size, op->flags));
	case XATTR_REMOVE:
		return SYS_RETRY(fremovexattr(fd, op->attr));
	}
	return -EINVAL;
}

static long op_path(const char *path, const struct xattr_op *op)
{
	switch (op->kind) {
	case XATTR_GET:
		return SYS_RETRY(getxattr(path, op->attr, op->out, op->size));
	case XATTR_LIST:
		return SYS_RETRY(listxattr(path, op->out, op->size));
	case XATTR_SET:
		return SYS_RETRY(setxattr(path, op->attr, op->in, op->size, op->flags));
	case XATTR_REMOVE:
		return SYS_RETRY(removexattr(path, op->attr));
	}
	return -EINVAL;
}

static long op_proc(int fd, const struct xattr_op *op)
{
	struct proc_path path;
	long r = proc_path_of(fd, &path) ? op_path(path.text, op) : -ENOENT;

	/* The descriptor is there, so it is /proc that is not. */
	return r == -ENOENT ? -EBADF : r;
}

/* Without /proc: what can be opened for reading is. */
static long op_opened(int path_fd, int dirfd, const char *name, const struct xattr_op *op)
{
	CLEANUP_CLOSE int fd = -1;
	struct stat st;

	if (SYS_RETRY(fstat(path_fd, &st)) < 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
		return -EBADF;
	fd = (int)SYS_RETRY(
		openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
	return fd < 0 ? fd : op_fd(fd, op);
}

static long xattr_do(int dirfd, const char *name, const struct xattr_op *op)
{
	CLEANUP_CLOSE int fd = -1;
	long r;

	if (!feature_present(FEATURE_XATTR))
		return -EOPNOTSUPP;
	if (name[0] == '\0') {
		r = op_fd(dirfd, op);
		return r == -EBADF ? op_proc(dirfd, op) : r;
	}
	if (feature_present(FEATURE_XATTRAT)) {
		r = op_at(dirfd, name, op);
		if (r != -ENOSYS)
			return r;
		feature_forget(FEATURE_XATTRAT);
	}
	fd = (int)SYS_RETRY(openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
	if (fd < 0)
		return fd;
	r = op_proc(fd, op);
	return r == -EBADF ? op_opened(fd, dirfd, name, op) : r;
}

ssize_t sys_getxattr(int dirfd, const char *name, const char *attr, void *value, size_t size)
{
	struct xattr_op op = { .kind = XATTR_GET, .attr = attr, .out = value, .size = size };
	int r = fault_before("getxattr", false);

	return r < 0 ? r : xattr_do(dirfd, name, &op);
}

ssize_t sys_listxattr(int dirfd, const char *name, char *list, size_t size)
{
	struct xattr_op op = { .kind = XATTR_LIST, .out = list, .size = size };
	int r = fault_before("listxattr", false);

	return r < 0 ? r : xattr_do(dirfd, name, &op);
}

int sys_setxattr(int dirfd, const char *name, const char *attr, const void *value, size_t size,
		 int flags)
{
	struct xattr_op op = {
		.kind = XATTR_SET,
		.attr = attr,
		.in = value,
		.size = size,
		.flags = flags,
	};
	int r = fault_before("setxattr", true);

	if (r < 0)
		return r;
	r = (int)xattr_do(dirfd, name, &op);
	if (r == 0)
		fault_after("setxattr");
	return r;
}

int sys_removexattr(int dirfd, const char *name, const char *attr)
{
	struct xattr_op op = { .kind = XATTR_REMOVE, .attr = attr };
	int r = fault_before("removexattr", true);

	if (r < 0)
		return r;
	r = (int)xattr_do(dirfd, name, &op);
	if (r == 0)
		fault_after("removexattr");
	return r;
}
