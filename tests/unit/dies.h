/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests: that a piece of code stops the process through CHECK. */
#ifndef UNIT_DIES_H
#define UNIT_DIES_H

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Run FN in a child.  Whether it ended by SIGABRT, with a message that has SAID in it. */
static inline bool dies_saying(void (*fn)(void), const char *said)
{
	char text[512] = "";
	int fds[2], status = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		struct rlimit none = { 0, 0 };

		(void)setrlimit(RLIMIT_CORE, &none); /* a core file is only a nuisance */
		(void)signal(SIGABRT, SIG_DFL);
		(void)dup2(fds[1], 2);
		fn();
		_exit(0);
	}
	close(fds[1]);
	n = read(fds[0], text, sizeof(text) - 1);
	close(fds[0]);
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGABRT && n > 0 && strstr(text, said) != NULL;
}

#endif
