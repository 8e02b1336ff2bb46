/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Big files that are copied up behind their writers: whatever is done meanwhile shows what a plain file would show; it is
 * finished by a sync, by any other change, by the end; a process that is stopped dead leaves it to the next one; and what
 * goes wrong is told to who asks that it be safe.
 */
#include "scratch.h"

#include <errno.h>
#include <lamina/lamina.h>
#include <pthread.h>
#include <sys/wait.h>

#define SIZE (3u << 20)
#define LIMIT (SIZE + (1u << 20)) /* as far as is written */

static const struct lam_call call = { .cred = { .umask = 022 } };
static unsigned char *model;
static size_t model_size;
static uint64_t used;

static bool in_use(void *ctx, uint64_t id)
{
	(void)ctx;
	return id == used;
}

static unsigned next_random(void)
{
	static uint64_t x = 88172645463325252u;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (unsigned)(x >> 20);
}

static struct lam_stack *open_stack(bool takeover)
{
	static char lower[600], upper[600], work[600];
	const char *lowers[] = { lower };
	struct lam_config c = { .lower = lowers,
				.n_lower = 1,
				.upper = upper,
				.work = work,
				.index = LAM_ON,
				.copy_behind = 1u << 20,
				.takeover = takeover };
	struct lam_stack *s;

	snprintf(lower, sizeof(lower), "%s/lower", scratch_path);
	snprintf(upper, sizeof(upper), "%s/upper", scratch_path);
	snprintf(work, sizeof(work), "%s/work", scratch_path);
	assert_int_equal(lam_stack_open(&c, &s), 0);
	assert_int_equal(lam_stack_add_user(s, in_use, NULL), 0);
	return s;
}

/* A file with holes, and its model. */
static void make_layers(void)
{
	static const char *const dirs[] = { "lower", "lower/d", "upper", "work" };
	int fd;

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		assert_int_equal(mkdirat(scratch, dirs[i], 0755), 0);
	free(model);
	model = calloc(1, LIMIT);
	assert_non_null(model);
	model_size = SIZE - 777;
	for (size_t i = 0; i < model_size; i++)
		if (i / 300000 % 2)
			model[i] = (unsigned char)next_random();
	fd = openat(scratch, "lower/d/f", O_CREAT | O_WRONLY, 0640);
	assert_true(fd >= 0);
	for (size_t i = 0; i < model_size; i += 4096) {
		size_t n = model_size - i < 4096 ? model_size - i : 4096;

		if (i / 300000 % 2 || (i + n) / 300000 % 2)
			assert_int_equal(pwrite(fd, model + i, n, (off_t)i), n);
	}
	assert_int_equal(ftruncate(fd, (off_t)model_size), 0);
	close(fd);
	assert_int_equal(linkat(scratch, "lower/d/f", scratch, "lower/g", 0), 0);
}

static uint64_t find(struct lam_stack *s, const char *dir, const char *name)
{
	struct lam_entry d, f;

	assert_int_equal(lam_lookup(s, &call, LAM_ROOT_ID, dir, &d), 0);
	assert_int_equal(lam_lookup(s, &call, d.id, name, &f), 0);
	return f.id;
}

/* Layers, a stack over them, and the file's id. */
static struct lam_stack *start(uint64_t *ret_id)
{
	struct lam_stack *s;

	make_layers();
	s = open_stack(false);
	*ret_id = find(s, "d", "f");
	return s;
}

static bool is_behind(uint64_t id)
{
	char name[64];

	snprintf(name, sizeof(name), "work/lamina/behind/%016llx", (unsigned long long)id);
	return faccessat(scratch, name, F_OK, 0) == 0;
}

static void do_write(struct lam_stack *s, uint64_t id, size_t off, size_t len)
{
	static unsigned char buf[400000];

	for (size_t i = 0; i < len; i++)
		buf[i] = (unsigned char)next_random();
	assert_int_equal(lam_write(s, &call, id, off, buf, len, 0), len);
	memcpy(model + off, buf, len);
	if (off + len > model_size)
		model_size = off + len;
}

static void check_read(struct lam_stack *s, uint64_t id, size_t off, size_t len)
{
	static unsigned char buf[LIMIT];
	size_t want = off >= model_size ? 0 : model_size - off < len ? model_size - off : len;

	assert_int_equal(lam_read(s, &call, id, off, buf, len), want);
	assert_memory_equal(buf, model + off, want);
}

static void check_all(struct lam_stack *s, uint64_t id)
{
	struct lam_attr a;

	assert_int_equal(lam_getattr(s, &call, id, &a), 0);
	assert_int_equal(a.size, model_size);
	check_read(s, id, 0, LIMIT);
}

static void some_steps(struct lam_stack *s, uint64_t id, unsigned n)
{
	static const size_t lengths[] = { 1, 100, 4096, 70000, 300000 };

	for (unsigned i = 0; i < n; i++) {
		size_t len = lengths[next_random() % 5];
		size_t off = next_random() % (LIMIT - len);

		if (next_random() % 2)
			do_write(s, id, off, len);
		else
			check_read(s, id, off, len);
	}
}

static void check_upper(const char *path)
{
	static unsigned char buf[LIMIT];
	int fd = openat(scratch, path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, buf, LIMIT, 0), model_size);
	assert_memory_equal(buf, model, model_size);
	close(fd);
}

static void reads_and_writes_go_on(void **state)
{
	struct lam_stack *s;
	struct lam_attr before, after;
	uint64_t id;

	(void)state;
	s = start(&id);
	assert_int_equal(lam_getattr(s, &call, id, &before), 0);
	do_write(s, id, 1u << 20, 10);
	some_steps(s, id, 200);
	check_all(s, id);
	assert_int_equal(lam_fsync(s, &call, id, false), 0);
	assert_false(is_behind(id));
	check_upper("upper/d/f");
	check_all(s, id);
	some_steps(s, id, 50);
	assert_int_equal(lam_getattr(s, &call, id, &after), 0);
	assert_int_equal(after.ino, before.ino);
	assert_int_equal(after.nlink, 2);
	assert_int_equal(after.mode, before.mode);
	/* The other name is the same file. */
	{
		struct lam_entry g;

		assert_int_equal(lam_lookup(s, &call, LAM_ROOT_ID, "g", &g), 0);
		assert_int_equal(g.id, id);
		check_all(s, g.id);
	}
	lam_stack_close(s);
	check_upper("upper/d/f");
}

static void a_time_that_was_shown_stays(void **state)
{
	struct lam_stack *s;
	struct lam_attr a, b;
	uint64_t id;

	(void)state;
	s = start(&id);
	do_write(s, id, 5, 10);
	assert_int_equal(lam_getattr(s, &call, id, &a), 0);
	assert_int_equal(lam_fsync(s, &call, id, false), 0);
	assert_int_equal(lam_getattr(s, &call, id, &b), 0);
	assert_int_equal(a.mtime.tv_sec, b.mtime.tv_sec);
	assert_int_equal(a.mtime.tv_nsec, b.mtime.tv_nsec);
	lam_stack_close(s);
}

/* What each other change finds, and leaves. */
static void other_changes_finish_it(void **state)
{
	struct lam_stack *s;
	struct lam_entry d, e;
	uint64_t id;

	(void)state;
	s = start(&id);
	do_write(s, id, 100, 10);
	assert_int_equal(lam_lookup(s, &call, LAM_ROOT_ID, "d", &d), 0);
	assert_int_equal(lam_rename(s, &call, d.id, "f", LAM_ROOT_ID, "h", 0), 0);
	assert_false(is_behind(id));
	check_upper("upper/h");
	check_all(s, id);
	assert_int_equal(lam_lookup(s, &call, LAM_ROOT_ID, "g", &e), 0);
	assert_int_equal(e.id, id);
	lam_stack_close(s);
}

static void a_shorter_size(void **state)
{
	const struct lam_attr set = { .size = 1000000 };
	struct lam_stack *s;
	struct lam_attr a;
	uint64_t id;

	(void)state;
	s = start(&id);
	do_write(s, id, 999990, 5);
	assert_int_equal(lam_setattr(s, &call, id, LAM_SET_SIZE, &set, &a), 0);
	memset(model + 1000000, 0, LIMIT - 1000000);
	model_size = 1000000;
	check_all(s, id);
	do_write(s, id, 2000000, 10);
	check_all(s, id);
	lam_stack_close(s);
	check_upper("upper/d/f");
}

static void a_removed_file_that_is_in_use(void **state)
{
	struct lam_stack *s;
	struct lam_entry d;
	uint64_t id;

	(void)state;
	make_layers();
	assert_int_equal(unlinkat(scratch, "lower/g", 0), 0);
	s = open_stack(false);
	id = used = find(s, "d", "f");
	do_write(s, id, 100, 10);
	assert_int_equal(lam_lookup(s, &call, LAM_ROOT_ID, "d", &d), 0);
	assert_int_equal(lam_unlink(s, &call, d.id, "f"), 0);
	some_steps(s, id, 50);
	check_all(s, id);
	assert_int_equal(lam_fsync(s, &call, id, false), 0);
	check_all(s, id);
	used = 0;
	lam_forget(s, id);
	lam_stack_close(s);
	assert_int_equal(faccessat(scratch, "upper/d/f", F_OK, AT_SYMLINK_NOFOLLOW),
			 0); /* the whiteout */
	assert_false(is_behind(id));
}

static void the_end_finishes_it(void **state)
{
	struct lam_stack *s;
	uint64_t id;

	(void)state;
	s = start(&id);
	do_write(s, id, 2000000, 10);
	lam_stack_close(s);
	check_upper("upper/d/f");
	s = open_stack(false);
	check_all(s, find(s, "d", "f"));
	lam_stack_close(s);
}

/* A process writes, and is gone at some moment; the next one has all that it was told was written. */
static void a_process_that_dies(void **state)
{
	(void)state;
	make_layers();
	for (unsigned round = 0; round < 8; round++) {
		struct lam_stack *s;
		unsigned steps = next_random() % 40 + 1;
		uint64_t id;
		pid_t child;
		int status;

		child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			s = open_stack(round > 0);
			id = find(s, "d", "f");
			some_steps(s, id, steps);
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		/* The same here, without a stack. */
		for (unsigned i = 0; i < steps; i++) {
			static const size_t lengths[] = { 1, 100, 4096, 70000, 300000 };
			size_t len = lengths[next_random() % 5];
			size_t off = next_random() % (LIMIT - len);

			if (next_random() % 2) {
				for (size_t k = 0; k < len; k++)
					model[off + k] = (unsigned char)next_random();
				if (off + len > model_size)
					model_size = off + len;
			}
		}
		if (round % 3 != 2)
			continue; /* the next one that dies goes on */
		s = open_stack(true);
		id = find(s, "d", "f");
		check_all(s, id);
		some_steps(s, id, 10);
		check_all(s, id);
		lam_stack_close(s);
		check_upper("upper/d/f");
	}
}

static _Atomic bool full;
static pthread_t writer;

/* The thread that copies the rest never gets on; everybody else, as long as the disk is not full. */
static int refuse_data(const char *what, bool mutates, bool after)
{
	(void)mutates;
	(void)after;
	return (full || !pthread_equal(pthread_self(), writer)) && !strcmp(what, "pwrite") ? -ENOSPC
											   : 0;
}

static void hold_up_the_thread(void)
{
	writer = pthread_self();
	full = false;
	sys_fault_hook = refuse_data;
}

/* What a stack finds that is opened after a crash: as if nothing had been written. */
static void without_the_process_it_is_gone(void **state)
{
	struct lam_stack *s;
	uint64_t id;
	pid_t child;
	int status;

	(void)state;
	make_layers();
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		s = open_stack(false);
		id = find(s, "d", "f");
		hold_up_the_thread();
		(void)lam_write(s, &call, id, 0, "x", 1, 0);
		_exit(is_behind(id) ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	s = open_stack(false);
	id = find(s, "d", "f");
	assert_false(is_behind(id));
	check_all(s, id);
	lam_stack_close(s);
}

static void a_full_disk(void **state)
{
	struct lam_stack *s;
	uint64_t id;

	(void)state;
	s = start(&id);
	hold_up_the_thread();
	do_write(s, id, 0, 1);
	full = true;
	assert_int_equal(lam_fsync(s, &call, id, false), -ENOSPC);
	assert_true(is_behind(id));
	check_all(s, id);
	full = false;
	assert_int_equal(lam_fsync(s, &call, id, false), 0);
	check_upper("upper/d/f");
	sys_fault_hook = NULL;
	lam_stack_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(reads_and_writes_go_on),
		SCRATCH_TEST(a_time_that_was_shown_stays),
		SCRATCH_TEST(other_changes_finish_it),
		SCRATCH_TEST(a_shorter_size),
		SCRATCH_TEST(a_removed_file_that_is_in_use),
		SCRATCH_TEST(the_end_finishes_it),
		SCRATCH_TEST(a_process_that_dies),
		SCRATCH_TEST(without_the_process_it_is_gone),
		SCRATCH_TEST(a_full_disk),
	};
	int r = cmocka_run_group_tests(tests, NULL, NULL);

	free(model);
	return r;
}
