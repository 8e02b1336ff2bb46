/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mount under a supervisor: what it is given before the mount may cover any path, and how a process
 * comes to be one of its workers.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "lamina-config.h"

/* How this process was started. */
enum origin { BY_CALLER, AS_WORKER, AS_SUPERVISOR };

static enum origin origin;
static char **program_argv;
static struct state state;
static struct super_link inherited_link;
static struct super_adopted adopted;

int supervise_begin(char **argv)
{
	int r = super_inherit(&state, &inherited_link);

	program_argv = argv;
	if (r == 0) {
		origin = AS_WORKER;
		return 0;
	}
	if (r != -ENOENT)
		return r; /* who asked was told why */
	r = super_adopt(&state, &adopted);
	if (r == 0)
		origin = AS_SUPERVISOR;
	else if (r != -ENOENT)
		message_error("cannot go on with the mount that was kept: %s",
			      r == -EPROTO ? "it is of another version" : log_errno(r));
	return r == -ENOENT ? 0 : r;
}

bool supervise_taking_over(void)
{
	return origin != BY_CALLER;
}

const char *supervise_mountpoint(void)
{
	const char *path = state.mem ? state.mem->fuse.mountpoint : "";

	return *path ? path : NULL;
}

bool supervise_wanted(const struct mount_plan *plan)
{
	/* What a ring holds is lost with it. */
	return supervise_taking_over() ||
	       (plan->supervisor && plan->front.transport != FUSE_TRANSPORT_URING);
}

/* ---- Before the first worker ---- */

/* A directory that cannot be opened is left to the worker, which says what is wrong with it. */
static int open_dir(const char *path)
{
	return path ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
}

static void put(enum state_fd kind, int fd)
{
	struct state_memory *mem = state.mem;
	uint32_t n = atomic_load(&mem->n_kept);

	if (fd < 0)
		return;
	mem->kept[n] = (struct state_kept){ .kind = kind, .fd = fd };
	atomic_store(&mem->n_kept, n + 1);
}

static int prepare(const struct lam_config *config)
{
	size_t n = 2 + config->n_lower + config->n_data_lower, at = 2;
	int log_fd, syslog_fd;
	int r = state_create(&state, n, LAMINA_VERSION);

	if (r < 0)
		return r;
	state.mem->dirs[0] = open_dir(config->upper);
	state.mem->dirs[1] = open_dir(config->work);
	for (size_t i = 0; i < config->n_lower; i++)
		state.mem->dirs[at++] = open_dir(config->lower[i]);
	for (size_t i = 0; i < config->n_data_lower; i++)
		state.mem->dirs[at++] = open_dir(config->data_lower[i]);
	message_fds(&log_fd, &syslog_fd);
	put(STATE_FD_LOG, log_fd);
	put(STATE_FD_SYSLOG, syslog_fd);
	return 0;
}

void supervise_take_messages(bool debug)
{
	message_adopt(state_kept(&state, STATE_FD_LOG, 0), state_kept(&state, STATE_FD_SYSLOG, 0),
		      debug);
}

/* The settings of this process fit what it takes over. */
static int check_inherited(const struct lam_config *config)
{
	if (state.mem->n_dirs == 2 + config->n_lower + config->n_data_lower)
		return 0;
	if (origin == AS_WORKER)
		super_refuse(&inherited_link, "the options mean other layers to this program");
	return -EPROTO;
}

/* ---- The supervisor ---- */

struct supervised {
	struct mount_plan *plan;
	struct daemon *daemon;
};

static int ready(void *ctx)
{
	const struct supervised *s = ctx;

	if (s->plan->foreground) {
		message_set_mode(MESSAGE_FOREGROUND);
		return 0;
	}
	message_set_mode(MESSAGE_BACKGROUND);
	if (chdir("/") < 0)
		return -errno;
	return s->daemon->ready_fd >= 0 ? daemon_ready(s->daemon) : 0;
}

static void say(void *ctx, int level, const char *line)
{
	(void)ctx;
	message_log(level, line);
}

/* Returns SUPER_IS_WORKER, or the exit status. */
int supervise(struct mount_plan *plan, struct daemon *d, struct super_link *link)
{
	const struct lam_config *config = lam_options_config(plan->stack);
	struct supervised ctx = { .plan = plan, .daemon = d };
	struct super_config sc = {
		.state = &state,
		.argv = program_argv,
		.foreground = plan->foreground,
		.deaths_max = plan->restarts,
		.adopted = origin == AS_SUPERVISOR ? &adopted : NULL,
		.ready = ready,
		.say = say,
		.ctx = &ctx,
	};
	int r = supervise_taking_over() ? check_inherited(config) : prepare(config);

	if (r == 0 && origin == AS_WORKER) {
		*link = inherited_link;
		r = super_await_turn(link);
		return r < 0 ? 1 : SUPER_IS_WORKER;
	}
	if (r == 0)
		r = super_run(&sc, link);
	if (r < 0 && r != SUPER_IS_WORKER)
		message_error("cannot start the server: %s", log_errno(r));
	return r < 0 && r != SUPER_IS_WORKER ? 1 : r;
}

/* ---- In a worker ---- */

/* What is known of the mount itself, without asking its server. */
static void note_connection(const struct super_link *link, const char *mountpoint)
{
	CLEANUP_CLOSE int fd = -1;
	char path[64];
	struct statx st;

	if (statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &st) < 0)
		return;
	link->state->mem->fuse.conn_minor = st.stx_dev_minor;
	(void)snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", st.stx_dev_minor);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)super_keep(link, STATE_FD_ABORT, 0,
				 fd); /* the end of all processes does it too */
}

int supervise_ready(const struct super_link *link, const struct mount_plan *plan, struct daemon *d)
{
	const char *mountpoint = plan->mountpoint;
	int r = 0;

	if (!link->state)
		return plan->foreground ? 0 : daemon_ready(d);
	if (!link->successor && mountpoint && strncmp(mountpoint, "/dev/fd/", 8) != 0)
		note_connection(link, mountpoint);
	if (!plan->foreground && !link->successor)
		r = daemon_detach();
	return r < 0 ? r : super_ready(link);
}
