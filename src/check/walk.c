/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The walk through a layer: depth first, without recursion, with a bounded number of open directories.
 * A frame for each directory on the way holds the names of its subdirectories that are still to come;
 * the descriptors of the outermost frames are closed when the way gets long, and opened again by "..".
 */
#include "check.h"

#include <errno.h>

#define OPEN_FRAMES 64u

struct walk {
	struct check *c;
	uint16_t layer;
	struct frame *frames;
	size_t n, cap;
};

/* ---- Names and paths ---- */

static int path_push(struct check *c, const char *name, size_t *ret_at)
{
	size_t len = strlen(name), at = c->path_len;

	if (at + len + 2 > c->path_cap) {
		size_t cap = (at + len + 2) * 2;
		char *path = realloc(c->path, cap);

		if (!path)
			return -ENOMEM;
		c->path = path;
		c->path_cap = cap;
	}
	if (at)
		c->path[at++] = '/';
	memcpy(c->path + at, name, len + 1);
	c->path_len = at + len;
	*ret_at = at;
	return 0;
}

static void path_cut(struct check *c, size_t len)
{
	c->path_len = len;
	c->path[len] = '\0';
}

static int todo_add(struct frame *f, const char *name)
{
	size_t len = strlen(name) + 1;

	if (f->todo_len + len > f->todo_cap) {
		size_t cap = (f->todo_len + len) * 2;
		char *todo = realloc(f->todo, cap);

		if (!todo)
			return -ENOMEM;
		f->todo = todo;
		f->todo_cap = cap;
	}
	memcpy(f->todo + f->todo_len, name, len);
	f->todo_len += len;
	return 0;
}

/* The last name of the list, taken off; NULL at the end. */
static const char *todo_take(struct frame *f)
{
	size_t at;

	if (!f->todo_len)
		return NULL;
	for (at = f->todo_len - 1; at && f->todo[at - 1]; at--)
		;
	f->todo_len = at;
	return f->todo + at;
}

/* ---- Frames ---- */

static void frame_free(struct frame *f)
{
	if (f->fd >= 0)
		sys_close(f->fd);
	free(f->todo);
}

static int frame_add(struct walk *w, int fd, const struct statx *st, size_t name_at)
{
	struct frame *f;

	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 16;
		struct frame *frames = reallocarray(w->frames, cap, sizeof(*frames));

		if (!frames)
			return -ENOMEM;
		w->frames = frames;
		w->cap = cap;
	}
	f = &w->frames[w->n++];
	*f = (struct frame){
		.fd = fd,
		.ino = st->stx_ino,
		.dev = statx_dev(st),
		.path_len = w->c->path_len,
		.name_at = name_at,
		.below = BELOW_LATER,
	};
	if (w->n > OPEN_FRAMES) {
		struct frame *far = &w->frames[w->n - 1 - OPEN_FRAMES];

		if (far->fd >= 0)
			sys_close(far->fd);
		far->fd = -1;
	}
	return 0;
}

/* Back from the last frame to the one before, whose descriptor may have been closed. */
static int frame_pop(struct walk *w)
{
	struct frame *f = &w->frames[w->n - 1], *up;
	struct statx st;
	int r = 0;

	if (w->n > 1 && w->frames[w->n - 2].fd < 0) {
		up = &w->frames[w->n - 2];
		up->fd = sys_openat(f->fd, "..", O_RDONLY | O_DIRECTORY, 0);
		r = up->fd < 0 ? up->fd : sys_statx(up->fd, "", &st);
		if (r == 0 && (st.stx_ino != up->ino || statx_dev(&st) != up->dev))
			r = -ESTALE; /* somebody moves directories while they are checked */
	}
	frame_free(f);
	w->n--;
	if (w->n)
		path_cut(w->c, w->frames[w->n - 1].path_len);
	return r;
}

/* ---- One directory ---- */

static int entry(void *ctx, const struct sys_dirent *de)
{
	struct walk *w = ctx;
	struct check *c = w->c;
	struct frame *f = &w->frames[w->n - 1];
	uint8_t type = de->type;
	struct stat st;
	int r;

	c->result.objects++;
	if (type == DT_UNKNOWN) {
		r = sys_stat(f->fd, de->name, &st);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		type = (uint8_t)((st.st_mode & S_IFMT) >> 12);
	}
	if (c->hidden.count && !c->lone && w->layer != LAYER_UPPER) {
		r = index_check_hidden(c, w->layer, w->frames, w->n, de);
		if (r < 0)
			return r;
	}
	if (type == DT_DIR)
		return todo_add(f, de->name);
	return object_check(c, w->layer, w->frames, w->n, type, de);
}

static int visit(struct walk *w)
{
	struct frame *f = &w->frames[w->n - 1];
	int r = dir_enter(w->c, w->layer, w->frames, w->n);

	if (r == 0)
		r = dirscan(f->fd, entry, w);
	return r;
}

static int descend(struct walk *w, const char *name)
{
	struct check *c = w->c;
	struct frame *f = &w->frames[w->n - 1];
	/* What is mounted in a layer is no part of it, as in overlayfs. */
	CLEANUP_CLOSE int fd = sys_open_beneath(f->fd, name, O_RDONLY | O_DIRECTORY, true);
	size_t name_at;
	struct statx st;
	int r;

	if (fd == -EXDEV || fd == -ENOENT)
		return 0;
	r = fd < 0 ? fd : sys_statx(fd, "", &st);
	if (r == 0)
		r = path_push(c, name, &name_at);
	if (r < 0) {
		log_error("cannot read %s: %s", QUOTE(name), log_errno(r));
		return r;
	}
	r = frame_add(w, fd, &st, name_at);
	if (r < 0)
		return r;
	(void)TAKE_FD(fd);
	return visit(w);
}

static int walk_all(struct walk *w)
{
	struct check *c = w->c;
	struct statx st;
	int fd = sys_openat(c->layers[w->layer].fd, ".", O_RDONLY | O_DIRECTORY, 0);
	int r = fd < 0 ? fd : sys_statx(fd, "", &st);

	if (r == 0)
		r = frame_add(w, fd, &st, 0);
	if (r < 0) {
		if (fd >= 0)
			sys_close(fd);
		return r;
	}
	r = visit(w);
	while (r == 0 && w->n) {
		const char *name = todo_take(&w->frames[w->n - 1]);

		if (name) {
			r = descend(w, name);
			continue;
		}
		r = dir_leave(c, w->layer, &w->frames[w->n - 1]);
		if (r == 0)
			r = frame_pop(w);
	}
	return r;
}

int walk_tree(struct check *c, uint16_t layer)
{
	struct walk w = { .c = c, .layer = layer };
	int r;

	path_cut(c, 0);
	c->result.objects++;
	r = walk_all(&w);
	while (w.n)
		frame_free(&w.frames[--w.n]);
	free(w.frames);
	path_cut(c, 0);
	return r;
}
