/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GETATTR, SETATTR, STATX: attributes. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

int op_getattr(struct request *rq)
{
	struct lam_attr attr;
	int r;

	r = lam_getattr(rq->front->stack, &rq->call, rq->head.nodeid, &attr);
	return r < 0 ? r : reply_attr(rq, &attr);
}

static const struct {
	uint32_t theirs;
	unsigned ours;
} valid_map[] = {
	{ FATTR_MODE, LAM_SET_MODE },	{ FATTR_UID, LAM_SET_UID },
	{ FATTR_GID, LAM_SET_GID },	{ FATTR_SIZE, LAM_SET_SIZE },
	{ FATTR_ATIME, LAM_SET_ATIME }, { FATTR_MTIME, LAM_SET_MTIME },
	{ FATTR_CTIME, LAM_SET_CTIME }, { FATTR_KILL_SUIDGID, LAM_SET_KILL_PRIV },
};

static unsigned map_valid(uint32_t theirs)
{
	unsigned ours = 0;

	for (size_t i = 0; i < sizeof(valid_map) / sizeof(valid_map[0]); i++) {
		if (theirs & valid_map[i].theirs)
			ours |= valid_map[i].ours;
	}
	/* The kernel sends *_NOW together with the plain flag; the engine wants one of the two. */
	if (theirs & FATTR_ATIME_NOW)
		ours = (ours & ~LAM_SET_ATIME) | LAM_SET_ATIME_NOW;
	if (theirs & FATTR_MTIME_NOW)
		ours = (ours & ~LAM_SET_MTIME) | LAM_SET_MTIME_NOW;
	/* chown(-1, -1) changes nothing but must clear set-uid bits: it comes as a request for nothing. */
	if (!(ours & ~(unsigned)LAM_SET_CTIME))
		ours |= LAM_SET_KILL_PRIV;
	return ours;
}

static bool good_nsec(uint32_t nsec)
{
	return nsec < 1000000000;
}

int op_setattr(struct request *rq)
{
	const struct fuse_setattr_in *in = rq->arg;
	struct lam_attr want, attr;
	int r;

	if (!good_nsec(in->atimensec) || !good_nsec(in->mtimensec) || !good_nsec(in->ctimensec) ||
	    in->size > INT64_MAX)
		return -EINVAL;
	want = (struct lam_attr){
		.size = in->size,
		.mode = in->mode,
		.uid = in->uid,
		.gid = in->gid,
		.atime = { .tv_sec = (time_t)in->atime, .tv_nsec = in->atimensec },
		.mtime = { .tv_sec = (time_t)in->mtime, .tv_nsec = in->mtimensec },
		.ctime = { .tv_sec = (time_t)in->ctime, .tv_nsec = in->ctimensec },
	};
	r = lam_setattr(rq->front->stack, &rq->call, rq->head.nodeid, map_valid(in->valid), &want,
			&attr);
	return r < 0 ? r : reply_attr(rq, &attr);
}

static struct fuse_sx_time sx_time(struct timespec t)
{
	return (struct fuse_sx_time){
		.tv_sec = t.tv_sec,
		.tv_nsec = (uint32_t)t.tv_nsec,
	};
}

/* The kernel asks by STATX when somebody wants the time of birth, which GETATTR has no room for. */
int op_statx(struct request *rq)
{
	struct fuse_statx_out out = {
		.attr_valid = rq->front->attr_ttl.sec,
		.attr_valid_nsec = rq->front->attr_ttl.nsec,
	};
	struct lam_attr attr;
	int r;

	r = lam_getattr(rq->front->stack, &rq->call, rq->head.nodeid, &attr);
	if (r < 0)
		return r;
	out.stat = (struct fuse_statx){
		.mask = STATX_BASIC_STATS | (attr.has_btime ? STATX_BTIME : 0),
		.blksize = attr.blksize,
		.attributes = attr.attributes,
		.attributes_mask = STATX_ATTR_APPEND | STATX_ATTR_IMMUTABLE,
		.nlink = attr.nlink,
		.uid = attr.uid,
		.gid = attr.gid,
		.mode = (uint16_t)attr.mode,
		.ino = attr.ino,
		.size = attr.size,
		.blocks = attr.blocks,
		.atime = sx_time(attr.atime),
		.btime = sx_time(attr.btime),
		.ctime = sx_time(attr.ctime),
		.mtime = sx_time(attr.mtime),
		.rdev_major = attr.rdev_major,
		.rdev_minor = attr.rdev_minor,
	};
	if (S_ISREG(attr.mode) && (attr.mode & (S_ISUID | S_ISGID)))
		holds_mark(rq->front->holds, rq->head.nodeid, HOLD_PRIV);
	return reply_bytes(rq, &out, sizeof(out));
}
