/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Serving on the CPU of the client.
 *
 * A client waits for its answer, so it and the server never run at the same time; on one CPU a request is
 * two switches between them, on two it is two wake-ups of an idle CPU, which take several times as long.
 * The scheduler takes the idle one.  So while one thread serves one client it follows it: it is bound to
 * the CPU that the client was last seen on.
 */
#ifndef FUSE_PLACEMENT_H
#define FUSE_PLACEMENT_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct placement {
	uint32_t pid;	/* of the last request; a thread's number */
	unsigned count; /* requests in a row that were its */
	int cpu;	/* bound to it; -1: to none */
	bool known;	/* HOME is */
	cpu_set_t home; /* where the thread may run, as it was found */
};

/* Of a serving thread: called by itself before it serves its first request. */
void placement_init(struct placement *p);
/* A request of thread PID (0: of nobody) comes.  FOLLOW: it is worth being close to. */
void placement_note(struct placement *p, uint32_t pid, bool follow);
/* Any CPU is as good as another. */
void placement_release(struct placement *p);
/* The CPU that thread PID was last on; -1 if that cannot be told. */
int placement_cpu_of(uint32_t pid);

#endif
