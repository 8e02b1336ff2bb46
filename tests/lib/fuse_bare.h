/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A front end without a mount over any stack, for tests: its device is one end of a socket pair that
 * keeps messages apart, the test holds the other.
 */
#ifndef TESTS_FUSE_BARE_H
#define TESTS_FUSE_BARE_H

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "fuse/internal.h"

#define BARE_PAYLOAD 65536u
#define BARE_SLOTS 4u

/* *RET_KERNEL is the test's end.  The stack is borrowed, and does not know of the front. */
static inline void bare_init(struct fuse_front *front, struct lam_stack *stack, int *ret_kernel)
{
	int sp[2];

	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sp) == 0);
	*ret_kernel = sp[1];
	*front = (struct fuse_front){
		.stack = stack,
		.holds = holds_new(),
		.fd = sp[0],
		.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.owner = 1000,
		.entry_ttl = { .sec = 11, .nsec = 12 },
		.attr_ttl = { .sec = 13, .nsec = 14 },
		.negative_ttl = { .sec = 15, .nsec = 16 },
		.proto = { .minor = 45,
			   .flags = FUSE_SETXATTR_EXT,
			   .max_write = BARE_PAYLOAD,
			   .max_pages = 16,
			   .payload = BARE_PAYLOAD,
			   .zero_open = true },
		.n_dev = 1,
		.n_slots = BARE_SLOTS,
	};
	CHECK(front->holds && front->stop_fd >= 0 && front->quit_fd >= 0);
	front->slots = aligned_alloc(_Alignof(struct slot), BARE_SLOTS * sizeof(struct slot));
	CHECK(front->slots);
	memset(front->slots, 0, BARE_SLOTS * sizeof(struct slot));
	front->latencies = latency_new(BARE_SLOTS);
	CHECK(front->latencies);
	for (unsigned i = 0; i < BARE_SLOTS; i++) {
		mutex_init(&front->slots[i].lock, RANK_LEAF);
		front->slots[i].latencies = &front->latencies[i];
	}
	front->seekers = late_pool_new(&front->slots[2], 1);
	front->slow = late_pool_new(&front->slots[3], 1);
	CHECK(front->seekers && front->slow);
}

static inline void bare_end(struct fuse_front *front, int kernel)
{
	holds_free(front->holds);
	late_pool_free(front->seekers);
	late_pool_free(front->slow);
	latency_free(front->latencies, BARE_SLOTS);
	free(front->slots);
	(void)close(front->fd);
	(void)close(front->stop_fd);
	(void)close(front->quit_fd);
	(void)close(kernel);
}

#endif
