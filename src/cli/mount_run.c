/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mounting and serving: the order of the steps of a server's life.
 *
 * The stack is opened before the mount, as its layers may lie under the mountpoint; after the mount
 * no path is looked up here.  The fork comes before everything that may start a thread.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/confine.h"
#include "cli/status.h"

/* Each cached descriptor counts, and the soft limit is small for the sake of select(2) only. */
void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit); /* if not: the library keeps to what there is */
}

static void join_nfs(struct mount_plan *plan)
{
	struct lam_config *stack = lam_options_config(plan->stack);

	/* What tells this export from others that share its key. */
	if (stack->n_lower > 0)
		plan->nfs.config.export_id = stack->upper ? stack->upper : stack->lower[0];
	/* Only the complete index tells that an object below is gone when all there is of it is a
	 * handle. */
	if (stack->nfs_export == LAM_DEFAULT && stack->index != LAM_OFF &&
	    stack->metacopy != LAM_ON)
		stack->nfs_export = LAM_ON;
}

/* Settings that the stack and the front ends have in common. */
static void join_settings(struct mount_plan *plan)
{
	struct fuse_front_config *front = &plan->front;
	struct lam_config *stack = lam_options_config(plan->stack);

	if (plan->nfs.wanted)
		join_nfs(plan);
	front->mountpoint = plan->mountpoint;
	front->subtype = plan->subtype ? plan->subtype : message_program();
	front->fsname = plan->fsname ? plan->fsname : front->subtype;
	front->extra_options = plan->extra_options;
	if (front->mount_flags & MS_RDONLY)
		stack->read_only = true;
	front->read_only = stack->read_only;
	front->no_acl = stack->no_acl || stack->no_xattr;
	front->no_xattr = stack->no_xattr;
	/* An end to what the kernel remembers is asked for by those who change layers underneath. */
	if (front->entry_ttl >= 0 || front->attr_ttl >= 0 || front->negative_ttl >= 0)
		stack->watch_lower = true;
	/* Who sees lower layers change must not cache for ever, unless told how long. */
	if (stack->watch_lower && front->entry_ttl < 0 && front->attr_ttl < 0)
		front->entry_ttl = front->attr_ttl = front->negative_ttl = 1;
	/* Nor keep listings: that a lower part of a directory has changed does not show in its time. */
	front->opens_answered |= stack->watch_lower;
}

/* What can be seen to be wrong without opening anything. */
static int check(const struct lam_config *stack)
{
	if (stack->n_lower == 0) {
		message_error("no lower directory given (-o lowerdir=DIR[:DIR...])");
		return -EINVAL;
	}
	if (stack->upper && !stack->work) {
		message_error("an upper directory needs a work directory beside it (-o workdir=)");
		return -EINVAL;
	}
	if (stack->work && !stack->upper) {
		message_error("a work directory is given but no upper directory (-o upperdir=)");
		return -EINVAL;
	}
	return 0;
}

/* ---- Serving ---- */

/* The front ends of one stack; NULL where not wanted. */
struct fronts {
	struct fuse_front *fuse;
	struct nfs_front *nfs;
};

static void nfs_changed(void *ctx, uint64_t id)
{
	const struct fronts *fronts = ctx;

	fuse_front_changed(fronts->fuse, id);
}

static void nfs_name_changed(void *ctx, uint64_t parent, const char *name)
{
	const struct fronts *fronts = ctx;

	fuse_front_name_changed(fronts->fuse, parent, name);
}

static int open_nfs(struct mount_plan *plan, struct lam_stack *stack, struct fronts *fronts)
{
	struct nfs_front_config *config = &plan->nfs.config;
	int r;

	if (plan->mountpoint) {
		/* The kernel caches what clients of NFS change. */
		config->shared = true;
		config->changed = nfs_changed;
		config->name_changed = nfs_name_changed;
		config->ctx = fronts;
	}
	r = nfs_front_open(&fronts->nfs, stack, config);
	if (r < 0)
		message_failed("cannot serve by NFS: %s", log_errno(r));
	return r;
}

/* FUSE last: a mount that is made is seen at once. */
static int open_fronts(struct mount_plan *plan, struct lam_stack *stack, struct fronts *fronts)
{
	int r = plan->nfs.wanted ? open_nfs(plan, stack, fronts) : 0;

	if (r == 0 && plan->mountpoint) {
		r = fuse_front_open(&fronts->fuse, stack, &plan->front);
		if (r < 0)
			message_failed("cannot mount on %s: %s", QUOTE(plan->mountpoint),
				       log_errno(r));
	}
	if (r == 0 && fronts->nfs) {
		r = nfs_front_start(fronts->nfs);
		if (r < 0)
			message_failed("cannot serve by NFS: %s", log_errno(r));
	}
	return r;
}

static struct confine_needs needs_of(const struct mount_plan *plan)
{
	return (struct confine_needs){
		.nfs = plan->nfs.wanted,
		.io_uring = plan->mountpoint && plan->front.transport != FUSE_TRANSPORT_DEV,
	};
}

/* All is open: what is not needed for serving goes. */
static void confine(const struct mount_plan *plan)
{
	const struct confine_needs needs = needs_of(plan);
	int r = confine_calls(&needs);

	if (r < 0)
		log_warning("serving without a filter of system calls: %s", log_errno(r));
}

static int serve_fronts(struct mount_plan *plan, const struct fronts *fronts,
			struct lam_stack *stack, const struct super_link *link, struct daemon *d)
{
	struct status_server *status;
	int r;

	if (plan->foreground) {
		message_set_mode(MESSAGE_FOREGROUND);
		if (fronts->nfs && !link->successor)
			message_answer("nfs: serving on port %u", nfs_front_port(fronts->nfs));
	} else {
		message_set_mode(MESSAGE_BACKGROUND);
	}
	status = status_start(plan, link, fronts->fuse, stack);
	r = supervise_ready(link, plan, d);
	if (r == 0)
		confine(plan);
	if (r == 0 && fronts->fuse)
		r = fuse_front_serve(fronts->fuse);
	else if (r == 0)
		nfs_front_wait(fronts->nfs);
	if (!signals_retired())
		status_stop(status);
	return r;
}

/* Mount, listen, tell the parent, serve.  The stack is open. */
static int serve(struct mount_plan *plan, struct lam_stack *stack, const struct super_link *link,
		 struct daemon *d)
{
	struct fronts fronts = { 0 };
	int r;

	signals_mounting();
	r = open_fronts(plan, stack, &fronts);
	if (r == 0) {
		signals_serving(fronts.fuse, fronts.nfs, stack);
		r = serve_fronts(plan, &fronts, stack, link, d);
		/* What is still there is the next worker's: orphans, references of the kernel. */
		if (signals_retired())
			_exit(SUPER_EXIT_RETIRED);
		signals_stop();
	}
	/* In this order: NFS tells FUSE of changes to the end. */
	nfs_front_close(fronts.nfs);
	fuse_front_close(fronts.fuse);
	return r;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

#define BUSY_MS 5000 /* how long to wait for layers that are in use */
#define BUSY_STEP_MS 20
/* Files of so many bytes are copied up behind their writers: 64 MiB take some tenths of a second. */
#define COPY_BEHIND (UINT64_C(64) << 20)

/*
 * Open the layers.  Who unmounts an overlay and mounts it again at once, as container engines do,
 * meets the old server on its way out: an unmount does not wait for it.  So layers that are in use
 * are tried again for a while.
 */
static int open_stack(const struct lam_config *config, struct lam_stack **ret)
{
	const struct timespec step = { .tv_nsec = BUSY_STEP_MS * 1000000L };
	int64_t end = now_ms() + BUSY_MS;
	int r = lam_stack_open(config, ret);

	while (r == -EBUSY && now_ms() < end) { /* an attempt takes time as well */
		(void)nanosleep(&step, NULL);	/* a shorter sleep does no harm */
		r = lam_stack_open(config, ret);
	}
	if (r == 0)
		message_forget();
	return r;
}

/* In the process that will serve. */
static int open_and_serve(struct mount_plan *plan, struct super_link *link, struct daemon *d)
{
	struct lam_config *config = lam_options_config(plan->stack);
	const struct confine_needs needs = needs_of(plan);
	struct lam_stack *stack;
	int r = super_begin(link);

	confine_capabilities(&needs);

	if (r == 0 && link->state) {
		signals_supervised(link);
		plan->front.link = link;
		plan->nfs.config.link = link;
		config->dir_fds = link->state->mem->dirs;
		config->takeover = link->successor;
		/* Should this process be killed, another one finishes them. */
		if (config->copy_behind == 0)
			config->copy_behind = COPY_BEHIND;
	}
	if (r == 0)
		r = signals_start();

	if (r < 0) {
		message_error("cannot start a thread: %s", log_errno(r));
		return r;
	}
	r = open_stack(config, &stack);
	if (r < 0) {
		message_failed("cannot open the layers: %s", log_errno(r));
		return r;
	}
	/* A server keeps no filesystem busy but its layers'. */
	if (!plan->foreground && chdir("/") < 0)
		r = -errno;
	if (r == 0)
		r = serve(plan, stack, link, d);
	lam_stack_close(stack);
	return r;
}

/*
 * Change the flags of a mount that is there, as mount -o remount.  The kernel does this by itself
 * and keeps every other option as it was; what is not named here stays too.
 */
static int remount(const struct mount_plan *plan)
{
	struct statvfs now;
	unsigned long flags;
	const unsigned long kept = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_SYNCHRONOUS |
				   MS_NOATIME | MS_NODIRATIME | MS_RELATIME;

	if (statvfs(plan->mountpoint, &now) < 0) {
		message_error("cannot remount %s: %s", QUOTE(plan->mountpoint), log_errno(-errno));
		return -errno;
	}
	/* The numbers of ST_* are those of MS_*.  As mount(8) has it, a remount without `ro` is one
	 * to read-write. */
	flags = now.f_flag & kept & ~(MS_RDONLY | plan->flags_cleared);
	flags |= plan->flags_set | MS_REMOUNT;
	if (mount(NULL, plan->mountpoint, NULL, flags, NULL) < 0) {
		message_error("cannot remount %s: %s", QUOTE(plan->mountpoint), log_errno(-errno));
		return -errno;
	}
	return 0;
}

/* Go on where another process was: its mount is there, and nobody waits for us. */
static int go_on(struct mount_plan *plan)
{
	struct daemon d = { .ready_fd = -1 };
	static struct super_link link; /* the plan refers to it until the end */
	int r;

	supervise_take_messages(plan->debug);
	message_set_mode(plan->foreground ? MESSAGE_FOREGROUND : MESSAGE_BACKGROUND);
	raise_descriptor_limit();
	r = supervise(plan, &d, &link);
	return r == SUPER_IS_WORKER ? open_and_serve(plan, &link, &d) < 0 : r;
}

/* Serve, under a supervisor or without. */
static int run(struct mount_plan *plan, struct daemon *d)
{
	static struct super_link link; /* as in go_on() */

	if (supervise_wanted(plan)) {
		int r = supervise(plan, d, &link);

		if (r != SUPER_IS_WORKER)
			return r;
	}
	return open_and_serve(plan, &link, d) < 0;
}

int mount_run(struct mount_plan *plan)
{
	struct daemon d = { .ready_fd = -1 };
	int r, status;

	if (plan->remount)
		return remount(plan) < 0;
	join_settings(plan);
	if (check(lam_options_config(plan->stack)) < 0)
		return 1;
	if (plan->fake)
		return 0;
	if (supervise_taking_over())
		return go_on(plan);
	r = message_open(plan->log_path, plan->debug);
	if (r < 0) {
		message_error("cannot open the log file %s: %s", QUOTE(plan->log_path),
			      log_errno(r));
		return 1;
	}
	raise_descriptor_limit();
	if (!plan->foreground) {
		r = daemon_start(&d, &status);
		if (r == DAEMON_PARENT)
			return status;
		if (r < 0) {
			message_error("cannot start the server: %s", log_errno(r));
			return 1;
		}
	}
	return run(plan, &d);
}

int mount_command(mount_parse_fn parse, const char *usage, int argc, char **argv)
{
	struct mount_plan plan;
	int r, status = 1;

	message_set_people();
	if (mount_plan_init(&plan, UNKNOWN_REFUSED) < 0)
		return 1;
	r = parse(&plan, argc, argv);
	if (r == 0) {
		status = mount_run(&plan);
	} else if (r > 0) {
		fputs(usage, stdout);
		status = 0;
	}
	mount_plan_done(&plan);
	return status;
}
