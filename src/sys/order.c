/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Order on the device instead of durability: on a filesystem with one journal, of which every commit
 * begins with a flush of the device, what was written out before a change of metadata is durable
 * before that change is.  docs/adr/0005-order-instead-of-fsync.md tells why this holds for ext4 with a
 * journal inside the filesystem, and for no other.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sys/feature.h"

/* The name of a block device, as sysfs and the journal's own directory have it. */
static int device_name(const struct statx *st, char *buf, size_t size)
{
	char link[64];
	const char *base;
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", st->stx_dev_major,
		       st->stx_dev_minor);
	n = SYS_CALL("readlink", false, readlink(link, buf, size));
	if (n < 0)
		return (int)n;
	if ((size_t)n == size)
		return -ENAMETOOLONG;
	buf[n] = '\0';
	base = strrchr(buf, '/');
	if (!base)
		return -EINVAL;
	memmove(buf, base + 1, strlen(base));
	return 0;
}

bool sys_keeps_order(int fd)
{
	char name[512], path[sizeof(name) + 32];
	struct statfs sf;
	struct statx st;

	/* ext2, ext3 and ext4 have one number; only one with a journal has the directory that is
	 * looked for: its name tells the journal's inode, which is 8 unless it is on a device of its
	 * own. */
	if (sys_statfs(fd, &sf) < 0 || sf.f_type != EXT4_SUPER_MAGIC || sys_statx(fd, "", &st) < 0)
		return false;
	if (device_name(&st, name, sizeof(name)) < 0)
		return false;
	(void)snprintf(path, sizeof(path), "/proc/fs/jbd2/%s-8", name);
	return SYS_RETRY(access(path, F_OK)) == 0;
}

int sys_write_out(int fd)
{
	const unsigned flags = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
			       SYNC_FILE_RANGE_WAIT_AFTER;
	int r = (int)SYS_CALL("sync_file_range", true, sync_file_range(fd, 0, 0, flags));

	return r == -ENOSYS || r == -EPERM || r == -EINVAL ? -EOPNOTSUPP : r;
}
