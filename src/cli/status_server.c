/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The end of `lamina status` in a server: a thread that waits for somebody to ask, and nothing else.  What it
 * tells is read from counters that others keep; nobody waits for it.
 *
 * Only root and the user who serves are told.  The rest sees a connection that is closed.
 */
#include "cli/status.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "lamina-config.h"

#define BIND_AGAIN_MS 50 /* the server before this one may have the name still */

struct status_server {
	const struct mount_plan *plan;
	const struct super_link *link;
	struct fuse_front *fuse;
	struct lam_stack *stack;
	uint64_t minor, since_ns;
	int listen_fd, stop_fd, statm_fd;
	pthread_t thread;
};

socklen_t status_address(uint64_t minor, struct sockaddr_un *ret)
{
	int n;

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, "lamina-status/%llu",
		     (unsigned long long)minor);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* fails only for unknown clocks */
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- What is told ---- */

static void feature(struct status *st, const char *name, bool wanted, bool on, const char *why)
{
	struct status_feature *f = &st->features[st->n_features];

	if (st->n_features == STATUS_FEATURES)
		return;
	st->n_features++;
	(void)snprintf(f->name, sizeof(f->name), "%s", name);
	f->state = on ? STATUS_ON : wanted ? STATUS_REFUSED : STATUS_OFF;
	if (!on && why)
		(void)snprintf(f->why, sizeof(f->why), "%s", why);
}

static void stack_features(const struct status_server *s, struct status *st)
{
	const struct lam_config *c = lam_options_config(s->plan->stack);
	const bool upper = c->upper != NULL;
	struct lam_info i;

	lam_stack_info(s->stack, &i);
	st->writable = i.writable;
	feature(st, "index", upper && c->index != LAM_OFF, i.index,
		!upper		 ? "there is no upper directory"
		: !i.upper_xattr ? "upper's filesystem has no extended attributes"
				 : "upper's filesystem gives no file handles");
	feature(st, "nfs_export", c->nfs_export == LAM_ON, i.nfs_export,
		c->nfs_export == LAM_ON ? "it needs an index and whiteouts as device nodes" : NULL);
	feature(st, "redirect_dir",
		upper && (c->redirect_dir == LAM_REDIRECT_DEFAULT ||
			  c->redirect_dir == LAM_REDIRECT_ON),
		i.redirect, i.upper_xattr ? NULL : "upper's filesystem has no extended attributes");
	feature(st, "metacopy", c->metacopy == LAM_ON, i.metacopy,
		c->metacopy == LAM_ON ? "upper's filesystem has no extended attributes" : NULL);
	feature(st, "handles", true, i.resolves_files,
		"files of a layer cannot be opened by handle (privilege, or its filesystem)");
	feature(st, "tmpfile", upper, i.upper_tmpfile, "upper's filesystem has no O_TMPFILE");
	feature(st, "char_whiteouts", upper, i.upper_char_whiteout,
		"upper's filesystem has no device nodes");
	feature(st, "trusted_xattr", c->userxattr != LAM_ON,
		strncmp(i.xattr_prefix, "trusted.", 8) == 0, "user.overlay. is in use");
}

static void front_features(const struct status_server *s, const struct fuse_front_stats *f,
			   struct status *st)
{
	const struct fuse_front_config *c = &s->plan->front;

	feature(st, "io_uring", c->transport != FUSE_TRANSPORT_DEV, !f->no_uring, f->no_uring);
	feature(st, "zero_message_opens", !c->opens_answered, f->zero_open, f->no_zero_open);
	feature(st, "passthrough", c->passthrough != FUSE_PASSTHROUGH_OFF, f->passthrough,
		f->no_passthrough);
	feature(st, "writeback", c->writeback, f->writeback, f->no_writeback);
	feature(st, "acl", !c->no_acl, f->acl, c->no_acl ? NULL : "this kernel has none");
}

/* The second number of /proc/self/statm: pages in memory. */
static uint64_t resident(const struct status_server *s)
{
	char text[128];
	unsigned long long pages = 0;
	struct rusage usage;
	ssize_t n = pread(s->statm_fd, text, sizeof(text) - 1, 0);

	/* A successor opens no path, as the mount may cover it: the most that it ever had. */
	if (n <= 0)
		return getrusage(RUSAGE_SELF, &usage) < 0 ? 0 : (uint64_t)usage.ru_maxrss * 1024;
	text[n] = '\0';
	if (sscanf(text, "%*u %llu", &pages) != 1)
		return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void fill(const struct status_server *s, struct status *st)
{
	struct fuse_front_stats f;

	*st = (struct status){ .magic = STATUS_MAGIC,
			       .version = STATUS_VERSION,
			       .size = sizeof(*st),
			       .now_ns = now_ns(),
			       .since_ns = s->since_ns,
			       .rss_bytes = resident(s),
			       .pid = getpid() };
	if (s->link->state) {
		const struct state_memory *mem = s->link->state->mem;

		st->supervisor = s->link->parent;
		st->generation = atomic_load(&mem->generation);
		st->deaths = atomic_load(&mem->deaths);
		st->upgrades = atomic_load(&mem->upgrades);
		st->gap_us = atomic_load(&mem->last_gap_us);
	}
	fuse_front_stats(s->fuse, &f);
	lam_stack_stats(s->stack, &st->stack);
	st->held_ids = f.held_ids;
	st->errors = f.errors;
	st->malformed = f.malformed;
	st->interrupted = f.interrupted;
	st->notifications = f.notifications;
	st->threads = f.threads;
	memcpy(st->requests, f.requests, sizeof(st->requests));
	memcpy(st->latency, f.latency, sizeof(st->latency));
	stack_features(s, st);
	front_features(s, &f, st);
}

static void put(FILE *f, const char *text)
{
	(void)fputs(text ? text : "", f); /* errors are looked at when the stream ends */
	(void)fputc('\0', f);
}

static int make_text(const struct status_server *s, struct status *st, char **ret)
{
	const struct lam_config *c = lam_options_config(s->plan->stack);
	size_t len = 0;
	FILE *f = open_memstream(ret, &len);

	if (!f)
		return -ENOMEM;
	put(f, LAMINA_VERSION);
	put(f, s->plan->mountpoint);
	put(f, c->upper);
	put(f, c->work);
	for (size_t i = 0; i < c->n_lower; i++)
		put(f, c->lower[i]);
	for (size_t i = 0; i < c->n_data_lower; i++)
		put(f, c->data_lower[i]);
	if (fclose(f) != 0) {
		free(TAKE_PTR(*ret));
		return -ENOMEM;
	}
	st->n_lower = (uint32_t)c->n_lower;
	st->n_data = (uint32_t)c->n_data_lower;
	st->text_len = len;
	return 0;
}

/* ---- Who asks ---- */

static void send_all(int sock, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = send(sock, at, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* he left, or is too slow */
		at += n;
		len -= (size_t)n;
	}
}

static void answer(const struct status_server *s)
{
	CLEANUP_CLOSE int sock = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	CLEANUP_FREE struct status *st = NULL;
	CLEANUP_FREE char *text = NULL;
	const struct timeval patience = { .tv_sec = 1 };
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (sock < 0 || getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return;
	if (peer.uid != 0 && peer.uid != geteuid())
		return; /* closed without a word */
	if (setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		return;
	st = malloc(sizeof(*st));
	if (!st)
		return;
	fill(s, st);
	if (make_text(s, st, &text) < 0)
		return;
	send_all(sock, st, sizeof(*st));
	send_all(sock, text, st->text_len);
}

static void try_listen(struct status_server *s)
{
	struct sockaddr_un address;
	socklen_t len = status_address(s->minor, &address);
	CLEANUP_CLOSE int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (sock >= 0 && bind(sock, (const struct sockaddr *)&address, len) == 0 &&
	    listen(sock, 4) == 0)
		s->listen_fd = TAKE_FD(sock);
}

static void *status_main(void *arg)
{
	struct status_server *s = arg;

	for (;;) {
		struct pollfd p[2] = {
			{ .fd = s->stop_fd, .events = POLLIN },
			{ .fd = s->listen_fd, .events = POLLIN },
		};

		if (poll(p, 2, s->listen_fd < 0 ? BIND_AGAIN_MS : -1) < 0 && errno != EINTR)
			return NULL;
		if (p[0].revents)
			return NULL;
		if (s->listen_fd < 0)
			try_listen(s);
		else if (p[1].revents & POLLIN)
			answer(s);
	}
}

/* ---- Start and end ---- */

/* The number of the connection, without asking its server: this process. */
static uint64_t connection_of(const struct mount_plan *plan, const struct super_link *link)
{
	struct statx st;

	if (link->successor)
		return link->state->mem->fuse.conn_minor;
	if (!plan->mountpoint || strncmp(plan->mountpoint, "/dev/fd/", 8) == 0 ||
	    statx(AT_FDCWD, plan->mountpoint, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE,
		  &st) < 0)
		return 0;
	return st.stx_dev_minor;
}

static void server_free(struct status_server *s)
{
	const int fds[] = { s->listen_fd, s->stop_fd, s->statm_fd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (fds[i] >= 0)
			(void)close(fds[i]); /* nothing is kept in them */
	}
	free(s);
}

struct status_server *status_start(const struct mount_plan *plan, const struct super_link *link,
				   struct fuse_front *fuse, struct lam_stack *stack)
{
	uint64_t minor = fuse ? connection_of(plan, link) : 0;
	struct status_server *s = minor ? calloc(1, sizeof(*s)) : NULL;
	sigset_t all, old;
	int r;

	if (!s)
		return NULL;
	*s = (struct status_server){ .plan = plan,
				     .link = link,
				     .fuse = fuse,
				     .stack = stack,
				     .minor = minor,
				     .since_ns = now_ns(),
				     .listen_fd = -1 };
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->statm_fd = link->successor ? -1 : open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	try_listen(s);
	(void)sigfillset(&all); /* cannot fail */
	r = s->stop_fd < 0 ? EMFILE : pthread_sigmask(SIG_SETMASK, &all, &old);
	if (r == 0) {
		r = pthread_create(&s->thread, NULL, status_main, s);
		(void)pthread_sigmask(SIG_SETMASK, &old, NULL); /* a mask we had before */
	}
	if (r == 0)
		return s;
	server_free(s);
	return NULL;
}

void status_stop(struct status_server *s)
{
	const uint64_t one = 1;

	if (!s)
		return;
	if (write(s->stop_fd, &one, sizeof(one)) == (ssize_t)sizeof(one))
		(void)pthread_join(s->thread, NULL); /* it is joinable */
	server_free(s);
}
