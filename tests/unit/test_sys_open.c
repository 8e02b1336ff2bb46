// SPDX-License-Identifier: GPL-2.0-or-later
/* Opening: by name, by a path that may not leave its directory, anew, and by handle. */
#include "scratch.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>

struct path_case {
	const char *path;
	int flags;
	int expect; /* 0 or -errno */
};

static const struct path_case path_cases[] = {
	{ "dir/sub/file", O_RDONLY, 0 },
	{ "dir//sub/./file", O_RDONLY, 0 },
	{ "dir/sub/", O_RDONLY, 0 },
	{ "dir/sub", O_RDONLY | O_DIRECTORY, 0 },
	{ ".", O_RDONLY, 0 },
	{ "file", O_PATH, 0 },
	{ "file/", O_RDONLY, -ENOTDIR },
	{ "file/x", O_RDONLY, -ENOTDIR },
	{ "file", O_RDONLY | O_DIRECTORY, -ENOTDIR },
	{ "", O_RDONLY, -ENOENT },
	{ "missing", O_RDONLY, -ENOENT },
	{ "dir/missing/x", O_RDONLY, -ENOENT },
	{ "to-file", O_RDONLY, -ELOOP },
	{ "to-file", O_PATH, -ELOOP },
	{ "to-file", O_PATH | O_NOFOLLOW, 0 },
	{ "to-dir", O_RDONLY | O_DIRECTORY, -ELOOP },
	{ "to-dir/sub", O_RDONLY, -ELOOP },
	{ "dir/out/x", O_RDONLY, -ELOOP },
	{ "/", O_RDONLY, -EXDEV },
	{ "..", O_RDONLY, -EXDEV },
	{ "dir/../file", O_RDONLY, -EXDEV },
	{ "dir/sub/..", O_RDONLY, -EXDEV },
	{ "new", O_WRONLY | O_CREAT, -EINVAL },
};

static void make_paths(void)
{
	assert_int_equal(mkdirat(scratch, "dir", 0755), 0);
	assert_int_equal(mkdirat(scratch, "dir/sub", 0755), 0);
	make_empty("dir/sub/file");
	make_empty("file");
	assert_int_equal(symlinkat("file", scratch, "to-file"), 0);
	assert_int_equal(symlinkat("dir", scratch, "to-dir"), 0);
	assert_int_equal(symlinkat("/", scratch, "dir/out"), 0);
}

static void check_paths(void)
{
	char name[300];

	for (size_t i = 0; i < sizeof(path_cases) / sizeof(path_cases[0]); i++) {
		const struct path_case *c = &path_cases[i];
		int r = sys_open_beneath(scratch, c->path, c->flags, i % 2);

		if ((r < 0 ? r : 0) != c->expect)
			fail_msg("\"%s\" flags %#o: %d instead of %d", c->path, (unsigned)c->flags,
				 r, c->expect);
		if (r >= 0) {
			assert_int_equal(fcntl(r, F_GETFD), FD_CLOEXEC);
			sys_close(r);
		}
	}
	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	assert_int_equal(sys_open_beneath(scratch, name, O_RDONLY, false), -ENOENT);
	name[255] = 'n';
	name[256] = '\0';
	assert_int_equal(sys_open_beneath(scratch, name, O_RDONLY, false), -ENAMETOOLONG);
	assert_false(exists("new"));
}

static void test_beneath(void **state)
{
	(void)state;
	make_paths();
	check_paths();
	sys_disable("openat2");
	check_paths();
}

static void check_xdev(void)
{
	int fd = sys_open_beneath(scratch, "dir/sub", O_RDONLY, false);

	assert_true(fd >= 0);
	sys_close(fd);
	assert_int_equal(sys_open_beneath(scratch, "dir/sub", O_RDONLY, true), -EXDEV);
	assert_int_equal(sys_open_beneath(scratch, "dir/sub/x", O_RDONLY, true), -EXDEV);
	fd = sys_open_beneath(scratch, "dir", O_RDONLY, true);
	assert_true(fd >= 0);
	sys_close(fd);
}

static void test_beneath_xdev(void **state)
{
	char path[600];

	(void)state;
	need_root();
	make_paths();
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	/* The descriptor is still on the mounts of before. */
	close(scratch);
	scratch = open(scratch_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(scratch >= 0);
	snprintf(path, sizeof(path), "%s/dir/sub", scratch_path);
	assert_int_equal(mount("none", path, "tmpfs", 0, NULL), 0);
	check_xdev();
	sys_disable("openat2");
	check_xdev();
	sys_disable("mount_id");
	check_xdev();
	assert_int_equal(umount(path), 0);
	/* A second mount of one filesystem is told by its mount id only. */
	sys_enable_all();
	sys_disable("openat2");
	assert_int_equal(mount(scratch_path, path, NULL, MS_BIND, NULL), 0);
	check_xdev();
	assert_int_equal(umount(path), 0);
}

static void test_tmpfile(void **state)
{
	int fd = sys_openat(scratch, ".", O_TMPFILE | O_RDWR, 0600);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	sys_close(fd);
	sys_disable("tmpfile");
	assert_int_equal(sys_openat(scratch, ".", O_TMPFILE | O_RDWR, 0600), -EOPNOTSUPP);
	fd = sys_openat(scratch, ".", O_RDONLY | O_DIRECTORY, 0);
	assert_true(fd >= 0);
	sys_close(fd);
}

static void test_reopen(void **state)
{
	int dir, fd, path;
	char c;

	(void)state;
	close(make_file("file", "text"));
	path = sys_openat(scratch, "file", O_PATH | O_NOFOLLOW, 0);
	assert_true(path >= 0);
	assert_int_equal(sys_unlink(scratch, "file"), 0);
	fd = sys_reopen(path, O_RDWR | O_NOFOLLOW);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(read(fd, &c, 1), 1);
	/* Not a dup: its own position. */
	dir = sys_reopen(fd, O_RDONLY);
	assert_int_equal(sys_lseek(dir, 0, SEEK_CUR), 0);
	sys_close(dir);
	dir = sys_dup(fd);
	assert_int_equal(sys_lseek(dir, 0, SEEK_CUR), 1);
	assert_int_equal(fcntl(dir, F_GETFD), FD_CLOEXEC);
	sys_close(dir);
	sys_close(fd);
	sys_disable("proc");
	assert_int_equal(sys_reopen(path, O_RDONLY), -ENOENT);
	sys_close(path);
	dir = sys_reopen(scratch, O_RDONLY | O_DIRECTORY);
	assert_true(dir >= 0);
	sys_close(dir);
}

static void test_handle(void **state)
{
	struct sys_handle by_name, by_fd, bad;
	int fd = make_file("file", "text"), mount = -1, again;
	struct stat a, b;

	(void)state;
	assert_int_equal(sys_name_to_handle(scratch, "file", &by_name, &mount), 0);
	assert_true(mount >= 0);
	assert_int_equal(sys_name_to_handle(fd, "", &by_fd, NULL), 0);
	assert_int_equal(by_name.type, by_fd.type);
	assert_int_equal(by_name.len, by_fd.len);
	assert_true(by_fd.len > 0);
	assert_memory_equal(by_name.fid, by_fd.fid, by_fd.len);
	assert_int_equal(sys_name_to_handle(scratch, "none", &by_name, NULL), -ENOENT);
	need_root();
	again = sys_open_by_handle(scratch, &by_fd, O_RDONLY);
	assert_true(again >= 0);
	assert_int_equal(fcntl(again, F_GETFD), FD_CLOEXEC);
	assert_int_equal(sys_stat(fd, "", &a), 0);
	assert_int_equal(sys_stat(again, "", &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	sys_close(again);
	bad = by_fd;
	bad.len = sizeof(bad.fid) + 1;
	assert_int_equal(sys_open_by_handle(scratch, &bad, O_RDONLY), -EINVAL);
	bad = by_fd;
	memset(bad.fid, 0xee, sizeof(bad.fid));
	assert_int_equal(sys_open_by_handle(scratch, &bad, O_RDONLY), -ESTALE);
	sys_disable("name_to_handle");
	assert_int_equal(sys_name_to_handle(fd, "", &by_fd, NULL), -EOPNOTSUPP);
	assert_int_equal(sys_open_by_handle(scratch, &by_fd, O_RDONLY), -EOPNOTSUPP);
	sys_close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_beneath), SCRATCH_TEST(test_beneath_xdev),
		SCRATCH_TEST(test_tmpfile), SCRATCH_TEST(test_reopen),
		SCRATCH_TEST(test_handle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
