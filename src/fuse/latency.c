/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How long operations take: the memory of the counters, and their sums. */
#include "latency.h"

#include <stddef.h>
#include <sys/mman.h>

struct latencies *latency_new(unsigned n)
{
	void *all = mmap(NULL, n * sizeof(struct latencies), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return all == MAP_FAILED ? NULL : all;
}

void latency_free(struct latencies *all, unsigned n)
{
	if (all)
		(void)munmap(all, n * sizeof(*all)); /* it was mapped like that */
}

void latency_sum(const struct latencies *all, unsigned n, unsigned op,
		 struct fuse_front_latency *ret)
{
	*ret = (struct fuse_front_latency){ 0 };
	for (unsigned i = 0; i < n; i++) {
		const struct latency *l = &all[i].of[op];

		ret->total_ns += atomic_load_explicit(&l->total_ns, memory_order_relaxed);
		for (unsigned b = 0; b < FUSE_FRONT_BUCKETS; b++)
			ret->counts[b] += atomic_load_explicit(&l->counts[b], memory_order_relaxed);
	}
}
