/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fusermount3: it opens /dev/fuse, mounts, and sends the descriptor back over the socket whose
 * number is in its environment.
 */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

#define COMMFD "_FUSE_COMMFD"

extern char **environ;

/* Our environment with the number of the socket.  The strings are borrowed, COMM too. */
static char **helper_env(char *comm)
{
	size_t n = 0, out = 0;
	char **env;

	while (environ && environ[n])
		n++;
	env = calloc(n + 2, sizeof(*env));
	if (!env)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if (strncmp(environ[i], COMMFD "=", sizeof(COMMFD)) != 0)
			env[out++] = environ[i];
	}
	env[out] = comm;
	return env;
}

/* Start fusermount3 with ARGV; SOCK (or -1) stays open in it, its messages go to ERR_FD. */
static int start(char *const argv[], int sock, int err_fd, pid_t *ret)
{
	char comm[sizeof(COMMFD) + 16];
	char **env CLEANUP_FREE = NULL;
	posix_spawn_file_actions_t actions;
	int r;

	(void)snprintf(comm, sizeof(comm), COMMFD "=%d", sock); /* an int fits */
	env = helper_env(comm);
	if (!env)
		return -ENOMEM;
	if (posix_spawn_file_actions_init(&actions) != 0)
		return -ENOMEM;
	/* Copying a descriptor onto itself lets it pass exec. */
	r = sock >= 0 ? posix_spawn_file_actions_adddup2(&actions, sock, sock) : 0;
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, err_fd, STDERR_FILENO);
	if (r == 0)
		r = posix_spawnp(ret, argv[0], &actions, NULL, argv, env);
	(void)posix_spawn_file_actions_destroy(&actions); /* cannot fail */
	return -r;
}

/* Wait for the child; 0 if it ended well, -EPERM if it did not. */
static int finish(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		/* Somebody who ignores SIGCHLD never learns how it ended. */
		if (errno == ECHILD)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* The first line of what the helper said; empty if nothing. */
static void read_line(int fd, char *line, size_t size)
{
	size_t used = 0;

	while (used + 1 < size) {
		ssize_t n = read(fd, line + used, size - 1 - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	line[used] = '\0';
	line[strcspn(line, "\n")] = '\0';
}

/* The descriptor that comes over the socket. */
static int receive(int sock, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *c;
	ssize_t n;

	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	c = CMSG_FIRSTHDR(&msg);
	if (n == 0 || !c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len != CMSG_LEN(sizeof(int)))
		return -EPERM;
	memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return 0;
}

/* posix_spawn() takes strings that it does not change as changeable ones. */
static char *unconst(const char *s)
{
	return (char *)(uintptr_t)s;
}

static int run_mount(const char *mountpoint, const char *options, int *ret_fd, char *line,
		     size_t size)
{
	char *argv[] = { unconst("fusermount3"), unconst("-o"),	      unconst(options),
			 unconst("--"),		 unconst(mountpoint), NULL };
	int sock[2], err[2];
	int ours CLEANUP_CLOSE = -1, theirs CLEANUP_CLOSE = -1;
	int err_read CLEANUP_CLOSE = -1, err_write CLEANUP_CLOSE = -1;
	int fd CLEANUP_CLOSE = -1;
	pid_t pid = -1;
	int r, ended;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) < 0)
		return -errno;
	ours = sock[0];
	theirs = sock[1];
	if (pipe2(err, O_CLOEXEC) < 0)
		return -errno;
	err_read = err[0];
	err_write = err[1];
	r = start(argv, theirs, err_write, &pid);
	if (r < 0)
		return r;
	(void)close(TAKE_FD(theirs)); /* so that the helper's end is the last */
	(void)close(TAKE_FD(err_write));
	r = receive(ours, &fd);
	read_line(err_read, line, size);
	ended = finish(pid);
	if (r == 0)
		r = ended;
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int helper_mount(const char *mountpoint, const char *options, int *ret_fd)
{
	char line[256] = "";
	int r;

	r = run_mount(mountpoint, options, ret_fd, line, sizeof(line));
	if (r == -ENOENT)
		log_error("cannot mount on %s: not permitted, and fusermount3 is not installed",
			  QUOTE(mountpoint));
	else if (r < 0)
		log_error("cannot mount on %s: %s", QUOTE(mountpoint), *line ? line : log_errno(r));
	return r;
}

/* The child: async-signal-safe calls only, as other threads may be there. */
_Noreturn static void wait_and_unmount(int fd, char *const argv[])
{
	sigset_t none;
	char byte;
	ssize_t n;
	int nothing;

	/* Not even the connection is kept alive here, nor a pipe of whoever called. */
	if (fd != STDERR_FILENO + 1 && dup2(fd, STDERR_FILENO + 1) < 0)
		_exit(1);
	nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
		if (nothing < 0 || dup2(nothing, i) < 0)
			(void)close(i);
	(void)close_range(STDERR_FILENO + 2, ~0u,
			  0); /* an older kernel leaves them until the end */
	do {
		n = read(STDERR_FILENO + 1, &byte, 1);
	} while (n < 0 && errno == EINTR);
	if (n != 1)
		_exit(0);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)close(STDERR_FILENO + 1);
	(void)execvp(argv[0], argv);
	_exit(1);
}

int helper_stand_by(const char *mountpoint, struct helper_unmounter *ret)
{
	char *argv[] = { unconst("fusermount3"), unconst("-u"),	      unconst("-q"), unconst("-z"),
			 unconst("--"),		 unconst(mountpoint), NULL };
	int ours CLEANUP_CLOSE = -1, theirs CLEANUP_CLOSE = -1;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	theirs = fds[0];
	ours = fds[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		(void)close(ours); /* or it would wait for itself */
		wait_and_unmount(theirs, argv);
	}
	*ret = (struct helper_unmounter){ .fd = TAKE_FD(ours), .pid = pid };
	return 0;
}

int helper_umount(struct helper_unmounter *u)
{
	const char byte = 0;
	int r;

	if (u->fd < 0)
		return -EINVAL;
	r = write(u->fd, &byte, 1) == 1 ? 0 : -errno;
	(void)close(TAKE_FD(u->fd));
	if (r == 0)
		r = finish(u->pid);
	return r == -EPERM ? -EINVAL : r;
}

void helper_dismiss(struct helper_unmounter *u)
{
	if (u->fd < 0)
		return;
	(void)close(TAKE_FD(u->fd));
	(void)finish(u->pid); /* it has nothing to say */
}
