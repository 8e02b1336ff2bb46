/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "soon.h"

#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <time.h>

#define SOON_NS 50000

static int64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* this clock is always there */
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

bool soon_possible(void)
{
	cpu_set_t set;

	/* More CPUs than the set has room for are more than one. */
	return sched_getaffinity(0, sizeof(set), &set) < 0 || CPU_COUNT(&set) > 1;
}

bool soon_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	const int64_t end = now_ns() + SOON_NS;

	do {
		if (poll(&p, 1, 0) > 0)
			return true;
	} while (now_ns() < end);
	return false;
}
