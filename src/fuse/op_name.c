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

/* Something with a name that is to be made, once. */
struct making {
	const char *name;
	uint32_t type;	    /* S_IFMT bits */
	const char *target; /* of a symlink */
	uint32_t mode, major, minor;
	uint64_t old_id; /* of a link */
};

static int make(struct request *rq, const struct making *m, struct lam_entry *ret)
{
	struct lam_stack *s = rq->front->stack;
	uint64_t parent = rq->head.nodeid;

	if (m->old_id)
		return lam_link(s, &rq->call, m->old_id, parent, m->name, ret);
	switch (m->type) {
	case S_IFDIR:
		return lam_mkdir(s, &rq->call, parent, m->name, m->mode, ret);
	case S_IFLNK:
		return lam_symlink(s, &rq->call, parent, m->name, m->target, ret);
	default:
		return lam_mknod(s, &rq->call, parent, m->name, m->mode, m->major, m->minor, ret);
	}
}

/* The request may have happened, and there is something of that name: is it what was to be made?  The kernel
 * keeps the directory locked until it is answered, so nobody else has come through there. */
static int made_before(struct request *rq, const struct making *m, struct lam_entry *ret)
{
	struct lam_entry entry;
	int r;

	if (m->old_id) {
		r = lam_lookup(rq->front->stack, &rq->call, rq->head.nodeid, m->name, &entry);
		if (r == 0 && entry.id != m->old_id)
			r = -EEXIST;
	} else {
		r = once_found(rq, m->name, m->type, &entry);
	}
	if (r == 0)
		*ret = entry;
	return r;
}

static int make_once(struct request *rq, const struct making *m, struct lam_entry *ret)
{
	enum past past = once_enter(rq);
	int r;

	if (past == PAST_DONE && once_result(rq) < 0)
		return once_result(rq);
	if (past == PAST_DONE) {
		r = made_before(rq, m, ret);
		if (r != -ENOENT)
			return r;
	}
	once_begin(rq);
	r = make(rq, m, ret);
	if (r == -EEXIST && past == PAST_BEGUN)
		r = made_before(rq, m, ret);
	if (r == 0)
		names_note(rq->front, ret->id, rq->head.nodeid, m->name, false);
	return once_done(rq, r, r == 0 ? ret->id : 0);
}

static int make_and_reply(struct request *rq, const struct making *m)
{
	struct lam_entry entry;
	int r = make_once(rq, m, &entry);

	return r < 0 ? r : reply_entry(rq, &entry, m->old_id ? 0 : HOLD_OWN_DATA);
}

int op_mknod(struct request *rq)
{
	const struct fuse_mknod_in *in = rq->arg;
	struct making m = {
		.type = in->mode & S_IFMT ? in->mode & S_IFMT : S_IFREG,
		.mode = in->mode,
		.major = (in->rdev >> 8) & 0xfff,
		.minor = (in->rdev & 0xff) | ((in->rdev >> 12) & 0xfff00),
	};
	struct lam_entry entry;
	int r;

	r = new_name(rq, &m.name);
	if (r < 0)
		return r;
	/* These have requests of their own, with what they need beside a mode. */
	if (m.type == S_IFDIR || m.type == S_IFLNK)
		return -EINVAL;
	set_umask(rq, in->umask);
	r = make_once(rq, &m, &entry);
	/* It may be an open() that makes a file where the kernel saw none, and is content with one that
	 * somebody else made: ESTALE makes the kernel look again and decide. */
	if (r == -EEXIST && S_ISREG(in->mode))
		r = -ESTALE;
	return r < 0 ? r : reply_entry(rq, &entry, HOLD_OWN_DATA);
}

int op_mkdir(struct request *rq)
{
	const struct fuse_mkdir_in *in = rq->arg;
	struct making m = { .type = S_IFDIR, .mode = in->mode };
	int r;

	r = new_name(rq, &m.name);
	if (r < 0)
		return r;
	set_umask(rq, in->umask);
	return make_and_reply(rq, &m);
}

int op_symlink(struct request *rq)
{
	struct making m = { .type = S_IFLNK };
	int r;

	r = new_name(rq, &m.name);
	if (r == 0)
		r = request_string(rq, &m.target);
	return r < 0 ? r : make_and_reply(rq, &m);
}

int op_link(struct request *rq)
{
	const struct fuse_link_in *in = rq->arg;
	struct making m = { .old_id = in->oldnodeid };
	int r;

	if (m.old_id == 0)
		return -ESTALE;
	r = new_name(rq, &m.name);
	return r < 0 ? r : make_and_reply(rq, &m);
}

static int remove_once(struct request *rq, bool dir)
{
	enum past past;
	const char *name;
	int r;

	r = old_name(rq, &name);
	if (r < 0)
		return r;
	past = once_enter(rq);
	if (past == PAST_DONE)
		return once_result(rq);
	once_begin(rq);
	r = dir ? lam_rmdir(rq->front->stack, &rq->call, rq->head.nodeid, name)
		: lam_unlink(rq->front->stack, &rq->call, rq->head.nodeid, name);
	if (r == -ENOENT && past == PAST_BEGUN)
		r = 0;
	return once_done(rq, r, 0);
}

int op_unlink(struct request *rq)
{
	return remove_once(rq, false);
}

int op_rmdir(struct request *rq)
{
	return remove_once(rq, true);
}

/* The kernel's cached listing of a directory holds the number of its parent, which has changed. */
static void parent_changed(struct request *rq, uint64_t parent, const char *name)
{
	struct lam_entry entry;

	if (lam_lookup(rq->front->stack, &rq->call, parent, name, &entry) == 0 &&
	    S_ISDIR(entry.attr.mode))
		(void)notify_inval_inode(rq->front, entry.id, 0, 0); /* at worst an old ".." */
}

/* An exchange done twice is undone: what stood where tells whether it has happened. */
static int exchange_prior(struct request *rq, uint64_t new_parent, const char *name, const char *to)
{
	uint64_t *prior = once_prior(rq);
	struct lam_entry a, b;
	int r;

	if (!prior)
		return 0;
	r = lam_lookup(rq->front->stack, &rq->call, rq->head.nodeid, name, &a);
	if (r == 0)
		r = lam_lookup(rq->front->stack, &rq->call, new_parent, to, &b);
	if (r < 0)
		return r;
	prior[0] = a.id;
	prior[1] = b.id;
	return 0;
}

static bool exchanged(struct request *rq, uint64_t new_parent, const char *name, const char *to)
{
	const uint64_t *prior = once_prior(rq);
	struct lam_entry a, b;

	return lam_lookup(rq->front->stack, &rq->call, rq->head.nodeid, name, &a) == 0 &&
	       lam_lookup(rq->front->stack, &rq->call, new_parent, to, &b) == 0 &&
	       a.id == prior[1] && b.id == prior[0];
}

static int rename_once(struct request *rq, uint64_t new_parent, const char *name, const char *to,
		       unsigned flags)
{
	enum past past = once_enter(rq);
	bool exchange = flags & LAM_RENAME_EXCHANGE;
	int r = 0;

	if (past == PAST_DONE)
		return once_result(rq);
	if (past == PAST_BEGUN && exchange && exchanged(rq, new_parent, name, to))
		return once_done(rq, 0, 0);
	if (past == PAST_NONE && exchange)
		r = exchange_prior(rq, new_parent, name, to);
	if (r < 0)
		return r;
	once_begin(rq);
	r = lam_rename(rq->front->stack, &rq->call, rq->head.nodeid, name, new_parent, to, flags);
	/* The kernel has both directories locked: the source was there, and nobody else has moved it. */
	if (r == -ENOENT && past == PAST_BEGUN && !exchange)
		r = 0;
	return once_done(rq, r, 0);
}

/* Where what was moved is now. */
static void note_moved(struct request *rq, uint64_t parent, const char *name)
{
	struct lam_entry entry;

	if (rq->front->names && lam_lookup(rq->front->stack, &rq->call, parent, name, &entry) == 0)
		names_note(rq->front, entry.id, parent, name, false);
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
	r = rename_once(rq, new_parent, name, to, flags);
	if (r == 0)
		note_moved(rq, new_parent, to);
	if (r == 0 && flags & LAM_RENAME_EXCHANGE)
		note_moved(rq, rq->head.nodeid, name);
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
	r = rq->front->passthrough ? passthrough_open(rq, entry->id, flags, &out.open) : 0;
	if (r == 0)
		r = reply_bytes(rq, &out, sizeof(out));
	if (r < 0) {
		passthrough_release(rq, entry->id, out.open.fh);
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
	struct making m = { .type = S_IFREG, .mode = (in->mode & 07777) | S_IFREG };
	uint32_t flags = in->flags;
	struct lam_entry entry;
	int r;

	/* From then on MKNOD comes, and an open that asks nothing: one with CREATE is released. */
	if (rq->front->proto.zero_open && !rq->front->passthrough)
		return -ENOSYS;
	r = new_name(rq, &m.name);
	if (r < 0)
		return r;
	set_umask(rq, in->umask);
	r = make_once(rq, &m, &entry);
	if (r == -EEXIST && !(flags & O_EXCL))
		return open_existing(rq, m.name, flags);
	return r < 0 ? r : reply_create(rq, &entry, HOLD_OWN_DATA, flags);
}

/* The file that was made before, if it is there still: it is known by its number only. */
static bool tmpfile_made(struct request *rq, struct lam_entry *ret)
{
	const uint64_t *prior = once_prior(rq);

	return lam_resolve(rq->front->stack, &rq->call, once_id(rq), ret) == 0 &&
	       S_ISREG(ret->attr.mode) && ret->attr.nlink == 0 && ret->generation == prior[0];
}

static int tmpfile_once(struct request *rq, uint32_t mode, struct lam_entry *ret)
{
	struct lam_entry entry;
	uint64_t *prior;
	int r;

	if (once_enter(rq) == PAST_DONE) {
		if (once_result(rq) < 0)
			return once_result(rq);
		if (tmpfile_made(rq, &entry)) {
			*ret = entry;
			return 0;
		}
	}
	once_begin(rq);
	prior = once_prior(rq);
	if (rq->front->successor) /* see front_forget() */
		mutex_lock(&rq->front->making);
	r = lam_tmpfile(rq->front->stack, &rq->call, rq->head.nodeid, (mode & 07777) | S_IFREG,
			ret);
	if (r == 0 && prior)
		prior[0] = ret->generation;
	(void)once_done(rq, r, r == 0 ? ret->id : 0);
	if (rq->front->successor)
		mutex_unlock(&rq->front->making);
	return r;
}

int op_tmpfile(struct request *rq)
{
	const struct fuse_create_in *in = rq->arg;
	struct lam_entry entry;
	int r;

	set_umask(rq, in->umask);
	r = tmpfile_once(rq, in->mode, &entry);
	if (r < 0)
		return r;
	r = reply_create(rq, &entry, HOLD_OWN_DATA, in->flags);
	/* Without a name and not known to the kernel, it is nobody's. */
	if (r < 0)
		front_gone(rq->front, entry.id);
	return r;
}

int op_readlink(struct request *rq)
{
	/* The kernel keeps a target in one page and wants room for a NUL. */
	size_t size = rq->out_size < 4095 ? rq->out_size : 4095;

	return (int)lam_readlink(rq->front->stack, &rq->call, rq->head.nodeid, rq->out, size);
}
