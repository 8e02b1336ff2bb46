/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What those who list directories want: names only, or the attributes of every file as well.
 *
 * The kernel always asks for both.  Attributes cost a look at each file here and an inode there, which
 * `find` and the shell's patterns never use; but an `ls -l` that does not get them asks for each file
 * by itself.  So what was listed lately is remembered, and what is asked for afterwards tells.
 */
#ifndef FUSE_WALK_H
#define FUSE_WALK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define WALK_REMEMBERED 64u

/* All zero at first.  Used by any number of threads without a lock: a lost update makes a guess worse,
 * nothing else. */
struct walk {
	/* Directories that were listed without attributes, by hash of their ids. */
	_Atomic uint64_t bare[WALK_REMEMBERED];
	_Atomic uint64_t probe; /* listed without attributes to see what happens; 0: none */
	atomic_uint quiet;	/* listings since the probe */
	atomic_uint interval, countdown; /* listings from one probe to the next */
	atomic_uint hits, listed;
	atomic_bool names_only;
};

/* Directory ID is listed, from its start or from where a listing stopped: whether to leave attributes
 * out. */
bool walk_list(struct walk *w, uint64_t id, bool start);
/* That listing had no file whose attributes could be left out: it tells nothing. */
void walk_nothing_left_out(struct walk *w, uint64_t id);
/* A file in directory ID was looked up by name. */
void walk_lookup(struct walk *w, uint64_t id);

#endif
