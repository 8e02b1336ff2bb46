/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moving names.  What is below the source is hidden by a whiteout in the same system call
 * (RENAME_WHITEOUT, or an exchange with the target's whiteout); a merged directory takes a redirect
 * with it.  docs/design/rename-and-redirect.md
 *
 * Locks: rename_lock when two directories or a directory's place change, then both directories, the
 * ancestor first, then the names of the files at both sides (names.c).
 */
#include "core.h"

#include <errno.h>
#include <stdio.h>

struct side {
	struct node *d; /* directory */
	const char *name;
	struct found f;
	struct node *n;	 /* what is there; NULL: nothing */
	struct fdent *e; /* upper part of D */
	bool lower_positive;
	bool whiteout; /* a whiteout file is in upper */
	/* The name that N is to have, for its node and its directory: once it is moved, nothing may
	 * fail. */
	char *node_name, *dir_name;
};

struct renaming {
	struct lam_stack *s;
	const struct lam_call *call;
	struct side a, b; /* from, to */
	unsigned flags;
	struct drop drop; /* of what B held */
	bool dropping;
	bool whiteouts; /* B holds a directory with whiteouts in it */
	char cleared
		[32];  /* ... or one in use, which is here now, in the work directory; "" if not */
	bool orphaned; /* what B holds has got a link in the orphan area */
};

/* ---- Redirects ---- */

/* Prepend "/NAME" to a path that grows towards the front of a buffer. */
struct path {
	char *buf;
	size_t start, size;
};

static int path_prepend(struct path *p, const char *name, bool slash)
{
	size_t len = strlen(name) + slash;

	if (len > p->start) {
		size_t size = p->size * 2 + len;
		char *buf = malloc(size);

		if (!buf)
			return -ENOMEM;
		memcpy(buf + size - (p->size - p->start), p->buf + p->start, p->size - p->start);
		p->start += size - p->size;
		free(p->buf);
		p->buf = buf;
		p->size = size;
	}
	p->start -= len;
	if (slash)
		p->buf[p->start] = '/';
	memcpy(p->buf + p->start + slash, name, len - slash);
	return 0;
}

/* The redirect that a directory carries already, or NULL. */
static int own_redirect(struct lam_stack *s, struct node *n, char **ret)
{
	struct place p;
	int r;

	*ret = NULL;
	if (!node_is_upper(n))
		return 0;
	r = node_place(s, n, &p);
	if (r < 0)
		return r;
	r = ovl_get_redirect(s, p.dirfd, p.name, ret);
	place_done(s, &p);
	return r == -ENODATA || r == -EOPNOTSUPP ? 0 : r;
}

/* Where N is in the lower layers, from their roots: names upward, or an ancestor's redirect.  The caller
 * holds rename_lock, so no place changes. */
static int absolute_redirect(struct lam_stack *s, struct node *n, char **ret)
{
	struct path p = { .size = 256 };
	struct node *at = n;
	int r = 0;

	p.buf = malloc(p.size);
	if (!p.buf)
		return -ENOMEM;
	p.start = p.size;
	r = path_prepend(&p, "", false);
	p.buf[--p.start] = '\0';
	while (r == 0 && at != s->root) {
		CLEANUP_FREE char *redirect = NULL;
		char name[LAM_NAME_MAX + 1];
		struct node *parent;

		mutex_lock(&at->lock);
		parent = at->parent; /* held by AT, which its child holds */
		strcpy(name, at->name ? at->name : "");
		mutex_unlock(&at->lock);
		if (!parent)
			r = -ESTALE;
		if (r == 0)
			r = own_redirect(s, at, &redirect);
		if (r == 0)
			r = path_prepend(&p, redirect ? redirect : name,
					 !redirect || *redirect != '/');
		if (redirect && *redirect == '/')
			break;
		at = parent;
	}
	if (r == 0) {
		*ret = strdup(p.buf + p.start);
		r = *ret ? 0 : -ENOMEM;
	}
	free(p.buf);
	return r;
}

/* Give a merged directory (or a metadata-only file) the redirect it needs at its new place. */
int rename_set_redirect(struct lam_stack *s, struct node *n, bool same_parent)
{
	CLEANUP_FREE char *have = NULL, *want = NULL;
	struct place p;
	int r = own_redirect(s, n, &have);

	if (r < 0)
		return r;
	if (have && (*have == '/' || same_parent))
		return 0;
	if (same_parent && !(!node_is_dir(n) && n->flags & NF_LOWER_LINKS)) {
		mutex_lock(&n->lock);
		want = n->name ? strdup(n->name) : NULL;
		mutex_unlock(&n->lock);
	} else {
		r = absolute_redirect(s, n, &want);
	}
	if (r == 0)
		r = want ? node_place(s, n, &p) : -ENOMEM;
	if (r != 0)
		return r;
	r = ovl_set(s, p.dirfd, p.name, "redirect", want, strlen(want));
	place_done(s, &p);
	if (r == -ERANGE || r == -E2BIG || r == -ENOSPC || r == -EOPNOTSUPP)
		r = -EXDEV; /* the filesystem cannot hold it: let the caller copy */
	if (r == 0 && n->dir)
		n->dir->never_pure = true;
	return r;
}

static bool needs_redirect(const struct node *n)
{
	return n->dir ? n->dir->n_lower > 0 : n->flags & NF_METACOPY;
}

/* ---- Preparation under the locks ---- */

static bool is_ancestor(struct node *a, struct node *of)
{
	for (struct node *at = of; at; at = at->parent)
		if (at == a)
			return true;
	return false;
}

static int look_side(struct lam_stack *s, struct side *side)
{
	int r = lookup_locked(s, side->d, side->name, &side->f);

	if (r < 0)
		return r;
	side->whiteout = side->f.upper_whiteout || side->f.upper_dead_file;
	if (!side->f.type)
		return 0;
	r = lookup_node_locked(s, side->d, side->name, &side->f, &side->n);
	if (r < 0)
		return r;
	r = lookup_lower_positive(s, side->d, side->name);
	if (r < 0)
		return r;
	side->lower_positive = r;
	return 0;
}

static int check_types(const struct renaming *m)
{
	const struct node *n = m->a.n, *t = m->b.n;

	if (!n)
		return -ENOENT;
	if (m->flags & LAM_RENAME_NOREPLACE && t)
		return -EEXIST;
	if (m->flags & LAM_RENAME_EXCHANGE)
		return t ? 0 : -ENOENT;
	if (t && n->dir && !t->dir)
		return -ENOTDIR;
	if (t && !n->dir && t->dir)
		return -EISDIR;
	return 0;
}

static int check_move(struct renaming *m)
{
	struct node *n = m->a.n, *t = m->b.n;
	int r = check_types(m);

	if (r < 0 || n == t)
		return r;
	if (n->dir && is_ancestor(n, m->b.d))
		return -EINVAL;
	if (t && t->dir && is_ancestor(t, m->a.d))
		return m->flags & LAM_RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	r = attr_check_change(m->s, n, false);
	if (r == 0 && t)
		r = attr_check_change(m->s, t, false);
	if (r == 0)
		r = attr_check_change(m->s, m->a.d, false);
	if (r == 0)
		r = attr_check_change(m->s, m->b.d, !t);
	return r;
}

/* The object at one side gets ready to stand at the other. */
static int prepare_object(struct renaming *m, struct side *from, struct side *to)
{
	struct lam_stack *s = m->s;
	struct node *n = from->n;
	struct place p;
	int r = link_name_locked(s, from->d, from->name, n);

	if (r < 0)
		return r;
	if (from->d != to->d &&
	    (n->flags & NF_ORIGIN || (n->dir && (n->dir->n_lower || n->dir->never_pure)))) {
		r = copyup_set_impure(s, to->d);
		if (r < 0)
			return r;
	}
	if (needs_redirect(n)) {
		r = node_set_location(s, n, from->d, from->name);
		return r < 0 ? r : rename_set_redirect(s, n, from->d == to->d);
	}
	if (!n->dir || n->dir->n_lower || !to->d->dir->n_lower || from->f.opaque)
		return 0;
	r = node_place(s, n, &p);
	if (r < 0)
		return r;
	r = ovl_set(s, p.dirfd, p.name, "opaque", "y", 1);
	place_done(s, &p);
	if (r == 0)
		n->dir->never_pure = true;
	return r < 0 && lookup_lower_positive(s, to->d, to->name) ? -EXDEV : 0;
}

/* A directory may be replaced only when it is empty. */
static int check_target(struct renaming *m)
{
	struct node *t = m->b.n;
	int r;

	if (!t || !t->dir || m->flags & LAM_RENAME_EXCHANGE)
		return 0;
	mutex_lock_second(&t->dir->lock);
	r = dirlist_check_empty(m->s, t, &m->whiteouts);
	if (r == 0)
		dirlist_drop_locked(m->s, t);
	mutex_unlock(&t->dir->lock);
	return r;
}

/* What stands at the target is about to be replaced. */
static int prepare_target(struct renaming *m)
{
	struct lam_stack *s = m->s;
	struct node *t = m->b.n;
	int r;

	if (!t)
		return 0;
	r = drop_begin(s, m->b.d, m->b.name, &m->b.f, t, &m->drop);
	if (r == 0)
		r = drop_keep_way(s, m->b.d, m->b.name, &m->drop);
	if (r == 0)
		r = drop_pin(&m->drop, m->b.e->fd, m->b.name);
	if (r < 0)
		return r;
	m->dropping = true;
	begun_note(s, m->b.e->fd, m->b.name, &m->drop);
	if (!m->drop.in_upper)
		return 0;
	if (t->dir)
		return m->whiteouts || m->drop.in_use
			       ? remove_clear_dir(s, m->b.e->fd, m->b.name, &m->drop, m->cleared)
			       : 0;
	if (m->drop.last && m->drop.in_use && !(t->flags & (NF_INDEXED | NF_ORPHAN))) {
		char orphan[32];

		/* A second link keeps it; the rename then takes the name in one step. */
		work_orphan_name(t->id, orphan);
		r = sys_link(m->b.e->fd, m->b.name, s->orphan_fd, orphan);
		if (r == 0) {
			t->flags |= NF_ORPHAN;
			atomic_fetch_add(&s->stat_orphans, 1);
			m->orphaned = true;
		}
	}
	return r;
}

/* Nothing was moved: what stands at the target is as it was. */
static void undo_target(struct renaming *m)
{
	struct lam_stack *s = m->s;

	if (m->cleared[0])
		remove_clear_undo(s, m->b.e->fd, m->b.name, m->cleared);
	if (m->orphaned)
		(void)work_orphan_drop(s, m->b.n); /* else at the next mount */
	if (m->b.n)
		node_name_gone(m->b.n, m->b.d, m->b.name, false);
}

/* ---- The step itself ---- */

static int move_plain(struct renaming *m)
{
	struct lam_stack *s = m->s;
	int fa = m->a.e->fd, fb = m->b.e->fd, r;

	if (m->b.whiteout && !s->upper_exchange && (m->a.lower_positive || m->a.n->dir)) {
		r = work_whiteout_to_dot(s, fb, m->b.name);
		if (r < 0)
			return r;
		m->b.whiteout = false;
		m->b.f.upper_dot_wh = true;
	}
	if (m->b.whiteout && m->a.lower_positive)
		return sys_rename(fa, m->a.name, fb, m->b.name, RENAME_EXCHANGE);
	if (m->b.whiteout && m->a.n->dir) {
		r = sys_rename(fa, m->a.name, fb, m->b.name, RENAME_EXCHANGE);
		if (r < 0)
			return r;
		/* Moved it is; a whiteout that stays where there is nothing below hides nothing. */
		(void)sys_unlink(fa, m->a.name);
		return 0;
	}
	if (!m->a.lower_positive)
		return sys_rename(fa, m->a.name, fb, m->b.name, 0);
	if (s->upper_rename_wh && !s->write_dot_wh) {
		r = sys_rename(fa, m->a.name, fb, m->b.name, RENAME_WHITEOUT);
		if (r == 0)
			atomic_fetch_add(&s->stat_whiteouts, 1);
		return r;
	}
	if (s->write_dot_wh && !m->a.n->dir) { /* a file stands before its `.wh.` name */
		r = work_whiteout(s, fa, m->a.name);
		return r < 0 ? r : sys_rename(fa, m->a.name, fb, m->b.name, 0);
	}
	/* Two steps where the filesystem has no better: a crash between shows the lower object at its
	 * old name again, beside the new one.  For a directory the other order would hide what is below. */
	r = sys_rename(fa, m->a.name, fb, m->b.name, 0);
	if (r < 0)
		return r;
	r = work_whiteout(s, fa, m->a.name);
	/* Back, where nothing has made way for it. */
	if (r < 0 && !m->dropping)
		(void)sys_rename(fb, m->b.name, fa, m->a.name, 0);
	return r;
}

static int do_move(struct renaming *m)
{
	struct lam_stack *s = m->s;
	bool early;
	int r;

	if (m->flags & LAM_RENAME_EXCHANGE)
		return sys_rename(m->a.e->fd, m->a.name, m->b.e->fd, m->b.name, RENAME_EXCHANGE);
	/* Beside a directory, `.wh.NAME` would hide what is below it if a crash came between. */
	early = m->b.f.upper_dot_wh && m->a.n->dir && m->a.n->dir->n_lower;
	if (early)
		(void)work_unwhiteout(s, m->b.e->fd, m->b.name, true);
	r = move_plain(m);
	if (r < 0 && early)
		(void)work_whiteout(s, m->b.e->fd, m->b.name);
	if (r == 0 && m->b.f.upper_dot_wh)
		(void)work_unwhiteout(s, m->b.e->fd, m->b.name, true);
	return r;
}

/* Our own picture follows: places of nodes and real directories, listings. */
static void settle(struct renaming *m, struct side *from, struct side *to)
{
	struct lam_stack *s = m->s;
	struct node *n = from->n;

	node_take_location(s, n, to->d, TAKE_PTR(from->node_name));
	if (n->dir)
		rdir_move(s, n->dir->upper, to->d->dir->upper, TAKE_PTR(from->dir_name));
	dirlist_note_upper(s, to->d, to->name, node_mode_type(n), !(n->dir && n->dir->n_lower));
}

static int ready_to_settle(struct side *from, const struct side *to)
{
	from->node_name = strdup(to->name);
	from->dir_name = strdup(to->name);
	return from->node_name && from->dir_name ? 0 : -ENOMEM;
}

static void finish(struct renaming *m)
{
	struct lam_stack *s = m->s;
	bool exchange = m->flags & LAM_RENAME_EXCHANGE;

	if (m->cleared[0])
		remove_clear_done(s, m->cleared, &m->drop);
	if (m->dropping && drop_end(s, &m->drop) < 0)
		log_warning("the index could not be told that %s is replaced", QUOTE(m->b.name));
	if (!exchange)
		dirlist_note_removed(s, m->a.d, m->a.name, m->a.lower_positive);
	settle(m, &m->a, &m->b);
	if (exchange)
		settle(m, &m->b, &m->a);
}

/* Once more, under the lock of the file's names: another one of them has changed. */
static int look_again(struct lam_stack *s, struct side *side)
{
	const uint64_t id = side->n ? side->n->id : 0;
	int r;

	node_put(s, side->n);
	side->n = NULL;
	found_done(s, &side->f);
	side->f = (struct found){ 0 };
	r = look_side(s, side);
	/* The directory is locked: another object is there only if upper was changed behind our back. */
	return r == 0 && (side->n ? side->n->id : 0) != id ? -ESTALE : r;
}

static int with_names(struct renaming *m, uint64_t seen)
{
	struct lam_stack *s = m->s;
	bool exchange = m->flags & LAM_RENAME_EXCHANGE;
	struct names_lock names = names_lock(s, m->a.n, m->b.n);
	int r = 0;

	if (names.first && names_changed(s, seen)) {
		r = look_again(s, &m->a);
		if (r == 0)
			r = look_again(s, &m->b);
	}
	if (r == 0)
		r = prepare_object(m, &m->a, &m->b);
	if (r == 0)
		r = exchange ? prepare_object(m, &m->b, &m->a) : prepare_target(m);
	if (r == 0)
		r = do_move(m);
	if (r == 0)
		finish(m);
	else if (m->dropping)
		undo_target(m);
	begun_clear(s, &m->drop);
	names_unlock(&names);
	return r;
}

static int locked(struct renaming *m)
{
	struct lam_stack *s = m->s;
	bool exchange = m->flags & LAM_RENAME_EXCHANGE;
	uint64_t seen = names_seen(s);
	int r;

	if (m->a.d->flags & NF_DEAD || m->b.d->flags & NF_DEAD)
		return -ENOENT;
	r = look_side(s, &m->a);
	if (r == 0)
		r = look_side(s, &m->b);
	if (r == 0)
		r = check_move(m);
	if (r < 0 || m->a.n == m->b.n)
		return r; /* two names of one file: nothing happens, as POSIX says */
	if (!node_is_upper(m->a.n) || (exchange && !node_is_upper(m->b.n)))
		return -EAGAIN; /* another object took the name: that one must be copied up */
	r = check_target(m);
	if (r == 0)
		r = rdir_open(s, m->a.d->dir->upper, &m->a.e);
	if (r == 0)
		r = rdir_open(s, m->b.d->dir->upper, &m->b.e);
	if (r == 0)
		r = ready_to_settle(&m->a, &m->b);
	if (r == 0 && exchange)
		r = ready_to_settle(&m->b, &m->a);
	return r == 0 ? with_names(m, seen) : r;
}

static void side_done(struct lam_stack *s, struct side *side)
{
	fdcache_put(&s->fds, side->e);
	node_put(s, side->n);
	found_done(s, &side->f);
	free(side->node_name);
	free(side->dir_name);
	side->e = NULL;
	side->n = NULL;
	side->node_name = side->dir_name = NULL;
	side->whiteout = side->lower_positive = false;
}

static int with_locks(struct renaming *m)
{
	struct lam_stack *s = m->s;
	struct node *first = m->a.d, *second = m->b.d;
	int r;

	mutex_lock(&s->rename_lock);
	if (first != second && (is_ancestor(second, first) ||
				(!is_ancestor(first, second) && second->id < first->id))) {
		first = m->b.d;
		second = m->a.d;
	}
	mutex_lock(&first->dir->lock);
	if (first != second)
		mutex_lock_second(&second->dir->lock);
	r = locked(m);
	if (first != second)
		mutex_unlock(&second->dir->lock);
	mutex_unlock(&first->dir->lock);
	mutex_unlock(&s->rename_lock);
	drop_unpin(&m->drop);
	if (r == 0 && m->dropping)
		drop_unused(s, m->b.n);
	side_done(s, &m->a);
	side_done(s, &m->b);
	m->dropping = m->orphaned = false;
	m->cleared[0] = '\0';
	return r;
}

/* Whether the object may take the target's name, for all that is known before the locks: nothing is
 * copied for what will be refused. */
static int target_may_go(struct renaming *m, bool dir)
{
	struct lam_stack *s = m->s;
	struct node *t = NULL;
	bool whiteouts;
	int r;

	mutex_lock(&m->b.d->dir->lock);
	r = lookup_entry_locked(s, m->b.d, m->b.name, NULL, &t);
	mutex_unlock(&m->b.d->dir->lock);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = attr_check_change(s, m->b.d, false);
	if (r == 0)
		r = attr_check_change(s, t, false);
	if (r == 0 && dir && t->dir) {
		mutex_lock(&t->dir->lock);
		r = dirlist_check_empty(s, t, &whiteouts);
		mutex_unlock(&t->dir->lock);
	}
	node_put(s, t);
	return r;
}

/* The process before may have moved a directory from here to a whiteout's name, and not come to remove the whiteout
 * that changed places with it.  It hides nothing. */
static void unwhiteout_source(struct renaming *m)
{
	struct lam_stack *s = m->s;
	struct found f = { 0 };
	struct fdent *e;

	if (lookup_locked(s, m->a.d, m->a.name, &f) == 0 && !f.type && f.upper_whiteout &&
	    lookup_lower_positive(s, m->a.d, m->a.name) == 0 &&
	    rdir_open(s, m->a.d->dir->upper, &e) == 0) {
		(void)work_unwhiteout(s, e->fd, m->a.name, false); /* then it stays */
		fdcache_put(&s->fds, e);
	}
	found_done(s, &f);
}

/* Whether a rename of N has something to copy up first. */
static bool copies_anything(const struct renaming *m, const struct node *n)
{
	return !node_is_upper(n) || !node_is_upper(m->a.d) || !node_is_upper(m->b.d) ||
	       n->flags & NF_METACOPY;
}

/* Copy up what one side names, or only see whether it may be moved.  Without locks: it may take long. */
static int copy_side(struct renaming *m, struct side *side, bool check_only)
{
	struct lam_stack *s = m->s;
	struct node *n = NULL;
	int r;

	mutex_lock(&side->d->dir->lock);
	r = lookup_entry_locked(s, side->d, side->name, NULL, &n);
	if (r == -ENOENT && s->takeover && side == &m->a)
		unwhiteout_source(m);
	mutex_unlock(&side->d->dir->lock);
	if (r < 0)
		return r;
	r = attr_check_change(s, n, false);
	if (r == 0)
		r = attr_check_change(s, side->d, false);
	if (r < 0)
		;
	else if (n->dir && n->dir->n_lower && !s->redirect_on)
		r = -EXDEV;
	else if (check_only)
		;
	else if (!(m->flags & LAM_RENAME_EXCHANGE) && copies_anything(m, n))
		r = target_may_go(m, n->dir != NULL);
	if (r < 0 || check_only)
		;
	else if (n->flags & NF_METACOPY && !s->redirect_on)
		r = copyup_data(s, m->call, n, UINT64_MAX);
	else
		r = copyup(s, m->call, n);
	/* An object that was in upper already may be there by another of its names, in another directory. */
	if (r == 0 && !check_only)
		r = copyup(s, m->call, side->d);
	node_put(s, n);
	return r;
}

int lam_rename(struct lam_stack *s, const struct lam_call *call, uint64_t parent, const char *name,
	       uint64_t new_parent, const char *new_name, unsigned flags)
{
	struct renaming m = { .s = s,
			      .call = call,
			      .a.name = name,
			      .b.name = new_name,
			      .flags = flags,
			      .drop.pin = -1 };
	HELD(a, s);
	HELD(b, s);
	int r = 0;

	if (flags & ~(LAM_RENAME_NOREPLACE | LAM_RENAME_EXCHANGE) ||
	    flags == (LAM_RENAME_NOREPLACE | LAM_RENAME_EXCHANGE))
		return -EINVAL;
	r = node_get_dir(s, parent, &a.n);
	if (r == 0)
		r = node_get_dir(s, new_parent, &b.n);
	if (r == 0)
		r = name_check(s, name, false);
	if (r == 0)
		r = name_check(s, new_name, true);
	if (r < 0)
		return r;
	if (s->read_only)
		return -EROFS;
	m.a.d = a.n;
	m.b.d = b.n;
	perm_thread_init();
	for (unsigned tries = 0; tries < 16; tries++) {
		r = attr_check_change(s, b.n, true);
		if (r == 0 && flags & LAM_RENAME_EXCHANGE)
			r = copy_side(&m, &m.b, true);
		if (r == 0)
			r = copy_side(&m, &m.a, false);
		if (r == 0 && flags & LAM_RENAME_EXCHANGE)
			r = copy_side(&m, &m.b, false);
		if (r == 0)
			r = copyup(s, call, b.n);
		if (r == 0)
			r = with_locks(&m);
		if (r != -EAGAIN)
			break;
	}
	return r == -EAGAIN ? -EBUSY : r;
}
