// SPDX-License-Identifier: GPL-2.0-or-later
/* Acting for other users in one thread, the thread's own umask, and private read-only mounts. */
#include "scratch.h"

#include <errno.h>
#include <signal.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void owner(const char *name, unsigned *uid, unsigned *gid)
{
	struct stat st;

	assert_int_equal(fstatat(scratch, name, &st, 0), 0);
	*uid = st.st_uid;
	*gid = st.st_gid;
}

static void check_owner(const char *name, unsigned uid, unsigned gid)
{
	unsigned is_uid, is_gid;

	owner(name, &is_uid, &is_gid);
	assert_int_equal(is_uid, uid);
	assert_int_equal(is_gid, gid);
}

/* One thread that serves: its failures come back as a line number. */
static int serve(void)
{
	int fd;

	if (sys_thread_init() != 0 || sys_thread_init() != 0)
		return __LINE__;
	if (sys_creds_enter(1234, 5678) != 0)
		return __LINE__;
	/* The directory is root's and closed to others: capabilities stay. */
	fd = sys_openat(scratch, "closed/theirs", O_CREAT | O_EXCL | O_WRONLY, 0600);
	if (fd < 0)
		return __LINE__;
	sys_close(fd);
	if (sys_creds_enter(1234, 5678) != 0 || sys_creds_enter(1, 2) != 0)
		return __LINE__;
	if (sys_mkdir(scratch, "closed/second", 0700) != 0)
		return __LINE__;
	if (sys_creds_enter((uid_t)-1, 0) != -EINVAL || sys_creds_enter(0, (gid_t)-1) != -EINVAL)
		return __LINE__;
	sys_creds_leave();
	sys_creds_leave();
	if (sys_mkdir(scratch, "closed/ours", 0700) != 0)
		return __LINE__;
	return 0;
}

static int serve_umask(void)
{
	if (sys_thread_init() != 0)
		return __LINE__;
	sys_umask(0077);
	return sys_mkdir(scratch, "masked", 0777) == 0 ? 0 : __LINE__;
}

/* Run in a thread while this one holds other ids; *ARG is the function, then its result. */
struct job {
	int (*run)(void);
	int result;
};

static void *job_main(void *arg)
{
	struct job *job = arg;

	job->result = job->run();
	return NULL;
}

static void run_thread(int (*run)(void))
{
	struct job job = { .run = run, .result = -1 };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, job_main, &job), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	if (job.result != 0)
		fail_msg("the thread failed in line %d", job.result);
}

static void test_creds(void **state)
{
	(void)state;
	need_root();
	assert_true(sys_can_switch_ids());
	assert_int_equal(sys_mkdir(scratch, "closed", 0700), 0);
	run_thread(serve);
	check_owner("closed/theirs", 1234, 5678);
	check_owner("closed/second", 1, 2);
	check_owner("closed/ours", 0, 0);
	/* This thread has never been anyone else. */
	assert_int_equal(sys_mkdir(scratch, "here", 0700), 0);
	check_owner("here", 0, 0);
}

static void test_umask(void **state)
{
	struct stat st;
	mode_t old = umask(0);

	(void)state;
	run_thread(serve_umask);
	assert_int_equal(sys_mkdir(scratch, "open", 0777), 0);
	umask(old);
	assert_int_equal(sys_stat(scratch, "masked", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(sys_stat(scratch, "open", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0777);
}

/* In a child without privilege; its exit status is the line that failed. */
static int unprivileged(void)
{
	if (syscall(SYS_setresgid, 1000, 1000, 1000) != 0 ||
	    syscall(SYS_setresuid, 1000, 1000, 1000) != 0)
		return __LINE__;
	if (sys_can_switch_ids() || sys_init_ns_capable(CAP_SYS_ADMIN))
		return __LINE__;
	/* The record that fork() copied is of another user: this makes a new one. */
	if (sys_thread_init() != 0)
		return __LINE__;
	if (sys_creds_enter(0, 0) != -EPERM || sys_creds_enter(1000, 0) != -EPERM)
		return __LINE__;
	if (sys_creds_enter(1000, 1000) != 0)
		return __LINE__;
	sys_creds_leave();
	if (sys_clone_readonly(scratch) != -EPERM)
		return __LINE__;
	return 0;
}

/* Root of a user namespace has capabilities there, which are none outside. */
static int in_user_namespace(void)
{
	return sys_init_ns_capable(CAP_SYS_ADMIN) ? __LINE__ : 0;
}

/* NAMESPACES: CLONE_NEW*.  By clone() and not by unshare(), which takes no user namespace where
 * ThreadSanitizer has added a thread of its own. */
static int in_child(int (*run)(void), unsigned long namespaces)
{
	int status = -1;
	pid_t pid = namespaces ? (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, 0, 0, 0, 0)
			       : fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(run() & 255);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_unprivileged(void **state)
{
	(void)state;
	need_root();
	assert_int_equal(sys_creds_enter(0, 0), 0);
	assert_true(sys_init_ns_capable(CAP_SYS_ADMIN));
	assert_false(sys_init_ns_capable(-1));
	assert_false(sys_init_ns_capable(1000));
	assert_int_equal(in_child(unprivileged, 0), 0);
	assert_int_equal(in_child(in_user_namespace, CLONE_NEWUSER), 0);
}

static void test_clone_readonly(void **state)
{
	int tree, fd;
	char c;

	(void)state;
	need_root();
	close(make_file("file", "x"));
	assert_int_equal(sys_mkdir(scratch, "dir", 0700), 0);
	tree = sys_clone_readonly(scratch);
	assert_true(tree >= 0);
	assert_int_equal(fcntl(tree, F_GETFD), FD_CLOEXEC);
	assert_int_equal(sys_openat(tree, "file", O_RDWR, 0), -EROFS);
	assert_int_equal(sys_mkdir(tree, "new", 0700), -EROFS);
	assert_int_equal(sys_rmdir(tree, "dir"), -EROFS);
	assert_int_equal(sys_setxattr(tree, "file", "user.a", "1", 1, 0), -EROFS);
	fd = sys_openat(tree, "file", O_RDONLY, 0);
	assert_true(fd >= 0);
	assert_int_equal(sys_pread(fd, &c, 1, 0), 1);
	/* Not even by opening it anew. */
	assert_int_equal(sys_reopen(fd, O_RDWR), -EROFS);
	sys_close(fd);
	sys_close(tree);
	/* The mount it came from stays as it was. */
	assert_int_equal(sys_mkdir(scratch, "new", 0700), 0);
	sys_disable("open_tree");
	assert_int_equal(sys_clone_readonly(scratch), -ENOSYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_creds),
		SCRATCH_TEST(test_umask),
		SCRATCH_TEST(test_unprivileged),
		SCRATCH_TEST(test_clone_readonly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
