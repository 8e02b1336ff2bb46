/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads for requests that must not hold up a serving thread. */
#ifndef FUSE_LATE_H
#define FUSE_LATE_H

#include <stdbool.h>
#include <sys/queue.h>

struct slot;
struct late_pool;

/* One thing to do; part of the caller's own structure, which RUN may free.  SLOT is that of the
 * thread that runs it. */
struct late_job {
	STAILQ_ENTRY(late_job) link;
	void (*run)(struct late_job *job, struct slot *slot);
};

/* Make a pool of N threads (not started yet) with their slots.  NULL if memory is short. */
struct late_pool *late_pool_new(struct slot *slots, unsigned n);
/* Start its threads; -errno if not one could be started. */
int late_pool_start(struct late_pool *pool);
/* Add a job; jobs are begun in order.  False if the pool does not run. */
bool late_pool_add(struct late_pool *pool, struct late_job *job);
/* Do what was added, then end the threads. */
void late_pool_stop(struct late_pool *pool);
/* NULL is allowed.  The pool was stopped or never started. */
void late_pool_free(struct late_pool *pool);

#endif
