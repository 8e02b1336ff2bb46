/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mounting: the order of the steps of a server's life.
 *
 * The stack is opened before the mount, as its layers may lie under the mountpoint; after the mount
 * no path is looked up here.  The fork comes before everything that may start a thread.
 */
#include "cli/cli.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

/* Each cached descriptor counts, and the soft limit is small for the sake of select(2) only. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit); /* if not: the library keeps to what there is */
}

/* Settings that the stack and the front end both have. */
static void join_settings(struct mount_plan *plan)
{
	struct fuse_front_config *front = &plan->front;
	struct lam_config *stack = lam_options_config(plan->stack);

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

/* Mount, tell the parent, serve.  The stack is open. */
static int serve(struct mount_plan *plan, struct lam_stack *stack, struct daemon *d)
{
	struct fuse_front *front;
	int r;

	signals_mounting();
	r = fuse_front_open(&front, stack, &plan->front);
	if (r < 0) {
		message_failed("cannot mount on %s: %s", QUOTE(plan->mountpoint), log_errno(r));
		return r;
	}
	signals_serving(front, stack);
	if (plan->foreground) {
		message_set_mode(MESSAGE_FOREGROUND);
	} else {
		message_set_mode(MESSAGE_BACKGROUND);
		r = daemon_ready(d);
	}
	if (r == 0)
		r = fuse_front_serve(front);
	signals_stop();
	fuse_front_close(front);
	return r;
}

#define BUSY_MS 5000u /* how long to wait for layers that are in use */
#define BUSY_STEP_MS 20u

/*
 * Open the layers.  Who unmounts an overlay and mounts it again at once, as container engines do,
 * meets the old server on its way out: an unmount does not wait for it.  So layers that are in use
 * are tried again for a while.
 */
static int open_stack(const struct lam_config *config, struct lam_stack **ret)
{
	const struct timespec step = { .tv_nsec = BUSY_STEP_MS * 1000000L };
	int r = lam_stack_open(config, ret);

	for (unsigned waited = 0; r == -EBUSY && waited < BUSY_MS; waited += BUSY_STEP_MS) {
		(void)nanosleep(&step, NULL); /* a shorter sleep does no harm */
		r = lam_stack_open(config, ret);
	}
	if (r == 0)
		message_forget();
	return r;
}

/* In the process that will serve. */
static int open_and_serve(struct mount_plan *plan, struct daemon *d)
{
	struct lam_stack *stack;
	int r = signals_start();

	if (r < 0) {
		message_error("cannot start a thread: %s", log_errno(r));
		return r;
	}
	r = open_stack(lam_options_config(plan->stack), &stack);
	if (r < 0) {
		message_failed("cannot open the layers: %s", log_errno(r));
		return r;
	}
	/* A server keeps no filesystem busy but its layers'. */
	if (!plan->foreground && chdir("/") < 0)
		r = -errno;
	if (r == 0)
		r = serve(plan, stack, d);
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
	return open_and_serve(plan, &d) < 0;
}
