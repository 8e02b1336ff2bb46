// SPDX-License-Identifier: GPL-2.0-or-later
/* Mode, owner, times, extended attributes and inode flags, each by name and by descriptor. */
#include "scratch.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/xattr.h>

/* The ways to name one object. */
struct target {
	int dirfd;
	const char *name;
};

static mode_t mode_of(const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(scratch, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_mode & 07777;
}

static void check_chmod(int fd)
{
	int path = sys_openat(scratch, "file", O_PATH | O_NOFOLLOW, 0);
	int link = sys_openat(scratch, "link", O_PATH | O_NOFOLLOW, 0);

	assert_int_equal(sys_chmod(scratch, "file", 0601), 0);
	assert_int_equal(mode_of("file"), 0601);
	assert_int_equal(sys_chmod(path, "", 0602), 0);
	assert_int_equal(mode_of("file"), 0602);
	assert_int_equal(sys_chmod(fd, "", 0603), 0);
	assert_int_equal(mode_of("file"), 0603);
	assert_int_equal(sys_chmod(scratch, "link", 0604), -EOPNOTSUPP);
	assert_int_equal(sys_chmod(link, "", 0604), -EOPNOTSUPP);
	assert_int_equal(sys_chmod(scratch, "none", 0604), -ENOENT);
	assert_int_equal(mode_of("file"), 0603);
	assert_int_equal(mode_of("link"), 0777);
	sys_close(path);
	sys_close(link);
}

static void test_chmod(void **state)
{
	int fd = make_file("file", "");

	(void)state;
	assert_int_equal(symlinkat("file", scratch, "link"), 0);
	check_chmod(fd);
	sys_disable("fchmodat2");
	check_chmod(fd);
	sys_close(fd);
}

static void test_chown(void **state)
{
	int fd = make_file("file", ""), link;
	struct stat st;

	(void)state;
	need_root();
	assert_int_equal(symlinkat("file", scratch, "link"), 0);
	link = sys_openat(scratch, "link", O_PATH | O_NOFOLLOW, 0);
	assert_int_equal(sys_chown(link, "", 11, 12), 0);
	assert_int_equal(sys_stat(scratch, "link", &st), 0);
	assert_int_equal(st.st_uid, 11);
	assert_int_equal(st.st_gid, 12);
	assert_int_equal(sys_chown(scratch, "link", 13, (gid_t)-1), 0);
	assert_int_equal(sys_stat(scratch, "link", &st), 0);
	assert_int_equal(st.st_uid, 13);
	assert_int_equal(st.st_gid, 12);
	assert_int_equal(sys_stat(fd, "", &st), 0);
	assert_int_equal(st.st_uid, 0);
	sys_close(link);
	sys_close(fd);
}

static void check_utimens(int fd)
{
	int link = sys_openat(scratch, "link", O_PATH | O_NOFOLLOW, 0);
	struct timespec t[2] = { { .tv_sec = 1 }, { .tv_sec = 2 } };
	struct stat st;

	assert_int_equal(sys_utimens(fd, "", t), 0);
	t[1].tv_sec = 3;
	assert_int_equal(sys_utimens(link, "", t), 0);
	assert_int_equal(sys_stat(link, "", &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 3);
	t[1].tv_sec = 4;
	assert_int_equal(sys_utimens(scratch, "link", t), 0);
	assert_int_equal(sys_stat(link, "", &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 4);
	assert_int_equal(sys_stat(fd, "", &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 2);
	t[1].tv_nsec = -1;
	assert_int_equal(sys_utimens(link, "", t), -EINVAL);
	sys_close(link);
}

static void test_utimens(void **state)
{
	int fd = make_file("file", "");

	(void)state;
	assert_int_equal(symlinkat("file", scratch, "link"), 0);
	check_utimens(fd);
	sys_disable("utimens_empty");
	check_utimens(fd);
	sys_close(fd);
}

static void check_xattr(const struct target *t, const char *attr)
{
	char value[16] = "";

	assert_int_equal(sys_getxattr(t->dirfd, t->name, attr, value, sizeof(value)), -ENODATA);
	assert_int_equal(sys_setxattr(t->dirfd, t->name, attr, "12345", 5, XATTR_CREATE), 0);
	assert_int_equal(sys_setxattr(t->dirfd, t->name, attr, "1", 1, XATTR_CREATE), -EEXIST);
	assert_int_equal(sys_getxattr(t->dirfd, t->name, attr, NULL, 0), 5);
	assert_int_equal(sys_getxattr(t->dirfd, t->name, attr, value, 4), -ERANGE);
	assert_int_equal(sys_getxattr(t->dirfd, t->name, attr, value, sizeof(value)), 5);
	assert_memory_equal(value, "12345", 5);
}

static void drop_xattr(const struct target *t, const char *attr)
{
	char list[256];
	bool found = false;
	ssize_t n = sys_listxattr(t->dirfd, t->name, list, sizeof(list));

	assert_true(n > 0);
	assert_int_equal(sys_listxattr(t->dirfd, t->name, NULL, 0), n);
	for (ssize_t pos = 0; pos < n; pos += (ssize_t)strlen(list + pos) + 1)
		found = found || strcmp(list + pos, attr) == 0;
	assert_true(found);
	assert_int_equal(sys_removexattr(t->dirfd, t->name, attr), 0);
	assert_int_equal(sys_removexattr(t->dirfd, t->name, attr), -ENODATA);
}

/* By name, by a descriptor of either kind; OTHER must have nothing of it. */
static void check_ways(const char *name, int fd, const char *attr, const char *other)
{
	int path = sys_openat(scratch, name, O_PATH | O_NOFOLLOW, 0);
	const struct target ways[] = { { scratch, name }, { path, "" }, { fd, "" } };

	for (int i = 0; i < (fd >= 0 ? 3 : 2); i++) {
		check_xattr(&ways[i], attr);
		assert_int_equal(sys_getxattr(scratch, other, attr, NULL, 0), -ENODATA);
		/* What one way has set, another sees. */
		drop_xattr(&ways[(i + 1) % 2], attr);
	}
	sys_close(path);
}

static void test_xattr(void **state)
{
	int fd = make_file("file", ""), path;

	(void)state;
	make_empty("other");
	for (int round = 0; round < 2; round++) {
		check_ways("file", fd, "user.test", "other");
		assert_int_equal(sys_getxattr(scratch, "none", "user.test", NULL, 0), -ENOENT);
		sys_disable("xattrat");
	}
	/* Without /proc what can be opened is, and nothing can be done by O_PATH alone. */
	sys_disable("proc");
	path = sys_openat(scratch, "file", O_PATH | O_NOFOLLOW, 0);
	assert_false(sys_path_fds_lead());
	assert_int_equal(sys_setxattr(scratch, "file", "user.test", "x", 1, 0), 0);
	assert_int_equal(sys_getxattr(fd, "", "user.test", NULL, 0), 1);
	assert_int_equal(sys_change_xattr(path, "", "user.test", "x", 1, 0), -EBADF);
	assert_int_equal(symlinkat("file", scratch, "link"), 0);
	assert_int_equal(sys_setxattr(scratch, "link", "user.test", "x", 1, 0), -EBADF);
	assert_int_equal(sys_change_xattr(fd, "", "user.test", NULL, 0, 0), 0);
	assert_int_equal(sys_getxattr(fd, "", "user.test", NULL, 0), -ENODATA);
	assert_int_equal(sys_setxattr(fd, "", "user.test", "x", 1, 0), 0);
	sys_close(path);
	sys_disable("xattr");
	assert_int_equal(sys_getxattr(fd, "", "user.test", NULL, 0), -EOPNOTSUPP);
	sys_close(fd);
}

/* A symlink's own attributes, never those of what it points to. */
static void test_xattr_symlink(void **state)
{
	(void)state;
	need_root();
	make_empty("file");
	assert_int_equal(symlinkat("file", scratch, "link"), 0);
	assert_int_equal(symlinkat("nowhere", scratch, "dangling"), 0);
	for (int round = 0; round < 2; round++) {
		check_ways("link", -1, "trusted.test", "file");
		check_ways("dangling", -1, "trusted.test", "file");
		assert_int_equal(sys_setxattr(scratch, "link", "user.test", "x", 1, 0), -EPERM);
		sys_disable("xattrat");
	}
}

static void test_flags(void **state)
{
	int fd = make_file("file", "");
	struct fsxattr x;
	uint32_t version;
	unsigned flags;

	(void)state;
	assert_int_equal(sys_getflags(fd, &flags), 0);
	assert_int_equal(sys_setflags(fd, flags | FS_NODUMP_FL), 0);
	assert_int_equal(sys_getflags(fd, &flags), 0);
	assert_true(flags & FS_NODUMP_FL);
	assert_int_equal(sys_fsgetxattr(fd, &x), 0);
	assert_true(x.fsx_xflags & FS_XFLAG_NODUMP);
	x.fsx_xflags &= ~(unsigned)FS_XFLAG_NODUMP;
	assert_int_equal(sys_fssetxattr(fd, &x), 0);
	assert_int_equal(sys_getflags(fd, &flags), 0);
	assert_false(flags & FS_NODUMP_FL);
	if (sys_getversion(fd, &version) != 0)
		assert_int_equal(sys_getversion(fd, &version), -ENOTTY);
	sys_disable("fileattr");
	assert_int_equal(sys_getflags(fd, &flags), -ENOTTY);
	assert_int_equal(sys_setflags(fd, flags), -ENOTTY);
	assert_int_equal(sys_fsgetxattr(fd, &x), -ENOTTY);
	assert_int_equal(sys_fssetxattr(fd, &x), -ENOTTY);
	sys_close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_chmod),   SCRATCH_TEST(test_chown),
		SCRATCH_TEST(test_utimens), SCRATCH_TEST(test_xattr),
		SCRATCH_TEST(test_flags),   SCRATCH_TEST(test_xattr_symlink),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
