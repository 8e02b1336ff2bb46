/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mode, owner, times, and the flags behind the FS_IOC ioctls.
 *
 * An O_PATH descriptor is acted on by AT_EMPTY_PATH where the kernel can, else through
 * /proc/self/fd, which leads to the very inode, a symlink too, and never through it.
 */
#include <linux/fs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sys/compat.h"
#include "sys/feature.h"

static int at_flags(const char *name)
{
	return AT_SYMLINK_NOFOLLOW | (name[0] ? 0 : AT_EMPTY_PATH);
}

/* chmod without fchmodat2.  Old kernels change a symlink's own mode here: it is refused first. */
static int chmod_old(int dirfd, const char *name, mode_t mode)
{
	CLEANUP_CLOSE int own = -1;
	struct proc_path path;
	struct stat st;
	int fd = dirfd, r;

	if (name[0]) {
		own = (int)SYS_RETRY(openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
		if (own < 0)
			return own;
		fd = own;
	}
	r = (int)SYS_RETRY(fstatat(fd, "", &st, AT_EMPTY_PATH));
	if (r < 0)
		return r;
	if (S_ISLNK(st.st_mode))
		return -EOPNOTSUPP;
	r = name[0] ? -EBADF : (int)SYS_RETRY(fchmod(fd, mode));
	if (r == -EBADF && proc_path_of(fd, &path))
		r = (int)SYS_RETRY(chmod(path.text, mode));
	return r;
}

int sys_chmod(int dirfd, const char *name, mode_t mode)
{
	int r = fault_before("fchmodat", true);

	if (r < 0)
		return r;
	r = -ENOSYS;
	if (feature_present(FEATURE_FCHMODAT2)) {
		r = (int)SYS_RETRY(syscall(SYS_fchmodat2, dirfd, name, mode, at_flags(name)));
		if (r == -ENOSYS)
			feature_forget(FEATURE_FCHMODAT2);
	}
	if (r == -ENOSYS)
		r = chmod_old(dirfd, name, mode);
	if (r == 0)
		fault_after("fchmodat");
	return r;
}

int sys_chown(int dirfd, const char *name, uid_t uid, gid_t gid)
{
	return (int)SYS_CALL("fchownat", true, fchownat(dirfd, name, uid, gid, at_flags(name)));
}

int sys_utimens(int dirfd, const char *name, const struct timespec times[2])
{
	struct proc_path path;
	int r = fault_before("utimensat", true);

	if (r < 0)
		return r;
	r = -EINVAL;
	if (name[0] || feature_present(FEATURE_UTIMENS_EMPTY))
		r = (int)SYS_RETRY(utimensat(dirfd, name, times, at_flags(name)));
	/* Before Linux 5.8 there is no AT_EMPTY_PATH here. */
	if (r == -EINVAL && !name[0] && proc_path_of(dirfd, &path))
		r = (int)SYS_RETRY(utimensat(AT_FDCWD, path.text, times, 0));
	if (r == 0)
		fault_after("utimensat");
	return r;
}

int sys_getflags(int fd, unsigned *ret)
{
	int flags = 0; /* the kernel writes an int, whatever the ioctl's number says */
	int r;

	if (!feature_present(FEATURE_FILEATTR))
		return -ENOTTY;
	r = (int)SYS_CALL("getflags", false, ioctl(fd, FS_IOC_GETFLAGS, &flags));
	if (r < 0)
		return r;
	*ret = (unsigned)flags;
	return 0;
}

int sys_setflags(int fd, unsigned flags)
{
	int value = (int)flags;

	if (!feature_present(FEATURE_FILEATTR))
		return -ENOTTY;
	return (int)SYS_CALL("setflags", true, ioctl(fd, FS_IOC_SETFLAGS, &value));
}

int sys_fsgetxattr(int fd, struct fsxattr *ret)
{
	if (!feature_present(FEATURE_FILEATTR))
		return -ENOTTY;
	return (int)SYS_CALL("fsgetxattr", false, ioctl(fd, FS_IOC_FSGETXATTR, ret));
}

int sys_fssetxattr(int fd, const struct fsxattr *x)
{
	if (!feature_present(FEATURE_FILEATTR))
		return -ENOTTY;
	return (int)SYS_CALL("fssetxattr", true, ioctl(fd, FS_IOC_FSSETXATTR, x));
}

int sys_getversion(int fd, uint32_t *ret)
{
	int version = 0;
	int r = (int)SYS_CALL("getversion", false, ioctl(fd, FS_IOC_GETVERSION, &version));

	if (r < 0)
		return r;
	*ret = (uint32_t)version;
	return 0;
}
