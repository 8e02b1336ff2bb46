/* SPDX-License-Identifier: GPL-2.0-or-later */
/* READ, WRITE, FSYNC, FSYNCDIR, FALLOCATE, LSEEK, COPY_FILE_RANGE: the contents of files. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

int op_read(struct request *rq)
{
	const struct fuse_read_in *in = rq->arg;
	size_t size = in->size < rq->out_size ? in->size : rq->out_size;

	if (in->offset > INT64_MAX)
		return -EINVAL;
	return (int)lam_read(rq->front->stack, &rq->call, rq->head.nodeid, in->offset, rq->out,
			     size);
}

static unsigned write_flags(const struct request *rq, const struct fuse_write_in *in)
{
	unsigned flags = 0;

	if (in->write_flags & FUSE_WRITE_KILL_SUIDGID)
		flags |= LAM_WRITE_KILL_PRIV;
	/* Pages written back have their place; and with writeback caching it is the kernel that
	 * knows where the end of the file is. */
	if ((in->flags & O_APPEND) && !(in->write_flags & FUSE_WRITE_CACHE) &&
	    !(rq->front->proto.flags & FUSE_WRITEBACK_CACHE))
		flags |= LAM_WRITE_APPEND;
	return flags;
}

/* A file that only grows takes the same data twice.  The kernel has it locked until it is answered, so its
 * size tells whether the data is there. */
static bool appended_before(struct request *rq, const struct fuse_write_in *in)
{
	struct lam_attr attr;

	return rq->head.unique & FUSE_UNIQUE_RESEND && in->flags & O_APPEND &&
	       lam_getattr(rq->front->stack, &rq->call, rq->head.nodeid, &attr) == 0 &&
	       attr.attributes & STATX_ATTR_APPEND && attr.size >= in->offset + in->size;
}

int op_write(struct request *rq)
{
	const struct fuse_write_in *in = rq->arg;
	struct fuse_write_out out = { 0 };
	uint64_t id = rq->head.nodeid;
	ssize_t n;

	if (in->size > rq->data_len) {
		request_malformed(rq, "less data than announced");
		return -EIO;
	}
	if (in->offset > (uint64_t)INT64_MAX - in->size)
		return -EFBIG;
	n = appended_before(rq, in) ? (ssize_t)in->size
				    : lam_write(rq->front->stack, &rq->call, id, in->offset,
						rq->data, in->size, write_flags(rq, in));
	if (in->write_flags & FUSE_WRITE_KILL_SUIDGID)
		notify_priv_gone(rq->front, id);
	if (n < 0)
		return (int)n;
	CHECK((size_t)n <= in->size);
	holds_mark(rq->front->holds, id, HOLD_OWN_DATA);
	out.size = (uint32_t)n;
	return reply_bytes(rq, &out, sizeof(out));
}

int op_fsync(struct request *rq)
{
	const struct fuse_fsync_in *in = rq->arg;

	return lam_fsync(rq->front->stack, &rq->call, rq->head.nodeid,
			 in->fsync_flags & FUSE_FSYNC_FDATASYNC);
}

int op_fallocate(struct request *rq)
{
	const struct fuse_fallocate_in *in = rq->arg;
	int r;

	if (in->length == 0 || in->offset > (uint64_t)INT64_MAX ||
	    in->length > (uint64_t)INT64_MAX - in->offset)
		return -EINVAL;
	r = lam_fallocate(rq->front->stack, &rq->call, rq->head.nodeid, (int)in->mode, in->offset,
			  in->length);
	/* The request does not say whether bits go; whether there were any, we know. */
	notify_priv_gone(rq->front, rq->head.nodeid);
	/* A filesystem may have set the times before it refuses, and the kernel looks again only
	 * after a success. */
	if (r < 0)
		(void)notify_inval_inode(rq->front, rq->head.nodeid, -1, 0);
	return r;
}

/* True of every file, if not helpful: it is all data, and a hole begins at its end. */
static int64_t seek_blind(struct request *rq, uint64_t off, int whence)
{
	struct lam_attr attr;
	int r;

	r = lam_getattr(rq->front->stack, &rq->call, rq->head.nodeid, &attr);
	if (r < 0)
		return r;
	if (off >= attr.size)
		return -ENXIO;
	return whence == SEEK_DATA ? (int64_t)off : (int64_t)attr.size;
}

/*
 * SEEK_DATA, SEEK_HOLE.  Pages that are dirty through a mapping are not in the layer yet: asked
 * now, it would call them a hole, and a copying program would lose them.  So have them written back
 * first, which means to wait for WRITEs: never in a thread that has to serve them.
 */
int op_lseek(struct request *rq)
{
	const struct fuse_lseek_in *in = rq->arg;
	struct fuse_lseek_out out = { 0 };
	int whence = (int)in->whence;
	int64_t off;

	if ((whence != SEEK_DATA && whence != SEEK_HOLE) || in->offset > INT64_MAX)
		return -EINVAL;
	if (rq->late == LATE_MAY)
		return REQUEST_LATE;
	if (rq->late == LATE_NEVER ||
	    notify_inval_inode(rq->front, rq->head.nodeid,
			       (int64_t)(in->offset & ~UINT64_C(0xffff)), 0) < 0)
		off = seek_blind(rq, in->offset, whence);
	else
		off = lam_seek(rq->front->stack, &rq->call, rq->head.nodeid, in->offset, whence);
	if (off < 0)
		return (int)off;
	out.offset = (uint64_t)off;
	return reply_bytes(rq, &out, sizeof(out));
}

static ssize_t copy_range(struct request *rq)
{
	const struct fuse_copy_file_range_in *in = rq->arg;
	/* One request copies at most what fits the answer of the older form, whole pages. */
	size_t len = in->len < 0x7ffff000 ? (size_t)in->len : 0x7ffff000;
	ssize_t n;

	if (in->flags != 0 || in->off_in > (uint64_t)INT64_MAX - len ||
	    in->off_out > (uint64_t)INT64_MAX - len)
		return -EINVAL;
	n = lam_copy_range(rq->front->stack, &rq->call, rq->head.nodeid, in->off_in, in->nodeid_out,
			   in->off_out, len);
	notify_priv_gone(rq->front, in->nodeid_out);
	return n;
}

int op_copy_range(struct request *rq)
{
	struct fuse_write_out out = { 0 };
	ssize_t n = copy_range(rq);

	if (n < 0)
		return (int)n;
	out.size = (uint32_t)n;
	return reply_bytes(rq, &out, sizeof(out));
}

int op_copy_range_64(struct request *rq)
{
	struct fuse_copy_file_range_out out = { 0 };
	ssize_t n = copy_range(rq);

	if (n < 0)
		return (int)n;
	out.bytes_copied = (uint64_t)n;
	return reply_bytes(rq, &out, sizeof(out));
}
