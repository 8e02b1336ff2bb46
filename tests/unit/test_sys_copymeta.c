// SPDX-License-Identifier: GPL-2.0-or-later
/* Copying extended attributes and inode flags: what must arrive and what may be lost. */
#include "scratch.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/xattr.h>

/* The error that the hook gives for a named call, and how often each sort was made. */
static const char *fail_call;
static int fail_with;
static unsigned calls, mutating;

static int hook(const char *name, bool mutates, bool after)
{
	if (after)
		return 0;
	calls++;
	mutating += mutates;
	return fail_call && strcmp(name, fail_call) == 0 ? fail_with : 0;
}

static void hook_set(const char *name, int r)
{
	calls = mutating = 0;
	fail_call = name;
	fail_with = r;
	sys_fault_hook = hook;
}

static bool want_not_b(void *ctx, const char *name)
{
	(*(int *)ctx)++;
	return strcmp(name, "user.b") != 0;
}

static void check_value(const char *name, const char *attr, const char *expect)
{
	char value[64];
	ssize_t n = sys_getxattr(scratch, name, attr, value, sizeof(value));

	assert_int_equal(n, expect ? (int)strlen(expect) : -ENODATA);
	if (expect)
		assert_memory_equal(value, expect, (size_t)n);
}

static void test_xattrs(void **state)
{
	int fd = make_file("from", ""), to = make_file("to", ""), path, asked = 0;

	(void)state;
	assert_int_equal(fsetxattr(fd, "user.a", "1", 1, 0), 0);
	assert_int_equal(fsetxattr(fd, "user.b", "2", 1, 0), 0);
	assert_int_equal(fsetxattr(fd, "user.empty", "", 0, 0), 0);
	assert_int_equal(sys_copy_xattrs(scratch, "from", scratch, "to", want_not_b, &asked), 0);
	assert_true(asked >= 3);
	check_value("to", "user.a", "1");
	check_value("to", "user.b", NULL);
	check_value("to", "user.empty", "");
	/* By descriptors, O_PATH on one side, and all of them. */
	path = sys_openat(scratch, "from", O_PATH | O_NOFOLLOW, 0);
	assert_int_equal(sys_copy_xattrs(path, "", to, "", NULL, NULL), 0);
	check_value("to", "user.b", "2");
	close(path);
	close(fd);
	close(to);
}

/* More names than the first buffer holds, and a long value. */
static void test_many_xattrs(void **state)
{
	int fd = make_file("from", ""), to = make_file("to", "");
	char name[64], big[1500], back[1500];

	(void)state;
	memset(big, 'x', sizeof(big));
	for (int i = 0; i < 26; i++) {
		snprintf(name, sizeof(name), "user.a-rather-long-name-of-an-attribute-%d", i);
		assert_int_equal(fsetxattr(fd, name, name, 1, 0), 0);
	}
	assert_int_equal(fsetxattr(fd, "user.big", big, sizeof(big), 0), 0);
	assert_int_equal(sys_copy_xattrs(fd, "", to, "", NULL, NULL), 0);
	check_value("to", "user.a-rather-long-name-of-an-attribute-25", "u");
	assert_int_equal(fgetxattr(to, "user.big", back, sizeof(back)), (int)sizeof(big));
	assert_memory_equal(big, back, sizeof(big));
	close(fd);
	close(to);
}

static void test_no_xattrs_costs_one_call(void **state)
{
	int fd = make_file("from", ""), to = make_file("to", "");

	(void)state;
	hook_set(NULL, 0);
	assert_int_equal(sys_copy_xattrs(fd, "", to, "", NULL, NULL), 0);
	assert_int_equal(calls, 1);
	sys_disable("xattr");
	assert_int_equal(sys_copy_xattrs(fd, "", to, "", NULL, NULL), 0);
	close(fd);
	close(to);
}

/* Copy the one attribute ATTR while setting it fails with R. */
static int copy_failing(const char *to, const char *attr, const void *value, size_t size, int r)
{
	int fd = make_file("one", ""), got;

	assert_int_equal(fsetxattr(fd, attr, value, size, 0), 0);
	hook_set("setxattr", r);
	got = sys_copy_xattrs(fd, "", scratch, to, NULL, NULL);
	sys_fault_hook = NULL;
	assert_int_equal(mutating, 1);
	close(fd);
	assert_int_equal(unlinkat(scratch, "one", 0), 0);
	return got;
}

static void test_xattr_policy(void **state)
{
	/* u::rwx,u:1:rwx,g::r,m::rwx,o::- in the kernel's form */
	const uint8_t acl[] = {
		2, 0, 0,   0,	1,   0,	  7,  0, 255, 255, 255, 255, 2,	  0,   7,
		0, 1, 0,   0,	0,   4,	  0,  4, 0,   255, 255, 255, 255, 16,  0,
		7, 0, 255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255,
	};
	const uint8_t cap[] = { 1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };

	(void)state;
	need_root();
	make_empty("to");
	assert_int_equal(mkfifoat(scratch, "fifo", 0600), 0);
	assert_int_equal(copy_failing("to", "user.a", "1", 1, -EOPNOTSUPP), 0);
	assert_int_equal(copy_failing("to", "user.a", "1", 1, -ENOSPC), -ENOSPC);
	assert_int_equal(copy_failing("to", "user.a", "1", 1, -EPERM), -EPERM);
	assert_int_equal(copy_failing("fifo", "user.a", "1", 1, -EPERM), 0);
	assert_int_equal(copy_failing("to", "trusted.a", "1", 1, -EOPNOTSUPP), 0);
	/* With CAP_SYS_ADMIN EPERM means something else. */
	assert_int_equal(copy_failing("to", "trusted.a", "1", 1, -EPERM), -EPERM);
	assert_int_equal(copy_failing("to", "security.capability", cap, sizeof(cap), -EOPNOTSUPP),
			 -EOPNOTSUPP);
	assert_int_equal(
		copy_failing("to", "system.posix_acl_access", acl, sizeof(acl), -EOPNOTSUPP),
		-EOPNOTSUPP);
}

static void test_xattr_errors(void **state)
{
	int fd = make_file("from", ""), to = make_file("to", "");

	(void)state;
	assert_int_equal(fsetxattr(fd, "user.a", "1", 1, 0), 0);
	hook_set("listxattr", -EIO);
	assert_int_equal(sys_copy_xattrs(fd, "", to, "", NULL, NULL), -EIO);
	hook_set("getxattr", -EIO);
	assert_int_equal(sys_copy_xattrs(fd, "", to, "", NULL, NULL), -EIO);
	hook_set("getxattr", -ENODATA); /* removed since it was listed */
	assert_int_equal(sys_copy_xattrs(fd, "", to, "", NULL, NULL), 0);
	assert_int_equal(mutating, 0);
	close(fd);
	close(to);
}

static void test_plain_file_costs_two_calls(void **state)
{
	int fd = make_file("from", ""), to = make_file("to", "");

	(void)state;
	hook_set(NULL, 0);
	assert_int_equal(sys_copy_fileattr(fd, to), 0);
	assert_int_equal(calls, 2);
	assert_int_equal(mutating, 0);
	sys_disable("fileattr");
	assert_int_equal(sys_copy_fileattr(fd, to), 0);
	close(fd);
	close(to);
}

static void test_fileattr(void **state)
{
	int fd = make_file("from", ""), to = make_file("to", "");
	unsigned before, flags;

	(void)state;
	need_root();
	assert_int_equal(sys_getflags(to, &before), 0);
	assert_int_equal(sys_getflags(fd, &flags), 0);
	assert_int_equal(sys_setflags(fd, flags | FS_NODUMP_FL | FS_NOATIME_FL | FS_APPEND_FL |
						  FS_IMMUTABLE_FL),
			 0);
	assert_int_equal(sys_copy_fileattr(fd, to), 0);
	assert_int_equal(sys_getflags(to, &flags), 0);
	assert_int_equal(flags, before | FS_NODUMP_FL | FS_NOATIME_FL);
	/* All there already: nothing is set again. */
	hook_set(NULL, 0);
	assert_int_equal(sys_copy_fileattr(fd, to), 0);
	assert_int_equal(mutating, 0);
	sys_fault_hook = NULL;
	assert_int_equal(sys_getflags(fd, &flags), 0);
	assert_int_equal(sys_setflags(fd, flags & ~(unsigned)(FS_APPEND_FL | FS_IMMUTABLE_FL)), 0);
	close(fd);
	close(to);
}

/* What the target cannot keep is passed over; what goes wrong is not. */
static void test_fileattr_errors(void **state)
{
	int fd = make_file("from", ""), to = make_file("to", "");
	unsigned flags;

	(void)state;
	assert_int_equal(sys_getflags(fd, &flags), 0);
	assert_int_equal(sys_setflags(fd, flags | FS_NODUMP_FL), 0);
	hook_set("setflags", -EOPNOTSUPP);
	assert_int_equal(sys_copy_fileattr(fd, to), 0);
	assert_int_equal(mutating, 2); /* once more with the plain ones */
	hook_set("setflags", -EPERM);
	assert_int_equal(sys_copy_fileattr(fd, to), 0);
	hook_set("setflags", -EIO);
	assert_int_equal(sys_copy_fileattr(fd, to), -EIO);
	hook_set("getflags", -EIO);
	assert_int_equal(sys_copy_fileattr(fd, to), -EIO);
	hook_set("fsgetxattr", -EIO);
	assert_int_equal(sys_copy_fileattr(fd, to), -EIO);
	hook_set("fsgetxattr", -ENOTTY);
	assert_int_equal(sys_copy_fileattr(fd, to), 0);
	close(fd);
	close(to);
}

/* Whether this filesystem can keep a project id is found out by setting one on the source. */
static void test_project(void **state)
{
	int fd = make_file("from", ""), to = make_file("to", "");
	struct fsxattr x;

	(void)state;
	need_root();
	assert_int_equal(sys_fsgetxattr(fd, &x), 0);
	x.fsx_projid = 4711;
	if (sys_fssetxattr(fd, &x) < 0 || sys_fsgetxattr(fd, &x) < 0 || x.fsx_projid != 4711) {
		assert_int_equal(sys_copy_fileattr(fd, to), 0);
	} else {
		assert_int_equal(sys_copy_fileattr(fd, to), 0);
		assert_int_equal(sys_fsgetxattr(to, &x), 0);
		assert_int_equal(x.fsx_projid, 4711);
		hook_set(NULL, 0);
		assert_int_equal(sys_copy_fileattr(fd, to), 0);
		assert_int_equal(mutating, 0);
	}
	close(fd);
	close(to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_xattrs),
		SCRATCH_TEST(test_many_xattrs),
		SCRATCH_TEST(test_no_xattrs_costs_one_call),
		SCRATCH_TEST(test_xattr_policy),
		SCRATCH_TEST(test_xattr_errors),
		SCRATCH_TEST(test_plain_file_costs_two_calls),
		SCRATCH_TEST(test_fileattr),
		SCRATCH_TEST(test_fileattr_errors),
		SCRATCH_TEST(test_project),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
