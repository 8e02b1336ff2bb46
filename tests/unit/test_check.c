/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CHECK: nothing while it holds, a message and SIGABRT when it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void check_passes(void **state)
{
	int seen = 0;

	(void)state;
	CHECK(++seen == 1);
	assert_int_equal(seen, 1);
}

static void check_stops(void **state)
{
	char text[256] = "";
	ssize_t n;
	int fds[2], status;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit none = { 0, 0 };

		(void)setrlimit(RLIMIT_CORE, &none); /* a core file is only a nuisance */
		(void)signal(SIGABRT, SIG_DFL);
		(void)dup2(fds[1], 2);
		CHECK(1 + 1 == 3);
		_exit(0);
	}
	close(fds[1]);
	n = read(fds[0], text, sizeof(text) - 1);
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_true(n > 0);
	assert_non_null(strstr(text, "1 + 1 == 3"));
	assert_non_null(strstr(text, "test_check.c"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_passes),
		cmocka_unit_test(check_stops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
