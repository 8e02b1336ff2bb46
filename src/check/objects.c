/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Objects that are no directories, and the marks that any object may have wrong. */
#include "check.h"

#include <errno.h>

int object_drop_mark(struct check *c, struct object *o, enum kind kind, const char *mark,
		     const char *what)
{
	struct problem p;
	int r = problem_begin(c, &p, kind, o->layer, o->shown);

	if (r < 0)
		return r;
	problem_say(&p, "%s", what);
	if (problem_mend(c, &p, true))
		problem_done(c, &p, mark_remove(c, o->dirfd, o->name, mark));
	return 0;
}

/* Marks have a meaning only on some types of objects. */
static int misplaced(struct check *c, struct object *o)
{
	const bool dir = S_ISDIR(o->type), file = S_ISREG(o->type);
	const bool root = dir && !c->path_len && !o->shown;
	const struct {
		const char *mark;
		bool wrong;
	} all[] = {
		{ "opaque", o->m.opaque && (!dir || root) },
		{ "redirect", o->m.redirect && ((!dir && !file) || root) },
		{ "metacopy", o->m.metacopy && !file },
		{ "impure", o->m.impure && !dir },
		{ "whiteout", o->m.whiteout && !file },
		{ "nlink", o->m.nlink && dir },
		{ "protattr", o->m.protattr && !dir && !file },
		{ "upper", o->m.upper },
		{ "uuid", o->m.uuid && !root },
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		char what[80];
		int r;

		if (!all[i].wrong)
			continue;
		(void)snprintf(what, sizeof(what), "the mark %s has no meaning here", all[i].mark);
		r = object_drop_mark(c, o, KIND_MARK_MISPLACED, all[i].mark, what);
		if (r < 0)
			return r;
	}
	return 0;
}

static int foreign(struct check *c, struct object *o)
{
	struct problem p;
	int r = 0;

	if (o->m.fuse_origin) {
		r = problem_begin(c, &p, KIND_FUSE_ORIGIN, o->layer, o->shown);
		if (r < 0)
			return r;
		problem_say(&p, "user.fuseoverlayfs.origin tells where the object comes from");
		if (problem_mend(c, &p, true))
			problem_done(c, &p,
				     sys_removexattr(o->dirfd, o->name, XATTR_FUSE_OVL "origin"));
	}
	if (o->m.fuse_other) {
		r = problem_begin(c, &p, KIND_FUSE_MARK, o->layer, o->shown);
		if (r < 0)
			return r;
		problem_say(&p, "an attribute of fuse-overlayfs that nobody else reads");
		(void)problem_mend(c, &p, false);
	}
	return r;
}

static int override(struct check *c, struct object *o)
{
	char value[OVERRIDE_STAT_MAX];
	struct override_stat stat;
	struct problem p;
	ssize_t n;
	int r;

	n = sys_getxattr(o->dirfd, o->name, o->m.override_name, value, sizeof(value));
	if (n == -ENODATA || (n >= 0 && override_stat_decode(value, (size_t)n, &stat) == 0))
		return 0;
	r = problem_begin(c, &p, KIND_OVERRIDE_BAD, o->layer, o->shown);
	if (r < 0)
		return r;
	problem_say(&p, "%s is not owner, group, mode and type", o->m.override_name);
	(void)problem_mend(c, &p, false);
	return 0;
}

static int protattr(struct check *c, struct object *o)
{
	char value[64];
	unsigned attrs;
	ssize_t n = mark_get(c, o->dirfd, o->name, "protattr", value, sizeof(value));

	if (n == -ENODATA || (n >= 0 && protattr_decode(value, (size_t)n, &attrs) == 0))
		return 0;
	return object_drop_mark(c, o, KIND_PROTATTR_BAD, "protattr",
				"the mark protattr is not made of the letters a and i");
}

int object_marks(struct check *c, struct object *o)
{
	struct problem p;
	int r = o->m.override ? override(c, o) : 0;

	/* What a lower layer has beside that is of the time when it was an upper one. */
	if (r < 0 || (o->layer != LAYER_UPPER && !c->lone))
		return r;
	r = misplaced(c, o);
	if (r == 0 && o->m.protattr && (S_ISREG(o->type) || S_ISDIR(o->type)))
		r = protattr(c, o);
	if (r == 0)
		r = foreign(c, o);
	if (r < 0 || !o->m.unknown[0])
		return r;
	r = problem_begin(c, &p, KIND_MARK_UNKNOWN, o->layer, o->shown);
	if (r < 0)
		return r;
	problem_say(&p, "the mark %s is not known", QUOTE(o->m.unknown));
	(void)problem_mend(c, &p, false);
	return 0;
}

/* ---- Whiteouts ---- */

static int character_device(struct check *c, struct frame *frames, size_t n, const struct object *o)
{
	struct stat st;
	int r = sys_stat(o->dirfd, o->name, &st);

	if (r < 0)
		return r == -ENOENT ? 1 : r;
	if (!S_ISCHR(st.st_mode) || st.st_rdev != 0)
		return 0;
	r = whiteout_check(c, o->layer, frames, n, o->name, false);
	return r < 0 ? r : 1;
}

static int marked_whiteout(struct check *c, struct frame *frames, size_t n, struct object *o)
{
	struct stat st;
	int r = sys_stat(o->dirfd, o->name, &st);

	if (r < 0)
		return r == -ENOENT ? 1 : r;
	if (st.st_size == 0) {
		r = whiteout_check(c, o->layer, frames, n, o->name, true);
		return r < 0 ? r : 1;
	}
	if (check_is_lowest(c, o->layer))
		return 0;
	return object_drop_mark(c, o, KIND_WHITEOUT_NOT_EMPTY, "whiteout",
				"a file that is not empty is marked as a whiteout");
}

/* ---- All of it ---- */

int object_check(struct check *c, uint16_t layer, struct frame *frames, size_t n, uint8_t type,
		 const struct sys_dirent *de)
{
	struct frame *f = &frames[n - 1];
	struct object o = { .dirfd = f->fd,
			    .name = de->name,
			    .shown = de->name,
			    .ino = de->ino,
			    .type = (uint32_t)type << 12,
			    .layer = layer };
	int r = 0;

	if (check_is_upper(c, layer))
		records_note(c, o.dirfd, o.name, o.ino);
	if (name_is_dot_wh(o.name) && c->config->dot_whiteouts != LAM_OFF)
		return check_is_upper(c, layer) ? whiteout_dot(c, frames, n, o.name) : 0;
	if (S_ISCHR(o.type)) {
		r = character_device(c, frames, n, &o);
		if (r)
			return r < 0 ? r : 0;
	}
	r = marks_read(c, o.dirfd, o.name, &o.m);
	if (r < 0 || !o.m.any)
		return r;
	if (o.m.whiteout && S_ISREG(o.type)) {
		r = marked_whiteout(c, frames, n, &o);
		if (r)
			return r < 0 ? r : 0;
	}
	f->origin_child |= o.m.origin;
	r = object_marks(c, &o);
	if (r == 0 && o.m.origin)
		r = origin_check(c, &o);
	if (r == 0 && o.m.metacopy && S_ISREG(o.type))
		r = metacopy_check(c, frames, n, &o);
	if (r == 0 && o.m.nlink && layer == LAYER_UPPER)
		r = index_check_link(c, &o);
	return r;
}
