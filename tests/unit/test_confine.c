// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The filter of system calls: what is no part of serving is refused, in every thread, also in those that
 * were there before; what is part of it works.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/confine.h"
#include "lamina-config.h"

static const struct confine_needs needs = { .nfs = false, .io_uring = false };

static long run_program(void)
{
	char *argv[] = { NULL };

	return execve("/bin/true", argv, argv);
}

static long fork_process(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid;
}

static long trace(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static long internet(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static long new_namespace(void)
{
	return unshare(CLONE_NEWNS);
}

static long mount_something(void)
{
	return mount("none", "/mnt", "tmpfs", 0, NULL);
}

static long ring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL);
}

static long change_root(void)
{
	return chroot("/");
}

static long become_somebody(void)
{
	return setuid(65534);
}

static long (*const forbidden[])(void) = { run_program, fork_process,  trace,
					   internet,	new_namespace, mount_something,
					   ring,	change_root,   become_somebody };

/* The call is refused: by an error or by the end that builds for tests make of it. */
static void refused(long (*call)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		confine_capabilities(&needs);
		if (confine_calls(&needs) < 0)
			_exit(2);
		_exit(call() == -1 && errno == ENOSYS ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		assert_int_equal(WTERMSIG(status), SIGSYS);
	else
		assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_refused(void **state)
{
	(void)state;
#ifndef LAMINA_SECCOMP
	skip();
#endif
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
		refused(forbidden[i]);
}

/* A thread that was there before the filter. */
static pthread_barrier_t begin;

static void *early_thread(void *arg)
{
	(void)arg;
	(void)pthread_barrier_wait(&begin);
	_exit(run_program() == -1 && errno == ENOSYS ? 0 : 1);
}

static void *late_thread(void *arg)
{
	*(int *)arg = openat(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return NULL;
}

static void test_early_thread(void **state)
{
	pid_t pid = fork();
	pthread_t thread;
	int status;

	(void)state;
#ifndef LAMINA_SECCOMP
	skip();
#endif
	if (pid == 0) {
		(void)pthread_barrier_init(&begin, NULL, 2);
		if (pthread_create(&thread, NULL, early_thread, NULL) != 0 ||
		    confine_calls(&needs) < 0)
			_exit(2);
		(void)pthread_barrier_wait(&begin);
		(void)pthread_join(thread, NULL);
		_exit(3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGSYS : WEXITSTATUS(status) == 0);
}

/* What a server does all the time. */
static int serve_a_little(void)
{
	struct stat st;
	pthread_t thread;
	int fd = -1, null;

	if (unshare(CLONE_FS) < 0 || stat("/", &st) < 0)
		return 1;
	if (pthread_create(&thread, NULL, late_thread, &fd) != 0 ||
	    pthread_join(thread, NULL) != 0 || fd < 0)
		return 2;
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null < 0 || write(null, "x", 1) != 1)
		return 3;
	return socket(AF_UNIX, SOCK_DGRAM, 0) >= 0 ? 0 : 4;
}

static void test_serving(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) {
		confine_capabilities(&needs);
		if (confine_calls(&needs) < 0)
			_exit(9);
		_exit(serve_a_little());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* There where lines are counted. */
extern void __gcov_dump(void) __attribute__((weak));

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_early_thread),
		cmocka_unit_test(test_serving),
	};

	if (__gcov_dump)
		return 77; /* the filter would not let the counts be written */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
