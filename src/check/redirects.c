/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Redirects: their form, where they lead, and that no two lead to one place. */
#include "check.h"

#include <errno.h>

int redirect_read(struct check *c, const struct object *o, char **ret, size_t *ret_len)
{
	CLEANUP_FREE char *value = malloc(REDIRECT_LIMIT + 1);
	ssize_t n;

	if (!value)
		return -ENOMEM;
	n = mark_get(c, o->dirfd, o->name, "redirect", value, REDIRECT_LIMIT);
	if (n < 0)
		return (int)n;
	value[n] = '\0';
	*ret = TAKE_PTR(value);
	*ret_len = (size_t)n;
	return 0;
}

/* The redirect that the origin of O tells; -ENOENT if it tells none. */
static int from_origin(struct check *c, struct object *o, char **ret)
{
	struct fh fh;
	int r = c->lone || !o->m.origin ? -ENOENT
					: mark_get_fh(c, o->dirfd, o->name, "origin", &fh);

	if (r == 0)
		r = below_path_of(c, o->layer, &fh, ret);
	return r == -ENOMEM ? r : r < 0 ? -ENOENT : 0;
}

/* In this order, so that at no moment something of below shows that did not. */
static int cut_off(struct check *c, struct object *o)
{
	int r = mark_set(c, o->dirfd, o->name, "opaque", "y", 1);

	return r < 0 ? r : mark_remove(c, o->dirfd, o->name, "redirect");
}

/* What is wrong with the form of a redirect. */
static enum kind form_of(int r, const char **ret_text)
{
	*ret_text = r == -EACCES ? "leads through . or .." : "is neither a name nor a path";
	return r == -EACCES ? KIND_REDIRECT_ESCAPE : KIND_REDIRECT_BAD;
}

/* A directory whose redirect cannot be followed. *RET_NEW: the one that was written instead, or NULL. */
static int broken_dir(struct check *c, struct object *o, enum kind kind, const char *what,
		      char **ret_new)
{
	CLEANUP_FREE char *path = NULL;
	struct problem p;
	int r = problem_begin(c, &p, kind, o->layer, o->shown);

	*ret_new = NULL;
	if (r < 0)
		return r;
	problem_say(&p, "%s", what);
	if (!problem_mend(c, &p, true))
		return 0;
	r = from_origin(c, o, &path);
	if (r == 0)
		r = mark_set(c, o->dirfd, o->name, "redirect", path, strlen(path));
	else if (r == -ENOENT)
		r = cut_off(c, o);
	if (r == 0)
		*ret_new = TAKE_PTR(path);
	problem_done(c, &p, r);
	return 0;
}

int redirect_check_dir(struct check *c, struct frame *frames, size_t n, struct object *o)
{
	CLEANUP_FREE char *value = NULL, *new = NULL;
	struct frame *f = &frames[n - 1];
	struct lam_entry e;
	char what[256];
	const char *text;
	enum kind kind;
	size_t len;
	int r = redirect_read(c, o, &value, &len), form;

	if (r < 0)
		return r == -ENODATA ? 0 : r;
	form = redirect_check(value, len);
	if (form < 0) {
		kind = form_of(form, &text);
		f->below = BELOW_NONE;
		(void)snprintf(what, sizeof(what), "the redirect %s %s", QUOTE(value), text);
		r = broken_dir(c, o, kind, what, &new);
	} else {
		r = below_follow(c, o->layer, frame_below(c, o->layer, frames, n - 1), value, len,
				 &e);
		if (r == 0 && S_ISDIR(e.attr.mode)) {
			f->below = e.id;
			return 0;
		}
		f->below = r == 0 || r == -ENOENT ? BELOW_NONE : BELOW_UNKNOWN;
		if (f->below == BELOW_UNKNOWN)
			return 0;
		(void)snprintf(what, sizeof(what), "no directory is where the redirect %s leads to",
			       QUOTE(value));
		r = broken_dir(c, o, KIND_REDIRECT_DANGLING, what, &new);
	}
	if (r == 0 && new &&below_follow(c, o->layer, BELOW_UNKNOWN, new, strlen(new), &e) == 0)
		f->below = e.id;
	return r;
}

int redirect_check_file(struct check *c, struct object *o, char **value, size_t *len)
{
	CLEANUP_FREE char *path = NULL;
	struct problem p;
	const char *text;
	enum kind kind;
	int r = redirect_check(*value, *len);

	if (r == 0)
		return 0;
	kind = form_of(r, &text);
	r = problem_begin(c, &p, kind, o->layer, o->shown);
	if (r < 0)
		return r;
	problem_say(&p, "the redirect %s %s", QUOTE(*value), text);
	r = from_origin(c, o, &path);
	if (r == -ENOMEM)
		return r;
	free(TAKE_PTR(*value));
	if (!problem_mend(c, &p, r == 0))
		return 0;
	r = mark_set(c, o->dirfd, o->name, "redirect", path, strlen(path));
	problem_done(c, &p, r);
	if (r == 0) {
		*len = strlen(path);
		*value = TAKE_PTR(path);
	}
	return 0;
}

/* Whether the directory of the text PATH holds the one under way. */
static bool holds(const struct check *c, const char *path)
{
	size_t len = strlen(path);

	return len < c->path_len && !memcmp(path, c->path, len) &&
	       (len == 0 || c->path[len] == '/');
}

int redirect_claim(struct check *c, struct frame *f, struct object *o)
{
	struct tslot *slot;
	struct problem p;
	bool loop;
	int r;

	if (f->below == BELOW_NONE || f->below == BELOW_UNKNOWN)
		return 0;
	slot = f->below == LAM_ROOT_ID ? NULL : table64_add(&c->claims, f->below);
	if (slot && !slot->text) {
		slot->text = strdup(c->path);
		return slot->text ? 0 : -ENOMEM;
	}
	if (!slot && f->below != LAM_ROOT_ID)
		return -ENOMEM;
	loop = !slot || holds(c, slot->text);
	r = problem_begin(c, &p, loop ? KIND_REDIRECT_LOOP : KIND_REDIRECT_DUPLICATE, o->layer,
			  NULL);
	if (r < 0)
		return r;
	problem_say(&p, "the directory shows what is below of %s, too",
		    QUOTE(slot ? slot->text : "/"));
	if (problem_mend(c, &p, true)) {
		r = cut_off(c, o);
		if (r == 0)
			f->below = BELOW_NONE;
		problem_done(c, &p, r);
	}
	return 0;
}
