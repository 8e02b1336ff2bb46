/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The index: its binding to upper, its entries, and the upper objects that should have one.  The rules
 * are those by which the kernel's overlayfs reads it at a mount.
 */
#include "check.h"

#include <errno.h>

/* A finding about entry NAME. */
static int begin(struct check *c, struct problem *p, enum kind kind, const char *name)
{
	char path[LAM_NAME_MAX + 16];

	(void)snprintf(path, sizeof(path), "index/%s", name);
	return problem_begin_work(c, p, kind, path);
}

enum cure { CURE_UNLINK, CURE_RMDIR, CURE_ASIDE, CURE_WHITEOUT };

/* Report entry NAME, and do away with it as HOW says. */
static int dispose(struct check *c, enum kind kind, const char *name, enum cure how,
		   const char *what)
{
	struct problem p;
	int r = begin(c, &p, kind, name);

	if (r < 0)
		return r;
	problem_say(&p, "%s", what);
	if (!problem_mend(c, &p, true))
		return 0;
	switch (how) {
	case CURE_UNLINK:
		r = sys_unlink(c->index_fd, name);
		break;
	case CURE_WHITEOUT:
		r = mend_whiteout(c, c->index_fd, name);
		break;
	case CURE_RMDIR:
		r = sys_rmdir(c->index_fd, name);
		if (r != -ENOTEMPTY)
			break;
		/* Somebody put something into it. */
		__attribute__((fallthrough));
	case CURE_ASIDE:
		r = mend_put_aside(c, c->index_fd, name);
		break;
	}
	problem_done(c, &p, r);
	return 0;
}

/* ---- Entries of files ---- */

static int write_count(struct check *c, struct problem *p, const char *name, int64_t visible,
		       const struct stat *st)
{
	struct nlink_diff d = { .diff = (int32_t)(visible - (int64_t)st->st_nlink) };
	char value[16];
	size_t len = nlink_encode(&d, value);

	problem_done(c, p, mark_set(c, c->index_fd, name, "nlink", value, len));
	return 0;
}

/* The count of visible names: all of upper's, and at most all of the lower inode's. */
static int check_count(struct check *c, const char *name, const struct stat *st,
		       const struct stat *lower)
{
	const int64_t upper = (int64_t)st->st_nlink - 1;
	const int64_t high = upper + (int64_t)lower->st_nlink;
	const int64_t low = upper > 1 && !c->leftovers ? upper : 1;
	struct nlink_diff d = { 0 };
	struct problem p;
	char value[32];
	int64_t visible;
	ssize_t n = mark_get(c, c->index_fd, name, "nlink", value, sizeof(value));
	int r;

	if (n == -ENODATA)
		return 0;
	if (n < 0 || nlink_decode(value, (size_t)n, &d) < 0) {
		r = begin(c, &p, KIND_NLINK_BAD, name);
		if (r < 0)
			return r;
		problem_say(&p, "the mark nlink is no difference of counts");
		return problem_mend(c, &p, true) ? write_count(c, &p, name, high, st) : 0;
	}
	visible = (int64_t)(d.lower ? lower->st_nlink : st->st_nlink) + d.diff;
	if (st->st_nlink == 1 && visible <= 0 && !d.lower)
		return dispose(c, KIND_INDEX_ORPHAN, name,
			       c->config->nfs_export == LAM_ON ? CURE_WHITEOUT : CURE_UNLINK,
			       "no name of the file is left");
	if (visible >= low && visible <= high)
		return 0;
	r = begin(c, &p, KIND_NLINK_WRONG, name);
	if (r < 0)
		return r;
	problem_say(&p, "the mark nlink makes a link count of %lld, and it must be %lld to %lld",
		    (long long)visible, (long long)low, (long long)high);
	return problem_mend(c, &p, true) ? write_count(c, &p, name, visible < low ? low : high, st)
					 : 0;
}

static int check_file(struct check *c, const char *name, const struct fh *fh, const struct stat *st)
{
	CLEANUP_CLOSE int fd = -1;
	struct stat lower;
	struct fh origin;
	int r = mark_get_fh(c, c->index_fd, name, "origin", &origin);

	if (r < 0 && r != -ENODATA && r != -EINVAL)
		return r;
	if (r < 0 || !fh_equal(fh, &origin))
		return dispose(c, KIND_INDEX_ORIGIN, name, CURE_ASIDE,
			       "the origin of the entry is not what its name says");
	fd = origin_open(c, fh);
	if (fd == -ESTALE || fd == -ENODATA)
		return dispose(c, KIND_INDEX_STALE, name,
			       st->st_nlink > 1 ? CURE_UNLINK : CURE_ASIDE,
			       "the lower object that the entry is named after is gone");
	r = fd < 0 ? fd : sys_stat(fd, "", &lower);
	if (r < 0)
		return r == -EOPNOTSUPP ? 0 : r;
	if ((lower.st_mode & S_IFMT) != (st->st_mode & S_IFMT))
		return dispose(c, KIND_INDEX_TYPE, name, CURE_ASIDE,
			       "the entry is of another type than the lower object");
	return check_count(c, name, st, &lower);
}

/* ---- Entries of directories, and of what was removed ---- */

static int check_whiteout(struct check *c, const char *name, const struct fh *fh)
{
	CLEANUP_CLOSE int fd = origin_open(c, fh);

	if (fd != -ESTALE && fd != -ENODATA)
		return 0;
	return dispose(c, KIND_INDEX_WHITEOUT, name, CURE_UNLINK,
		       "a whiteout of an object that is gone");
}

static int check_dir(struct check *c, const char *name, const struct fh *fh)
{
	const struct clayer *up = &c->layers[LAYER_UPPER];
	CLEANUP_CLOSE int fd = -1;
	struct sys_handle h;
	struct fh_view v;
	struct fh upper, origin;
	int r = mark_get_fh(c, c->index_fd, name, "upper", &upper);

	if (r == -ENODATA || r == -EINVAL)
		return dispose(c, KIND_INDEX_DIR_BAD, name, CURE_RMDIR,
			       "the entry of a directory has no valid mark upper");
	if (r < 0 || !up->can_decode || up->foreign || fh_decode(upper.bytes, upper.len, &v) < 0 ||
	    v.fid_len > sizeof(h.fid))
		return r;
	h.type = v.type;
	h.len = (unsigned)v.fid_len;
	memcpy(h.fid, v.fid, v.fid_len);
	fd = sys_open_by_handle(up->fd, &h, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return dispose(c, KIND_INDEX_DIR_DANGLING, name, CURE_RMDIR,
			       "the directory of upper that the entry names is gone");
	r = mark_get_fh(c, fd, "", "origin", &origin);
	if (r == 0 && fh_equal(fh, &origin))
		return 0;
	return dispose(c, KIND_INDEX_DIR_WRONG, name, CURE_RMDIR,
		       "the directory that the entry names has another origin");
}

static int check_entry(void *ctx, const struct sys_dirent *de)
{
	struct check *c = ctx;
	const char *name = de->name;
	struct stat st;
	struct fh fh;
	bool whiteout;
	int r = sys_stat(c->index_fd, name, &st);

	c->result.objects++;
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	whiteout = S_ISCHR(st.st_mode) && st.st_rdev == 0;
	if (name[0] == '#') {
		struct problem p;

		/* The kernel keeps the inode of its whiteouts under such a name. */
		if (whiteout)
			return 0;
		r = begin(c, &p, KIND_INDEX_TEMP, name);
		if (r < 0)
			return r;
		problem_say(&p, "an object that was being made");
		if (problem_mend(c, &p, true))
			problem_done(c, &p, mend_remove(c->index_fd, name));
		return 0;
	}
	if (index_name_decode(name, &fh) < 0)
		return dispose(c, KIND_INDEX_NAME, name, CURE_ASIDE,
			       "the name is not that of an entry");
	if (whiteout)
		return check_whiteout(c, name, &fh);
	return S_ISDIR(st.st_mode) ? check_dir(c, name, &fh) : check_file(c, name, &fh, &st);
}

/* ---- The binding to upper ---- */

struct belongs {
	struct check *c;
	bool contradicts;
};

/* An index of this upper, moved with it by a tool that kept hard links. */
static int belongs_entry(void *ctx, const struct sys_dirent *de)
{
	struct belongs *b = ctx;
	struct stat st;

	if (sys_stat(b->c->index_fd, de->name, &st) < 0)
		return 0;
	if (S_ISDIR(st.st_mode) ||
	    (S_ISREG(st.st_mode) && st.st_nlink > 1 && !table64_find(&b->c->linked, st.st_ino)))
		b->contradicts = true;
	return 0;
}

static int put_index_aside(struct check *c)
{
	int r = mend_put_aside(c, c->base_fd, "index");

	if (r == 0) {
		sys_close(c->index_fd);
		c->index_fd = -1;
	}
	return r;
}

static int check_binding(struct check *c)
{
	struct belongs b = { .c = c };
	struct fh mine, stored;
	struct problem p;
	int r = origin_make(c, LAYER_UPPER, c->layers[LAYER_UPPER].fd, "", true, &mine);

	if (r < 0 || c->layers[LAYER_UPPER].foreign)
		return 0; /* no index can be kept here */
	r = mark_get_fh(c, c->index_fd, "", "upper", &stored);
	if (r == -ENODATA || (r == 0 && fh_equal(&mine, &stored)))
		return 0;
	if (r < 0 && r != -EINVAL)
		return r;
	r = problem_begin_work(c, &p, KIND_INDEX_FOREIGN, "index");
	if (r < 0)
		return r;
	problem_say(&p, "the mark upper names another directory than upper");
	if (!problem_mend(c, &p, true))
		return 0;
	r = dirscan(c->index_fd, belongs_entry, &b);
	if (r == 0)
		r = b.contradicts ? put_index_aside(c)
				  : mark_set(c, c->index_fd, "", "upper", mine.bytes, mine.len);
	problem_done(c, &p, r);
	return 0;
}

int index_check(struct check *c)
{
	int r;

	if (c->index_fd < 0)
		return 0;
	r = check_binding(c);
	if (r < 0 || c->index_fd < 0)
		return r;
	return dirscan(c->index_fd, check_entry, c);
}

/* ---- Upper objects that should have an entry ---- */

int index_check_link(struct check *c, struct object *o)
{
	char key[INDEX_NAME_MAX + 1];
	struct tslot *slot;
	struct problem p;
	struct stat st;
	struct fh fh;
	int r;

	if (c->index_fd < 0)
		return 0;
	slot = table64_add(&c->linked, o->ino);
	if (!slot)
		return -ENOMEM;
	slot->number = 1;
	if (!o->m.origin || mark_get_fh(c, o->dirfd, o->name, "origin", &fh) < 0)
		return 0;
	index_name_encode(&fh, key);
	r = sys_stat(c->index_fd, key, &st);
	if (r != -ENOENT)
		return r == -ENAMETOOLONG ? 0 : r;
	r = origin_open(c, &fh);
	if (r < 0)
		return r == -ESTALE || r == -ENODATA || r == -EOPNOTSUPP ? 0 : r;
	sys_close(r);
	r = problem_begin(c, &p, KIND_INDEX_MISSING, o->layer, o->shown);
	if (r < 0)
		return r;
	problem_say(&p, "the file was indexed, and is not in the index");
	if (problem_mend(c, &p, true))
		problem_done(c, &p, sys_link(o->dirfd, o->name, c->index_fd, key));
	return 0;
}

/* As the kernel makes one: out of sight, then renamed. */
static int make_dir_entry(struct check *c, int fd, const char *key)
{
	char temp[32];
	struct fh up;
	int r = origin_make(c, LAYER_UPPER, fd, "", true, &up);

	if (r < 0)
		return r;
	mend_temp_name(c, temp);
	r = sys_mkdir(c->index_fd, temp, 0);
	if (r < 0)
		return r;
	r = mark_set(c, c->index_fd, temp, "upper", up.bytes, up.len);
	if (r == 0)
		r = sys_rename(c->index_fd, temp, c->index_fd, key, RENAME_NOREPLACE);
	if (r < 0)
		(void)sys_rmdir(c->index_fd, temp);
	return r;
}

/* The origin must be what is below; STORED gets what it should be. */
static int check_origin_of_dir(struct check *c, struct object *o, uint64_t below, struct fh *stored)
{
	struct fh wanted;
	struct problem p;
	int r;

	if (below_handle(c, o->layer, below, &wanted) < 0 || fh_equal(stored, &wanted))
		return 0;
	r = problem_begin(c, &p, KIND_ORIGIN_MISMATCH, o->layer, o->shown);
	if (r < 0)
		return r;
	problem_say(&p, "the origin is another directory than the one below");
	*stored = wanted;
	if (problem_mend(c, &p, true))
		problem_done(c, &p,
			     mark_set(c, o->dirfd, o->name, "origin", wanted.bytes, wanted.len));
	return 0;
}

int index_check_dir(struct check *c, struct object *o, uint64_t below)
{
	char key[INDEX_NAME_MAX + 1];
	struct problem p;
	struct stat st;
	struct fh fh;
	int r;

	if (c->config->nfs_export != LAM_ON || c->index_fd < 0 || below == BELOW_NONE ||
	    below == BELOW_UNKNOWN || !o->m.origin)
		return 0;
	if (mark_get_fh(c, o->dirfd, o->name, "origin", &fh) < 0)
		return 0;
	r = check_origin_of_dir(c, o, below, &fh);
	if (r < 0)
		return r;
	index_name_encode(&fh, key);
	r = sys_stat(c->index_fd, key, &st);
	if (r != -ENOENT)
		return r == -ENAMETOOLONG ? 0 : r;
	r = problem_begin(c, &p, KIND_INDEX_DIR_MISSING, o->layer, o->shown);
	if (r < 0)
		return r;
	problem_say(&p, "the directory was copied up, and is not in the index");
	if (problem_mend(c, &p, true))
		problem_done(c, &p, make_dir_entry(c, o->dirfd, key));
	return 0;
}
