/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Big files that are copied up behind their writers: the copy is begun at the first write and finished by a thread
 * of its own, while reads and writes go on.  docs/design/copy-up.md
 */
#ifndef CORE_BEHIND_H
#define CORE_BEHIND_H

#include <lamina/lamina.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/mutex.h"

struct behind;
struct lam_stack;
struct node;

TAILQ_HEAD(behindlist, behind);

/* Those of a stack. */
struct behinds {
	uint64_t
		min; /* size of the smallest file that is copied so, in bytes; UINT64_MAX: none is */
	int dir_fd;  /* workdir/lamina/behind, or -1 */
	_Atomic unsigned n; /* how many there are */
	struct mutex lock;  /* RANK_LEAF: the list and references */
	struct cond cond;   /* something to do, or the end */
	struct behindlist all;
	bool running; /* there is a thread; lock */
	atomic_bool stop;
	pthread_t thread;
};

/* Open workdir/lamina/behind in OWN_FD: with TAKEOVER what an earlier process was at goes on, else it is removed. */
int behinds_open(struct lam_stack *s, int own_fd, bool takeover);
/* Finish all; what cannot be finished is lost, and said so.  Reads and writes are over. */
void behinds_close(struct lam_stack *s);
/* Finish all of them now. */
int behinds_settle(struct lam_stack *s);

/* The unfinished copy of an object, as a reference, or NULL. */
struct behind *behind_get(struct lam_stack *s, uint64_t id);
void behind_put(struct lam_stack *s, struct behind *b);
/* Begin one of a lower file, whose ancestors are in upper, and which nobody else copies: 1; 0: it is not a file to be
 * copied like this. */
int behind_begin(struct lam_stack *s, struct node *n);
/* Have somebody finish what was begun.  0, or an error: nobody will. */
int behind_kick(struct lam_stack *s);

/* As pread and pwrite of the whole file.  -EAGAIN: it is finished, and its node says all. */
ssize_t behind_read(struct lam_stack *s, struct behind *b, struct node *n, void *buf, size_t size,
		    uint64_t off);
ssize_t behind_write(struct lam_stack *s, struct behind *b, struct node *n, const void *buf,
		     size_t size, uint64_t off);
/* What writing has changed. */
void behind_attr(const struct behind *b, struct lam_attr *a);

/* For copyup.c: copy all that is missing.  -EINTR if *CANCELLED */
int behind_fill(struct lam_stack *s, struct behind *b, struct node *n,
		const _Atomic bool *cancelled);
/* A new descriptor of the copy. */
int behind_dup(const struct behind *b);
/* No write until behind_unlock(); the copy has the time of the last one. */
int behind_lock(struct behind *b);
void behind_unlock(struct behind *b);
/* Give the copy a name. */
int behind_install(struct lam_stack *s, const struct behind *b, int dirfd, const char *name);
/* It has a name elsewhere, so its own two files go.  Called locked. */
void behind_unname(struct lam_stack *s, struct behind *b);
/* The node is the copy, or the copy is not wanted any more.  Called locked. */
void behind_over(struct lam_stack *s, struct behind *b);

#endif
