/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Real directories: one in one layer, known by its parent and name, opened when needed.
 *
 * A descriptor is reopened from the nearest ancestor that has one, one component at a time, and
 * compared with the inode number on record, so a layer that was changed behind our back gives
 * -ESTALE and never another directory.  Lock: rdir_lock for parent and name.
 */
#include "core.h"

struct rdir *rdir_new(struct rdir *parent, const char *name, uint16_t layer, uint64_t ino)
{
	size_t len = name ? strlen(name) + 1 : 0;
	struct rdir *r = calloc(1, sizeof(*r) + len);

	if (!r)
		return NULL;
	if (name)
		r->name = memcpy(r->first_name, name, len);
	r->parent = parent ? rdir_ref(parent) : NULL;
	r->layer = layer;
	r->ino = ino;
	atomic_init(&r->refs, 1);
	return r;
}

static void name_free(struct rdir *r, char *name)
{
	if (name != r->first_name)
		free(name);
}

struct rdir *rdir_ref(struct rdir *r)
{
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void rdir_put(struct lam_stack *s, struct rdir *r)
{
	while (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1) {
		struct rdir *parent = r->parent;

		fdcache_drop(&s->fds, &r->fde);
		name_free(r, r->name);
		free(r);
		r = parent;
	}
}

void rdir_move(struct lam_stack *s, struct rdir *r, struct rdir *parent, char *name)
{
	struct rdir *old_parent;
	char *old_name;

	rdir_ref(parent);
	mutex_lock(&s->rdir_lock);
	old_parent = r->parent;
	old_name = r->name;
	r->parent = parent;
	r->name = name;
	mutex_unlock(&s->rdir_lock);
	name_free(r, old_name);
	rdir_put(s, old_parent);
}

/* Open R from its parent's descriptor. */
static int open_in_parent(struct lam_stack *s, struct rdir *r, int parent_fd)
{
	char name[LAM_NAME_MAX + 1];
	CLEANUP_CLOSE int fd = -1;
	struct stat st;
	int res;

	mutex_lock(&s->rdir_lock);
	strcpy(name, r->name); /* names are at most LAM_NAME_MAX long: checked where they come in */
	mutex_unlock(&s->rdir_lock);
	fd = sys_openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd == -EACCES || fd == -EPERM) /* not readable, but perhaps searchable */
		fd = sys_openat(parent_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? -ESTALE : fd;
	res = sys_stat(fd, "", &st);
	if (res < 0)
		return res;
	if (st.st_ino != r->ino)
		return -ESTALE;
	return TAKE_FD(fd);
}

static struct rdir *parent_of(struct lam_stack *s, struct rdir *r)
{
	struct rdir *p;

	mutex_lock(&s->rdir_lock);
	p = r->parent ? rdir_ref(r->parent) : NULL;
	mutex_unlock(&s->rdir_lock);
	return p;
}

/* Open from the nearest ancestor that is open.  One level is gained at each round, so the way down
 * needs no stack and no recursion however deep the directory lies. */
static int open_once(struct lam_stack *s, struct rdir *r, struct fdent **ret)
{
	for (;;) {
		struct rdir *at = rdir_ref(r), *up;
		struct fdent *e, *new;
		int fd;

		for (;;) {
			up = parent_of(s, at);
			if (!up) {
				rdir_put(s, at);
				return -ESTALE;
			}
			e = fdcache_get(&s->fds, &up->fde, false);
			if (e || !up->name)
				break;
			rdir_put(s, at);
			at = up;
		}
		fd = open_in_parent(s, at, e ? e->fd : s->layers[up->layer].fd);
		fdcache_put(&s->fds, e);
		rdir_put(s, up);
		if (fd < 0) {
			rdir_put(s, at);
			return fd;
		}
		new = fdcache_add(&s->fds, &at->fde, fd, false);
		rdir_put(s, at);
		if (!new)
			return -ENOMEM;
		if (at == r) {
			*ret = new;
			return 0;
		}
		fdcache_put(&s->fds, new);
	}
}

int rdir_open(struct lam_stack *s, struct rdir *r, struct fdent **ret)
{
	int res = 0;

	for (unsigned tries = 0; tries < 8; tries++) {
		struct fdent *e = fdcache_get(&s->fds, &r->fde, false);
		int fd;

		if (e) {
			*ret = e;
			return 0;
		}
		if (!r->name) { /* a layer's root: its descriptor is kept by the layer */
			fd = sys_dup(s->layers[r->layer].fd);
			if (fd < 0)
				return fd;
			e = fdcache_add(&s->fds, &r->fde, fd, false);
			if (!e)
				return -ENOMEM;
			*ret = e;
			return 0;
		}
		res = open_once(s, r, ret);
		if (res != -ESTALE)
			return res;
		/* A rename may have passed between: look at names and parents again. */
	}
	return res;
}
