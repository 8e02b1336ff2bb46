/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests that come again: a worker read them and ended before it answered.
 *
 * What may be done twice needs nothing.  Of the others a record is kept in the memory that outlives the
 * worker (super/state.h): taken before the operation, marked when it begins and when it is done, and
 * released after the answer.  So who meets the request again knows whether it had begun; and where it had
 * begun and not ended, the state of the objects tells the rest.
 */
#ifndef FUSE_AGAIN_H
#define FUSE_AGAIN_H

#include <lamina/lamina.h>
#include <stdbool.h>
#include <stdint.h>

#include "super/state.h"

struct fuse_front;
struct request;

/* What is known of a request. */
enum past {
	PAST_NONE,  /* it has not begun */
	PAST_BEGUN, /* it may have happened */
	PAST_DONE,  /* it has happened, with once_result() */
};

/* Look a request up, or take a record of it.  PAST_NONE if there is no supervisor. */
enum past once_enter(struct request *rq);
/* It begins.  What is to be known of the time before is in once_prior(). */
void once_begin(struct request *rq);
/* Two numbers, or NULL if nothing is recorded. */
uint64_t *once_prior(struct request *rq);
/* It has happened, with a result of 0 or an error, and perhaps made an object; returns RESULT. */
int once_done(struct request *rq, int result, uint64_t id);
int once_result(const struct request *rq);
uint64_t once_id(const struct request *rq);
/* It is answered. */
void once_leave(struct request *rq);

/* In place of an EEXIST, for a request that may have happened: the object at NAME of PARENT if it is what the
 * request would have made, of type TYPE (S_IFMT bits).  -EEXIST if it is not. */
int once_found(struct request *rq, const char *name, uint32_t type, struct lam_entry *ret);

/* ---- A worker that goes on where another one ended ---- */

/* Before it serves: ask the kernel for what was not answered. */
int again_begin(struct fuse_front *front);
/* While it serves: end the orphans that nobody refers to any more.  Milliseconds until it is to be called
 * again. */
int again_sweep(struct fuse_front *front);
void again_free(struct fuse_front *front);
/* Whether the kernel has an inode of ID; asked of the kernel itself. */
bool again_kernel_has(struct fuse_front *front, uint64_t id);
/* Whether a file without a name was made with ID by a request that may not be answered yet. */
bool again_was_made(const struct fuse_front *front, uint64_t id);

#endif
