/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What Lamina keeps for itself, in workdir/lamina: lamina(5) describes it. */
#include "check.h"

#include <errno.h>

#include "base/parse.h"

#define FILE_MAX 65536u

/* ---- Numbers of filesystems ---- */

/* A line "NUMBER KEY" whose number is not taken by an earlier one. */
static bool line_good(const char *line, uint64_t *used)
{
	const char *space = strchr(line, ' ');
	uint64_t number;

	if (!space || !space[1] || space - line > 2 ||
	    parse_u64_base(line, (unsigned)(space - line), 10, &number) < 0 ||
	    number >= MAX_FILESYSTEMS || *used & 1ull << number)
		return false;
	*used |= 1ull << number;
	return true;
}

/* Copy the good lines of TEXT to GOOD; returns how many others there are. */
static unsigned sort_lines(char *text, char *good)
{
	bool torn = *text && text[strlen(text) - 1] != '\n';
	char *save, *line = strtok_r(text, "\n", &save);
	unsigned bad = 0;
	uint64_t used = 0;

	*good = '\0';
	while (line) {
		char *next = strtok_r(NULL, "\n", &save);

		if ((next || !torn) && line_good(line, &used)) {
			good = stpcpy(good, line);
			good = stpcpy(good, "\n");
		} else {
			bad++;
		}
		line = next;
	}
	return bad;
}

static int write_file(struct check *c, const char *name, const char *text)
{
	static const char temp[] = "check.new";
	size_t len = strlen(text);
	CLEANUP_CLOSE int fd = sys_openat(c->own_fd, temp,
					  O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	ssize_t n;
	int r;

	if (fd < 0)
		return fd;
	n = sys_pwrite(fd, text, len, 0);
	r = n < 0 ? (int)n : (size_t)n < len ? -ENOSPC : sys_fsync(fd);
	if (r == 0)
		r = sys_rename(c->own_fd, temp, c->own_fd, name, 0);
	if (r < 0)
		(void)sys_unlink(c->own_fd, temp);
	return r;
}

static int check_filesystems(struct check *c)
{
	CLEANUP_FREE char *text = malloc(FILE_MAX + 1), *good = malloc(FILE_MAX + 2);
	CLEANUP_CLOSE int fd = sys_openat(c->own_fd, "filesystems",
					  O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	struct problem p;
	unsigned bad;
	ssize_t n;
	int r;

	if (!text || !good)
		return -ENOMEM;
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	n = sys_pread(fd, text, FILE_MAX, 0);
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	for (ssize_t i = 0; i < n; i++) /* zeros, as a crash may leave them: no good line has one */
		text[i] = text[i] ? text[i] : '?';
	bad = sort_lines(text, good);
	if (!bad)
		return 0;
	r = problem_begin_work(c, &p, KIND_RECORD_FILESYSTEMS, "lamina/filesystems");
	if (r < 0)
		return r;
	problem_say(&p, "%u damaged line%s", bad, bad > 1 ? "s" : "");
	if (problem_mend(c, &p, true))
		problem_done(c, &p, write_file(c, "filesystems", good));
	return 0;
}

/* ---- Lower hard links that lost names ---- */

static bool link_value_good(int fd, const char *name)
{
	char value[16];
	uint64_t number;
	ssize_t n = sys_readlink(fd, name, value, sizeof(value));

	return n > 1 && n < (ssize_t)sizeof(value) && value[0] == '-' &&
	       parse_u64_base(value + 1, (unsigned)(n - 1), 10, &number) == 0 && number > 0 &&
	       number < INT32_MAX;
}

/* Why nobody reads a good record, or NULL. */
static const char *stale(struct check *c, const char *name, const struct fh *fh)
{
	struct stat st;
	int fd;

	if (c->index_fd >= 0 && sys_stat(c->index_fd, name, &st) == 0)
		return "a record of a file that was copied up since";
	fd = origin_open(c, fh);
	if (fd >= 0)
		sys_close(fd);
	return fd == -ESTALE || fd == -ENODATA ? "a record of a lower file that is gone" : NULL;
}

static int check_link(void *ctx, const struct sys_dirent *de)
{
	char path[LAM_NAME_MAX + 16];
	struct part *part = ctx;
	struct check *c = part->c;
	const char *what = NULL;
	struct problem p;
	struct fh fh;
	bool good;
	int r;

	c->result.objects++;
	good = index_name_decode(de->name, &fh) == 0 && link_value_good(part->fd, de->name);
	if (good)
		what = stale(c, de->name, &fh);
	if (good && !what)
		return 0;
	(void)snprintf(path, sizeof(path), "lamina/links/%s", de->name);
	r = problem_begin_work(c, &p, good ? KIND_RECORD_LINK_STALE : KIND_RECORD_LINK, path);
	if (r < 0)
		return r;
	problem_say(&p, "%s", good ? what : "not a record of a lower file's count");
	if (problem_mend(c, &p, true))
		problem_done(c, &p,
			     good ? sys_unlink(part->fd, de->name)
				  : mend_put_aside(c, part->fd, de->name));
	return 0;
}

/* A name in DIR, a directory of ours, that should not be there; it is put aside, or removed for good. */
int records_report(struct part *part, enum kind kind, const char *dir, const char *name,
		   const char *what, bool remove)
{
	char path[LAM_NAME_MAX + 20];
	struct check *c = part->c;
	struct problem p;
	int r;

	(void)snprintf(path, sizeof(path), "lamina/%s/%s", dir, name);
	r = problem_begin_work(c, &p, kind, path);
	if (r < 0)
		return r;
	problem_say(&p, "%s", what);
	if (problem_mend(c, &p, true))
		problem_done(c, &p,
			     remove ? mend_remove(part->fd, name)
				    : mend_put_aside(c, part->fd, name));
	return 0;
}

/* ---- Origins of what has no attributes ---- */

/* Named by the number of an upper inode, a symlink to what it came from. */
static bool origin_good(int fd, const char *name, struct origin_record *ret, uint64_t *ret_ino)
{
	char value[ORIGIN_RECORD_LEN + 2];
	ssize_t n = sys_readlink(fd, name, value, sizeof(value));

	return n > 0 && origin_record_decode(value, (size_t)n, ret) == 0 && strlen(name) == 16 &&
	       parse_u64_base(name, 16, 16, ret_ino) == 0 && *ret_ino;
}

static int check_origin(void *ctx, const struct sys_dirent *de)
{
	struct part *part = ctx;
	struct origin_record rec;
	uint64_t ino;

	part->c->result.objects++;
	if (!origin_good(part->fd, de->name, &rec, &ino))
		return records_report(part, KIND_RECORD_ORIGIN, "origins", de->name,
				      "not a record of an upper object's origin", false);
	return table64_add(&part->c->recorded, ino) ? 0 : -ENOMEM;
}

void records_note(struct check *c, int dirfd, const char *name, uint64_t ino)
{
	struct tslot *slot = c->own_fd < 0 || !ino ? NULL : table64_find(&c->recorded, ino);
	struct origin_record rec;
	CLEANUP_CLOSE int fd = -1;
	char number[32];
	struct statx st;
	uint64_t same;

	if (!slot || slot->number)
		return;
	fd = sys_openat(c->own_fd, "origins", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	(void)snprintf(number, sizeof(number), "%016llx", (unsigned long long)ino);
	/* The number may have been used again, by an object that was born later. */
	slot->number = fd < 0 || sys_statx(dirfd, name, &st) < 0 ||
		       !origin_good(fd, number, &rec, &same) || !rec.upper_birth ||
		       !(st.stx_mask & STATX_BTIME) || birth_generation(&st) == rec.upper_birth;
}

static int check_origin_stale(void *ctx, const struct sys_dirent *de)
{
	struct part *part = ctx;
	struct origin_record rec;
	struct tslot *slot;
	uint64_t ino;

	if (!origin_good(part->fd, de->name, &rec, &ino))
		return 0; /* it was reported */
	slot = table64_find(&part->c->recorded, ino);
	if (!slot || slot->number)
		return 0;
	return records_report(part, KIND_RECORD_ORIGIN_STALE, "origins", de->name,
			      "the origin of an upper object that is gone", true);
}

static int check_orphan(void *ctx, const struct sys_dirent *de)
{
	struct part *part = ctx;

	part->c->result.objects++;
	part->c->leftovers = true;
	return records_report(part, KIND_RECORD_ORPHAN, "orphans", de->name,
			      "an object that was removed while in use", true);
}

static int check_behind(void *ctx, const struct sys_dirent *de)
{
	struct part *part = ctx;

	part->c->result.objects++;
	part->c->leftovers = true; /* it may have got its name, and be counted with it */
	return records_report(part, KIND_RECORD_BEHIND, "behind", de->name,
			      "a copy of a file that was not finished", true);
}

static int check_part(struct check *c, const char *name, dirscan_fn fn)
{
	CLEANUP_CLOSE int fd = sys_openat(c->own_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	struct part part = { c, fd };

	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR ? 0 : fd;
	return dirscan(fd, fn, &part);
}

int records_check(struct check *c)
{
	int r = check_filesystems(c);

	if (r == 0)
		r = check_part(c, "orphans", check_orphan);
	if (r == 0)
		r = check_part(c, "behind", check_behind);
	if (r == 0)
		r = check_part(c, "origins", check_origin);
	return r < 0 ? r : check_part(c, "links", check_link);
}

/* An orphan that is left has its record still. */
static int note_orphan(void *ctx, const struct sys_dirent *de)
{
	struct part *part = ctx;

	records_note(part->c, part->fd, de->name, de->ino);
	return 0;
}

int records_finish(struct check *c)
{
	int r = c->own_fd < 0 ? 0 : special_check(c);

	if (r < 0 || c->own_fd < 0 || c->layers[LAYER_UPPER].fd < 0)
		return r;
	r = check_part(c, "orphans", note_orphan);
	return r < 0 ? r : check_part(c, "origins", check_origin_stale);
}
