/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening the index at mount: bound to this upper, scanned, and mended where the kernel would refuse:
 * stray names go to workdir/lamina/stray with a message.
 */
#include "core.h"

#include <errno.h>

struct scan {
	struct lam_stack *s;
	int stray_fd;
	unsigned dropped;
};

static int remove_entry(struct scan *sc, const struct sys_dirent *de)
{
	int r = sys_unlink(sc->s->index_fd, de->name);

	if (r == -EISDIR || r == -EPERM)
		r = sys_rmdir(sc->s->index_fd, de->name);
	sc->dropped++;
	return r;
}

static int quarantine(struct scan *sc, const char *name, const char *why)
{
	struct lam_stack *s = sc->s;
	int r;

	log_warning("index entry %s %s: moved to lamina/stray in the work directory", QUOTE(name),
		    why);
	if (sc->stray_fd < 0) {
		r = sys_mkdir(s->own_fd, "stray", 0700);
		if (r < 0 && r != -EEXIST)
			return r;
		sc->stray_fd = sys_openat(s->own_fd, "stray", O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
					  0);
		if (sc->stray_fd < 0)
			return sc->stray_fd;
	}
	r = sys_rename(s->index_fd, name, sc->stray_fd, name, 0);
	return r;
}

/* Whether the object that a handle stands for is still there, of a layer or of upper; 1, 0 or -errno. */
static int origin_alive(struct lam_stack *s, const struct fh *fh)
{
	struct sys_handle h;
	struct fh_view v;
	struct fsys *fs;
	int fd;

	if (fh_decode(fh->bytes, fh->len, &v) < 0)
		return 0;
	fs = fsys_by_fh(s, &v);
	if (!fs || !fs->can_decode || v.fid_len > sizeof(h.fid))
		return 1; /* cannot be told: left alone */
	h.type = v.type;
	h.len = (unsigned)v.fid_len;
	memcpy(h.fid, v.fid, v.fid_len);
	fd = sys_open_by_handle(fs->mount_fd, &h, O_PATH);
	if (fd < 0)
		return fd == -ESTALE ? 0 : 1;
	sys_close(fd);
	return 1;
}

/* A file's entry: it must have the origin that it is named after, and somebody must be able to see it. */
static int check_file(struct scan *sc, const struct sys_dirent *de, const struct fh *fh,
		      const struct statx *st)
{
	struct lam_stack *s = sc->s;
	struct fh origin;
	int r = ovl_get_origin(s, s->index_fd, de->name, &origin);

	if (r < 0 && r != -ENODATA)
		return r;
	if (r < 0 || !fh_equal(fh, &origin))
		return quarantine(sc, de->name, "has not the origin of its name");
	r = origin_alive(s, fh);
	if (r < 0)
		return r;
	if (r == 0 && st->stx_nlink == 1) {
		log_warning("index entry %s is of an object that is gone: removed",
			    QUOTE(de->name));
		return remove_entry(sc, de);
	}
	if (r == 0 || st->stx_nlink > 1)
		return 0;
	return index_check_orphan(s, de->name, st) ? remove_entry(sc, de) : 0;
}

/* A directory's entry: that of one that is gone from upper is left of a crash, and to the kernel an error. */
static int check_dir(struct scan *sc, const struct sys_dirent *de)
{
	struct lam_stack *s = sc->s;
	struct fh upper;
	ssize_t n = ovl_get(s, s->index_fd, de->name, "upper", upper.bytes, sizeof(upper.bytes));
	struct fh_view v;
	int r;

	if (n < 0 || fh_decode(upper.bytes, (size_t)n, &v) < 0)
		return 0;
	upper.len = (uint8_t)v.len;
	r = origin_alive(s, &upper);
	return r == 0 ? remove_entry(sc, de) : r < 0 ? r : 0;
}

/* An entry with no upper name: the lower names may all be hidden, then it is an orphan of a crash. */
bool index_check_orphan(struct lam_stack *s, const char *key, const struct statx *st)
{
	char value[16];
	struct nlink_diff d;
	ssize_t n = ovl_get(s, s->index_fd, key, "nlink", value, sizeof(value));

	if (n < 0 || nlink_decode(value, (size_t)n, &d) < 0 || d.lower)
		return false;
	return (int64_t)st->stx_nlink + d.diff <= 0;
}

static int scan_entry(void *ctx, const struct sys_dirent *de)
{
	struct scan *sc = ctx;
	struct lam_stack *s = sc->s;
	struct statx st;
	struct fh fh;
	int r;

	if (de->name[0] == '#') /* a temporary name of the kernel's */
		return remove_entry(sc, de);
	r = index_name_decode(de->name, &fh);
	if (r < 0)
		return quarantine(sc, de->name, "is no entry");
	r = sys_statx(s->index_fd, de->name, &st);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (S_ISDIR(st.stx_mode))
		return check_dir(sc, de);
	if (S_ISCHR(st.stx_mode))
		return 0;
	return check_file(sc, de, &fh, &st);
}

/* The index belongs to one upper: bound by an attribute at the first mount. */
static int bind(struct lam_stack *s)
{
	struct fh mine, stored;
	struct fh_view v;
	ssize_t n;
	int r = fsys_fh(s, s->layers[LAYER_UPPER].fs, s->layers[LAYER_UPPER].fd, "", true, &mine);

	if (r < 0)
		return r == -EOPNOTSUPP ? 0 : r;
	n = ovl_get(s, s->index_fd, "", "upper", stored.bytes, sizeof(stored.bytes));
	if (n == -ENODATA)
		return ovl_set(s, s->index_fd, "", "upper", mine.bytes, mine.len);
	if (n < 0)
		return (int)n;
	if (fh_decode(stored.bytes, (size_t)n, &v) == 0) {
		stored.len = (uint8_t)v.len;
		if (fh_equal(&mine, &stored))
			return 0;
	}
	log_error(
		"the index in the work directory belongs to another upper layer: use a work directory of "
		"its own, or remove 'index' in it");
	return -ESTALE;
}

/* The upper root remembers the first lower layer, as the kernel's does. */
static int bind_root(struct lam_stack *s)
{
	struct layer *up = &s->layers[LAYER_UPPER], *low = &s->layers[1];
	struct fh mine, stored;
	int r = fsys_fh(s, low->fs, low->fd, "", false, &mine);

	if (r < 0)
		return 0;
	r = ovl_get_origin(s, up->fd, "", &stored);
	if (r == -ENODATA) {
		r = ovl_set(s, up->fd, "", "origin", mine.bytes, mine.len);
		return r == -EOPNOTSUPP ? 0 : r;
	}
	if (r < 0)
		return r;
	if (!fh_equal(&mine, &stored))
		log_info(
			"the topmost lower layer is not the one that upper was made over: going on");
	return 0;
}

/* A count of a file below.  A crash between its copy-up and the end of the record leaves one that nobody
 * reads any more. */
static int check_links(void *ctx, const struct sys_dirent *de)
{
	struct lam_stack *s = ctx;
	struct statx st;

	if (!s->takeover && index_dir(s, de->name) >= 0 && index_stat(s, de->name, &st) == 1) {
		(void)sys_unlink(s->links_fd, de->name); /* it does no harm */
		return 0;
	}
	s->links_used = true;
	return 0;
}

int index_open(struct lam_stack *s)
{
	struct scan sc = { .s = s, .stray_fd = -1 };
	int r;

	if (!s->layers[LAYER_UPPER].fs->can_encode)
		return 0; /* no handles, no index: hard links break on copy-up, as documented */
	r = sys_mkdir(s->base_fd, "index", s->privileged ? 0 : 0700);
	if (r < 0 && r != -EEXIST)
		return r;
	s->index_fd = sys_openat(s->base_fd, "index", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (s->index_fd == -EACCES && !sys_chmod(s->base_fd, "index", 0700))
		s->index_fd = sys_openat(s->base_fd, "index", O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
					 0);
	if (s->index_fd < 0) {
		r = s->index_fd;
		s->index_fd = -1;
		return r;
	}
	r = bind(s);
	if (r == 0)
		r = bind_root(s);
	/* What looks left over may be what clients of the process before still have open. */
	if (r == 0 && !s->takeover)
		r = dirscan(s->index_fd, scan_entry, &sc);
	if (r == 0)
		r = special_open(s);
	if (r == 0)
		r = dirscan(s->links_fd, check_links, s);
	if (r >= 0)
		r = begun_open(s);
	if (sc.stray_fd >= 0)
		sys_close(sc.stray_fd);
	return r < 0 ? r : 0;
}
