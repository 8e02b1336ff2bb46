/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What upper holds, by inode number, and which upper object came from which lower one: made by one walk of
 * upper when an id must be resolved from nothing, and kept in step afterwards.  It tells a number that
 * belongs to upper from one that a forged handle made up, and gives generations where a filesystem's
 * handles need them (tmpfs, xfs without privilege; lower layers on them are walked for the same reason).
 * Lock: origins_lock for all of it; building happens under it, since nothing can go on without.
 */
#include "core.h"

#include <errno.h>

#include "base/hash.h"

struct slot {
	uint64_t key; /* 0 is free */
	uint64_t ino;
	uint32_t generation;
};

struct table {
	struct slot *slots;
	size_t mask, count;
};

struct todo {
	struct todo *next;
	struct sys_handle handle;
};

struct uppermap {
	struct table upper;   /* inode number -> generation */
	struct table origins; /* id -> upper inode */
	struct table lower;   /* inode number -> generation, of lower layers that need it */
	bool has_lower;
	struct todo *dirs; /* upper directories with an origin, not yet in ORIGINS */
};

static int table_add(struct table *t, struct slot s);

static int table_grow(struct table *t)
{
	struct table bigger = { .mask = t->slots ? t->mask * 2 + 1 : 63 };

	bigger.slots = calloc(bigger.mask + 1, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; t->slots && i <= t->mask; i++)
		if (t->slots[i].key)
			(void)table_add(&bigger, t->slots[i]); /* has room */
	free(t->slots);
	*t = bigger;
	return 0;
}

static int table_add(struct table *t, struct slot s)
{
	size_t i;

	if (!t->slots || t->count * 2 > t->mask) {
		int r = table_grow(t);

		if (r < 0)
			return r;
	}
	for (i = hash_u64(s.key) & t->mask; t->slots[i].key && t->slots[i].key != s.key;
	     i = (i + 1) & t->mask)
		;
	t->count += !t->slots[i].key;
	t->slots[i] = s;
	return 0;
}

static const struct slot *table_find(const struct table *t, uint64_t key)
{
	if (!t->slots)
		return NULL;
	for (size_t i = hash_u64(key) & t->mask; t->slots[i].key; i = (i + 1) & t->mask)
		if (t->slots[i].key == key)
			return &t->slots[i];
	return NULL;
}

/* ---- A walk of one layer, without recursion ---- */

struct layerwalk {
	struct lam_stack *s;
	uint16_t layer;
	int fd; /* the directory under way */
	struct todo *todo;
	walk_fn fn;
	void *ctx;
};

static int walk_name(void *ctx, const struct sys_dirent *de)
{
	struct layerwalk *w = ctx;
	struct todo *t;
	int r = w->fn(w->ctx, w->fd, de);

	if (r || de->type != DT_DIR)
		return r;
	t = malloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	if (sys_name_to_handle(w->fd, de->name, &t->handle, NULL) < 0) {
		free(t);
		return 0;
	}
	t->next = w->todo;
	w->todo = t;
	return 0;
}

int walk_layer(struct lam_stack *s, uint16_t layer, walk_fn fn, void *ctx)
{
	struct layerwalk w = {
		.s = s, .layer = layer, .fd = s->layers[layer].fd, .fn = fn, .ctx = ctx
	};
	int r = dirscan(w.fd, walk_name, &w);

	while (w.todo) {
		struct todo *t = w.todo;

		w.todo = t->next;
		if (r == 0) {
			w.fd = sys_open_by_handle(s->layers[layer].fd, &t->handle,
						  O_RDONLY | O_DIRECTORY);
			if (w.fd >= 0) {
				r = dirscan(w.fd, walk_name, &w);
				sys_close(w.fd);
			}
		}
		free(t);
	}
	return r;
}

/* ---- Building ---- */

struct build {
	struct lam_stack *s;
	struct uppermap *m;
	struct fsys *fs;
};

static int upper_name(void *ctx, int fd, const struct sys_dirent *de)
{
	struct build *b = ctx;
	struct lam_stack *s = b->s;
	struct found f = { 0 };
	struct slot slot = { .key = de->ino, .ino = de->ino };
	struct sys_handle h;
	struct fh fh;
	int r;

	if (b->fs->needs_generation)
		slot.generation = fsys_generation(s, b->fs, fd, de->name, &h);
	r = table_add(&b->m->upper, slot);
	if (r < 0 || !s->upper_xattr)
		return r;
	if (ovl_get_origin(s, fd, de->name, &fh) < 0 || lookup_origin(s, &fh, &f) < 0)
		return 0;
	if (de->type == DT_DIR) {
		/* Its identity is its lowest part, which the origin (its topmost) does not tell. */
		struct todo *t = malloc(sizeof(*t));

		if (!t)
			return -ENOMEM;
		if (sys_name_to_handle(fd, de->name, &t->handle, NULL) < 0) {
			free(t);
			return 0;
		}
		t->next = b->m->dirs;
		b->m->dirs = t;
		return 0;
	}
	slot.key = id_make(s, f.origin_fs, f.origin_ino, false);
	return table_add(&b->m->origins, slot);
}

static int lower_name(void *ctx, int fd, const struct sys_dirent *de)
{
	struct build *b = ctx;
	struct sys_handle h;
	struct slot slot = { .key = de->ino, .ino = de->ino };

	slot.generation = fsys_generation(b->s, b->fs, fd, de->name, &h);
	return table_add(&b->m->lower, slot);
}

static void map_free(struct uppermap *m)
{
	struct todo *t;

	if (!m)
		return;
	while ((t = m->dirs)) {
		m->dirs = t->next;
		free(t);
	}
	free(m->upper.slots);
	free(m->origins.slots);
	free(m->lower.slots);
	free(m);
}

static int build_upper_locked(struct lam_stack *s)
{
	struct build b = { .s = s, .fs = s->layers[LAYER_UPPER].fs };
	int r = 0;

	if (s->uppermap)
		return 0;
	b.m = calloc(1, sizeof(*b.m));
	if (!b.m)
		return -ENOMEM;
	if (s->has_upper)
		r = walk_layer(s, LAYER_UPPER, upper_name, &b);
	if (r < 0) {
		map_free(b.m);
		return r;
	}
	s->uppermap = b.m;
	return 0;
}

static int build_lower_locked(struct lam_stack *s)
{
	struct build b = { .s = s, .m = s->uppermap };
	int r = 0;

	if (s->uppermap->has_lower)
		return 0;
	for (uint16_t i = 1; i <= s->n_lower && r == 0; i++) {
		b.fs = s->layers[i].fs;
		if (!b.fs->needs_generation)
			continue;
		r = walk_layer(s, i, lower_name, &b);
	}
	s->uppermap->has_lower = r == 0;
	return r;
}

/* ---- Questions ---- */

int uppermap_has(struct lam_stack *s, uint64_t ino, uint32_t *ret_generation)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&s->origins_lock);
	const struct slot *slot;
	int r = build_upper_locked(s);

	if (r < 0)
		return r;
	slot = table_find(&s->uppermap->upper, ino);
	if (slot)
		*ret_generation = slot->generation;
	return slot != NULL;
}

int uppermap_origin(struct lam_stack *s, uint64_t id, uint64_t *ret_ino, uint32_t *ret_generation)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&s->origins_lock);
	const struct slot *slot, *up;
	int r = build_upper_locked(s);

	if (r < 0)
		return r;
	slot = table_find(&s->uppermap->origins, id);
	if (!slot)
		return 0;
	up = table_find(&s->uppermap->upper, slot->ino);
	*ret_ino = slot->ino;
	*ret_generation = up ? up->generation : slot->generation;
	return 1;
}

int uppermap_lower_generation(struct lam_stack *s, uint64_t ino, uint32_t *ret)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&s->origins_lock);
	const struct slot *slot;
	int r = build_upper_locked(s);

	if (r == 0)
		r = build_lower_locked(s);
	if (r < 0)
		return r;
	slot = table_find(&s->uppermap->lower, ino);
	if (slot)
		*ret = slot->generation;
	return slot != NULL;
}

bool uppermap_next_dir(struct lam_stack *s, struct sys_handle *ret)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&s->origins_lock);
	struct todo *t = s->uppermap ? s->uppermap->dirs : NULL;

	if (!t)
		return false;
	*ret = t->handle;
	s->uppermap->dirs = t->next;
	free(t);
	return true;
}

void uppermap_note(struct lam_stack *s, const struct node *n, uint64_t ino, uint32_t generation)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&s->origins_lock);
	struct slot slot = { .key = ino, .ino = ino, .generation = generation };
	const struct slot *old;
	int r;

	if (!s->uppermap)
		return;
	old = table_find(&s->uppermap->upper, ino);
	if (old && !generation)
		slot.generation = old->generation;
	r = table_add(&s->uppermap->upper, slot);
	slot.key = n->id;
	if (r == 0 && !(n->id & ID_BORN_UPPER))
		r = table_add(&s->uppermap->origins, slot);
	/* Any part of a directory leads to it. */
	for (unsigned i = 0; n->dir && i < n->dir->n_lower && r == 0; i++) {
		const struct rdir *low = n->dir->lower[i];

		slot.key = id_make(s, s->layers[low->layer].fs, low->ino, false);
		r = table_add(&s->uppermap->origins, slot);
	}
	if (r < 0) { /* no memory: it is made anew when it is asked next */
		map_free(s->uppermap);
		s->uppermap = NULL;
	}
}

void uppermap_destroy(struct lam_stack *s)
{
	map_free(s->uppermap);
	s->uppermap = NULL;
}
