/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Questions to the engine about what lies below a layer. */
#include "check.h"

#include <errno.h>

static const struct lam_call nobody = { .cred = { .uid = 0, .gid = 0 } };

int below_lookup(struct check *c, uint16_t layer, uint64_t id, const char *name,
		 struct lam_entry *ret)
{
	struct lam_stack *s;
	int r;

	if (id == BELOW_NONE)
		return -ENOENT;
	s = id == BELOW_UNKNOWN ? NULL : check_below(c, layer);
	if (!s)
		return -EIO;
	r = lam_lookup(s, &nobody, id, name, ret);
	/* Names that a mount does not show (`.wh.`) and too long ones are not there. */
	return r == -ENOTDIR || r == -ENAMETOOLONG || r == -EINVAL ? -ENOENT : r;
}

int below_follow(struct check *c, uint16_t layer, uint64_t id, const char *redirect, size_t len,
		 struct lam_entry *ret)
{
	const char *part;
	size_t pos = 0, part_len;
	bool first = true;

	if (redirect[0] == '/')
		id = check_is_lowest(c, layer) ? BELOW_NONE
		     : check_below(c, layer)   ? LAM_ROOT_ID
					       : BELOW_UNKNOWN;
	while (redirect_next(redirect, len, &pos, &part, &part_len)) {
		char name[LAM_NAME_MAX + 1];
		int r;

		if (part_len > LAM_NAME_MAX)
			return -ENOENT;
		if (!first) {
			if (!S_ISDIR(ret->attr.mode))
				return -ENOENT;
			id = ret->id;
		}
		memcpy(name, part, part_len);
		name[part_len] = '\0';
		r = below_lookup(c, layer, id, name, ret);
		if (r < 0)
			return r;
		first = false;
	}
	return 0;
}

int below_handle(struct check *c, uint16_t layer, uint64_t id, struct fh *ret)
{
	struct lam_stack *s = check_below(c, layer);
	struct rdir *top;
	struct fdent *e;
	HELD(d, s);
	int r;

	if (!s)
		return -EIO;
	r = node_get_dir(s, id, &d.n);
	if (r < 0)
		return r;
	if (!d.n->dir->n_lower)
		return -EIO;
	top = d.n->dir->lower[0];
	r = rdir_open(s, top, &e);
	if (r < 0)
		return r;
	r = fsys_fh(s, s->layers[top->layer].fs, e->fd, "", false, ret);
	fdcache_put(&s->fds, e);
	return r;
}

#define PATH_LIMIT 65536u

/* The part of the directory's path below the layer's root, NULL if it lies elsewhere. */
static char *strip_root(char *path, ssize_t n, const char *root, ssize_t m)
{
	if (m == 1) /* "/" */
		m = 0;
	if (n <= m || memcmp(path, root, (size_t)m) || path[m] != '/')
		return NULL;
	path[n] = '\0';
	return strdup(path + m);
}

int below_path_of(struct check *c, uint16_t layer, const struct fh *fh, char **ret)
{
	CLEANUP_FREE char *path = malloc(PATH_LIMIT + 1), *root = malloc(PATH_LIMIT + 1);
	CLEANUP_CLOSE int fd = origin_open(c, fh);
	struct lam_entry entry;
	struct statx st;
	char *found = NULL;
	ssize_t n;
	int r;

	if (!path || !root)
		return -ENOMEM;
	if (fd < 0)
		return fd;
	n = sys_fd_path(fd, path, PATH_LIMIT);
	r = n < 0 ? (int)n : sys_statx(fd, "", &st);
	for (uint16_t i = (uint16_t)(layer + 1); r == 0 && !found && i <= c->n_lower; i++) {
		ssize_t m = sys_fd_path(c->layers[i].fd, root, PATH_LIMIT);

		if (m > 0 && c->layers[i].dev == statx_dev(&st))
			found = strip_root(path, n, root, m);
	}
	if (!found)
		return r < 0 ? r : -ENOENT;
	/* It must lead there through the layers, too. */
	if (redirect_check(found, strlen(found)) < 0 ||
	    below_follow(c, layer, LAM_ROOT_ID, found, strlen(found), &entry) < 0 ||
	    (entry.attr.mode & S_IFMT) != (st.stx_mode & S_IFMT)) {
		free(found);
		return -ENOENT;
	}
	*ret = found;
	return 0;
}
