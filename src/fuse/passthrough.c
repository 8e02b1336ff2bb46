/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Passthrough: the answer to an OPEN names a registered real file, and the kernel reads, writes and
 * maps that without asking.
 *
 * What the kernel demands of the opens of one object that exist at one time, and answers with EIO
 * otherwise: all go through the same backing id, or none goes through one.  So there is one id for
 * an object, made with the first open and dropped after the last, and an object that is open
 * without one is opened without one again.
 *
 * What we demand.  A backing id carries no mode: the kernel opens the real file anew with the flags
 * of each caller, so an id of a lower file would let a writer into a lower layer.  Files of upper
 * may always go through; lower files only where nothing can be written, and never for an open that
 * writes.  A file that is later copied up must not have an id of its lower file: on a writable
 * mount lower files are opened cached, as without passthrough.
 *
 * The handle in the answer tells RELEASE which kind it was.  Lock: RANK_FRONT, for the table; no I/O
 * is done under it, an object that is being opened is marked as busy.
 */
#include "passthrough.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/log.h"
#include "internal.h"

#define BUCKETS 1024u

enum { HANDLE_NONE, HANDLE_CACHED, HANDLE_THROUGH };

/* An object that is open. */
struct opened {
	SLIST_ENTRY(opened) next;
	uint64_t id;
	int32_t backing; /* 0: none */
	bool lower;	 /* BACKING is of a lower file */
	bool busy;	 /* a thread decides about it */
	unsigned waiting;
	uint64_t cached, through; /* how many opens of each kind */
};

struct passthrough {
	struct mutex lock; /* protects all of it */
	struct cond decided;
	SLIST_HEAD(, opened) buckets[BUCKETS];
};

struct passthrough *passthrough_new(void)
{
	struct passthrough *p = calloc(1, sizeof(*p));

	if (p)
		mutex_init(&p->lock, RANK_FRONT);
	return p;
}

void passthrough_free(struct passthrough *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < BUCKETS; i++) {
		struct opened *o;

		while ((o = SLIST_FIRST(&p->buckets[i]))) {
			SLIST_REMOVE_HEAD(&p->buckets[i], next);
			free(o);
		}
	}
	free(p);
}

static int32_t backing_open(int fuse_fd, int fd)
{
	struct fuse_backing_map map = { .fd = fd };
	int r = ioctl(fuse_fd, FUSE_DEV_IOC_BACKING_OPEN, &map);

	return r < 0 ? -errno : r;
}

static void backing_close(int fuse_fd, int32_t id)
{
	uint32_t arg = (uint32_t)id;

	/* It can only fail where the connection is gone, and the id with it. */
	(void)ioctl(fuse_fd, FUSE_DEV_IOC_BACKING_CLOSE, &arg);
}

int passthrough_probe(int fuse_fd)
{
	int fd CLEANUP_CLOSE = memfd_create("lamina-probe", MFD_CLOEXEC);
	int32_t id;

	if (fd < 0)
		return -errno;
	id = backing_open(fuse_fd, fd);
	if (id < 0)
		return id;
	backing_close(fuse_fd, id);
	return 0;
}

static unsigned bucket_of(uint64_t id)
{
	return (unsigned)(hash_u64(id) % BUCKETS);
}

static struct opened *find_locked(struct passthrough *p, uint64_t id)
{
	struct opened *o;

	SLIST_FOREACH(o, &p->buckets[bucket_of(id)], next)
		if (o->id == id)
			return o;
	return NULL;
}

/* The record of an object, marked as busy by this thread; NULL if memory is short. */
static struct opened *begin(struct passthrough *p, uint64_t id)
{
	struct opened *o;

	mutex_lock(&p->lock);
	o = find_locked(p, id);
	if (!o) {
		o = calloc(1, sizeof(*o));
		if (o) {
			o->id = id;
			SLIST_INSERT_HEAD(&p->buckets[bucket_of(id)], o, next);
		}
	}
	if (o) {
		o->waiting++;
		while (o->busy)
			cond_wait(&p->decided, &p->lock);
		o->waiting--;
		o->busy = true;
	}
	mutex_unlock(&p->lock);
	return o;
}

/* Give the record back; it goes when nobody has the object open.  Returns an id to be dropped. */
static int32_t end(struct passthrough *p, struct opened *o)
{
	int32_t drop = 0;

	mutex_lock(&p->lock);
	o->busy = false;
	if (o->through == 0) {
		drop = o->backing;
		o->backing = 0;
	}
	if (o->through == 0 && o->cached == 0 && o->waiting == 0) {
		SLIST_REMOVE(&p->buckets[bucket_of(o->id)], o, opened, next);
		free(o);
	}
	mutex_unlock(&p->lock);
	cond_broadcast(&p->decided);
	return drop;
}

/* Register the real file of an object that nobody has open, if it may go through.  *RET_UPPER: the
 * real file is in upper. */
static void make_backing(struct request *rq, struct opened *o, bool writes, bool *ret_upper)
{
	struct fuse_front *front = rq->front;
	int fd CLEANUP_CLOSE = -1;
	bool lower = true;
	int32_t id;

	/* Not "for writing": that would copy a lower file up, of which the next request may be to
	 * truncate it. */
	if (lam_backing(front->stack, &rq->call, o->id, false, &fd, &lower) < 0)
		return;
	*ret_upper = !lower;
	if (lower && (!front->read_only || writes))
		return;
	id = backing_open(front->fd, fd);
	if (id <= 0) {
		/* A file on another stacked filesystem, or a table that is full: cached, then. */
		log_debug("no passthrough for %llx: %s", (unsigned long long)o->id, log_errno(id));
		return;
	}
	o->backing = id;
	o->lower = lower;
}

/* Marks that the kernel cannot know of: they forbid what it would do without asking. */
static int check_marks(struct request *rq, uint64_t id, uint32_t flags)
{
	struct lam_attr attr;
	int r;

	r = lam_getattr(rq->front->stack, &rq->call, id, &attr);
	if (r < 0)
		return r;
	if (attr.attributes & STATX_ATTR_IMMUTABLE)
		return -EPERM;
	return attr.attributes & STATX_ATTR_APPEND && !(flags & O_APPEND) ? -EPERM : 0;
}

int passthrough_open(struct request *rq, uint64_t id, uint32_t flags, struct fuse_open_out *out)
{
	struct fuse_front *front = rq->front;
	bool writes = (flags & O_ACCMODE) != O_RDONLY;
	bool upper = false;
	struct opened *o;
	int32_t drop;
	int r = 0;

	o = begin(front->passthrough, id);
	if (!o)
		return -ENOMEM;
	if (writes)
		r = check_marks(rq, id, flags);
	if (r == 0 && o->backing == 0 && o->cached == 0)
		make_backing(rq, o, writes, &upper);
	if (r == 0 && o->backing && o->lower && writes)
		r = -EROFS; /* the mount is read-only, or this would not be here */
	if (r == 0) {
		CHECK(!(o->backing && o->cached));
		*out = (struct fuse_open_out){ .fh = o->backing ? HANDLE_THROUGH : HANDLE_CACHED };
		if (o->backing) {
			o->through++;
			out->open_flags = FOPEN_PASSTHROUGH;
			compat_set_backing(out, o->backing);
		} else {
			/* What is in the cache of an upper file may be from before it was written
			 * to directly. */
			out->open_flags = upper ? 0 : FOPEN_KEEP_CACHE;
			o->cached++;
		}
	}
	drop = end(front->passthrough, o);
	if (drop)
		backing_close(front->fd, drop);
	return r;
}

void passthrough_release(struct fuse_front *front, uint64_t id, uint64_t handle)
{
	struct passthrough *p = front->passthrough;
	struct opened *o;
	int32_t drop = 0;
	bool known;

	if (!p || handle == HANDLE_NONE)
		return;
	mutex_lock(&p->lock);
	known = find_locked(p, id) != NULL;
	mutex_unlock(&p->lock);
	if (!known)
		return;
	o = begin(p, id);
	if (!o)
		return;
	if (handle == HANDLE_THROUGH && o->through)
		o->through--;
	else if (handle == HANDLE_CACHED && o->cached)
		o->cached--;
	drop = end(p, o);
	if (drop)
		backing_close(front->fd, drop);
}
