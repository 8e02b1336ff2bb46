/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whom the kernel ends when memory runs out: a worker, which can be replaced, rather than its supervisor. */
#ifndef SUPER_OOM_H
#define SUPER_OOM_H

/* A descriptor for oom_prefer(), made before there is a mount that could cover /proc; or -1. */
int oom_open(void);
/* Make this process a better choice than its parent is. */
void oom_prefer(int proc);

#endif
