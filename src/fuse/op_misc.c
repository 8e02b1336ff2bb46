/* SPDX-License-Identifier: GPL-2.0-or-later */
/* STATFS, SYNCFS, INTERRUPT, DESTROY, and what is not there. */
#include "internal.h"

#include <errno.h>

int op_statfs(struct request *rq)
{
	struct fuse_statfs_out out = { 0 };
	struct lam_statfs st;
	int r;

	r = lam_statfs(rq->front->stack, &st);
	if (r < 0)
		return r;
	out.st = (struct fuse_kstatfs){
		.blocks = st.blocks,
		.bfree = st.bfree,
		.bavail = st.bavail,
		.files = st.files,
		.ffree = st.ffree,
		.bsize = st.bsize,
		.namelen = st.namelen,
		.frsize = st.frsize,
	};
	return reply_bytes(rq, &out, sizeof(out));
}

int op_syncfs(struct request *rq)
{
	return lam_syncfs(rq->front->stack);
}

/* Set the flag of the thread that serves UNIQUE; false if none does. */
static bool cancel(struct fuse_front *front, uint64_t unique)
{
	bool found = false;

	for (unsigned i = 0; i < front->n_slots && !found; i++) {
		struct slot *slot = &front->slots[i];

		mutex_lock(&slot->lock);
		if (slot->unique == unique) {
			atomic_store_explicit(&slot->cancelled, true, memory_order_relaxed);
			found = true;
		}
		mutex_unlock(&slot->lock);
	}
	return found;
}

/*
 * Somebody waits for a request no longer.  It may be under way, finished (then nothing comes of
 * this), or read by a thread that has not begun it, or waiting for a late thread: for those the
 * number is left where each request looks when it begins.
 */
int op_interrupt(struct request *rq)
{
	const struct fuse_interrupt_in *in = rq->arg;
	struct fuse_front *front = rq->front;
	unsigned i;

	if (in->unique == 0)
		return 0;
	atomic_fetch_add_explicit(&rq->slot->interrupted, 1, memory_order_relaxed);
	if (cancel(front, in->unique))
		return 0;
	i = atomic_fetch_add_explicit(&front->early_next, 1, memory_order_relaxed) % EARLY_MAX;
	atomic_store_explicit(&front->early[i], in->unique, memory_order_relaxed);
	(void)cancel(front, in->unique); /* it may have begun between the two */
	return 0;
}

int op_destroy(struct request *rq)
{
	(void)rq;
	return 0;
}

/* The kernel does without: locks and polling stay with it, access is checked there. */
int op_unsupported(struct request *rq)
{
	(void)rq;
	return -ENOSYS;
}
