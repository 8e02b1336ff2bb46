/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine where the upper filesystem or the kernel lacks something: the same story of changes,
 * told with each feature missing, gives the same tree, and gives it again after the next mount.
 * What a missing feature takes away is named in the table, and nothing else may be.
 *
 * And where something fails half way: each change is made with its Nth modifying call refused, for
 * every N; the tree is then the old or the new one, and the next mount finds no litter.
 */
#include "scratch.h"

#include <dirent.h>
#include <errno.h>
#include <lamina/lamina.h>

#define LOST_REDIRECT 1u  /* merged directories cannot be moved: EXDEV */
#define LOST_EXCHANGE 2u  /* RENAME_EXCHANGE: EINVAL */
#define LOST_TMPFILE 4u	  /* O_TMPFILE: EOPNOTSUPP */
#define LOST_XATTR 8u	  /* no attributes */
#define LOST_IDENTITY 16u /* hard links part at copy-up */
#define LOST_LONG 32u	  /* removal of lower names that leave no room for `.wh.` */
#define LONG_NAME 253u

struct missing {
	const char *features;
	unsigned lost;
};

static const struct missing table[] = {
	{ "", 0 },
	{ "xattr", LOST_REDIRECT | LOST_XATTR | LOST_IDENTITY },
	{ "xattr char_device", LOST_REDIRECT | LOST_XATTR | LOST_IDENTITY | LOST_LONG },
	{ "tmpfile", LOST_TMPFILE },
	{ "rename_whiteout", 0 },
	{ "rename_exchange", LOST_EXCHANGE },
	{ "renameat2", LOST_EXCHANGE },
	{ "char_device", 0 },
	{ "char_device rename_exchange", LOST_EXCHANGE },
	{ "d_type", 0 },
	{ "name_to_handle", LOST_IDENTITY },
	{ "xattr tmpfile renameat2 char_device d_type name_to_handle fileattr",
	  LOST_REDIRECT | LOST_XATTR | LOST_IDENTITY | LOST_TMPFILE | LOST_EXCHANGE | LOST_LONG },
	{ "tmpfile renameat2 char_device d_type name_to_handle",
	  LOST_IDENTITY | LOST_TMPFILE | LOST_EXCHANGE },
	{ "openat2", 0 },
	{ "statx mount_id", 0 },
	{ "fsuuid", 0 },
	{ "xattrat fchmodat2 utimens_empty link_empty", 0 },
	{ "copy_file_range ficlone seek_data fallocate", 0 },
	{ "open_tree fileattr", 0 },
};

static char long_name[LONG_NAME + 1];
static struct lam_stack *stack;
static const struct lam_call call = { .cred = { .umask = 022 } };
static uint64_t in_use_id;

/* ---- By path ---- */

static int find(const char *path, struct lam_entry *ret)
{
	char copy[1024], *save = NULL;
	struct lam_entry e = { .id = LAM_ROOT_ID };

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		int r = lam_lookup(stack, &call, e.id, name, &e);

		if (r < 0)
			return r;
	}
	*ret = e;
	return 0;
}

/* The directory of PATH; *RET_NAME gets its last component. */
static uint64_t parent_of(const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	struct lam_entry e = { .id = LAM_ROOT_ID };
	char dir[1024];

	*ret_name = slash ? slash + 1 : path;
	if (slash) {
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
		assert_int_equal(find(dir, &e), 0);
	}
	return e.id;
}

static int make(const char *path, uint32_t mode)
{
	struct lam_entry e;
	const char *name;
	uint64_t dir = parent_of(path, &name);

	return S_ISDIR(mode) ? lam_mkdir(stack, &call, dir, name, mode & 07777u, &e)
			     : lam_mknod(stack, &call, dir, name, mode, 0, 0, &e);
}

static int drop(const char *path, bool dir)
{
	const char *name;
	uint64_t parent = parent_of(path, &name);

	return dir ? lam_rmdir(stack, &call, parent, name) : lam_unlink(stack, &call, parent, name);
}

static int move(const char *from, const char *to, unsigned flags)
{
	const char *a, *b;
	uint64_t from_dir = parent_of(from, &a), to_dir = parent_of(to, &b);

	return lam_rename(stack, &call, from_dir, a, to_dir, b, flags);
}

static int put(const char *path, uint64_t off, const char *text)
{
	struct lam_entry e;
	int r = find(path, &e);

	if (r < 0)
		return r;
	r = (int)lam_write(stack, &call, e.id, off, text, strlen(text), 0);
	return r < 0 ? r : 0;
}

/* ---- What the tree looks like ---- */

struct text {
	char buf[16384];
	size_t len;
	char paths[256][600];
	size_t n;
};

static const char *listing_base;

static bool emit(void *ctx, const struct lam_dirent *de)
{
	struct text *t = ctx;

	if (!strcmp(de->name, ".") || !strcmp(de->name, ".."))
		return true;
	assert_true(t->n < 256);
	snprintf(t->paths[t->n++], sizeof(t->paths[0]), "%s%s%s", listing_base,
		 *listing_base ? "/" : "", de->name);
	return true;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void describe(struct text *t, const char *path)
{
	struct lam_entry e;
	char data[64] = "";

	assert_int_equal(find(path, &e), 0);
	if (S_ISREG(e.attr.mode))
		assert_true(lam_read(stack, &call, e.id, 0, data, sizeof(data) - 1) >= 0);
	for (char *p = data; *p; p++)
		if (*p == '\n')
			*p = '|';
	if (S_ISLNK(e.attr.mode))
		assert_true(lam_readlink(stack, &call, e.id, data, sizeof(data) - 1) > 0);
	t->len += (size_t)snprintf(t->buf + t->len, sizeof(t->buf) - t->len, "%s %o %u %s\n", path,
				   e.attr.mode, S_ISDIR(e.attr.mode) ? 0 : e.attr.nlink, data);
	assert_true(t->len < sizeof(t->buf));
}

/* The whole tree, sorted, as text; the caller frees it. */
static char *picture(void)
{
	struct text *t = calloc(1, sizeof(*t));
	char *ret;

	for (size_t i = 0; i <= t->n; i++) {
		struct lam_entry e;

		listing_base = i ? t->paths[i - 1] : "";
		assert_int_equal(find(listing_base, &e), 0);
		if (S_ISDIR(e.attr.mode) || !i)
			assert_int_equal(lam_readdir(stack, &call, e.id, 0, 0, emit, t), 0);
	}
	qsort(t->paths, t->n, sizeof(t->paths[0]), by_text);
	for (size_t i = 0; i < t->n; i++)
		describe(t, t->paths[i]);
	ret = strdup(t->buf);
	free(t);
	return ret;
}

/* ---- The layers ---- */

static void lower_file(const char *path, const char *data)
{
	int fd = openat(scratch, path, O_CREAT | O_EXCL | O_WRONLY, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, strlen(data)), strlen(data));
	close(fd);
}

static void make_layers(void)
{
	static const char *const dirs[] = { "l1",	  "l1/dir", "l1/dir/sub", "l1/ren",
					    "l1/ren/sub", "l1/opq", "l1/empty",	  "l1/white",
					    "l2",	  "l2/dir", "l2/opq",	  "up",
					    "work" };
	char path[300];

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		assert_int_equal(mkdirat(scratch, dirs[i], 0755), 0);
	lower_file("l1/dir/file", "below\n");
	lower_file("l1/dir/sub/deep", "deep\n");
	lower_file("l2/dir/other", "other\n");
	lower_file("l1/ren/sub/file", "moved\n");
	lower_file("l1/opq/old", "old\n");
	lower_file("l2/opq/below", "below\n");
	lower_file("l1/empty/x", "x\n");
	lower_file("l1/white/x", "x\n");
	lower_file("l1/gone", "gone\n");
	lower_file("l1/f1", "f1\n");
	lower_file("l1/hard", "hard\n");
	assert_int_equal(linkat(scratch, "l1/hard", scratch, "l1/hard2", 0), 0);
	assert_int_equal(symlinkat("target", scratch, "l1/link"), 0);
	assert_int_equal(symlinkat("target", scratch, "l1/sym"), 0);
	memset(long_name, 'n', LONG_NAME);
	snprintf(path, sizeof(path), "l1/%s", long_name);
	lower_file(path, "long\n");
}

static bool in_use(void *ctx, uint64_t id)
{
	(void)ctx;
	return id == in_use_id;
}

static void open_stack(void)
{
	static char l1[600], l2[600], up[600], work[600];
	const char *lower[] = { l1, l2 };
	struct lam_config c = { .lower = lower, .n_lower = 2, .upper = up, .work = work };

	snprintf(l1, sizeof(l1), "%s/l1", scratch_path);
	snprintf(l2, sizeof(l2), "%s/l2", scratch_path);
	snprintf(up, sizeof(up), "%s/up", scratch_path);
	snprintf(work, sizeof(work), "%s/work", scratch_path);
	assert_int_equal(lam_stack_open(&c, &stack), 0);
	assert_int_equal(lam_stack_add_user(stack, in_use, NULL), 0);
}

static void close_stack(void)
{
	lam_stack_close(stack);
	stack = NULL;
	in_use_id = 0;
}

/* No temporary names; "incompat" is not one. */
static void no_litter(void)
{
	static const char *const places[] = { "work/work", "work/lamina/orphans" };

	for (size_t i = 0; i < 2; i++) {
		int fd = openat(scratch, places[i], O_RDONLY | O_DIRECTORY);
		DIR *dir = fdopendir(fd);
		struct dirent *de;

		assert_non_null(dir);
		while ((de = readdir(dir)))
			if (de->d_name[0] != '.')
				fail_msg("%s/%s is left", places[i], de->d_name);
		closedir(dir);
	}
}

/* ---- The story ---- */

static void removals(const struct missing *m)
{
	assert_int_equal(drop("gone", false), 0);
	assert_int_equal(drop("opq/old", false), 0);
	assert_int_equal(drop("opq", true), -ENOTEMPTY);
	assert_int_equal(drop("opq/below", false), 0);
	assert_int_equal(drop("opq", true), 0);
	assert_int_equal(make("opq", S_IFDIR | 0755), 0);
	assert_int_equal(make("opq/new", S_IFREG | 0644), 0);
	assert_int_equal(drop(long_name, false), m->lost & LOST_LONG ? -ENAMETOOLONG : 0);
	assert_int_equal(drop("link", false), 0);
	assert_int_equal(make("link", S_IFREG | 0600), 0);
	assert_int_equal(put("link", 0, "file now\n"), 0);
	assert_int_equal(drop("white/x", false), 0);
}

static void renames(const struct missing *m)
{
	int r;

	assert_int_equal(move("f1", "f2", 0), 0);
	assert_int_equal(move("f2", "gone", LAM_RENAME_NOREPLACE), 0);
	r = move("ren", "renamed", 0);
	assert_int_equal(r, m->lost & LOST_REDIRECT ? -EXDEV : 0);
	if (r == 0) { /* over a directory that is empty but for whiteouts, and back to its place */
		assert_int_equal(drop("empty/x", false), 0);
		assert_int_equal(move("renamed", "empty", 0), 0);
		assert_int_equal(move("empty", "ren", 0), 0);
	}
	assert_int_equal(make("pure", S_IFDIR | 0700), 0);
	assert_int_equal(make("pure/p", S_IFREG | 0600), 0);
	r = move("pure", "white", 0);
	assert_true(r == 0 || (r == -EXDEV && m->lost & LOST_XATTR));
	r = move("dir/file", "hard", LAM_RENAME_EXCHANGE);
	assert_int_equal(r, m->lost & LOST_EXCHANGE ? -EINVAL : 0);
	if (r == 0)
		assert_int_equal(move("dir/file", "hard", LAM_RENAME_EXCHANGE), 0);
}

static void links(const struct missing *m)
{
	struct lam_entry e, other;

	assert_int_equal(find("hard", &e), 0);
	assert_int_equal(lam_link(stack, &call, e.id, LAM_ROOT_ID, "hard3", &e), 0);
	assert_int_equal(put("hard3", 0, "HARD"), 0);
	assert_int_equal(find("hard", &e), 0);
	assert_int_equal(find("hard3", &other), 0);
	assert_int_equal(e.id, other.id);
	if (!(m->lost & LOST_IDENTITY)) {
		assert_int_equal(find("hard2", &other), 0);
		assert_int_equal(e.id, other.id);
		assert_int_equal(other.attr.nlink, 3);
	}
}

/* Objects without a name live as long as somebody refers to them. */
static void orphans(const struct missing *m)
{
	struct lam_entry e;
	char buf[8];
	int r;

	assert_int_equal(make("temp", S_IFREG | 0600), 0);
	assert_int_equal(put("temp", 0, "here"), 0);
	assert_int_equal(find("temp", &e), 0);
	in_use_id = e.id;
	assert_int_equal(drop("temp", false), 0);
	assert_int_equal(lam_read(stack, &call, e.id, 0, buf, sizeof(buf)), 4);
	in_use_id = 0;
	lam_forget(stack, e.id);
	assert_int_equal(lam_read(stack, &call, e.id, 0, buf, sizeof(buf)), -ESTALE);

	assert_int_equal(find("dir/sub/deep", &e), 0); /* from below: it stays where it is */
	in_use_id = e.id;
	assert_int_equal(drop("dir/sub/deep", false), 0);
	assert_int_equal(lam_write(stack, &call, e.id, 0, "DEEP", 4, 0), 4);
	assert_int_equal(lam_read(stack, &call, e.id, 0, buf, sizeof(buf)), 5);
	assert_memory_equal(buf, "DEEP\n", 5);
	in_use_id = 0;
	lam_forget(stack, e.id);

	r = lam_tmpfile(stack, &call, LAM_ROOT_ID, 0600, &e);
	assert_int_equal(r, m->lost & LOST_TMPFILE ? -EOPNOTSUPP : 0);
	if (r < 0)
		return;
	in_use_id = e.id;
	assert_int_equal(lam_link(stack, &call, e.id, LAM_ROOT_ID, "linked", &e), 0);
	in_use_id = 0;
}

static void disable(const char *features)
{
	char copy[128], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", features);
	for (char *f = strtok_r(copy, " ", &save); f; f = strtok_r(NULL, " ", &save))
		sys_disable(f);
}

static void empty_scratch(void)
{
	char path[600];

	for (size_t i = 0; i < 4; i++) {
		static const char *const dirs[] = { "l1", "l2", "up", "work" };

		snprintf(path, sizeof(path), "%s/%s", scratch_path, dirs[i]);
		nftw(path, scratch_remove, 16, FTW_DEPTH | FTW_PHYS);
	}
}

/* Copies of files below, one of a symlink, by other names as well: what they are called now. */
static const char *const copies[] = { "dir/file", "sym2", "ren/sub/file" };
#define N_COPIES 3u

static void copy_some(uint64_t ids[N_COPIES])
{
	const struct lam_attr a = { .mtime = { .tv_sec = 5 } };
	struct lam_attr after;
	struct lam_entry e;

	assert_int_equal(move("sym", "sym2", 0), 0);
	for (size_t i = 0; i < N_COPIES; i++) {
		assert_int_equal(find(copies[i], &e), 0);
		ids[i] = e.id;
		assert_int_equal(lam_setattr(stack, &call, e.id, LAM_SET_MTIME, &a, &after), 0);
		assert_int_equal(find(copies[i], &e), 0);
		assert_int_equal(e.id, ids[i]);
		assert_int_equal(e.attr.ino, after.ino);
	}
}

static void copies_are_kept(const uint64_t ids[N_COPIES])
{
	struct lam_entry e;

	for (size_t i = 0; i < N_COPIES; i++) {
		assert_int_equal(find(copies[i], &e), 0);
		assert_int_equal(e.id, ids[i]);
	}
}

static void story(const struct missing *m)
{
	uint64_t ids[N_COPIES];
	char *before, *after;

	make_layers();
	disable(m->features);
	open_stack();
	removals(m);
	renames(m);
	links(m);
	orphans(m);
	assert_int_equal(put("dir/file", 6, "above\n"), 0);
	copy_some(ids);
	before = picture();
	assert_null(strstr(before, "opq/old"));
	assert_null(strstr(before, "opq/below"));
	assert_true(!strstr(before, long_name) == !(m->lost & LOST_LONG));
	assert_non_null(strstr(before, "gone 100644 1 f1|\n"));
	assert_non_null(strstr(before, "ren/sub/file 100644 1 moved|\n"));
	assert_non_null(strstr(before, "dir/file 100644 1 below|above|\n"));
	assert_non_null(strstr(before, "link 100600 1 file now|\n"));
	close_stack();
	open_stack();
	after = picture();
	assert_string_equal(before, after);
	copies_are_kept(ids);
	close_stack();
	no_litter();
	free(after);
	free(before);
	sys_enable_all();
	empty_scratch();
}

static void features_missing(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		print_message("without: %s\n", table[i].features);
		story(&table[i]);
	}
}

/* ---- Faults ---- */

static int fault_at, fault_errno, fault_seen;

static int fault(const char *name, bool mutates, bool after)
{
	(void)name;
	if (after || !mutates)
		return 0;
	return ++fault_seen == fault_at ? fault_errno : 0;
}

struct change {
	const char *what;
	int (*run)(void);
};

static int change_write(void)
{
	return put("dir/file", 0, "BELOW");
}
static int change_hard(void)
{
	return put("hard", 0, "HARD");
}
static int change_unlink(void)
{
	return drop("dir/other", false);
}
static int change_rename(void)
{
	return move("f1", "dir/f2", 0);
}
static int change_rename_dir(void)
{
	return move("ren", "dir/ren", 0);
}
static int change_over(void)
{
	return move("f1", "gone", 0);
}
static int change_create(void)
{
	return make("dir/sub/new", S_IFREG | 0600);
}

static int change_mode(void)
{
	struct lam_attr a = { .mode = 0600 };
	struct lam_entry e;
	int r = find("dir/sub/deep", &e);

	return r < 0 ? r : lam_setattr(stack, &call, e.id, LAM_SET_MODE, &a, &a);
}

static int change_link(void)
{
	struct lam_entry e;
	int r = find("f1", &e);

	return r < 0 ? r : lam_link(stack, &call, e.id, LAM_ROOT_ID, "f1-too", &e);
}

static const struct change changes[] = {
	{ "write", change_write },
	{ "write to a hard link", change_hard },
	{ "unlink", change_unlink },
	{ "rename", change_rename },
	{ "rename of a directory", change_rename_dir },
	{ "rename over", change_over },
	{ "create", change_create },
	{ "chmod", change_mode },
	{ "link", change_link },
};

/* Refuse the Nth call of CHANGE; false when it has fewer. */
static bool refuse(const struct change *change, int nth, int error, const char *old,
		   const char *new)
{
	char *now, *later;
	bool reached;
	int r;

	make_layers();
	open_stack();
	fault_at = nth;
	fault_errno = error;
	fault_seen = 0;
	sys_fault_hook = fault;
	r = change->run();
	sys_fault_hook = NULL;
	reached = fault_seen >= nth;
	now = picture();
	if (strcmp(now, r == 0 ? new : old) && (r == 0 || strcmp(now, new)))
		fail_msg("%s, call %d: %d, then neither old nor new:\n%s", change->what, nth, r,
			 now);
	close_stack();
	open_stack();
	later = picture();
	if (strcmp(later, now))
		fail_msg("%s, call %d: %d, and another tree at the next mount:\n%s--- was\n%s",
			 change->what, nth, r, later, now);
	close_stack();
	no_litter();
	open_stack(); /* and it can be done now */
	r = change->run();
	assert_true(r == 0 || r == -ENOENT || r == -EEXIST);
	free(now);
	now = picture();
	assert_string_equal(now, new);
	close_stack();
	free(now);
	free(later);
	empty_scratch();
	return reached;
}

static void calls_refused(void **state)
{
	static const int errors[] = { -ENOSPC, -EDQUOT, -EIO };

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		char *old, *new;

		make_layers();
		open_stack();
		old = picture();
		assert_int_equal(changes[i].run(), 0);
		new = picture();
		assert_string_not_equal(old, new);
		close_stack();
		empty_scratch();
		for (int nth = 1; refuse(&changes[i], nth, errors[nth % 3], old, new); nth++)
			;
		free(old);
		free(new);
	}
}

/* ---- Records of origins ---- */

static unsigned count_records(void)
{
	int fd = openat(scratch, "work/lamina/origins", O_RDONLY | O_DIRECTORY);
	DIR *dir = fdopendir(fd);
	struct dirent *de;
	unsigned n = 0;

	assert_non_null(dir);
	while ((de = readdir(dir)))
		n += de->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* Without attributes a copy's identity is in a record: a copy-up that is refused at its Nth call, and one that
 * is not, leave the number as it was. */
static bool refuse_record(int nth)
{
	const struct lam_attr a = { .mode = 0600 };
	struct lam_attr after;
	struct lam_entry e;
	uint64_t id;
	int r;

	make_layers();
	open_stack();
	assert_int_equal(find("f1", &e), 0);
	id = e.id;
	fault_at = nth;
	fault_errno = -ENOSPC;
	fault_seen = 0;
	sys_fault_hook = fault;
	r = lam_setattr(stack, &call, id, LAM_SET_MODE, &a, &after);
	sys_fault_hook = NULL;
	for (int again = 0; again < 2; again++) {
		assert_int_equal(find("f1", &e), 0);
		assert_int_equal(e.id, id);
		assert_int_equal(e.attr.mode & 0777, r < 0 ? 0644 : 0600);
		close_stack();
		open_stack();
	}
	assert_int_equal(find("f1", &e), 0);
	assert_int_equal(lam_setattr(stack, &call, id, LAM_SET_MODE, &a, &after), 0);
	assert_int_equal(move("f1", "dir/f2", 0), 0);
	close_stack();
	open_stack();
	assert_int_equal(find("dir/f2", &e), 0);
	assert_int_equal(e.id, id);
	assert_true(count_records() >= 1);
	assert_int_equal(drop("dir/f2", false), 0);
	assert_true(count_records() <= 1); /* one may be of a copy that was refused */
	close_stack();
	no_litter();
	empty_scratch();
	return fault_seen >= nth;
}

static void records_refused(void **state)
{
	(void)state;
	disable("xattr");
	for (int nth = 1; refuse_record(nth); nth++)
		;
}

/* ---- A directory that is to be replaced ---- */

/* "target" is in upper, empty but for a whiteout, and has a mode and an attribute of its own. */
static uint64_t make_target(void)
{
	struct lam_attr a = { .mode = 0751 };
	struct lam_entry e;

	make_layers();
	assert_int_equal(mkdirat(scratch, "l1/target", 0755), 0);
	lower_file("l1/target/x", "x\n");
	open_stack();
	assert_int_equal(drop("target/x", false), 0);
	assert_int_equal(make("made", S_IFDIR | 0700), 0);
	assert_int_equal(make("made/in", S_IFREG | 0600), 0);
	assert_int_equal(find("target", &e), 0);
	assert_int_equal(lam_setattr(stack, &call, e.id, LAM_SET_MODE, &a, &a), 0);
	assert_int_equal(lam_setxattr(stack, &call, e.id, "user.mark", "m", 1, 0), 0);
	return e.id;
}

static void target_is_old(uint64_t id)
{
	struct lam_entry e;
	char value[4];

	assert_int_equal(find("target", &e), 0);
	assert_int_equal(e.id, id);
	assert_int_equal(e.attr.mode, S_IFDIR | 0751);
	assert_int_equal(lam_getxattr(stack, &call, id, "user.mark", value, sizeof(value)), 1);
	assert_int_equal(lam_getattr(stack, &call, id, &e.attr), 0);
	assert_int_equal(find("target/in", &e), -ENOENT);
	assert_int_equal(find("made/in", &e), 0);
}

/* Refuse the Nth call of a rename over it; false when it has fewer. */
static bool refuse_replacing(int nth, bool used)
{
	uint64_t id = make_target();
	struct lam_entry e;
	int r;

	in_use_id = used ? id : 0;
	fault_at = nth;
	fault_errno = -EIO;
	fault_seen = 0;
	sys_fault_hook = fault;
	r = move("made", "target", 0);
	sys_fault_hook = NULL;
	if (r < 0) {
		target_is_old(id);
		assert_int_equal(make("target/new", S_IFREG | 0600), 0); /* it is no dead one */
		assert_int_equal(drop("target/new", false), 0);
		close_stack();
		open_stack();
		target_is_old(id);
		assert_int_equal(move("made", "target", 0), 0);
	}
	assert_int_equal(find("target/in", &e), 0);
	assert_int_equal(find("made", &e), -ENOENT);
	close_stack();
	open_stack();
	assert_int_equal(find("target/in", &e), 0);
	close_stack();
	no_litter();
	empty_scratch();
	return fault_seen >= nth;
}

static void replacing_refused(void **state)
{
	static const char *const features[] = { "", "rename_whiteout", "rename_exchange",
						"char_device" };

	(void)state;
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		for (int used = 0; used < 2; used++)
			for (int nth = 1;; nth++) {
				disable(features[i]);
				if (!refuse_replacing(nth, used))
					break;
			}
		sys_enable_all();
	}
}

/* ---- A copy that is given up by who waits for it ---- */

static atomic_bool cancelled;
static unsigned pieces;

static int cancel(const char *name, bool mutates, bool after)
{
	(void)mutates;
	if (!after && !strcmp(name, "pwrite") && ++pieces == 2)
		atomic_store(&cancelled, true);
	return 0;
}

static void copy_interrupted(void **state)
{
	const struct lam_call patient = { .cancelled = &cancelled };
	char *before, *now;
	struct lam_entry e;
	int fd;

	(void)state;
	make_layers();
	fd = openat(scratch, "l1/f1", O_WRONLY);
	for (unsigned i = 0; i < 8u << 20; i += sizeof(long_name))
		assert_int_equal(write(fd, long_name, sizeof(long_name)), sizeof(long_name));
	close(fd);
	disable("copy_file_range ficlone");
	open_stack();
	before = picture();
	assert_int_equal(find("f1", &e), 0);
	sys_fault_hook = cancel;
	assert_int_equal(lam_write(stack, &patient, e.id, 0, "x", 1, 0), -EINTR);
	assert_int_equal(pieces, 2);
	sys_fault_hook = NULL;
	now = picture();
	assert_string_equal(before, now);
	close_stack();
	no_litter();
	open_stack();
	assert_int_equal(put("f1", 0, "x"), 0);
	close_stack();
	free(now);
	free(before);
	empty_scratch();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(features_missing), SCRATCH_TEST(calls_refused),
		SCRATCH_TEST(records_refused),	SCRATCH_TEST(replacing_refused),
		SCRATCH_TEST(copy_interrupted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
