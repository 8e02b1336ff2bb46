/* SPDX-License-Identifier: GPL-2.0-or-later */
/* READDIR and READDIRPLUS: listings, with the entries' attributes where the kernel wants them. */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* A listing in the making. */
struct listing {
	struct request *rq;
	char *buf;
	size_t size, used;
	bool plus;
	bool full;     /* an entry did not fit */
	bool left_out; /* an entry has no attributes, though the kernel takes some */
};

static void put_dirent(char *to, const struct lam_dirent *d)
{
	struct fuse_dirent out = {
		.ino = d->ino,
		.off = d->cookie,
		.namelen = (uint32_t)d->name_len,
		.type = (d->type & S_IFMT) >> 12,
	};

	memcpy(to, &out, FUSE_NAME_OFFSET);
	memcpy(to + FUSE_NAME_OFFSET, d->name, d->name_len);
}

static bool take_entry(void *ctx, const struct lam_dirent *d)
{
	struct listing *l = ctx;
	size_t fixed = l->plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
	size_t len, padded;
	char *at = l->buf + l->used;

	if (d->name_len == 0 || d->name_len > LAM_NAME_MAX)
		return true; /* the kernel would refuse the listing as a whole */
	len = fixed + d->name_len;
	padded = FUSE_REC_ALIGN(len);
	if (padded > l->size - l->used) {
		l->full = true;
		return false;
	}
	if (l->plus) {
		/* Node id 0: only a name; the kernel will look it up when it wants to. */
		struct fuse_entry_out entry = { 0 };
		int r = d->entry ? reply_fill_entry(l->rq->front, d->entry, &entry, 0) : 0;

		if (r < 0)
			entry = (struct fuse_entry_out){ 0 };
		else if (d->entry)
			names_note(l->rq->front, d->entry->id, l->rq->head.nodeid, d->name, r > 0);
		l->left_out |= !d->entry && !S_ISDIR(d->type);
		memcpy(at, &entry, sizeof(entry));
		at += sizeof(entry);
	}
	put_dirent(at, d);
	memset(l->buf + l->used + len, 0, padded - len);
	l->used += padded;
	return true;
}

static int list(struct request *rq, bool plus)
{
	const struct fuse_read_in *in = rq->arg;
	struct listing l = {
		.rq = rq,
		.buf = rq->out,
		.size = in->size < rq->out_size ? in->size : rq->out_size,
		.plus = plus,
	};
	struct walk *walk = &rq->front->walk;
	uint64_t id = rq->head.nodeid;
	unsigned flags = plus ? LAM_LIST_PLUS : 0;
	int r;

	if (plus && walk_list(walk, id, in->offset == 0))
		flags |= LAM_LIST_SPARSE;
	r = lam_readdir(rq->front->stack, &rq->call, id, in->offset, flags, take_entry, &l);
	if (flags & LAM_LIST_SPARSE && !l.left_out && in->offset == 0)
		walk_nothing_left_out(walk, id);
	/* What is listed is counted: it has to arrive, and an error comes up again. */
	if (l.used > 0)
		return (int)l.used;
	if (r < 0)
		return r;
	return l.full ? -EINVAL : 0;
}

int op_readdir(struct request *rq)
{
	return list(rq, false);
}

int op_readdirplus(struct request *rq)
{
	return list(rq, true);
}

void op_readdirplus_undo(struct request *rq, size_t len)
{
	const char *p = rq->out;

	/* The listing is our own: it is walked as it was written. */
	for (size_t pos = 0; pos < len;) {
		struct fuse_direntplus d;

		memcpy(&d, p + pos, FUSE_NAME_OFFSET_DIRENTPLUS);
		front_forget(rq->front, d.entry_out.nodeid, 1);
		pos += FUSE_DIRENTPLUS_SIZE(&d);
	}
}
