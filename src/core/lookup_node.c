/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From what a lookup found to the node that stands for it, and the public lookups.  The identity of an
 * object is the inode that gave birth to it: the origin of a copied-up file, the lowest part of a
 * merged directory (docs/design/identity.md).
 */
#include "core.h"

#include <errno.h>

#include "base/hash.h"

/* The generation of the real inode that gives the identity. */
static uint32_t bottom_generation(struct lam_stack *s, struct fsys *fs, const struct found *f)
{
	struct rdir *bottom = f->n_lower ? f->lower[f->n_lower - 1] : f->upper;
	uint32_t generation;
	struct fdent *e;

	if (!bottom->parent || rdir_open(s, bottom->parent, &e) < 0)
		return 0;
	generation = fsys_generation(s, fs, e->fd, bottom->name, NULL);
	fdcache_put(&s->fds, e);
	return generation;
}

/* The part of a directory that is in LAYER, or NULL. */
static struct rdir *dir_at_layer(const struct node *d, uint16_t layer)
{
	if (layer == LAYER_UPPER)
		return d->dir->upper;
	for (unsigned i = 0; i < d->dir->n_lower; i++)
		if (d->dir->lower[i]->layer == layer)
			return d->dir->lower[i];
	return NULL;
}

static uint32_t file_generation(struct lam_stack *s, struct node *d, const char *name,
				struct fsys *fs, const struct found *f)
{
	struct rdir *at = dir_at_layer(d, f->layer);
	uint32_t generation;
	struct fdent *e;

	if (!at || rdir_open(s, at, &e) < 0)
		return 0;
	generation = fsys_generation(s, fs, e->fd, name, NULL);
	fdcache_put(&s->fds, e);
	return generation;
}

/* The filesystem of a real directory. */
static struct fsys *fs_of_dir(struct lam_stack *s, struct rdir *dir, dev_t dev)
{
	struct fsys *fs = fsys_by_dev(s, dev);
	struct fdent *e;
	struct statx st;

	if (fs || !dir || rdir_open(s, dir, &e) < 0)
		return fs;
	if (sys_statx(e->fd, "", &st) == 0)
		fs = fsys_met(s, e->fd, &st, s->layers[dir->layer].fs);
	fdcache_put(&s->fds, e);
	return fs;
}

/* Without an index a lower hard link is broken when it is copied up: each of its names is an object of
 * its own from the start, numbered by where it is. */
static uint64_t id_of_name(struct lam_stack *s, struct fsys *fs, const struct node *d,
			   const char *name)
{
	uint64_t key = hash_u64(d->id) ^ hash_bytes(name, strlen(name));

	return id_make(s, fs, key | 1ull << 63, false);
}

/* The id of what was found; 0 if there are too many filesystems. */
static uint64_t id_of(struct lam_stack *s, const struct node *d, const char *name, struct found *f)
{
	struct fsys *fs;

	if (S_ISDIR(f->type)) {
		if (f->origin_known && !f->n_lower)
			return id_make(s, f->origin_fs, f->origin_ino, false);
		fs = fs_of_dir(s, f->n_lower ? f->lower[f->n_lower - 1] : f->upper, f->bottom_dev);
		return fs ? id_make(s, fs, f->bottom_ino, !f->n_lower) : 0;
	}
	if (f->origin_known)
		return id_make(s, f->origin_fs, f->origin_ino, false);
	fs = fs_of_dir(s, dir_at_layer(d, f->layer), statx_dev(&f->st));
	if (fs && f->lower_links && s->has_upper && s->index_fd < 0) {
		f->by_name = true;
		return id_of_name(s, fs, d, name);
	}
	if (!fs)
		return 0;
	if (f->layer != LAYER_UPPER)
		return id_make(s, fs, f->st.stx_ino, false);
	return alias_of(s, id_make(s, fs, f->st.stx_ino, true));
}

/* The generation of a lower inode that is known by its handle: a copied-up object's origin. */
static uint32_t birth_by_handle(const struct found *f)
{
	CLEANUP_CLOSE int fd = sys_open_by_handle(f->origin_fs->mount_fd, &f->origin_handle,
						  O_PATH);
	struct statx st;

	if (fd < 0 || sys_statx(fd, "", &st) < 0)
		return 0; /* gone from below: nobody has a handle of it either */
	return birth_generation(&st);
}

/* Found through the index: the lower inode of this name is the origin. */
static uint32_t generation_below(struct lam_stack *s, struct node *d, const char *name,
				 const struct found *f)
{
	for (unsigned i = 0; i < d->dir->n_lower; i++) {
		struct fdent *e;
		uint32_t g;

		if (rdir_open(s, d->dir->lower[i], &e) < 0)
			continue;
		g = fsys_generation(s, f->origin_fs, e->fd, name, NULL);
		fdcache_put(&s->fds, e);
		if (g)
			return g;
	}
	return 0;
}

/* Lower objects get theirs from the birth time where there is one, which costs nothing: below, no number is
 * used again while we look.  In upper one may be, within a tick of the clock, so it has to be the inode's
 * own. */
static uint32_t generation_of(struct lam_stack *s, struct node *d, const char *name,
			      struct found *f)
{
	bool dir = S_ISDIR(f->type);
	struct fsys *fs;

	if (f->recorded)
		return f->origin_generation;
	if (f->origin_known && !f->n_lower) {
		if (f->origin_fs->births)
			return f->index_only ? birth_generation(&f->lower_st) : birth_by_handle(f);
		return f->index_only ? generation_below(s, d, name, f) : f->origin_generation;
	}
	fs = fsys_by_dev(s, dir ? f->bottom_dev : statx_dev(&f->st));
	if (!fs)
		return 0;
	if (fs->births && (dir ? f->n_lower > 0 : f->layer != LAYER_UPPER))
		return dir ? f->bottom_birth : birth_generation(&f->st);
	return dir ? bottom_generation(s, fs, f) : file_generation(s, d, name, fs, f);
}

/* Give a new node what was found; parts move from F to it. */
static int fill_node(struct node *n, struct found *f)
{
	struct node_extra *x = NULL;

	if (f->metacopy || f->indexed || f->nlink_adjust) {
		x = node_extra(n);
		if (!x)
			return -ENOMEM;
	}
	n->layer = f->layer;
	n->real_ino = f->st.stx_ino;
	if (f->protattr)
		n->flags |= NF_PROTATTR;
	if (f->by_name)
		n->flags |= NF_BY_NAME;
	if (n->dir) {
		n->dir->upper = TAKE_PTR(f->upper);
		n->dir->lower = TAKE_PTR(f->lower);
		n->dir->n_lower = f->n_lower;
		n->dir->never_pure = f->opaque || f->has_redirect || f->origin_known;
		f->n_lower = 0;
		return 0;
	}
	if (f->lower_links)
		n->flags |= NF_LOWER_LINKS;
	if (f->origin_known && f->layer == LAYER_UPPER)
		n->flags |= NF_ORIGIN;
	if (!x)
		return 0;
	x->nlink_adjust = f->nlink_adjust;
	if (f->indexed) {
		n->flags |= NF_INDEXED;
		x->index_name = TAKE_PTR(f->index_name);
	}
	if (f->metacopy) {
		n->flags |= NF_METACOPY;
		x->data_dir = TAKE_PTR(f->data_dir);
		x->data_name = TAKE_PTR(f->data_name);
		x->data_path = TAKE_PTR(f->data_path);
		x->data_after = f->layer;
	}
	return 0;
}

/* Whether the node's own real inode is still where it was: then F is another object. */
static bool still_there(struct lam_stack *s, struct node *n)
{
	struct statx st;

	return node_statx(s, n, &st) == 0;
}

/* Another upper part than before: made by somebody else.  Whoever holds the directory's lock may be using
 * the old one, and has to be let finish: then the lookup is to be repeated. */
static int replace_upper_dir(struct lam_stack *s, struct node *n, struct found *f)
{
	struct rdir *old;

	if (!mutex_trylock(&n->dir->lock))
		return -ESTALE;
	dirlist_drop_locked(s, n);
	mutex_lock(&n->lock);
	old = n->dir->upper;
	n->dir->upper = TAKE_PTR(f->upper);
	n->layer = LAYER_UPPER;
	n->real_ino = n->dir->upper->ino;
	mutex_unlock(&n->lock);
	mutex_unlock(&n->dir->lock);
	rdir_put(s, old);
	return 0;
}

/* ---- Lower parts that come and go (watch_lower) ---- */

static bool same_parts(const struct dir *dir, const struct found *f)
{
	if (dir->n_lower != f->n_lower)
		return false;
	for (unsigned i = 0; i < f->n_lower; i++) {
		const struct rdir *a = dir->lower[i], *b = f->lower[i];

		if (a->ino != b->ino || a->layer != b->layer || a->parent != b->parent ||
		    strcmp(a->name, b->name) != 0)
			return false;
	}
	return true;
}

/* Whether what the node was made from is where it was: then F is another directory, with a part in common. */
static bool part_in_place(struct lam_stack *s, struct node *n, struct node *d, const char *name)
{
	struct rdir *part = n->dir->n_lower ? n->dir->lower[0] : NULL;
	struct fdent *e;
	struct stat st;
	bool here;
	int r;

	mutex_lock(&n->lock);
	here = n->parent == d && n->name && !strcmp(n->name, name);
	mutex_unlock(&n->lock);
	if (here || !part || !part->parent || rdir_open(s, part->parent, &e) < 0)
		return false;
	r = sys_stat(e->fd, part->name, &st);
	fdcache_put(&s->fds, e);
	return r == 0 && st.st_ino == part->ino;
}

/* Give N the lower parts that were found; the old ones stay for who is reading them.  A directory that is busy is
 * seen as it was until the next lookup. */
static int replace_parts(struct lam_stack *s, struct node *n, struct found *f)
{
	struct dir *dir = n->dir;
	uint16_t had = dir->n_lower, has = f->n_lower, room = had > has ? had : has;
	struct old_parts *old;
	struct rdir **lower;

	if (!mutex_trylock(&dir->lock))
		return 0;
	old = malloc(sizeof(*old));
	lower = calloc(room, sizeof(*lower));
	if (!old || !lower) {
		mutex_unlock(&dir->lock);
		free(old);
		free(lower);
		return -ENOMEM;
	}
	/* A reader of the old number must find that many in the new array. */
	for (unsigned i = 0; i < room; i++)
		lower[i] = rdir_ref(i < has ? f->lower[i] : dir->lower[i]);
	dirlist_drop_locked(s, n);
	mutex_lock(&n->lock);
	*old = (struct old_parts){
		.next = dir->old,
		.lower = dir->lower,
		.n = (uint16_t)(had + dir->n_spare),
	};
	dir->lower = lower;
	dir->n_lower = has;
	dir->n_spare = (uint16_t)(room - has);
	dir->old = old;
	if (!dir->upper && has) {
		n->layer = f->layer;
		n->real_ino = f->st.stx_ino;
	}
	mutex_unlock(&n->lock);
	mutex_unlock(&dir->lock);
	return 0;
}

/* A known node, seen again.  0, -ESTALE; 1 if what was found is really another object that only claims the same
 * origin (a copy of upper's tree made with its attributes). */
static int refresh_node(struct lam_stack *s, struct node *n, struct node *d, const char *name,
			struct found *f)
{
	bool same;

	if (n->dir) {
		struct rdir *upper;

		if (s->watch_lower && !same_parts(n->dir, f) && !part_in_place(s, n, d, name)) {
			int r = replace_parts(s, n, f);

			if (r < 0)
				return r;
		}

		/* Else lower layers do not change: another stack is another directory, which shares only
		 * its lowest part with this one (a redirect in a lower layer to what is still visible). */
		if (f->n_lower && n->dir->n_lower &&
		    (f->lower[0]->ino != n->dir->lower[0]->ino ||
		     f->lower[0]->layer != n->dir->lower[0]->layer))
			return 1;
		mutex_lock(&n->lock);
		upper = n->dir->upper;
		same = !f->upper || (upper && upper->ino == f->upper->ino);
		mutex_unlock(&n->lock);
		if (same)
			return 0;
		if (upper && still_there(s, n))
			return 1;
		return replace_upper_dir(s, n, f);
	}
	mutex_lock(&n->lock);
	if (f->layer != LAYER_UPPER) {
		const bool here = n->parent && n->parent->id == d->id && n->name &&
				  !strcmp(n->name, name);
		const bool upper = n->layer == LAYER_UPPER;

		/* One that was resolved from its number did not know its layer. */
		if (!upper)
			n->layer = f->layer;
		mutex_unlock(&n->lock);
		/* Upper's part, if the node has one, was made since.  But a copy with another name is one
		 * that was moved away, and no whiteout is in its place: a crash came between. */
		return upper && !here && !f->lower_links && still_there(s, n) ? 1 : 0;
	}
	same = n->layer == LAYER_UPPER && n->real_ino == f->st.stx_ino;
	mutex_unlock(&n->lock);
	if (same)
		return 0;
	if (n->layer == LAYER_UPPER && still_there(s, n))
		return 1;
	fdcache_drop(&s->fds, &n->fde);
	mutex_lock(&n->lock);
	n->layer = LAYER_UPPER;
	n->real_ino = f->st.stx_ino;
	if (!f->indexed)
		n->flags &= (uint16_t)~NF_INDEXED;
	mutex_unlock(&n->lock);
	return 0;
}

/* The id of what shares its origin with another object. */
static uint64_t id_of_other(struct lam_stack *s, const struct node *d, const char *name,
			    struct found *f)
{
	log_info("%s has the same origin as another object: it gets an inode of its own",
		 QUOTE(name));
	if (f->n_lower && !f->upper) {
		f->by_name = true;
		return id_of_name(s, s->layers[f->lower[0]->layer].fs, d, name);
	}
	if (!S_ISDIR(f->type) && f->layer != LAYER_UPPER) {
		f->by_name = true;
		return id_of_name(s, s->layers[f->layer].fs, d, name);
	}
	return id_make(s, s->layers[LAYER_UPPER].fs, f->upper ? f->upper->ino : f->st.stx_ino,
		       true);
}

int lookup_node_locked(struct lam_stack *s, struct node *d, const char *name, struct found *f,
		       struct node **ret)
{
	uint64_t id = id_of(s, d, name, f);
	uint32_t generation = 0;
	struct node *n;
	bool is_new;
	int r = 0, seen = 0;

	if (!id)
		return -EMFILE;
	n = node_find(s, id);
	if (n && n->flags & NF_DEAD && !(n->flags & NF_ORPHAN)) { /* its number is used again */
		node_retire(s, n);
		node_put(s, n);
		n = NULL;
	}
	if (n && n->type != f->type >> 12) {
		node_put(s, n);
		n = NULL;
		if (f->origin_known) { /* the origin's number was used again: no claim to it */
			f->origin_known = false;
			id = id_of(s, d, name, f);
			if (!id)
				return -EMFILE;
		}
	} else if (n) {
		seen = refresh_node(s, n, d, name, f);
	}
	if (seen < 0) {
		node_put(s, n);
		return seen;
	}
	if (seen > 0) {
		node_put(s, n);
		n = NULL;
		id = id_of_other(s, d, name, f);
	}
	if (!n) {
		generation = generation_of(s, d, name, f);
		n = node_obtain(s, id, f->type, &is_new);
		if (n && n->type != f->type >> 12) { /* of an object that went behind our back */
			node_put(s, n);
			n = node_fresh(s, id, f->type, &is_new);
		}
		if (!n)
			return -ENOMEM;
		/* New nodes are made only under the lock of the directory that holds them, but one
		 * with several names may be met in two directories at once: the shard's lock and
		 * the node's decide who fills it. */
		mutex_lock(&n->lock);
		if (!n->real_ino) {
			n->generation = generation;
			r = fill_node(n, f);
		}
		mutex_unlock(&n->lock);
		if (r < 0) /* there is nothing in it: nobody may find it */
			node_retire(s, n);
		else if (n->dir)
			index_adopt_dir(s, n);
	}
	if (r == 0)
		r = node_set_location(s, n, d, name);
	if (r < 0) {
		node_put(s, n);
		return r;
	}
	*ret = n;
	return 0;
}

static int entry_of(struct lam_stack *s, struct node *n, const struct statx *st,
		    struct lam_entry *ret)
{
	struct statx own;
	int r;

	if (st->stx_ino != n->real_ino) { /* copied up while we looked */
		r = node_statx(s, n, &own);
		if (r < 0)
			return r;
		st = &own;
	}
	r = attr_of_node(s, n, st, &ret->attr);
	if (r < 0)
		return r;
	ret->id = n->id;
	ret->generation = n->generation;
	return 0;
}

int lookup_entry_locked(struct lam_stack *s, struct node *d, const char *name,
			struct lam_entry *ret, struct node **ret_node)
{
	struct found f = { 0 };
	struct node *n = NULL;
	struct lam_entry entry;
	int r = lookup_locked(s, d, name, &f);

	if (r == 0)
		r = f.type ? lookup_node_locked(s, d, name, &f, &n) : -ENOENT;
	if (r == 0 && ret) {
		r = entry_of(s, n, &f.st, &entry);
		if (r == 0)
			*ret = entry;
	}
	if (r == 0 && ret_node)
		*ret_node = TAKE_PTR(n);
	node_put(s, n);
	found_done(s, &f);
	return r;
}

int lam_lookup(struct lam_stack *s, const struct lam_call *call, uint64_t parent, const char *name,
	       struct lam_entry *ret)
{
	HELD(d, s);
	int r = node_get_dir(s, parent, &d.n);

	(void)call;
	nodes_check(s);
	if (r < 0)
		return r;
	mutex_lock(&d.n->dir->lock);
	r = lookup_entry_locked(s, d.n, name, ret, NULL);
	mutex_unlock(&d.n->dir->lock);
	return r;
}

static int node_entry(struct lam_stack *s, struct node *n, struct lam_entry *ret)
{
	struct lam_entry entry = { .id = n->id, .generation = n->generation };
	int r = attr_get(s, n, &entry.attr);

	if (r == 0)
		*ret = entry;
	return r;
}

int lam_resolve(struct lam_stack *s, const struct lam_call *call, uint64_t id,
		struct lam_entry *ret)
{
	HELD(n, s);
	int r = node_get(s, id, &n.n);

	(void)call;
	nodes_check(s);
	return r < 0 ? r : node_entry(s, n.n, ret);
}

int lam_parent(struct lam_stack *s, const struct lam_call *call, uint64_t id, struct lam_entry *ret)
{
	HELD(n, s);
	HELD(p, s);
	int r = node_get(s, id, &n.n);

	(void)call;
	if (r < 0)
		return r;
	mutex_lock(&n.n->lock);
	p.n = n.n->parent ? node_ref(n.n->parent) : NULL;
	mutex_unlock(&n.n->lock);
	if (!p.n && n.n != s->root)
		return -ESTALE;
	return node_entry(s, p.n ? p.n : n.n, ret);
}
