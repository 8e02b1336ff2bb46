/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What both left in their layers, in the kernel's terms: names, types, attributes, contents of upper,
 * and the entries of the index.  File handles become the names of what they mean.
 *
 * Not looked at are temporary names, what Lamina keeps in lamina/, and whether an indexed
 * file has its name in upper or only in the index: the union of names is what counts.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "walk.h"

/* ---- Names of handles ---- */

enum { NAMES = 1 << 13 };

/* A hash of the handle of each object of a side's layers, and of the first of its names. */
struct handle_names {
	struct {
		uint64_t handle, name;
		long links;
	} v[NAMES];
};

static struct handle_names all_names[2];
/* for nftw(), which passes nothing on */
static struct handle_names *collecting;
static const char *collecting_layer;
static size_t collecting_prefix;

static void name_put(struct handle_names *n, uint64_t handle, uint64_t name, long links)
{
	size_t at = (handle * 0x9E3779B97F4A7C15ull) >> 51;

	for (size_t i = 0; i < NAMES; i++) {
		size_t k = (at + i) % NAMES;

		if (n->v[k].handle && n->v[k].handle != handle)
			continue;
		/* of several names the one that both sides would choose */
		if (!n->v[k].handle || name < n->v[k].name)
			n->v[k].name = name;
		n->v[k].handle = handle;
		n->v[k].links = links;
		return;
	}
	abort();
}

/* The place of a handle, or NAMES. */
static size_t name_find(const struct handle_names *n, uint64_t handle)
{
	size_t at = (handle * 0x9E3779B97F4A7C15ull) >> 51;

	for (size_t i = 0; i < NAMES && n->v[(at + i) % NAMES].handle; i++)
		if (n->v[(at + i) % NAMES].handle == handle)
			return (at + i) % NAMES;
	return NAMES;
}

/* FS tells filesystems apart: a handle does not. */
static uint64_t handle_hash(unsigned type, const void *fid, size_t len)
{
	return look_hash(fid, len) * 31 + type + 1;
}

static int collect_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + 128];
	} b;
	char name[4300];
	int mount, n;

	(void)type;
	(void)f;
	b.h.handle_bytes = 128;
	if (name_to_handle_at(AT_FDCWD, path, &b.h, &mount, 0) < 0)
		return 0;
	n = snprintf(name, sizeof(name), "%s:%s", collecting_layer, path + collecting_prefix);
	name_put(collecting, handle_hash((unsigned)b.h.handle_type, b.h.f_handle, b.h.handle_bytes),
		 look_hash(name, (size_t)n) | 4, (long)st->st_nlink);
	return 0;
}

static void collect(struct run *run, struct side *s)
{
	const struct config *cfg = &run->script->cfg;
	char dir[128], label[16];

	collecting = &all_names[s->number];
	memset(collecting, 0, sizeof(*collecting));
	for (unsigned l = 0; l <= cfg->lowers + cfg->datas; l++) {
		(void)snprintf(label, sizeof(label), "%u", l);
		collecting_layer = label;
		collecting_prefix = strlen(layer_dir(s, l, cfg, dir));
		(void)nftw(dir, collect_one, 32, FTW_PHYS);
	}
}

/* The place of what a stored handle stands for, or NAMES. */
static size_t stored_find(unsigned side, const unsigned char *v, size_t len)
{
	if (len < 21 || v[0] != 0 || v[1] != 0xfb || v[2] != len)
		return NAMES;
	return name_find(&all_names[side], handle_hash(v[4], v + 21, len - 21));
}

/* What a stored handle means: 0 empty, 1 damaged, 2 nothing that is still there, else a name's hash. */
static uint64_t stored_name(unsigned side, const unsigned char *v, size_t len)
{
	size_t k = stored_find(side, v, len);

	if (len == 0)
		return 0;
	if (len < 21 || v[0] != 0 || v[1] != 0xfb || v[2] != len)
		return 1;
	return (k == NAMES ? 2 : all_names[side].v[k].name) + v[3];
}

/* How many names that has. */
static long stored_links(unsigned side, const unsigned char *v, size_t len)
{
	size_t k = stored_find(side, v, len);

	return k == NAMES ? 0 : all_names[side].v[k].links;
}

/* ---- Objects of upper ---- */

static const char *prefix_of(const struct run *run)
{
	return run->script->cfg.userxattr ? "user.overlay." : "trusted.overlay.";
}

static void look_marks(struct walk *w, unsigned side, int dir, const char *path)
{
	struct rec *r = w->run->rec[side];
	const char *prefix = prefix_of(w->run);
	size_t plen = strlen(prefix), first = r->n, keep = r->n;
	unsigned char value[4096];
	char proc[64];

	look_xattrs(r, W_UPPER, dir, path);
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", dir);
	for (size_t i = first; i < r->n; i++) {
		struct field *f = &r->f[i];
		char name[256];

		if (f->key_len < plen || memcmp(r->bytes + f->key, prefix, plen) != 0) {
			r->f[keep++] = *f;
			continue;
		}
		(void)snprintf(name, sizeof(name), "%.*s", (int)f->key_len, r->bytes + f->key);
		if (!strcmp(name + plen, "uuid") || !strcmp(name + plen, "impure") ||
		    !strcmp(name + plen, "nlink"))
			continue;
		if (!strcmp(name + plen, "origin") || !strcmp(name + plen, "upper")) {
			ssize_t n = *path ? lgetxattr(path, name, value, sizeof(value))
					  : getxattr(proc, name, value, sizeof(value));

			f->tag = TAG_HANDLE;
			f->value = n < 0 ? 3 : stored_name(side, value, (size_t)n);
		}
		r->f[keep++] = *f;
	}
	r->n = keep;
	rec_sort(r, first);
}

static bool has_mark(const struct walk *w, const char *path, const char *mark)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "%s%s", prefix_of(w->run), mark);
	return lgetxattr(path, name, NULL, 0) >= 0;
}

static mode_t look_upper(struct walk *w, unsigned i, const char *path)
{
	struct rec *r = w->run->rec[i];
	bool indexed = w->run->script->cfg.index;
	struct statx sx;

	if (fchdir(w->root[i]) < 0 ||
	    statx(w->root[i], path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &sx) < 0) {
		rec_put(r, W_UPPER, TAG_ERRNO, (uint64_t)errno);
		return 0;
	}
	if (S_ISCHR(sx.stx_mode) && !sx.stx_rdev_major && !sx.stx_rdev_minor) {
		rec_put(r, W_UPPER, TAG_VALUE, 1);
		return sx.stx_mode;
	}
	if (S_ISDIR(sx.stx_mode) || indexed)
		sx.stx_nlink = 0; /* the index has a link of its own, and a free choice of names */
	look_stat(w->run, &w->run->side[i], r, W_UPPER, &sx);
	if (S_ISREG(sx.stx_mode) && !has_mark(w, path, "metacopy")) {
		CLEANUP_CLOSE int fd = openat(w->root[i], path,
					      O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME);

		rec_put(r, W_UPPER, TAG_DATA, fd < 0 ? (uint64_t)errno : look_content(fd, NULL));
	}
	look_marks(w, i, w->root[i], path);
	return sx.stx_mode;
}

/* Entries of a directory of upper; whether one has an origin and the directory no impure mark. */
static void list_upper(struct walk *w, unsigned i, int fd, const char *dir)
{
	struct rec *r = w->run->rec[i];
	bool needed = false;

	(void)look_list(fd, r, w->where, false, 0);
	if (fchdir(fd) < 0)
		return;
	for (size_t k = 0; k < r->n && !needed; k++) {
		const struct field *f = &r->f[k];
		char name[256];

		(void)snprintf(name, sizeof(name), "%.*s", (int)f->key_len, r->bytes + f->key);
		needed = strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
			 has_mark(w, name, "origin");
	}
	if (needed && !has_mark(w, ".", "impure") && fchdir(w->root[i]) == 0)
		rec_put(r, w->where, TAG_IMPURE, 1);
	(void)dir;
}

/* ---- The index ---- */

/* The visible links by the attribute `nlink`, which counts from those in upper or from those below. */
static long recorded_links(const struct walk *w, const char *path, long upper, long lower)
{
	char name[64], value[32] = "";

	(void)snprintf(name, sizeof(name), "%snlink", prefix_of(w->run));
	if (lgetxattr(path, name, value, sizeof(value) - 1) < 2)
		return upper;
	return (value[0] == 'U' ? upper : lower) + strtol(value + 1, NULL, 10);
}

/* What an entry stands for, and how many names that has below. */
static uint64_t index_key(unsigned side, const char *name, long *ret_links)
{
	unsigned char raw[128];
	size_t n = strlen(name) / 2;
	unsigned byte;

	if (n > sizeof(raw) || strlen(name) % 2)
		return 1;
	for (size_t i = 0; i < n; i++) {
		if (sscanf(name + 2 * i, "%2x", &byte) != 1)
			return 1;
		raw[i] = (unsigned char)byte;
	}
	*ret_links = stored_links(side, raw, n);
	return stored_name(side, raw, n);
}

static void index_entry(struct walk *w, unsigned i, const char *name)
{
	struct rec *r = w->run->rec[i];
	struct str key;
	long lower = 0;
	uint64_t what = index_key(i, name, &lower);
	char shown[32];
	struct stat st;

	if (name[0] == '#' || lstat(name, &st) < 0)
		return;
	key = (struct str){ shown, (size_t)snprintf(shown, sizeof(shown), "%016llx",
						    (unsigned long long)what) };
	if (S_ISCHR(st.st_mode)) {
		rec_put_key(r, W_UPPER, TAG_NAME, key, 0);
		return;
	}
	rec_put_key(r, W_UPPER, TAG_NAME, key, st.st_mode);
	if (!S_ISDIR(st.st_mode))
		rec_put_key(r, W_UPPER, TAG_NLINK, key,
			    (uint64_t)recorded_links(w, name, (long)st.st_nlink, lower));
}

static void index_list(struct walk *w, unsigned i)
{
	static struct rec names;
	const struct config *cfg = &w->run->script->cfg;
	char path[160], dir[128];

	(void)snprintf(path, sizeof(path), "%s/index",
		       layer_dir(&w->run->side[i], cfg->lowers + cfg->datas + 1, cfg, dir));
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	rec_clear(w->run->rec[i]);
	if (fd < 0 || fchdir(fd) < 0)
		return;
	rec_clear(&names);
	(void)look_list(fd, &names, W_UPPER, false, 0);
	for (size_t k = 0; k < names.n; k++) {
		char name[256];

		(void)snprintf(name, sizeof(name), "%.*s", (int)names.f[k].key_len,
			       names.bytes + names.f[k].key);
		if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
			index_entry(w, i, name);
	}
	rec_sort(w->run->rec[i], 0);
	rec_put(w->run->rec[i], W_UPPER, TAG_VALUE, 0);
	look_marks(w, i, fd, "");
}

/* True if both have left the same in upper and in the index. */
bool upper_compare(struct run *run)
{
	const struct config *cfg = &run->script->cfg;
	char dir[128];
	CLEANUP_CLOSE int a = open(layer_dir(&run->side[0], 0, cfg, dir),
				   O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_CLOSE int b = open(layer_dir(&run->side[1], 0, cfg, dir),
				   O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct walk w = { .run = run,
			  .where = W_UPPER,
			  .root = { a, b },
			  .look = look_upper,
			  .list = list_upper };
	bool good;

	for (unsigned i = 0; i < 2; i++) {
		collect(run, &run->side[i]);
		rec_clear(run->rec[i]);
		look_marks(&w, i, w.root[i], "");
	}
	good = compare_records(run, NULL, ".");
	if (good && cfg->index) {
		index_list(&w, 0);
		index_list(&w, 1);
		good = compare_records(run, NULL, INDEX_PATH);
	}
	good = good && walk_pair(&w);
	return chdir("/") == 0 && good;
}

/* ---- Lower layers ---- */

static uint64_t lower_sum;

static int print_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	const uint64_t seen[] = { look_hash(path, strlen(path)),
				  st->st_mode,
				  st->st_uid,
				  (uint64_t)st->st_size,
				  st->st_nlink,
				  (uint64_t)st->st_mtim.tv_sec,
				  (uint64_t)st->st_mtim.tv_nsec,
				  (uint64_t)st->st_ctim.tv_sec,
				  (uint64_t)st->st_ctim.tv_nsec };

	(void)type;
	(void)f;
	lower_sum += look_hash(seen, sizeof(seen));
	return 0;
}

/* A number that changes when anything in the lower layers does. */
uint64_t lower_print(struct run *run, const struct side *s)
{
	const struct config *cfg = &run->script->cfg;
	char dir[128];

	lower_sum = 0;
	for (unsigned l = 1; l <= cfg->lowers + cfg->datas; l++)
		(void)nftw(layer_dir(s, l, cfg, dir), print_one, 32, FTW_PHYS);
	return lower_sum;
}
