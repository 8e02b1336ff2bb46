/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names: MKNOD, MKDIR, SYMLINK, LINK, UNLINK, RMDIR, RENAME, RENAME2, CREATE, TMPFILE, READLINK.
 *
 * Modes come without the caller's umask applied, because a default ACL may take its place: both go
 * to the engine.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A name for something that is to be made. */
static int new_name(struct request *rq, const char **name)
{
	int r = request_name(rq, name);

	if (r < 0)
		return r;
	return strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0 ? -EEXIST : 0;
}

/* A name of something that is to go. */
static int old_name(struct request *rq, const char **name)
{
	int r = request_name(rq, name);

	if (r < 0)
		return r;
	return strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0 ? -EINVAL : 0;
}

static void set_umask(struct request *rq, uint32_t umask)
{
	rq->call.cred.umask = umask & 0777;
}

int op_mknod(struct request *rq)
{
	const struct fuse_mknod_in *in = rq->arg;
	uint32_t major = (in->rdev >> 8) & 0xfff;
	uint32_t minor = (in->rdev & 0xff) | ((in->rdev >> 12) & 0xfff00);
	struct lam_entry entry;
	const char *name;
	int r;

	r = new_name(rq, &name);
	if (r < 0)
		return r;
	set_umask(rq, in->umask);
	r = lam_mknod(rq->front->stack, &rq->call, rq->head.nodeid, name, in->mode, major, minor,
		      &entry);
	/* It may be an open() that makes a file where the kernel saw none, and is content with one that
	 * somebody else made: ESTALE makes the kernel look again and decide. */
	if (r == -EEXIST && S_ISREG(in->mode))
		r = -ESTALE;
	return r < 0 ? r : reply_entry(rq, &entry, HOLD_OWN_DATA);
}

int op_mkdir(struct request *rq)
{
	const struct fuse_mkdir_in *in = rq->arg;
	struct lam_entry entry;
	const char *name;
	int r;

	r = new_name(rq, &name);
	if (r < 0)
		return r;
	set_umask(rq, in->umask);
	r = lam_mkdir(rq->front->stack, &rq->call, rq->head.nodeid, name, in->mode, &entry);
	return r < 0 ? r : reply_entry(rq, &entry, HOLD_OWN_DATA);
}

int op_symlink(struct request *rq)
{
	struct lam_entry entry;
	const char *name, *target;
	int r;

	r = new_name(rq, &name);
	if (r < 0)
		return r;
	r = request_string(rq, &target);
	if (r < 0)
		return r;
	r = lam_symlink(rq->front->stack, &rq->call, rq->head.nodeid, name, target, &entry);
	return r < 0 ? r : reply_entry(rq, &entry, HOLD_OWN_DATA);
}

int op_link(struct request *rq)
{
	const struct fuse_link_in *in = rq->arg;
	struct lam_entry entry;
	const char *name;
	int r;

	r = new_name(rq, &name);
	if (r < 0)
		return r;
	r = lam_link(rq->front->stack, &rq->call, in->oldnodeid, rq->head.nodeid, name, &entry);
	return r < 0 ? r : reply_entry(rq, &entry, 0);
}

int op_unlink(struct request *rq)
{
	const char *name;
	int r;

	r = old_name(rq, &name);
	return r < 0 ? r : lam_unlink(rq->front->stack, &rq->call, rq->head.nodeid, name);
}

int op_rmdir(struct request *rq)
{
	const char *name;
	int r;

	r = old_name(rq, &name);
	return r < 0 ? r : lam_rmdir(rq->front->stack, &rq->call, rq->head.nodeid, name);
}

/* The kernel's cached listing of a directory holds the number of its parent, which has changed. */
static void parent_changed(struct request *rq, uint64_t parent, const char *name)
{
	struct lam_entry entry;

	if (lam_lookup(rq->front->stack, &rq->call, parent, name, &entry) == 0 &&
	    S_ISDIR(entry.attr.mode))
		(void)notify_inval_inode(rq->front, entry.id, 0, 0); /* at worst an old ".." */
}

static int rename_with(struct request *rq, uint64_t new_parent, unsigned flags)
{
	const char *name, *to;
	int r;

	r = old_name(rq, &name);
	if (r < 0)
		return r;
	r = old_name(rq, &to);
	if (r < 0)
		return r;
	r = lam_rename(rq->front->stack, &rq->call, rq->head.nodeid, name, new_parent, to, flags);
	if (r == 0 && new_parent != rq->head.nodeid) {
		parent_changed(rq, new_parent, to);
		if (flags & LAM_RENAME_EXCHANGE)
			parent_changed(rq, rq->head.nodeid, name);
	}
	return r;
}

int op_rename(struct request *rq)
{
	const struct fuse_rename_in *in = rq->arg;

	return rename_with(rq, in->newdir, 0);
}

int op_rename2(struct request *rq)
{
	const struct fuse_rename2_in *in = rq->arg;

	/* RENAME_WHITEOUT would show our whiteouts to users: refused, as by the kernel's overlayfs
	 * for what lies above it. */
	switch (in->flags) {
	case 0:
		return rename_with(rq, in->newdir, 0);
	case RENAME_NOREPLACE:
		return rename_with(rq, in->newdir, LAM_RENAME_NOREPLACE);
	case RENAME_EXCHANGE:
		return rename_with(rq, in->newdir, LAM_RENAME_EXCHANGE);
	default:
		return -EINVAL;
	}
}

/* Entry and open file in one answer.  There is no state of an open file: its handle is 0. */
static int reply_create(struct request *rq, const struct lam_entry *entry, unsigned marks,
			uint32_t flags)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = { .open = { .open_flags = FOPEN_KEEP_CACHE } };
	int r;

	r = reply_fill_entry(rq->front, entry, &out.entry, marks);
	if (r < 0)
		return r;
	rq->counted = entry->id;
	if (rq->front->passthrough)
		r = passthrough_open(rq, entry->id, flags, &out.open);
	if (r == 0)
		r = reply_bytes(rq, &out, sizeof(out));
	if (r < 0) {
		passthrough_release(rq->front, entry->id, out.open.fh);
		front_forget(rq->front, entry->id, 1);
		rq->counted = 0;
	}
	return r;
}

/* Somebody was faster than the caller, who would be content with any file of that name. */
static int open_existing(struct request *rq, const char *name, uint32_t flags)
{
	const struct lam_attr empty = { .size = 0 };
	struct lam_entry entry;
	int r;

	r = lam_lookup(rq->front->stack, &rq->call, rq->head.nodeid, name, &entry);
	if (r < 0)
		return r;
	if (!S_ISREG(entry.attr.mode))
		return -ESTALE; /* the kernel looks the name up again and follows it */
	if (flags & O_TRUNC) {
		r = lam_setattr(rq->front->stack, &rq->call, entry.id, LAM_SET_SIZE, &empty,
				&entry.attr);
		if (r < 0)
			return r;
	}
	return reply_create(rq, &entry, 0, flags);
}

int op_create(struct request *rq)
{
	const struct fuse_create_in *in = rq->arg;
	uint32_t flags = in->flags;
	struct lam_entry entry;
	const char *name;
	int r;

	/* From then on MKNOD comes, and an open that asks nothing: one with CREATE is released. */
	if (rq->front->proto.zero_open && !rq->front->passthrough)
		return -ENOSYS;
	r = new_name(rq, &name);
	if (r < 0)
		return r;
	set_umask(rq, in->umask);
	r = lam_mknod(rq->front->stack, &rq->call, rq->head.nodeid, name,
		      (in->mode & 07777) | S_IFREG, 0, 0, &entry);
	if (r == -EEXIST && !(flags & O_EXCL))
		return open_existing(rq, name, flags);
	return r < 0 ? r : reply_create(rq, &entry, HOLD_OWN_DATA, flags);
}

int op_tmpfile(struct request *rq)
{
	const struct fuse_create_in *in = rq->arg;
	struct lam_entry entry;
	int r;

	set_umask(rq, in->umask);
	r = lam_tmpfile(rq->front->stack, &rq->call, rq->head.nodeid, (in->mode & 07777) | S_IFREG,
			&entry);
	return r < 0 ? r : reply_create(rq, &entry, HOLD_OWN_DATA, in->flags);
}

int op_readlink(struct request *rq)
{
	/* The kernel keeps a target in one page and wants room for a NUL. */
	size_t size = rq->out_size < 4095 ? rq->out_size : 4095;

	return (int)lam_readlink(rq->front->stack, &rq->call, rq->head.nodeid, rq->out, size);
}
