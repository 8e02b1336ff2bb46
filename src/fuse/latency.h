/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How long operations take: two readings of the clock and two additions for each request.  Each serving
 * thread has counters of its own, which nobody else writes, so nothing is locked and no line of the
 * cache is shared.
 */
#ifndef FUSE_LATENCY_H
#define FUSE_LATENCY_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "front.h"

/* Of one kind of request: two lines of the cache. */
struct latency {
	_Atomic uint64_t total_ns;
	_Atomic uint64_t counts[FUSE_FRONT_BUCKETS];
};

/* What one thread counts.  Memory that is touched only for the kinds that come. */
struct latencies {
	struct latency of[FUSE_FRONT_OPS];
};

/* For N threads; NULL if memory is short.  Given back by latency_free(). */
struct latencies *latency_new(unsigned n);
void latency_free(struct latencies *all, unsigned n);
/* Add up kind OP of N threads. */
void latency_sum(const struct latencies *all, unsigned n, unsigned op,
		 struct fuse_front_latency *ret);

static inline uint64_t latency_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* fails only for unknown clocks */
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void latency_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* An operation of kind OP began at START and has just ended.  By the thread that owns MINE. */
static inline void latency_note(struct latencies *mine, unsigned op, uint64_t start)
{
	uint64_t ns = latency_now() - start, us = ns / FUSE_FRONT_BUCKET_NS;
	unsigned bucket = us ? 64u - (unsigned)__builtin_clzll(us) : 0;

	if (bucket >= FUSE_FRONT_BUCKETS)
		bucket = FUSE_FRONT_BUCKETS - 1;
	latency_add(&mine->of[op].total_ns, ns);
	latency_add(&mine->of[op].counts[bucket], 1);
}

#endif
