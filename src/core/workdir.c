/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening the work directory: locked against a second user, cleaned of what a killed process left, and
 * tried out for what its filesystem can do.
 */
#include "core.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/file.h>

static int open_dir(int dirfd, const char *name)
{
	int fd = sys_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

	if (fd == -EACCES && sys_chmod(dirfd, name, 0700) == 0) /* the kernel makes them mode 0 */
		fd = sys_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	return fd;
}

static int make_dir(int dirfd, const char *name, mode_t mode)
{
	int r = sys_mkdir(dirfd, name, mode);

	if (r < 0 && r != -EEXIST)
		return r;
	return open_dir(dirfd, name);
}

/* ---- Removing what was left ---- */

struct wipe {
	int base; /* directories are moved here, so depth does not matter */
	int fd;
	unsigned n;
	const char *keep; /* this name stays */
};

static int wipe_name(void *ctx, const struct sys_dirent *de)
{
	struct wipe *w = ctx;
	char temp[40];
	int r;

	if (w->keep && !strcmp(de->name, w->keep))
		return 0;
	r = sys_unlink(w->fd, de->name);
	if (r == 0 || r == -ENOENT)
		return 0;
	if (r != -EISDIR && r != -EPERM)
		return r;
	r = sys_rmdir(w->fd, de->name);
	if (r != -ENOTEMPTY)
		return r;
	if (w->fd == w->base)
		return 0; /* the next round opens it */
	(void)snprintf(temp, sizeof(temp), "#wipe%x", w->n++);
	return sys_rename(w->fd, de->name, w->base, temp, 0);
}

struct first {
	char name[LAM_NAME_MAX + 1];
	const char *keep;
};

static int first_name(void *ctx, const struct sys_dirent *de)
{
	struct first *f = ctx;

	if (f->keep && !strcmp(de->name, f->keep))
		return 0;
	if (strlen(de->name) > LAM_NAME_MAX)
		return -ENAMETOOLONG;
	strcpy(f->name, de->name);
	return 1;
}

/* Subdirectories are moved up and emptied in turn. */
int work_wipe(int base, const char *keep)
{
	struct wipe w = { .base = base, .fd = base, .keep = keep };
	int r = dirscan(base, wipe_name, &w);

	while (r >= 0) {
		struct first f = { .keep = keep };

		r = dirscan(base, first_name, &f);
		if (r <= 0)
			return r;
		w.fd = open_dir(base, f.name);
		if (w.fd < 0)
			return w.fd;
		w.keep = NULL;
		r = dirscan(w.fd, wipe_name, &w);
		sys_close(w.fd);
		if (r == 0)
			r = sys_rmdir(base, f.name);
		if (r == -ENOTEMPTY)
			r = 0;
	}
	return r;
}

/* ---- Orphans of the process before ---- */

/* What its end left half done: the whiteout that was to change places with an object, and the second link of
 * a file that has its name still (where files have handles, no link but these two kinds is there). */
static int tidy_orphan(void *ctx, const struct sys_dirent *de)
{
	struct lam_stack *s = ctx;
	struct statx st;
	int r = sys_statx(s->orphan_fd, de->name, &st);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if ((S_ISCHR(st.stx_mode) && !st.stx_rdev_major && !st.stx_rdev_minor) ||
	    (!S_ISDIR(st.stx_mode) && st.stx_nlink > 1 && s->layers[LAYER_UPPER].fs->can_decode))
		return sys_unlink(s->orphan_fd, de->name);
	s->left_orphans++;
	return 0;
}

/* What was on its way to the orphans, and had lost its name. */
static int keep_victim(void *ctx, const struct sys_dirent *de)
{
	struct lam_stack *s = ctx;
	struct statx st;
	char orphan[32];
	uint64_t id;
	int r = sys_statx(s->work_fd, de->name, &st);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (!work_is_victim(de->name, st.stx_ino, &id))
		return 0;
	work_orphan_name(id, orphan);
	if (sys_statx(s->orphan_fd, orphan, &st) == -ENOENT)
		r = sys_rename(s->work_fd, de->name, s->orphan_fd, orphan, 0);
	return r;
}

static int tidy_orphans(struct lam_stack *s)
{
	int r = dirscan(s->work_fd, keep_victim, s);

	if (r >= 0)
		r = dirscan(s->orphan_fd, tidy_orphan, s);
	return r < 0 ? r : 0;
}

/* ---- Checks ---- */

static int only_volatile(void *ctx, const struct sys_dirent *de)
{
	char *name = ctx;

	(void)snprintf(name, LAM_NAME_MAX + 1, "%s", de->name);
	return 1;
}

/* A name in work/incompat forbids the mount, as it does for the kernel. */
static int check_incompat(struct lam_stack *s)
{
	char name[LAM_NAME_MAX + 1];
	CLEANUP_CLOSE int fd = sys_openat(s->work_fd, "incompat",
					  O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	int r;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	r = dirscan(fd, only_volatile, name);
	if (r <= 0)
		return r;
	if (!strcmp(name, "volatile"))
		log_error(
			"the upper layer was last used with 'volatile' and may be damaged after a crash: if "
			"it is known to be good, remove work/incompat/volatile in the work directory");
	else
		log_error(
			"the work directory says that the layers need feature %s, which is not known here",
			QUOTE(name));
	return -EINVAL;
}

static int take_lock(struct lam_stack *s, const char *upper)
{
	s->lock_fd = sys_openat(s->own_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		return s->lock_fd;
	/* A filesystem without locks does without. */
	if ((flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0 &&
	     flock(s->layers[LAYER_UPPER].fd, LOCK_EX | LOCK_NB) == 0) ||
	    errno != EWOULDBLOCK)
		return 0;
	log_error("%s or its work directory is in use by another mount", QUOTE(upper));
	return -EBUSY;
}

/* ---- Probing ---- */

/* What the answer R to an attempt says: 1, the filesystem can (0, or there is no room for the proof: a full disk
 * has to be mounted to be emptied); 0, it cannot; or an error that says nothing.  To take such a one for
 * "cannot" would read the layers by other rules than they were written by. */
static int can(int r)
{
	switch (r) {
	case 0:
	case -ENOSPC:
	case -EDQUOT:
		return 1;
	case -EIO:
	case -EINTR:
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
	case -ESTALE:
		return r;
	default:
		return 0;
	}
}

static int probe_tmpfile(struct lam_stack *s)
{
	int fd = sys_openat(s->work_fd, ".", O_TMPFILE | O_RDWR, 0600);
	char temp[32];
	int r;

	if (fd < 0)
		return can(fd);
	work_temp_name(s, temp);
	r = sys_link_fd(fd, s->work_fd, temp);
	sys_close(fd);
	if (r == 0)
		(void)sys_unlink(s->work_fd, temp);
	return can(r);
}

static int probe_char_whiteout(struct lam_stack *s)
{
	char temp[32];
	int r;

	work_temp_name(s, temp);
	r = sys_mknod(s->work_fd, temp, S_IFCHR, 0);
	if (r == 0)
		(void)sys_unlink(s->work_fd, temp);
	return can(r);
}

static bool probe_dot_whiteout(struct lam_stack *s)
{
	static const char name[] = DOT_WH "#probe";
	int fd = sys_openat(s->work_fd, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0600);

	if (fd < 0)
		return false;
	sys_close(fd);
	(void)sys_unlink(s->work_fd, name);
	return true;
}

static int probe_rename_whiteout(struct lam_stack *s)
{
	char a[32], b[32];
	int fd, r;

	work_temp_name(s, a);
	work_temp_name(s, b);
	fd = sys_openat(s->work_fd, a, O_CREAT | O_EXCL | O_WRONLY, 0600);
	if (fd < 0)
		return can(fd);
	sys_close(fd);
	r = sys_rename(s->work_fd, a, s->work_fd, b, RENAME_WHITEOUT);
	(void)sys_unlink(s->work_fd, a);
	(void)sys_unlink(s->work_fd, b);
	return can(r);
}

static int probe_exchange(struct lam_stack *s)
{
	char a[32], b[32];
	int r;

	work_temp_name(s, a);
	work_temp_name(s, b);
	r = sys_mkdir(s->work_fd, a, 0700);
	if (r < 0)
		return can(r);
	r = sys_mkdir(s->work_fd, b, 0700);
	if (r == 0)
		r = sys_rename(s->work_fd, a, s->work_fd, b, RENAME_EXCHANGE);
	(void)sys_rmdir(s->work_fd, a);
	(void)sys_rmdir(s->work_fd, b);
	return can(r);
}

/* Whether attributes with the prefix that is set now can be written. */
static int probe_prefix(struct lam_stack *s)
{
	int r = ovl_set(s, s->work_fd, "", "opaque", "0", 1);

	if (r == 0)
		(void)ovl_remove(s, s->work_fd, "", "opaque");
	return can(r);
}

static int probe_xattr(struct lam_stack *s, const struct lam_config *c)
{
	int r;

	s->upper_xattr = true;
	s->userxattr = c->userxattr == LAM_ON;
	r = probe_prefix(s);
	if (r == 0 && c->userxattr == LAM_DEFAULT) {
		s->userxattr = true;
		r = probe_prefix(s);
	}
	s->upper_xattr = r > 0;
	return r;
}

static int mark_volatile(struct lam_stack *s)
{
	CLEANUP_CLOSE int incompat = make_dir(s->work_fd, "incompat", 0700);
	CLEANUP_CLOSE int vol = incompat < 0 ? incompat : make_dir(incompat, "volatile", 0700);
	int fd;

	if (vol < 0)
		return vol;
	fd = sys_openat(vol, "dirty", O_CREAT | O_WRONLY | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	sys_close(fd);
	return sys_syncfs(vol);
}

/* Which kind of whiteout is written. */
static void choose_whiteouts(struct lam_stack *s, const struct lam_config *c)
{
	s->whiteout_link = true;
	if (c->dot_whiteouts == LAM_DEFAULT)
		/* An upper that is another overlay keeps these names to itself. */
		s->write_dot_wh = !(s->upper_char_wh && s->upper_exchange && s->upper_xattr) &&
				  (!s->upper_xattr || probe_dot_whiteout(s));
	else
		s->write_dot_wh = c->dot_whiteouts == LAM_ON;
	if (s->write_dot_wh)
		s->read_dot_wh = true;
}

static int probe_all(struct lam_stack *s, const struct lam_config *c)
{
	int tmpfile = 0, exchange = 0, char_wh = 0, rename_wh = 0;
	int r = probe_xattr(s, c);

	if (r >= 0)
		r = tmpfile = probe_tmpfile(s);
	if (r >= 0)
		r = exchange = probe_exchange(s);
	if (r >= 0)
		r = char_wh = probe_char_whiteout(s);
	if (r > 0)
		r = rename_wh = probe_rename_whiteout(s);
	if (r < 0) {
		log_error("cannot try out the work directory: %s", log_errno(r));
		return r;
	}
	s->upper_tmpfile = tmpfile;
	s->upper_ordered = sys_keeps_order(s->base_fd);
	s->upper_exchange = exchange;
	s->upper_char_wh = char_wh;
	s->upper_rename_wh = rename_wh;
	choose_whiteouts(s, c);
	return 0;
}

int work_open(struct lam_stack *s, const struct lam_config *c)
{
	mode_t mode = s->privileged ? 0 : 0700;
	int r;

	s->own_fd = make_dir(s->base_fd, "lamina", 0700);
	if (s->own_fd < 0)
		return s->own_fd;
	r = take_lock(s, c->upper);
	if (r < 0)
		return r;
	s->work_fd = make_dir(s->base_fd, "work", mode);
	if (s->work_fd < 0)
		return s->work_fd;
	r = check_incompat(s);
	if (r < 0)
		return r;
	s->orphan_fd = make_dir(s->own_fd, "orphans", 0700);
	if (s->orphan_fd < 0)
		return s->orphan_fd;
	r = s->takeover ? tidy_orphans(s) : work_wipe(s->orphan_fd, NULL);
	if (r == 0)
		r = behinds_open(s, s->own_fd, s->takeover);
	if (r == 0)
		r = work_wipe(s->work_fd, NULL);
	if (r < 0)
		return r;
	s->links_fd = make_dir(s->own_fd, "links", 0700);
	if (s->links_fd < 0)
		return s->links_fd;
	s->origins_fd = make_dir(s->own_fd, "origins", 0700);
	if (s->origins_fd < 0)
		return s->origins_fd;
	r = record_open(s);
	if (r < 0)
		return r;
	r = probe_all(s, c);
	if (r < 0)
		return r;
	if (s->fsync == LAM_FSYNC_VOLATILE)
		return mark_volatile(s);
	return 0;
}

void work_close(struct lam_stack *s)
{
	int *fds[] = { &s->orphan_fd, &s->links_fd, &s->origins_fd, &s->special_fd, &s->begun_fd,
		       &s->index_fd,  &s->work_fd,  &s->lock_fd,    &s->own_fd,	    &s->base_fd };

	numset_clear(&s->records_fresh);
	if (s->work_fd >= 0 && s->whiteout_name[0])
		(void)sys_unlink(s->work_fd, s->whiteout_name);
	if (s->orphan_fd >= 0)
		(void)work_wipe(s->orphan_fd, NULL);
	for (unsigned i = 0; i < ARRAY_LEN(fds); i++) {
		if (*fds[i] >= 0)
			sys_close(*fds[i]);
		*fds[i] = -1;
	}
}
