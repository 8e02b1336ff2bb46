// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The fault hook: every call asks it, a failure it asks for leaves the filesystem as it was, and
 * after a change it is told, once and only then.
 */
#include "scratch.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/xattr.h>

static unsigned before, after_calls;
static bool mutates_seen, refuse;
static char last[32];

static int hook(const char *name, bool mutates, bool after)
{
	if (after) {
		assert_true(mutates);
		assert_string_equal(name, last);
		after_calls++;
		return -EIO; /* too late: must not show */
	}
	before++;
	mutates_seen = mutates;
	snprintf(last, sizeof(last), "%s", name);
	return refuse ? -ENOSPC : 0;
}

static int fd_rw, fd_dir;
static unsigned file_flags;

/* A call each; they run in this order and each succeeds if none is refused. */
static long do_open(void)
{
	return sys_openat(scratch, "file", O_RDONLY, 0);
}

static long do_create(void)
{
	return sys_openat(scratch, "new", O_WRONLY | O_CREAT | O_EXCL, 0600);
}

static long do_tmpfile(void)
{
	return sys_openat(scratch, ".", O_TMPFILE | O_RDWR, 0600);
}

static long do_truncate(void)
{
	return sys_openat(scratch, "file", O_WRONLY | O_TRUNC, 0);
}

static long do_beneath(void)
{
	return sys_open_beneath(scratch, "file", O_RDONLY, false);
}

static long do_reopen(void)
{
	return sys_reopen(fd_rw, O_RDONLY);
}

static long do_dup(void)
{
	return sys_dup(fd_rw);
}

static long do_handle(void)
{
	struct sys_handle h;

	return sys_name_to_handle(scratch, "file", &h, NULL);
}

static long do_stat(void)
{
	struct stat st;

	return sys_stat(scratch, "file", &st);
}

static long do_statx(void)
{
	struct statx st;

	return sys_statx(scratch, "file", &st);
}

static long do_statfs(void)
{
	struct statfs st;

	return sys_statfs(scratch, &st);
}

static long do_getdents(void)
{
	char buf[4096];

	return sys_getdents(fd_dir, buf, sizeof(buf));
}

static long do_lseek(void)
{
	return sys_lseek(fd_rw, 0, SEEK_SET);
}

static long do_mkdir(void)
{
	return sys_mkdir(scratch, "dir", 0700);
}

static long do_mknod(void)
{
	return sys_mknod(scratch, "fifo", S_IFIFO | 0600, 0);
}

static long do_symlink(void)
{
	return sys_symlink("x", scratch, "sym");
}

static long do_readlink(void)
{
	char buf[16];

	return sys_readlink(scratch, "sym", buf, sizeof(buf));
}

static long do_link(void)
{
	return sys_link(scratch, "fifo", scratch, "fifo2");
}

static long do_link_fd(void)
{
	return sys_link_fd(fd_rw, scratch, "file2");
}

static long do_unlink(void)
{
	return sys_unlink(scratch, "fifo");
}

static long do_rmdir(void)
{
	return sys_rmdir(scratch, "dir");
}

static long do_rename(void)
{
	return sys_rename(scratch, "fifo2", scratch, "fifo3", 0);
}

static long do_exchange(void)
{
	return sys_rename(scratch, "fifo3", scratch, "sym", RENAME_EXCHANGE);
}

static long do_chmod(void)
{
	return sys_chmod(scratch, "file", 0600);
}

static long do_chown(void)
{
	return sys_chown(scratch, "file", geteuid(), getegid());
}

static long do_utimens(void)
{
	const struct timespec t[2] = { { .tv_sec = 1 }, { .tv_sec = 2 } };

	return sys_utimens(scratch, "file", t);
}

static long do_setxattr(void)
{
	return sys_setxattr(scratch, "file", "user.a", "1", 1, 0);
}

static long do_getxattr(void)
{
	return sys_getxattr(scratch, "file", "user.a", NULL, 0);
}

static long do_listxattr(void)
{
	return sys_listxattr(scratch, "file", NULL, 0);
}

static long do_removexattr(void)
{
	return sys_removexattr(scratch, "file", "user.a");
}

static long do_getflags(void)
{
	unsigned flags;

	return sys_getflags(fd_rw, &flags);
}

static long do_setflags(void)
{
	return sys_setflags(fd_rw, file_flags | FS_NODUMP_FL);
}

static long do_pwrite(void)
{
	return sys_pwrite(fd_rw, "text", 4, 0);
}

static long do_pread(void)
{
	char buf[4];

	return sys_pread(fd_rw, buf, sizeof(buf), 0);
}

static long do_ftruncate(void)
{
	return sys_ftruncate(fd_rw, 4096);
}

static long do_fallocate(void)
{
	return sys_fallocate(fd_rw, 0, 0, 4096);
}

static long do_range(void)
{
	return sys_copy_file_range(fd_rw, 0, fd_rw, 4096, 4);
}

static long do_fsync(void)
{
	return sys_fsync(fd_rw);
}

static long do_fdatasync(void)
{
	return sys_fdatasync(fd_rw);
}

static long do_syncfs(void)
{
	return sys_syncfs(fd_rw);
}

static long do_creds(void)
{
	return sys_creds_enter(geteuid(), getegid());
}

struct call_case {
	const char *name;
	long (*run)(void);
	bool mutates, opens;
};

#define CALL(f, mutates, opens)       \
	{                             \
#f, f, mutates, opens \
	}
static const struct call_case cases[] = {
	CALL(do_open, false, true),	  CALL(do_create, true, true),
	CALL(do_tmpfile, true, true),	  CALL(do_truncate, true, true),
	CALL(do_beneath, false, true),	  CALL(do_reopen, false, true),
	CALL(do_dup, false, true),	  CALL(do_handle, false, false),
	CALL(do_stat, false, false),	  CALL(do_statx, false, false),
	CALL(do_statfs, false, false),	  CALL(do_getdents, false, false),
	CALL(do_lseek, false, false),	  CALL(do_mkdir, true, false),
	CALL(do_mknod, true, false),	  CALL(do_symlink, true, false),
	CALL(do_readlink, false, false),  CALL(do_link, true, false),
	CALL(do_link_fd, true, false),	  CALL(do_unlink, true, false),
	CALL(do_rmdir, true, false),	  CALL(do_rename, true, false),
	CALL(do_exchange, true, false),	  CALL(do_chmod, true, false),
	CALL(do_chown, true, false),	  CALL(do_utimens, true, false),
	CALL(do_setxattr, true, false),	  CALL(do_getxattr, false, false),
	CALL(do_listxattr, false, false), CALL(do_removexattr, true, false),
	CALL(do_getflags, false, false),  CALL(do_setflags, true, false),
	CALL(do_pwrite, true, false),	  CALL(do_pread, false, false),
	CALL(do_ftruncate, true, false),  CALL(do_fallocate, true, false),
	CALL(do_range, true, false),	  CALL(do_fsync, true, false),
	CALL(do_fdatasync, true, false),  CALL(do_syncfs, true, false),
	CALL(do_creds, false, false),
};

static long run_case(const struct call_case *c, bool refused)
{
	long r;

	before = after_calls = 0;
	refuse = refused;
	sys_fault_hook = hook;
	r = c->run();
	sys_fault_hook = NULL;
	if (c->opens && r >= 0)
		close((int)r);
	return r;
}

static void test_each_call(void **state)
{
	(void)state;
	fd_rw = make_file("file", "");
	assert_int_equal(sys_getflags(fd_rw, &file_flags), 0);
	fd_dir = open(scratch_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct call_case *c = &cases[i];
		long r = run_case(c, true);

		if (r != -ENOSPC || before != 1 || after_calls != 0)
			fail_msg("%s refused: %ld, %u, %u", c->name, r, before, after_calls);
		/* The same call succeeds now, so the refused one has done nothing. */
		r = run_case(c, false);
		if (r < 0 || before != 1 || after_calls != c->mutates || mutates_seen != c->mutates)
			fail_msg("%s: %ld, %u, %u", c->name, r, before, after_calls);
	}
	sys_creds_leave();
	close(fd_rw);
	close(fd_dir);
}

/* A call that fails by itself has changed nothing, and says so by not asking again. */
static void test_no_after_on_failure(void **state)
{
	(void)state;
	before = after_calls = 0;
	refuse = false;
	sys_fault_hook = hook;
	assert_int_equal(sys_unlink(scratch, "none"), -ENOENT);
	assert_int_equal(sys_rename(scratch, "none", scratch, "x", 0), -ENOENT);
	assert_int_equal(sys_chmod(scratch, "none", 0600), -ENOENT);
	assert_int_equal(sys_setxattr(scratch, "none", "user.a", "1", 1, 0), -ENOENT);
	assert_int_equal(sys_openat(scratch, "no/ne", O_CREAT | O_WRONLY, 0600), -ENOENT);
	assert_int_equal(before, 5);
	assert_int_equal(after_calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_each_call),
		SCRATCH_TEST(test_no_after_on_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
