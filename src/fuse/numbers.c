/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Numbers that change.  Without an index a lower hard link is broken when it is copied up: its name is a
 * file of its own from then on, with a number of its own.  Nothing else about its directory changes, so the
 * kernel would go on to list the number of before.
 */
#include "internal.h"

/* The object that a request may copy up; 0: none that could get another number. */
static uint64_t changes(const struct request *rq)
{
	switch (rq->head.opcode) {
	case FUSE_SETATTR:
	case FUSE_SETXATTR:
	case FUSE_REMOVEXATTR:
	case FUSE_IOCTL:
	case FUSE_WRITE:
	case FUSE_FALLOCATE:
		return rq->head.nodeid;
	case FUSE_LINK:
		return ((const struct fuse_link_in *)rq->arg)->oldnodeid;
	case FUSE_COPY_FILE_RANGE:
	case FUSE_COPY_FILE_RANGE_64:
		return ((const struct fuse_copy_file_range_in *)rq->arg)->nodeid_out;
	default:
		return 0;
	}
}

uint64_t numbers_before(struct request *rq)
{
	const uint64_t id = changes(rq);
	struct lam_attr attr;

	if (!id || holds_marks(rq->front->holds, id) & HOLD_OWN_DATA ||
	    lam_getattr(rq->front->stack, &rq->call, id, &attr) < 0)
		return 0;
	return attr.ino;
}

void numbers_after(struct request *rq, uint64_t before)
{
	const uint64_t id = changes(rq);
	struct lam_entry parent;
	struct lam_attr attr;

	if (lam_getattr(rq->front->stack, &rq->call, id, &attr) < 0 || attr.ino == before)
		return;
	if (lam_parent(rq->front->stack, &rq->call, id, &parent) == 0)
		(void)notify_inval_inode(rq->front, parent.id, 0, 0); /* at worst an old number */
}
