/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * OPEN, OPENDIR, RELEASE, RELEASEDIR, FLUSH.
 *
 * There is no state of open files, so there is nothing to do: OPEN and OPENDIR answer ENOSYS, after
 * which the kernel opens files without asking, keeps their caches and sends READ and WRITE by node
 * id.  When opens are answered after all, the handle is 0 and the caches are kept all the same.
 * (This is where an upper file could be handed to the kernel by a backing id.)
 */
#include "internal.h"

#include <errno.h>

static int answer_open(struct request *rq, uint32_t flags)
{
	struct fuse_open_out out = { .open_flags = flags };

	if (rq->front->proto.zero_open)
		return -ENOSYS;
	return reply_bytes(rq, &out, sizeof(out));
}

int op_open(struct request *rq)
{
	return answer_open(rq, FOPEN_KEEP_CACHE);
}

int op_opendir(struct request *rq)
{
	/* What may change without us may do so without a trace in the directory's time. */
	return answer_open(rq, rq->front->forever ? FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR : 0);
}

/* Files made by CREATE before the first OPEN was answered are released like others. */
int op_release(struct request *rq)
{
	(void)rq;
	return 0;
}

/* Errors of writing came with the WRITE, so close() has none to report. */
int op_flush(struct request *rq)
{
	(void)rq;
	return -ENOSYS;
}
