/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SETXATTR, GETXATTR, LISTXATTR, REMOVEXATTR: extended attributes, and with them POSIX ACLs. */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#define XATTR_NAME_LEN_MAX 255u
#define XATTR_VALUE_MAX 65536u

/* ENOSYS makes the kernel ask no more. */
static bool is_off(const struct request *rq)
{
	return rq->front->no_xattr;
}

static bool is_acl(const char *name)
{
	return strncmp(name, "system.posix_acl_", 17) == 0;
}

static int attr_name(struct request *rq, const char **name)
{
	int r = request_string(rq, name);

	if (r < 0)
		return r;
	if (**name == '\0')
		return -EINVAL;
	return strlen(*name) > XATTR_NAME_LEN_MAX ? -ERANGE : 0;
}

static unsigned set_flags(const struct request *rq, const struct fuse_setxattr_in *in)
{
	unsigned flags = 0;

	if (in->flags & XATTR_CREATE)
		flags |= LAM_XATTR_CREATE;
	if (in->flags & XATTR_REPLACE)
		flags |= LAM_XATTR_REPLACE;
	/* Only the longer form of the argument has this field. */
	if ((rq->front->proto.flags & FUSE_SETXATTR_EXT) &&
	    (in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID))
		flags |= LAM_XATTR_KILL_SGID;
	return flags;
}

/* Whether the object has an attribute now: what to know before one is made or taken away. */
static bool has_attr(struct request *rq, const char *name)
{
	return lam_getxattr(rq->front->stack, &rq->call, rq->head.nodeid, name, NULL, 0) >= 0;
}

/* A change that fails when it is done for the second time. */
static enum past enter_attr(struct request *rq, const char *name)
{
	enum past past = once_enter(rq);
	uint64_t *prior = once_prior(rq);

	if (past == PAST_NONE && prior)
		prior[0] = has_attr(rq, name);
	if (past != PAST_DONE)
		once_begin(rq);
	return past;
}

static int set_attr(struct request *rq, const struct fuse_setxattr_in *in, const char *name)
{
	unsigned flags = set_flags(rq, in);
	enum past past = flags & LAM_XATTR_CREATE ? enter_attr(rq, name) : PAST_NONE;
	int r;

	if (past == PAST_DONE)
		return once_result(rq);
	if (past == PAST_BEGUN && !once_prior(rq)[0])
		flags &= ~LAM_XATTR_CREATE; /* what is there is ours */
	r = lam_setxattr(rq->front->stack, &rq->call, rq->head.nodeid, name, rq->data, in->size,
			 flags);
	return once_done(rq, r, 0);
}

int op_setxattr(struct request *rq)
{
	const struct fuse_setxattr_in *in = rq->arg;
	const char *name;
	bool acl;
	int r;

	if (is_off(rq))
		return -ENOSYS;
	r = attr_name(rq, &name);
	if (r < 0)
		return r;
	if (in->size > rq->data_len) {
		request_malformed(rq, "less of the value than announced");
		return -EIO;
	}
	if (in->size > XATTR_VALUE_MAX)
		return -E2BIG;
	acl = is_acl(name);
	r = set_attr(rq, in, name);
	/* An access ACL carries the mode with it, and set-gid may have gone. */
	if (r == 0 && acl)
		(void)notify_inval_inode(rq->front, rq->head.nodeid, -1, 0);
	return r;
}

/* Answer a length if none was given to fill, else the N bytes that were filled in. */
static int sized(struct request *rq, const struct fuse_getxattr_in *in, ssize_t n)
{
	struct fuse_getxattr_out out = { 0 };

	if (n > (ssize_t)rq->out_size)
		return -ERANGE;
	if (n < 0 || in->size > 0)
		return (int)n;
	out.size = (uint32_t)n;
	return reply_bytes(rq, &out, sizeof(out));
}

/* Room for a value: what the caller has, what fits, and nothing if only the length is asked. */
static size_t room(const struct request *rq, const struct fuse_getxattr_in *in)
{
	return in->size < rq->out_size ? in->size : rq->out_size;
}

int op_getxattr(struct request *rq)
{
	const struct fuse_getxattr_in in = *(const struct fuse_getxattr_in *)rq->arg;
	char copy[XATTR_NAME_LEN_MAX + 1];
	const char *name;
	int r;

	if (is_off(rq))
		return -ENOSYS;
	r = attr_name(rq, &name);
	if (r < 0)
		return r;
	/* The value may be written over the name. */
	memcpy(copy, name, strlen(name) + 1);
	if (rq->front->no_acl && is_acl(copy))
		return -EOPNOTSUPP;
	return sized(rq, &in,
		     lam_getxattr(rq->front->stack, &rq->call, rq->head.nodeid, copy,
				  in.size > 0 ? rq->out : NULL, room(rq, &in)));
}

int op_listxattr(struct request *rq)
{
	const struct fuse_getxattr_in *in = rq->arg;

	if (is_off(rq))
		return -ENOSYS;
	return sized(rq, in,
		     lam_listxattr(rq->front->stack, &rq->call, rq->head.nodeid,
				   in->size > 0 ? rq->out : NULL, room(rq, in)));
}

int op_removexattr(struct request *rq)
{
	enum past past;
	const char *name;
	bool acl;
	int r;

	if (is_off(rq))
		return -ENOSYS;
	r = attr_name(rq, &name);
	if (r < 0)
		return r;
	acl = is_acl(name);
	past = enter_attr(rq, name);
	if (past == PAST_DONE)
		return once_result(rq);
	r = lam_removexattr(rq->front->stack, &rq->call, rq->head.nodeid, name);
	if (r == -ENODATA && past == PAST_BEGUN && once_prior(rq)[0])
		r = 0;
	(void)once_done(rq, r, 0); /* R */
	if (r == 0 && acl)
		(void)notify_inval_inode(rq->front, rq->head.nodeid, -1, 0);
	return r;
}
