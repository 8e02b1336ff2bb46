/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The front end as a whole: open, serve, stop, close.
 *
 * To end in order: take the mount away while everything is still served (unmounting writes dirty
 * pages back), then let the late threads finish, who may wait for WRITEs, then the serving threads.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "super/super.h"

/* About 68 years: for ever, and no overflow in the kernel's arithmetic. */
#define TTL_FOREVER UINT64_C(0x7fffffff)
#define SLOW_THREADS 4u

static struct ttl ttl_of(double seconds)
{
	double whole = seconds;

	if (!(seconds >= 0) || seconds >= (double)TTL_FOREVER)
		return (struct ttl){ .sec = TTL_FOREVER };
	return (struct ttl){
		.sec = (uint64_t)whole,
		.nsec = (uint32_t)((whole - (double)(uint64_t)whole) * 1e9),
	};
}

static unsigned default_threads(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (cpus < 2)
		return 4;
	return cpus > 8 ? 16 : (unsigned)cpus * 2;
}

static int check_config(const struct fuse_front_config *config)
{
	if (config->allow_other && config->allow_root) {
		log_error("allow_other and allow_root exclude each other");
		return -EINVAL;
	}
	if (config->writeback && config->passthrough == FUSE_PASSTHROUGH_ON) {
		log_error("writeback caching and passthrough exclude each other");
		return -EINVAL;
	}
	if (config->transport == FUSE_TRANSPORT_URING && !uring_usable()) {
		log_error("FUSE over io_uring is switched off in this kernel "
			  "(/sys/module/fuse/parameters/enable_uring)");
		return -EOPNOTSUPP;
	}
	return 0;
}

/* Why requests do not come over io_uring; NULL: they may. */
static const char *why_no_uring(const struct fuse_front *front,
				const struct fuse_front_config *config)
{
	if (config->transport == FUSE_TRANSPORT_DEV)
		return "transport=dev was asked for";
	if (front->link)
		return "a ring ends with its server, and a supervisor is in use (supervisor=off)";
	return uring_usable() ? NULL
			      : "it is switched off in this kernel "
				"(/sys/module/fuse/parameters/enable_uring)";
}

static void apply_config(struct fuse_front *front, const struct fuse_front_config *config)
{
	struct lam_info info;

	front->link = config->link && config->link->state ? config->link : NULL;

	lam_stack_info(front->stack, &info);
	front->read_only = !info.writable;
	front->breaks_links = info.writable && !info.index;
	front->owner = (uint32_t)getuid();
	front->root_only = config->allow_root;
	front->opens_answered = config->opens_answered;
	front->no_acl = config->no_acl;
	front->no_xattr = config->no_xattr;
	front->writeback = config->writeback;
	front->want_passthrough = config->passthrough != FUSE_PASSTHROUGH_OFF && !config->writeback;
	front->want_write = config->max_write;
	front->entry_ttl = ttl_of(config->entry_ttl);
	front->attr_ttl = ttl_of(config->attr_ttl);
	front->negative_ttl = ttl_of(config->negative_ttl);
	front->forever = front->attr_ttl.sec == TTL_FOREVER && front->entry_ttl.sec == TTL_FOREVER;
	/* A ring goes with its worker, and with it what was asked through it. */
	front->no_uring = why_no_uring(front, config);
	front->uring = !front->no_uring;
	front->uring_or_fail = config->transport == FUSE_TRANSPORT_URING;
	front->n_dev = config->threads ? config->threads : default_threads();
	if (front->n_dev > CREW_MAX)
		front->n_dev = CREW_MAX;
}

/* Slots, in this order: /dev/fuse threads, queues, seekers, slow ones. */
static int make_threads(struct fuse_front *front)
{
	unsigned n_slow = front->uring ? SLOW_THREADS : 1;

	if (front->uring) {
		front->n_queues = uring_queues();
		/* FORGET and INTERRUPT still come by /dev/fuse; forgetting may remove a file, which
		 * must not keep an interrupt waiting. */
		front->n_dev = 2;
	}
	front->n_slots = front->n_dev + front->n_queues + 1 + n_slow;
	front->slots = aligned_alloc(_Alignof(struct slot),
				     front->n_slots * sizeof(front->slots[0]));
	if (!front->slots)
		return -ENOMEM;
	memset(front->slots, 0, front->n_slots * sizeof(front->slots[0]));
	front->latencies = latency_new(front->n_slots);
	if (!front->latencies)
		return -ENOMEM;
	for (unsigned i = 0; i < front->n_slots; i++) {
		mutex_init(&front->slots[i].lock, RANK_LEAF);
		front->slots[i].latencies = &front->latencies[i];
	}
	if (!front->uring && crew_init(&front->crew, front->n_dev) < 0)
		return -ENOMEM;
	front->seekers = late_pool_new(&front->slots[front->n_slots - n_slow - 1], 1);
	front->slow = late_pool_new(&front->slots[front->n_slots - n_slow], n_slow);
	return front->seekers && front->slow ? 0 : -ENOMEM;
}

/* After the handshake: what the kernel offers may not be permitted. */
static int start_passthrough(struct fuse_front *front, bool demanded)
{
	int r = -EOPNOTSUPP;

	if (!front->want_passthrough)
		return 0;
	if (front->successor)
		r = front->link->state->mem->fuse.passthrough ? 0 : -EOPNOTSUPP;
	else if (front->proto.flags & FUSE_PASSTHROUGH)
		r = passthrough_probe(front->fd);
	if (r == 0) {
		front->passthrough = passthrough_new(front);
		return front->passthrough ? 0 : -ENOMEM;
	}
	front->passthrough_error = r;
	if (!demanded)
		return 0;
	log_error("passthrough is not available: %s",
		  r == -EPERM ? "only root outside of user namespaces may use it" : log_errno(r));
	return r;
}

/* ---- What is left for the next worker ---- */

/* Go on with the connection of another worker. */
static int take_over(struct fuse_front *front)
{
	const struct state_fuse *f = &front->link->state->mem->fuse;

	front->successor = true;
	front->fd = state_kept(front->link->state, STATE_FD_FUSE, 0);
	front->by_helper = f->by_helper;
	front->proto = (struct protocol){
		.minor = f->minor,
		.flags = f->flags,
		.max_write = f->max_write,
		.max_pages = f->max_pages,
		.payload = f->payload,
		.zero_open = f->zero_open,
	};
	if (front->fd < 0)
		return -EBADF;
	if (f->mountpoint[0] == '\0')
		return 0;
	front->mountpoint = strndup(f->mountpoint, sizeof(f->mountpoint));
	return front->mountpoint ? 0 : -ENOMEM;
}

static int connect_front(struct fuse_front *front, const struct fuse_front_config *config)
{
	int r;

	if (front->link && front->link->successor &&
	    atomic_load(&front->link->state->mem->fuse.agreed))
		return take_over(front);
	r = mount_attach(front, config);
	return r < 0 ? r : init_handshake(front);
}

/* Say what was agreed upon, for those who come after. */
static int record(struct fuse_front *front)
{
	struct state_fuse *f;

	if (!front->link || front->successor)
		return 0;
	f = &front->link->state->mem->fuse;
	if (front->mountpoint && strlen(front->mountpoint) >= sizeof(f->mountpoint))
		return -ENAMETOOLONG;
	f->minor = front->proto.minor;
	f->flags = front->proto.flags;
	f->max_write = front->proto.max_write;
	f->max_pages = front->proto.max_pages;
	f->payload = front->proto.payload;
	f->zero_open = front->proto.zero_open;
	f->passthrough = front->passthrough != NULL;
	f->by_helper = front->by_helper;
	f->resend = (front->proto.flags & FUSE_HAS_RESEND) != 0;
	if (front->mountpoint)
		strcpy(f->mountpoint, front->mountpoint);
	atomic_store(&f->agreed, 1);
	return super_keep(front->link, STATE_FD_FUSE, 0, front->fd);
}

static struct fuse_front *front_new(struct lam_stack *stack)
{
	struct fuse_front *front = calloc(1, sizeof(*front));

	if (!front)
		return NULL;
	front->stack = stack;
	front->fd = -1;
	front->unmounter.fd = -1;
	mutex_init(&front->making, RANK_FRONT);
	front->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	front->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	front->holds = holds_new();
	if (front->stop_fd < 0 || front->quit_fd < 0 || !front->holds) {
		fuse_front_close(front);
		return NULL;
	}
	return front;
}

static void front_closep(struct fuse_front **front)
{
	fuse_front_close(*front);
}

int fuse_front_open(struct fuse_front **ret, struct lam_stack *stack,
		    const struct fuse_front_config *config)
{
	struct fuse_front *front __attribute__((cleanup(front_closep))) = NULL;
	int r;

	CHECK(stack && config->mountpoint);
	r = check_config(config);
	if (r < 0)
		return r;
	front = front_new(stack);
	if (!front) {
		log_error("out of memory");
		return -ENOMEM;
	}
	apply_config(front, config);
	r = connect_front(front, config);
	if (r < 0)
		return r;
	if (front->uring_or_fail && !front->uring) {
		log_error("this kernel has no FUSE over io_uring");
		return -EOPNOTSUPP;
	}
	r = start_passthrough(front, config->passthrough == FUSE_PASSTHROUGH_ON);
	if (r == 0)
		r = record(front);
	if (r < 0)
		return r;
	r = make_threads(front);
	if (r < 0) {
		log_error("out of memory");
		return r;
	}
	r = names_open(front);
	if (r < 0) {
		log_error("memory for the names of objects: %s", log_errno(r));
		return r;
	}
	if (front->by_helper)
		r = helper_stand_by(front->mountpoint, &front->unmounter);
	if (r < 0) {
		log_error("cannot start who is to unmount in the end: %s", log_errno(r));
		return r;
	}
	r = lam_stack_add_user(stack, front_in_use, front);
	if (r < 0) {
		log_error("the stack takes no further front end: %s", log_errno(r));
		return r;
	}
	*ret = TAKE_PTR(front);
	return 0;
}

int front_thread(pthread_t *ret, void *(*fn)(void *), void *arg)
{
	sigset_t all, old;
	int r;

	(void)sigfillset(&all); /* cannot fail */
	r = pthread_sigmask(SIG_SETMASK, &all, &old);
	if (r != 0)
		return -r;
	r = pthread_create(ret, NULL, fn, arg);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL); /* a mask we had before */
	return -r;
}

static void post(int fd)
{
	const uint64_t one = 1;
	ssize_t n = write(fd, &one, sizeof(one));

	(void)n; /* it can only fail because it is set to the brim */
}

void fuse_front_stop(struct fuse_front *front)
{
	int saved = errno;

	post(front->stop_fd);
	errno = saved;
}

void fuse_front_retire(struct fuse_front *front)
{
	atomic_store(&front->retiring, true);
	fuse_front_stop(front);
}

void front_ended(struct fuse_front *front, int r)
{
	/* ENODEV: unmounted.  ECONNABORTED, ENOTCONN: somebody ended the connection by force. */
	if (r != -ENODEV && r != -ECONNABORTED && r != -ENOTCONN) {
		int none = 0;

		log_error("talking to the kernel: %s", log_errno(r));
		(void)atomic_compare_exchange_strong(&front->failure, &none, r);
	}
	atomic_store(&front->dead, true);
	post(front->stop_fd);
}

static void wait_stop(struct fuse_front *front)
{
	struct pollfd p = { .fd = front->stop_fd, .events = POLLIN };
	int wait_ms = front->successor ? again_sweep(front) : -1, n;

	/* A signal: its handler may have asked to stop. */
	while ((n = poll(&p, 1, wait_ms)) <= 0) {
		if (n == 0)
			wait_ms = again_sweep(front);
	}
}

/*
 * Let what users of a busy filesystem have written through mappings reach the layers: after this
 * nobody is there to take it.
 */
static void detach(struct fuse_front *front)
{
	int fd CLEANUP_CLOSE = -1;

	if (atomic_load(&front->dead) || !front->mountpoint)
		return;
	fd = open(front->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mount_detach(front);
	front->detached = true;
	if (fd >= 0)
		(void)syncfs(fd); /* errors were shown to those who wrote */
}

/* Start everything; *N counts the threads that run, also after an error. */
static int start(struct fuse_front *front, pthread_t *threads, int *n)
{
	int r;

	r = late_pool_start(front->seekers);
	if (r == 0)
		r = late_pool_start(front->slow);
	if (r < 0)
		return r;
	if (front->uring) {
		r = uring_start(front, front->slots + front->n_dev, threads, n);
		if (r < 0)
			return r;
	}
	r = front->successor ? again_begin(front) : 0;
	if (r == 0)
		r = dev_start(front, front->slots, threads + *n);
	if (r < 0)
		return r;
	*n += r;
	return 0;
}

int fuse_front_serve(struct fuse_front *front)
{
	pthread_t *threads CLEANUP_FREE = calloc(front->n_dev + front->n_queues + 1,
						 sizeof(*threads));
	int n = 0, r;

	if (!threads)
		return -ENOMEM;
	r = start(front, threads, &n);
	if (r < 0) {
		log_error("cannot start the serving threads: %s", log_errno(r));
	} else {
		wait_stop(front);
		if (!atomic_load(&front->retiring))
			detach(front);
	}
	late_pool_stop(front->seekers);
	late_pool_stop(front->slow);
	atomic_store(&front->leaving, atomic_load(&front->retiring));
	atomic_store(&front->draining, true);
	post(front->quit_fd);
	for (int i = 0; i < n; i++)
		(void)pthread_join(threads[i], NULL); /* it is joinable */
	return r < 0 ? r : atomic_load(&front->failure);
}

static void gone(void *ctx, uint64_t id)
{
	struct fuse_front *front = ctx;

	lam_forget(front->stack, id);
}

void fuse_front_close(struct fuse_front *front)
{
	if (!front)
		return;
	if (front->fd >= 0) {
		/* This ends the connection; unmounting first could wait for an answer that nobody
		 * is there to give. */
		(void)close(front->fd);
		if (!atomic_load(&front->dead) && !front->detached)
			mount_detach(front);
	}
	helper_dismiss(&front->unmounter);
	/* With the connection the kernel's references are gone: so are orphans. */
	if (front->holds)
		holds_clear(front->holds, gone, front);
	holds_free(front->holds);
	late_pool_free(front->seekers);
	late_pool_free(front->slow);
	again_free(front);
	names_free(front->names);
	passthrough_free(front->passthrough);
	crew_done(&front->crew);
	latency_free(front->latencies, front->n_slots);
	free(front->slots);
	free(front->mountpoint);
	if (front->stop_fd >= 0)
		(void)close(front->stop_fd);
	if (front->quit_fd >= 0)
		(void)close(front->quit_fd);
	free(front);
}

/* What was wished for and is not in use, and why. */
static void refused(const struct fuse_front *front, struct fuse_front_stats *ret)
{
	if (!front->uring)
		ret->no_uring = front->no_uring ? front->no_uring : "this kernel has none";
	if (!front->proto.zero_open)
		ret->no_zero_open = front->opens_answered ? "answers to opens were asked for"
							  : "this kernel always asks";
	if (front->want_passthrough && !front->passthrough)
		ret->no_passthrough = front->passthrough_error == -EPERM
					      ? "only root outside of user namespaces may use it"
					      : "this kernel, or a layer's filesystem, has none";
	if (front->writeback && !ret->writeback)
		ret->no_writeback = "this kernel has none";
}

void fuse_front_stats(struct fuse_front *front, struct fuse_front_stats *ret)
{
	*ret = (struct fuse_front_stats){
		.held_ids = holds_count(front->holds),
		.notifications = atomic_load(&front->notifications),
		.transport = front->uring ? "io_uring" : "dev",
		.threads = atomic_load(&front->running),
		.minor = front->proto.minor,
		.flags = front->proto.flags,
		.zero_open = front->proto.zero_open,
		.writeback = (front->proto.flags & FUSE_WRITEBACK_CACHE) != 0,
		.passthrough = front->passthrough != NULL,
		.acl = (front->proto.flags & FUSE_POSIX_ACL) != 0,
	};
	refused(front, ret);
	for (unsigned k = 0; front->latencies && k < FUSE_FRONT_OPS; k++)
		latency_sum(front->latencies, front->n_slots, k, &ret->latency[k]);
	for (unsigned i = 0; i < front->n_slots; i++) {
		struct slot *s = &front->slots[i];

		for (unsigned k = 0; k < FUSE_FRONT_OPS; k++)
			ret->requests[k] += atomic_load_explicit(&s->requests[k],
								 memory_order_relaxed);
		ret->errors += atomic_load_explicit(&s->errors, memory_order_relaxed);
		ret->malformed += atomic_load_explicit(&s->malformed, memory_order_relaxed);
		ret->interrupted += atomic_load_explicit(&s->interrupted, memory_order_relaxed);
	}
}
