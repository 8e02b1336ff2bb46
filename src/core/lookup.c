/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a name is: the walk through the layers, as the kernel's overlayfs does it (whiteouts, opaque
 * directories, redirects, metacopy, origins, the index).  The caller holds the directory's lock.
 * docs/design/lookup-and-merge.md tells the rules.
 */
#include "core.h"

#include <errno.h>
#include <sys/sysmacros.h>

int name_check(struct lam_stack *s, const char *name, bool create)
{
	size_t len = strnlen(name, LAM_NAME_MAX + 1);

	if (len > LAM_NAME_MAX)
		return -ENAMETOOLONG;
	if (len == 0 || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	if (s->read_dot_wh && name_is_dot_wh(name))
		return create ? -EINVAL : -ENOENT;
	return 0;
}

void found_done(struct lam_stack *s, struct found *f)
{
	rdir_put(s, f->upper);
	for (unsigned i = 0; i < f->n_lower; i++)
		rdir_put(s, f->lower[i]);
	free(f->lower);
	rdir_put(s, f->data_dir);
	free(f->data_name);
	free(f->data_path);
	free(f->index_name);
	*f = (struct found){ 0 };
}

/* A lookup under way. */
struct walk {
	struct lam_stack *s;
	struct node *d;
	struct found *f;
	char *path;	 /* the name to look for below, or an absolute path; owned */
	bool absolute;	 /* PATH starts at the roots of the layers */
	size_t prefix;	 /* bytes of PATH before the part that is looked at */
	bool redirected; /* PATH is not the name asked for */
	bool stop;
	bool want_data;	     /* the object is found; its data is still looked for */
	bool protattr;	     /* of the directory looked at last */
	bool upper_origin;   /* upper's directory has an origin */
	uint16_t last_layer; /* where the walk has come to */
};

/* Whether a file is on record as one that was born where it lies and has no mark but protattr: then its
 * attributes need not be read again.  A whiteout is never on record. */
static bool known_plain(struct lam_stack *s, uint16_t layer, const struct statx *st,
			bool *ret_protattr)
{
	const uint16_t marked = NF_METACOPY | NF_DEAD | NF_INDEXED | NF_ORIGIN | NF_BY_NAME;
	struct fsys *fs = s->watch_lower ? NULL : fsys_by_dev(s, statx_dev(st));
	struct node *n = fs ? node_find(s, id_make(s, fs, st->stx_ino, layer == LAYER_UPPER))
			    : NULL;
	bool plain;

	if (!n)
		return false;
	mutex_lock(&n->lock); /* another thread may be filling it */
	plain = n->type == S_IFREG >> 12 && n->layer == layer && n->real_ino == st->stx_ino &&
		!(n->flags & marked);
	*ret_protattr = n->flags & NF_PROTATTR;
	mutex_unlock(&n->lock);
	node_put(s, n);
	return plain;
}

bool lookup_is_whiteout(struct lam_stack *s, uint16_t layer, int dirfd, const char *name,
			const struct statx *st)
{
	bool protattr;
	struct ovl_xattrs x;

	if (S_ISCHR(st->stx_mode))
		return st->stx_rdev_major == 0 && st->stx_rdev_minor == 0;
	if (!S_ISREG(st->stx_mode) || st->stx_size != 0 || known_plain(s, layer, st, &protattr))
		return false;
	return ovl_scan(s, layer, dirfd, name, &x) == 0 && x.whiteout;
}

static int has_dot_wh(struct lam_stack *s, const struct rdir *r, int dirfd, const char *name)
{
	char wh[LAM_NAME_MAX + 1];
	struct stat st;
	int res;

	if (!s->read_dot_wh || r->no_dot_wh || strlen(name) + DOT_WH_LEN > LAM_NAME_MAX)
		return 0;
	memcpy(wh, DOT_WH, DOT_WH_LEN);
	strcpy(wh + DOT_WH_LEN, name);
	res = sys_stat(dirfd, wh, &st);
	if (res == -ENOENT || res == -ENAMETOOLONG)
		return 0;
	return res < 0 ? res : 1;
}

static int add_lower(struct walk *w, struct rdir *r)
{
	struct found *f = w->f;

	if (f->n_lower == f->cap_lower) {
		uint16_t cap = f->cap_lower ? (uint16_t)(f->cap_lower * 2) : 2;
		struct rdir **lower = realloc(f->lower, cap * sizeof(*lower));

		if (!lower)
			return -ENOMEM;
		f->lower = lower;
		f->cap_lower = cap;
	}
	f->lower[f->n_lower++] = r;
	return 0;
}

/* Follow the redirect of NAME: PATH for the layers below.  On an absolute path a relative one takes the
 * place of NAME there. */
static int take_redirect(struct walk *w, int dirfd, const char *name, const char *rest)
{
	CLEANUP_FREE char *redirect = NULL;
	size_t prefix = w->absolute ? w->prefix : 0;
	char *path;
	int r;

	/* Data-only layers are named by redirects even where others are not followed. */
	if (!w->s->redirect_follow && !(w->want_data && w->s->n_data)) {
		log_warning("refusing to follow the redirect of %s (redirect_dir=nofollow)",
			    QUOTE(name));
		return -EPERM;
	}
	r = ovl_get_redirect(w->s, dirfd, name, &redirect);
	if (r < 0)
		return r == -ENODATA ? 0 : r;
	if (*redirect == '/')
		prefix = 0;
	path = malloc(prefix + strlen(redirect) + strlen(rest) + 2);
	if (!path)
		return -ENOMEM;
	if (prefix)
		memcpy(path, w->path, prefix);
	strcpy(path + prefix, redirect);
	if (*rest) {
		strcat(path, "/");
		strcat(path, rest);
	}
	free(w->path);
	w->path = path;
	w->redirected = true;
	if (*redirect == '/') {
		w->absolute = true;
		w->stop = false;
	}
	return 0;
}

static int is_own_root(const struct lam_stack *s, dev_t dev, uint64_t ino)
{
	for (uint16_t i = 0; i < s->n_layers; i++) {
		const struct layer *l = &s->layers[i];

		if (l->fd >= 0 && l->ino == ino && l->fs->dev == dev)
			return true;
	}
	return s->base_fd >= 0 && s->work_ino == ino && s->layers[LAYER_UPPER].fs->dev == dev;
}

/* Whether the directory that is looked in has no part below the one that R is in. */
static bool is_last_position(const struct walk *w, const struct rdir *r)
{
	const struct dir *dir = w->d->dir;

	return !dir->n_lower || r->parent == dir->lower[dir->n_lower - 1];
}

/* A directory is found at one layer: its marks decide about the layers below.  REST: what of an
 * absolute path is still to come (then it is only passed through). */
static int take_dir_marks(struct walk *w, struct rdir *r, int parent_fd, const char *name,
			  const char *rest, bool *ret_impure, bool *ret_origin)
{
	struct lam_stack *s = w->s;
	struct ovl_xattrs x;
	struct fdent *e;
	int res;

	*ret_impure = *ret_origin = false;
	if (r->layer == s->n_lower) /* nothing is below: marks say nothing */
		return 0;
	res = ovl_scan(s, r->layer, parent_fd, name, &x);
	if (res < 0)
		return res;
	*ret_impure = x.impure;
	w->protattr = x.protattr;
	*ret_origin = x.origin;
	if (x.opaque) {
		w->stop = true;
		if (!*rest)
			w->f->opaque |= r->layer == LAYER_UPPER;
	}
	if (!w->stop && s->read_dot_wh && !*rest) {
		struct stat st;

		res = has_dot_wh(s, r->parent, parent_fd, name);
		if (res < 0)
			return res;
		if (res)
			w->stop = true;
		res = rdir_open(s, r, &e);
		if (res < 0)
			return res;
		if (!sys_stat(e->fd, DOT_WH_OPAQUE, &st))
			w->stop = true;
		fdcache_put(&s->fds, e);
		if (w->stop)
			w->f->opaque |= r->layer == LAYER_UPPER;
	}
	/* One that leads nowhere is refused to nobody, as in the kernel's overlayfs; neither is that of an opaque
	 * directory, which has nothing below to be led to. */
	if (x.redirect && !x.opaque && (s->redirect_follow || !is_last_position(w, r))) {
		if (!*rest)
			w->f->has_redirect |= r->layer == LAYER_UPPER;
		return take_redirect(w, parent_fd, name, rest);
	}
	return 0;
}

static int take_dir(struct walk *w, struct rdir *parent, int parent_fd, const char *name,
		    const struct statx *st)
{
	struct found *f = w->f;
	struct rdir *r;
	bool impure, origin;
	int res;

	if (is_own_root(w->s, statx_dev(st), st->stx_ino))
		return -ELOOP;
	r = rdir_new(parent, name, parent->layer, st->stx_ino);
	if (!r)
		return -ENOMEM;
	res = take_dir_marks(w, r, parent_fd, name, "", &impure, &origin);
	if (res < 0) {
		rdir_put(w->s, r);
		return res;
	}
	atomic_store(&r->impure, impure ? 2 : r->layer == w->s->n_lower ? 0 : 1);
	r->true_numbers = statx_dev(st) == w->s->layers[r->layer].fs->dev &&
			  !w->s->layers[r->layer].fs->opaque_handles;
	if (!f->type) {
		f->type = S_IFDIR;
		f->layer = parent->layer;
		f->st = *st;
	}
	f->bottom_ino = st->stx_ino;
	f->bottom_dev = statx_dev(st);
	f->bottom_birth = birth_generation(st);
	f->have_bottom = true;
	if (parent->layer == LAYER_UPPER) {
		f->upper = r;
		f->protattr = w->protattr;
		w->upper_origin = origin;
		if (origin) {
			struct fh fh;

			if (ovl_get_origin(w->s, parent_fd, name, &fh) == 0)
				(void)lookup_origin(w->s, &fh, f);
		}
		return 0;
	}
	res = add_lower(w, r);
	if (res < 0)
		rdir_put(w->s, r);
	return res;
}

/* The number of an inode whose handle only its filesystem understands (FUSE, another overlay). */
static int origin_by_decoding(const struct fsys *fs, const struct fh_view *v, uint64_t *ret_ino)
{
	struct sys_handle h = { .type = v->type, .len = (unsigned)v->fid_len };
	CLEANUP_CLOSE int fd = -1;
	struct stat st;
	int r;

	if (v->fid_len > sizeof(h.fid))
		return -EINVAL;
	memcpy(h.fid, v->fid, v->fid_len);
	fd = sys_open_by_handle(fs->mount_fd, &h, O_PATH);
	r = fd < 0 ? fd : sys_stat(fd, "", &st);
	if (r == 0)
		*ret_ino = st.st_ino;
	return r;
}

/* What an origin says, if its filesystem is one of ours.  -ENODATA otherwise. */
int lookup_origin(struct lam_stack *s, const struct fh *fh, struct found *f)
{
	struct fh_view v;
	struct fsys *fs;
	int r = fh_decode(fh->bytes, fh->len, &v);

	if (r < 0)
		return -ENODATA;
	fs = fsys_by_fh(s, &v);
	if (!fs || v.path_upper || v.type != fs->handle_type ||
	    v.fid_len > sizeof(f->origin_handle.fid))
		return -ENODATA;
	r = fs->opaque_handles ? origin_by_decoding(fs, &v, &f->origin_ino)
			       : fid_inode(v.type, v.fid, v.fid_len, fs->tmpfs, &f->origin_ino,
					   &f->origin_generation);
	if (r < 0)
		return -ENODATA;
	f->origin_fs = fs;
	f->origin_known = true;
	f->origin_handle.type = v.type;
	f->origin_handle.len = (unsigned)v.fid_len;
	memcpy(f->origin_handle.fid, v.fid, v.fid_len);
	return 0;
}

/* The origin of an upper file whose handle cannot be opened: the lower object of this very name, if it
 * has that handle. */
static int origin_by_name(struct walk *w, const char *name, const struct fh *origin)
{
	struct lam_stack *s = w->s;
	struct dir *dir = w->d->dir;

	for (unsigned i = 0; i < dir->n_lower; i++) {
		struct fsys *fs = s->layers[dir->lower[i]->layer].fs;
		struct statx st;
		struct fdent *e;
		struct fh fh;
		int r;

		if (!fs->opaque_handles || rdir_open(s, dir->lower[i], &e) < 0)
			continue;
		r = fsys_fh(s, fs, e->fd, name, false, &fh);
		if (r == 0)
			r = sys_statx(e->fd, name, &st);
		fdcache_put(&s->fds, e);
		/* A filesystem that forgets its handles (another FUSE server) gives a new one each time:
		 * the name and type have to do then. */
		if (r < 0 || (!fh_equal(&fh, origin) && (st.stx_mode & S_IFMT) != w->f->type))
			continue;
		w->f->origin_fs = fs;
		w->f->origin_ino = st.stx_ino;
		w->f->origin_generation = 0;
		w->f->origin_known = true;
		return 0;
	}
	return -ENODATA;
}

/* Origin, index and nlink of an upper file. */
static int take_upper_origin(struct walk *w, int dirfd, const char *name,
			     const struct ovl_xattrs *x)
{
	struct lam_stack *s = w->s;
	struct found *f = w->f;
	char key[INDEX_NAME_MAX + 1];
	struct statx st;
	struct fh fh;
	int r;

	r = ovl_get_origin(s, dirfd, name, &fh);
	if (r < 0)
		return r == -ENODATA ? 0 : r;
	if (lookup_origin(s, &fh, f) < 0 && origin_by_name(w, name, &fh) < 0)
		return 0;
	if (!x->nlink || s->index_fd < 0)
		return 0;
	index_name_encode(&fh, key);
	st.stx_ino = f->st.stx_ino;
	r = index_stat(s, key, &st);
	if (r == 0)
		r = index_adopt_file(s, dirfd, name, key, &f->st);
	if (r < 0)
		return r;
	if (r && st.stx_ino == f->st.stx_ino) {
		f->indexed = true;
		f->index_name = strdup(key);
		if (!f->index_name)
			return -ENOMEM;
	}
	return 0;
}

/* What a record says in place of the attribute. */
static void take_record(struct walk *w, int dirfd, const char *name)
{
	struct found *f = w->f;
	char key[INDEX_NAME_MAX + 1];
	struct origin_record rec;
	struct fsys *fs;
	uint64_t ino;

	if (!record_load(w->s, dirfd, name, &f->st, &rec))
		return;
	ino = id_real_ino(w->s, rec.id, &fs);
	if (!fs || !ino)
		return;
	f->origin_fs = fs;
	f->origin_ino = ino;
	f->origin_generation = rec.generation;
	f->origin_known = f->recorded = true;
	if (special_find(w->s, &f->st, key))
		f->index_name = strdup(key);
	f->indexed = f->index_name != NULL;
}

static int set_data(struct walk *w, struct rdir *parent, const char *name)
{
	w->f->data_name = strdup(name);
	if (!w->f->data_name)
		return -ENOMEM;
	w->f->data_dir = rdir_ref(parent);
	return 0;
}

/* A non-directory is found at one layer. */
static int take_file(struct walk *w, struct rdir *parent, int dirfd, const char *name,
		     const struct statx *st)
{
	struct lam_stack *s = w->s;
	struct found *f = w->f;
	struct ovl_xattrs x = { 0 };
	bool upper = parent->layer == LAYER_UPPER;
	int r;

	if (f->type && !w->want_data) { /* below a directory */
		w->stop = true;
		return 0;
	}
	if (w->want_data && !S_ISREG(st->stx_mode)) {
		w->stop = true;
		return 0;
	}
	/* In the lowest layer no mark has a meaning. */
	if (parent->layer != s->n_lower &&
	    (w->want_data || !known_plain(s, parent->layer, st, &x.protattr))) {
		r = ovl_scan(s, parent->layer, dirfd, name, &x);
		if (r < 0)
			return r;
	}
	if (!w->want_data) {
		f->type = st->stx_mode & S_IFMT;
		f->layer = parent->layer;
		f->st = *st;
		f->lower_links = !upper && st->stx_nlink > 1;
		f->protattr = upper && x.protattr;
		if (x.origin && (upper || atomic_load(&parent->impure) != 1)) {
			r = take_upper_origin(w, dirfd, name, &x);
			if (r < 0)
				return r;
		}
		if (upper && !f->origin_known && (x.origin || record_needed(s, f->type)))
			take_record(w, dirfd, name);
		f->metacopy = x.metacopy && S_ISREG(st->stx_mode);
		if (!f->metacopy) {
			w->stop = true;
			return 0;
		}
		if (!s->metacopy_read && !(s->n_data && !upper)) {
			log_warning("refusing to follow the metacopy file %s (metacopy=off)",
				    QUOTE(name));
			return -EPERM;
		}
		w->want_data = true;
	} else if (!x.metacopy) {
		w->stop = true;
		return set_data(w, parent, name);
	}
	return x.redirect ? take_redirect(w, dirfd, name, "") : 0;
}

/* Look at NAME in one real directory. */
static int look(struct walk *w, struct rdir *parent, const char *name)
{
	struct lam_stack *s = w->s;
	struct fdent *e;
	struct statx st;
	int r;

	w->last_layer = parent->layer;
	if (strlen(name) > LAM_NAME_MAX) /* of a redirect; some filesystems have longer names */
		return 0;
	r = rdir_open(s, parent, &e);
	if (r < 0)
		return r;
	r = sys_statx(e->fd, name, &st);
	if (r == -ENOENT || r == -ENAMETOOLONG) {
		r = has_dot_wh(s, parent, e->fd, name);
		if (r > 0) {
			w->stop = true;
			w->f->upper_dot_wh |= parent->layer == LAYER_UPPER;
			r = 0;
		}
	} else if (r == 0 && lookup_is_whiteout(s, parent->layer, e->fd, name, &st)) {
		w->stop = true;
		if (parent->layer == LAYER_UPPER) {
			w->f->upper_whiteout = S_ISCHR(st.stx_mode);
			w->f->upper_dead_file = !w->f->upper_whiteout;
		}
	} else if (r == 0 && S_ISDIR(st.stx_mode)) {
		if (w->want_data || (w->f->type && !S_ISDIR(w->f->type)))
			w->stop = true;
		else
			r = take_dir(w, parent, e->fd, name, &st);
	} else if (r == 0) {
		r = take_file(w, parent, e->fd, name, &st);
	}
	fdcache_put(&s->fds, e);
	return r;
}

/* Pass through one directory of an absolute path; *RET gets the next one, or NULL. */
static int pass(struct walk *w, struct rdir *at, const char *name, const char *rest,
		struct rdir **ret)
{
	struct lam_stack *s = w->s;
	struct rdir *next = NULL;
	struct fdent *e;
	struct statx st;
	bool impure, origin;
	int r = rdir_open(s, at, &e);

	if (r < 0)
		return r;
	r = sys_statx(e->fd, name, &st);
	if (r == -ENOENT || r == -ENAMETOOLONG) {
		r = has_dot_wh(s, at, e->fd, name);
		w->stop |= r > 0;
	} else if (r == 0 && !S_ISDIR(st.stx_mode)) {
		w->stop = true; /* a whiteout, or something that hides a directory */
	} else if (r == 0 && is_own_root(s, statx_dev(&st), st.stx_ino)) {
		r = -ELOOP;
	} else if (r == 0) {
		next = rdir_new(at, name, at->layer, st.stx_ino);
		r = next ? take_dir_marks(w, next, e->fd, name, rest, &impure, &origin) : -ENOMEM;
	}
	fdcache_put(&s->fds, e);
	if (r < 0)
		rdir_put(s, next);
	else
		*ret = next;
	return r < 0 ? r : 0;
}

/* Look at an absolute path in one layer. */
static int look_path(struct walk *w, uint16_t layer)
{
	CLEANUP_FREE char *path = strdup(w->path);
	struct rdir *at = rdir_ref(w->s->root_stack[layer - 1]), *next;
	const char *part;
	size_t pos = 0, len, part_len;
	int r = 0;

	if (!path) {
		rdir_put(w->s, at);
		return -ENOMEM;
	}
	len = strlen(path);
	while (at && redirect_next(path, len, &pos, &part, &part_len)) {
		char name[LAM_NAME_MAX + 1];
		const char *rest;

		if (part_len > LAM_NAME_MAX)
			break;
		memcpy(name, part, part_len);
		name[part_len] = '\0';
		rest = part + part_len;
		w->prefix = strlen(w->path) - strlen(part); /* an earlier part may be redirected */
		while (*rest == '/')
			rest++;
		if (!*rest) {
			r = look(w, at, name);
			break;
		}
		next = NULL;
		r = pass(w, at, name, rest, &next);
		rdir_put(w->s, at);
		at = next;
		if (r < 0)
			break;
	}
	rdir_put(w->s, at);
	return r;
}

/* After an absolute redirect: the layers under LAST_LAYER, from their roots. */
static int walk_layers(struct walk *w)
{
	for (unsigned layer = w->last_layer + 1u; layer <= w->s->n_lower && !w->stop; layer++) {
		int r;

		w->last_layer = (uint16_t)layer;
		r = look_path(w, (uint16_t)layer);
		if (r < 0)
			return r;
	}
	return 0;
}

static struct rdir *at_position(const struct dir *dir, unsigned pos)
{
	return pos ? dir->lower[pos - 1] : dir->upper;
}

/* The positions of the directory that the listing names for the original name; all of them after a
 * relative redirect or without a listing. */
static int walk_positions(struct walk *w, const char *name, const struct lentry *e)
{
	struct dir *dir = w->d->dir;
	const struct listing *l = dir->listing;
	uint32_t more = e ? e->more : 0;
	unsigned pos = e ? e->first : 0;

	while (!w->stop && pos <= dir->n_lower) {
		struct rdir *at = at_position(dir, pos);

		if (at) {
			int r = look(w, at, w->redirected ? w->path : name);

			if (r < 0)
				return r;
		}
		if (w->absolute)
			return walk_layers(w);
		if (!e || w->redirected || w->want_data) {
			pos++;
			continue;
		}
		if (!more)
			break;
		pos = l->chain[more - 1].pos;
		more = l->chain[more - 1].next;
	}
	return 0;
}

/* Metacopy: where the data is, or that it is not to be had. */
static int finish_data(struct walk *w, const char *name)
{
	struct found *f = w->f;

	if (!f->metacopy || f->data_dir)
		return 0;
	if (w->absolute && w->s->n_data && w->path) {
		f->data_path = strdup(w->path);
		return f->data_path ? 0 : -ENOMEM;
	}
	log_warning("%s has metadata only and its data is in no layer", QUOTE(name));
	return -EIO;
}

/* Where the data is of what the index has for the lower file NAME of AT: its own, or, behind metadata only,
 * that of the lower file. */
static int take_index_data(struct walk *w, const char *key, struct rdir *at, const char *name)
{
	struct lam_stack *s = w->s;
	struct found *f = w->f;
	struct ovl_xattrs x;
	int r;

	if (!S_ISREG(f->type))
		return 0;
	r = ovl_scan(s, LAYER_UPPER, s->index_fd, key, &x);
	if (r < 0)
		return r;
	f->protattr = x.protattr;
	if (!x.metacopy) {
		f->metacopy = false;
		return 0;
	}
	if (!s->metacopy_read) {
		log_warning("refusing to follow the metacopy file %s (metacopy=off)", QUOTE(name));
		return -EPERM;
	}
	if (f->metacopy) /* the lower one has none either, and what it leads to is known */
		return 0;
	f->metacopy = true;
	return set_data(w, at, name);
}

/* A lower object without an upper one of this name: the index may know an upper inode. */
static int finish_index(struct walk *w, const char *name)
{
	struct lam_stack *s = w->s;
	struct found *f = w->f;
	char key[INDEX_NAME_MAX + 1];
	struct rdir *at = NULL;
	struct fdent *e;
	struct statx st;
	struct fsys *fs;
	int r;

	if (s->index_fd < 0 || f->layer == LAYER_UPPER || (!f->lower_links && !s->nfs_export))
		return 0;
	fs = fsys_by_dev(s, statx_dev(&f->st));
	for (unsigned i = 0; i < w->d->dir->n_lower && !at; i++)
		if (w->d->dir->lower[i]->layer == f->layer)
			at = w->d->dir->lower[i];
	if (!fs || !at)
		return 0;
	r = rdir_open(s, at, &e);
	if (r < 0)
		return r;
	r = index_key(s, fs, e->fd, name, f->type, key);
	fdcache_put(&s->fds, e);
	if (r < 0)
		return r == -EOPNOTSUPP ? 0 : r;
	r = index_stat(s, key, &st);
	if (r <= 0)
		return r < 0 ? r : links_adjust_load(s, key, &f->nlink_adjust);
	if ((st.stx_mode & S_IFMT) != f->type)
		return 0; /* a whiteout over something that is there again, or junk */
	r = take_index_data(w, key, at, name);
	if (r < 0)
		return r;
	f->index_name = strdup(key);
	if (!f->index_name)
		return -ENOMEM;
	f->lower_st = f->st;
	f->origin_known = true;
	f->origin_fs = fs;
	f->origin_ino = f->st.stx_ino;
	f->st = st;
	f->layer = LAYER_UPPER;
	f->indexed = f->index_only = true;
	return 0;
}

/* A merged directory whose upper part has no origin (made or merged offline) gets it now, as the kernel
 * does, so that its identity lasts.  To fail is no harm. */
static void fix_origin(struct walk *w, const char *name)
{
	struct lam_stack *s = w->s;
	struct rdir *low = w->f->n_lower ? w->f->lower[0] : NULL;
	struct fdent *e;
	struct fh fh;
	int r;

	if (!low || !w->f->upper || w->upper_origin || s->read_only || !s->upper_xattr)
		return;
	r = rdir_open(s, low, &e);
	if (r < 0)
		return;
	fh.len = 0;
	r = fsys_fh(s, s->layers[low->layer].fs, e->fd, "", false, &fh);
	fdcache_put(&s->fds, e);
	if (r < 0 && r != -EOPNOTSUPP)
		return;
	if (rdir_open(s, w->d->dir->upper, &e) < 0)
		return;
	if (copyup_set_impure(s, w->d) == 0)
		(void)ovl_set(s, e->fd, name, "origin", fh.bytes, fh.len);
	fdcache_put(&s->fds, e);
}

int lookup_locked(struct lam_stack *s, struct node *d, const char *name, struct found *f)
{
	struct walk w = { .s = s, .d = d, .f = f };
	const struct lentry *e = NULL;
	int r = name_check(s, name, false);

	if (r < 0)
		return r;
	r = dirlist_build(s, d, false);
	if (r < 0)
		return r;
	if (d->dir->listing && !s->watch_lower) {
		e = listing_find(d->dir->listing, name, strlen(name));
		if (!e)
			return 0;
		dirlist_touch(s, d->dir->listing);
	}
	r = walk_positions(&w, name, e);
	if (r == 0 && f->type && !S_ISDIR(f->type))
		r = finish_data(&w, name);
	if (r == 0 && f->type && !S_ISDIR(f->type))
		r = finish_index(&w, name);
	if (r == 0 && S_ISDIR(f->type))
		fix_origin(&w, name);
	free(w.path);
	if (r < 0)
		found_done(s, f);
	return r;
}

int lookup_lower_positive(struct lam_stack *s, struct node *d, const char *name)
{
	struct dir *dir = d->dir;

	if (dir->listing && !s->watch_lower) {
		const struct lentry *e = listing_find(dir->listing, name, strlen(name));

		if (!e || !(e->flags & LE_BELOW))
			return 0;
	}
	for (unsigned i = 0; i < dir->n_lower; i++) {
		struct fdent *e;
		struct statx st;
		bool whiteout;
		int r = rdir_open(s, dir->lower[i], &e);

		if (r < 0)
			return r;
		r = sys_statx(e->fd, name, &st);
		whiteout = r == 0 && lookup_is_whiteout(s, dir->lower[i]->layer, e->fd, name, &st);
		if (r == -ENOENT && has_dot_wh(s, dir->lower[i], e->fd, name) > 0)
			whiteout = true;
		fdcache_put(&s->fds, e);
		if (whiteout)
			return 0;
		if (r == 0)
			return 1;
		if (r != -ENOENT && r != -ENAMETOOLONG)
			return r;
	}
	return 0;
}
