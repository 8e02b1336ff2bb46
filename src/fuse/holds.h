/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which ids the kernel refers to, and how often: the lookup counts of the FUSE protocol.
 *
 * Every answer that names an object adds one, FORGET takes away.  The table is the only thing that
 * grows with the number of objects in use, so an entry has 16 bytes and tables shrink again.
 * Safe to use from any number of threads; takes only locks of its own, of rank RANK_LEAF.
 */
#ifndef FUSE_HOLDS_H
#define FUSE_HOLDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct holds;

/* Marks on an id that is held; they go with the last count. */
#define HOLD_PRIV 1u	 /* the kernel was last shown a set-uid or set-gid file */
#define HOLD_OWN_DATA 2u /* was written or made through this mount: no copy-up lies ahead */

/* NULL if memory is short. */
struct holds *holds_new(void);
void holds_free(struct holds *holds);

/* Count one more reference to ID and set MARKS on it.  1 if it is the first, else 0; -ENOMEM. */
int holds_add(struct holds *holds, uint64_t id, unsigned marks);

/* Take N references away (not more than there are); true if none is left. */
bool holds_drop(struct holds *holds, uint64_t id, uint64_t n);

bool holds_has(struct holds *holds, uint64_t id);
/* Set MARKS on an id; without effect if it is not held. */
void holds_mark(struct holds *holds, uint64_t id, unsigned marks);
/* Clear MARKS; returns those of them that were set. */
unsigned holds_unmark(struct holds *holds, uint64_t id, unsigned marks);
/* All marks of an id; 0 if it is not held. */
unsigned holds_marks(struct holds *holds, uint64_t id);

/* How many ids are held. */
uint64_t holds_count(struct holds *holds);

/* Empty the table, calling GONE for each id, with no lock held. */
void holds_clear(struct holds *holds, void (*gone)(void *ctx, uint64_t id), void *ctx);

#endif
