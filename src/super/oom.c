/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The score by which the kernel chooses whom to end when memory runs out (proc(5), oom_score_adj).
 *
 * A supervisor and a worker that was just forked are of one size.  To raise one's own score takes no privilege, to
 * lower it does: so it is the worker's that is raised, by as little as makes a difference.
 */
#include "oom.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define SCORE "self/oom_score_adj"
#define MORE 10 /* as if it had one hundredth of all memory more */
#define HIGHEST 1000

int oom_open(void)
{
	return open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void oom_prefer(int proc)
{
	CLEANUP_CLOSE int fd = proc < 0 ? -1 : openat(proc, SCORE, O_RDWR | O_CLOEXEC);
	char text[16] = "";
	int score;
	ssize_t n;

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return;
	score = atoi(text) + MORE;
	(void)snprintf(text, sizeof(text), "%d", score < HIGHEST ? score : HIGHEST);
	n = pwrite(fd, text, strlen(text), 0);
	(void)n; /* then the larger one is chosen, which is the worker as well, but for its first moment */
}
