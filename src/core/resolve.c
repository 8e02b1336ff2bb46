/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From an id alone to its object, with nothing remembered: the real inode is opened by its number, and
 * the overlay object around it is found (docs/design/identity.md).  A map from origins to upper objects is
 * made by one walk of upper when it is first needed.
 */
#include "core.h"

#include <errno.h>
#include <stdio.h>

#include "base/hash.h"

/* ---- The map of origins ---- */

struct origin {
	uint64_t id;
	uint64_t upper_ino;
	uint32_t upper_generation;
};

struct originmap {
	struct origin *slots;		/* open addressing; id 0 is free */
	size_t mask, count;
};

static int map_add(struct originmap *m, uint64_t id, uint64_t ino, uint32_t generation);

static int map_grow(struct originmap *m)
{
	struct originmap bigger = { .mask = m->slots ? m->mask * 2 + 1 : 63 };

	bigger.slots = calloc(bigger.mask + 1, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; m->slots && i <= m->mask; i++)
		if (m->slots[i].id)
			(void)map_add(&bigger, m->slots[i].id, m->slots[i].upper_ino,
				      m->slots[i].upper_generation);	/* has room */
	free(m->slots);
	*m = bigger;
	return 0;
}

static int map_add(struct originmap *m, uint64_t id, uint64_t ino, uint32_t generation)
{
	size_t i;

	if (!m->slots || m->count * 2 > m->mask) {
		int r = map_grow(m);

		if (r < 0)
			return r;
	}
	for (i = hash_u64(id) & m->mask; m->slots[i].id && m->slots[i].id != id; i = (i + 1) & m->mask)
		;
	m->count += !m->slots[i].id;
	m->slots[i] = (struct origin){ id, ino, generation };
	return 0;
}

static const struct origin *map_find(const struct originmap *m, uint64_t id)
{
	if (!m->slots)
		return NULL;
	for (size_t i = hash_u64(id) & m->mask; m->slots[i].id; i = (i + 1) & m->mask)
		if (m->slots[i].id == id)
			return &m->slots[i];
	return NULL;
}

/* A walk without recursion: directories to come, by handle of their number. */
struct todo {
	struct todo *next;
	struct sys_handle handle;
};

struct mapwalk {
	struct lam_stack *s;
	struct originmap *m;
	int fd;
	struct todo *todo;
};

static int map_name(void *ctx, const struct sys_dirent *de)
{
	struct mapwalk *w = ctx;
	struct lam_stack *s = w->s;
	struct found f = { 0 };
	struct sys_handle h;
	struct fh fh;
	uint32_t generation = 0;
	uint64_t ino;
	int r;

	if (ovl_get_origin(s, w->fd, de->name, &fh) == 0 && lookup_origin(s, &fh, &f) == 0 &&
	    sys_name_to_handle(w->fd, de->name, &h, NULL) == 0 &&
	    fid_inode(h.type, h.fid, h.len, s->layers[LAYER_UPPER].fs->tmpfs, &ino, &generation) == 0) {
		r = map_add(w->m, id_make(s, f.origin_fs, f.origin_ino, false), ino, generation);
		if (r < 0)
			return r;
	}
	if (de->type == DT_DIR) {
		struct todo *t = malloc(sizeof(*t));

		if (!t)
			return -ENOMEM;
		if (sys_name_to_handle(w->fd, de->name, &t->handle, NULL) < 0) {
			free(t);
			return 0;
		}
		t->next = w->todo;
		w->todo = t;
	}
	return 0;
}

static int map_build(struct lam_stack *s, struct originmap *m)
{
	struct layer *up = &s->layers[LAYER_UPPER];
	struct mapwalk w = { .s = s, .m = m, .fd = up->fd };
	int r = dirscan(up->fd, map_name, &w);

	while (w.todo) {
		struct todo *t = w.todo;

		w.todo = t->next;
		if (r == 0) {
			w.fd = sys_open_by_handle(up->fs->mount_fd, &t->handle, O_RDONLY | O_DIRECTORY);
			if (w.fd >= 0) {
				r = dirscan(w.fd, map_name, &w);
				sys_close(w.fd);
			}
		}
		free(t);
	}
	return r;
}

/* The upper object that came from ID; 1, 0 or -errno. */
static int find_origin(struct lam_stack *s, uint64_t id, struct origin *ret)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&s->origins_lock);
	const struct origin *o;

	if (!s->origins) {
		struct originmap *m = calloc(1, sizeof(*m));
		int r = m ? map_build(s, m) : -ENOMEM;

		if (r < 0) {
			if (m)
				free(m->slots);
			free(m);
			return r;
		}
		s->origins = m;
	}
	o = map_find(s->origins, id);
	if (o)
		*ret = *o;
	return o != NULL;
}

/* A copy-up after the map was made. */
int resolve_note_origin(struct lam_stack *s, struct node *n)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&s->origins_lock);

	return s->origins ? map_add(s->origins, n->id, n->real_ino, 0) : 0;
}

void resolve_destroy(struct lam_stack *s)
{
	if (s->origins)
		free(s->origins->slots);
	free(s->origins);
}

/* ---- Real inodes by number ---- */

/* A handle for a number whose generation is not known: these filesystems take 0 for any. */
static int handle_by_number(const struct fsys *fs, int root_fd, uint64_t ino, uint32_t generation,
			    struct sys_handle *ret)
{
	struct sys_handle h = { .type = fs->handle_type };
	uint32_t word;

	if (fs->tmpfs && !generation)
		return -ESTALE;
	switch (fs->handle_type) {
	case 0x01:
		if (fs->tmpfs) {
			memcpy(h.fid, &generation, 4);
			memcpy(h.fid + 4, &ino, 8);
			h.len = 12;
			break;
		}
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
	case 0x4d: {
		struct sys_handle root;

		if (sys_name_to_handle(root_fd, "", &root, NULL) < 0 || root.len < 16)
			return -ESTALE;
		memcpy(h.fid, &ino, 8);
		memcpy(h.fid + 8, root.fid + 8, 8);
		memcpy(h.fid + 16, &generation, 4);
		h.len = 20;
		break;
	}
	default:
		return -ESTALE;
	}
	*ret = h;
	return 0;
}

static int open_number(struct lam_stack *s, struct fsys *fs, uint64_t ino, uint32_t generation)
{
	struct sys_handle h;
	int fd, r;

	(void)s;
	if (!fs->can_decode)
		return -ESTALE;
	r = handle_by_number(fs, fs->mount_fd, ino, generation, &h);
	if (r < 0)
		return r;
	fd = sys_open_by_handle(fs->mount_fd, &h, O_PATH);
	return fd == -ENOENT ? -ESTALE : fd;
}

/* ---- Directories: by the path of the real one ---- */

/* The path of a real directory below the root of LAYER, from the kernel's own knowledge of where FD is. */
static int path_below(struct lam_stack *s, int fd, uint16_t layer, char **ret)
{
	CLEANUP_FREE char *path = malloc(65536), *root = malloc(65536);
	ssize_t n, m;

	if (!path || !root)
		return -ENOMEM;
	n = sys_fd_path(fd, path, 65535);
	m = sys_fd_path(s->layers[layer].fd, root, 65535);
	if (n < 0 || m < 0)
		return -ESTALE;
	path[n] = root[m] = '\0';
	if (m == 1)		/* "/": a private clone, rooted at the layer */
		m = 0;
	if (n < m || memcmp(path, root, (size_t)m) || (path[m] && path[m] != '/'))
		return -ESTALE;
	while (path[m] == '/')
		m++;
	*ret = strdup(path + m);
	return *ret ? 0 : -ENOMEM;
}

static int resolve_upper_ino(struct lam_stack *s, uint64_t ino, uint32_t generation, struct node **ret);

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

/* One step down a real path: the overlay directory that has the real one NAME of AT as a part.  It may have
 * been renamed: then upper's directory with this origin is the way. */
static int step(struct lam_stack *s, struct node *at, int *real_fd, uint16_t layer, const char *name,
		struct node **ret)
{
	struct node *child = NULL;
	struct origin o;
	struct stat st;
	struct statx stx;
	int fd, r;

	fd = sys_openat(*real_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return -ESTALE;
	sys_close(*real_fd);
	*real_fd = fd;
	r = sys_stat(fd, "", &st);
	if (r < 0)
		return r;
	mutex_lock(&at->dir->lock);
	r = lookup_entry_locked(s, at, name, NULL, &child);
	mutex_unlock(&at->dir->lock);
	if (r == 0 && has_part(child, layer, st.st_ino)) {
		*ret = child;
		return 0;
	}
	node_put(s, child);
	if (layer == LAYER_UPPER || !s->has_upper)
		return -ESTALE;
	r = sys_statx(fd, "", &stx);
	if (r < 0)
		return r;
	r = find_origin(s, id_make(s, s->layers[layer].fs, st.st_ino, false), &o);
	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	r = resolve_upper_ino(s, o.upper_ino, o.upper_generation, &child);
	if (r < 0)
		return r;
	if (!has_part(child, layer, st.st_ino)) {
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

static int resolve_dir(struct lam_stack *s, int fd, uint16_t layer, struct node **ret)
{
	CLEANUP_FREE char *path = NULL;
	int r = path_below(s, fd, layer, &path);

	return r < 0 ? r : node_of_path(s, path, layer, ret);
}

/* ---- Files: known by handle, without a name ---- */

/* A node that is reached by the handle of its real inode. */
static int detached(struct lam_stack *s, uint64_t id, int fd, uint16_t layer, const char *index_key_name,
		    struct node **ret)
{
	struct node_extra *x;
	struct sys_handle h;
	struct statx st;
	struct node *n;
	bool is_new;
	int r = sys_statx(fd, "", &st);

	if (r == 0)
		r = sys_name_to_handle(fd, "", &h, NULL);
	if (r < 0)
		return r;
	n = node_obtain(s, id, st.stx_mode, &is_new);
	if (!n)
		return -ENOMEM;
	mutex_lock(&n->lock);
	if (!n->real_ino) {
		x = node_extra(n);
		if (x)
			x->handle = malloc(sizeof(h));
		if (x && index_key_name)
			x->index_name = strdup(index_key_name);
		if (!x || !x->handle || (index_key_name && !x->index_name)) {
			mutex_unlock(&n->lock);
			node_retire(s, n);
			node_put(s, n);
			return -ENOMEM;
		}
		*x->handle = h;
		n->layer = layer;
		n->real_ino = st.stx_ino;
		n->flags |= (uint16_t)(NF_DETACHED | (index_key_name ? NF_INDEXED | NF_ORIGIN : 0));
		if (layer != LAYER_UPPER && st.stx_nlink > 1)
			n->flags |= NF_LOWER_LINKS;
		if (layer == LAYER_UPPER && !(id & ID_BORN_UPPER))
			n->flags |= NF_ORIGIN;
	}
	mutex_unlock(&n->lock);
	*ret = n;
	return 0;
}

/* Set what only the identity inode tells: FD is open on it. */
static void set_generation(struct lam_stack *s, struct node *n, struct fsys *fs, int fd)
{
	uint32_t generation = fsys_generation(s, fs, fd, "", NULL);

	mutex_lock(&n->lock);
	n->generation = generation;
	mutex_unlock(&n->lock);
}

static int resolve_upper_ino(struct lam_stack *s, uint64_t ino, uint32_t generation, struct node **ret)
{
	CLEANUP_CLOSE int fd = open_number(s, s->layers[LAYER_UPPER].fs, ino, generation);

	return fd < 0 ? fd : resolve_dir(s, fd, LAYER_UPPER, ret);
}

static int resolve_born_upper(struct lam_stack *s, uint64_t id, struct fsys *fs, uint64_t ino,
			      struct node **ret)
{
	CLEANUP_CLOSE int fd = -1;
	struct stat st;
	int r;

	if (!s->has_upper || fs != s->layers[LAYER_UPPER].fs)
		return -ESTALE;
	fd = open_number(s, fs, ino, 0);
	if (fd < 0)
		return fd;
	r = sys_stat(fd, "", &st);
	if (r < 0)
		return r;
	if (S_ISDIR(st.st_mode)) {
		r = resolve_dir(s, fd, LAYER_UPPER, ret);
	} else {
		r = detached(s, id, fd, LAYER_UPPER, NULL, ret);
		if (r == 0)
			set_generation(s, *ret, fs, fd);
	}
	return r;
}

/* The layer that holds a lower directory: the one whose root is above it. */
static int resolve_lower_dir(struct lam_stack *s, int fd, struct fsys *fs, uint64_t id, struct node **ret)
{
	struct origin o;
	int r;

	for (uint16_t i = 1; i <= s->n_lower; i++) {
		if (s->layers[i].fs != fs)
			continue;
		r = resolve_dir(s, fd, i, ret);
		if (r != -ESTALE)
			return r;
	}
	/* Upper may have what the lower layers no longer show. */
	if (!s->has_upper)
		return -ESTALE;
	r = find_origin(s, id, &o);
	if (r <= 0)
		return r < 0 ? r : -ESTALE;
	return resolve_upper_ino(s, o.upper_ino, o.upper_generation, ret);
}

static int resolve_lower_file(struct lam_stack *s, uint64_t id, struct fsys *fs, int fd, struct node **ret)
{
	char key[INDEX_NAME_MAX + 1];
	struct statx st;
	struct origin o;
	int r;

	if (s->index_fd >= 0 && index_key(s, fs, fd, "", key) == 0) {
		r = index_stat(s, key, &st);
		if (r < 0)
			return r;
		if (r && S_ISCHR(st.stx_mode) && !st.stx_rdev_major && !st.stx_rdev_minor)
			return -ESTALE;		/* removed, says the complete index */
		if (r) {
			CLEANUP_CLOSE int up = sys_openat(s->index_fd, key, O_PATH | O_NOFOLLOW, 0);

			r = up < 0 ? up : detached(s, id, up, LAYER_UPPER, key, ret);
			goto out;
		}
	}
	r = s->has_upper ? find_origin(s, id, &o) : 0;
	if (r > 0) {
		CLEANUP_CLOSE int up = open_number(s, s->layers[LAYER_UPPER].fs, o.upper_ino,
						   o.upper_generation);

		r = up < 0 ? up : detached(s, id, up, LAYER_UPPER, NULL, ret);
	} else if (r == 0) {
		uint16_t layer = 0;

		for (uint16_t i = 1; i <= s->n_lower && !layer; i++)
			if (s->layers[i].fs == fs)
				layer = i;
		r = layer ? detached(s, id, fd, layer, NULL, ret) : -ESTALE;
	}
out:
	if (r == 0)
		set_generation(s, *ret, fs, fd);
	return r;
}

static int resolve_orphan(struct lam_stack *s, uint64_t id, struct node **ret)
{
	char orphan[32];
	struct statx st;
	struct node *n;
	bool is_new;
	int r;

	if (s->orphan_fd < 0)
		return -ESTALE;
	work_orphan_name(id, orphan);
	r = sys_statx(s->orphan_fd, orphan, &st);
	if (r < 0)
		return r == -ENOENT ? -ESTALE : r;
	n = node_obtain(s, id, st.stx_mode, &is_new);
	if (!n)
		return -ENOMEM;
	mutex_lock(&n->lock);
	if (!n->real_ino) {
		n->layer = LAYER_UPPER;
		n->real_ino = st.stx_ino;
		n->flags |= NF_ORPHAN | NF_DEAD;
		n->generation = fsys_generation(s, s->layers[LAYER_UPPER].fs, s->orphan_fd, orphan, NULL);
		atomic_fetch_add(&s->stat_orphans, 1);
	}
	mutex_unlock(&n->lock);
	*ret = n;
	return 0;
}

int resolve_id(struct lam_stack *s, uint64_t id, struct node **ret)
{
	CLEANUP_CLOSE int fd = -1;
	struct node *n = NULL;
	struct fsys *fs;
	struct stat st;
	uint64_t ino;
	int r;

	if (resolve_orphan(s, id, ret) == 0)
		return 0;
	ino = id_real_ino(s, id, &fs);
	if (!fs || !ino)
		return -ESTALE;
	if (id & ID_BORN_UPPER) {
		r = resolve_born_upper(s, id, fs, ino, &n);
	} else {
		fd = open_number(s, fs, ino, 0);
		if (fd < 0)
			return fd == -EPERM ? -ESTALE : fd;
		r = sys_stat(fd, "", &st);
		if (r == 0 && S_ISDIR(st.st_mode))
			r = resolve_lower_dir(s, fd, fs, id, &n);
		else if (r == 0)
			r = resolve_lower_file(s, id, fs, fd, &n);
	}
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
