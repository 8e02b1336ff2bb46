/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For unit tests that need files: an empty directory under $TMPDIR (else /tmp) that is removed in
 * the end, and shorthands for filling it.  with_fs.sh runs a test on several filesystems.
 */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/sys.h"

/* The directory of the running test. */
static int scratch = -1;
static char scratch_path[512];

static int scratch_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int scratch_setup(void **state)
{
	const char *base = getenv("TMPDIR");

	(void)state;
	snprintf(scratch_path, sizeof(scratch_path), "%s/unit-XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(scratch_path))
		return -1;
	scratch = open(scratch_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return scratch < 0 ? -1 : 0;
}

static int scratch_teardown(void **state)
{
	(void)state;
	sys_fault_hook = NULL;
	sys_enable_all();
	close(scratch);
	return nftw(scratch_path, scratch_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* A test in a directory of its own. */
#define SCRATCH_TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

static inline void need_root(void)
{
	if (geteuid() != 0) {
		print_message("this needs root\n");
		skip();
	}
}

/* A new file with this text; returns it open for reading and writing. */
static inline int make_file(const char *name, const char *text)
{
	int fd = openat(scratch, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (int)strlen(text));
	return fd;
}

static inline void make_empty(const char *name)
{
	close(make_file(name, ""));
}

static inline bool exists(const char *name)
{
	struct stat st;

	return fstatat(scratch, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

#endif
