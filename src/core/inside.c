/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether an inode that was opened by its number lies in a layer.  Numbers are those of whole filesystems,
 * and whoever may open handles can name any: what is not proved to be inside must stay outside.
 *
 * Directories are proved by their path (resolve.c), inodes of upper by the map of it (uppermap.c).  A lower
 * file is proved by what the front end holds, by the path that the kernel remembers, and in the end by the
 * numbers of all that is in the lower layers, which one walk gathers.
 * Lock: origins_lock for the gathered numbers.
 */
#include "core.h"

#include <errno.h>
#include <time.h>

/* Layers to ask for a path before the walk is made instead: each costs two system calls. */
#define PATHS_TRIED 16u
/* Where lower layers may change: how old the numbers must be to be gathered again, in seconds. */
#define NUMBERS_AGE 2

/* ---- A walk of one layer, without recursion ---- */

struct todo {
	struct todo *next;
	struct sys_handle handle;
};

struct layerwalk {
	struct lam_stack *s;
	struct walked at; /* the directory under way */
	int mount;	  /* of the layer: nothing on another is part of it */
	struct fsys *host;
	struct todo *todo;
	bool partial;
	walk_fn fn;
	void *ctx;
};

static int walk_name(void *ctx, const struct sys_dirent *de)
{
	struct layerwalk *w = ctx;
	struct todo *t;
	int mount, r;

	w->at.type = de->type;
	if (de->type == DT_UNKNOWN) {
		struct stat st;

		if (sys_stat(w->at.fd, de->name, &st) < 0)
			return 0;
		w->at.type = (uint8_t)((st.st_mode & S_IFMT) >> 12);
	}
	r = w->fn(w->ctx, &w->at, de);
	if (r || w->at.type != DT_DIR)
		return r;
	t = malloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	r = sys_name_to_handle(w->at.fd, de->name, &t->handle, &mount);
	if (r < 0 || mount != w->mount) {
		w->partial |= r < 0 && r != -ENOENT;
		free(t);
		return 0;
	}
	t->next = w->todo;
	w->todo = t;
	return 0;
}

/* Go through one directory.  1 if FN has what it looked for. */
static int walk_dir(struct layerwalk *w, int fd, bool top)
{
	struct statx st;
	int r = sys_statx(fd, "", &st);

	if (r < 0)
		return r;
	w->at = (struct walked){ .fd = fd, .ino = st.stx_ino };
	w->at.fs = fsys_met(w->s, fd, &st, w->host);
	if (!top)
		r = w->fn(w->ctx, &w->at, NULL);
	return r ? r : dirscan(fd, walk_name, w);
}

int walk_layer(struct lam_stack *s, uint16_t layer, walk_fn fn, void *ctx, bool *ret_partial)
{
	struct layerwalk w = { .s = s, .host = s->layers[layer].fs, .fn = fn, .ctx = ctx };
	struct sys_handle h;
	int r;

	if (sys_name_to_handle(s->layers[layer].fd, "", &h, &w.mount) < 0)
		w.mount = -1; /* nor will it give one of what is below */
	r = walk_dir(&w, s->layers[layer].fd, true);
	while (w.todo) {
		struct todo *t = w.todo;

		w.todo = t->next;
		if (r == 0) {
			int fd = sys_open_by_handle(s->layers[layer].fd, &t->handle,
						    O_RDONLY | O_DIRECTORY);

			w.partial |= fd < 0 && fd != -ESTALE;
			if (fd >= 0) {
				r = walk_dir(&w, fd, false);
				if (r == -ENOENT) /* removed while it was read */
					r = 0;
				sys_close(fd);
			}
		}
		free(t);
	}
	if (ret_partial)
		*ret_partial = w.partial;
	return r;
}

/* ---- By path ---- */

int path_below(struct lam_stack *s, int fd, uint16_t layer, char **ret)
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
	if (m == 1) /* "/": a private clone, rooted at the layer */
		m = 0;
	if (n < m || memcmp(path, root, (size_t)m) || (path[m] && path[m] != '/'))
		return -ESTALE;
	while (path[m] == '/')
		m++;
	*ret = strdup(path + m);
	return *ret ? 0 : -ENOMEM;
}

bool layer_has_fs(const struct lam_stack *s, uint16_t layer, const struct fsys *fs)
{
	const struct fsys *own = s->layers[layer].fs;

	return own && (own == fs || own == fs->host);
}

/* Whether the kernel knows the inode by a name in a lower layer.  What it does not know, and what lies outside of
 * the layer's mount, is "/". */
static bool inside_by_path(struct lam_stack *s, const struct fsys *fs, const struct sys_handle *h)
{
	unsigned tried = 0;

	for (uint16_t i = 1; i <= s->n_lower && tried < PATHS_TRIED; i++) {
		CLEANUP_CLOSE int fd = -1;
		CLEANUP_FREE char *path = NULL;

		if (!layer_has_fs(s, i, fs))
			continue;
		tried++;
		fd = sys_open_by_handle(s->layers[i].fd, h, O_PATH);
		if (fd >= 0 && path_below(s, fd, i, &path) == 0 && *path)
			return true;
	}
	return false;
}

/* ---- By number ---- */

static int lower_number(void *ctx, const struct walked *at, const struct sys_dirent *de)
{
	(void)ctx;
	if (!at->fs || !de || at->type == DT_DIR)
		return 0;
	return numset_add(&at->fs->inside, de->ino);
}

static int64_t now_seconds(void)
{
	struct timespec t = { 0 };

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t); /* fails only for unknown clocks */
	return t.tv_sec;
}

static bool due_locked(const struct lam_stack *s)
{
	return !s->inside_known ||
	       (s->watch_lower && now_seconds() - s->inside_since > NUMBERS_AGE);
}

static int gather_locked(struct lam_stack *s)
{
	int r = 0;

	for (unsigned i = 0; i < s->n_filesystems; i++)
		numset_clear(&s->filesystems[i].inside);
	for (uint16_t i = 1; i <= s->n_lower && r == 0; i++)
		if (s->layers[i].fs->can_decode && !s->layers[i].fs->opaque_handles)
			r = walk_layer(s, i, lower_number, NULL, NULL);
	s->inside_known = r == 0;
	s->inside_since = now_seconds();
	return r;
}

int inside_lower(struct lam_stack *s, uint64_t id, struct fsys *fs, uint64_t ino,
		 const struct sys_handle *h)
{
	bool has, due;
	int r = 0;

	if (stack_in_use(s, id)) /* given out before */
		return 1;
	mutex_lock(&s->origins_lock);
	has = numset_has(&fs->inside, ino);
	due = due_locked(s);
	mutex_unlock(&s->origins_lock);
	if (has)
		return 1;
	if (!due)
		return 0;
	if (inside_by_path(s, fs, h))
		return 1;
	mutex_lock(&s->origins_lock);
	if (due_locked(s))
		r = gather_locked(s);
	has = numset_has(&fs->inside, ino);
	mutex_unlock(&s->origins_lock);
	return r < 0 ? r : has;
}
