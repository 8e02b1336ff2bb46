/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From an id alone to its object, with nothing remembered: the real inode is opened by its number, and
 * the overlay object around it is found (docs/design/identity.md).
 */
#include "core.h"

#include <errno.h>
#include <stdio.h>

/* ---- Real inodes by number ---- */

/* A handle for a number whose generation is not known: these filesystems take 0 for any. */
static int handle_by_number(const struct fsys *fs, int root_fd, uint64_t ino, uint32_t generation,
			    struct sys_handle *ret)
{
	struct sys_handle h = { .type = fs->handle_type };
	uint32_t word;

	if (fs->needs_generation && !generation)
		return -ESTALE;
	switch (fs->handle_type) {
	case 0x01:
		if (fs->tmpfs) {
			memcpy(h.fid, &generation, 4);
			memcpy(h.fid + 4, &ino, 8);
			h.len = 12;
			break;
		}
		if (ino > UINT32_MAX)
			return -ESTALE;
		word = (uint32_t)ino;
		memcpy(h.fid, &word, 4);
		memcpy(h.fid + 4, &generation, 4);
		h.len = 8;
		break;
	case 0x81:
		if (!generation && sys_xfs_generation(root_fd, ino, &generation) < 0)
			return -ESTALE;
		memcpy(h.fid, &ino, 8);
		memcpy(h.fid + 8, &generation, 4);
		h.len = 12;
		break;
	case 0x4d:
		memcpy(h.fid, &ino, 8);
		memcpy(h.fid + 8, &fs->subvolume, 8);
		memcpy(h.fid + 16, &generation, 4);
		h.len = 20;
		break;
	default:
		return -ESTALE;
	}
	*ret = h;
	return 0;
}

/* Without privilege only directories can be opened by handle, below the directory that is named with it: a
 * layer's root.  -EPERM: no directory. */
static int open_own_dir(struct lam_stack *s, const struct fsys *fs, const struct sys_handle *h)
{
	int fd = -ESTALE;

	for (uint16_t i = s->has_upper ? 0 : 1; i <= s->n_lower && fd == -ESTALE; i++)
		if (layer_has_fs(s, i, fs))
			fd = sys_open_by_handle(s->layers[i].fd, h, O_RDONLY | O_DIRECTORY);
	return fd == -ENOTDIR ? -EPERM : fd;
}

/* The real inode with this number: its handle, checked and made complete. */
static int number_handle(struct lam_stack *s, struct fsys *fs, uint64_t ino, uint32_t generation,
			 struct sys_handle *ret, struct statx *ret_st)
{
	CLEANUP_CLOSE int fd = -1;
	struct sys_handle h;
	int r;

	if (!fs->can_decode_dirs || fs->opaque_handles)
		return -ESTALE;
	r = handle_by_number(fs, fs->mount_fd, ino, generation, &h);
	if (r < 0)
		return r;
	if (fs->can_decode)
		fd = sys_open_by_handle(fs->mount_fd, &h, O_PATH);
	else
		fd = open_own_dir(s, fs, &h);
	if (fd < 0)
		return fd == -ENOENT || (fd == -EPERM && fs->can_decode) ? -ESTALE : fd;
	r = sys_statx(fd, "", ret_st);
	if (r == 0)
		r = sys_name_to_handle(fd, "", ret, NULL);
	if (r == 0 && ret_st->stx_ino != ino)
		r = -ESTALE;
	return r;
}

/* ---- Directories: by the path of the real one ---- */

static int resolve_upper_dir(struct lam_stack *s, uint64_t upper, uint32_t generation,
			     struct node **ret);
static int resolve_dir(struct lam_stack *s, const struct sys_handle *h, uint16_t layer,
		       struct node **ret);

static bool has_part(struct node *n, uint16_t layer, uint64_t ino)
{
	bool yes = false;

	mutex_lock(&n->lock);
	if (layer == LAYER_UPPER)
		yes = n->dir && n->dir->upper && n->dir->upper->ino == ino;
	for (unsigned i = 0; n->dir && layer != LAYER_UPPER && i < n->dir->n_lower; i++)
		yes |= n->dir->lower[i]->layer == layer && n->dir->lower[i]->ino == ino;
	mutex_unlock(&n->lock);
	return yes;
}

/* How many directories of upper this thread is looking up, one for the sake of the other. */
static _Thread_local unsigned looking_up;

/* The upper inode that came from ID, as uppermap_origin() gives it.  Directories of upper are looked up when
 * one is first asked for: only the lookup tells their identity.  1, 0 or -errno */
static int upper_of(struct lam_stack *s, uint64_t id, uint64_t *ret_upper, uint32_t *ret_generation)
{
	struct sys_handle h;
	int r = uppermap_origin(s, id, ret_upper, ret_generation);

	if (r)
		return r;
	while (uppermap_next_dir(s, &h)) {
		struct node *n;

		looking_up++;
		if (resolve_dir(s, &h, LAYER_UPPER, &n) == 0) { /* else removed since */
			uppermap_note(s, n, n->real_ino, 0);
			node_put(s, n);
		}
		looking_up--;
		uppermap_dir_done(s);
	}
	uppermap_await_dirs(s, looking_up);
	return uppermap_origin(s, id, ret_upper, ret_generation);
}

/* One step down a real path: the overlay directory that has the real one NAME of AT as a part.  It may have
 * been renamed: then upper's directory with this origin is the way. */
static int step(struct lam_stack *s, struct node *at, int *real_fd, uint16_t layer,
		const char *name, struct node **ret)
{
	struct node *child = NULL;
	struct statx st;
	uint64_t upper;
	uint32_t generation;
	struct fsys *fs;
	int fd, r;

	fd = sys_openat(*real_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return -ESTALE;
	sys_close(*real_fd);
	*real_fd = fd;
	r = sys_statx(fd, "", &st);
	if (r < 0)
		return r;
	mutex_lock(&at->dir->lock);
	r = lookup_entry_locked(s, at, name, NULL, &child);
	mutex_unlock(&at->dir->lock);
	if (r == 0 && has_part(child, layer, st.stx_ino)) {
		*ret = child;
		return 0;
	}
	node_put(s, child);
	if (layer == LAYER_UPPER || !s->has_upper)
		return -ESTALE;
	fs = fsys_met(s, fd, &st, s->layers[layer].fs);
	r = fs ? upper_of(s, id_make(s, fs, st.stx_ino, false), &upper, &generation) : -EMFILE;
	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	r = resolve_upper_dir(s, upper, generation, &child);
	if (r < 0)
		return r;
	if (!has_part(child, layer, st.stx_ino)) {
		node_put(s, child);
		return -ESTALE;
	}
	*ret = child;
	return 0;
}

/* The overlay directory of a real one, down its path from the layer's root. */
static int node_of_path(struct lam_stack *s, char *path, uint16_t layer, struct node **ret)
{
	struct node *at = node_ref(s->root);
	int real_fd = sys_dup(s->layers[layer].fd), r = real_fd < 0 ? real_fd : 0;
	char *name, *save = NULL;

	for (name = strtok_r(path, "/", &save); name && r == 0; name = strtok_r(NULL, "/", &save)) {
		struct node *child = NULL;

		r = node_is_dir(at) ? step(s, at, &real_fd, layer, name, &child) : -ESTALE;
		node_put(s, at);
		at = child;
	}
	if (real_fd >= 0)
		sys_close(real_fd);
	if (r < 0) {
		node_put(s, at);
		return r;
	}
	*ret = at;
	return 0;
}

/* The overlay directory of the real one with this handle.  It is opened through the layer's own mount, a
 * private clone perhaps, so that its path is told from the layer's root. */
static int resolve_dir(struct lam_stack *s, const struct sys_handle *h, uint16_t layer,
		       struct node **ret)
{
	const bool all = s->layers[layer].fs->can_decode;
	CLEANUP_CLOSE int fd = sys_open_by_handle(s->layers[layer].fd, h,
						  all ? O_PATH : O_RDONLY | O_DIRECTORY);
	CLEANUP_FREE char *path = NULL;
	struct stat st;
	int r = fd < 0 ? fd : sys_stat(fd, "", &st);

	if (r == 0)
		r = path_below(s, fd, layer, &path);
	if (r == 0)
		r = node_of_path(s, path, layer, ret);
	if (r < 0)
		return r == -ENOENT || r == -EPERM ? -ESTALE : r;
	if (!node_is_dir(*ret) || !has_part(*ret, layer, st.st_ino)) {
		node_put(s, *ret);
		return -ESTALE; /* a path of elsewhere that happens to exist here */
	}
	return 0;
}

/* The real inode that the map of upper knows as UPPER. */
static int upper_handle(struct lam_stack *s, uint64_t upper, uint32_t generation,
			struct sys_handle *ret, struct statx *ret_st)
{
	struct fsys *fs;
	uint64_t ino = id_real_ino(s, upper, &fs);

	return fs ? number_handle(s, fs, ino, generation, ret, ret_st) : -ESTALE;
}

static int resolve_upper_dir(struct lam_stack *s, uint64_t upper, uint32_t generation,
			     struct node **ret)
{
	struct sys_handle h;
	struct statx st;
	int r = upper_handle(s, upper, generation, &h, &st);

	if (r == 0 && !S_ISDIR(st.stx_mode))
		r = -ESTALE;
	return r < 0 ? r : resolve_dir(s, &h, LAYER_UPPER, ret);
}

/* ---- Files: known by handle, without a name ---- */

/* A node that is reached by the handle of its real inode. KEY: of its index entry, or NULL. */
static int detached(struct lam_stack *s, uint64_t id, const struct sys_handle *h,
		    const struct statx *st, uint16_t layer, const char *key, struct node **ret)
{
	struct node_extra *x;
	struct node *n;
	bool is_new;

	n = node_obtain(s, id, st->stx_mode, &is_new);
	if (!n)
		return -ENOMEM;
	mutex_lock(&n->lock);
	if (!n->real_ino) {
		x = node_extra(n);
		if (x)
			x->handle = malloc(sizeof(*h));
		if (x && key)
			x->index_name = strdup(key);
		if (!x || !x->handle || (key && !x->index_name)) {
			mutex_unlock(&n->lock);
			node_retire(s, n);
			node_put(s, n);
			return -ENOMEM;
		}
		*x->handle = *h;
		n->layer = layer;
		n->flags |= (uint16_t)(NF_DETACHED | NF_PROTATTR | (key ? NF_INDEXED : 0));
		if (layer != LAYER_UPPER && st->stx_nlink > 1)
			n->flags |= NF_LOWER_LINKS;
		if (layer == LAYER_UPPER && !(id & ID_BORN_UPPER))
			n->flags |= NF_ORIGIN;
		n->real_ino = st->stx_ino;
	}
	mutex_unlock(&n->lock);
	*ret = n;
	return 0;
}

/* A walk of a layer for a name that leads to an object.  An inode may have other names there, which are hidden
 * or lead elsewhere by now: the walk goes on until one of them does. */
struct namewalk {
	struct lam_stack *s;
	uint16_t layer;
	uint64_t ino;
	const struct fsys *fs;
	uint64_t id;	    /* of the object */
	struct node *found; /* held */
};

static int name_seen(void *ctx, const struct walked *at, const struct sys_dirent *de)
{
	struct namewalk *w = ctx;
	struct sys_handle dir;
	HELD(d, w->s);
	HELD(n, w->s);
	int r;

	if (!de || de->ino != w->ino || at->fs != w->fs || strlen(de->name) > LAM_NAME_MAX)
		return 0;
	if (sys_name_to_handle(at->fd, "", &dir, NULL) < 0 ||
	    resolve_dir(w->s, &dir, w->layer, &d.n) < 0)
		return 0;
	mutex_lock(&d.n->dir->lock);
	r = lookup_entry_locked(w->s, d.n, de->name, NULL, &n.n);
	mutex_unlock(&d.n->dir->lock);
	if (r < 0 || n.n->id != w->id)
		return 0;
	w->found = TAKE_PTR(n.n);
	return 1;
}

/* Find a name of N in LAYER. */
static int connect_in(struct lam_stack *s, struct node *n, uint16_t layer, const struct fsys *fs)
{
	struct namewalk w = { .s = s, .layer = layer, .ino = n->real_ino, .fs = fs, .id = n->id };
	int r = walk_layer(s, layer, name_seen, &w, NULL);

	if (r > 0)
		r = w.found == n ? 0 : -ESTALE;
	else if (r == 0)
		r = -ESTALE;
	node_put(s, w.found);
	return r;
}

/* The cheap way first: the kernel may know where the inode is. */
static int connect_by_path(struct lam_stack *s, struct node *n, uint16_t layer)
{
	CLEANUP_CLOSE int fd = -1;
	CLEANUP_FREE char *path = NULL;
	struct sys_handle h;
	HELD(d, s);
	HELD(at, s);
	char *slash;
	int r;

	mutex_lock(&n->lock);
	r = n->extra && n->extra->handle ? 0 : -ESTALE;
	if (r == 0)
		h = *n->extra->handle;
	mutex_unlock(&n->lock);
	if (r < 0)
		return r;
	fd = sys_open_by_handle(s->layers[layer].fd, &h, O_PATH);
	r = fd < 0 ? fd : path_below(s, fd, layer, &path);
	if (r < 0)
		return r;
	slash = strrchr(path, '/');
	if (slash) {
		*slash = '\0';
		r = node_of_path(s, path, layer, &d.n);
		if (r < 0)
			return r;
	} else {
		d.n = node_ref(s->root);
	}
	if (!node_is_dir(d.n))
		return -ESTALE;
	mutex_lock(&d.n->dir->lock);
	r = lookup_entry_locked(s, d.n, slash ? slash + 1 : path, NULL, &at.n);
	mutex_unlock(&d.n->dir->lock);
	return r < 0 ? r : at.n == n ? 0 : -ESTALE;
}

int resolve_connect(struct lam_stack *s, struct node *n)
{
	struct fsys *fs;
	int r = -ESTALE;

	if (!(n->flags & NF_DETACHED))
		return 0;
	(void)id_real_ino(s, n->id, &fs);
	if (node_is_upper(n))
		return connect_in(s, n, LAYER_UPPER,
				  n->id & ID_BORN_UPPER ? fs : s->layers[LAYER_UPPER].fs);
	for (uint16_t i = 1; i <= s->n_lower && r == -ESTALE; i++) {
		if (!fs || !layer_has_fs(s, i, fs))
			continue;
		r = connect_by_path(s, n, i);
		if (r < 0)
			r = connect_in(s, n, i, fs);
		if (r == -ENOENT || r == -EINVAL || r == -EPERM)
			r = -ESTALE; /* not in this layer */
	}
	return r;
}

int resolve_connect_or_end(struct lam_stack *s, struct node *n)
{
	struct mutex *guard MUTEX_GUARD = NULL;
	int r;

	if (node_is_upper(n) || n->flags & NF_DEAD)
		return 0;
	if (!s->takeover || !(n->flags & NF_DETACHED))
		return resolve_connect(s, n);
	/* So that no name is missed because it moves during a walk. */
	guard = mutex_guard(&s->rename_lock);
	r = resolve_connect(s, n);
	if (r != -ESTALE || node_is_dir(n))
		return r;
	mutex_lock(&n->lock);
	if (!n->parent && !node_is_upper(n))
		n->flags |= NF_DEAD;
	mutex_unlock(&n->lock);
	return n->flags & NF_DEAD ? 0 : r;
}

static void set_generation(struct node *n, const struct fsys *fs, const struct sys_handle *h,
			   const struct statx *lower_st)
{
	uint32_t generation;
	uint64_t ino;

	if (lower_st && fs->births)
		generation = birth_generation(lower_st);
	else if (fid_inode(h->type, h->fid, h->len, fs->tmpfs, &ino, &generation) < 0)
		return;
	mutex_lock(&n->lock);
	n->generation = generation;
	mutex_unlock(&n->lock);
}

static int resolve_by_walk(struct lam_stack *s, uint64_t id, struct fsys *fs, uint64_t ino,
			   struct node **ret);

/* An upper file: a node by handle, and by name where it has no data of its own. */
static int upper_file(struct lam_stack *s, uint64_t id, const struct sys_handle *h,
		      const struct statx *st, const char *key, struct node **ret)
{
	struct fsys *fs;
	struct node *n;
	uint64_t ino;
	int r = detached(s, id, h, st, LAYER_UPPER, key, &n);

	if (r < 0)
		return r;
	if (s->metacopy_read && S_ISREG(st->stx_mode)) {
		struct ovl_xattrs x = { 0 };
		struct place p;

		r = node_place(s, n, &p);
		if (r == 0) {
			r = ovl_scan(s, LAYER_UPPER, p.dirfd, p.name, &x);
			place_done(s, &p);
		}
		if (r == 0 && x.metacopy && !(n->flags & NF_METACOPY)) {
			/* Its data is below, which only a name tells, of its own or of the lower file: a
			 * walk finds one, and the lookup makes a node that knows. */
			node_retire(s, n);
			node_put(s, n);
			ino = id_real_ino(s, id, &fs);
			return fs ? resolve_by_walk(s, id, fs, ino, ret) : -ESTALE;
		}
	}
	*ret = n;
	return 0;
}

static int resolve_born_upper(struct lam_stack *s, uint64_t id, struct fsys *fs, uint64_t ino,
			      struct node **ret)
{
	struct sys_handle h;
	struct statx st;
	uint32_t generation = 0;
	int r;

	if (!s->has_upper || !layer_has_fs(s, LAYER_UPPER, fs))
		return -ESTALE;
	/* The same numbers are used by the lower layers and by what is outside: only upper's count. */
	r = uppermap_has(s, fs, ino, &generation);
	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	r = number_handle(s, fs, ino, generation, &h, &st);
	if (r < 0)
		return r;
	if (S_ISDIR(st.stx_mode))
		return resolve_dir(s, &h, LAYER_UPPER, ret);
	r = upper_file(s, id, &h, &st, NULL, ret);
	if (r == 0)
		set_generation(*ret, fs, &h, NULL);
	return r;
}

/* The overlay directory that has this lower one as its lowest part. */
static int resolve_lower_dir(struct lam_stack *s, const struct sys_handle *h, struct fsys *fs,
			     uint64_t id, struct node **ret)
{
	uint32_t generation;
	uint64_t upper;
	int r;

	for (uint16_t i = 1; i <= s->n_lower; i++) {
		if (!layer_has_fs(s, i, fs))
			continue;
		r = resolve_dir(s, h, i, ret);
		if (r == 0 && (*ret)->id == id)
			return 0;
		if (r == 0)
			node_put(s, *ret);
		if (r < 0 && r != -ESTALE)
			return r;
	}
	/* Upper may have what the lower layers no longer show. */
	r = s->has_upper ? upper_of(s, id, &upper, &generation) : 0;
	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	return resolve_upper_dir(s, upper, generation, ret);
}

/* The upper file that a lower one became: by the index, else by its origin.  1, 0 (none) or -errno.  *RET_REMOVED:
 * its last name is gone, but clients of the process before may have it open. */
static int find_copy(struct lam_stack *s, uint64_t id, struct fsys *fs,
		     const struct sys_handle *lower, uint32_t type, bool *ret_removed,
		     struct node **ret)
{
	char key[INDEX_NAME_MAX + 1];
	CLEANUP_CLOSE int fd = -1;
	struct sys_handle h;
	struct statx stx;
	struct statx st;
	struct fh fh;
	uint32_t generation;
	uint64_t upper;
	int r;

	if (s->index_fd >= 0 &&
	    fh_encode(lower->type, fs->uuid, lower->fid, lower->len, false, &fh) == 0 &&
	    index_key_of(s, &fh, type, key) == 0) {
		r = index_stat(s, key, &stx);
		if (r < 0)
			return r == -ENAMETOOLONG ? 0 : r;
		if (r && S_ISCHR(stx.stx_mode) && !stx.stx_rdev_major && !stx.stx_rdev_minor) {
			*ret_removed = s->takeover && stack_in_use(s, id);
			return *ret_removed ? 0 : -ESTALE; /* says the complete index */
		}
		if (r) {
			fd = sys_openat(index_dir(s, key), key, O_PATH | O_NOFOLLOW, 0);
			r = fd < 0 ? fd : sys_statx(fd, "", &st);
			if (r == 0)
				r = sys_name_to_handle(fd, "", &h, NULL);
			if (r == 0)
				r = upper_file(s, id, &h, &st, key, ret);
			return r < 0 ? r : 1;
		}
	}
	r = s->has_upper ? upper_of(s, id, &upper, &generation) : 0;
	if (r <= 0)
		return r;
	r = upper_handle(s, upper, generation, &h, &st);
	if (r == 0)
		r = upper_file(s, id, &h, &st, NULL, ret);
	return r < 0 ? r : 1;
}

/* A lower file with more than one name may have lost some of them.  On failure N is put. */
static int adjust_links(struct lam_stack *s, struct node *n, struct fsys *fs,
			const struct sys_handle *lower)
{
	char key[INDEX_NAME_MAX + 1];
	struct node_extra *x;
	int32_t adjust;
	struct fh fh;
	int r;

	if (!(n->flags & NF_LOWER_LINKS) || s->index_fd < 0 ||
	    fh_encode(lower->type, fs->uuid, lower->fid, lower->len, false, &fh) < 0 ||
	    index_key_of(s, &fh, node_mode_type(n), key) < 0)
		return 0;
	mutex_lock(&n->lock);
	x = n->extra;
	/* Whoever made the node or took a name since knows better; both read and write the same record. */
	r = x && !x->nlink_adjust ? links_adjust_load(s, key, &adjust) : 0;
	if (r == 0 && x && !x->nlink_adjust)
		x->nlink_adjust = adjust;
	mutex_unlock(&n->lock);
	if (r < 0)
		node_put(s, n);
	return r;
}

static int resolve_lower_file(struct lam_stack *s, uint64_t id, struct fsys *fs,
			      const struct sys_handle *h, const struct statx *st, struct node **ret)
{
	bool removed = false;
	uint32_t generation;
	uint16_t layer = 0;
	int r;

	/* Upper's own inodes are no lower objects, whatever the handle says. */
	if (s->has_upper && layer_has_fs(s, LAYER_UPPER, fs)) {
		r = uppermap_has(s, fs, st->stx_ino, &generation);
		if (r)
			return r < 0 ? r : -ESTALE;
	}
	for (uint16_t i = 1; i <= s->n_lower && !layer; i++)
		if (layer_has_fs(s, i, fs))
			layer = i;
	if (!layer)
		return -ESTALE;
	r = find_copy(s, id, fs, h, st->stx_mode, &removed, ret);
	if (r == 0) {
		r = inside_lower(s, id, fs, st->stx_ino, h);
		if (r > 0)
			r = detached(s, id, h, st, layer, NULL, ret);
		else if (r == 0)
			r = -ESTALE;
		if (r == 0 && removed)
			(*ret)->flags |= NF_DEAD;
		else if (r == 0)
			r = adjust_links(s, *ret, fs, h);
	}
	if (r < 0)
		return r;
	set_generation(*ret, fs, h, st);
	return 0;
}

/* With the lock: whoever ends it, and so lets its number be used again, finds the node that is made here. */
static int resolve_orphan_locked(struct lam_stack *s, uint64_t id, const char *orphan,
				 struct node **ret)
{
	struct statx st;
	struct node *n;
	bool is_new;
	int r = sys_statx(s->orphan_fd, orphan, &st);

	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	n = node_obtain(s, id, st.stx_mode, &is_new);
	if (!n)
		return -ENOMEM;
	mutex_lock(&n->lock);
	/* Else it is another's, and perhaps not yet complete. */
	if (is_new) {
		n->layer = LAYER_UPPER;
		n->flags |= NF_ORPHAN | NF_DEAD;
		n->generation = fsys_generation(s, s->layers[LAYER_UPPER].fs, s->orphan_fd, orphan,
						NULL);
		n->real_ino = st.stx_ino;
		atomic_fetch_add(&s->stat_orphans, 1);
	}
	mutex_unlock(&n->lock);
	*ret = n;
	return 0;
}

static int resolve_orphan(struct lam_stack *s, uint64_t id, struct node **ret)
{
	char orphan[32];
	struct statx st;
	int r;

	if (s->orphan_fd < 0)
		return -ESTALE;
	work_orphan_name(id, orphan);
	/* Most objects are none, and need no lock. */
	r = sys_statx(s->orphan_fd, orphan, &st);
	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	mutex_lock(&s->orphans_lock);
	r = resolve_orphan_locked(s, id, orphan, ret);
	mutex_unlock(&s->orphans_lock);
	return r;
}

static int resolve_lower(struct lam_stack *s, uint64_t id, struct fsys *fs, uint64_t ino,
			 struct node **ret)
{
	struct sys_handle h;
	uint32_t generation = 0;
	struct statx st;
	int r;

	if (fs->needs_generation) {
		r = uppermap_lower_generation(s, id, &generation);
		if (r <= 0)
			return r < 0 ? r : -ESTALE;
	}
	r = number_handle(s, fs, ino, generation, &h, &st);
	if (r < 0)
		return r;
	return S_ISDIR(st.stx_mode) ? resolve_lower_dir(s, &h, fs, id, ret)
				    : resolve_lower_file(s, id, fs, &h, &st, ret);
}

/* Without privilege a file cannot be opened by handle: it is found by its number in a walk of the layers.  The
 * same where a name has to be known. */
static int resolve_by_walk(struct lam_stack *s, uint64_t id, struct fsys *fs, uint64_t ino,
			   struct node **ret)
{
	struct fsys *upper_fs = fs;
	uint64_t upper, upper_ino = ino;
	uint32_t generation;
	int r = 0;

	if (!fs->can_decode_dirs)
		return -ESTALE;
	if (!(id & ID_BORN_UPPER) && s->has_upper)
		r = upper_of(s, id, &upper, &generation);
	if (r > 0)
		upper_ino = id_real_ino(s, upper, &upper_fs);
	for (unsigned i = id & ID_BORN_UPPER || r > 0 ? 0 : 1; i <= s->n_lower; i++) {
		struct namewalk w = { .s = s,
				      .layer = (uint16_t)i,
				      .ino = i ? ino : upper_ino,
				      .fs = i ? fs : upper_fs,
				      .id = id };

		if ((!i && !s->has_upper) || (i && id & ID_BORN_UPPER))
			break;
		if (!layer_has_fs(s, (uint16_t)i, fs) && !(i == 0 && r > 0))
			continue;
		if (walk_layer(s, (uint16_t)i, name_seen, &w, NULL) > 0) {
			*ret = w.found;
			return 0;
		}
	}
	return -ESTALE;
}

int resolve_id(struct lam_stack *s, uint64_t id, struct node **ret)
{
	struct node *n = NULL;
	struct fsys *fs;
	uint64_t ino;
	int r;

	if (resolve_orphan(s, id, ret) == 0)
		return 0;
	ino = id_real_ino(s, id, &fs);
	if (!fs || !ino)
		return -ESTALE;
	r = id & ID_BORN_UPPER ? resolve_born_upper(s, id, fs, ino, &n)
			       : resolve_lower(s, id, fs, ino, &n);
	if (r == -EPERM && !fs->can_decode)
		r = resolve_by_walk(s, id, fs, ino, &n);
	if (r == -ENOENT || r == -EPERM)
		r = -ESTALE;
	if (r < 0)
		return r;
	if (n->id != id || (node_is_dir(n) && n->flags & NF_DEAD)) {
		node_put(s, n);
		return -ESTALE;
	}
	*ret = n;
	return 0;
}
