/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* File handles, an inode's name that outlives its paths: name_to_handle_at, open_by_handle_at. */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "sys/compat.h"
#include "sys/feature.h"

union handle_buf {
	struct file_handle head;
	uint8_t bytes[sizeof(struct file_handle) + sizeof(((struct sys_handle *)NULL)->fid)];
};

int sys_name_to_handle(int dirfd, const char *name, struct sys_handle *ret, int *ret_mount)
{
	union handle_buf buf = { .head = { .handle_bytes = sizeof(ret->fid) } };
	int mount, r;

	if (!feature_present(FEATURE_NAME_TO_HANDLE))
		return -EOPNOTSUPP;
	r = (int)SYS_CALL(
		"name_to_handle_at", false,
		name_to_handle_at(dirfd, name, &buf.head, &mount, name[0] ? 0 : AT_EMPTY_PATH));
	/* A filesystem whose handles cannot be opened (an overlay) still tells objects apart by them. */
	if (r == -EOPNOTSUPP) {
		buf.head.handle_bytes = sizeof(ret->fid);
		r = (int)SYS_CALL("name_to_handle_at", false,
				  name_to_handle_at(dirfd, name, &buf.head, &mount,
						    AT_HANDLE_FID | (name[0] ? 0 : AT_EMPTY_PATH)));
		if (r == -EINVAL) /* a kernel that does not know the flag */
			r = -EOPNOTSUPP;
	}
	if (r < 0)
		return r;
	if (buf.head.handle_bytes > sizeof(ret->fid))
		return -EOVERFLOW;
	ret->type = buf.head.handle_type;
	ret->len = buf.head.handle_bytes;
	memcpy(ret->fid, buf.head.f_handle, ret->len);
	if (ret_mount)
		*ret_mount = mount;
	return 0;
}

int sys_open_by_handle(int mount_fd, const struct sys_handle *handle, int flags)
{
	union handle_buf buf;

	if (!feature_present(FEATURE_NAME_TO_HANDLE))
		return -EOPNOTSUPP;
	if (handle->len > sizeof(handle->fid))
		return -EINVAL;
	memset(&buf, 0, sizeof(buf));
	buf.head.handle_bytes = handle->len;
	buf.head.handle_type = handle->type;
	memcpy(buf.head.f_handle, handle->fid, handle->len);
	return (int)SYS_CALL("open_by_handle_at", flags & O_TRUNC,
			     open_by_handle_at(mount_fd, &buf.head, flags | O_CLOEXEC));
}

ssize_t sys_fd_path(int fd, char *buf, size_t size)
{
	static const char deleted[] = " (deleted)";
	const size_t tail = sizeof(deleted) - 1;
	char link[40];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = SYS_CALL("readlink", false, readlink(link, buf, size));
	if (n < 0)
		return n;
	if ((size_t)n == size || n == 0 || buf[0] != '/')
		return -ESTALE;
	if ((size_t)n > tail && !memcmp(buf + n - tail, deleted, tail))
		return -ESTALE;
	return n;
}

/* struct xfs_bulkstat and its request, as xfs_fs.h of the kernel has them; that header is not part of
 * the C library's. */
struct bulkstat {
	uint64_t ino, size, blocks, xflags;
	int64_t atime, mtime, ctime, btime;
	uint32_t gen, rest[43];
};
struct bulkstat_request {
	uint64_t ino;
	uint32_t flags, icount, ocount, agno;
	uint64_t reserved[5];
	struct bulkstat stat;
};
_Static_assert(sizeof(struct bulkstat) >= 192, "room for one record");
#define BULKSTAT_REQUEST_SIZE 64u
#define IOC_BULKSTAT _IOC(_IOC_READ, 'X', 127, BULKSTAT_REQUEST_SIZE)

int sys_xfs_generation(int fd, uint64_t ino, uint32_t *ret)
{
	struct bulkstat_request req = { .ino = ino, .icount = 1 };
	int r = (int)SYS_CALL("ioctl", false, ioctl(fd, IOC_BULKSTAT, &req));

	if (r < 0)
		return r;
	/* The first inode in use from that number on: another one means that it is free. */
	if (req.ocount != 1 || req.stat.ino != ino)
		return -ENOENT;
	*ret = req.stat.gen;
	return 0;
}
