/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * workdir/lamina/index: the index of hard links that can carry no attributes, with three names for each
 * inode (src/core/special.c).  Objects that only it has are of upper, too.
 */
#include "check.h"

#include <errno.h>

#include "base/parse.h"

#define DIR_NAME "index"

/* The entry "=KEY" of a name beside it, and its inode's number. */
static bool entry_of(int fd, const char *key, uint64_t *ret_ino)
{
	char name[LAM_NAME_MAX + 2];
	struct stat st;

	if (strlen(key) >= LAM_NAME_MAX)
		return false;
	(void)snprintf(name, sizeof(name), "=%s", key);
	if (sys_stat(fd, name, &st) < 0)
		return false;
	*ret_ino = st.st_ino;
	return true;
}

/* The value of a symlink there, with a NUL; false if it is none. */
static bool value_of(int fd, const char *name, char value[LAM_NAME_MAX + 1])
{
	ssize_t n = sys_readlink(fd, name, value, LAM_NAME_MAX);

	if (n <= 0 || n >= LAM_NAME_MAX)
		return false;
	value[n] = '\0';
	return true;
}

static int check_entry(struct part *part, const char *name)
{
	char count[LAM_NAME_MAX + 2], value[LAM_NAME_MAX + 1];
	struct nlink_diff d;
	struct stat st;
	struct fh fh;
	int r = sys_stat(part->fd, name, &st);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (index_name_decode(name + 1, &fh) < 0 || S_ISDIR(st.st_mode))
		return records_report(part, KIND_RECORD_INDEX, DIR_NAME, name,
				      "its name is that of no lower object", false);
	records_note(part->c, part->fd, name, st.st_ino);
	(void)snprintf(count, sizeof(count), "+%s", name + 1);
	if (!value_of(part->fd, count, value) || nlink_decode(value, strlen(value), &d) < 0)
		return records_report(part, KIND_RECORD_INDEX, DIR_NAME, name,
				      "the count of its names is not recorded", false);
	if (st.st_nlink == 1 && !d.lower && (int64_t)st.st_nlink + d.diff <= 0)
		return records_report(part, KIND_RECORD_INDEX_STALE, DIR_NAME, name,
				      "all names of the object were removed", true);
	return 0;
}

static int check_beside(struct part *part, const char *name)
{
	char value[LAM_NAME_MAX + 1];
	uint64_t ino = 0, number = 0;
	bool good;

	if (name[0] == '+')
		good = entry_of(part->fd, name + 1, &ino);
	else
		good = strlen(name) == 16 && parse_u64_base(name, 16, 16, &number) == 0 &&
		       value_of(part->fd, name, value) && entry_of(part->fd, value, &ino) &&
		       ino == number;
	return good ? 0
		    : records_report(part, KIND_RECORD_INDEX_STALE, DIR_NAME, name,
				     "there is no entry that it belongs to", true);
}

static int check_name(void *ctx, const struct sys_dirent *de)
{
	struct part *part = ctx;

	part->c->result.objects++;
	return de->name[0] == '=' ? check_entry(part, de->name) : 0;
}

static int check_other(void *ctx, const struct sys_dirent *de)
{
	return de->name[0] == '=' ? 0 : check_beside(ctx, de->name);
}

int special_check(struct check *c)
{
	CLEANUP_CLOSE int fd = sys_openat(c->own_fd, DIR_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
					  0);
	struct part part = { c, fd };
	int r;

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? 0 : fd;
	r = dirscan(fd, check_name, &part);
	return r < 0 ? r : dirscan(fd, check_other, &part);
}
