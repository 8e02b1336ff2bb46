/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inodes index (workdir/index) in the kernel's format, the nlink attribute, and our own record of
 * lower hard links that lost a name without being copied up (workdir/lamina/links).
 * docs/design/identity.md
 */
#include "core.h"

#include <errno.h>
#include <stdio.h>

int index_key(struct lam_stack *s, struct fsys *fs, int fd, const char *name, uint32_t type,
	      char out[INDEX_NAME_MAX + 1])
{
	struct fh fh;
	int r;

	if (!fs)
		return -EOPNOTSUPP;
	r = fsys_fh(s, fs, fd, name, false, &fh);
	if (r < 0)
		return r;
	return index_key_of(s, &fh, type, out);
}

int index_stat(struct lam_stack *s, const char *name, struct statx *st)
{
	int r = sys_statx(index_dir(s, name), name, st);

	if (r == -ENOENT || r == -ENAMETOOLONG) /* a handle too long to have an entry */
		return 0;
	return r < 0 ? r : 1;
}

/* The key of a node's topmost lower object; only while its lower place is known. */
int index_node_key(struct lam_stack *s, struct node *n, char out[INDEX_NAME_MAX + 1])
{
	struct place p;
	int r;

	if (node_is_dir(n)) {
		struct fdent *e;

		if (!n->dir->n_lower)
			return -ENODATA;
		r = rdir_open(s, n->dir->lower[0], &e);
		if (r < 0)
			return r;
		r = index_key(s, s->layers[n->dir->lower[0]->layer].fs, e->fd, "", S_IFDIR, out);
		fdcache_put(&s->fds, e);
		return r;
	}
	r = node_place(s, n, &p);
	if (r < 0)
		return r;
	if (p.layer == LAYER_UPPER) {
		struct fh fh;

		r = ovl_get_origin(s, p.dirfd, p.name, &fh);
		if (r == 0)
			index_name_encode(&fh, out);
	} else {
		r = index_key(s, s->layers[p.layer].fs, p.dirfd, p.name, node_mode_type(n), out);
	}
	place_done(s, &p);
	return r;
}

/* ---- nlink ---- */

/* The count of the lower inode that an entry is named after. */
static int origin_nlink(struct lam_stack *s, const char *key, uint32_t *ret)
{
	struct sys_handle h;
	struct fh_view v;
	struct fsys *fs;
	struct stat st;
	struct fh fh;
	int fd, r;

	if (index_name_decode(key, &fh) < 0 || fh_decode(fh.bytes, fh.len, &v) < 0)
		return -EINVAL;
	fs = fsys_by_fh(s, &v);
	if (!fs || v.fid_len > sizeof(h.fid))
		return -ENODATA;
	h.type = v.type;
	h.len = (unsigned)v.fid_len;
	memcpy(h.fid, v.fid, v.fid_len);
	fd = sys_open_by_handle(fs->mount_fd, &h, O_PATH);
	if (fd < 0)
		return fd;
	r = sys_stat(fd, "", &st);
	sys_close(fd);
	if (r == 0)
		*ret = (uint32_t)st.st_nlink;
	return r;
}

/* The index entry of a node; KEY is "" if it has none. */
static void node_entry_name(struct node *n, char key[INDEX_NAME_MAX + 1])
{
	key[0] = '\0';
	mutex_lock(&n->lock);
	if (n->extra && n->extra->index_name)
		strcpy(key, n->extra->index_name);
	mutex_unlock(&n->lock);
}

/* The nlink attribute of an index entry: 1, 0 if it has none that is valid, or -errno.  An error must not
 * pass for none: the count would be too low, and the last but one name taken for the last. */
static int read_nlink(struct lam_stack *s, const char *key, struct nlink_diff *ret)
{
	char value[16];
	ssize_t len;

	if (!key[0])
		return 0;
	if (special_key(key))
		len = special_read_nlink(s, key, value, sizeof(value));
	else
		len = ovl_get(s, s->index_fd, key, "nlink", value, sizeof(value));
	if (special_key(key) && len == -ENOENT)
		return 0;
	if (len < 0)
		return len == -ENODATA || len == -ERANGE || len == -EOPNOTSUPP ? 0 : (int)len;
	return nlink_decode(value, (size_t)len, ret) == 0;
}

/* Whether a failure to look at an origin says that it is gone. */
static bool origin_gone(int r)
{
	return r == -ESTALE || r == -ENODATA || r == -EINVAL || r == -EOPNOTSUPP || r == -EPERM;
}

int index_key_nlink(struct lam_stack *s, const char *key, const struct statx *st, uint32_t *ret)
{
	struct nlink_diff d;
	int64_t base = st->stx_nlink;
	uint32_t lower;
	int r;

	*ret = st->stx_nlink > 1 ? st->stx_nlink - 1 : 1; /* less the index's own link */
	r = read_nlink(s, key, &d);
	if (r <= 0)
		return r;
	if (d.lower) {
		r = origin_nlink(s, key, &lower);
		if (r < 0)
			return origin_gone(r) ? 0 : r;
		base = lower;
	}
	if (base + d.diff > 0)
		*ret = (uint32_t)(base + d.diff);
	else
		log_warning("the nlink attribute of index entry %s is not valid: ignored", key);
	return 0;
}

int index_node_nlink(struct lam_stack *s, struct node *n, const struct statx *st, uint32_t *ret)
{
	char key[INDEX_NAME_MAX + 1];

	node_entry_name(n, key);
	return index_key_nlink(s, key, st, ret);
}

int index_write_nlink(struct lam_stack *s, int fd, const char *name, uint32_t visible,
		      uint32_t upper_nlink)
{
	struct nlink_diff d = { .lower = false, .diff = (int32_t)((int64_t)visible - upper_nlink) };
	char value[16];
	size_t len = nlink_encode(&d, value);

	if (special_key(name))
		return special_write_nlink(s, name, value);
	return ovl_set(s, fd, name, "nlink", value, len);
}

/* A count relative to the lower inode, as a copy-up leaves it and a crash may, would not follow a link or
 * unlink in upper: it is made relative to upper's first. */
int index_settle_nlink(struct lam_stack *s, struct node *n, const struct statx *st)
{
	char key[INDEX_NAME_MAX + 1];
	struct nlink_diff d;
	uint32_t visible;
	int r;

	node_entry_name(n, key);
	r = read_nlink(s, key, &d);
	if (r <= 0 || !d.lower)
		return r < 0 ? r : 0;
	r = index_node_nlink(s, n, st, &visible);
	return r < 0 ? r : index_write_nlink(s, index_dir(s, key), key, visible, st->stx_nlink);
}

int index_write_nlink_lower(struct lam_stack *s, struct node *n, const char *key, uint32_t visible)
{
	struct nlink_diff d = { .lower = true };
	char value[16];
	uint32_t lower;
	size_t len;
	int r;

	(void)n;
	if (special_key(key))
		return 0;
	r = origin_nlink(s, key, &lower);
	if (r < 0) /* gone: the later write is enough but for a crash between */
		return origin_gone(r) ? 0 : r;
	d.diff = (int32_t)((int64_t)visible - lower);
	len = nlink_encode(&d, value);
	return ovl_set(s, s->index_fd, key, "nlink", value, len);
}

/* ---- Lower hard links that lost names ---- */

int links_adjust_load(struct lam_stack *s, const char *key, int32_t *ret)
{
	char value[16], *end;
	ssize_t n;
	long v;

	*ret = 0;
	if (s->links_fd < 0 || !s->links_used)
		return 0;
	n = sys_readlink(s->links_fd, key, value, sizeof(value) - 1);
	if (n == -ENOENT || n == -ENAMETOOLONG || n == -EINVAL)
		return 0;
	if (n < 0)
		return (int)n;
	value[n] = '\0';
	errno = 0;
	v = strtol(value, &end, 10);
	if (!errno && !*end && v < 0 && v > INT32_MIN)
		*ret = (int32_t)v;
	return 0;
}

int links_adjust_store(struct lam_stack *s, const char *key, int32_t value)
{
	char text[16], temp[32];
	int r;

	if (!value) {
		r = sys_unlink(s->links_fd, key);
		return r == -ENOENT ? 0 : r;
	}
	(void)snprintf(text, sizeof(text), "%d", value);
	work_temp_name(s, temp);
	r = sys_symlink(text, s->work_fd, temp);
	if (r < 0)
		return r;
	s->links_used = true;
	r = sys_rename(s->work_fd, temp, s->links_fd, key, 0);
	if (r < 0)
		(void)sys_unlink(s->work_fd, temp);
	return r;
}

/* ---- Entries of removed objects and of directories ---- */

int index_whiteout(struct lam_stack *s, const char *key)
{
	int r = work_whiteout(s, s->index_fd, key);

	if (r == -EEXIST)
		r = work_whiteout_over(s, s->index_fd, key);
	return r;
}

/* The last visible name of an indexed inode is gone. */
int index_remove(struct lam_stack *s, struct node *n)
{
	CLEANUP_FREE char *key = NULL;
	uint64_t ino = n->real_ino;
	bool whiteout;
	int dir, r;

	mutex_lock(&n->lock);
	if (n->extra)
		key = TAKE_PTR(n->extra->index_name);
	n->flags &= (uint16_t)~NF_INDEXED;
	mutex_unlock(&n->lock);
	if (!key)
		return 0;
	dir = index_dir(s, key);
	whiteout = s->nfs_export && !special_key(key);
	if (stack_in_use(s, n->id))
		r = work_orphan(s, n, dir, key, whiteout);
	else
		r = whiteout ? work_whiteout_over(s, dir, key) : sys_unlink(dir, key);
	if (special_key(key))
		special_forget(s, key, ino);
	return r;
}

/* With nfs_export: the index tells which upper directory a lower one became.  After the directory is in
 * place, so a crash between leaves what a lookup can repair. */
int index_mark_dir(struct lam_stack *s, struct node *n)
{
	char key[INDEX_NAME_MAX + 1], temp[32];
	struct fdent *e;
	struct fh up;
	int r;

	if (!n->dir->upper || !n->dir->n_lower)
		return 0;
	r = index_node_key(s, n, key);
	if (r < 0)
		return r;
	r = rdir_open(s, n->dir->upper, &e);
	if (r < 0)
		return r;
	r = fsys_fh(s, s->layers[LAYER_UPPER].fs, e->fd, "", true, &up);
	fdcache_put(&s->fds, e);
	if (r < 0)
		return r;
	work_temp_name(s, temp);
	r = sys_mkdir(s->work_fd, temp, 0);
	if (r < 0)
		return r;
	r = ovl_set(s, s->work_fd, temp, "upper", up.bytes, up.len);
	if (r == 0)
		r = sys_rename(s->work_fd, temp, s->index_fd, key, 0);
	if (r < 0)
		(void)sys_rmdir(s->work_fd, temp);
	return r;
}

/* Files that have one name below get the name first and the entry afterwards. */
int index_adopt_file(struct lam_stack *s, int dirfd, const char *name, const char *key,
		     struct statx *st)
{
	struct nlink_diff d;
	uint32_t links = 1;
	char value[16];
	ssize_t len;
	int r;

	if (!s->nfs_export || s->read_only || st->stx_nlink != 1)
		return 0;
	len = ovl_get(s, dirfd, name, "nlink", value, sizeof(value));
	if (len < 0 || nlink_decode(value, (size_t)len, &d) < 0 ||
	    (d.lower && origin_nlink(s, key, &links) < 0))
		return 0;
	r = sys_link(dirfd, name, s->index_fd, key);
	if (r < 0)
		return 0; /* the next lookup tries again */
	st->stx_nlink = 2;
	links = (uint32_t)((int64_t)links + d.diff);
	(void)index_write_nlink(s, s->index_fd, key, links, 2); /* else it is one too high */
	return 1;
}

void index_adopt_dir(struct lam_stack *s, struct node *n)
{
	char key[INDEX_NAME_MAX + 1], own[INDEX_NAME_MAX + 1];
	struct fdent *e;
	struct statx st;
	struct fh fh;

	if (!s->nfs_export || s->read_only || s->index_fd < 0 || !n->dir->upper || !n->dir->n_lower)
		return;
	if (index_node_key(s, n, key) < 0 || index_stat(s, key, &st) != 0 ||
	    rdir_open(s, n->dir->upper, &e) < 0)
		return;
	if (ovl_get_origin(s, e->fd, "", &fh) == 0) {
		index_name_encode(&fh, own);
		if (!strcmp(own, key))
			(void)index_mark_dir(s, n); /* the next lookup tries again */
	}
	fdcache_put(&s->fds, e);
}

int index_forget_dir(struct lam_stack *s, struct node *n, const char *key)
{
	char temp[32];
	struct statx st;
	int r = index_stat(s, key, &st);

	(void)n;
	if (r < 0)
		return r;
	if (r == 0 || !S_ISDIR(st.stx_mode))
		return index_whiteout(s, key);
	r = work_whiteout_exchange(s, NULL, s->index_fd, key, temp);
	if (r == 0)
		(void)sys_rmdir(s->work_fd, temp);
	return r;
}
