/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where objects were last seen, in memory that outlives a worker: so that the next one need not walk upper to
 * learn what a number leads to; and where the server may not open a file by its handle, it could not.
 *
 * A name here is a hint: it is looked up, and what is found must have the number.  The table is bounded; what
 * has no place in it is found as any id is, or without privilege is ESTALE.  Lock: RANK_FRONT, for all of it; nothing is looked up under it.
 */
#ifndef FUSE_NAMES_H
#define FUSE_NAMES_H

#include <lamina/lamina.h>
#include <stdbool.h>
#include <stdint.h>

struct fuse_front;
struct names;

/* The table of a front, made by its first worker, where it is needed.  0 also if it is not. */
int names_open(struct fuse_front *front);
void names_free(struct names *names);

/* ID was seen as NAME in PARENT, and the kernel did not refer to it before (FIRST): then nothing is noted of it yet,
 * and looking for that would take longer than the note.  Without effect where there is no table. */
void names_note(struct fuse_front *front, uint64_t id, uint64_t parent, const char *name,
		bool first);
/* The kernel has nothing of ID any more. */
void names_drop(struct fuse_front *front, uint64_t id);
/* Let the engine come to know ID, which another worker gave to the kernel. */
void names_prime(struct fuse_front *front, const struct lam_call *call, uint64_t id);

#endif
