/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two trees side by side: the mounted ones with all that a caller can see, or what is in upper.
 * Names that are on one side only are put to the rules; what both have is looked at.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "walk.h"

struct paths {
	char **v;
	size_t n, room;
};

static void push(struct paths *p, char *path)
{
	if (p->n == p->room) {
		p->room = p->room ? 2 * p->room : 64;
		p->v = realloc(p->v, p->room * sizeof(*p->v));
	}
	if (!p->v || !path)
		abort();
	p->v[p->n++] = path;
}

static char *joined(const char *dir, const char *name, size_t len)
{
	char *out = NULL;

	if (asprintf(&out, "%s%s%.*s", dir, *dir ? "/" : "", (int)len, name) < 0)
		abort();
	return out;
}

/* Paths of the names in both listings, but for `.` and `..`. */
static void common_names(const struct run *run, const char *dir, struct paths *out)
{
	const struct rec *a = run->rec[0], *b = run->rec[1];
	size_t i = 0, j = 0;

	while (i < a->n && j < b->n) {
		const struct field *x = &a->f[i], *y = &b->f[j];
		size_t n = x->key_len < y->key_len ? x->key_len : y->key_len;
		int r = memcmp(a->bytes + x->key, b->bytes + y->key, n);

		if (x->tag != TAG_NAME || y->tag != TAG_NAME)
			break;
		if (!r)
			r = x->key_len < y->key_len ? -1 : x->key_len > y->key_len;
		if (r == 0 && !(a->bytes[x->key] == '.' &&
				(n == 1 || (n == 2 && a->bytes[x->key + 1] == '.'))))
			push(out, joined(dir, a->bytes + x->key, n));
		i += r <= 0;
		j += r >= 0;
	}
}

/* List one directory on both sides and put what both have on the stack. */
static bool list_both(struct walk *w, const char *dir, struct paths *todo)
{
	struct run *run = w->run;

	for (unsigned i = 0; i < 2; i++) {
		CLEANUP_CLOSE int fd = openat(w->root[i], *dir ? dir : ".",
					      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC |
						      O_NOATIME);

		rec_clear(run->rec[i]);
		if (fd < 0)
			rec_put(run->rec[i], w->where, TAG_ERRNO, (uint64_t)errno);
		else if (w->list)
			w->list(w, i, fd, dir);
		else
			(void)look_listing(run, &run->side[i], fd, run->rec[i], w->where, !*dir);
	}
	if (!compare_records(run, NULL, *dir ? dir : "."))
		return false;
	common_names(run, dir, todo);
	return true;
}

/* Walk both trees from their roots; false when they differ in what no rule allows. */
bool walk_pair(struct walk *w)
{
	struct run *run = w->run;
	struct paths todo = { 0 };
	bool good = list_both(w, "", &todo);

	while (todo.n) {
		CLEANUP_FREE char *path = todo.v[--todo.n];
		mode_t mode[2] = { 0, 0 };

		for (unsigned i = 0; good && i < 2; i++) {
			rec_clear(run->rec[i]);
			mode[i] = w->look(w, i, path);
		}
		good = good && compare_records(run, NULL, path);
		if (good && S_ISDIR(mode[0]) && S_ISDIR(mode[1]))
			good = list_both(w, path, &todo);
	}
	free(todo.v);
	return good;
}

/* ---- The mounted trees ---- */

/* Which object this is: the number of the first of its names that was met. */
uint64_t groups_get(struct groups *g, uint64_t dev, uint64_t ino)
{
	const uint64_t id[] = { ino, dev };
	uint64_t key = look_hash(id, sizeof(id));
	size_t at = (key * 0x9E3779B97F4A7C15ull) >> 51;

	g->met++;
	for (size_t i = 0; i < GROUPS; i++) {
		struct group *x = &g->v[(at + i) % GROUPS];

		if (x->key == key)
			return x->first;
		if (!x->key) {
			*x = (struct group){ key, g->met };
			return g->met;
		}
	}
	abort();
}

static void look_inside(struct rec *r, int root, const char *path, const struct statx *sx)
{
	static char target[4200];

	if (S_ISLNK(sx->stx_mode)) {
		ssize_t n = readlinkat(root, path, target, sizeof(target));

		rec_put(r, W_TREE, TAG_TARGET,
			n < 0 ? (uint64_t)errno : look_hash(target, (size_t)n));
	} else if (S_ISREG(sx->stx_mode)) {
		CLEANUP_CLOSE int fd = openat(root, path,
					      O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME);
		uint64_t len = sx->stx_size;

		rec_put(r, W_TREE, TAG_DATA, fd < 0 ? (uint64_t)errno : look_content(fd, &len));
		if (len != sx->stx_size)
			rec_put(r, W_TREE, TAG_POS, len);
	}
}

/* Objects that were opened for writing: their paths, for tree_settle(). */
static struct paths opened;

static void note_opened_path(const struct shared *sh, const char *path, uint64_t ino)
{
	for (size_t i = 0; i < sh->n_opened + sh->n_mapped; i++)
		if ((i < sh->n_opened ? sh->opened[i] : sh->mapped[i - sh->n_opened]) == ino) {
			push(&opened, joined("", path, strlen(path)));
			return;
		}
}

static mode_t look_mounted(struct walk *w, unsigned i, const char *path)
{
	struct rec *r = w->run->rec[i];
	struct statx sx;
	uint64_t dev;

	if (statx(w->root[i], path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &sx) < 0) {
		rec_put(r, W_TREE, TAG_ERRNO, (uint64_t)errno);
		return 0;
	}
	look_stat(w->run, &w->run->side[i], r, W_TREE, &sx);
	if (w->run->sh->kernel[i] && S_ISREG(sx.stx_mode))
		note_opened_path(w->run->sh, path, sx.stx_ino);
	look_inside(r, w->root[i], path, &sx);
	look_xattrs(r, W_TREE, w->root[i], path);
	/* the kernel's directories over several filesystems have numbers that a file may have, too */
	dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
	if (w->run->sh->kernel[i] && S_ISDIR(sx.stx_mode))
		dev = ~dev;
	rec_put(r, W_TREE, TAG_GROUP, groups_get(&w->groups[i], dev, sx.stx_ino));
	return sx.stx_mode;
}

/* Everything that can be seen in the two mounts is equal. */
bool tree_compare(struct run *run)
{
	CLEANUP_CLOSE int a = open(run->side[0].mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSE int b = open(run->side[1].mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	static struct groups groups[2];
	struct walk w = { .run = run,
			  .where = W_TREE,
			  .root = { a, b },
			  .look = look_mounted,
			  .groups = groups };
	bool good;

	memset(groups, 0, sizeof(groups));
	while (opened.n)
		free(opened.v[--opened.n]);
	if (a < 0 || b < 0) {
		run_fail(run, "root", "a mounted root cannot be opened");
		return false;
	}
	for (unsigned i = 0; i < 2; i++) {
		rec_clear(run->rec[i]);
		(void)look_at(run, &run->side[i], run->rec[i], W_TREE, w.root[i], "",
			      AT_EMPTY_PATH);
		look_xattrs(run->rec[i], W_TREE, w.root[i], "");
	}
	good = compare_records(run, NULL, ".") && walk_pair(&w);
	return chdir("/") == 0 && good;
}

/* What is immutable or append-only could not be copied up by a change that changes nothing. */
static void clear_guard(int fd)
{
	unsigned flags = 0;

	/* a second time with the flags of the copy: its filesystem may refuse those of a lower one */
	for (int i = 0; i < 2; i++) {
		if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 ||
		    !(flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)))
			return;
		flags &= ~(unsigned)(FS_IMMUTABLE_FL | FS_APPEND_FL);
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags); /* else it stays as it is */
	}
}

/* The kernel copies up at the open, and Lamina at the first change: now there is one. */
bool tree_settle(struct run *run)
{
	static const struct timespec ts[2] = { { .tv_sec = 1000000 }, { .tv_sec = 2000000 } };
	bool good = tree_compare(run);

	for (size_t i = 0; good && i < opened.n; i++)
		for (unsigned k = 0; k < 2; k++) {
			char path[8400];
			struct stat st;

			(void)snprintf(path, sizeof(path), "%s/%s", run->side[k].mnt, opened.v[i]);
			CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

			clear_guard(fd);
			/* what was written through a mapping first: it has times of its own */
			if (fd >= 0 && fsync(fd) == 0 && fstat(fd, &st) == 0 &&
			    truncate(path, st.st_size) == 0)
				(void)utimensat(AT_FDCWD, path, ts, AT_SYMLINK_NOFOLLOW);
		}
	run->sh->n_opened = run->sh->n_mapped = 0;
	return good;
}
