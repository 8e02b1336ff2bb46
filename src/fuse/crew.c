/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who takes requests, and the watcher who decides.  Only the watcher changes how many. */
#include "crew.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TICK_MS 2
#define PERIOD 8u      /* looks after which the number is thought over */
#define IDLE_LOOKS 32u /* without a request: then the watcher sleeps */

int crew_init(struct crew *c, unsigned n)
{
	n = n < CREW_MAX ? n : CREW_MAX;
	c->n = 0;
	if (n < 2)
		return 0;
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake_fd < 0)
		return -errno;
	atomic_store(&c->out, 1);
	for (; c->n < n; c->n++) {
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

		if (fd < 0) {
			int r = -errno;

			crew_done(c);
			return r;
		}
		c->members[c->n].call_fd = fd;
	}
	return 0;
}

void crew_done(struct crew *c)
{
	if (atomic_load(&c->out))
		(void)close(c->wake_fd);
	for (unsigned i = 0; i < c->n; i++)
		(void)close(c->members[i].call_fd);
	atomic_store(&c->out, 0);
	c->n = 0;
}

void crew_limit(struct crew *c, unsigned n)
{
	atomic_store(&c->limit, n < c->n ? n : c->n);
}

static void post(int fd)
{
	const uint64_t one = 1;
	ssize_t n = write(fd, &one, sizeof(one));

	(void)n; /* it can only fail because it is set to the brim */
}

/* Only its owner writes a member's turn: no locked instruction is needed. */
static void step(struct crew_member *m)
{
	atomic_store_explicit(&m->turn, atomic_load_explicit(&m->turn, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

void crew_begin(struct crew *c, unsigned i)
{
	if (!c->n)
		return;
	step(&c->members[i]);
	if (atomic_load_explicit(&c->asleep, memory_order_relaxed) &&
	    atomic_exchange(&c->asleep, false))
		post(c->wake_fd);
}

void crew_end(struct crew *c, unsigned i)
{
	if (c->n)
		step(&c->members[i]);
}

static void call_one(struct crew *c, unsigned out)
{
	atomic_store(&c->out, out + 1);
	post(c->members[out].call_fd);
}

/* Too many are those of whom on the average one had nothing to do, and some more. */
static void think_over(struct crew *c, unsigned out)
{
	if (c->full >= PERIOD - 1 && out < atomic_load(&c->limit))
		call_one(c, out);
	else if (out > 1 && 4 * c->busy < PERIOD * (4 * out - 3))
		atomic_store(&c->out, out - 1);
	c->looks = c->busy = c->full = 0;
}

bool crew_look(struct crew *c)
{
	unsigned out = atomic_load(&c->out), busy = 0, stuck = 0, moved = 0;

	for (unsigned i = 0; i < out; i++) {
		struct crew_member *m = &c->members[i];
		uint32_t turn = atomic_load_explicit(&m->turn, memory_order_relaxed);

		busy += turn & 1u;
		moved += turn != m->seen;
		stuck += (turn & 1u) && turn == m->seen;
		m->seen = turn;
	}
	c->idle = busy || moved ? 0 : c->idle + 1;
	if (stuck == out && out < atomic_load(&c->limit)) {
		call_one(c, out);
		c->looks = c->busy = c->full = 0;
		return false;
	}
	c->busy += busy;
	c->full += busy == out;
	if (++c->looks == PERIOD)
		think_over(c, out);
	return c->idle >= IDLE_LOOKS;
}

/* One who begins to serve after ASLEEP was set wakes the watcher; one who began before is seen. */
static bool may_sleep(struct crew *c)
{
	atomic_store(&c->asleep, true);
	if (crew_look(c))
		return true;
	atomic_store(&c->asleep, false);
	return false;
}

void crew_watch(struct crew *c, int quit_fd)
{
	struct pollfd p[2] = { { .fd = quit_fd, .events = POLLIN },
			       { .fd = c->wake_fd, .events = POLLIN } };
	bool sleep = false;

	for (;;) {
		uint64_t n;

		(void)poll(p, 2,
			   sleep ? -1 : TICK_MS); /* a signal, or too early: look all the same */
		if (p[0].revents)
			return;
		if (p[1].revents && read(c->wake_fd, &n, sizeof(n)) < 0)
			p[1].revents = 0; /* taken already */
		sleep = crew_look(c) && may_sleep(c);
	}
}
