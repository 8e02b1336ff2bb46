/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading, writing, sizes and durability of open files. */
#include <limits.h>
#include <linux/fs.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "sys/compat.h"
#include "sys/feature.h"

/* How much sys_copy_file_range() moves at once where the kernel does not do it. */
#define RANGE_PIECE (1u << 20)

ssize_t sys_pread(int fd, void *buf, size_t size, uint64_t off)
{
	size_t done = 0;
	int r = fault_before("pread", false);

	if (r < 0)
		return r;
	CHECK(size <= SSIZE_MAX);
	while (done < size) {
		long n;

		if (off > INT64_MAX)
			return -EINVAL;
		n = SYS_RETRY(pread(fd, (char *)buf + done, size - done, (off_t)off));
		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
		off += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t sys_pwrite(int fd, const void *buf, size_t size, uint64_t off)
{
	size_t done = 0;
	long n = fault_before("pwrite", true);

	if (n < 0)
		return n;
	CHECK(size <= SSIZE_MAX);
	while (done < size) {
		n = off > INT64_MAX ? -EFBIG
				    : SYS_RETRY(pwrite(fd, (const char *)buf + done, size - done,
						       (off_t)off));
		if (n <= 0)
			break;
		done += (size_t)n;
		off += (size_t)n;
	}
	if (n < 0 && done == 0)
		return n;
	fault_after("pwrite");
	return (ssize_t)done;
}

int sys_ftruncate(int fd, uint64_t size)
{
	if (size > INT64_MAX)
		return -EFBIG;
	return (int)SYS_CALL("ftruncate", true, ftruncate(fd, (off_t)size));
}

int sys_fallocate(int fd, int mode, uint64_t off, uint64_t len)
{
	if (!feature_present(FEATURE_FALLOCATE))
		return -EOPNOTSUPP;
	if (off > INT64_MAX || len > INT64_MAX)
		return -EFBIG;
	return (int)SYS_CALL("fallocate", true, fallocate(fd, mode, (off_t)off, (off_t)len));
}

/* The kernel refuses to copy between overlapping ranges of one file; so must we. */
static int ranges_apart(int in, uint64_t off_in, int out, uint64_t off_out, size_t len)
{
	uint64_t gap = off_in > off_out ? off_in - off_out : off_out - off_in;
	struct stat a, b;
	int r;

	if (gap >= len)
		return 0;
	r = (int)SYS_RETRY(fstat(in, &a));
	if (r == 0)
		r = (int)SYS_RETRY(fstat(out, &b));
	if (r < 0)
		return r;
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino ? -EINVAL : 0;
}

/* One piece by read and write; short, as the system call may be. */
static ssize_t range_by_hand(int in, uint64_t off_in, int out, uint64_t off_out, size_t len)
{
	CLEANUP_FREE void *buf = NULL;
	ssize_t n;
	int r = ranges_apart(in, off_in, out, off_out, len);

	if (r < 0)
		return r;
	if (len > RANGE_PIECE)
		len = RANGE_PIECE;
	buf = malloc(len ? len : 1);
	if (!buf)
		return -ENOMEM;
	n = sys_pread(in, buf, len, off_in);
	return n <= 0 ? n : sys_pwrite(out, buf, (size_t)n, off_out);
}

ssize_t sys_copy_file_range(int in, uint64_t off_in, int out, uint64_t off_out, size_t len)
{
	loff_t pos_in = (loff_t)off_in, pos_out = (loff_t)off_out;
	long r;

	if (off_in > INT64_MAX || off_out > INT64_MAX)
		return -EINVAL;
	if (feature_present(FEATURE_COPY_FILE_RANGE)) {
		r = SYS_CALL("copy_file_range", true,
			     syscall(SYS_copy_file_range, in, &pos_in, out, &pos_out, len, 0u));
		if (r != -ENOSYS && r != -EXDEV && r != -EOPNOTSUPP)
			return r;
		if (r == -ENOSYS)
			feature_forget(FEATURE_COPY_FILE_RANGE);
	}
	return range_by_hand(in, off_in, out, off_out, len);
}

int sys_ficlone(int out, int in)
{
	if (!feature_present(FEATURE_FICLONE))
		return -EOPNOTSUPP;
	return (int)SYS_CALL("ficlone", true, ioctl(out, FICLONE, in));
}

int sys_fsync(int fd)
{
	return (int)SYS_CALL("fsync", true, fsync(fd));
}

int sys_fdatasync(int fd)
{
	return (int)SYS_CALL("fdatasync", true, fdatasync(fd));
}

int sys_syncfs(int fd)
{
	return (int)SYS_CALL("syncfs", true, syncfs(fd));
}
