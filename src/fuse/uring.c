/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transport over io_uring: one queue for each CPU, each with a thread pinned to it, so that a
 * request is served on the CPU of its caller and answering one fetches the next in the same system
 * call.
 *
 * A queue has a few entries, each with a header and a payload that the kernel fills with a request
 * and we with its answer.  An operation that may take long is left to a late thread together with
 * its entry, so that the other callers of that CPU go on; one entry is never given away, because a
 * late thread may itself wait for a request of this queue.
 *
 * FORGET and INTERRUPT come by /dev/fuse all the same.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/log.h"

#define DEPTH 8u
#define RING_SIZE 16u /* the entries and two polls */

struct uring_queue;

struct uring_entry {
	struct late_job job;
	STAILQ_ENTRY(uring_entry) done;
	struct uring_queue *queue;
	struct fuse_uring_req_header *header;
	char *payload;
	struct iovec iov[2]; /* the kernel reads it when the entry is registered */
	struct request rq;
	uint64_t commit_id;
	int result;
};

struct uring_queue {
	struct fuse_front *front;
	struct slot *slot;
	unsigned id; /* the CPU */
	struct io_uring ring;
	bool ring_made, quit;
	int event;	/* eventfd: a late thread is done with an entry */
	unsigned alive; /* entries that are not lost to the end of the connection */
	unsigned away;	/* entries that late threads have */
	char *memory;
	size_t memory_size;
	struct mutex lock; /* RANK_LEAF; protects FINISHED */
	STAILQ_HEAD(uring_list, uring_entry) finished;
	struct uring_entry entries[DEPTH];
};

/* What a completion belongs to: an entry, or one of these. */
static char tag_event, tag_quit;

static void queue_free(struct uring_queue *q)
{
	if (!q)
		return;
	if (q->ring_made)
		io_uring_queue_exit(&q->ring);
	if (q->event >= 0)
		(void)close(q->event);
	if (q->memory)
		(void)munmap(q->memory, q->memory_size); /* it was mapped like this */
	free(q);
}

static void queue_freep(struct uring_queue **q)
{
	queue_free(*q);
}

static int ring_init(struct io_uring *ring)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 };

	return io_uring_queue_init_params(RING_SIZE, ring, &params);
}

bool uring_usable(void)
{
	int fd CLEANUP_CLOSE = open("/sys/module/fuse/parameters/enable_uring",
				    O_RDONLY | O_CLOEXEC);
	struct io_uring ring;
	char c;

	if (fd < 0 || read(fd, &c, 1) != 1 || c != 'Y' || ring_init(&ring) < 0)
		return false;
	io_uring_queue_exit(&ring);
	return true;
}

unsigned uring_queues(void)
{
	long n = sysconf(_SC_NPROCESSORS_CONF);

	return n < 1 ? 1 : (unsigned)n;
}

/* Headers first, each with a page of its own, then the payloads. */
static int queue_memory(struct uring_queue *q)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t payload = (q->front->proto.payload + page - 1) / page * page;
	void *memory;

	q->memory_size = DEPTH * (page + payload);
	memory = mmap(NULL, q->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	if (memory == MAP_FAILED)
		return -errno;
	q->memory = memory;
	for (size_t i = 0; i < DEPTH; i++) {
		struct uring_entry *e = &q->entries[i];

		e->queue = q;
		e->header = (void *)(q->memory + i * page);
		e->payload = q->memory + DEPTH * page + i * payload;
		e->iov[0] = (struct iovec){ e->header, sizeof(*e->header) };
		e->iov[1] = (struct iovec){ e->payload, payload };
	}
	return 0;
}

static int queue_new(struct fuse_front *front, struct slot *slot, unsigned id,
		     struct uring_queue **ret)
{
	struct uring_queue *q __attribute__((cleanup(queue_freep))) = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return -ENOMEM;
	q->front = front;
	q->slot = slot;
	q->id = id;
	STAILQ_INIT(&q->finished);
	mutex_init(&q->lock, RANK_LEAF);
	q->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->event < 0)
		return -errno;
	r = queue_memory(q);
	if (r < 0)
		return r;
	r = ring_init(&q->ring);
	if (r < 0)
		return r;
	q->ring_made = true;
	*ret = TAKE_PTR(q);
	return 0;
}

/* The ring has a place for every entry and both polls, so there is always one. */
static struct io_uring_sqe *next_sqe(struct uring_queue *q)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);

	CHECK(sqe);
	return sqe;
}

static void command(struct uring_entry *e, uint32_t op)
{
	struct uring_queue *q = e->queue;
	struct io_uring_sqe *sqe = next_sqe(q);
	struct fuse_uring_cmd_req cmd = { .qid = (uint16_t)q->id, .commit_id = e->commit_id };

	/* The queue may be older than this library's idea of it: the second half of the double
	 * entry belongs to the command. */
	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = q->front->fd;
	sqe->cmd_op = op;
	if (op == FUSE_IO_URING_CMD_REGISTER) {
		sqe->addr = (uint64_t)(uintptr_t)e->iov;
		sqe->len = 2;
	}
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
	io_uring_sqe_set_data(sqe, e);
}

static void poll_fd(struct uring_queue *q, int fd, char *tag)
{
	struct io_uring_sqe *sqe = next_sqe(q);

	memset(sqe, 0, 2 * sizeof(*sqe));
	io_uring_prep_poll_add(sqe, fd, POLLIN);
	io_uring_sqe_set_data(sqe, tag);
}

/* Put the answer where the request was, and ask for the next. */
static void answer(struct uring_entry *e)
{
	size_t body = e->result > 0 && e->result < REQUEST_SILENT ? (size_t)e->result : 0;
	struct fuse_out_header head = {
		.len = (uint32_t)(sizeof(head) + body),
		.error = e->result < 0 ? e->result : 0,
		.unique = e->rq.head.unique,
	};

	memcpy(e->header->in_out, &head, sizeof(head));
	e->header->ring_ent_in_out.payload_sz = (uint32_t)body;
	command(e, FUSE_IO_URING_CMD_COMMIT_AND_FETCH);
}

static void run_late(struct late_job *job, struct slot *slot)
{
	struct uring_entry *e =
		(struct uring_entry *)((char *)job - offsetof(struct uring_entry, job));
	struct uring_queue *q = e->queue;
	const uint64_t one = 1;
	ssize_t n;

	e->rq.slot = slot;
	e->rq.call.cancelled = &slot->cancelled;
	e->rq.late = LATE_IS;
	e->result = request_serve(&e->rq);
	mutex_lock(&q->lock);
	STAILQ_INSERT_TAIL(&q->finished, e, done);
	mutex_unlock(&q->lock);
	n = write(q->event, &one, sizeof(one));
	(void)n; /* it can only fail because it is set to the brim */
}

/* Give an entry to a late thread; false if it must be served here. */
static bool give_away(struct uring_entry *e, struct late_pool *pool)
{
	struct uring_queue *q = e->queue;

	if (q->away >= DEPTH - 1)
		return false;
	e->job.run = run_late;
	if (!late_pool_add(pool, &e->job))
		return false;
	q->away++;
	return true;
}

static void handle(struct uring_entry *e)
{
	struct uring_queue *q = e->queue;
	const struct fuse_uring_ent_in_out *io = &e->header->ring_ent_in_out;
	struct fuse_in_header head;
	int r;

	memcpy(&head, e->header->in_out, sizeof(head));
	e->commit_id = io->commit_id;
	e->rq = (struct request){
		.front = q->front,
		.slot = q->slot,
		.out = e->payload,
		.out_size = e->iov[1].iov_len,
		.late = LATE_MAY,
	};
	r = io->payload_sz > e->iov[1].iov_len
		    ? -EIO
		    : request_decode_split(&e->rq, &head, e->header->op_in,
					   sizeof(e->header->op_in), e->payload, io->payload_sz);
	if (r < 0) {
		e->rq.head = head;
		request_malformed(&e->rq, "its length");
	} else if (request_is_slow(&e->rq) && give_away(e, q->front->slow)) {
		return;
	} else {
		r = request_serve(&e->rq);
	}
	if (r == REQUEST_LATE) {
		if (give_away(e, q->front->seekers))
			return;
		e->rq.late = LATE_NEVER;
		r = request_serve(&e->rq);
	}
	e->result = r;
	answer(e);
}

/* Answer what late threads have finished. */
static void collect(struct uring_queue *q)
{
	struct uring_entry *e;
	uint64_t n;

	while (read(q->event, &n, sizeof(n)) < 0 && errno == EINTR)
		;
	for (;;) {
		mutex_lock(&q->lock);
		e = STAILQ_FIRST(&q->finished);
		if (e)
			STAILQ_REMOVE_HEAD(&q->finished, done);
		mutex_unlock(&q->lock);
		if (!e)
			return;
		CHECK(q->away > 0);
		q->away--;
		answer(e);
	}
}

static void complete(struct uring_queue *q, void *data, int result)
{
	if (data == &tag_quit) {
		q->quit = true;
		collect(q);
		return;
	}
	if (data == &tag_event) {
		poll_fd(q, q->event, &tag_event);
		collect(q);
		return;
	}
	if (result == 0) {
		handle(data);
		return;
	}
	/* ENOTCONN, ECANCELED: the connection ends.  Whatever it is, the kernel has let go of the
	 * entry; what comes when none is left, it sends by /dev/fuse or not at all. */
	q->alive--;
	if (result != -ENOTCONN && result != -ECANCELED && result != -ECONNABORTED &&
	    !atomic_load(&q->front->dead))
		log_warning("io_uring queue %u: %s", q->id, log_errno(result));
	if (q->alive == 0)
		front_ended(q->front, -ENODEV);
}

static int queue_run(struct uring_queue *q)
{
	struct io_uring_cqe *cqe;
	int r;

	for (unsigned i = 0; i < DEPTH; i++)
		command(&q->entries[i], FUSE_IO_URING_CMD_REGISTER);
	q->alive = DEPTH;
	poll_fd(q, q->event, &tag_event);
	poll_fd(q, q->front->quit_fd, &tag_quit);
	while (q->alive > 0 || q->away > 0) {
		r = io_uring_submit_and_wait(&q->ring, q->quit ? 0 : 1);
		if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
			return r;
		if (io_uring_peek_cqe(&q->ring, &cqe) < 0) {
			/* Late threads ended before the word to quit came. */
			if (q->quit)
				return 0;
			continue;
		}
		do {
			void *data = io_uring_cqe_get_data(cqe);
			int result = cqe->res;

			io_uring_cqe_seen(&q->ring, cqe);
			complete(q, data, result);
			/* Nobody's answer waits for the serving of the next. */
			if (io_uring_cq_ready(&q->ring) > 0)
				(void)io_uring_submit(&q->ring); /* tried again above */
		} while (io_uring_peek_cqe(&q->ring, &cqe) == 0);
	}
	return 0;
}

static void pin(unsigned cpu)
{
	size_t size = CPU_ALLOC_SIZE(cpu + 1);
	cpu_set_t *set = CPU_ALLOC(cpu + 1);

	if (!set)
		return;
	CPU_ZERO_S(size, set);
	CPU_SET_S(cpu, size, set);
	/* A CPU that is off, or not ours, sends no requests worth hurrying for. */
	(void)sched_setaffinity(0, size, set);
	CPU_FREE(set);
}

static void *queue_main(void *arg)
{
	struct uring_queue *q = arg;
	struct fuse_front *front = q->front;
	int r;

	pin(q->id);
	r = queue_run(q);
	if (r < 0)
		front_ended(front, r);
	/* Late threads may still have entries if the connection ended first: they end before the
	 * word to quit, and only then may the memory go. */
	while (q->away > 0) {
		struct pollfd p = { .fd = front->quit_fd, .events = POLLIN };

		if (poll(&p, 1, -1) > 0)
			break;
	}
	queue_free(q);
	atomic_fetch_sub(&front->running, 1);
	return NULL;
}

int uring_start(struct fuse_front *front, struct slot *slots, pthread_t *threads, int *started)
{
	for (unsigned i = 0; i < front->n_queues; i++) {
		struct uring_queue *q = NULL;
		int r = queue_new(front, &slots[i], i, &q);

		if (r == 0) {
			atomic_fetch_add(&front->running, 1);
			r = front_thread(&threads[*started], queue_main, q);
			if (r < 0) {
				atomic_fetch_sub(&front->running, 1);
				queue_free(q);
			}
		}
		/* With one queue missing, the kernel would wait for it for ever. */
		if (r < 0)
			return r;
		++*started;
	}
	return 0;
}
