/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listing directories from a cookie.  Entries are gathered in batches under the directory's lock and
 * given out without it.  A directory with more names than a listing may have is read through a window:
 * the next names in the order of cookies, found by passes over the layers, so memory stays bounded.
 */
#include "core.h"

#include <dirent.h>
#include <errno.h>

#define BATCH 64u
#define COOKIE_DOT 1u
#define COOKIE_DOTDOT 2u

struct batch {
	unsigned n;
	bool end;
	struct lam_dirent dirents[BATCH];
	struct lam_entry entries[BATCH];
	char names[BATCH][LAM_NAME_MAX + 1];
};

struct list {
	struct lam_stack *s;
	struct node *d;
	unsigned flags;
	uint64_t cookie;
	bool names_only; /* too many of them to remember the objects */
	struct batch *b;
};

/* Give a name to the batch: its entry is looked up, as it must be to know its inode number. */
static int gather_one(struct list *ls, const char *name, uint64_t cookie)
{
	struct batch *b = ls->b;
	struct lam_dirent *de = &b->dirents[b->n];
	struct lam_entry *entry = &b->entries[b->n];
	int r;

	ls->cookie = cookie;
	entry->id = 0;
	r = lookup_entry_locked(ls->s, ls->d, name, entry, NULL);
	if (r == -ESTALE) /* something has changed on the way: what is there now? */
		r = lookup_entry_locked(ls->s, ls->d, name, entry, NULL);
	if (r == -ENOENT || r == -ESTALE)
		return 0; /* hidden after all, or gone behind our back */
	if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
		return r;
	*de = (struct lam_dirent){ .cookie = cookie };
	de->name_len = strlen(name);
	memcpy(b->names[b->n], name, de->name_len + 1);
	de->name = b->names[b->n];
	if (r == 0) {
		de->ino = entry->attr.ino;
		de->type = entry->attr.mode & S_IFMT;
		de->entry = entry;
	} else { /* damaged: shown, so that somebody can act on it */
		de->ino = cookie;
	}
	b->n++;
	return 0;
}

/* Whether a name's type and number can be told from its layer's directory alone: a non-directory that is
 * only below, on a layer whose marks could not say otherwise.  An empty file in a layer with something
 * under it may be a whiteout by attribute: those are looked at. */
static bool known_by_name(const struct list *ls, const struct lentry *e)
{
	const struct lam_stack *s = ls->s;
	const struct dir *dir = ls->d->dir;
	const struct rdir *at;
	struct statx st;
	struct fdent *fde;
	int r;

	if (!e->first || !e->ino || e->flags & LE_MAYBE_WH || e->type == DT_DIR ||
	    e->type == DT_UNKNOWN || s->watch_lower || (s->has_upper && s->index_fd < 0))
		return false;
	at = dir->lower[e->first - 1];
	if (!at->true_numbers || s->layers[at->layer].override_name)
		return false;
	if (at->layer == s->n_lower)
		return true;
	if (atomic_load(&at->impure) != 1)
		return false;
	if (e->type != DT_REG)
		return true;
	if (rdir_open(ls->s, dir->lower[e->first - 1], &fde) < 0)
		return false;
	r = sys_statx(fde->fd, e->name, &st);
	fdcache_put(&ls->s->fds, fde);
	return r == 0 && st.stx_size > 0 && st.stx_ino == e->ino;
}

/* Give a name to the batch without looking it up. */
static void gather_bare(struct list *ls, const struct lentry *e)
{
	struct batch *b = ls->b;
	struct lam_dirent *de = &b->dirents[b->n];
	struct fsys *fs = ls->s->layers[ls->d->dir->lower[e->first - 1]->layer].fs;

	ls->cookie = e->hash;
	*de = (struct lam_dirent){
		.cookie = e->hash,
		.name = b->names[b->n],
		.name_len = e->len,
		.ino = id_ino(ls->s, id_make(ls->s, fs, e->ino, false)),
		.type = (uint32_t)e->type << 12,
	};
	memcpy(b->names[b->n], e->name, e->len + 1u);
	b->entries[b->n].id = 0;
	b->n++;
}

static int gather_listing(struct list *ls)
{
	const bool bare = !(ls->flags & LAM_LIST_PLUS) || ls->flags & LAM_LIST_SPARSE;
	const struct listing *l = ls->d->dir->listing;

	while (ls->b->n < BATCH) {
		const struct lentry *e = listing_after(l, ls->cookie);
		int r;

		if (!e) {
			ls->b->end = true;
			return 0;
		}
		if (e->flags & LE_WHITEOUT) {
			ls->cookie = e->hash;
			continue;
		}
		if (bare && known_by_name(ls, e)) {
			gather_bare(ls, e);
			continue;
		}
		r = gather_one(ls, e->name, e->hash);
		if (r < 0)
			return r;
		/* A lookup may drop the listing when memory is short. */
		if (ls->d->dir->listing != l)
			return 0;
	}
	return 0;
}

/* Of a directory without a listing.  Names only: a directory like that would fill the kernel's tables
 * and ours with objects that few callers want; those who do look them up. */
static int gather_window(struct list *ls)
{
	struct window *w = NULL;
	int r = window_at(ls->s, ls->d, ls->cookie, &w);
	unsigned pos;

	ls->names_only = true;
	if (r < 0)
		return r;
	for (pos = window_position(w, ls->cookie); r == 0 && pos < w->n && ls->b->n < BATCH;
	     pos++) {
		const struct wname *wn = &w->names[pos];

		/* The same name from several layers, or two names with one hash: one entry each; of
		 * two different names with the same hash the second is lost only if a reading ends
		 * exactly between them. */
		if (pos == 0 || wn->hash != wn[-1].hash || strcmp(wn->name, wn[-1].name))
			r = gather_one(ls, wn->name, wn->hash);
		ls->cookie = wn->hash;
	}
	if (r == 0 && pos == w->n && w->n < w->capacity) {
		ls->b->end = true;
		window_drop(ls->s, ls->d->dir);
	}
	return r;
}

static int gather_dots(struct list *ls, struct lam_dirent *de)
{
	struct node *n = ls->d;
	bool dotdot = ls->cookie >= COOKIE_DOT;

	*de = (struct lam_dirent){ .name = dotdot ? ".." : ".",
				   .name_len = dotdot ? 2 : 1,
				   .type = S_IFDIR,
				   .cookie = dotdot ? COOKIE_DOTDOT : COOKIE_DOT };
	mutex_lock(&n->lock);
	de->ino = attr_ino(ls->s, dotdot && n->parent ? n->parent : n);
	mutex_unlock(&n->lock);
	ls->cookie = de->cookie;
	return 0;
}

/* What was looked up for its number alone need not stay. */
static void forget_batch(struct list *ls)
{
	for (unsigned i = 0; i < ls->b->n; i++)
		if (ls->b->entries[i].id)
			lam_forget(ls->s, ls->b->entries[i].id);
}

static int list_all(struct list *ls, lam_emit_fn emit, void *ctx)
{
	bool go_on = true;
	int r = 0;

	while (go_on && ls->cookie < COOKIE_DOTDOT) {
		struct lam_dirent de;

		(void)gather_dots(ls, &de);
		go_on = emit(ctx, &de);
	}
	while (go_on && r == 0) {
		ls->b->n = 0;
		mutex_lock(&ls->d->dir->lock);
		r = dirlist_build(ls->s, ls->d, true);
		if (r == 0 && ls->d->dir->listing) {
			dirlist_touch(ls->s, ls->d->dir->listing);
			r = gather_listing(ls);
		} else if (r == 0) {
			r = gather_window(ls);
		}
		mutex_unlock(&ls->d->dir->lock);
		for (unsigned i = 0; i < ls->b->n && go_on; i++) {
			if (ls->names_only || !(ls->flags & LAM_LIST_PLUS))
				ls->b->dirents[i].entry = NULL;
			go_on = emit(ctx, &ls->b->dirents[i]);
		}
		if (ls->names_only)
			forget_batch(ls);
		if (ls->b->end)
			break;
	}
	return r;
}

int lam_readdir(struct lam_stack *s, const struct lam_call *call, uint64_t id, uint64_t cookie,
		unsigned flags, lam_emit_fn emit, void *ctx)
{
	CLEANUP_FREE struct batch *b = malloc(sizeof(*b));
	HELD(d, s);
	struct list ls = { .s = s, .flags = flags, .cookie = cookie, .b = b };
	int r = node_get_dir(s, id, &d.n);

	(void)call;
	nodes_check(s);
	if (r < 0)
		return r;
	if (!b)
		return -ENOMEM;
	if (d.n->flags & NF_DEAD)
		return cookie ? 0 : -ENOENT;
	b->n = 0;
	b->end = false;
	ls.d = d.n;
	if (s->watch_lower) {
		mutex_lock(&d.n->dir->lock);
		dirlist_drop_locked(s, d.n);
		mutex_unlock(&d.n->dir->lock);
	}
	return list_all(&ls, emit, ctx);
}
