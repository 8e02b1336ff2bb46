/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CHECK: nothing while it holds, a message and SIGABRT when it does not.  Clean-up on scope exit. */
#include "unit.h"

#include "base/check.h"
#include "base/cleanup.h"
#include "dies.h"

#include <errno.h>

static void check_passes(void **state)
{
	int seen = 0;

	(void)state;
	CHECK(++seen == 1);
	assert_int_equal(seen, 1);
}

static void break_it(void)
{
	CHECK(1 + 1 == 3);
}

static void hold_it(void)
{
	CHECK(1 + 1 == 2);
}

static void check_stops(void **state)
{
	(void)state;
	assert_true(dies_saying(break_it, "1 + 1 == 3"));
	assert_true(dies_saying(break_it, "test_check.c"));
	assert_false(dies_saying(hold_it, ""));
}

static void descriptors_close(void **state)
{
	int seen;

	(void)state;
	{
		CLEANUP_CLOSE int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

		assert_true(fd >= 0);
		seen = fd;
		errno = EXDEV;
	}
	assert_int_equal(errno, EXDEV);
	assert_int_equal(fcntl(seen, F_GETFD), -1);
	assert_int_equal(errno, EBADF);
}

static void owners_change(void **state)
{
	CLEANUP_FREE char *kept = NULL;
	int seen;

	(void)state;
	{
		CLEANUP_CLOSE int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		CLEANUP_FREE char *text = strdup("text");

		seen = TAKE_FD(fd);
		assert_int_equal(fd, -1);
		kept = TAKE_PTR(text);
		assert_null(text);
	}
	assert_true(fcntl(seen, F_GETFD) >= 0);
	close(seen);
	assert_string_equal(kept, "text");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_passes),
		cmocka_unit_test(check_stops),
		cmocka_unit_test(descriptors_close),
		cmocka_unit_test(owners_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
