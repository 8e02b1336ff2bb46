/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whiteouts in the index (nfs_export) say that a lower object was removed.  One for an object that the
 * tree shows makes the kernel give EIO for it.  The inodes of all such whiteouts are collected; where the
 * walk through a lower layer meets one of them, the whole stack is asked whether it shows there.
 */
#include "check.h"

#include <errno.h>

static int collect(void *ctx, const struct sys_dirent *de)
{
	struct check *c = ctx;
	CLEANUP_CLOSE int fd = -1;
	struct tslot *slot;
	struct stat st;
	struct fh fh;

	if (sys_stat(c->index_fd, de->name, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != 0 ||
	    index_name_decode(de->name, &fh) < 0)
		return 0;
	fd = origin_open(c, &fh);
	if (fd < 0 || sys_stat(fd, "", &st) < 0)
		return 0;
	slot = table64_add(&c->hidden, st.st_ino);
	if (!slot)
		return -ENOMEM;
	return 0;
}

int index_prepare(struct check *c)
{
	return c->index_fd < 0 ? 0 : dirscan(c->index_fd, collect, c);
}

/* Whether upper lets through what is below PATH, of which NAME is the last part. */
static bool shows_through(struct check *c, char *path)
{
	CLEANUP_CLOSE int at = sys_dup(c->layers[LAYER_UPPER].fd);
	char *save, *name = strtok_r(path, "/", &save);

	for (; name && at >= 0; name = strtok_r(NULL, "/", &save)) {
		char wh[LAM_NAME_MAX + 1 + DOT_WH_LEN], value[4];
		struct stat st;
		int fd;

		(void)snprintf(wh, sizeof(wh), DOT_WH "%s", name);
		if (sys_stat(at, wh, &st) == 0)
			return false;
		fd = sys_openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
		if (fd == -ENOENT)
			return true;
		if (fd < 0)
			return false; /* a whiteout, or another object in its place */
		sys_close(at);
		at = fd;
		if (mark_get(c, at, "", "redirect", value, 0) >= 0 ||
		    (mark_get(c, at, "", "opaque", value, sizeof(value)) == 1 && value[0] == 'y'))
			return false;
	}
	return at >= 0;
}

/* Whether the lower layers together show this very inode there. */
static bool shows_below(struct check *c, uint16_t layer, const char *path, uint64_t ino)
{
	struct lam_stack *s = check_below(c, LAYER_UPPER);
	struct lam_entry e;
	bool yes = false;
	HELD(n, s);

	if (!s || below_follow(c, LAYER_UPPER, LAM_ROOT_ID, path, strlen(path), &e) < 0 ||
	    node_get(s, e.id, &n.n) < 0)
		return false;
	if (!node_is_dir(n.n))
		return n.n->layer == layer && n.n->real_ino == ino;
	for (unsigned i = 0; i < n.n->dir->n_lower; i++)
		yes |= n.n->dir->lower[i]->layer == layer && n.n->dir->lower[i]->ino == ino;
	return yes;
}

int index_check_hidden(struct check *c, uint16_t layer, struct frame *frames, size_t n,
		       const struct sys_dirent *de)
{
	char key[INDEX_NAME_MAX + 1], shown[INDEX_NAME_MAX + 16];
	CLEANUP_FREE char *path = NULL, *copy = NULL;
	struct tslot *slot = table64_find(&c->hidden, de->ino);
	struct problem p;
	struct stat st;
	struct fh fh;
	int r;

	if (!slot || slot->number || strlen(de->name) > LAM_NAME_MAX)
		return 0;
	if (origin_make(c, layer, frames[n - 1].fd, de->name, false, &fh) < 0)
		return 0;
	index_name_encode(&fh, key);
	if (sys_stat(c->index_fd, key, &st) < 0 || !S_ISCHR(st.st_mode))
		return 0;
	if (asprintf(&path, "%s%s/%s", c->path_len ? "/" : "", c->path, de->name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	if (!shows_through(c, copy) || !shows_below(c, layer, path, de->ino))
		return 0;
	slot->number = 1;
	(void)snprintf(shown, sizeof(shown), "index/%s", key);
	r = problem_begin_work(c, &p, KIND_INDEX_HIDES, shown);
	if (r < 0)
		return r;
	problem_say(&p, "a whiteout of %s, which is there", QUOTE(path));
	if (problem_mend(c, &p, true))
		problem_done(c, &p, sys_unlink(c->index_fd, key));
	return 0;
}
