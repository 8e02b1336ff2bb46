/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an object is: stat, statx, statfs, the filesystem's UUID, symlink targets, raw listings. */
#include <dirent.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "sys/compat.h"
#include "sys/feature.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

static int stat_flags(const char *name)
{
	return AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (name[0] ? 0 : AT_EMPTY_PATH);
}

int sys_stat(int dirfd, const char *name, struct stat *ret)
{
	return (int)SYS_CALL("fstatat", false, fstatat(dirfd, name, ret, stat_flags(name)));
}

static void statx_time(struct statx_timestamp *to, const struct timespec *from)
{
	to->tv_sec = from->tv_sec;
	to->tv_nsec = (uint32_t)from->tv_nsec;
}

/* The basic fields by fstatat, for kernels before 4.11 and system call filters. */
static int statx_emulate(int dirfd, const char *name, struct statx *ret)
{
	struct stat st;
	long r = SYS_RETRY(fstatat(dirfd, name, &st, stat_flags(name)));

	if (r < 0)
		return (int)r;
	memset(ret, 0, sizeof(*ret));
	ret->stx_mask = STATX_BASIC_STATS;
	ret->stx_blksize = (uint32_t)st.st_blksize;
	ret->stx_nlink = (uint32_t)st.st_nlink;
	ret->stx_uid = st.st_uid;
	ret->stx_gid = st.st_gid;
	ret->stx_mode = (uint16_t)st.st_mode;
	ret->stx_ino = st.st_ino;
	ret->stx_size = (uint64_t)st.st_size;
	ret->stx_blocks = (uint64_t)st.st_blocks;
	ret->stx_rdev_major = major(st.st_rdev);
	ret->stx_rdev_minor = minor(st.st_rdev);
	ret->stx_dev_major = major(st.st_dev);
	ret->stx_dev_minor = minor(st.st_dev);
	statx_time(&ret->stx_atime, &st.st_atim);
	statx_time(&ret->stx_mtime, &st.st_mtim);
	statx_time(&ret->stx_ctime, &st.st_ctim);
	return 0;
}

int sys_statx(int dirfd, const char *name, struct statx *ret)
{
	int r = fault_before("statx", false);

	if (r < 0)
		return r;
	if (feature_present(FEATURE_STATX)) {
		r = (int)SYS_RETRY(syscall(SYS_statx, dirfd, name, stat_flags(name),
					   STATX_BASIC_STATS | STATX_BTIME, ret));
		/* statx itself never gives EPERM; a system call filter does. */
		if (r != -ENOSYS && r != -EPERM)
			return r;
		feature_forget(FEATURE_STATX);
	}
	return statx_emulate(dirfd, name, ret);
}

int sys_statfs(int fd, struct statfs *ret)
{
	return (int)SYS_CALL("fstatfs", false, fstatfs(fd, ret));
}

/* Each filesystem's own call, for kernels before 6.9. */
static int fs_uuid_old(int fd, uint8_t uuid[16])
{
	struct compat_ext4_fsuuid ext4 = { .len = sizeof(ext4.uuid) };
	struct btrfs_ioctl_fs_info_args btrfs;
	struct compat_xfs_geometry xfs;
	const uint8_t *found = NULL;
	struct statfs st;
	int r = (int)SYS_RETRY(fstatfs(fd, &st));

	if (r < 0)
		return r;
	r = -ENODATA;
	if (st.f_type == EXT4_SUPER_MAGIC) {
		r = (int)SYS_RETRY(ioctl(fd, COMPAT_EXT4_IOC_GETFSUUID, &ext4));
		found = ext4.uuid;
	} else if (st.f_type == XFS_SUPER_MAGIC) {
		r = (int)SYS_RETRY(ioctl(fd, COMPAT_XFS_IOC_FSGEOMETRY, &xfs));
		found = xfs.uuid;
	} else if (st.f_type == BTRFS_SUPER_MAGIC) {
		memset(&btrfs, 0, sizeof(btrfs));
		r = (int)SYS_RETRY(ioctl(fd, BTRFS_IOC_FS_INFO, &btrfs));
		found = btrfs.fsid;
	}
	if (r == -ENOTTY)
		return -ENODATA;
	if (r < 0)
		return r;
	memcpy(uuid, found, 16);
	return 0;
}

int sys_fs_uuid(int fd, uint8_t uuid[16])
{
	static const uint8_t none[16];
	struct compat_fsuuid2 id = { .len = 0 };
	int r = fault_before("fs_uuid", false);

	if (r < 0)
		return r;
	if (feature_present(FEATURE_FSUUID)) {
		r = (int)SYS_RETRY(ioctl(fd, COMPAT_IOC_GETFSUUID, &id));
		if (r == 0 && id.len == sizeof(id.uuid)) {
			/* overlayfs in the kernel compares this very value, and zeros are none. */
			if (memcmp(id.uuid, none, sizeof(none)) == 0)
				return -ENODATA;
			memcpy(uuid, id.uuid, sizeof(id.uuid));
			return 0;
		}
		if (r < 0 && r != -ENOTTY && r != -EINVAL && r != -EOPNOTSUPP && r != -ENOSYS)
			return r;
	}
	return fs_uuid_old(fd, uuid);
}

ssize_t sys_readlink(int dirfd, const char *name, char *buf, size_t size)
{
	return SYS_CALL("readlinkat", false, readlinkat(dirfd, name, buf, size));
}

ssize_t sys_getdents(int fd, void *buf, size_t size)
{
	ssize_t n = SYS_CALL("getdents64", false, syscall(SYS_getdents64, fd, buf, size));

	/* As from a filesystem that does not tell. */
	if (!feature_present(FEATURE_DTYPE))
		for (ssize_t pos = 0; pos < n;) {
			struct sys_dirent *de = (void *)((char *)buf + pos);

			de->type = DT_UNKNOWN;
			pos += de->reclen;
		}
	return n;
}

int64_t sys_lseek(int fd, int64_t off, int whence)
{
	if ((whence == SEEK_DATA || whence == SEEK_HOLE) && !feature_present(FEATURE_SEEK_DATA))
		return -EINVAL;
	return SYS_CALL("lseek", false, lseek(fd, off, whence));
}
