/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copying what an object carries beside its data: extended attributes and inode flags.  The
 * rules for what may be lost are those of the kernel's overlayfs (ovl_copy_xattr,
 * ovl_copy_fileattr), except that more flags are kept.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <string.h>

#include "base/cleanup.h"
#include "sys/feature.h"

#define FIRST_TRY 1024u	  /* most objects' attributes fit this */
#define XATTR_MOST 65536u /* XATTR_LIST_MAX and XATTR_SIZE_MAX */

static bool begins(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Where from, where to, and a buffer for long values. */
struct xattr_copy {
	int from_dirfd, to_dirfd;
	const char *from, *to;
	char *big;
};

/* Whether a failure to set ATTR may be passed over. */
static bool xattr_may_lose(const struct xattr_copy *c, const char *attr, int r)
{
	struct stat st;

	if (r == -EOPNOTSUPP)
		return strcmp(attr, "security.selinux") == 0 ||
		       (!begins(attr, "security.") && !begins(attr, "system.posix_acl_"));
	if (r == -EPERM && begins(attr, "trusted."))
		return !sys_init_ns_capable(CAP_SYS_ADMIN);
	/* Only files and directories have user attributes; a filesystem may tell of others. */
	if (r == -EPERM && begins(attr, "user."))
		return sys_stat(c->to_dirfd, c->to, &st) == 0 && !S_ISREG(st.st_mode) &&
		       !S_ISDIR(st.st_mode);
	return false;
}

static int xattr_copy_one(struct xattr_copy *c, const char *attr)
{
	char small[FIRST_TRY];
	char *value = small;
	ssize_t n = sys_getxattr(c->from_dirfd, c->from, attr, small, sizeof(small));
	int r;

	if (n == -ERANGE) {
		if (!c->big)
			c->big = malloc(XATTR_MOST);
		if (!c->big)
			return -ENOMEM;
		value = c->big;
		n = sys_getxattr(c->from_dirfd, c->from, attr, value, XATTR_MOST);
	}
	if (n == -ENODATA)
		return 0; /* gone since it was listed */
	r = n < 0 ? (int)n : sys_setxattr(c->to_dirfd, c->to, attr, value, (size_t)n, 0);
	return r < 0 && xattr_may_lose(c, attr, r) ? 0 : r;
}

int sys_copy_xattrs(int from_dirfd, const char *from, int to_dirfd, const char *to,
		    bool (*want)(void *ctx, const char *name), void *ctx)
{
	struct xattr_copy c = {
		.from_dirfd = from_dirfd,
		.from = from,
		.to_dirfd = to_dirfd,
		.to = to,
	};
	CLEANUP_FREE char *long_list = NULL;
	char first[FIRST_TRY];
	char *list = first;
	ssize_t n = sys_listxattr(from_dirfd, from, first, sizeof(first));
	int r = 0;

	if (n == -ERANGE) {
		list = long_list = malloc(XATTR_MOST);
		if (!list)
			return -ENOMEM;
		n = sys_listxattr(from_dirfd, from, list, XATTR_MOST);
	}
	if (n == -EOPNOTSUPP || n == -ENOSYS)
		return 0;
	if (n < 0)
		return (int)n;
	for (size_t pos = 0, len; r == 0 && pos < (size_t)n; pos += len + 1) {
		len = strnlen(list + pos, (size_t)n - pos);
		if (len == (size_t)n - pos) {
			r = -EIO; /* a FUSE server below may answer anything */
			break;
		}
		if (len > 0 && (!want || want(ctx, list + pos)))
			r = xattr_copy_one(&c, list + pos);
	}
	free(c.big);
	return r;
}

/* Flags of FS_IOC_GETFLAGS that say how a file is to be kept, not what it is. */
#define FLAGS_KEPT                                                                            \
	(FS_SYNC_FL | FS_NOATIME_FL | FS_NODUMP_FL | FS_SECRM_FL | FS_UNRM_FL | FS_COMPR_FL | \
	 FS_NOCOMP_FL | FS_NOCOW_FL | FS_DIRSYNC_FL | FS_JOURNAL_DATA_FL | FS_NOTAIL_FL |     \
	 FS_TOPDIR_FL | FS_DAX_FL)
/* Those that every filesystem knows, for when it refuses the whole set. */
#define FLAGS_PLAIN (FS_SYNC_FL | FS_NOATIME_FL | FS_NODUMP_FL)

/* Errors that only say: not here, or not for you. */
static int ignore_unsupported(int r)
{
	return r == -EOPNOTSUPP || r == -ENOTTY || r == -EPERM || r == -EINVAL || r == -ENOSYS ? 0
											       : r;
}

static int copy_flags(int from_fd, int to_fd)
{
	unsigned from = 0, to = 0;
	int r = sys_getflags(from_fd, &from);

	from &= FLAGS_KEPT;
	if (r < 0 || from == 0)
		return ignore_unsupported(r);
	r = sys_getflags(to_fd, &to);
	if (r < 0 || (to & from) == from)
		return ignore_unsupported(r);
	r = sys_setflags(to_fd, to | from);
	if (ignore_unsupported(r) != r && (from & FLAGS_PLAIN & ~to))
		r = sys_setflags(to_fd, to | (from & FLAGS_PLAIN));
	return ignore_unsupported(r);
}

static int copy_project(int from_fd, int to_fd)
{
	const unsigned kept = FS_XFLAG_PROJINHERIT | FS_XFLAG_EXTSIZE | FS_XFLAG_EXTSZINHERIT;
	struct fsxattr from, to;
	int r = sys_fsgetxattr(from_fd, &from);

	if (r < 0 || (from.fsx_projid == 0 && !(from.fsx_xflags & kept)))
		return ignore_unsupported(r);
	r = sys_fsgetxattr(to_fd, &to);
	if (r < 0)
		return ignore_unsupported(r);
	if (to.fsx_projid == from.fsx_projid && to.fsx_extsize == from.fsx_extsize &&
	    (to.fsx_xflags & kept) == (from.fsx_xflags & kept))
		return 0;
	to.fsx_projid = from.fsx_projid;
	to.fsx_xflags = (to.fsx_xflags & ~kept) | (from.fsx_xflags & kept);
	to.fsx_extsize = from.fsx_extsize;
	r = sys_fssetxattr(to_fd, &to);
	if (ignore_unsupported(r) != r && from.fsx_projid != 0) {
		/* An extent size suits one filesystem's block size and not another's. */
		to.fsx_xflags &= ~(unsigned)(FS_XFLAG_EXTSIZE | FS_XFLAG_EXTSZINHERIT);
		to.fsx_extsize = 0;
		r = sys_fssetxattr(to_fd, &to);
	}
	return ignore_unsupported(r);
}

int sys_copy_fileattr(int from_fd, int to_fd)
{
	int r = copy_flags(from_fd, to_fd);

	return r < 0 ? r : copy_project(from_fd, to_fd);
}
