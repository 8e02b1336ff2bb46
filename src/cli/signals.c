/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signals of the server, taken by one thread with sigwait(): SIGTERM and SIGINT end
 * it, SIGUSR1
 * asks for statistics.  SIGHUP and SIGPIPE mean nothing here and are ignored.
 *
 * `lock` protects the front end and the stack against going away while statistics are read.
 */
#include "cli/cli.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t thread;
/* Under `lock`. */
static struct fuse_front *serving_fuse;
static struct nfs_front *serving_nfs;
static struct lam_stack *serving_stack;
static bool mounting;			    /* between signals_mounting() and signals_serving() */
static bool wanted;			    /* a signal to end came in that time */
static bool ending;			    /* signals_stop() was called */
static bool retired;			    /* the mount goes to another worker */
static const struct super_link *supervisor; /* set before there is a thread; NULL: none */

static void set_of_signals(sigset_t *set)
{
	(void)sigemptyset(set); /* these fail only for bad arguments */
	(void)sigaddset(set, SIGTERM);
	(void)sigaddset(set, SIGINT);
	(void)sigaddset(set, SIGUSR1);
	if (!supervisor)
		return;
	(void)sigaddset(set, SUPER_SIGNAL_RETIRE);
	(void)sigaddset(set, SUPER_SIGNAL_ALONE);
}

static void print_requests(const struct fuse_front_stats *s)
{
	for (unsigned i = 0; i < FUSE_FRONT_OPS; i++) {
		const char *name = fuse_front_op_name(i);

		if (s->requests[i] > 0)
			message_answer("requests: %s %llu", name ? name : "(unknown)",
				       (unsigned long long)s->requests[i]);
	}
}

static void print_fuse(void)
{
	struct fuse_front_stats front;

	fuse_front_stats(serving_fuse, &front);
	message_answer("transport %s, threads %u; held ids %llu; errors %llu, malformed %llu, "
		       "interrupted %llu; notifications %llu",
		       front.transport, front.threads, (unsigned long long)front.held_ids,
		       (unsigned long long)front.errors, (unsigned long long)front.malformed,
		       (unsigned long long)front.interrupted,
		       (unsigned long long)front.notifications);
	print_requests(&front);
}

static void print_nfs(void)
{
	struct nfs_front_stats s;

	nfs_front_stats(serving_nfs, &s);
	message_answer("nfs: connections %u, refused %llu, timed out %llu; errors %llu, "
		       "malformed %llu; replays %llu; mount requests %llu",
		       s.connections, (unsigned long long)s.refused,
		       (unsigned long long)s.timed_out, (unsigned long long)s.errors,
		       (unsigned long long)s.malformed, (unsigned long long)s.replays,
		       (unsigned long long)s.mount_requests);
	for (unsigned i = 0; i < NFS_FRONT_PROCS; i++) {
		if (s.requests[i] > 0)
			message_answer("nfs requests: %s %llu", nfs_front_proc_name(i),
				       (unsigned long long)s.requests[i]);
	}
}

/* With `lock` held. */
static void print_statistics(void)
{
	struct lam_stats stack;

	if (!serving_stack)
		return;
	lam_stack_stats(serving_stack, &stack);
	message_answer("nodes %llu, bytes %llu; descriptors %llu; listings %llu, bytes %llu",
		       (unsigned long long)stack.nodes, (unsigned long long)stack.node_bytes,
		       (unsigned long long)stack.fds, (unsigned long long)stack.listings,
		       (unsigned long long)stack.listing_bytes);
	message_answer("copied up %llu, bytes %llu; whiteouts made %llu; orphans %llu",
		       (unsigned long long)stack.copyups, (unsigned long long)stack.copyup_bytes,
		       (unsigned long long)stack.whiteouts, (unsigned long long)stack.orphans);
	if (serving_fuse)
		print_fuse();
	if (serving_nfs)
		print_nfs();
}

/* With `lock` held. */
static void stop_all(void)
{
	if (serving_nfs)
		nfs_front_stop(serving_nfs);
	if (serving_fuse)
		fuse_front_stop(serving_fuse);
}

/* With `lock` held.  What clients of NFS have under way is as good as lost with a connection: they ask
 * again, and the next worker knows what was done. */
static void retire(void)
{
	retired = true;
	if (!serving_stack)
		_exit(SUPER_EXIT_RETIRED);
	if (serving_fuse)
		fuse_front_retire(serving_fuse);
	else
		nfs_front_stop(serving_nfs);
}

/* With `lock` held.  Whoever goes on has what the supervisor had, or nobody does: then this process serves
 * to the end. */
static void be_alone(void)
{
	if (supervisor->fdstore)
		retire();
	else
		message_log(LOG_WARNING,
			    "the supervisor is gone: if this server ends, the mount ends");
}

/* With `lock` held.  Returns whether the thread is done. */
static bool handle(int signo)
{
	if (ending)
		return true;
	if (signo == SIGUSR1) {
		print_statistics();
		return false;
	}
	if (signo == SUPER_SIGNAL_RETIRE)
		retire();
	else if (signo == SUPER_SIGNAL_ALONE)
		be_alone();
	else if (serving_stack)
		stop_all();
	else if (mounting)
		wanted = true;
	else
		_exit(1); /* nothing is mounted; the stack is opened anew as after a crash */
	return false;
}

static void *wait_for_signals(void *arg)
{
	sigset_t set;
	bool done = false;

	(void)arg;
	set_of_signals(&set);
	while (!done) {
		int signo;

		if (sigwait(&set, &signo) != 0)
			continue;
		(void)pthread_mutex_lock(&lock);
		done = handle(signo);
		(void)pthread_mutex_unlock(&lock);
	}
	return NULL;
}

void signals_supervised(const struct super_link *link)
{
	supervisor = link;
}

bool signals_retired(void)
{
	bool r;

	(void)pthread_mutex_lock(&lock);
	r = retired;
	(void)pthread_mutex_unlock(&lock);
	return r;
}

int signals_start(void)
{
	sigset_t set;
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	set_of_signals(&set);
	r = pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (r != 0)
		return -r;
	r = pthread_create(&thread, NULL, wait_for_signals, NULL);
	return -r;
}

void signals_mounting(void)
{
	(void)pthread_mutex_lock(&lock);
	mounting = true;
	(void)pthread_mutex_unlock(&lock);
}

void signals_serving(struct fuse_front *fuse, struct nfs_front *nfs, struct lam_stack *stack)
{
	(void)pthread_mutex_lock(&lock);
	mounting = false;
	serving_fuse = fuse;
	serving_nfs = nfs;
	serving_stack = stack;
	if (wanted)
		stop_all();
	(void)pthread_mutex_unlock(&lock);
}

void signals_stop(void)
{
	(void)pthread_mutex_lock(&lock);
	ending = true;
	serving_fuse = NULL;
	serving_nfs = NULL;
	serving_stack = NULL;
	(void)pthread_mutex_unlock(&lock);
	(void)pthread_kill(thread, SIGUSR1); /* wakes it; it looks at `ending` first */
	(void)pthread_join(thread, NULL);
}
