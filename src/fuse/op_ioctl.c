/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IOCTL: inode flags (lsattr, chattr), project ids and generation numbers.
 *
 * The kernel sends the fixed-size argument along and takes back at most what was asked for.  The
 * 32-bit forms differ in their numbers alone: the values are ints in both.
 */
#include "internal.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>

/* The header of the answer, and the value after it. */
static int answer(struct request *rq, const void *value, size_t len)
{
	const struct fuse_ioctl_in *in = rq->arg;
	struct {
		struct fuse_ioctl_out out;
		char value[64];
	} body = { .out = { .result = 0 } };

	if (len > sizeof(body.value) || len > in->out_size)
		return -EINVAL;
	if (len > 0)
		memcpy(body.value, value, len);
	return reply_bytes(rq, &body, sizeof(body.out) + len);
}

/* Fetch LEN bytes of argument. */
static int fetch(struct request *rq, void *value, size_t len)
{
	const struct fuse_ioctl_in *in = rq->arg;

	if (in->in_size > rq->data_len) {
		request_malformed(rq, "less of the argument than announced");
		return -EIO;
	}
	if (in->in_size < len)
		return -EINVAL;
	memcpy(value, rq->data, len);
	return 0;
}

static int get_flags(struct request *rq)
{
	struct lam_fileattr attr;
	int r;

	r = lam_get_fileattr(rq->front->stack, &rq->call, rq->head.nodeid, &attr);
	return r < 0 ? r : answer(rq, &attr.flags, sizeof(attr.flags));
}

/* Whether a file may not be written any more afterwards. */
static bool guards(const struct lam_fileattr *attr)
{
	return attr->flags_valid ? attr->flags & (FS_APPEND_FL | FS_IMMUTABLE_FL)
				 : attr->xflags & (unsigned)(FS_XFLAG_APPEND | FS_XFLAG_IMMUTABLE);
}

/*
 * Pages that are dirty through a mapping have been written as far as their writer can tell, and would be
 * refused once the file is guarded.  So they are written back first, as by ext4 and xfs, which means to
 * wait for WRITEs: never in a thread that has to serve them.
 */
static int set_attr(struct request *rq, const struct lam_fileattr *attr)
{
	int r;

	if (guards(attr) && rq->late == LATE_MAY)
		return REQUEST_LATE;
	if (guards(attr) && rq->late == LATE_IS)
		(void)notify_inval_inode(rq->front, rq->head.nodeid, 0, 0); /* it was logged */
	r = lam_set_fileattr(rq->front->stack, &rq->call, rq->head.nodeid, attr);
	/* The change time moved, which the kernel does not think of; when only a part of it was
	 * refused, too. */
	(void)notify_inval_inode(rq->front, rq->head.nodeid, -1, 0);
	return r < 0 ? r : answer(rq, NULL, 0);
}

static int set_flags(struct request *rq)
{
	struct lam_fileattr attr = { .flags_valid = true };
	int r;

	r = fetch(rq, &attr.flags, sizeof(attr.flags));
	return r < 0 ? r : set_attr(rq, &attr);
}

static int get_xattr(struct request *rq)
{
	struct lam_fileattr attr;
	struct fsxattr out = { 0 };
	int r;

	r = lam_get_fileattr(rq->front->stack, &rq->call, rq->head.nodeid, &attr);
	if (r < 0)
		return r;
	out.fsx_xflags = attr.xflags;
	out.fsx_extsize = attr.extsize;
	out.fsx_nextents = attr.nextents;
	out.fsx_projid = attr.projid;
	out.fsx_cowextsize = attr.cowextsize;
	return answer(rq, &out, sizeof(out));
}

static int set_xattr(struct request *rq)
{
	struct lam_fileattr attr = { .flags_valid = false };
	struct fsxattr in;
	int r;

	r = fetch(rq, &in, sizeof(in));
	if (r < 0)
		return r;
	attr.xflags = in.fsx_xflags;
	attr.extsize = in.fsx_extsize;
	attr.projid = in.fsx_projid;
	attr.cowextsize = in.fsx_cowextsize;
	return set_attr(rq, &attr);
}

static int get_version(struct request *rq)
{
	uint32_t version;
	int r;

	r = lam_get_version(rq->front->stack, &rq->call, rq->head.nodeid, &version);
	return r < 0 ? r : answer(rq, &version, sizeof(version));
}

int op_ioctl(struct request *rq)
{
	const struct fuse_ioctl_in *in = rq->arg;

	switch (in->cmd) {
	case FS_IOC_GETFLAGS:
	case FS_IOC32_GETFLAGS:
		return get_flags(rq);
	case FS_IOC_SETFLAGS:
	case FS_IOC32_SETFLAGS:
		return set_flags(rq);
	case FS_IOC_FSGETXATTR:
		return get_xattr(rq);
	case FS_IOC_FSSETXATTR:
		return set_xattr(rq);
	case FS_IOC_GETVERSION:
	case FS_IOC32_GETVERSION:
		return get_version(rq);
	default:
		return -ENOTTY;
	}
}
