// SPDX-License-Identifier: GPL-2.0-or-later
/* Status, listings, and making, linking, moving and removing names. */
#include "scratch.h"

#include <errno.h>
#include <sys/sysmacros.h>

static void test_stat(void **state)
{
	struct statx x, old;
	struct statfs fs;
	struct stat st;
	int fd = make_file("file", "text");

	(void)state;
	assert_int_equal(symlinkat("file", scratch, "link"), 0);
	assert_int_equal(sys_stat(scratch, "link", &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(sys_stat(scratch, "none", &st), -ENOENT);
	assert_int_equal(sys_stat(fd, "", &st), 0);
	assert_int_equal(sys_statx(scratch, "file", &x), 0);
	sys_disable("statx");
	assert_int_equal(sys_statx(fd, "", &old), 0);
	assert_int_equal(old.stx_mask, STATX_BASIC_STATS);
	assert_int_equal(x.stx_ino, st.st_ino);
	assert_int_equal(old.stx_ino, x.stx_ino);
	assert_int_equal(old.stx_size, 4);
	assert_int_equal(old.stx_mode, x.stx_mode);
	assert_int_equal(old.stx_nlink, x.stx_nlink);
	assert_int_equal(old.stx_uid, x.stx_uid);
	assert_int_equal(old.stx_blocks, x.stx_blocks);
	assert_int_equal(old.stx_blksize, x.stx_blksize);
	assert_int_equal(old.stx_dev_major, x.stx_dev_major);
	assert_int_equal(old.stx_dev_minor, x.stx_dev_minor);
	assert_int_equal(old.stx_mtime.tv_sec, x.stx_mtime.tv_sec);
	assert_int_equal(old.stx_mtime.tv_nsec, x.stx_mtime.tv_nsec);
	assert_int_equal(sys_statx(scratch, "link", &old), 0);
	assert_true(S_ISLNK(old.stx_mode));
	assert_int_equal(sys_statx(scratch, "none", &old), -ENOENT);
	assert_int_equal(sys_statfs(fd, &fs), 0);
	assert_true(fs.f_namelen >= 143);
	sys_close(fd);
}

static void test_uuid(void **state)
{
	const uint8_t none[16] = { 0 };
	uint8_t now[16] = { 0 }, old[16] = { 0 };
	int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = sys_fs_uuid(scratch, now), r_old;

	(void)state;
	assert_int_equal(sys_fs_uuid(proc, old), -ENODATA);
	assert_memory_equal(old, none, 16);
	sys_disable("fsuuid");
	r_old = sys_fs_uuid(scratch, old);
	/* Each filesystem's own call is the only one on kernels before 6.9, and must agree. */
	if (r == 0)
		assert_memory_not_equal(now, none, 16);
	else
		assert_int_equal(r, -ENODATA);
	if (r == 0 && r_old == 0)
		assert_memory_equal(now, old, 16);
	else if (r == 0)
		assert_int_equal(r_old, -ENODATA); /* tmpfs */
	sys_close(proc);
}

static void test_symlink(void **state)
{
	char buf[64];
	int fd;

	(void)state;
	assert_int_equal(sys_symlink("a/target", scratch, "link"), 0);
	assert_int_equal(sys_symlink("a/target", scratch, "link"), -EEXIST);
	assert_int_equal(sys_readlink(scratch, "link", buf, sizeof(buf)), 8);
	assert_memory_equal(buf, "a/target", 8);
	fd = sys_openat(scratch, "link", O_PATH | O_NOFOLLOW, 0);
	assert_true(fd >= 0);
	assert_int_equal(sys_readlink(fd, "", buf, sizeof(buf)), 8);
	sys_close(fd);
	make_empty("file");
	assert_int_equal(sys_readlink(scratch, "file", buf, sizeof(buf)), -EINVAL);
}

static void test_getdents(void **state)
{
	_Alignas(struct sys_dirent) char buf[4096];
	unsigned seen = 0, others = 0;
	ssize_t n;
	int dir;

	(void)state;
	make_empty("one");
	assert_int_equal(sys_mkdir(scratch, "two", 0700), 0);
	dir = sys_reopen(scratch, O_RDONLY | O_DIRECTORY);
	while ((n = sys_getdents(dir, buf, sizeof(buf))) > 0) {
		for (ssize_t pos = 0; pos < n;) {
			const struct sys_dirent *d = (const void *)(buf + pos);

			if (strcmp(d->name, "one") == 0)
				seen |= 1;
			else if (strcmp(d->name, "two") == 0)
				seen |= 2;
			else
				others++;
			pos += d->reclen;
		}
	}
	assert_int_equal(n, 0);
	assert_int_equal(seen, 3);
	assert_int_equal(others, 2); /* "." and ".." */
	sys_close(dir);
}

static void test_make_and_remove(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(sys_mkdir(scratch, "dir", 0700), 0);
	assert_int_equal(sys_mkdir(scratch, "dir", 0700), -EEXIST);
	assert_int_equal(sys_mknod(scratch, "fifo", S_IFIFO | 0600, 0), 0);
	assert_int_equal(sys_link(scratch, "fifo", scratch, "dir/other"), 0);
	assert_int_equal(sys_stat(scratch, "fifo", &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(sys_rmdir(scratch, "dir"), -ENOTEMPTY);
	assert_int_equal(sys_rmdir(scratch, "fifo"), -ENOTDIR);
	assert_int_equal(sys_unlink(scratch, "dir"), -EISDIR);
	assert_int_equal(sys_unlink(scratch, "dir/other"), 0);
	assert_int_equal(sys_rmdir(scratch, "dir"), 0);
	assert_false(exists("dir"));
	sys_disable("char_device");
	assert_int_equal(sys_mknod(scratch, "char", S_IFCHR, makedev(0, 0)), -EPERM);
	assert_false(exists("char"));
	assert_int_equal(sys_mknod(scratch, "fifo2", S_IFIFO | 0600, 0), 0);
	sys_enable_all();
	assert_int_equal(sys_mknod(scratch, "char", S_IFCHR, makedev(0, 0)), 0);
}

static void check_link_fd(const char *name)
{
	int fd = sys_openat(scratch, ".", O_TMPFILE | O_RDWR, 0600);

	assert_true(fd >= 0);
	assert_int_equal(sys_link_fd(fd, scratch, name), 0);
	assert_true(exists(name));
	assert_int_equal(sys_link_fd(fd, scratch, name), -EEXIST);
	sys_close(fd);
}

static void test_link_fd(void **state)
{
	int fd;

	(void)state;
	check_link_fd("a");
	sys_disable("link_empty");
	check_link_fd("b");
	sys_disable("proc");
	fd = sys_openat(scratch, ".", O_TMPFILE | O_RDWR, 0600);
	assert_int_equal(sys_link_fd(fd, scratch, "c"), -ENOENT);
	sys_close(fd);
}

static void test_rename(void **state)
{
	struct stat st;

	(void)state;
	make_empty("a");
	make_empty("b");
	assert_int_equal(sys_mkdir(scratch, "d", 0700), 0);
	assert_int_equal(sys_rename(scratch, "a", scratch, "b", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(sys_rename(scratch, "a", scratch, "d", RENAME_EXCHANGE), 0);
	assert_int_equal(sys_stat(scratch, "a", &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(sys_rename(scratch, "d", scratch, "b", 0), 0);
	assert_false(exists("d"));
	need_root();
	assert_int_equal(sys_rename(scratch, "b", scratch, "c", RENAME_WHITEOUT), 0);
	assert_int_equal(sys_stat(scratch, "b", &st), 0);
	assert_true(S_ISCHR(st.st_mode) && st.st_rdev == 0);
}

static void test_rename_missing(void **state)
{
	(void)state;
	make_empty("a");
	make_empty("b");
	sys_disable("rename_whiteout");
	assert_int_equal(sys_rename(scratch, "a", scratch, "b", RENAME_WHITEOUT), -EINVAL);
	assert_int_equal(sys_rename(scratch, "a", scratch, "b", RENAME_EXCHANGE), 0);
	sys_disable("rename_exchange");
	assert_int_equal(sys_rename(scratch, "a", scratch, "b", RENAME_EXCHANGE), -EINVAL);
	assert_int_equal(sys_rename(scratch, "a", scratch, "c", RENAME_NOREPLACE), 0);
	sys_disable("renameat2");
	assert_int_equal(sys_rename(scratch, "c", scratch, "d", RENAME_NOREPLACE), -EINVAL);
	assert_int_equal(sys_rename(scratch, "c", scratch, "b", 0), 0);
	assert_false(exists("c"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_stat),
		SCRATCH_TEST(test_uuid),
		SCRATCH_TEST(test_symlink),
		SCRATCH_TEST(test_getdents),
		SCRATCH_TEST(test_make_and_remove),
		SCRATCH_TEST(test_link_fd),
		SCRATCH_TEST(test_rename),
		SCRATCH_TEST(test_rename_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
