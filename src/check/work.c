/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The work directory: leftovers, and marks that forbid a mount. */
#include "check.h"

#include <errno.h>

/* A name in work/incompat. */
static int check_feature(void *ctx, const struct sys_dirent *de)
{
	bool is_volatile = !strcmp(de->name, "volatile");
	char path[LAM_NAME_MAX + 16];
	struct check *c = ctx;
	struct problem p;
	int r;

	(void)snprintf(path, sizeof(path), "work/incompat/%s", de->name);
	r = problem_begin_work(c, &p, is_volatile ? KIND_WORK_VOLATILE : KIND_WORK_INCOMPAT, path);
	if (r < 0)
		return r;
	problem_say(&p, is_volatile ? "the layers were used with the option volatile"
				    : "the layers need a feature");
	(void)problem_mend(c, &p, false);
	c->stopped |= !is_volatile;
	return 0;
}

static int check_features(struct check *c)
{
	CLEANUP_CLOSE int fd = sys_openat(c->work_fd, "incompat",
					  O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? 0 : fd;
	return dirscan(fd, check_feature, c);
}

static int check_leftover(void *ctx, const struct sys_dirent *de)
{
	char path[LAM_NAME_MAX + 16];
	struct check *c = ctx;
	struct problem p;
	struct stat st;
	int r = sys_stat(c->work_fd, de->name, &st);

	c->result.objects++;
	if (r < 0 || !strcmp(de->name, "incompat"))
		return r == -ENOENT ? 0 : r;
	/* The kernel leaves the inode of its whiteouts. */
	if (de->name[0] == '#' && S_ISCHR(st.st_mode) && st.st_rdev == 0)
		return 0;
	(void)snprintf(path, sizeof(path), "work/%s", de->name);
	r = problem_begin_work(c, &p, KIND_WORK_LEFTOVER, path);
	if (r < 0)
		return r;
	problem_say(&p, "an object that was being made, or removed");
	if (problem_mend(c, &p, true))
		problem_done(c, &p, mend_remove(c->work_fd, de->name));
	else
		c->leftovers = true;
	return 0;
}

int work_check(struct check *c)
{
	int r = 0;

	if (c->work_fd >= 0) {
		r = check_features(c);
		if (r == 0)
			r = dirscan(c->work_fd, check_leftover, c);
	}
	return r == 0 && c->own_fd >= 0 ? records_check(c) : r;
}
