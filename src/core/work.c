/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What happens out of sight, in the work directory: temporary names, whiteouts on their way, and
 * orphans (objects without a name that somebody still uses).
 *
 * Temporary names begin with '#', so the kernel's overlayfs removes what a crash leaves; our own state
 * is under workdir/lamina, which it ignores.  Lock: work_lock for the name of the shared whiteout.
 */
#include "core.h"

#include <errno.h>
#include <stdio.h>

void work_temp_name(struct lam_stack *s, char out[32])
{
	uint64_t n = atomic_fetch_add(&s->temp_counter, 1);

	(void)snprintf(out, 32, "#%llx", (unsigned long long)n);
}

/* Where something that is in use stands for a moment, on its way to the orphans: should this process end there,
 * the next one knows it by id and inode number, and takes it on (workdir.c). */
static void victim_name(const struct node *n, char out[32])
{
	uint64_t ino = node_is_dir(n) ? n->dir->upper->ino : n->real_ino;

	(void)snprintf(out, 32, "#o%016llx%llx", (unsigned long long)n->id,
		       (unsigned long long)(ino & WORK_VICTIM_INO));
}

bool work_is_victim(const char *name, uint64_t ino, uint64_t *ret_id)
{
	unsigned long long id, number;
	char kind;

	if (sscanf(name, "#%c%16llx%13llx", &kind, &id, &number) != 3 ||
	    (kind != 'o' && kind != 'p') || number != (ino & WORK_VICTIM_INO))
		return false;
	*ret_id = id;
	return true;
}

void work_victim_name(struct lam_stack *s, const struct node *victim, char out[32])
{
	struct statx st;

	work_temp_name(s, out);
	if (!victim)
		return;
	victim_name(victim, out);
	if (sys_statx(s->work_fd, out, &st) != -ENOENT) /* left there by a failure */
		work_temp_name(s, out);
}

void work_orphan_name(uint64_t id, char out[32])
{
	(void)snprintf(out, 32, "%016llx", (unsigned long long)id);
}

bool stack_in_use(struct lam_stack *s, uint64_t id)
{
	unsigned n = atomic_load_explicit(&s->n_users, memory_order_acquire);

	for (unsigned i = 0; i < n; i++)
		if (s->users[i].in_use(s->users[i].ctx, id))
			return true;
	return false;
}

/* ---- Whiteouts ---- */

/* Three kinds, chosen at mount by what the upper filesystem allows: a character device 0:0, as the kernel
 * makes it; a file `.wh.NAME`; an empty file with the attribute overlay.whiteout.  The first and the last
 * stand under the name itself. */

/* A name that is too long for `.wh.` before it gets one of the others. */
static bool use_dot(const struct lam_stack *s, const char *name)
{
	return s->write_dot_wh && (strlen(name) + DOT_WH_LEN <= LAM_NAME_MAX ||
				   (!s->upper_xattr && !s->upper_char_wh));
}

/* Readers may ask a directory first whether attributes make whiteouts in it. */
static int mark_directory(struct lam_stack *s, int dirfd)
{
	char value[4];
	ssize_t n;

	if (s->upper_char_wh)
		return 0;
	n = ovl_get(s, dirfd, "", "opaque", value, sizeof(value));
	return n == -ENODATA ? ovl_set(s, dirfd, "", "opaque", "x", 1) : n < 0 ? (int)n : 0;
}

/* Make a whiteout of the first or third kind.  The latter takes two steps, so it is made out of sight. */
static int make_whiteout(struct lam_stack *s, int dirfd, const char *name)
{
	char temp[32];
	int fd, r;

	if (s->upper_char_wh)
		return sys_mknod(dirfd, name, S_IFCHR, 0);
	work_temp_name(s, temp);
	fd = sys_openat(s->work_fd, temp, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	sys_close(fd);
	r = ovl_set(s, s->work_fd, temp, "whiteout", "y", 1);
	if (r == 0)
		r = sys_rename(s->work_fd, temp, dirfd, name, RENAME_NOREPLACE);
	if (r == -EINVAL) /* a filesystem that knows no flags; the directory is locked */
		r = sys_rename(s->work_fd, temp, dirfd, name, 0);
	if (r < 0)
		(void)sys_unlink(s->work_fd, temp);
	return r;
}

/* Make a whiteout where there is nothing: by a link of the shared one, as the kernel does, since that is
 * cheaper than an inode each. */
static int file_whiteout(struct lam_stack *s, int dirfd, const char *name)
{
	for (unsigned tries = 0; tries < 3; tries++) {
		char shared[32];
		int r;

		mutex_lock(&s->work_lock);
		if (!s->whiteout_link) {
			mutex_unlock(&s->work_lock);
			return make_whiteout(s, dirfd, name);
		}
		if (!s->whiteout_name[0]) {
			work_temp_name(s, shared);
			r = make_whiteout(s, s->work_fd, shared);
			if (r < 0) {
				mutex_unlock(&s->work_lock);
				return r;
			}
			strcpy(s->whiteout_name, shared);
		}
		strcpy(shared, s->whiteout_name);
		mutex_unlock(&s->work_lock);

		r = sys_link(s->work_fd, shared, dirfd, name);
		if (r != -EMLINK && r != -ENOENT && r != -EPERM && r != -EOPNOTSUPP)
			return r;
		mutex_lock(&s->work_lock);
		if (!strcmp(shared, s->whiteout_name)) {
			if (r == -EPERM || r == -EOPNOTSUPP)
				s->whiteout_link = false;
			else if (r == -EMLINK)
				(void)sys_unlink(s->work_fd, shared); /* its links stay */
			s->whiteout_name[0] = '\0';
		}
		mutex_unlock(&s->work_lock);
	}
	return make_whiteout(s, dirfd, name);
}

static int dot_name(const char *name, char out[LAM_NAME_MAX + 1])
{
	if (strlen(name) + DOT_WH_LEN > LAM_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(out, DOT_WH, DOT_WH_LEN);
	strcpy(out + DOT_WH_LEN, name);
	return 0;
}

static int dot_whiteout(int dirfd, const char *name)
{
	char wh[LAM_NAME_MAX + 1];
	int fd = dot_name(name, wh);

	if (fd < 0)
		return fd;
	fd = sys_openat(dirfd, wh, O_CREAT | O_WRONLY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd == -EACCES ? 0 : fd; /* mode 0: it is there already */
	sys_close(fd);
	return 0;
}

static int whiteout_made(struct lam_stack *s, int r)
{
	if (r == 0)
		atomic_fetch_add(&s->stat_whiteouts, 1);
	return r;
}

int work_whiteout(struct lam_stack *s, int dirfd, const char *name)
{
	int r;

	if (use_dot(s, name))
		return whiteout_made(s, dot_whiteout(dirfd, name));
	r = mark_directory(s, dirfd);
	return r < 0 ? r : whiteout_made(s, file_whiteout(s, dirfd, name));
}

static int whiteout_temp(struct lam_stack *s, const struct node *victim, int dirfd, char out[32])
{
	int r = mark_directory(s, dirfd);

	work_victim_name(s, victim, out);
	return r < 0 ? r : file_whiteout(s, s->work_fd, out);
}

int work_whiteout_over(struct lam_stack *s, int dirfd, const char *name)
{
	char temp[32];
	int r;

	if (use_dot(s, name)) {
		r = work_whiteout(s, dirfd, name);
		return r < 0 ? r : sys_unlink(dirfd, name);
	}
	r = whiteout_temp(s, NULL, dirfd, temp);
	if (r < 0)
		return r;
	r = sys_rename(s->work_fd, temp, dirfd, name, 0);
	if (r < 0)
		(void)sys_unlink(s->work_fd, temp);
	return whiteout_made(s, r);
}

/* In two steps where the filesystem cannot exchange: a crash between shows the lower object. */
static int swap(struct lam_stack *s, const char *temp, int dirfd, const char *name, char out[32])
{
	int r = sys_rename(s->work_fd, temp, dirfd, name, RENAME_EXCHANGE);

	if (r != -EINVAL) {
		strcpy(out, temp);
		return r;
	}
	work_temp_name(s, out);
	if (temp[1] == 'o') { /* of a victim: the name says the same */
		strcpy(out, temp);
		out[1] = 'p';
	}
	r = sys_rename(dirfd, name, s->work_fd, out, 0);
	if (r < 0)
		return r;
	r = sys_rename(s->work_fd, temp, dirfd, name, 0);
	if (r < 0)
		(void)sys_rename(s->work_fd, out, dirfd, name, 0);
	return r;
}

int work_whiteout_exchange(struct lam_stack *s, const struct node *victim, int dirfd,
			   const char *name, char temp[32])
{
	char wh[32];
	int r;

	if (use_dot(s, name)) {
		work_victim_name(s, victim, temp);
		r = work_whiteout(s, dirfd, name);
		return r < 0 ? r : sys_rename(dirfd, name, s->work_fd, temp, 0);
	}
	r = whiteout_temp(s, victim, dirfd, wh);
	if (r < 0)
		return r;
	r = swap(s, wh, dirfd, name, temp);
	if (r < 0)
		(void)sys_unlink(s->work_fd, wh);
	return whiteout_made(s, r);
}

/* With `.wh.` whiteouts the name stays hidden in between, so that a crash shows nothing of below. */
int work_replace(struct lam_stack *s, int dirfd, const char *name, char temp[32])
{
	bool dot = s->write_dot_wh && (!s->upper_exchange || !s->upper_xattr) && use_dot(s, name);
	char now[32];
	int r = dot ? dot_whiteout(dirfd, name) : 0;

	if (r == 0)
		r = swap(s, temp, dirfd, name, now);
	if (r == 0)
		strcpy(temp, now);
	if (dot && (r < 0 || s->upper_xattr))
		(void)work_unwhiteout(s, dirfd, name, true);
	return r; /* without attributes `.wh.NAME` beside it makes a directory opaque */
}

int work_unwhiteout(struct lam_stack *s, int dirfd, const char *name, bool dot_wh)
{
	char wh[LAM_NAME_MAX + 1];
	int r;

	(void)s;
	if (!dot_wh)
		return sys_unlink(dirfd, name);
	r = dot_name(name, wh);
	if (r == 0)
		r = sys_unlink(dirfd, wh);
	return r == -ENOENT ? 0 : r;
}

/* A whiteout under the name itself makes way for what is to be renamed there. */
int work_whiteout_to_dot(struct lam_stack *s, int dirfd, const char *name)
{
	int r = use_dot(s, name) ? dot_whiteout(dirfd, name) : -EINVAL;

	return r < 0 ? r : sys_unlink(dirfd, name);
}

/* ---- Orphans ---- */

/* The object at NAME and a whiteout in the orphan area change places: in one step, so that whoever goes on
 * after a crash of this process finds it here or there.  -EINVAL: not on this filesystem. */
static int orphan_exchange(struct lam_stack *s, int dirfd, const char *name, const char *orphan)
{
	int r;

	if (use_dot(s, name) || !s->upper_char_wh || !s->upper_exchange)
		return -EINVAL;
	r = file_whiteout(s, s->orphan_fd, orphan);
	if (r < 0)
		return r == -EEXIST ? -EINVAL : r; /* somebody else's: not to be brought back */
	r = sys_rename(s->orphan_fd, orphan, dirfd, name, RENAME_EXCHANGE);
	if (r < 0)
		(void)sys_unlink(s->orphan_fd, orphan);
	return whiteout_made(s, r);
}

int work_orphan(struct lam_stack *s, struct node *n, int dirfd, const char *name,
		bool leave_whiteout)
{
	char orphan[32];
	int r;

	work_orphan_name(n->id, orphan);
	if (n->flags & NF_ORPHAN) { /* kept already, under an earlier name */
		if (leave_whiteout)
			return work_whiteout_over(s, dirfd, name);
		return sys_unlink(dirfd, name);
	}
	r = leave_whiteout ? orphan_exchange(s, dirfd, name, orphan) : -EINVAL;
	if (leave_whiteout && r == -EINVAL) {
		char temp[32];

		r = work_whiteout_exchange(s, n, dirfd, name, temp);
		if (r < 0)
			return r;
		if (sys_rename(s->work_fd, temp, s->orphan_fd, orphan, 0) < 0) {
			work_discard(s, temp, node_is_dir(n));
			return 0; /* the name is gone; without the orphan its users get ESTALE */
		}
	} else if (!leave_whiteout) {
		r = sys_rename(dirfd, name, s->orphan_fd, orphan, 0);
	}
	if (r < 0)
		return r;
	n->flags |= NF_ORPHAN;
	atomic_fetch_add(&s->stat_orphans, 1);
	return 0;
}

int work_orphan_entry(struct lam_stack *s, uint64_t id, int dirfd, const char *name,
		      bool leave_whiteout)
{
	char orphan[32];
	int r;

	work_orphan_name(id, orphan);
	r = leave_whiteout ? orphan_exchange(s, dirfd, name, orphan) : -EINVAL;
	if (r == -EINVAL) {
		r = sys_rename(dirfd, name, s->orphan_fd, orphan, 0);
		if (r == 0 && leave_whiteout)
			r = work_whiteout(s, dirfd, name);
	}
	if (r == 0)
		s->left_orphans++;
	return r;
}

/* One of an earlier process, of which nothing is cached. */
void work_left_orphan_drop(struct lam_stack *s, uint64_t id)
{
	char orphan[32];
	int r;

	if (!s->left_orphans)
		return;
	work_orphan_name(id, orphan);
	r = sys_unlink(s->orphan_fd, orphan);
	if (r == -EISDIR || r == -EPERM)
		r = sys_rmdir(s->orphan_fd, orphan); /* what is in it goes when the mount ends */
	if (r == 0)
		s->left_orphans--;
}

int work_orphan_drop(struct lam_stack *s, struct node *n)
{
	char orphan[32];
	int r;

	work_orphan_name(n->id, orphan);
	r = node_is_dir(n) ? sys_rmdir(s->orphan_fd, orphan) : sys_unlink(s->orphan_fd, orphan);
	if (r == -ENOTEMPTY) { /* whiteouts that were left in it */
		int fd = sys_openat(s->orphan_fd, orphan, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

		if (fd >= 0) {
			(void)dirlist_clean(s, fd);
			sys_close(fd);
			r = sys_rmdir(s->orphan_fd, orphan);
		}
	}
	/* Two may come here at once; one has removed it. */
	if (atomic_fetch_and(&n->flags, (uint16_t)~NF_ORPHAN) & NF_ORPHAN)
		atomic_fetch_sub(&s->stat_orphans, 1);
	return r;
}

void work_discard(struct lam_stack *s, const char *name, bool dir)
{
	int fd;

	if (!dir) {
		(void)sys_unlink(s->work_fd, name);
		return;
	}
	if (sys_rmdir(s->work_fd, name) != -ENOTEMPTY)
		return;
	fd = sys_openat(s->work_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return;
	(void)dirlist_clean(s, fd); /* what stays goes at the next mount */
	sys_close(fd);
	(void)sys_rmdir(s->work_fd, name);
}

struct orphan_scan {
	void (*fn)(void *ctx, uint64_t id);
	void *ctx;
};

static int scan_orphan(void *ctx, const struct sys_dirent *de)
{
	const struct orphan_scan *scan = ctx;
	unsigned long long id;
	char again[32];

	if (sscanf(de->name, "%16llx", &id) != 1)
		return 0;
	work_orphan_name(id, again);
	if (!strcmp(again, de->name)) /* else somebody else's file */
		scan->fn(scan->ctx, id);
	return 0;
}

int lam_orphans(struct lam_stack *s, void (*fn)(void *ctx, uint64_t id), void *ctx)
{
	struct orphan_scan scan = { .fn = fn, .ctx = ctx };

	return s->orphan_fd < 0 ? 0 : dirscan(s->orphan_fd, scan_orphan, &scan);
}
