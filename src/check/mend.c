/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Steps that repairs are made of.  Each is one system call, or leaves only something in workdir/work that
 * the next mount removes.  What might be somebody's is not deleted but moved to workdir/lamina/stray.
 */
#include "check.h"

#include <errno.h>

void mend_temp_name(struct check *c, char out[32])
{
	(void)snprintf(out, 32, "#check%llx", (unsigned long long)c->temp_counter++);
}

static int open_own(int dirfd, const char *name, int *fd)
{
	int r;

	if (*fd >= 0)
		return 0;
	r = sys_mkdir(dirfd, name, 0700);
	if (r < 0 && r != -EEXIST)
		return r;
	r = sys_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (r < 0)
		return r;
	*fd = r;
	return 0;
}

bool mend_can_put_aside(const struct check *c)
{
	return c->base_fd >= 0;
}

int mend_put_aside(struct check *c, int dirfd, const char *name)
{
	char to[LAM_NAME_MAX + 1];
	int r = -EROFS;

	if (!mend_can_put_aside(c))
		return r;
	r = open_own(c->base_fd, "lamina", &c->own_fd);
	if (r == 0)
		r = open_own(c->own_fd, "stray", &c->stray_fd);
	if (r < 0)
		return r;
	r = sys_rename(dirfd, name, c->stray_fd, name, RENAME_NOREPLACE);
	for (unsigned n = 1; r == -EEXIST && n < 10000; n++) {
		(void)snprintf(to, sizeof(to), "%.200s.%u", name, n);
		r = sys_rename(dirfd, name, c->stray_fd, to, RENAME_NOREPLACE);
	}
	return r;
}

int mend_remove(int dirfd, const char *name)
{
	int r = sys_unlink(dirfd, name), fd;

	if (r != -EISDIR && r != -EPERM)
		return r == -ENOENT ? 0 : r;
	fd = sys_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	r = work_wipe(fd, NULL);
	sys_close(fd);
	return r < 0 ? r : sys_rmdir(dirfd, name);
}

int mend_whiteout(struct check *c, int dirfd, const char *name)
{
	char temp[32];
	int r = open_own(c->base_fd, "work", &c->work_fd);

	if (r < 0)
		return r;
	mend_temp_name(c, temp);
	r = sys_mknod(c->work_fd, temp, S_IFCHR, 0);
	if (r < 0)
		return r;
	r = sys_rename(c->work_fd, temp, dirfd, name, 0);
	if (r < 0)
		(void)sys_unlink(c->work_fd, temp);
	return r;
}
