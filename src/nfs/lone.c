/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Waiting for a lone client without sleeping.
 *
 * A client that is alone and asks one thing at a time sleeps while it is served, and the server
 * while the client works: each request wakes both, on CPUs that idle, and those two wake-ups take longer than
 * many a request.  So a worker that has answered such a client looks for its next request for a
 * moment before it sleeps.  A client that takes longer than that is soon not waited for any more.
 */
#include "internal.h"

#include <poll.h>
#include <sched.h>
#include <time.h>

#define IN_A_ROW 32u  /* requests of one connection, with no other between them */
#define MISSES_MAX 3u /* times that nothing came */
#define LOOK_NS 50000 /* nanoseconds */

void lone_init(struct lone *lone)
{
	cpu_set_t set;

	*lone = (struct lone){ 0 };
	/* On one CPU the client cannot work while it is waited for. */
	lone->possible = sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 1;
}

/* The fields are not changed together: what that can do is a look too many or too few. */
void lone_note(struct lone *lone, uint64_t token)
{
	if (!lone->possible)
		return;
	if (atomic_load_explicit(&lone->token, memory_order_relaxed) == token) {
		atomic_fetch_add_explicit(&lone->count, 1, memory_order_relaxed);
		return;
	}
	atomic_store_explicit(&lone->token, token, memory_order_relaxed);
	lone_end(lone);
}

void lone_end(struct lone *lone)
{
	atomic_store_explicit(&lone->count, 0, memory_order_relaxed);
	atomic_store_explicit(&lone->misses, 0, memory_order_relaxed);
}

bool lone_is(const struct lone *lone, uint64_t token)
{
	return atomic_load_explicit(&lone->count, memory_order_relaxed) >= IN_A_ROW &&
	       atomic_load_explicit(&lone->token, memory_order_relaxed) == token;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* this clock is always there */
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

bool lone_await(struct lone *lone, int fd)
{
	const int64_t begin = now_ns();

	while (now_ns() - begin < LOOK_NS) {
		if (socket_await(fd, POLLIN, 0)) {
			atomic_store_explicit(&lone->misses, 0, memory_order_relaxed);
			return true;
		}
	}
	if (atomic_fetch_add_explicit(&lone->misses, 1, memory_order_relaxed) + 1 >= MISSES_MAX)
		lone_end(lone);
	return false;
}
