/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A front end without a mount, for tests: its device is one end of a socket pair that keeps
 * messages apart, the test holds the other.
 */
#ifndef TESTS_FUSE_HARNESS_H
#define TESTS_FUSE_HARNESS_H

#include "tests/lib/lam_double.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "fuse/internal.h"

#define HARNESS_BODY 65536u

struct harness {
	struct lam_stack stack;
	struct fuse_front front;
	int kernel; /* the other end of the device */
	struct request rq;
	/* As a thread has it: the message, and room for the answer that overlaps its end. */
	char *buf;
	size_t len; /* of the message being made */
};

#define HARNESS_SLOTS 4u

static inline void harness_init(struct harness *h)
{
	int sp[2];

	*h = (struct harness){ .kernel = -1 };
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sp) == 0);
	h->kernel = sp[1];
	h->front = (struct fuse_front){
		.stack = &h->stack,
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
			   .max_write = HARNESS_BODY,
			   .max_pages = 16,
			   .payload = HARNESS_BODY,
			   .zero_open = true },
		.n_dev = 1,
		.n_slots = HARNESS_SLOTS,
	};
	CHECK(h->front.holds && h->front.stop_fd >= 0 && h->front.quit_fd >= 0);
	h->front.slots = aligned_alloc(_Alignof(struct slot), HARNESS_SLOTS * sizeof(struct slot));
	CHECK(h->front.slots);
	memset(h->front.slots, 0, HARNESS_SLOTS * sizeof(struct slot));
	h->front.latencies = latency_new(HARNESS_SLOTS);
	CHECK(h->front.latencies);
	for (unsigned i = 0; i < HARNESS_SLOTS; i++) {
		mutex_init(&h->front.slots[i].lock, RANK_LEAF);
		h->front.slots[i].latencies = &h->front.latencies[i];
	}
	h->front.seekers = late_pool_new(&h->front.slots[2], 1);
	h->front.slow = late_pool_new(&h->front.slots[3], 1);
	CHECK(h->front.seekers && h->front.slow);
	h->buf = calloc(1, 2 * HARNESS_BODY);
	CHECK(h->buf);
}

static inline void harness_end(struct harness *h)
{
	holds_free(h->front.holds);
	late_pool_free(h->front.seekers);
	late_pool_free(h->front.slow);
	latency_free(h->front.latencies, HARNESS_SLOTS);
	free(h->front.slots);
	free(h->buf);
	(void)close(h->front.fd);
	(void)close(h->front.stop_fd);
	(void)close(h->front.quit_fd);
	(void)close(h->kernel);
}

/* Serve a message that lies in one piece; its answer may be written over all but its beginning. */
static inline int harness_serve(struct harness *h, const void *msg, size_t len, size_t out_size)
{
	int r;

	h->rq = (struct request){
		.front = &h->front,
		.slot = &h->front.slots[0],
		.out = h->buf + HARNESS_BODY,
		.out_size = out_size,
		.late = h->rq.late,
	};
	r = request_decode_flat(&h->rq, msg, len);
	if (r < 0)
		request_malformed(&h->rq, "its length");
	return r < 0 ? r : request_serve(&h->rq);
}

#endif
