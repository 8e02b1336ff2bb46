/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A front end without a mount over the double of the engine. */
#ifndef TESTS_FUSE_HARNESS_H
#define TESTS_FUSE_HARNESS_H

#include "tests/lib/lam_double.h"

#include "tests/lib/fuse_bare.h"

#define HARNESS_BODY BARE_PAYLOAD

struct harness {
	struct lam_stack stack;
	struct fuse_front front;
	int kernel; /* the other end of the device */
	struct request rq;
	/* As a thread has it: the message, and room for the answer that overlaps its end. */
	char *buf;
	size_t len; /* of the message being made */
};

static inline void harness_init(struct harness *h)
{
	*h = (struct harness){ .kernel = -1 };
	bare_init(&h->front, &h->stack, &h->kernel);
	h->buf = calloc(1, 2 * HARNESS_BODY);
	CHECK(h->buf);
}

static inline void harness_end(struct harness *h)
{
	bare_end(&h->front, h->kernel);
	free(h->buf);
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
