/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the engine's entries and attributes to the kernel's. */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"

/* Device numbers as the protocol packs them: 12 bits of major between the bits of minor. */
static uint32_t pack_rdev(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~UINT32_C(0xff)) << 12;
}

static void fill_attr(const struct lam_attr *from, struct fuse_attr *to)
{
	*to = (struct fuse_attr){
		.ino = from->ino,
		.size = from->size,
		.blocks = from->blocks,
		.atime = (uint64_t)from->atime.tv_sec,
		.mtime = (uint64_t)from->mtime.tv_sec,
		.ctime = (uint64_t)from->ctime.tv_sec,
		.atimensec = (uint32_t)from->atime.tv_nsec,
		.mtimensec = (uint32_t)from->mtime.tv_nsec,
		.ctimensec = (uint32_t)from->ctime.tv_nsec,
		.mode = from->mode,
		.nlink = from->nlink,
		.uid = from->uid,
		.gid = from->gid,
		.rdev = pack_rdev(from->rdev_major, from->rdev_minor),
		.blksize = from->blksize,
	};
}

static unsigned marks_of(const struct lam_attr *attr)
{
	return S_ISREG(attr->mode) && (attr->mode & (S_ISUID | S_ISGID)) ? HOLD_PRIV : 0;
}

int reply_fill_entry(struct fuse_front *front, const struct lam_entry *entry,
		     struct fuse_entry_out *to, unsigned marks)
{
	int first = 0;

	CHECK(entry->id != 0);
	/* The root is never forgotten, so it needs no count. */
	if (entry->id != LAM_ROOT_ID)
		first = holds_add(front->holds, entry->id, marks | marks_of(&entry->attr));
	if (first < 0)
		return first;
	*to = (struct fuse_entry_out){
		.nodeid = entry->id,
		.generation = entry->id == LAM_ROOT_ID ? 0 : entry->generation,
		.entry_valid = front->entry_ttl.sec,
		.entry_valid_nsec = front->entry_ttl.nsec,
		.attr_valid = front->attr_ttl.sec,
		.attr_valid_nsec = front->attr_ttl.nsec,
	};
	fill_attr(&entry->attr, &to->attr);
	return first;
}

int reply_bytes(struct request *rq, const void *body, size_t len)
{
	if (len > rq->out_size)
		return -EIO;
	memcpy(rq->out, body, len);
	return (int)len;
}

int reply_entry(struct request *rq, const struct lam_entry *entry, unsigned marks)
{
	struct fuse_entry_out out;
	int r;

	r = reply_fill_entry(rq->front, entry, &out, marks);
	if (r < 0)
		return r;
	rq->counted = entry->id;
	return reply_bytes(rq, &out, sizeof(out));
}

int reply_attr(struct request *rq, const struct lam_attr *attr)
{
	struct fuse_attr_out out = {
		.attr_valid = rq->front->attr_ttl.sec,
		.attr_valid_nsec = rq->front->attr_ttl.nsec,
	};

	if (marks_of(attr))
		holds_mark(rq->front->holds, rq->head.nodeid, HOLD_PRIV);
	fill_attr(attr, &out.attr);
	return reply_bytes(rq, &out, sizeof(out));
}
