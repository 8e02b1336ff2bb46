/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening by one name, by a path that may not leave its directory, and anew by descriptor.
 * Relies on openat2 (Linux 5.6) for paths and on /proc for opening anew; both have a fallback.
 */
#include <linux/openat2.h>
#include <string.h>

#include "base/cleanup.h"
#include "sys/compat.h"
#include "sys/feature.h"

/* How often openat2 may find that the tree changed under it before that is an error. */
#define OPENAT2_RETRIES 64

static bool open_mutates(int flags)
{
	return (flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE;
}

int sys_openat(int dirfd, const char *name, int flags, mode_t mode)
{
	if ((flags & O_TMPFILE) == O_TMPFILE && !feature_present(FEATURE_TMPFILE))
		return -EOPNOTSUPP;
	return (int)SYS_CALL("openat", open_mutates(flags),
			     openat(dirfd, name, flags | O_CLOEXEC, mode));
}

static int openat2_beneath(int dirfd, const char *path, int flags, bool no_xdev)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | (no_xdev ? RESOLVE_NO_XDEV : 0u),
	};
	long r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < OPENAT2_RETRIES; i++)
		r = SYS_RETRY(syscall(SYS_openat2, dirfd, path, &how, sizeof(how)));
	return (int)r;
}

/* Which mount, or on an old kernel which filesystem, a descriptor is on. */
static int mount_of(int fd, uint64_t *ret)
{
	struct statx stx;
	struct stat st;
	int r;

	if (feature_present(FEATURE_MOUNT_ID)) {
		r = (int)SYS_RETRY(syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx));
		if (r == 0 && (stx.stx_mask & STATX_MNT_ID)) {
			*ret = stx.stx_mnt_id;
			return 0;
		}
		feature_forget(FEATURE_MOUNT_ID);
	}
	r = sys_stat(fd, "", &st);
	if (r < 0)
		return r;
	*ret = st.st_dev;
	return 0;
}

static bool is_symlink(int dirfd, const char *name)
{
	struct stat st;

	return sys_stat(dirfd, name, &st) == 0 && S_ISLNK(st.st_mode);
}

/* One step of the walk.  A symlink gives -ELOOP whatever the flags made of it, as openat2 does. */
static int walk_step(int dirfd, const char *name, int flags, bool no_xdev, uint64_t mount)
{
	CLEANUP_CLOSE int fd = -1;
	uint64_t now;
	int r;

	fd = (int)SYS_RETRY(openat(dirfd, name, flags | O_NOFOLLOW | O_CLOEXEC));
	if (fd == -ENOTDIR && is_symlink(dirfd, name))
		return -ELOOP;
	if (fd < 0)
		return fd;
	if ((flags & O_PATH) && !(flags & (O_NOFOLLOW | O_DIRECTORY)) && is_symlink(fd, ""))
		return -ELOOP;
	if (no_xdev) {
		r = mount_of(fd, &now);
		if (r < 0)
			return r;
		if (now != mount)
			return -EXDEV;
	}
	return TAKE_FD(fd);
}

/*
 * The next component of *PATH, which moves behind it; *RET_LAST tells that no other follows.
 * Returns its length, 0 at the end.
 */
static size_t walk_part(const char **path, const char **ret_part, bool *ret_last, bool *ret_slash)
{
	const char *part = *path + strspn(*path, "/");
	size_t len = strcspn(part, "/");
	const char *rest = part + len;

	*ret_part = part;
	*ret_slash = *rest == '/';
	*path = rest + strspn(rest, "/");
	*ret_last = **path == '\0';
	return len;
}

static int walk_beneath(int dirfd, const char *path, int flags, bool no_xdev)
{
	CLEANUP_CLOSE int dir = -1;
	uint64_t mount = 0;
	int r;

	if (*path == '\0')
		return -ENOENT;
	if (no_xdev) {
		r = mount_of(dirfd, &mount);
		if (r < 0)
			return r;
	}
	for (;;) {
		char name[256];
		const char *part;
		bool last, slash;
		size_t len = walk_part(&path, &part, &last, &slash);
		int fd, how;

		if (len >= sizeof(name))
			return -ENAMETOOLONG;
		memcpy(name, part, len);
		name[len] = '\0';
		how = last ? flags | (slash ? O_DIRECTORY : 0) : O_PATH | O_DIRECTORY | O_NOFOLLOW;
		fd = walk_step(dir >= 0 ? dir : dirfd, name, how, no_xdev, mount);
		if (fd < 0 || last)
			return fd;
		cleanup_closep(&dir);
		dir = fd;
	}
}

/* Whether a component of PATH is "..". */
static bool goes_up(const char *path)
{
	bool last = false, slash;

	while (!last) {
		const char *part;
		size_t len = walk_part(&path, &part, &last, &slash);

		if (len == 2 && part[0] == '.' && part[1] == '.')
			return true;
	}
	return false;
}

int sys_open_beneath(int dirfd, const char *path, int flags, bool no_xdev)
{
	int r = fault_before("openat2", false);

	if (r < 0)
		return r;
	if (path[0] == '/' || goes_up(path))
		return -EXDEV;
	if (flags & O_CREAT)
		return -EINVAL;
	if (feature_present(FEATURE_OPENAT2)) {
		r = openat2_beneath(dirfd, path, flags, no_xdev);
		/* EPERM is how some system call filters refuse what they do not know. */
		if (r != -ENOSYS && r != -EPERM)
			return r;
		if (r == -ENOSYS)
			feature_forget(FEATURE_OPENAT2);
	}
	return walk_beneath(dirfd, path, flags, no_xdev);
}

int sys_reopen(int fd, int flags)
{
	struct proc_path path;
	struct stat st;
	int r = fault_before("reopen", flags & O_TRUNC);

	if (r < 0)
		return r;
	r = -ENOENT;
	flags = (flags & ~O_NOFOLLOW) | O_CLOEXEC;
	if (proc_path_of(fd, &path))
		r = (int)SYS_RETRY(open(path.text, flags));
	/* Without /proc a directory can still be opened from itself. */
	if (r == -ENOENT && sys_stat(fd, "", &st) == 0 && S_ISDIR(st.st_mode))
		r = (int)SYS_RETRY(openat(fd, ".", flags));
	if (r >= 0 && (flags & O_TRUNC))
		fault_after("reopen");
	return r;
}

void sys_close(int fd)
{
	cleanup_closep(&fd);
}

int sys_dup(int fd)
{
	return (int)SYS_CALL("dup", false, fcntl(fd, F_DUPFD_CLOEXEC, 0));
}
