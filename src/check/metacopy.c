/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files with metadata only: the mark's form, and that the data is somewhere below. */
#include "check.h"

#include <errno.h>

#define VALUE_MAX 256u

static bool digest_ok(const struct metacopy *m)
{
	switch (m->algorithm) { /* FS_VERITY_HASH_ALG_* */
	case 0:
		return m->digest_len == 0;
	case 1:
		return m->digest_len == 32;
	case 2:
		return m->digest_len == 64;
	default:
		return false;
	}
}

/* In the data-only layers; 0 or -ENOENT. */
static int find_in_data(struct check *c, const char *path)
{
	for (uint16_t i = (uint16_t)(c->n_lower + 1); i < c->n_layers; i++) {
		CLEANUP_CLOSE int fd = sys_open_beneath(c->layers[i].fd, path + 1, O_PATH, true);
		struct stat st;

		if (fd >= 0 && sys_stat(fd, "", &st) == 0 && S_ISREG(st.st_mode))
			return 0;
	}
	return -ENOENT;
}

/* 0: the data is there; -ENOENT: it is not; -EIO: cannot be told. */
static int find_data(struct check *c, struct frame *frames, size_t n, struct object *o)
{
	CLEANUP_FREE char *path = NULL;
	uint64_t below = frame_below(c, o->layer, frames, n);
	struct lam_entry e;
	size_t len;
	int r = o->m.redirect ? redirect_read(c, o, &path, &len) : -ENODATA;

	if (r == 0)
		r = redirect_check_file(c, o, &path, &len);
	else if (r == -ENODATA)
		r = 0;
	if (r < 0)
		return r;
	if (o->m.redirect && !path)
		return -EIO; /* not valid, which has been found */
	if (!path) {
		r = below_lookup(c, o->layer, below, o->name, &e);
	} else {
		r = below_follow(c, o->layer, below, path, len, &e);
		if (r == -ENOENT && path[0] == '/')
			return find_in_data(c, path);
	}
	if (r == 0)
		return S_ISREG(e.attr.mode) ? 0 : -ENOENT;
	return r == -ENOENT ? r : -EIO;
}

static int bad_mark(struct check *c, struct object *o, bool has_data)
{
	struct problem p;
	int r = problem_begin(c, &p, KIND_METACOPY_BAD, o->layer, o->shown);

	if (r < 0)
		return r;
	problem_say(&p, "the mark metacopy is malformed, or its digest has a wrong length");
	if (problem_mend(c, &p, has_data))
		problem_done(c, &p, mark_set(c, o->dirfd, o->name, "metacopy", "", 0));
	return 0;
}

static int no_data(struct check *c, struct object *o)
{
	CLEANUP_FREE char *path = NULL;
	struct problem p;
	struct fh fh;
	int r = problem_begin(c, &p, KIND_METACOPY_DATALESS, o->layer, o->shown);

	if (r < 0)
		return r;
	problem_say(&p, "the file has metadata only, and its data is in no layer below");
	r = o->m.origin ? mark_get_fh(c, o->dirfd, o->name, "origin", &fh) : -ENODATA;
	if (r == 0)
		r = below_path_of(c, o->layer, &fh, &path);
	if (problem_mend(c, &p, r == 0))
		problem_done(c, &p, mark_set(c, o->dirfd, o->name, "redirect", path, strlen(path)));
	return 0;
}

int metacopy_check(struct check *c, struct frame *frames, size_t n, struct object *o)
{
	uint8_t value[VALUE_MAX];
	struct metacopy m = { 0 };
	ssize_t len = mark_get(c, o->dirfd, o->name, "metacopy", value, sizeof(value));
	bool good;
	int r;

	if (len < 0 && len != -ERANGE)
		return len == -ENODATA ? 0 : (int)len;
	good = len >= 0 && metacopy_decode(value, (size_t)len, &m) == 0 && digest_ok(&m);
	r = find_data(c, frames, n, o);
	if (r < 0 && r != -ENOENT && r != -EIO)
		return r;
	if (!good)
		return bad_mark(c, o, r == 0);
	return r == -ENOENT ? no_data(c, o) : 0;
}
