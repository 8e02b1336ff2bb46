/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * OPEN, OPENDIR, RELEASE, RELEASEDIR, FLUSH.
 *
 * There is no state of open files, so there is nothing to do: OPEN and OPENDIR answer ENOSYS, after
 * which the kernel opens files without asking, keeps their caches and sends READ and WRITE by node
 * id.  When opens are answered after all, the handle is 0 and the caches are kept all the same.
 * Passthrough needs answers to the opens of files and counts them: passthrough.c.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

static int answer_simply(struct request *rq, uint32_t flags)
{
	struct fuse_open_out out = { .open_flags = flags };

	if (rq->front->proto.zero_open)
		return -ENOSYS;
	return reply_bytes(rq, &out, sizeof(out));
}

int op_open(struct request *rq)
{
	const struct fuse_open_in *in = rq->arg;
	struct fuse_open_out out;
	int r;

	if (!rq->front->passthrough)
		return answer_simply(rq, FOPEN_KEEP_CACHE);
	(void)once_enter(rq); /* what is recorded is whether it is counted */
	r = passthrough_open(rq, rq->head.nodeid, in->flags, &out);
	return r < 0 ? r : reply_bytes(rq, &out, sizeof(out));
}

void op_open_undo(struct request *rq)
{
	size_t at = rq->head.opcode == FUSE_OPEN ? 0 : sizeof(struct fuse_entry_out);
	uint64_t id = rq->head.opcode == FUSE_OPEN ? rq->head.nodeid : rq->counted;
	struct fuse_open_out out;

	if (!rq->front->passthrough ||
	    (rq->head.opcode != FUSE_OPEN && rq->head.opcode != FUSE_CREATE &&
	     rq->head.opcode != FUSE_TMPFILE))
		return;
	memcpy(&out, (const char *)rq->out + at, sizeof(out));
	passthrough_release(rq, id, out.fh);
}

int op_opendir(struct request *rq)
{
	/* What may change without us may do so without a trace in the directory's time. */
	return answer_simply(rq, rq->front->forever ? FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR : 0);
}

/* Files made by CREATE before the first OPEN was answered are released like others. */
int op_release(struct request *rq)
{
	const struct fuse_release_in *in = rq->arg;

	if (!rq->front->passthrough)
		return 0;
	(void)once_enter(rq);
	if (!rq->intent || atomic_load(&rq->intent->count_phase) != INTENT_DONE)
		passthrough_release(rq, rq->head.nodeid, in->fh);
	return 0;
}

/* Errors of writing came with the WRITE, so close() has none to report. */
int op_flush(struct request *rq)
{
	(void)rq;
	return -ENOSYS;
}
