/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections and workers.
 *
 * All workers wait on one epoll instance.  A connection is armed for one event at a time
 * (EPOLLONESHOT): the worker that gets it reads one record, arms the connection again, so that
 * another worker can take the next one, and serves the record itself.  So a lone request changes
 * threads once, and a client that sends many has them served in parallel.  A client that is alone is
 * waited for by the worker that has just answered it (lone.c).  Answers that the socket
 * does not take are kept, up to a limit, and written when it does.
 *
 * What a client can hold is bounded: connections; for each of them requests under way, bytes of
 * answers not taken, and time in the middle of a record.
 *
 * Locks: conn.lock for its fields but those of the reader, which belong to the worker that has set
 * `reading`; transport.lock for the free lists.  An answer is written without the lock by the worker
 * that has set `sending`; what was kept is written under it, as sockets never block.  Slots are never freed while workers run: an event names slot and generation.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <poll.h>
#include <time.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "super/super.h"

#define BULK 65536u			    /* bytes of a record or a file that take their time */
#define READ_AHEAD 8192u		    /* bytes taken at once from a socket */
#define IN_FLIGHT_MAX 32u		    /* requests of one connection */
#define OUT_BYTES_MAX (4u * NFS_MAX_ANSWER) /* answers that one connection has not taken */
#define RECORD_STALLS 4u		    /* a record may take this many times stall_seconds */
#define DRAIN_MS 2000			    /* for the last answers of one connection */
#define PATIENCE_MS 20			    /* for a socket to take the rest of an answer */

/* What an event is about. */
#define TOKEN_LISTEN UINT64_C(0xffffffff)
#define TOKEN_STOP UINT64_C(0xfffffffe)
#define TOKEN_TIMER UINT64_C(0xfffffffd)

struct conn {
	struct mutex lock;
	int fd;
	uint32_t gen;
	unsigned refs; /* one while not closed, one for each worker at it */
	bool closed, reading;
	bool sending; /* a worker writes an answer, without the lock; the others' wait in OUT */
	unsigned in_flight;
	struct out_queue out;
	uint64_t active_ms; /* when something was last read, or written while answers waited */
	uint64_t record_ms; /* when the record that is being read began; 0: none is */
	struct peer peer;
	/* Of the reader. */
	struct record rec;
	size_t ahead_at, ahead_len;
	uint8_t ahead[READ_AHEAD];
};

struct worker {
	struct transport *t;
	unsigned number;
	pthread_t thread;
	uint8_t *out; /* 4 bytes for the mark, then NFS_MAX_ANSWER */
};

struct transport {
	struct nfs_front *front;
	int listen_fd, epoll_fd, stop_fd, timer_fd;
	unsigned n_conns, idle_ms, stall_ms;
	struct conn *conns;
	struct worker *workers;
	unsigned n_running;
	unsigned port;
	atomic_bool stopping, accept_paused;
	atomic_uint n_patient; /* workers that wait for a socket */
	atomic_uint n_serving; /* workers that have a record */
	struct lone lone;

	struct mutex lock;
	uint32_t *free_conns; /* numbers of slots */
	unsigned n_free;
	uint8_t **free_bufs;
	unsigned n_bufs;
};

/* ---- Buffers of records ---- */

/*
 * A record lies four bytes after the beginning of a page, as its mark does in the stream.  Clients fill
 * pages of the stream from their beginning, too, so what is received keeps its place within a page;
 * a few bytes off it some processors copy four times slower.
 */
#define BUF_SKIP 4u
#define BUF_ALIGN 4096u

static uint8_t *buf_new(void)
{
	uint8_t *page = aligned_alloc(BUF_ALIGN, (BUF_SKIP + NFS_MAX_RECORD + BUF_ALIGN - 1) /
							 BUF_ALIGN * BUF_ALIGN);

	return page ? page + BUF_SKIP : NULL;
}

static void buf_free(uint8_t *buf)
{
	if (buf)
		free(buf - BUF_SKIP);
}

static uint8_t *buf_get(struct transport *t)
{
	uint8_t *buf = NULL;

	mutex_lock(&t->lock);
	if (t->n_bufs > 0)
		buf = t->free_bufs[--t->n_bufs];
	mutex_unlock(&t->lock);
	return buf ? buf : buf_new();
}

static void buf_put(struct transport *t, uint8_t *buf)
{
	mutex_lock(&t->lock);
	if (buf && t->n_bufs < t->front->n_workers)
		t->free_bufs[t->n_bufs++] = TAKE_PTR(buf);
	mutex_unlock(&t->lock);
	buf_free(buf);
}

/* ---- Connections ---- */

static uint64_t token_of(const struct transport *t, const struct conn *c)
{
	return (uint64_t)c->gen << 32 | (uint64_t)(c - t->conns);
}

/* Say what to wait for.  With the lock held. */
static void arm_locked(struct transport *t, struct conn *c)
{
	struct epoll_event ev = { .events = EPOLLONESHOT, .data.u64 = token_of(t, c) };

	if (c->closed)
		return;
	if (!c->reading && c->in_flight < IN_FLIGHT_MAX && c->out.bytes < OUT_BYTES_MAX) {
		ev.events |= EPOLLIN;
		/* What was read ahead makes no event of its own; that one can write does. */
		if (c->ahead_len > 0)
			ev.events |= EPOLLOUT;
	}
	if (c->out.bytes > 0 && !c->sending)
		ev.events |= EPOLLOUT;
	/* Cannot fail: both descriptors are open and the one is in the other. */
	(void)epoll_ctl(t->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
}

static void close_locked(struct transport *t, struct conn *c)
{
	if (c->closed)
		return;
	c->closed = true;
	c->refs--;
	(void)epoll_ctl(t->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
	(void)shutdown(c->fd, SHUT_RDWR); /* the peer may have gone first */
}

/* Give back what a closed connection had that nobody is at any more.  With the lock held. */
static void release_locked(struct transport *t, struct conn *c)
{
	queue_clear(&c->out);
	(void)close(c->fd);
	c->fd = -1;
	c->gen++;
	buf_put(t, TAKE_PTR(c->rec.buf));
	mutex_lock(&t->lock);
	t->free_conns[t->n_free++] = (uint32_t)(c - t->conns);
	mutex_unlock(&t->lock);
}

static void unref_locked(struct transport *t, struct conn *c)
{
	CHECK(c->refs > 0);
	if (--c->refs == 0)
		release_locked(t, c);
}

static void make_conn(struct transport *t, int fd, const struct peer *peer)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT };
	const int one = 1;
	struct conn *c = NULL;

	mutex_lock(&t->lock);
	if (t->n_free > 0)
		c = &t->conns[t->free_conns[--t->n_free]];
	mutex_unlock(&t->lock);
	if (!c) {
		atomic_fetch_add(&t->front->refused, 1);
		log_warning("nfs: a connection is refused: there are %u already", t->n_conns);
		(void)close(fd);
		return;
	}
	/* Without these it works too, only less well. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	mutex_lock(&c->lock);
	c->fd = fd;
	c->refs = 1;
	c->closed = c->reading = c->sending = false;
	c->in_flight = 0;
	queue_init(&c->out);
	c->active_ms = front_now_ms();
	c->record_ms = 0;
	c->peer = *peer;
	c->rec = (struct record){ 0 };
	c->ahead_at = c->ahead_len = 0;
	ev.data.u64 = token_of(t, c);
	if (epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		log_error("nfs: a connection cannot be watched: %s", log_errno(-errno));
		c->closed = true;
		unref_locked(t, c);
	}
	mutex_unlock(&c->lock);
}

static void arm_listen(struct transport *t)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = TOKEN_LISTEN };

	(void)epoll_ctl(t->epoll_fd, EPOLL_CTL_MOD, t->listen_fd, &ev); /* as in arm_locked() */
}

static void accept_all(struct transport *t)
{
	struct nfs_front *front = t->front;

	for (;;) {
		struct sockaddr_storage from = { 0 };
		socklen_t len = sizeof(from);
		struct peer peer;
		int fd = accept4(t->listen_fd, (struct sockaddr *)&from, &len,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
			break;
		if (fd < 0) {
			/* No descriptors or no memory: asking again at once would only spin. */
			log_warning("nfs: accepting a connection: %s", log_errno(-errno));
			atomic_store(&t->accept_paused, true);
			return;
		}
		address_bytes(&from, peer.addr);
		peer.rule = export_rule_find(front->rules, front->n_rules, peer.addr);
		if (peer.rule) {
			make_conn(t, fd, &peer);
		} else {
			atomic_fetch_add(&front->refused, 1);
			(void)close(fd);
		}
	}
	arm_listen(t);
}

/* ---- Writing ---- */

/* Write what waits.  False: the connection is broken.  With the lock held. */
static bool flush_locked(struct conn *c)
{
	bool moved, good;

	if (c->sending)
		return true;
	good = queue_flush(&c->out, c->fd, &moved);
	if (moved)
		c->active_ms = front_now_ms();
	return good;
}

/* Send as much of the answer as the socket takes, and what it takes soon: most clients only have to read
 * what they have, and another round by way of epoll and a copy in memory would cost more than that.
 * But not all workers may wait.  0, -EAGAIN, or an error. */
static int send_soon(struct transport *t, struct conn *c, const struct answer *a, size_t *done)
{
	const uint64_t begin = front_now_ms();
	int r = answer_send(c->fd, a, done);

	if (r != -EAGAIN)
		return r;
	if (atomic_fetch_add(&t->n_patient, 1) < t->front->n_workers / 2) {
		while (r == -EAGAIN && front_ms_since(front_now_ms(), begin) < PATIENCE_MS &&
		       socket_await(c->fd, POLLOUT, PATIENCE_MS))
			r = answer_send(c->fd, a, done);
	}
	atomic_fetch_sub(&t->n_patient, 1);
	return r;
}

/* Keep what is left of an answer; one of which a part is sent comes FIRST.  False: it cannot be kept.
 * With the lock held, which is given back for reading the file. */
static bool keep_locked(struct conn *c, const struct answer *a, size_t done, bool first)
{
	struct chunk *chunk;

	mutex_unlock(&c->lock);
	chunk = answer_rest(a, done);
	mutex_lock(&c->lock);
	if (!chunk)
		return false;
	if (c->out.bytes == 0)
		c->active_ms = front_now_ms();
	queue_add(&c->out, chunk, first);
	return true;
}

/* Send an answer, or keep it behind what waits.  False: the connection is broken.  With the lock held,
 * which is given back meanwhile. */
static bool send_locked(struct transport *t, struct conn *c, struct answer *a)
{
	size_t done = 0;
	bool good;
	int r;

	answer_mark(a);
	if (c->sending || c->out.bytes > 0)
		return keep_locked(c, a, 0, false);
	c->sending = true;
	mutex_unlock(&c->lock);
	r = send_soon(t, c, a, &done);
	mutex_lock(&c->lock);
	/* A filesystem that cannot send by itself: read it. */
	if (r == -EINVAL || r == -EOPNOTSUPP || r == -ENOSYS)
		r = -EAGAIN;
	good = r == 0 || (r == -EAGAIN && keep_locked(c, a, done, true));
	c->sending = false;
	return good && flush_locked(c);
}

/* ---- Reading ---- */

/* Feed the record from what was read ahead. */
static enum record_state take_ahead(struct conn *c)
{
	size_t n = c->ahead_len;
	enum record_state state = record_add(&c->rec, c->ahead + c->ahead_at, &n);

	c->ahead_at += n;
	c->ahead_len -= n;
	return state;
}

/* Read until a record is whole.  RECORD_MORE: nothing more is there now.  RECORD_BAD: close. */
static enum record_state read_record(struct transport *t, struct conn *c)
{
	enum record_state state = RECORD_MORE;

	if (!c->rec.buf)
		c->rec.buf = buf_get(t);
	if (!c->rec.buf)
		return RECORD_BAD;
	if (c->ahead_len > 0)
		state = take_ahead(c);
	while (state == RECORD_MORE) {
		uint8_t *place;
		size_t room = record_room(&c->rec, &place);
		bool direct = room >= READ_AHEAD;
		ssize_t n = direct ? recv(c->fd, place, room, 0)
				   : recv(c->fd, c->ahead, READ_AHEAD, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return RECORD_MORE;
		if (n <= 0)
			return RECORD_BAD;
		if (direct) {
			state = record_took(&c->rec, (size_t)n);
		} else {
			c->ahead_at = 0;
			c->ahead_len = (size_t)n;
			state = take_ahead(c);
		}
	}
	return state;
}

/* After reading: note how far it came, and let others read on.  With the lock held. */
static void read_done_locked(struct transport *t, struct conn *c, enum record_state state)
{
	c->reading = false;
	c->active_ms = front_now_ms();
	if (state == RECORD_BAD) {
		close_locked(t, c);
		return;
	}
	if (state == RECORD_COMPLETE)
		c->record_ms = 0;
	else if (c->rec.len == 0 && c->rec.n_mark == 0 && c->rec.left == 0)
		buf_put(t, TAKE_PTR(c->rec.buf)); /* nothing has begun */
	else if (c->record_ms == 0)
		c->record_ms = c->active_ms;
	if (state == RECORD_COMPLETE)
		c->in_flight++;
	arm_locked(t, c);
}

/* Serve one record, which is owned by the caller. */
static void serve(struct worker *w, struct conn *c, uint8_t *msg, size_t len)
{
	struct transport *t = w->t;
	struct answer a = { .marked = w->out };
	bool was_full;
	ssize_t n;

	if (atomic_fetch_add(&t->n_serving, 1) == 0 && len < BULK)
		lone_note(&t->lone, token_of(t, c));
	else
		lone_end(&t->lone);
	n = rpc_serve(t->front, w->number, &c->peer, msg, len, w->out + 4, &a.file);
	atomic_fetch_sub(&t->n_serving, 1);
	if (a.file.len >= BULK)
		lone_end(&t->lone);
	mutex_lock(&c->lock);
	a.len = n > 0 ? (size_t)n : 0;
	if (n < 0 || (n > 0 && !c->closed && !send_locked(t, c, &a)))
		close_locked(t, c);
	was_full = c->in_flight == IN_FLIGHT_MAX;
	c->in_flight--;
	if (was_full || c->out.bytes > 0)
		arm_locked(t, c);
	mutex_unlock(&c->lock);
	answer_done(&a);
}

/* Look for the next request of a lone client.  True: it is there, and the caller is its reader. */
static bool linger(struct transport *t, struct conn *c)
{
	bool here;

	if (!lone_is(&t->lone, token_of(t, c)))
		return false;
	mutex_lock(&c->lock);
	if (c->closed || c->reading || c->in_flight > 0 || c->out.bytes > 0 || c->ahead_len > 0) {
		mutex_unlock(&c->lock);
		return false;
	}
	c->reading = true;
	arm_locked(t, c); /* nobody else need be woken for it */
	mutex_unlock(&c->lock);
	here = lone_await(&t->lone, c->fd);
	if (!here) {
		mutex_lock(&c->lock);
		c->reading = false;
		arm_locked(t, c);
		mutex_unlock(&c->lock);
	}
	return here;
}

/* Read one record and serve it.  The caller is the reader.  False: there is none yet, or no more. */
static bool read_and_serve(struct worker *w, struct conn *c)
{
	struct transport *t = w->t;
	enum record_state state = read_record(t, c);
	uint8_t *msg = NULL;
	size_t len = 0;

	if (state == RECORD_COMPLETE) {
		len = c->rec.len;
		msg = TAKE_PTR(c->rec.buf);
		record_reset(&c->rec);
	}
	mutex_lock(&c->lock);
	read_done_locked(t, c, state);
	mutex_unlock(&c->lock);
	if (!msg)
		return false;
	serve(w, c, msg, len);
	buf_put(t, msg);
	return true;
}

static void handle_conn(struct worker *w, uint64_t token, uint32_t events)
{
	struct transport *t = w->t;
	struct conn *c = &t->conns[(uint32_t)token];

	mutex_lock(&c->lock);
	if (c->gen != (uint32_t)(token >> 32) || c->closed) {
		mutex_unlock(&c->lock);
		return;
	}
	if (!flush_locked(c) || (events & EPOLLERR)) {
		c->refs++;
		close_locked(t, c);
		unref_locked(t, c);
		mutex_unlock(&c->lock);
		return;
	}
	if (c->reading || c->in_flight >= IN_FLIGHT_MAX || c->out.bytes >= OUT_BYTES_MAX) {
		/* Gone, and not to be read from: what is under way has nobody to answer to. */
		c->refs++;
		if (events & EPOLLHUP)
			close_locked(t, c);
		arm_locked(t, c);
		unref_locked(t, c);
		mutex_unlock(&c->lock);
		return;
	}
	c->refs++;
	c->reading = true;
	mutex_unlock(&c->lock);

	while (read_and_serve(w, c) && !atomic_load_explicit(&t->stopping, memory_order_relaxed) &&
	       linger(t, c))
		;
	mutex_lock(&c->lock);
	unref_locked(t, c);
	mutex_unlock(&c->lock);
}

/* ---- Time ---- */

static bool timed_out(const struct transport *t, const struct conn *c, uint64_t now)
{
	uint64_t silent = front_ms_since(now, c->active_ms);

	if (c->out.bytes > 0)
		return silent > t->stall_ms;
	if (c->in_flight > 0)
		return false;
	if (c->record_ms > 0)
		return silent > t->stall_ms ||
		       front_ms_since(now, c->record_ms) > (uint64_t)t->stall_ms * RECORD_STALLS;
	return silent > t->idle_ms;
}

static void sweep(struct transport *t)
{
	uint64_t now = front_now_ms(), ticks;

	if (read(t->timer_fd, &ticks, sizeof(ticks)) < 0)
		return; /* another worker was faster */
	for (unsigned i = 0; i < t->n_conns; i++) {
		struct conn *c = &t->conns[i];

		mutex_lock(&c->lock);
		if (c->fd >= 0 && !c->closed && timed_out(t, c, now)) {
			atomic_fetch_add(&t->front->timed_out, 1);
			c->refs++;
			close_locked(t, c);
			unref_locked(t, c);
		}
		mutex_unlock(&c->lock);
	}
	if (atomic_exchange(&t->accept_paused, false))
		arm_listen(t);
}

/* ---- Workers ---- */

static void *work(void *arg)
{
	struct worker *w = arg;
	struct transport *t = w->t;

	while (!atomic_load_explicit(&t->stopping, memory_order_relaxed)) {
		struct epoll_event ev;
		int n = epoll_wait(t->epoll_fd, &ev, 1, -1);

		if (n <= 0)
			continue;
		if (ev.data.u64 == TOKEN_STOP)
			break;
		if (ev.data.u64 == TOKEN_LISTEN)
			accept_all(t);
		else if (ev.data.u64 == TOKEN_TIMER)
			sweep(t);
		else
			handle_conn(w, ev.data.u64, ev.events);
	}
	return NULL;
}

static int start_thread(struct worker *w)
{
	sigset_t all, old;
	int r;

	(void)sigfillset(&all); /* cannot fail */
	r = pthread_sigmask(SIG_SETMASK, &all, &old);
	if (r == 0) {
		r = pthread_create(&w->thread, NULL, work, w);
		(void)pthread_sigmask(SIG_SETMASK, &old, NULL); /* a mask we had before */
	}
	return -r;
}

int transport_start(struct transport *t)
{
	for (unsigned i = 0; i < t->front->n_workers; i++) {
		int r = start_thread(&t->workers[i]);

		if (r < 0) {
			transport_stop(t);
			transport_wait(t);
			return r;
		}
		t->n_running++;
	}
	return 0;
}

void transport_stop(struct transport *t)
{
	const uint64_t one = 1;
	int saved = errno;

	atomic_store(&t->stopping, true);
	/* Can only fail because it is set to the brim. */
	if (write(t->stop_fd, &one, sizeof(one)) < 0)
		errno = saved;
}

/* Let the peer take what it was answered, if it does so soon. */
static void drain(struct conn *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLOUT };

	while (c->out.bytes > 0 && poll(&p, 1, DRAIN_MS) > 0) {
		if ((p.revents & (POLLERR | POLLHUP)) || !flush_locked(c))
			return;
	}
}

void transport_wait(struct transport *t)
{
	struct pollfd p = { .fd = t->stop_fd, .events = POLLIN };

	while (poll(&p, 1, -1) <= 0)
		; /* a signal: its handler may have asked to stop */
	for (; t->n_running > 0; t->n_running--)
		(void)pthread_join(t->workers[t->n_running - 1].thread, NULL);
	for (unsigned i = 0; i < t->n_conns; i++) {
		struct conn *c = &t->conns[i];

		mutex_lock(&c->lock);
		if (c->fd >= 0) {
			if (!c->closed)
				drain(c);
			c->refs++;
			close_locked(t, c);
			unref_locked(t, c);
		}
		mutex_unlock(&c->lock);
	}
}

/* ---- Making and freeing ---- */

static int watch(struct transport *t, int fd, uint32_t events, uint64_t token)
{
	struct epoll_event ev = { .events = events, .data.u64 = token };

	return epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* The socket outlives a server that has a supervisor: clients who connect meanwhile wait. */
static int listen_on(struct transport *t, const struct transport_config *config)
{
	int kept = config->link ? state_kept(config->link->state, STATE_FD_NFS, 0) : -1;
	const int one = 1;

	if (kept >= 0) {
		t->listen_fd = fcntl(kept, F_DUPFD_CLOEXEC, 0);
		return t->listen_fd < 0 ? -errno : 0;
	}
	t->listen_fd = socket(config->listen->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			      0);
	if (t->listen_fd < 0)
		return -errno;
	/* A server that is started again need not wait for the old one's connections. */
	if (setsockopt(t->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(t->listen_fd, (const struct sockaddr *)config->listen, config->listen_len) < 0 ||
	    listen(t->listen_fd, 128) < 0)
		return -errno;
	return config->link ? super_keep(config->link, STATE_FD_NFS, 0, t->listen_fd) : 0;
}

static int open_fds(struct transport *t, const struct transport_config *config)
{
	const struct itimerspec every = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	struct sockaddr_storage bound;
	socklen_t len = sizeof(bound);
	int r;

	r = listen_on(t, config);
	if (r < 0)
		return r;
	if (getsockname(t->listen_fd, (struct sockaddr *)&bound, &len) < 0)
		return -errno;
	/* The port has the same place in both families. */
	t->port = ntohs(((const struct sockaddr_in *)&bound)->sin_port);
	t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	t->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (t->epoll_fd < 0 || t->stop_fd < 0 || t->timer_fd < 0 ||
	    timerfd_settime(t->timer_fd, 0, &every, NULL) < 0)
		return -errno;
	if (watch(t, t->listen_fd, EPOLLIN | EPOLLONESHOT, TOKEN_LISTEN) < 0 ||
	    watch(t, t->stop_fd, EPOLLIN, TOKEN_STOP) < 0 ||
	    watch(t, t->timer_fd, EPOLLIN | EPOLLEXCLUSIVE, TOKEN_TIMER) < 0)
		return -errno;
	return 0;
}

static int make_tables(struct transport *t)
{
	t->conns = calloc(t->n_conns, sizeof(*t->conns));
	t->free_conns = calloc(t->n_conns, sizeof(*t->free_conns));
	t->free_bufs = calloc(t->front->n_workers, sizeof(*t->free_bufs));
	t->workers = calloc(t->front->n_workers, sizeof(*t->workers));
	if (!t->conns || !t->free_conns || !t->free_bufs || !t->workers)
		return -ENOMEM;
	for (unsigned i = 0; i < t->n_conns; i++) {
		mutex_init(&t->conns[i].lock, RANK_RDIR);
		t->conns[i].fd = -1;
		queue_init(&t->conns[i].out);
		t->free_conns[t->n_free++] = t->n_conns - 1 - i;
	}
	for (unsigned i = 0; i < t->front->n_workers; i++) {
		t->workers[i] = (struct worker){ .t = t, .number = i };
		t->workers[i].out = malloc(4 + NFS_MAX_ANSWER);
		if (!t->workers[i].out)
			return -ENOMEM;
	}
	return 0;
}

int transport_new(struct nfs_front *front, const struct transport_config *config,
		  struct transport **ret)
{
	struct transport *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->front = front;
	lone_init(&t->lone);
	t->listen_fd = t->epoll_fd = t->stop_fd = t->timer_fd = -1;
	t->n_conns = config->max_connections;
	t->idle_ms = config->idle_seconds * 1000;
	t->stall_ms = config->stall_seconds * 1000;
	mutex_init(&t->lock, RANK_LEAF);
	r = make_tables(t);
	if (r == 0)
		r = open_fds(t, config);
	if (r < 0) {
		transport_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

void transport_free(struct transport *t)
{
	const int *fds[] = { &t->listen_fd, &t->epoll_fd, &t->stop_fd, &t->timer_fd };

	CHECK(t->n_running == 0);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (*fds[i] >= 0)
			(void)close(*fds[i]);
	}
	for (unsigned i = 0; t->workers && i < t->front->n_workers; i++)
		free(t->workers[i].out);
	while (t->n_bufs > 0)
		buf_free(t->free_bufs[--t->n_bufs]);
	free(t->free_bufs);
	free(t->free_conns);
	free(t->conns);
	free(t->workers);
	free(t);
}

unsigned transport_port(const struct transport *t)
{
	return t->port;
}

unsigned transport_connections(struct transport *t)
{
	unsigned n;

	mutex_lock(&t->lock);
	n = t->n_conns - t->n_free;
	mutex_unlock(&t->lock);
	return n;
}
