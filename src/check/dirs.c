/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directories on the walk: their marks, and what is below them. */
#include "check.h"

#include <errno.h>

static uint64_t root_below(struct check *c, uint16_t layer)
{
	if (c->lone)
		return BELOW_UNKNOWN;
	if (check_is_lowest(c, layer))
		return BELOW_NONE;
	return check_below(c, layer) ? LAM_ROOT_ID : BELOW_UNKNOWN;
}

static uint64_t child_below(struct check *c, uint16_t layer, uint64_t below, const char *name)
{
	struct lam_entry e;
	int r = below_lookup(c, layer, below, name, &e);

	if (r == -ENOENT)
		return BELOW_NONE;
	if (r < 0)
		return BELOW_UNKNOWN;
	return S_ISDIR(e.attr.mode) ? e.id : BELOW_NONE;
}

uint64_t frame_below(struct check *c, uint16_t layer, struct frame *frames, size_t n)
{
	size_t i = n;

	while (i > 1 && frames[i - 1].below == BELOW_LATER)
		i--;
	/* Not before it is asked for: it opens all layers below, which for 500 layers adds up. */
	if (frames[0].below == BELOW_LATER)
		frames[0].below = root_below(c, layer);
	for (; i < n; i++) {
		struct frame *f = &frames[i];
		char name[LAM_NAME_MAX + 1];
		size_t len = f->path_len - f->name_at;

		CHECK(len <= LAM_NAME_MAX);
		memcpy(name, c->path + f->name_at, len);
		name[len] = '\0';
		f->below = child_below(c, layer, frames[i - 1].below, name);
	}
	return frames[n - 1].below;
}

/* ---- Opaque directories ---- */

static bool value_is(int fd, const char *attr, char value)
{
	char got[8];

	return sys_getxattr(fd, "", attr, got, sizeof(got)) == 1 && got[0] == value;
}

/* Marks of others than the kernel's for an opaque directory. */
static int foreign_opaque(struct check *c, struct frame *f, struct object *o, bool *opaque)
{
	bool fuse = o->m.fuse_opaque && value_is(f->fd, XATTR_FUSE_OVL "opaque", 'y');
	bool other = o->layer != LAYER_UPPER && o->m.other_opaque &&
		     value_is(f->fd,
			      c->userxattr ? XATTR_TRUSTED_OVL "opaque" : XATTR_USER_OVL "opaque",
			      'y');
	bool known = *opaque;
	struct problem p;
	int r;

	*opaque = known || fuse || other;
	if (!fuse || known || (o->layer != LAYER_UPPER && !c->lone))
		return 0;
	r = problem_begin(c, &p, KIND_FUSE_OPAQUE, o->layer, NULL);
	if (r < 0)
		return r;
	problem_say(&p, "the directory is opaque by user.fuseoverlayfs.opaque");
	if (!problem_mend(c, &p, true))
		return 0;
	r = mark_set(c, f->fd, "", "opaque", "y", 1);
	if (r == 0)
		r = sys_removexattr(f->fd, "", XATTR_FUSE_OVL "opaque");
	problem_done(c, &p, r);
	return 0;
}

static int dot_opaque(struct check *c, struct frame *f, struct object *o, bool *opaque)
{
	bool known = *opaque;
	struct problem p;
	struct stat st;
	int r = sys_stat(f->fd, DOT_WH_OPAQUE, &st);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (c->config->dot_whiteouts == LAM_OFF)
		return 0;
	*opaque = true;
	if (!check_is_upper(c, o->layer) || whiteout_dot_usual(c))
		return 0;
	r = problem_begin(c, &p, KIND_DOT_OPAQUE, o->layer, DOT_WH_OPAQUE);
	if (r < 0)
		return r;
	problem_say(&p, "the directory is opaque by a file in it");
	if (!problem_mend(c, &p, S_ISREG(st.st_mode) && st.st_size == 0))
		return 0;
	r = known ? 0 : mark_set(c, f->fd, "", "opaque", "y", 1);
	if (r == 0)
		r = sys_unlink(f->fd, DOT_WH_OPAQUE);
	problem_done(c, &p, r);
	return 0;
}

static int opaque_mark(struct check *c, struct frame *f, struct object *o, bool *opaque)
{
	char value[8];
	ssize_t n;

	if (!o->m.opaque)
		return 0;
	n = mark_get(c, f->fd, "", "opaque", value, sizeof(value));
	if (n < 0 && n != -ERANGE)
		return n == -ENODATA ? 0 : (int)n;
	if (n == 1 && value[0] == 'y')
		*opaque = true;
	else if (n == 1 && value[0] == 'x')
		f->opaque_x = true;
	else
		return object_drop_mark(c, o, KIND_OPAQUE_UNKNOWN, "opaque",
					"the mark opaque is neither y nor x");
	return 0;
}

static int check_opaque(struct check *c, struct frame *f, struct object *o, bool *opaque)
{
	int r = opaque_mark(c, f, o, opaque);

	if (r == 0)
		r = foreign_opaque(c, f, o, opaque);
	return r < 0 ? r : dot_opaque(c, f, o, opaque);
}

/* ---- Entering and leaving ---- */

static int enter_root(struct check *c, struct frame *f, struct object *o)
{
	ssize_t n;
	int r;

	if (o->layer != LAYER_UPPER)
		return 0;
	n = o->m.uuid ? mark_get(c, f->fd, "", "uuid", NULL, 0) : FH_UUID_LEN;
	if (n != FH_UUID_LEN) {
		r = object_drop_mark(c, o, KIND_UUID_BAD, "uuid",
				     "the mark uuid is not 16 bytes long");
		if (r < 0)
			return r;
	}
	return o->m.origin && !c->lone ? origin_check_root(c, o) : 0;
}

int dir_enter(struct check *c, uint16_t layer, struct frame *frames, size_t n)
{
	struct frame *f = &frames[n - 1];
	struct object o = {
		.dirfd = f->fd, .name = "", .ino = f->ino, .type = S_IFDIR, .layer = layer
	};
	bool opaque = false;
	int r = marks_read(c, f->fd, "", &o.m);

	if (r == 0 && o.m.any)
		r = object_marks(c, &o);
	if (r < 0)
		return r;
	f->impure = o.m.impure;
	if (n == 1)
		return enter_root(c, f, &o);
	frames[n - 2].origin_child |= o.m.origin;
	if (!check_is_lowest(c, layer)) {
		r = check_opaque(c, f, &o, &opaque);
		if (r == 0 && o.m.redirect && !opaque)
			r = redirect_check_dir(c, frames, n, &o);
		if (r < 0)
			return r;
	}
	if (opaque)
		f->below = BELOW_NONE;
	if (o.m.origin) {
		r = origin_check(c, &o);
		if (r < 0)
			return r;
	}
	if (!check_is_upper(c, layer))
		return 0;
	(void)frame_below(c, layer, frames, n);
	r = redirect_claim(c, f, &o);
	return r < 0 ? r : index_check_dir(c, &o, f->below);
}

int dir_leave(struct check *c, uint16_t layer, struct frame *f)
{
	struct problem p;
	int r;

	if (!check_is_upper(c, layer) || !f->origin_child || f->impure)
		return 0;
	r = problem_begin(c, &p, KIND_IMPURE_MISSING, layer, NULL);
	if (r < 0)
		return r;
	problem_say(&p, "the directory holds copied-up objects and has no mark impure");
	if (problem_mend(c, &p, true))
		problem_done(c, &p, mark_set(c, f->fd, "", "impure", "y", 1));
	return 0;
}
