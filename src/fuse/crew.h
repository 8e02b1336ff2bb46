/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many of the threads on /dev/fuse take requests.
 *
 * One is best for one client: a second that waits is woken for requests that the first already has, and
 * the two take them from each other.  So the others are parked, and a watcher that looks every TICK_MS
 * calls one more when all that are out are busy most of the time, or when each is stuck in a request:
 * nobody waits longer for somebody else's copy-up than a few of its ticks.
 */
#ifndef FUSE_CREW_H
#define FUSE_CREW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CREW_MAX 64u

/* What the watcher sees of one thread. */
struct crew_member {
	_Atomic uint32_t turn; /* counts twice for a request: odd while one is served */
	uint32_t seen;	       /* the watcher's: turn at the last look */
	int call_fd;	       /* eventfd: it is called out */
} __attribute__((aligned(64)));

struct crew {
	unsigned n;	    /* members; 0: there is no crew, all take requests */
	atomic_uint limit;  /* those that exist */
	atomic_uint out;    /* members [0, out) take requests */
	int wake_fd;	    /* eventfd: the watcher has slept long enough */
	atomic_bool asleep; /* the watcher waits for wake_fd */
	/* The watcher's own. */
	unsigned looks, busy, full, idle;
	struct crew_member members[CREW_MAX];
};

/* A crew of N; 0 with N < 2: none. */
int crew_init(struct crew *c, unsigned n);
void crew_done(struct crew *c);
/* Only the first N members could be started. */
void crew_limit(struct crew *c, unsigned n);

/* Member I begins to serve a request, is done with it. */
void crew_begin(struct crew *c, unsigned i);
void crew_end(struct crew *c, unsigned i);

/* Whether member I is parked: to wait for its call_fd, and to look again. */
static inline bool crew_parked(struct crew *c, unsigned i)
{
	return c->n && i >= atomic_load_explicit(&c->out, memory_order_relaxed);
}

/* Whether one thread serves all. */
static inline bool crew_alone(struct crew *c)
{
	return c->n && atomic_load_explicit(&c->out, memory_order_relaxed) == 1;
}

/* One look of the watcher; true: nothing has happened for long, sleep until wake_fd. */
bool crew_look(struct crew *c);
/* The watcher: returns when QUIT_FD is readable. */
void crew_watch(struct crew *c, int quit_fd);

#endif
