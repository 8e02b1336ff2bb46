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
#include "super/super.h"

#define BUCKETS 1024u
#define UNRECORDED_MAX 128 /* more than threads */

enum { HANDLE_NONE, HANDLE_CACHED, HANDLE_THROUGH };

/* An object that is open. */
struct opened {
	SLIST_ENTRY(opened) next;
	uint64_t id;
	/* Backing id and counts, where the next worker finds them; this is enough without one. */
	struct state_backing *rec, own;
	bool busy; /* a thread decides about it */
	unsigned waiting;
};

struct passthrough {
	struct mutex lock; /* protects all of it */
	struct cond decided;
	SLIST_HEAD(, opened) buckets[BUCKETS];
	struct state_memory *mem; /* NULL: there is no supervisor */
	size_t next_free;	  /* where to look for a record */
};

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

static unsigned bucket_of(uint64_t id)
{
	return (unsigned)(hash_u64(id) % BUCKETS);
}

/* ---- What a worker before this one has left ---- */

static struct state_backing *record_of(struct state_memory *mem, uint64_t id)
{
	for (size_t i = 0; i < STATE_BACKINGS; i++) {
		if (atomic_load(&mem->backings[i].id) == id)
			return &mem->backings[i];
	}
	return NULL;
}

/* It ended while it counted: an open is not counted yet, the end of one is. */
static void settle_counts(struct state_memory *mem)
{
	for (size_t i = 0; i < STATE_INTENTS; i++) {
		struct state_intent *in = &mem->intents[i];
		bool release = in->opcode == FUSE_RELEASE;
		struct state_backing *rec;
		uint64_t *count;

		if (atomic_load(&in->unique) == 0 || atomic_load(&in->count_phase) != INTENT_BEGUN)
			continue;
		rec = record_of(mem, in->id);
		if (rec) {
			count = in->count_kind == HANDLE_THROUGH ? &rec->through : &rec->cached;
			*count = in->count_prior - (release && in->count_prior ? 1 : 0);
		}
		atomic_store(&in->count_phase, release ? INTENT_DONE : INTENT_FREE);
	}
}

static bool is_recorded(const struct state_memory *mem, int32_t backing)
{
	for (size_t i = 0; i < STATE_BACKINGS; i++) {
		if (atomic_load(&mem->backings[i].id) != 0 && mem->backings[i].backing == backing)
			return true;
	}
	return false;
}

/* Ids that were registered and not recorded: the kernel counts upwards, so they are near the last one. */
static void close_unrecorded(struct fuse_front *front, struct state_memory *mem)
{
	int32_t last = atomic_load(&mem->fuse.last_backing);

	for (int32_t id = last > UNRECORDED_MAX ? last - UNRECORDED_MAX : 1;
	     id <= last + UNRECORDED_MAX; id++) {
		if (!is_recorded(mem, id))
			backing_close(front->fd, id);
	}
}

static int adopt(struct fuse_front *front, struct passthrough *p)
{
	settle_counts(p->mem);
	for (size_t i = 0; i < STATE_BACKINGS; i++) {
		struct state_backing *rec = &p->mem->backings[i];
		struct opened *o;

		if (atomic_load(&rec->id) == 0)
			continue;
		if (rec->through == 0 && rec->backing) {
			backing_close(front->fd, rec->backing);
			rec->backing = 0;
		}
		if (rec->through == 0 && rec->cached == 0) {
			atomic_store(&rec->id, 0);
			continue;
		}
		o = calloc(1, sizeof(*o));
		if (!o)
			return -ENOMEM;
		o->id = atomic_load(&rec->id);
		o->rec = rec;
		SLIST_INSERT_HEAD(&p->buckets[bucket_of(o->id)], o, next);
	}
	close_unrecorded(front, p->mem);
	return 0;
}

struct passthrough *passthrough_new(struct fuse_front *front)
{
	struct passthrough *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	mutex_init(&p->lock, RANK_FRONT);
	p->mem = front->link ? front->link->state->mem : NULL;
	if (front->successor && adopt(front, p) < 0) {
		passthrough_free(p);
		return NULL;
	}
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

static struct opened *find_locked(struct passthrough *p, uint64_t id)
{
	struct opened *o;

	SLIST_FOREACH(o, &p->buckets[bucket_of(id)], next)
		if (o->id == id)
			return o;
	return NULL;
}

/* A record for a new one; false if there is no room. */
static bool take_record_locked(struct passthrough *p, struct opened *o)
{
	o->rec = &o->own;
	for (size_t i = 0; p->mem && i < STATE_BACKINGS; i++) {
		struct state_backing *rec = &p->mem->backings[(p->next_free + i) % STATE_BACKINGS];

		if (atomic_load(&rec->id) != 0)
			continue;
		rec->cached = rec->through = 0;
		rec->backing = 0;
		atomic_store(&rec->id, o->id);
		p->next_free = (p->next_free + i + 1) % STATE_BACKINGS;
		o->rec = rec;
		return true;
	}
	return !p->mem;
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
			if (take_record_locked(p, o)) {
				SLIST_INSERT_HEAD(&p->buckets[bucket_of(id)], o, next);
			} else {
				free(o);
				o = NULL;
			}
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
	if (o->rec->through == 0) {
		/* Closed by the caller: who ends in between leaves it unrecorded, near the last ones. */
		drop = o->rec->backing;
		o->rec->backing = 0;
	}
	if (o->rec->through == 0 && o->rec->cached == 0 && o->waiting == 0) {
		SLIST_REMOVE(&p->buckets[bucket_of(o->id)], o, opened, next);
		atomic_store(&o->rec->id, 0);
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
	struct state_memory *mem = front->passthrough->mem;
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
	o->rec->lower = lower;
	o->rec->backing = id;
	if (mem && id > atomic_load(&mem->fuse.last_backing))
		atomic_store(&mem->fuse.last_backing, id); /* others may be a little ahead */
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

static uint64_t *count_of(struct opened *o, uint64_t handle)
{
	return handle == HANDLE_THROUGH ? &o->rec->through : &o->rec->cached;
}

/* Change a count by STEP, once for this request whatever happens to this process. */
static void count_once(struct request *rq, struct opened *o, uint32_t handle, int step)
{
	struct state_intent *in = rq->intent;
	uint64_t *count = count_of(o, handle);

	if (in) {
		in->id = o->id;
		in->count_kind = handle;
		in->count_prior = *count;
		atomic_store(&in->count_phase, INTENT_BEGUN);
	}
	if (step > 0)
		++*count;
	else if (*count > 0)
		--*count;
	if (in)
		atomic_store(&in->count_phase, INTENT_DONE);
}

static bool counted_before(const struct request *rq)
{
	return rq->intent && atomic_load(&rq->intent->count_phase) == INTENT_DONE;
}

/* How the object is open already, or is to be opened. */
static int decide(struct request *rq, struct opened *o, uint32_t flags, bool *ret_upper)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY;
	int r = writes ? check_marks(rq, o->id, flags) : 0;

	if (r < 0)
		return r;
	if (o->rec->backing == 0 && o->rec->cached == 0)
		make_backing(rq, o, writes, ret_upper);
	if (o->rec->backing && o->rec->lower && writes)
		return -EROFS; /* the mount is read-only, or this would not be here */
	CHECK(!(o->rec->backing && o->rec->cached));
	return 0;
}

int passthrough_open(struct request *rq, uint64_t id, uint32_t flags, struct fuse_open_out *out)
{
	struct fuse_front *front = rq->front;
	bool upper = false;
	struct opened *o;
	int32_t drop;
	int r = 0;

	o = begin(front->passthrough, id);
	if (!o)
		return -ENOMEM;
	if (!counted_before(rq)) {
		r = decide(rq, o, flags, &upper);
		if (r == 0)
			count_once(rq, o, o->rec->backing ? HANDLE_THROUGH : HANDLE_CACHED, 1);
	}
	if (r == 0 && o->rec->backing) {
		*out = (struct fuse_open_out){ .fh = HANDLE_THROUGH,
					       .open_flags = FOPEN_PASSTHROUGH };
		compat_set_backing(out, o->rec->backing);
	} else if (r == 0) {
		/* What is in the cache of an upper file may be from before it was written to
		 * directly. */
		*out = (struct fuse_open_out){ .fh = HANDLE_CACHED,
					       .open_flags = upper ? 0 : FOPEN_KEEP_CACHE };
	}
	drop = end(front->passthrough, o);
	if (drop)
		backing_close(front->fd, drop);
	return r;
}

void passthrough_release(struct request *rq, uint64_t id, uint64_t handle)
{
	struct fuse_front *front = rq->front;
	struct passthrough *p = front->passthrough;
	struct opened *o;
	int32_t drop = 0;
	bool known;

	if (!p || handle == HANDLE_NONE || handle > HANDLE_THROUGH)
		return;
	mutex_lock(&p->lock);
	known = find_locked(p, id) != NULL;
	mutex_unlock(&p->lock);
	if (!known)
		return;
	o = begin(p, id);
	if (!o)
		return;
	count_once(rq, o, (uint32_t)handle, -1);
	drop = end(p, o);
	if (drop)
		backing_close(front->fd, drop);
}
