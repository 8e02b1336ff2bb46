/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whiteouts of every kind.  Only those of upper can be needless: a lower layer is shown over others that
 * its maker did not know.
 */
#include "check.h"

#include <errno.h>

/* 1: something shows below under NAME; 0: nothing; -EIO: cannot be told. */
static int hides_something(struct check *c, uint16_t layer, struct frame *frames, size_t n,
			   const char *name)
{
	struct lam_entry e;
	int r = below_lookup(c, layer, frame_below(c, layer, frames, n), name, &e);

	if (r == -ENOENT)
		return 0;
	return r < 0 ? -EIO : 1;
}

static int needless(struct check *c, uint16_t layer, struct frame *f, const char *name)
{
	struct problem p;
	int r = problem_begin(c, &p, KIND_WHITEOUT_NEEDLESS, layer, name);

	if (r < 0)
		return r;
	problem_say(&p, "a whiteout, and nothing is below it");
	if (problem_mend(c, &p, true))
		problem_done(c, &p, sys_unlink(f->fd, name));
	return 0;
}

/* A whiteout by a mark, in a directory that does not say that it has such. */
static int unmarked(struct check *c, uint16_t layer, struct frame *f, const char *name)
{
	struct problem p;
	int r = problem_begin(c, &p, KIND_WHITEOUT_UNMARKED, layer, name);

	if (r < 0)
		return r;
	problem_say(&p, "a whiteout by attribute, in a directory that is not marked for them");
	if (!problem_mend(c, &p, true))
		return 0;
	r = c->base_fd >= 0 ? mend_whiteout(c, f->fd, name) : -EROFS;
	if (r < 0) {
		r = mark_set(c, f->fd, "", "opaque", "x", 1);
		f->opaque_x = r == 0;
	}
	problem_done(c, &p, r);
	return 0;
}

int whiteout_check(struct check *c, uint16_t layer, struct frame *frames, size_t n,
		   const char *name, bool by_mark)
{
	struct frame *f = &frames[n - 1];

	if (check_is_lowest(c, layer))
		return 0;
	if (check_is_upper(c, layer)) {
		int r = hides_something(c, layer, frames, n, name);

		if (r == 0)
			return needless(c, layer, f, name);
	}
	return by_mark && !f->opaque_x ? unmarked(c, layer, f, name) : 0;
}

/* ---- Whiteouts by name ---- */

bool whiteout_dot_usual(const struct check *c)
{
	/* Where upper cannot have the kernel's whiteouts, these are what Lamina writes. */
	return c->config->dot_whiteouts == LAM_ON || c->layers[LAYER_UPPER].foreign;
}

/* What stands beside `.wh.NAME` under NAME itself decides what it means. */
static int mend_dot(struct check *c, struct frame *f, const char *wh, const char *target,
		    bool needed)
{
	struct stat st;
	int r = sys_stat(f->fd, target, &st);

	if (r == -ENOENT)
		r = needed ? mend_whiteout(c, f->fd, target) : 0;
	else if (r == 0 && S_ISDIR(st.st_mode)) /* the directory hides what is below */
		r = needed ? sys_openat(f->fd, target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0) : 0;
	if (r > 0) {
		CLEANUP_CLOSE int fd = r;

		r = mark_set(c, fd, "", "opaque", "y", 1);
	}
	return r < 0 ? r : sys_unlink(f->fd, wh);
}

int whiteout_dot(struct check *c, struct frame *frames, size_t n, const char *name)
{
	struct frame *f = &frames[n - 1];
	const char *target = dot_wh_target(name);
	struct problem p;
	struct stat st;
	int needed, r;

	if (whiteout_dot_usual(c) || !strcmp(name, DOT_WH_OPAQUE))
		return 0;
	r = sys_stat(f->fd, name, &st);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = problem_begin(c, &p, KIND_DOT_WHITEOUT, LAYER_UPPER, name);
	if (r < 0)
		return r;
	needed = target ? hides_something(c, LAYER_UPPER, frames, n, target) : -EIO;
	problem_say(&p, "%s",
		    target ? "a whiteout by name" : "a name of AUFS's own, which is not shown");
	/* One that is not empty is somebody's file. */
	if (problem_mend(c, &p, needed >= 0 && S_ISREG(st.st_mode) && st.st_size == 0))
		problem_done(c, &p, mend_dot(c, f, name, target, needed > 0));
	return 0;
}
