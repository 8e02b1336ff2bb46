/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kill a process at its Nth step: killer PID N.
 *
 * Steps are the beginnings and ends of system calls of all threads, but for those that only wait.  Writes a
 * line when it watches.  When standard input ends before step N, it lets the process go on and says how many
 * there were.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE)

static int waits_only(long number)
{
	return number == SYS_epoll_wait || number == SYS_poll || number == SYS_futex ||
	       number == SYS_clock_nanosleep || number == SYS_rt_sigtimedwait ||
	       number == SYS_epoll_pwait;
}

static void seize_all(pid_t pid)
{
	char path[64];
	struct dirent *e;
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		pid_t tid = atoi(e->d_name);

		if (tid <= 0 || ptrace(PTRACE_SEIZE, tid, NULL, (void *)OPTIONS) < 0)
			continue;
		(void)ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
	}
	if (d)
		closedir(d);
}

/* Whether this stop of TID counts as a step. */
static int is_step(pid_t tid)
{
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) <= 0)
		return 0;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
		return !waits_only((long)info.entry.nr);
	return info.op == PTRACE_SYSCALL_INFO_EXIT;
}

int main(int argc, char **argv)
{
	pid_t pid = argc == 3 ? atoi(argv[1]) : 0;
	long steps = 0, kill_at = argc == 3 ? atol(argv[2]) : 0;
	const struct timespec tick = { .tv_nsec = 100000 };

	if (pid <= 0)
		return 2;
	seize_all(pid);
	puts("watching");
	(void)fflush(stdout);
	for (;;) {
		struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
		int status, signo = 0;
		pid_t tid = waitpid(-1, &status, __WALL | WNOHANG);

		if (tid < 0)
			return 1;
		if (tid == 0) {
			if (poll(&in, 1, 0) > 0)
				break;
			(void)nanosleep(&tick, NULL);
			continue;
		}
		if (!WIFSTOPPED(status))
			continue;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			if (is_step(tid) && ++steps == kill_at) {
				(void)kill(pid, SIGKILL);
				return 0;
			}
		} else if (status >> 16 == 0) {
			signo = WSTOPSIG(status);
		}
		(void)ptrace(PTRACE_SYSCALL, tid, NULL, (void *)(long)signo);
	}
	printf("%ld\n", steps);
	return 3;
}
