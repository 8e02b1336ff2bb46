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

static int gather_listing(struct list *ls)
{
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
		r = gather_one(ls, e->name, e->hash);
		if (r < 0)
			return r;
		/* A lookup may drop the listing when memory is short. */
		if (ls->d->dir->listing != l)
			return 0;
	}
	return 0;
}

/* ---- Big directories ---- */

#define WINDOW 16384u

struct window {
	struct lam_stack *s;
	uint64_t after;
	unsigned n; /* a heap with the largest hash first; sorted when filled */
	struct wname {
		uint64_t hash;
		char *name;
	} heap[WINDOW];
};

static void window_empty(struct window *w)
{
	for (unsigned i = 0; i < w->n; i++)
		free(w->heap[i].name);
	w->n = 0;
}

void window_free(struct window *w)
{
	if (w)
		window_empty(w);
	free(w);
}

/* Whether W, filled, holds every name of which the hash is HASH. */
static bool window_covers(const struct window *w, uint64_t hash)
{
	return hash > w->after && (w->n < WINDOW || hash <= w->heap[w->n - 1].hash);
}

void window_note_added(struct dir *dir, const char *name)
{
	struct window *w = dir->window;

	if (w && window_covers(w, listing_hash(name, strlen(name)))) {
		window_free(w);
		dir->window = NULL;
	}
}

static void sift_down(struct window *w, unsigned i)
{
	for (;;) {
		unsigned big = i, l = 2 * i + 1, r = l + 1;
		struct wname t;

		if (l < w->n && w->heap[l].hash > w->heap[big].hash)
			big = l;
		if (r < w->n && w->heap[r].hash > w->heap[big].hash)
			big = r;
		if (big == i)
			return;
		t = w->heap[i];
		w->heap[i] = w->heap[big];
		w->heap[big] = t;
		i = big;
	}
}

static void sift_up(struct window *w, unsigned i)
{
	while (i && w->heap[(i - 1) / 2].hash < w->heap[i].hash) {
		struct wname t = w->heap[i];

		w->heap[i] = w->heap[(i - 1) / 2];
		w->heap[(i - 1) / 2] = t;
		i = (i - 1) / 2;
	}
}

static int window_name(void *ctx, const struct sys_dirent *de)
{
	struct window *w = ctx;
	size_t len = strlen(de->name);
	uint64_t hash = listing_hash(de->name, len);
	char *name;

	if (hash <= w->after || (w->n == WINDOW && hash >= w->heap[0].hash))
		return 0;
	if (w->s->read_dot_wh && name_is_dot_wh(de->name))
		return 0;
	name = strdup(de->name);
	if (!name)
		return -ENOMEM;
	if (w->n == WINDOW) {
		free(w->heap[0].name);
		w->heap[0] = (struct wname){ hash, name };
		sift_down(w, 0);
	} else {
		w->heap[w->n] = (struct wname){ hash, name };
		sift_up(w, w->n++);
	}
	return 0;
}

static int by_hash(const void *a, const void *b)
{
	const struct wname *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return strcmp(x->name, y->name);
}

static int window_fill(struct list *ls, struct window *w)
{
	struct dir *dir = ls->d->dir;
	int r = 0;

	for (unsigned pos = 0; pos <= dir->n_lower && r == 0; pos++) {
		struct rdir *at = pos ? dir->lower[pos - 1] : dir->upper;
		struct fdent *e;

		if (!at)
			continue;
		r = rdir_open(ls->s, at, &e);
		if (r < 0)
			break;
		r = dirscan(e->fd, window_name, w);
		fdcache_put(&ls->s->fds, e);
	}
	qsort(w->heap, w->n, sizeof(w->heap[0]), by_hash);
	return r;
}

/* The directory's window with the names after the cookie; made where there is none that has them.
 * It stays with the directory, for the next reading goes on in it. */
static int window_at(struct list *ls, struct window **ret)
{
	struct dir *dir = ls->d->dir;
	struct window *w = dir->window;
	int r;

	if (w && ls->s->watch_lower && ls->cookie <= COOKIE_DOTDOT) { /* a new reading */
		window_free(w);
		w = dir->window = NULL;
	}
	/* The names up to the cookie must not have been cut off, nor those after it be elsewhere. */
	if (w && ls->cookie >= w->after && (w->n < WINDOW || ls->cookie < w->heap[w->n - 1].hash)) {
		*ret = w;
		return 0;
	}
	if (!w)
		w = dir->window = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	window_empty(w);
	w->s = ls->s;
	w->after = ls->cookie;
	r = window_fill(ls, w);
	if (r < 0) {
		window_free(w);
		dir->window = NULL;
		return r;
	}
	*ret = w;
	return 0;
}

static unsigned window_position(const struct window *w, uint64_t cookie)
{
	unsigned low = 0, high = w->n;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (w->heap[mid].hash > cookie)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static int gather_window(struct list *ls)
{
	struct window *w = NULL;
	int r = window_at(ls, &w);
	unsigned pos;

	if (r < 0)
		return r;
	for (pos = window_position(w, ls->cookie); r == 0 && pos < w->n && ls->b->n < BATCH;
	     pos++) {
		const struct wname *wn = &w->heap[pos];

		/* The same name from several layers, or two names with one hash: one entry each; of
		 * two different names with the same hash the second is lost only if a reading ends
		 * exactly between them. */
		if (pos == 0 || wn->hash != wn[-1].hash || strcmp(wn->name, wn[-1].name))
			r = gather_one(ls, wn->name, wn->hash);
		ls->cookie = wn->hash;
	}
	if (r == 0 && pos == w->n && w->n < WINDOW) {
		ls->b->end = true;
		window_free(w);
		ls->d->dir->window = NULL;
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
			if (!(ls->flags & LAM_LIST_PLUS))
				ls->b->dirents[i].entry = NULL;
			go_on = emit(ctx, &ls->b->dirents[i]);
		}
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
