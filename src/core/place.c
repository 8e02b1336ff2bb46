/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where an object's real inode is reached.  A place is a pinned directory descriptor and a name, as
 * they were at one moment; who uses it compares the inode number and asks again where a rename came
 * between, so no lock is held over a system call.
 */
#include "core.h"

/* The real directory of D in LAYER, referenced; NULL if it has none. */
static struct rdir *dir_in_layer(struct node *d, uint16_t layer)
{
	struct rdir *r = NULL;

	mutex_lock(&d->lock);
	if (layer == LAYER_UPPER) {
		r = d->dir->upper;
	} else {
		for (unsigned i = 0; i < d->dir->n_lower && !r; i++)
			if (d->dir->lower[i]->layer == layer)
				r = d->dir->lower[i];
	}
	if (r)
		rdir_ref(r);
	mutex_unlock(&d->lock);
	return r;
}

static int place_dir(struct lam_stack *s, struct node *n, struct place *p)
{
	struct rdir *r = NULL;
	int res;

	mutex_lock(&n->lock);
	if (n->dir->upper)
		r = rdir_ref(n->dir->upper);
	else if (n->dir->n_lower)
		r = rdir_ref(n->dir->lower[0]);
	mutex_unlock(&n->lock);
	if (!r)
		return -ESTALE;
	res = rdir_open(s, r, &p->pin);
	if (res == 0) {
		p->dirfd = p->pin->fd;
		p->ino = r->ino;
		p->layer = r->layer;
		p->name[0] = '\0';
	}
	rdir_put(s, r);
	return res;
}

static int place_handle(struct lam_stack *s, const struct sys_handle *handle, struct place *p)
{
	p->owned = sys_open_by_handle(s->layers[p->layer].fs->mount_fd, handle, O_PATH);
	if (p->owned < 0) {
		int r = p->owned;

		p->owned = -1;
		return r;
	}
	p->dirfd = p->owned;
	p->name[0] = '\0';
	return 0;
}

int node_place(struct lam_stack *s, struct node *n, struct place *p)
{
	struct sys_handle handle;
	struct node *parent;
	struct rdir *r;
	int res;

	*p = (struct place)PLACE_NONE;
	if (node_is_dir(n) && !(n->flags & NF_ORPHAN))
		return place_dir(s, n, p);

	mutex_lock(&n->lock);
	p->ino = n->real_ino;
	p->layer = n->layer;
	if (n->flags & NF_ORPHAN) {
		work_orphan_name(n->id, p->name);
		mutex_unlock(&n->lock);
		p->dirfd = s->orphan_fd;
		return 0;
	}
	if (n->flags & NF_INDEXED && n->extra && n->extra->index_name && s->index_fd >= 0) {
		CHECK(strlen(n->extra->index_name) <= LAM_NAME_MAX);
		strcpy(p->name, n->extra->index_name);
		mutex_unlock(&n->lock);
		p->dirfd = index_dir(s, p->name);
		return 0;
	}
	if (n->flags & NF_DETACHED && n->extra && n->extra->handle) {
		handle = *n->extra->handle;
		mutex_unlock(&n->lock);
		return place_handle(s, &handle, p);
	}
	parent = n->parent;
	if (!parent || !n->name) {
		mutex_unlock(&n->lock);
		return -ESTALE;
	}
	node_ref(parent);
	strcpy(p->name, n->name);
	mutex_unlock(&n->lock);

	r = dir_in_layer(parent, p->layer);
	node_put(s, parent);
	if (!r)
		return -ESTALE;
	res = rdir_open(s, r, &p->pin);
	rdir_put(s, r);
	if (res == 0)
		p->dirfd = p->pin->fd;
	return res;
}

void place_done(struct lam_stack *s, struct place *p)
{
	fdcache_put(&s->fds, p->pin);
	if (p->owned >= 0)
		sys_close(p->owned);
	*p = (struct place)PLACE_NONE;
}

/* Whether what the place gave is a sign of a rename between, and worth another look. */
static bool moved_between(int r, unsigned tries)
{
	return tries < 8 && (r == -ENOENT || r == -ESTALE || r == -ENOTDIR);
}

int node_statx(struct lam_stack *s, struct node *n, struct statx *ret)
{
	struct statx st;
	int r;

	for (unsigned tries = 0;; tries++) {
		struct place p;

		r = node_place(s, n, &p);
		if (r == 0)
			r = sys_statx(p.dirfd, p.name, &st);
		if (r == 0 && st.stx_ino != p.ino)
			r = -ESTALE;
		place_done(s, &p);
		if (!moved_between(r, tries))
			break;
	}
	if (r == -ENOENT)
		r = -ESTALE; /* the name went behind our back */
	if (r == 0)
		*ret = st;
	return r;
}

static int open_at_place(struct lam_stack *s, struct node *n, int flags)
{
	CLEANUP_CLOSE int fd = -1;
	struct stat st;
	struct place p;
	int r = node_place(s, n, &p);

	if (r == 0) {
		if (p.name[0])
			fd = sys_openat(p.dirfd, p.name, flags | O_NOFOLLOW, 0);
		else
			fd = sys_reopen(p.dirfd, flags);
		r = fd < 0 ? fd : sys_stat(fd, "", &st);
	}
	if (r == 0 && st.st_ino != p.ino)
		r = -ESTALE;
	place_done(s, &p);
	return r < 0 ? r : TAKE_FD(fd);
}

int node_open(struct lam_stack *s, struct node *n, int flags)
{
	unsigned tries = 0;
	int r;

	/* A FIFO or device that took the name behind our back must not be waited for or woken. */
	if (!(flags & O_PATH)) {
		if (!S_ISREG(node_mode_type(n)) && !node_is_dir(n))
			return -EINVAL;
		flags |= O_NONBLOCK | O_NOCTTY;
	}
	do {
		r = open_at_place(s, n, flags);
	} while (moved_between(r, tries++));
	return r == -ENOENT ? -ESTALE : r;
}

int node_open_marks(struct lam_stack *s, struct node *n)
{
	int fd = -EACCES;

	if (!s->path_fds_lead && (S_ISREG(node_mode_type(n)) || node_is_dir(n)))
		fd = node_open(s, n, O_RDONLY);
	return fd == -EACCES ? node_open(s, n, O_PATH) : fd;
}

int node_set_mark(struct lam_stack *s, struct node *n, int fd, const struct node_mark *m)
{
	struct statx st;
	struct place p;
	HELD(parent, s);
	int r = sys_change_xattr(fd, "", m->name, m->value, m->size, m->flags);

	if (r != -EBADF)
		return r;
	mutex_lock(&n->lock);
	parent.n = n->parent ? node_ref(n->parent) : NULL;
	mutex_unlock(&n->lock);
	/* So that no other object gets the name meanwhile. */
	if (parent.n)
		mutex_lock(&parent.n->dir->lock);
	r = node_place(s, n, &p);
	if (r == 0)
		r = sys_statx(p.dirfd, p.name, &st);
	if (r == 0 && st.stx_ino != p.ino)
		r = -ESTALE;
	if (r == 0)
		r = sys_change_xattr(p.dirfd, p.name, m->name, m->value, m->size, m->flags);
	place_done(s, &p);
	if (parent.n)
		mutex_unlock(&parent.n->dir->lock);
	return r;
}
