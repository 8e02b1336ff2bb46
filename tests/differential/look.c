/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an object looks like, reduced to what two equal trees have in common: times of the run are
 * "recent" and tell only whether they moved since the object was last looked at.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/cleanup.h"
#include "differential.h"

uint64_t look_hash(const void *p, size_t n)
{
	return XXH3_64bits(p, n);
}

static int64_t ns(const struct statx_timestamp *t)
{
	return t->tv_sec * 1000000000 + t->tv_nsec;
}

/* The entry of an inode; when the table is full an entry is used again. */
static struct seen *seen_get(struct shared *sh, unsigned side, uint64_t ino)
{
	struct seen *table = sh->seen[side];
	size_t at = (ino * 0x9E3779B97F4A7C15ull) >> 50;

	for (size_t i = 0; i < 64; i++) {
		struct seen *s = &table[(at + i) % SEEN_SIZE];

		if (s->ino == ino || !s->ino)
			return s;
	}
	table[at % SEEN_SIZE].ino = 0;
	return &table[at % SEEN_SIZE];
}

/* Exact where a time was given by somebody, 1 where it is of this run. */
static uint64_t time_class(const struct shared *sh, int64_t t)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (t >= sh->start_ns && t <= (now.tv_sec + 2) * 1000000000)
		return 1;
	return (uint64_t)t;
}

static void look_times(struct run *run, const struct side *s, struct rec *r, enum where w,
		       const struct statx *sx)
{
	/* the kernel's numbers are unique together with the device only, and among directories */
	uint64_t ino = sx->stx_ino + ((uint64_t)sx->stx_dev_minor << 48) +
		       ((uint64_t)S_ISDIR(sx->stx_mode) << 47);
	struct seen *seen = seen_get(run->sh, s->number, ino);
	int64_t m = ns(&sx->stx_mtime), c = ns(&sx->stx_ctime);
	/* without an index a copy-up gives a new number, which may be that of one that is gone */
	int64_t b = run->script->cfg.index ? 0 : ns(&sx->stx_btime);
	bool known = seen->ino == ino && seen->btime == b;

	rec_put(r, w, TAG_ATIME, time_class(run->sh, ns(&sx->stx_atime)));
	rec_put(r, w, TAG_MTIME, time_class(run->sh, m));
	rec_put(r, w, TAG_CTIME, time_class(run->sh, c));
	if (w < W_TREE) {
		rec_put(r, w, TAG_MTIME_MOVED, known ? seen->mtime != m : 2);
		rec_put(r, w, TAG_CTIME_MOVED, known ? seen->ctime != c : 2);
	}
	*seen = (struct seen){ ino, m, c, b };
}

void look_stat(struct run *run, const struct side *s, struct rec *r, enum where w,
	       const struct statx *sx)
{
	rec_put(r, w, TAG_MODE, sx->stx_mode);
	rec_put(r, w, TAG_UID, sx->stx_uid);
	rec_put(r, w, TAG_GID, sx->stx_gid);
	rec_put(r, w, TAG_NLINK, sx->stx_nlink);
	if (!S_ISDIR(sx->stx_mode))
		rec_put(r, w, TAG_SIZE, sx->stx_size);
	rec_put(r, w, TAG_INO, sx->stx_ino);
	rec_put(r, w, TAG_RDEV, makedev(sx->stx_rdev_major, sx->stx_rdev_minor));
	rec_put(r, w, TAG_BLKSIZE, sx->stx_blksize);
	if (S_ISREG(sx->stx_mode))
		rec_put(r, w, TAG_BLOCKS, sx->stx_blocks);
	rec_put(r, w, TAG_ATTRS, sx->stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND));
	look_times(run, s, r, w, sx);
}

int look_at(struct run *run, const struct side *s, struct rec *r, enum where w, int dirfd,
	    const char *path, unsigned flags)
{
	struct statx sx;

	if (statx(dirfd, path, (int)(flags | AT_NO_AUTOMOUNT), STATX_BASIC_STATS | STATX_BTIME,
		  &sx) < 0) {
		rec_put(r, w, TAG_ERRNO, (uint64_t)errno);
		return -errno;
	}
	look_stat(run, s, r, w, &sx);
	return 0;
}

/* Names and values of extended attributes; the path is "" for an open descriptor. */
void look_xattrs(struct rec *r, enum where w, int dirfd, const char *path)
{
	static char names[65536], value[65536];
	char proc[64];
	size_t first = r->n;
	ssize_t n;

	/* an O_PATH descriptor has no attributes, its link in /proc does */
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", dirfd);
	if (*path && fchdir(dirfd) < 0)
		return;
	n = *path ? llistxattr(path, names, sizeof(names)) : listxattr(proc, names, sizeof(names));
	if (n < 0) {
		rec_put(r, w, TAG_XATTR, (uint64_t)errno);
		return;
	}
	for (char *p = names; p < names + n; p += strlen(p) + 1) {
		ssize_t v = *path ? lgetxattr(path, p, value, sizeof(value))
				  : getxattr(proc, p, value, sizeof(value));

		rec_put_key(r, w, TAG_XATTR, (struct str){ p, strlen(p) },
			    v < 0 ? (uint64_t)errno : look_hash(value, (size_t)v));
	}
	rec_sort(r, first);
}

/* Contents, and their length if that is wanted; an errno when it cannot be read. */
uint64_t look_content(int fd, uint64_t *ret_len)
{
	static char buf[256 << 10];
	XXH3_state_t *h = XXH3_createState();
	uint64_t off = 0, out;
	ssize_t n;

	if (!h)
		abort();
	XXH3_64bits_reset(h);
	while ((n = pread(fd, buf, sizeof(buf), (off_t)off)) > 0) {
		XXH3_64bits_update(h, buf, (size_t)n);
		off += (uint64_t)n;
	}
	out = n < 0 ? (uint64_t)errno : XXH3_64bits_digest(h);
	XXH3_freeState(h);
	if (ret_len)
		*ret_len = off;
	return out;
}

struct dirent64_ {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

static void look_entry(struct rec *r, enum where w, int fd, const struct dirent64_ *e, int root)
{
	size_t len = strlen(e->d_name);
	struct str name = { (char *)(uintptr_t)e->d_name, len };
	struct statx sx;

	int seen = root == -2 ? 0 : statx(fd, e->d_name, AT_SYMLINK_NOFOLLOW, STATX_INO, &sx);

	rec_put_key(r, w, TAG_NAME, name, e->d_type | (seen < 0 ? PHANTOM : 0));
	if (root == -2 || seen < 0)
		return;
	/* ".." of the mount's root is outside */
	if (sx.stx_ino != e->d_ino && !(len == 2 && !memcmp(e->d_name, "..", 2) && root))
		rec_put_key(r, w, TAG_D_INO, name, 1);
}

/*
 * The entries of an open directory from its start; with NUMBERS each d_ino is held against st_ino.
 * ROOT says that it is the mount's root.  False when the listing has an error.
 */
bool look_list(int fd, struct rec *r, enum where w, bool numbers, int root)
{
	_Alignas(8) char buf[8192];
	size_t first = r->n;
	long n;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return false;
	while ((n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0)
		for (long at = 0; at < n;) {
			const struct dirent64_ *e = (const void *)(buf + at);

			look_entry(r, w, fd, e, numbers ? root : -2);
			at += e->d_reclen;
		}
	rec_sort(r, first);
	if (n < 0)
		rec_put(r, w, TAG_ERRNO, (uint64_t)errno);
	return n == 0;
}

/*
 * A listing of a mount.  The kernel's ends with an error at the first of the names that may not be
 * followed, if nothing comes before it, and leaves that name out from then on.
 */
bool look_listing(struct run *run, const struct side *s, int fd, struct rec *r, enum where w,
		  int root)
{
	size_t n = r->n, used = r->used;
	unsigned tries = 0;

	while (!look_list(fd, r, w, true, root)) {
		if (!look_refused(run, s, errno, tries++))
			return false;
		r->n = n;
		r->used = used;
	}
	return true;
}

/* Whether a listing that ended with an error is to be read again. */
bool look_refused(struct run *run, const struct side *s, int error, unsigned tries)
{
	enum { NAMES = 64 };

	if (!s->kernel || error != EPERM || tries == NAMES)
		return false;
	rule_fired(run, "type-of-refused-name");
	return true;
}
