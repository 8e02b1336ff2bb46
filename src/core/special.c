/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An index of our own for hard links that the kernel's format cannot have: of symlinks, FIFOs and sockets where
 * the overlay's attributes are user.*, which these cannot carry.  It is workdir/lamina/index, with three
 * names for each such inode that was copied up; KEY is what its entry in the kernel's index would be called:
 *
 *	=KEY	a link of the copy
 *	+KEY	a symlink whose target is the value of the attribute nlink
 *	INO	a symlink to KEY, named by the number of the copy: from a name in upper to the entry
 *
 * A key with the "=" stands for the entry wherever keys are handed about; index_dir() tells the two apart.
 * docs/design/identity.md
 */
#include "core.h"

#include <errno.h>
#include <stdio.h>

bool special_applies(const struct lam_stack *s, uint32_t type)
{
	return s->special_fd >= 0 && s->upper_xattr && s->userxattr && !s->nfs_export &&
	       !S_ISREG(type) && !S_ISDIR(type);
}

bool special_key(const char *key)
{
	return key[0] == '=';
}

int index_dir(const struct lam_stack *s, const char *key)
{
	return special_key(key) ? s->special_fd : s->index_fd;
}

int index_key_of(const struct lam_stack *s, const struct fh *fh, uint32_t type,
		 char out[INDEX_NAME_MAX + 1])
{
	char plain[INDEX_NAME_MAX + 1];

	index_name_encode(fh, plain);
	if (!special_applies(s, type)) {
		strcpy(out, plain);
		return strlen(out) > LAM_NAME_MAX ? -EOPNOTSUPP : 0;
	}
	if (strlen(plain) + 1 > LAM_NAME_MAX)
		return -EOPNOTSUPP;
	out[0] = '=';
	strcpy(out + 1, plain);
	return 0;
}

static void count_name(const char *key, char out[LAM_NAME_MAX + 1])
{
	CHECK(special_key(key) && strlen(key) <= LAM_NAME_MAX);
	strcpy(out, key);
	out[0] = '+';
}

static void number_name(uint64_t ino, char out[32])
{
	(void)snprintf(out, 32, "%016llx", (unsigned long long)ino);
}

static int put_symlink(struct lam_stack *s, const char *target, const char *name)
{
	char temp[32];
	int r;

	work_temp_name(s, temp);
	r = sys_symlink(target, s->work_fd, temp);
	if (r < 0)
		return r;
	r = sys_rename(s->work_fd, temp, s->special_fd, name, 0);
	if (r < 0)
		(void)sys_unlink(s->work_fd, temp);
	return r;
}

int special_prepare(struct lam_stack *s, const char *key, uint64_t ino, const char *nlink)
{
	char name[LAM_NAME_MAX + 1], number[32];
	int r;

	count_name(key, name);
	number_name(ino, number);
	r = put_symlink(s, nlink, name);
	return r < 0 ? r : put_symlink(s, key + 1, number);
}

int special_write_nlink(struct lam_stack *s, const char *key, const char *nlink)
{
	char name[LAM_NAME_MAX + 1];

	count_name(key, name);
	return put_symlink(s, nlink, name);
}

ssize_t special_read_nlink(struct lam_stack *s, const char *key, char *value, size_t size)
{
	char name[LAM_NAME_MAX + 1];

	count_name(key, name);
	return sys_readlink(s->special_fd, name, value, size);
}

void special_forget(struct lam_stack *s, const char *key, uint64_t ino)
{
	char name[LAM_NAME_MAX + 1], number[32];

	count_name(key, name);
	number_name(ino, number);
	(void)sys_unlink(s->special_fd, number); /* what stays goes at the next mount */
	(void)sys_unlink(s->special_fd, name);
}

bool special_find(struct lam_stack *s, const struct statx *st, char key[INDEX_NAME_MAX + 1])
{
	char number[32];
	struct statx entry;
	ssize_t n;

	if (!special_applies(s, st->stx_mode) || st->stx_nlink < 2)
		return false;
	number_name(st->stx_ino, number);
	n = sys_readlink(s->special_fd, number, key + 1, LAM_NAME_MAX);
	if (n <= 0 || n >= LAM_NAME_MAX)
		return false;
	key[0] = '=';
	key[n + 1] = '\0';
	return index_stat(s, key, &entry) > 0 && entry.stx_ino == st->stx_ino;
}

/* ---- At the mount ---- */

/* Whether the names that stand beside an entry have one. */
static bool has_entry(struct lam_stack *s, const char *name)
{
	char key[INDEX_NAME_MAX + 1] = "=", number[32];
	struct statx st;
	ssize_t n;

	if (name[0] == '+') {
		(void)snprintf(key, sizeof(key), "=%s", name + 1);
		return index_stat(s, key, &st) > 0;
	}
	n = sys_readlink(s->special_fd, name, key + 1, LAM_NAME_MAX);
	if (n <= 0 || n >= LAM_NAME_MAX)
		return false;
	key[n + 1] = '\0';
	if (index_stat(s, key, &st) <= 0)
		return false;
	number_name(st.stx_ino, number);
	return !strcmp(number, name);
}

/* An entry that nobody can see is of a crash. */
static bool is_orphan(struct lam_stack *s, const char *key)
{
	char value[16];
	struct nlink_diff d;
	struct statx st;
	ssize_t n = special_read_nlink(s, key, value, sizeof(value));

	if (index_stat(s, key, &st) <= 0 || n < 0 || nlink_decode(value, (size_t)n, &d) < 0)
		return false;
	return st.stx_nlink == 1 && (int64_t)st.stx_nlink + d.diff <= 0;
}

static int check_entry(void *ctx, const struct sys_dirent *de)
{
	struct lam_stack *s = ctx;

	if (special_key(de->name) && is_orphan(s, de->name))
		(void)sys_unlink(s->special_fd, de->name);
	return 0;
}

static int check_beside(void *ctx, const struct sys_dirent *de)
{
	struct lam_stack *s = ctx;

	if (!special_key(de->name) && strlen(de->name) <= LAM_NAME_MAX && !has_entry(s, de->name))
		(void)sys_unlink(s->special_fd, de->name);
	return 0;
}

int special_open(struct lam_stack *s)
{
	int r = sys_mkdir(s->own_fd, "index", 0700);

	if (r < 0 && r != -EEXIST)
		return r;
	s->special_fd = sys_openat(s->own_fd, "index", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (s->special_fd < 0) {
		r = s->special_fd;
		s->special_fd = -1;
		return r;
	}
	r = dirscan(s->special_fd, check_entry, s);
	return r < 0 ? r : dirscan(s->special_fd, check_beside, s);
}
