/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What upper holds, by inode number, and which upper object came from which lower one: made by one walk of
 * upper when an id must be resolved from nothing, and kept in step afterwards.  It tells an inode that
 * belongs to upper from one that a forged handle made up, by number and generation.  Lower layers on
 * filesystems whose handles need generations (tmpfs, xfs without privilege) are walked for these.
 * Lock: origins_lock for all of it; building happens under it, since nothing can go on without, and under
 * the lock of renames.
 */
#include "core.h"

#include <errno.h>

#include "base/hash.h"

/* Inodes of upper stand here as the id that they have as born there, which tells the filesystem too: upper
 * may have others (subvolumes) inside. */
struct slot {
	uint64_t key; /* 0 is free */
	uint64_t value;
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
	struct table upper;   /* inode -> the id of its object, and generation */
	struct table origins; /* id -> upper inode */
	struct table lower;   /* id -> generation, of lower layers that need it */
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

static void table_remove(struct table *t, uint64_t key)
{
	size_t hole;

	if (!t->slots)
		return;
	for (hole = hash_u64(key) & t->mask; t->slots[hole].key != key; hole = (hole + 1) & t->mask)
		if (!t->slots[hole].key)
			return;
	for (size_t i = (hole + 1) & t->mask; t->slots[i].key; i = (i + 1) & t->mask) {
		size_t home = hash_u64(t->slots[i].key) & t->mask;

		/* What follows may move back unless its home lies after the hole. */
		if (((i - home) & t->mask) >= ((i - hole) & t->mask)) {
			t->slots[hole] = t->slots[i];
			hole = i;
		}
	}
	t->slots[hole].key = 0;
	t->count--;
}

/* ---- Building ---- */

struct build {
	struct lam_stack *s;
	struct uppermap *m;
};

/* A directory's identity is its lowest part, which the origin (its topmost) does not tell. */
static int remember_dir(struct uppermap *m, int fd)
{
	struct todo *t = malloc(sizeof(*t));

	if (!t)
		return -ENOMEM;
	if (sys_name_to_handle(fd, "", &t->handle, NULL) < 0) {
		free(t);
		return 0;
	}
	t->next = m->dirs;
	m->dirs = t;
	return 0;
}

/* The id of the lower object that NAME in the directory is the copy of, and is no directory; false: none. */
static bool origin_of(struct lam_stack *s, const struct walked *at, const char *name, uint64_t *ret)
{
	struct origin_record rec;
	struct found f = { 0 };
	struct statx st;
	struct fh fh;

	if (s->upper_xattr && ovl_get_origin(s, at->fd, name, &fh) == 0 &&
	    lookup_origin(s, &fh, &f) == 0) {
		*ret = id_make(s, f.origin_fs, f.origin_ino, false);
		return true;
	}
	if (!s->records_used || sys_statx(at->fd, name, &st) < 0 ||
	    !record_load(s, at->fd, name, &st, &rec))
		return false;
	*ret = rec.id;
	return true;
}

static int upper_name(void *ctx, const struct walked *at, const struct sys_dirent *de)
{
	struct build *b = ctx;
	struct lam_stack *s = b->s;
	const char *name = de ? de->name : "";
	struct slot slot = { 0 }, origin = { 0 };
	struct fh fh;
	int r = 0;

	if (!at->fs || at->type == DT_DIR)
		return 0;
	slot.key = slot.value = id_make(s, at->fs, de ? de->ino : at->ino, true);
	slot.generation = fsys_generation(s, at->fs, at->fd, name, NULL);
	if (de && origin_of(s, at, name, &origin.key)) {
		origin.value = slot.key;
		origin.generation = slot.generation;
		slot.value = origin.key;
		r = table_add(&b->m->origins, origin);
	} else if (!de && s->upper_xattr && ovl_get_origin(s, at->fd, "", &fh) == 0) {
		r = remember_dir(b->m, at->fd);
	}
	return r < 0 ? r : table_add(&b->m->upper, slot);
}

static int lower_name(void *ctx, const struct walked *at, const struct sys_dirent *de)
{
	struct build *b = ctx;
	struct slot slot = { 0 };

	if (!at->fs || !at->fs->needs_generation || at->type == DT_DIR)
		return 0;
	slot.key = id_make(b->s, at->fs, de ? de->ino : at->ino, false);
	slot.generation = fsys_generation(b->s, at->fs, at->fd, de ? de->name : "", NULL);
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

static bool is_mapped(void *ctx, uint64_t ino)
{
	const struct build *b = ctx;
	struct fsys *fs = b->s->layers[LAYER_UPPER].fs;

	return table_find(&b->m->upper, id_make(b->s, fs, ino, true));
}

static int build_upper_locked(struct lam_stack *s)
{
	struct build b = { .s = s };
	bool partial = true;
	int r = 0;

	if (s->uppermap)
		return 0;
	b.m = calloc(1, sizeof(*b.m));
	if (!b.m)
		return -ENOMEM;
	if (s->has_upper)
		r = walk_layer(s, LAYER_UPPER, upper_name, &b, &partial);
	if (r < 0) {
		map_free(b.m);
		return r;
	}
	if (!partial)
		record_sweep(s, is_mapped, &b);
	s->uppermap = b.m;
	return 0;
}

static int build_lower_locked(struct lam_stack *s)
{
	struct build b = { .s = s, .m = s->uppermap };
	int r = 0;

	if (s->uppermap->has_lower)
		return 0;
	for (uint16_t i = 1; i <= s->n_lower && r == 0; i++)
		if (s->layers[i].fs->needs_generation)
			r = walk_layer(s, i, lower_name, &b, NULL);
	s->uppermap->has_lower = r == 0;
	return r;
}

/* Take the lock, with the map there.  It is made under the lock of renames: what moved from where the walk
 * has not been to where it has would be missed for good.  New names are noted by who makes them. */
static int lock_map(struct lam_stack *s)
{
	int r;

	mutex_lock(&s->origins_lock);
	if (s->uppermap)
		return 0;
	mutex_unlock(&s->origins_lock);
	mutex_lock(&s->rename_lock);
	mutex_lock(&s->origins_lock);
	r = build_upper_locked(s);
	mutex_unlock(&s->rename_lock);
	if (r < 0)
		mutex_unlock(&s->origins_lock);
	return r;
}

/* ---- Questions ---- */

int uppermap_has(struct lam_stack *s, struct fsys *fs, uint64_t ino, uint32_t *ret_generation)
{
	const struct slot *slot;
	int r = lock_map(s);

	if (r < 0)
		return r;
	slot = table_find(&s->uppermap->upper, id_make(s, fs, ino, true));
	if (slot)
		*ret_generation = slot->generation;
	mutex_unlock(&s->origins_lock);
	return slot != NULL;
}

int uppermap_origin(struct lam_stack *s, uint64_t id, uint64_t *ret_upper, uint32_t *ret_generation)
{
	const struct slot *slot, *up;
	int r = lock_map(s);

	if (r < 0)
		return r;
	slot = table_find(&s->uppermap->origins, id);
	if (slot) {
		up = table_find(&s->uppermap->upper, slot->value);
		*ret_upper = slot->value;
		*ret_generation = up ? up->generation : slot->generation;
	}
	mutex_unlock(&s->origins_lock);
	return slot != NULL;
}

int uppermap_lower_generation(struct lam_stack *s, uint64_t id, uint32_t *ret)
{
	const struct slot *slot = NULL;
	int r = lock_map(s);

	if (r < 0)
		return r;
	r = build_lower_locked(s);
	if (r == 0)
		slot = table_find(&s->uppermap->lower, id);
	if (slot)
		*ret = slot->generation;
	mutex_unlock(&s->origins_lock);
	return r < 0 ? r : slot != NULL;
}

bool uppermap_next_dir(struct lam_stack *s, struct sys_handle *ret)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&s->origins_lock);
	struct todo *t = s->uppermap ? s->uppermap->dirs : NULL;

	if (!t)
		return false;
	*ret = t->handle;
	s->uppermap->dirs = t->next;
	s->dirs_busy++;
	free(t);
	return true;
}

void uppermap_dir_done(struct lam_stack *s)
{
	mutex_lock(&s->origins_lock);
	s->dirs_busy--;
	mutex_unlock(&s->origins_lock);
	cond_broadcast(&s->dirs_cond);
}

/* Threads that look up a directory for the sake of which they need another one might wait for each other:
 * when all do, none waits any longer. */
void uppermap_await_dirs(struct lam_stack *s, unsigned own)
{
	mutex_lock(&s->origins_lock);
	s->dirs_waiting += own;
	cond_broadcast(&s->dirs_cond);
	while (s->dirs_busy > s->dirs_waiting)
		cond_wait(&s->dirs_cond, &s->origins_lock);
	s->dirs_waiting -= own;
	mutex_unlock(&s->origins_lock);
}

/* ---- Keeping it in step ---- */

/* The key of N's upper inode. */
static uint64_t upper_key(struct lam_stack *s, const struct node *n, uint64_t ino)
{
	if (n->id & ID_BORN_UPPER)
		return n->id;
	return id_make(s, s->layers[LAYER_UPPER].fs, ino, true);
}

void uppermap_note(struct lam_stack *s, const struct node *n, uint64_t ino, uint32_t generation)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&s->origins_lock);
	struct slot slot = { .value = n->id, .generation = generation };
	const struct slot *old;
	int r;

	if (!s->uppermap)
		return;
	slot.key = upper_key(s, n, ino);
	old = table_find(&s->uppermap->upper, slot.key);
	if (old && !generation)
		slot.generation = old->generation;
	r = table_add(&s->uppermap->upper, slot);
	slot.value = slot.key;
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

/* Remove KEY's entry if it leads to the upper inode that is gone. */
static void origin_gone(struct uppermap *m, uint64_t key, uint64_t upper)
{
	const struct slot *slot = table_find(&m->origins, key);

	if (slot && slot->value == upper)
		table_remove(&m->origins, key);
}

void uppermap_gone(struct lam_stack *s, const struct node *n)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&s->origins_lock);
	const struct slot *slot;
	uint64_t upper;

	if (!s->uppermap || !node_is_upper(n))
		return;
	upper = upper_key(s, n, n->real_ino);
	slot = table_find(&s->uppermap->upper, upper);
	/* Its number may have been used again since, and noted: that one stays. */
	if (slot && slot->value == n->id &&
	    (!(n->id & ID_BORN_UPPER) || slot->generation == n->generation))
		table_remove(&s->uppermap->upper, upper);
	origin_gone(s->uppermap, n->id, upper);
	for (unsigned i = 0; n->dir && i < n->dir->n_lower; i++) {
		const struct rdir *low = n->dir->lower[i];

		origin_gone(s->uppermap, id_make(s, s->layers[low->layer].fs, low->ino, false),
			    upper);
	}
}

void uppermap_destroy(struct lam_stack *s)
{
	map_free(s->uppermap);
	s->uppermap = NULL;
}
