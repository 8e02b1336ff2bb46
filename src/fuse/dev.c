/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transport over reads and writes of /dev/fuse: several threads, each with a descriptor of its own
 * (cloned, so that the kernel keeps their unanswered requests apart), a buffer and a slot.
 *
 * A thread waits with an epoll set that wakes one thread for one request.  The stop comes as an
 * event: a signal would wake only one of them.
 *
 * The buffer of a thread serves for requests and for answers.  The offsets put the data of a WRITE
 * and of a READ at the start of a page:
 *
 *   page 0                          | page 1                         | page 2 ...
 *   ................... [in] [arg]  | data of a WRITE ...
 *                                     ........................ [out] | body of the answer ...
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/soon.h"
#include "super/super.h"

/* See look(). */
#define LOOKS_MAX 8   /* how much is put on what went well */
#define LOOK_AGAIN 16 /* requests after which it is tried again */

/* A descriptor of the connection: a clone of the front's, or the front's own.  A request is answered
 * where it was read, so it stays open until the last late answer too is given. */
struct channel {
	int fd;
	bool own;
	_Atomic unsigned refs;
};

struct dev_thread {
	struct fuse_front *front;
	struct slot *slot;
	struct channel *channel;
	int fd; /* the channel's */
	unsigned index;
	int epoll;
	int parked; /* an epoll set for when it takes no requests, or -1 */
	char *buf;
	size_t buf_size, in_off, out_off;
	bool pinned; /* the buffer is in memory */
	bool may_look;
	int looks;  /* above 0: looking pays; else counts up to the next try */
	bool eager; /* the last read after an answer found a request */
};

/* A request that waits for a late thread. */
struct dev_late {
	struct late_job job;
	struct request rq;
	struct channel *channel; /* a reference */
	uint64_t arg[16];	 /* a copy of the fixed argument */
	char data[64];		 /* and of what follows it: the argument of an ioctl */
	char body[4096] __attribute__((aligned(8)));
};

static void channel_put(struct channel *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1)
		return;
	if (c->own)
		(void)close(c->fd);
	free(c);
}

static void dev_free(struct dev_thread *t)
{
	if (!t)
		return;
	if (t->buf)
		(void)munmap(t->buf, t->buf_size); /* it was mapped like this */
	if (t->epoll >= 0)
		(void)close(t->epoll);
	if (t->parked >= 0)
		(void)close(t->parked);
	channel_put(t->channel);
	free(t);
}

static void dev_freep(struct dev_thread **t)
{
	dev_free(*t);
}

/* A descriptor of its own for one thread; the common one does as well where there is none. */
static int clone_fd(struct fuse_front *front)
{
	int fd CLEANUP_CLOSE = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	uint32_t master = (uint32_t)front->fd;

	if (fd < 0 || ioctl(fd, FUSE_DEV_IOC_CLONE, &master) < 0)
		return front->fd;
	return TAKE_FD(fd);
}

/* The descriptor of thread I.  Those that a supervisor has are not ours to close: with the last copy of a
 * clone go the requests that were read from it. */
static int channel_fd(struct fuse_front *front, unsigned i, bool *ret_own)
{
	int fd = front->fd;

	*ret_own = false;
	if (i == 0)
		return fd;
	if (front->link)
		fd = state_kept(front->link->state, STATE_FD_CLONE, i);
	if (front->link && fd >= 0)
		return fd;
	fd = clone_fd(front);
	*ret_own = fd != front->fd;
	if (*ret_own && front->link && super_keep(front->link, STATE_FD_CLONE, i, fd) < 0) {
		(void)close(fd); /* nothing was read from it */
		*ret_own = false;
		return front->fd;
	}
	return fd;
}

/* A worker that is killed in a page fault while the kernel copies a message makes an error of it: so there
 * are no faults.  Where memory may not be locked, at least the first are over.  A thread that never takes a
 * request needs none of that. */
static void pin_buffer(struct dev_thread *t)
{
	t->pinned = true;
	if (!t->front->link)
		return;
	/* Also where the lock is granted: with a sanitizer that is said and nothing is done. */
	(void)madvise(t->buf, t->buf_size, MADV_POPULATE_WRITE);
	if (mlock(t->buf, t->buf_size) < 0)
		log_debug("the buffers cannot be locked in memory: %s", log_errno(-errno));
}

static int watch(int epoll, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data = { .fd = fd } };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

/* What a parked thread waits for. */
static int watch_parked(struct dev_thread *t)
{
	struct fuse_front *front = t->front;
	int r;

	if (!front->crew.n)
		return 0;
	t->parked = epoll_create1(EPOLL_CLOEXEC);
	if (t->parked < 0)
		return -errno;
	r = watch(t->parked, front->crew.members[t->index].call_fd, EPOLLIN);
	return r < 0 ? r : watch(t->parked, front->quit_fd, EPOLLIN);
}

static int dev_new(struct fuse_front *front, struct slot *slot, unsigned i, struct dev_thread **ret)
{
	struct dev_thread *t __attribute__((cleanup(dev_freep))) = calloc(1, sizeof(*t));
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *buf;
	int r;

	if (!t)
		return -ENOMEM;
	t->front = front;
	t->slot = slot;
	t->index = i;
	t->epoll = t->parked = -1;
	t->channel = calloc(1, sizeof(*t->channel));
	if (!t->channel)
		return -ENOMEM;
	t->fd = t->channel->fd = channel_fd(front, i, &t->channel->own);
	atomic_init(&t->channel->refs, 1);
	t->in_off = page - sizeof(struct fuse_in_header) - sizeof(struct fuse_write_in);
	t->out_off = 2 * page;
	t->buf_size = 2 * page + front->proto.payload;
	buf = mmap(NULL, t->buf_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED)
		return -errno;
	t->buf = buf;
	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (t->epoll < 0)
		return -errno;
	r = watch(t->epoll, t->fd, EPOLLIN | EPOLLEXCLUSIVE);
	if (r == 0)
		r = watch(t->epoll, front->quit_fd, EPOLLIN);
	if (r == 0)
		r = watch_parked(t);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(t);
	return 0;
}

int dev_reply(int fd, struct request *rq, int result)
{
	struct fuse_out_header *head = (struct fuse_out_header *)rq->out - 1;
	size_t body = result > 0 ? (size_t)result : 0;
	ssize_t n;
	int r;

	*head = (struct fuse_out_header){
		.len = (uint32_t)(sizeof(*head) + body),
		.error = result < 0 ? result : 0,
		.unique = rq->head.unique,
	};
	do {
		n = write(fd, head, head->len);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	r = -errno;
	request_undo(rq, result);
	/* ENOENT: nobody waits for it any more.  ENODEV: the filesystem is gone. */
	if (r != -ENOENT && r != -ENODEV && !atomic_load(&rq->front->dead))
		log_warning("the kernel does not take an answer to %s: %s",
			    fuse_front_op_name(rq->head.opcode), log_errno(r));
	return r;
}

static void run_late(struct late_job *job, struct slot *slot)
{
	struct dev_late *l = (struct dev_late *)((char *)job - offsetof(struct dev_late, job));
	int r;

	l->rq.slot = slot;
	l->rq.call.cancelled = &slot->cancelled;
	l->rq.late = LATE_IS;
	r = request_serve(&l->rq);
	(void)dev_reply(l->channel->fd, &l->rq, r); /* nobody else to tell */
	channel_put(l->channel);
	free(l);
}

/* Leave a request to a late thread; false if that cannot be. */
static bool postpone(struct dev_thread *t, const struct request *rq)
{
	struct dev_late *l;

	if (rq->data_len > sizeof(l->data))
		return false;
	l = malloc(sizeof(*l));
	if (!l)
		return false;
	l->job.run = run_late;
	l->rq = *rq;
	l->channel = t->channel;
	atomic_fetch_add_explicit(&t->channel->refs, 1, memory_order_relaxed);
	memcpy(l->arg, rq->arg, sizeof(l->arg));
	l->rq.arg = l->arg;
	if (rq->data_len > 0)
		memcpy(l->data, rq->data, rq->data_len);
	l->rq.data = l->data;
	l->rq.out = l->body + sizeof(struct fuse_out_header);
	l->rq.out_size = sizeof(l->body) - sizeof(struct fuse_out_header);
	if (late_pool_add(t->front->seekers, &l->job))
		return true;
	channel_put(l->channel);
	free(l);
	return false;
}

static void handle(struct dev_thread *t, size_t len)
{
	struct request rq = {
		.front = t->front,
		.slot = t->slot,
		.out = t->buf + t->out_off,
		.out_size = t->buf_size - t->out_off,
		.late = LATE_MAY,
	};
	int r;

	r = request_decode_flat(&rq, t->buf + t->in_off, len);
	if (r < 0) {
		request_malformed(&rq, "its length");
		/* Nobody can be answered, or nobody waits. */
		if (rq.head.unique == 0 || rq.head.opcode == FUSE_FORGET)
			return;
	} else {
		r = request_serve(&rq);
	}
	if (r == REQUEST_LATE) {
		if (postpone(t, &rq))
			return;
		rq.late = LATE_NEVER;
		r = request_serve(&rq);
	}
	if (r == REQUEST_SILENT)
		return;
	(void)dev_reply(t->fd, &rq, r); /* logged; the next read tells if all is over */
	once_leave(&rq);
}

/* Wait to be called out: 0; 1 for the word to quit, after which others serve what is left. */
static int wait_parked(struct dev_thread *t)
{
	struct epoll_event e;
	uint64_t n;

	if (epoll_wait(t->parked, &e, 1, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	if (e.data.fd == t->front->quit_fd)
		return 1;
	return read(e.data.fd, &n, sizeof(n)) < 0 && errno != EAGAIN ? -errno : 0;
}

/* Wait for a request or the word to quit. */
static int wait_event(struct dev_thread *t)
{
	struct epoll_event e;

	if (epoll_wait(t->epoll, &e, 1, -1) < 0 && errno != EINTR)
		return -errno;
	return 0;
}

/* Whether the next request is looked for before sleeping: not where others serve too, and of clients that take
 * their time only now and then. */
static bool looks(const struct dev_thread *t)
{
	return t->looks > 0 && t->may_look && (t->front->n_dev == 1 || crew_alone(&t->front->crew));
}

static bool look(struct dev_thread *t)
{
	if (soon_readable(t->fd)) {
		t->looks = t->looks < LOOKS_MAX ? t->looks + 1 : LOOKS_MAX;
		return true;
	}
	t->looks -= 2;
	if (t->looks <= 0)
		t->looks = -LOOK_AGAIN;
	return false;
}

/* Serve one request, or wait.  1 when there is nothing left to do, or the error that ends it. */
static int step(struct dev_thread *t)
{
	ssize_t n;

	if (crew_parked(&t->front->crew, t->index))
		return wait_parked(t);
	if (!t->pinned)
		pin_buffer(t);
	if (!t->eager && !atomic_load_explicit(&t->front->draining, memory_order_relaxed)) {
		int r = wait_event(t);

		if (r < 0)
			return r;
	}
	if (atomic_load_explicit(&t->front->leaving, memory_order_relaxed))
		return 1;
	n = read(t->fd, t->buf + t->in_off, t->buf_size - t->in_off);
	if (n == 0)
		return -ENODEV; /* not what /dev/fuse does; an end all the same */
	if (n > 0) {
		crew_begin(&t->front->crew, t->index);
		handle(t, (size_t)n);
		crew_end(&t->front->crew, t->index);
		/* While requests come one after the other, waiting first would cost a call each;
		 * when they do not, trying would. */
		if (t->looks <= 0)
			t->looks++;
		t->eager = looks(t) ||
			   atomic_load_explicit(&t->front->running, memory_order_relaxed) == 1;
		return 0;
	}
	t->eager = false;
	switch (errno) {
	case EAGAIN:
		t->eager = looks(t) && look(t);
		return atomic_load(&t->front->draining) ? 1 : 0;
	case EINTR:
	case ENOENT: /* given up by its caller while it was being read */
		return 0;
	default:
		return -errno;
	}
}

static void *dev_main(void *arg)
{
	struct dev_thread *t = arg;
	struct fuse_front *front = t->front;
	int r;

	t->may_look = soon_possible();
	do {
		r = step(t);
	} while (r == 0);
	if (r < 0)
		front_ended(front, r);
	dev_free(t);
	atomic_fetch_sub(&front->running, 1);
	return NULL;
}

static void *watch_main(void *arg)
{
	struct fuse_front *front = arg;

	crew_watch(&front->crew, front->quit_fd);
	return NULL;
}

static int start_thread(struct fuse_front *front, struct slot *slots, unsigned i, pthread_t *thread)
{
	struct dev_thread *t = NULL;
	int r = dev_new(front, &slots[i], i, &t);

	if (r < 0)
		return r;
	atomic_fetch_add(&front->running, 1);
	r = front_thread(thread, dev_main, t);
	if (r < 0) {
		atomic_fetch_sub(&front->running, 1);
		dev_free(t);
	}
	return r;
}

int dev_start(struct fuse_front *front, struct slot *slots, pthread_t *threads)
{
	int flags = fcntl(front->fd, F_GETFL);
	unsigned started = 0;
	int r = 0;

	if (flags < 0 || fcntl(front->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	while (started < front->n_dev) {
		r = start_thread(front, slots, started, &threads[started]);
		if (r < 0)
			break;
		started++;
	}
	if (r < 0 && started > 0)
		log_warning("only %u of %u threads could be started: %s", started, front->n_dev,
			    log_errno(r));
	if (started == 0)
		return r;
	crew_limit(&front->crew, started);
	if (!front->crew.n)
		return (int)started;
	r = front_thread(&threads[started], watch_main, front);
	if (r < 0) {
		log_warning("requests are served by one thread: %s", log_errno(r));
		return (int)started;
	}
	return (int)started + 1;
}
