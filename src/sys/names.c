/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making, linking, moving and removing names. */
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/feature.h"

int sys_mkdir(int dirfd, const char *name, mode_t mode)
{
	return (int)SYS_CALL("mkdirat", true, mkdirat(dirfd, name, mode));
}

int sys_mknod(int dirfd, const char *name, mode_t mode, dev_t dev)
{
	if (S_ISCHR(mode) && !feature_present(FEATURE_CHAR_DEVICE))
		return -EPERM;
	return (int)SYS_CALL("mknodat", true, mknodat(dirfd, name, mode, dev));
}

int sys_symlink(const char *target, int dirfd, const char *name)
{
	return (int)SYS_CALL("symlinkat", true, symlinkat(target, dirfd, name));
}

int sys_link(int from_fd, const char *from, int to_fd, const char *to)
{
	return (int)SYS_CALL("linkat", true, linkat(from_fd, from, to_fd, to, 0));
}

int sys_link_fd(int fd, int to_fd, const char *to)
{
	struct proc_path path;
	int r = fault_before("linkat", true);

	if (r < 0)
		return r;
	r = -ENOENT;
	if (feature_present(FEATURE_LINK_EMPTY))
		r = (int)SYS_RETRY(linkat(fd, "", to_fd, to, AT_EMPTY_PATH));
	/* ENOENT is also how the kernel says that AT_EMPTY_PATH needs CAP_DAC_READ_SEARCH. */
	if (r == -ENOENT && proc_path_of(fd, &path))
		r = (int)SYS_RETRY(linkat(AT_FDCWD, path.text, to_fd, to, AT_SYMLINK_FOLLOW));
	if (r == 0)
		fault_after("linkat");
	return r;
}

int sys_unlink(int dirfd, const char *name)
{
	return (int)SYS_CALL("unlinkat", true, unlinkat(dirfd, name, 0));
}

int sys_rmdir(int dirfd, const char *name)
{
	return (int)SYS_CALL("rmdir", true, unlinkat(dirfd, name, AT_REMOVEDIR));
}

/* Without renameat2 every flag is answered as by a filesystem that does not know it: EINVAL. */
int sys_rename(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	int r = fault_before("renameat", true);

	if (r < 0)
		return r;
	if (((flags & RENAME_WHITEOUT) && !feature_present(FEATURE_RENAME_WHITEOUT)) ||
	    ((flags & RENAME_EXCHANGE) && !feature_present(FEATURE_RENAME_EXCHANGE)) ||
	    (flags && !feature_present(FEATURE_RENAMEAT2)))
		return -EINVAL;
	if (flags == 0)
		r = (int)SYS_RETRY(renameat(from_fd, from, to_fd, to));
	else
		r = (int)SYS_RETRY(syscall(SYS_renameat2, from_fd, from, to_fd, to, flags));
	if (r == -ENOSYS && flags) {
		feature_forget(FEATURE_RENAMEAT2);
		return -EINVAL;
	}
	if (r == 0)
		fault_after("renameat");
	return r;
}
