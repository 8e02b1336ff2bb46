/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Directories with more names than a listing may have are read through a window: the next names in
 * the order of their cookies, found by one pass over each layer.  So memory is bounded, and a whole
 * reading takes as many passes as the directory is times larger than the window.  The directory's lock
 * protects its window.
 */
#include "core.h"

#include <errno.h>

/* A few directories at a time get the large window (some 16 MB when full), so that a million names take
 * four passes; should there be more of them, the others get the small one. */
#define LARGE_WINDOW 262144u
#define SMALL_WINDOW 16384u
#define LARGE_WINDOWS 4u

static void window_empty(struct window *w)
{
	for (unsigned i = 0; i < w->n; i++)
		free(w->names[i].name);
	w->n = 0;
}

static struct window *window_new(struct lam_stack *s)
{
	bool large = atomic_fetch_add(&s->large_windows, 1) < LARGE_WINDOWS;
	unsigned capacity = large ? LARGE_WINDOW : SMALL_WINDOW;
	struct window *w = malloc(sizeof(*w) + capacity * sizeof(w->names[0]));

	if (!large || !w)
		atomic_fetch_sub(&s->large_windows, 1);
	if (w)
		*w = (struct window){ .capacity = capacity };
	return w;
}

void window_drop(struct lam_stack *s, struct dir *dir)
{
	struct window *w = dir->window;

	if (!w)
		return;
	if (w->capacity == LARGE_WINDOW)
		atomic_fetch_sub(&s->large_windows, 1);
	window_empty(w);
	free(w);
	dir->window = NULL;
}

/* Whether W, filled, holds every name of which the hash is HASH. */
static bool window_covers(const struct window *w, uint64_t hash)
{
	return hash > w->after && (w->n < w->capacity || hash <= w->names[w->n - 1].hash);
}

void window_note_added(struct lam_stack *s, struct dir *dir, const char *name)
{
	if (dir->window && window_covers(dir->window, listing_hash(name, strlen(name))))
		window_drop(s, dir);
}

static void sift_down(struct window *w, unsigned i)
{
	for (;;) {
		unsigned big = i, l = 2 * i + 1, r = l + 1;
		struct wname t;

		if (l < w->n && w->names[l].hash > w->names[big].hash)
			big = l;
		if (r < w->n && w->names[r].hash > w->names[big].hash)
			big = r;
		if (big == i)
			return;
		t = w->names[i];
		w->names[i] = w->names[big];
		w->names[big] = t;
		i = big;
	}
}

static void sift_up(struct window *w, unsigned i)
{
	while (i && w->names[(i - 1) / 2].hash < w->names[i].hash) {
		struct wname t = w->names[i];

		w->names[i] = w->names[(i - 1) / 2];
		w->names[(i - 1) / 2] = t;
		i = (i - 1) / 2;
	}
}

struct filling {
	struct window *w;
	bool dot_wh; /* `.wh.` names are marks, not names */
};

/* While it is filled the window is a heap with the largest hash first. */
static int window_name(void *ctx, const struct sys_dirent *de)
{
	const struct filling *f = ctx;
	struct window *w = f->w;
	uint64_t hash = listing_hash(de->name, strlen(de->name));
	char *name;

	if (hash <= w->after || (w->n == w->capacity && hash >= w->names[0].hash))
		return 0;
	if (f->dot_wh && name_is_dot_wh(de->name))
		return 0;
	name = strdup(de->name);
	if (!name)
		return -ENOMEM;
	if (w->n == w->capacity) {
		free(w->names[0].name);
		w->names[0] = (struct wname){ hash, name };
		sift_down(w, 0);
	} else {
		w->names[w->n] = (struct wname){ hash, name };
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

static int window_fill(struct lam_stack *s, const struct dir *dir, struct window *w)
{
	struct filling f = { .w = w, .dot_wh = s->read_dot_wh };
	int r = 0;

	for (unsigned pos = 0; pos <= dir->n_lower && r == 0; pos++) {
		struct rdir *at = pos ? dir->lower[pos - 1] : dir->upper;
		struct fdent *e;

		if (!at)
			continue;
		r = rdir_open(s, at, &e);
		if (r < 0)
			break;
		r = dirscan_locked(e->fd, window_name, &f);
		fdcache_put(&s->fds, e);
	}
	qsort(w->names, w->n, sizeof(w->names[0]), by_hash);
	return r;
}

int window_at(struct lam_stack *s, struct node *d, uint64_t cookie, struct window **ret)
{
	struct dir *dir = d->dir;
	struct window *w;
	int r;

	if (s->watch_lower && cookie < LISTING_HASH_MIN) /* a new reading */
		window_drop(s, dir);
	w = dir->window;
	/* The names up to the cookie must not have been cut off, nor those after it be elsewhere. */
	if (w && cookie >= w->after && (w->n < w->capacity || cookie < w->names[w->n - 1].hash)) {
		*ret = w;
		return 0;
	}
	if (!w)
		w = dir->window = window_new(s);
	if (!w)
		return -ENOMEM;
	window_empty(w);
	w->after = cookie;
	r = window_fill(s, dir, w);
	if (r < 0) {
		window_drop(s, dir);
		return r;
	}
	*ret = w;
	return 0;
}

unsigned window_position(const struct window *w, uint64_t cookie)
{
	unsigned low = 0, high = w->n;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (w->names[mid].hash > cookie)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}
