/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two names of one file, in two directories, that come and go at the same moment.  A kernel before
 * the engine would let only one change of a file's names in at a time; a server of NFS lets all of
 * them in.  However two of them meet: the number of names is the number of names there are, a file
 * that lost its last one is gone, and one that somebody uses is not.
 *
 * Two threads start each round together, and there are many rounds: without the lock of a file's
 * names some of them come out wrong nearly always.
 */
#include "scratch.h"

#include <dirent.h>
#include <errno.h>
#include <lamina/lamina.h>
#include <pthread.h>

#define ROUNDS 60u

/* Where a file of two names comes from. */
enum kind { BORN_UPPER, LOWER, COPIED_UP, KINDS };
/* What meets the removal of the name in "a". */
enum meeting { REMOVE, REMOVE_IN_USE, LINK, COPY_UP, REPLACE, MOVE, MEETINGS };

struct round {
	uint64_t id;
	char name[32];
	int r[2]; /* what the two got */
};

static struct lam_stack *stack;
static const struct lam_call call = { .cred = { .umask = 022 } };
static uint64_t dir_ids[3]; /* of "a", "b" and "c" */
static _Atomic bool all_in_use;
static pthread_barrier_t together;
static enum meeting meeting;
static struct round rounds[ROUNDS];

static bool in_use(void *ctx, uint64_t id)
{
	(void)ctx;
	(void)id;
	return all_in_use;
}

static void open_stack(void)
{
	static char lower[600], upper[600], work[600];
	const char *lowers[] = { lower };
	struct lam_config c = { .lower = lowers,
				.n_lower = 1,
				.upper = upper,
				.work = work,
				.index = LAM_ON,
				.nfs_export = LAM_ON };
	static const char *const names[] = { "a", "b", "c" };
	struct lam_entry e;

	snprintf(lower, sizeof(lower), "%s/lower", scratch_path);
	snprintf(upper, sizeof(upper), "%s/upper", scratch_path);
	snprintf(work, sizeof(work), "%s/work", scratch_path);
	assert_int_equal(lam_stack_open(&c, &stack), 0);
	assert_int_equal(lam_stack_add_user(stack, in_use, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(lam_lookup(stack, &call, LAM_ROOT_ID, names[i], &e), 0);
		dir_ids[i] = e.id;
	}
}

static void make_layers(enum kind kind)
{
	static const char *const dirs[] = { "lower",   "lower/a", "lower/b",
					    "lower/c", "upper",	  "work" };
	char a[64], b[64];

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		assert_int_equal(mkdirat(scratch, dirs[i], 0755), 0);
	for (unsigned i = 0; i < ROUNDS && kind != BORN_UPPER; i++) {
		snprintf(a, sizeof(a), "lower/a/f%u", i);
		snprintf(b, sizeof(b), "lower/b/f%u", i);
		close(make_file(a, "data"));
		assert_int_equal(linkat(scratch, a, scratch, b, 0), 0);
	}
}

/* The file of one round, in place; both directories are copied up before the race. */
static void prepare(struct round *rd, enum kind kind)
{
	struct lam_entry e;

	if (kind == BORN_UPPER) {
		assert_int_equal(
			lam_mknod(stack, &call, dir_ids[0], rd->name, S_IFREG | 0644, 0, 0, &e), 0);
		assert_int_equal(lam_write(stack, &call, e.id, 0, "data", 4, 0), 4);
		assert_int_equal(lam_link(stack, &call, e.id, dir_ids[1], rd->name, &e), 0);
	}
	assert_int_equal(lam_lookup(stack, &call, dir_ids[0], rd->name, &e), 0);
	rd->id = e.id;
	assert_int_equal(lam_lookup(stack, &call, dir_ids[1], rd->name, &e), 0);
	assert_int_equal(e.id, rd->id);
	assert_int_equal(e.attr.nlink, 2);
	if (kind == COPIED_UP)
		assert_int_equal(lam_write(stack, &call, e.id, 0, "data", 4, 0), 4);
	if (meeting == REPLACE) {
		char other[40];

		snprintf(other, sizeof(other), "other-%s", rd->name);
		assert_int_equal(
			lam_mknod(stack, &call, dir_ids[2], other, S_IFREG | 0644, 0, 0, &e), 0);
	}
}

static int meet(const struct round *rd)
{
	struct lam_entry e;
	char other[40];
	ssize_t n;

	switch (meeting) {
	case REMOVE:
	case REMOVE_IN_USE:
		return lam_unlink(stack, &call, dir_ids[1], rd->name);
	case LINK:
		return lam_link(stack, &call, rd->id, dir_ids[2], rd->name, &e);
	case COPY_UP:
		n = lam_write(stack, &call, rd->id, 0, "DATA", 4, 0);
		return n == 4 ? 0 : (int)n;
	case REPLACE:
		snprintf(other, sizeof(other), "other-%s", rd->name);
		return lam_rename(stack, &call, dir_ids[2], other, dir_ids[1], rd->name, 0);
	case MOVE:
		return lam_rename(stack, &call, dir_ids[1], rd->name, dir_ids[2], rd->name, 0);
	case MEETINGS:
		break;
	}
	return -EINVAL;
}

static void *meet_all(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&together);
		rounds[i].r[1] = meet(&rounds[i]);
	}
	return NULL;
}

static void run_rounds(void)
{
	pthread_t thread;

	assert_int_equal(pthread_barrier_init(&together, NULL, 2), 0);
	assert_int_equal(pthread_create(&thread, NULL, meet_all, NULL), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&together);
		rounds[i].r[0] = lam_unlink(stack, &call, dir_ids[0], rounds[i].name);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_barrier_destroy(&together);
}

/* How many of the three directories have a name of this file. */
static unsigned names_of(const struct round *rd)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 3; i++) {
		struct lam_entry e;

		if (lam_lookup(stack, &call, dir_ids[i], rd->name, &e) == 0 && e.id == rd->id)
			n++;
	}
	return n;
}

static void check_data(const struct round *rd, bool written)
{
	char buf[8];

	assert_int_equal(lam_read(stack, &call, rd->id, 0, buf, sizeof(buf)), 4);
	assert_memory_equal(buf, written ? "DATA" : "data", 4);
}

static void check_round(const struct round *rd)
{
	const unsigned names = names_of(rd);
	struct lam_entry e;
	struct lam_attr a;

	if (rd->r[0] != 0 || rd->r[1] != 0)
		fail_msg("%s: removal: %d, the other: %d", rd->name, rd->r[0], rd->r[1]);
	assert_int_equal(names, meeting == LINK ? 2 : meeting == COPY_UP || meeting == MOVE);
	if (meeting == REMOVE_IN_USE) {
		assert_int_equal(lam_getattr(stack, &call, rd->id, &a), 0);
		assert_int_equal(a.nlink, 0);
		check_data(rd, false);
	} else if (names == 0) {
		assert_int_equal(lam_resolve(stack, &call, rd->id, &e), -ESTALE);
	} else {
		assert_int_equal(lam_getattr(stack, &call, rd->id, &a), 0);
		assert_int_equal(a.nlink, names);
		check_data(rd, meeting == COPY_UP);
	}
}

/* A directory below scratch has no regular files and, with NOTHING, nothing at all. */
static void check_empty(const char *path, bool nothing)
{
	int fd = openat(scratch, path, O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!dir)
		return; /* made when it is first needed */
	while ((de = readdir(dir))) {
		struct stat st;

		if (de->d_name[0] == '.')
			continue;
		assert_int_equal(fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW), 0);
		if (nothing || S_ISREG(st.st_mode))
			fail_msg("%s/%s is left", path, de->d_name);
	}
	closedir(dir);
}

/* The rest of the names goes: then nothing of the files may be left anywhere. */
static void remove_rest(void)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		for (unsigned d = 0; d < 3; d++) {
			int r = lam_unlink(stack, &call, dir_ids[d], rounds[i].name);

			assert_true(r == 0 || r == -ENOENT);
		}
	}
	all_in_use = false;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct lam_entry e;

		lam_forget(stack, rounds[i].id);
		assert_int_equal(lam_resolve(stack, &call, rounds[i].id, &e), -ESTALE);
	}
	check_empty("work/index", false);
	check_empty("work/lamina/orphans", true);
	check_empty("work/lamina/links", true);
	check_empty("work/work", false);
}

static void meet_each(enum kind kind, enum meeting what)
{
	meeting = what;
	make_layers(kind);
	open_stack();
	for (unsigned i = 0; i < ROUNDS; i++) {
		snprintf(rounds[i].name, sizeof(rounds[i].name), "f%u", i);
		prepare(&rounds[i], kind);
	}
	all_in_use = what == REMOVE_IN_USE;
	run_rounds();
	for (unsigned i = 0; i < ROUNDS; i++)
		check_round(&rounds[i]);
	if (what != REMOVE_IN_USE) { /* and what is on disk says the same */
		lam_stack_close(stack);
		open_stack();
		for (unsigned i = 0; i < ROUNDS; i++)
			check_round(&rounds[i]);
	}
	remove_rest();
	lam_stack_close(stack);
	stack = NULL;
}

/* Whoever used a file lets it go while its last name is taken away, after it was asked. */
static atomic_uint asked;

static bool in_use_once(void *ctx, uint64_t id)
{
	(void)ctx;
	(void)id;
	return atomic_fetch_add(&asked, 1) == 0;
}

static void let_go_meanwhile(void **state)
{
	struct lam_entry e;

	(void)state;
	make_layers(BORN_UPPER);
	open_stack();
	assert_int_equal(lam_stack_add_user(stack, in_use_once, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		asked = 0;
		assert_int_equal(lam_mknod(stack, &call, dir_ids[0], "f", S_IFREG | 0644, 0, 0, &e),
				 0);
		if (i == 0) {
			assert_int_equal(lam_unlink(stack, &call, dir_ids[0], "f"), 0);
		} else {
			assert_int_equal(
				lam_mknod(stack, &call, dir_ids[0], "g", S_IFREG | 0644, 0, 0, &e),
				0);
			assert_int_equal(
				lam_rename(stack, &call, dir_ids[0], "g", dir_ids[0], "f", 0), 0);
		}
		assert_true(asked > 1);
		check_empty("work/lamina/orphans", true);
	}
	lam_stack_close(stack);
	stack = NULL;
}

/* A file that is known by its id alone, whose names but one are hidden: whichever that is, it is found,
 * for what is written must be seen by it. */
static void last_of_many(void **state)
{
	struct lam_entry e, linked;
	char path[64], old[64];

	(void)state;
	need_root();
	make_layers(BORN_UPPER);
	for (unsigned keep = 0; keep < 8; keep++) {
		for (unsigned i = 0; i < 8; i++) {
			snprintf(path, sizeof(path), "lower/%c/%u-%u", "abc"[i % 3], keep, i);
			if (i == 0)
				close(make_file(path, "data"));
			else
				assert_int_equal(linkat(scratch, old, scratch, path, 0), 0);
			strcpy(old, path);
		}
	}
	open_stack();
	for (unsigned keep = 0; keep < 8; keep++) {
		for (unsigned i = 0; i < 8; i++) {
			snprintf(path, sizeof(path), "%u-%u", keep, i);
			assert_int_equal(lam_lookup(stack, &call, dir_ids[i % 3], path, &e), 0);
			if (i != keep)
				assert_int_equal(lam_unlink(stack, &call, dir_ids[i % 3], path), 0);
		}
		rounds[keep].id = e.id;
	}
	for (unsigned keep = 0; keep < 8; keep++) {
		lam_stack_close(stack);
		open_stack();
		assert_int_equal(lam_write(stack, &call, rounds[keep].id, 0, "DATA", 4, 0), 4);
		snprintf(path, sizeof(path), "%u-%u", keep, keep);
		assert_int_equal(lam_lookup(stack, &call, dir_ids[keep % 3], path, &e), 0);
		assert_true(e.id == rounds[keep].id && e.attr.nlink == 1);
		assert_int_equal(lam_link(stack, &call, e.id, dir_ids[keep % 3], "linked", &linked),
				 0);
		assert_int_equal(lam_unlink(stack, &call, dir_ids[keep % 3], "linked"), 0);
		check_data(&rounds[keep], true);
	}
	lam_stack_close(stack);
	stack = NULL;
}

#define MEETING(function, what)                     \
	static void function(void **state)          \
	{                                           \
		(void)state;                        \
		need_root();                        \
		meet_each(BORN_UPPER, what);        \
	}                                           \
	static void function##_lower(void **state)  \
	{                                           \
		(void)state;                        \
		need_root();                        \
		meet_each(LOWER, what);             \
	}                                           \
	static void function##_copied(void **state) \
	{                                           \
		(void)state;                        \
		need_root();                        \
		meet_each(COPIED_UP, what);         \
	}

MEETING(removed_twice, REMOVE)
MEETING(removed_twice_in_use, REMOVE_IN_USE)
MEETING(linked, LINK)
MEETING(written, COPY_UP)
MEETING(replaced, REPLACE)
MEETING(moved, MOVE)

#define THREE(f) SCRATCH_TEST(f), SCRATCH_TEST(f##_lower), SCRATCH_TEST(f##_copied)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(let_go_meanwhile),
		SCRATCH_TEST(last_of_many),
		THREE(removed_twice),
		THREE(removed_twice_in_use),
		THREE(linked),
		THREE(written),
		THREE(replaced),
		THREE(moved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
