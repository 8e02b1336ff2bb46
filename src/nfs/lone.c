/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Waiting for a lone client without sleeping.
 *
 * A worker that has answered a client that is alone and asks one thing at a time looks for its next request for
 * a moment before it sleeps (base/soon.h).  A client that takes longer than that is soon not waited for any
 * more.
 */
#include "internal.h"

#include "base/soon.h"

#define IN_A_ROW 32u  /* requests of one connection, with no other between them */
#define MISSES_MAX 3u /* times that nothing came */

void lone_init(struct lone *lone)
{
	*lone = (struct lone){ .possible = soon_possible() };
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

bool lone_await(struct lone *lone, int fd)
{
	if (soon_readable(fd)) {
		atomic_store_explicit(&lone->misses, 0, memory_order_relaxed);
		return true;
	}
	if (atomic_fetch_add_explicit(&lone->misses, 1, memory_order_relaxed) + 1 >= MISSES_MAX)
		lone_end(lone);
	return false;
}
