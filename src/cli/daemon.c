/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Going to the background.
 *
 * The process that the caller started only waits, on a pipe, for the one that serves: so the exit
 * status is about the mount itself, and threads and locks belong to one process from the start.
 * The serving process says what failed itself, as it still has the caller's standard error then.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Wait until the child writes its byte (the mount answers) or is gone. */
static int wait_for_child(int fd, pid_t child)
{
	char byte;
	ssize_t n;
	int status;

	do {
		n = read(fd, &byte, 1);
	} while (n < 0 && errno == EINTR);
	if (n == 1)
		return 0;
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return 1;
	}
	if (WIFSIGNALED(status))
		message_error("the server was ended by signal %d before the mount was ready",
			      WTERMSIG(status));
	return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1;
}

int daemon_start(struct daemon *d, int *ret_status)
{
	int fds[2];
	CLEANUP_CLOSE int from_child = -1, to_parent = -1;
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	from_child = fds[0];
	to_parent = fds[1];
	child = fork();
	if (child < 0)
		return -errno;
	if (child > 0) {
		(void)close(TAKE_FD(to_parent)); /* or its end would never be seen */
		*ret_status = wait_for_child(from_child, child);
		return DAEMON_PARENT;
	}
	(void)setsid(); /* fails only for a group's leader, which a new child is not */
	d->ready_fd = TAKE_FD(to_parent);
	return 0;
}

int daemon_detach(void)
{
	CLEANUP_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return -errno;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (dup2(null, fd) < 0)
			return -errno;
	}
	if (null <= STDERR_FILENO)
		null = -1; /* one of the three was closed, and is this one */
	return 0;
}

int daemon_ready(struct daemon *d)
{
	CLEANUP_CLOSE int ready = TAKE_FD(d->ready_fd);
	const char byte = 0;
	ssize_t n;
	int r = daemon_detach();

	if (r < 0)
		return r;
	do {
		n = write(ready, &byte, 1);
	} while (n < 0 && errno == EINTR);
	/* EPIPE: the parent was killed.  The mount is there all the same. */
	return 0;
}
