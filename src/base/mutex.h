/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A small mutex (8 bytes) with a rank, and a condition to go with it.
 *
 * A thread takes mutexes only in rising order of rank; two of the same rank only through
 * mutex_lock_second(), whose caller has an order of its own.  Builds with LAMINA_LOCK_RANKS check
 * that and stop the process where it is broken.  Futexes, not pthread: a node has one each.
 */
#ifndef BASE_MUTEX_H
#define BASE_MUTEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Lower ranks are taken first.  docs/design/locking.md says what each protects. */
enum mutex_rank {
	RANK_FRONT = 1, /* a front end's own tables */
	RANK_RENAME,	/* one per stack: moving between directories */
	RANK_BEHIND,	/* one per file that is copied up behind its writer */
	RANK_DIR,	/* one per directory node */
	RANK_NAMES,	/* the names of one file, wherever they are */
	RANK_ORPHANS,	/* which orphans there are, and their nodes */
	RANK_NODE,	/* one per node: attributes, copy-up publishing */
	RANK_MAP,	/* what upper holds, by number */
	RANK_WORK,	/* shared whiteout, temp names */
	RANK_TABLE,	/* node table shards */
	RANK_RDIR,	/* real directories */
	RANK_FDCACHE,
	RANK_LISTINGS, /* LRU of merged listings */
	RANK_LEAF,     /* anything that takes nothing else */
};

struct mutex {
	_Atomic uint32_t word; /* 0 free, 1 held, 2 held and waited for */
	uint32_t rank;
};

#define MUTEX_INIT(r)  \
	{              \
		0, (r) \
	}

void mutex_init(struct mutex *m, enum mutex_rank rank);
void mutex_lock(struct mutex *m);
void mutex_lock_second(struct mutex *m);
bool mutex_trylock(struct mutex *m);
void mutex_unlock(struct mutex *m);
/* Whether somebody holds it; for assertions only. */
bool mutex_is_locked(const struct mutex *m);

struct cond {
	_Atomic uint32_t seq;
};

/* Unlock M, wait for a broadcast (or nothing: callers loop), lock M again. */
void cond_wait(struct cond *c, struct mutex *m);
/* The same, for at most TIMEOUT_MS milliseconds. */
void cond_wait_for(struct cond *c, struct mutex *m, unsigned timeout_ms);
void cond_broadcast(struct cond *c);

static inline void mutex_unlockp(struct mutex **m)
{
	if (*m)
		mutex_unlock(*m);
}
/* struct mutex *guard MUTEX_GUARD = mutex_guard(&m); unlocks at the end of the scope. */
#define MUTEX_GUARD __attribute__((cleanup(mutex_unlockp), unused))
static inline struct mutex *mutex_guard(struct mutex *m)
{
	mutex_lock(m);
	return m;
}

#endif
