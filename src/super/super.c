/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The supervisor itself: one loop over signals, workers and requests for an upgrade.
 *
 * It never waits for a worker, since a worker may wait for it.  After the first fork it allocates nothing
 * and takes nothing apart but messages of one fixed form; it does no work that could fail for the sake of
 * what is in a filesystem.  A worker that ends is replaced by a fork of this process, which needs neither
 * the program's file nor any path: the mount may cover both.
 */
#include "super.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "caps.h"
#include "channel.h"
#include "fdstore.h"
#include "internal.h"
#include "oom.h"

#define DEATHS_WINDOW_MS 60000u
#define DEATHS_MAX 1024u
#define RETIRE_MS 5000u	  /* for what the old worker has under way; then it is killed */
#define PREPARE_MS 10000u /* for the new program to start */
#define PAUSE_MS 200u	  /* before another try when a worker did not come to serve */

struct worker {
	pid_t pid; /* 0: none */
	int channel;
	bool ready, prepared, going;
	uint64_t deadline_ms; /* 0: none */
};

struct super {
	const struct super_config *config;
	struct state *state;
	struct worker now;  /* serves, or is about to */
	struct worker next; /* of an upgrade */
	int signals, control, client, program, notify, proc;
	sigset_t old_mask;
	bool started; /* a worker has served */
	bool ending;  /* asked to unmount */
	bool over;
	int status;
	uint64_t down_since_us; /* nobody serves since; 0: somebody does */
	uint64_t restart_at_ms; /* 0: no worker is to be started */
	uint64_t deaths[DEATHS_MAX];
	unsigned n_deaths;
};

static uint64_t now_us(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* fails only for unknown clocks */
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t now_ms(void)
{
	return now_us() / 1000;
}

static void say(const struct super *s, int level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void say(const struct super *s, int level, const char *fmt, ...)
{
	char line[256];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, args); /* a long one is cut */
	va_end(args);
	s->config->say(s->config->ctx, level, line);
}

static void drop(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* nothing was written through it */
	*fd = -1;
}

/* ---- Starting workers ---- */

/* In the child: nothing of the supervisor's but what the memory names. */
static void shed(struct super *s, int channel)
{
	int *fds[] = { &s->signals, &s->control,     &s->client,       &s->program,
		       &s->notify,  &s->now.channel, &s->next.channel, &s->proc };

	oom_prefer(s->proc);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] != channel)
			drop(fds[i]);
	}
	(void)sigprocmask(SIG_SETMASK, &s->old_mask, NULL); /* a mask that was there before */
	caps_raise();
}

static int fork_worker(struct super *s, struct worker *w, int *ret_channel)
{
	int pair[2];
	CLEANUP_CLOSE int ours = -1, theirs = -1;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	theirs = pair[1];
	atomic_fetch_add(&s->state->mem->generation, 1);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		*ret_channel = TAKE_FD(theirs);
		shed(s, *ret_channel);
		return 1;
	}
	*w = (struct worker){ .pid = pid, .channel = TAKE_FD(ours) };
	return 0;
}

/* Start a worker of this program.  1 in the worker. */
static int start_worker(struct super *s, struct super_link *link)
{
	const pid_t parent = getpid();
	int channel, r;

	s->restart_at_ms = 0;
	r = fork_worker(s, &s->now, &channel);
	if (r < 0) { /* out of memory, perhaps: it will pass */
		s->restart_at_ms = now_ms() + PAUSE_MS;
		return s->started ? 0 : r;
	}
	if (r == 1)
		*link = (struct super_link){
			.state = s->state,
			.channel = channel,
			.successor = s->started,
			.foreground = s->config->foreground,
			.fdstore = s->notify >= 0,
			.parent = parent,
		};
	return r;
}

/* Start the program that somebody brought, to take the place of the worker. */
static int start_next(struct super *s)
{
	char text[64];
	int channel, program = s->program, r;

	s->program = -1;
	r = fork_worker(s, &s->next, &channel);
	if (r <= 0) {
		s->program = program;
		s->next.deadline_ms = now_ms() + PREPARE_MS;
		return r;
	}
	super_mark_all(s->state, true);
	(void)fcntl(channel, F_SETFD, 0); /* it is open */
	(void)snprintf(text, sizeof(text), "%d %d %d %d", s->state->fd, channel,
		       s->config->foreground, s->notify >= 0);
	if (setenv(ENV_TAKEOVER, text, 1) == 0)
		(void)syscall(SYS_execveat, program, "", s->config->argv, environ, AT_EMPTY_PATH);
	_exit(127);
}

/* ---- The end ---- */

/* Nobody must wait for an answer that will not come. */
static void abort_connection(const struct super *s)
{
	int fd = state_kept(s->state, STATE_FD_ABORT, 0);
	ssize_t n = fd >= 0 ? write(fd, "1", 1) : 0;

	(void)n; /* closing all descriptors of the connection does the same, if later */
}

static void finish(struct super *s, int status)
{
	s->over = true;
	s->status = status;
	fdstore_forget(s->notify, s->state);
}

static void give_up(struct super *s)
{
	const bool mount = atomic_load(&s->state->mem->fuse.agreed) != 0;

	say(s, LOG_CRIT, "the server ended %u times within a minute: giving up%s", s->n_deaths,
	    mount ? "; the mount is cut off, end it with lamina umount" : "");
	abort_connection(s);
	if (s->now.pid)
		(void)kill(s->now.pid, SIGKILL);
	if (s->next.pid)
		(void)kill(s->next.pid, SIGKILL);
	finish(s, 1);
}

/* ---- Upgrades ---- */

static void answer_client(struct super *s, uint32_t type, const char *text)
{
	struct channel_msg msg = {
		.type = type,
		.value = atomic_load(&s->state->mem->last_gap_us),
	};

	(void)snprintf(msg.text, sizeof(msg.text), "%s", text);
	if (s->client >= 0)
		(void)channel_send(s->client, &msg, -1); /* he may have gone */
	drop(&s->client);
}

static void refuse_upgrade(struct super *s, const char *why)
{
	say(s, LOG_WARNING, "no upgrade: %s", why);
	answer_client(s, CH_REFUSED, why);
	drop(&s->program);
}

static void cancel_next(struct super *s, const char *why)
{
	if (s->next.pid)
		(void)kill(s->next.pid, SIGKILL);
	refuse_upgrade(s, why);
	/* It is reaped like any; its end means nothing any more. */
	s->next.pid = 0;
	drop(&s->next.channel);
}

/* The new one is able: the old one may go. */
static void retire_now(struct super *s)
{
	s->next.prepared = true;
	s->next.deadline_ms = 0;
	s->now.deadline_ms = now_ms() + RETIRE_MS;
	s->down_since_us = now_us();
	(void)kill(s->now.pid, SUPER_SIGNAL_RETIRE); /* a child that is not reaped */
}

static void let_next_go(struct super *s)
{
	const struct channel_msg msg = { .type = CH_GO };

	s->now = s->next;
	s->next = (struct worker){ .channel = -1 };
	s->now.going = true;
	(void)channel_send(s->now.channel, &msg, -1); /* if it is gone, it will be reaped */
}

/* The program of the worker becomes that of the supervisor, which keeps its number and its children. */
static void become_program(struct super *s)
{
	char text[64];

	if (s->program < 0)
		return;
	super_mark_all(s->state, true);
	(void)fcntl(s->now.channel, F_SETFD, 0); /* it is open */
	if (s->control >= 0)
		(void)fcntl(s->control, F_SETFD, 0);
	(void)snprintf(text, sizeof(text), "%d %d %d", s->state->fd, s->now.channel, s->control);
	/* Signals stay blocked: one that comes now is the next image's. */
	if (setenv(ENV_SUPERVISE, text, 1) == 0)
		(void)syscall(SYS_execveat, s->program, "", s->config->argv, environ,
			      AT_EMPTY_PATH);
	/* Then the next worker is again of the program that was. */
	say(s, LOG_WARNING, "the supervisor stays what it was: %s", log_errno(-errno));
	super_mark_all(s->state, false);
	drop(&s->program);
}

static void upgraded(struct super *s)
{
	atomic_fetch_add(&s->state->mem->upgrades, 1);
	answer_client(s, CH_UPGRADED, "");
	become_program(s);
}

/* ---- What workers say ---- */

static void keep(struct super *s, const struct channel_msg *msg, int fd)
{
	struct state_memory *mem = s->state->mem;
	uint32_t n = atomic_load(&mem->n_kept);

	if (fd < 0)
		return;
	if (n >= STATE_KEPT || state_kept(s->state, (enum state_fd)msg->a, msg->b) >= 0) {
		(void)close(fd);
		return;
	}
	mem->kept[n] = (struct state_kept){ .kind = msg->a, .index = msg->b, .fd = fd };
	atomic_store(&mem->n_kept, n + 1);
	if (s->started)
		fdstore_add(s->notify, s->state, n);
}

static void open_control(struct super *s)
{
	CLEANUP_CLOSE int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address;
	uint32_t minor = s->state->mem->fuse.conn_minor;
	socklen_t len = channel_address(minor, &address);

	if (minor == 0 || sock < 0)
		return;
	if (bind(sock, (const struct sockaddr *)&address, len) < 0 || listen(sock, 4) < 0)
		say(s, LOG_INFO, "upgrades cannot be asked for: %s", log_errno(-errno));
	else
		s->control = TAKE_FD(sock);
}

static void first_ready(struct super *s)
{
	s->started = true;
	open_control(s);
	fdstore_add_all(s->notify, s->state);
	(void)s->config->ready(s->config->ctx); /* the mount is there all the same */
	caps_lower();
}

static void worker_ready(struct super *s)
{
	bool next = s->now.going;

	s->now.ready = true;
	s->now.going = false;
	if (s->down_since_us) {
		atomic_store(&s->state->mem->last_gap_us, now_us() - s->down_since_us);
		s->down_since_us = 0;
	}
	if (!s->started)
		first_ready(s);
	if (s->ending)
		(void)kill(s->now.pid, SIGTERM);
	if (next)
		upgraded(s);
	else if (s->program >= 0 && start_next(s) < 0)
		refuse_upgrade(s, "the new program could not be started");
}

static void take_message(struct super *s, struct worker *w, const struct channel_msg *msg, int fd)
{
	if (msg->type == CH_KEEP) {
		keep(s, msg, fd);
		return;
	}
	if (fd >= 0)
		(void)close(fd);
	if (msg->type == CH_READY && w == &s->now)
		worker_ready(s);
	else if (msg->type == CH_PREPARED && w == &s->next)
		retire_now(s);
	else if (msg->type == CH_REFUSED && w == &s->next)
		cancel_next(s, msg->text);
}

static void read_channel(struct super *s, struct worker *w)
{
	struct channel_msg msg;
	int fd, r = 0;

	while (w->channel >= 0 && r == 0) {
		fd = -1;
		r = channel_receive(w->channel, &msg, &fd, MSG_DONTWAIT);
		if (r == 0)
			take_message(s, w, &msg, fd);
	}
	if (r != -EAGAIN && w->channel >= 0)
		drop(&w->channel); /* its end comes as a signal */
}

/* ---- What became of them ---- */

static void note_death(struct super *s, int status)
{
	uint64_t now = now_ms();
	unsigned kept = 0;

	for (unsigned i = 0; i < s->n_deaths; i++) {
		if (now - s->deaths[i] < DEATHS_WINDOW_MS)
			s->deaths[kept++] = s->deaths[i];
	}
	s->n_deaths = kept;
	if (s->n_deaths < DEATHS_MAX)
		s->deaths[s->n_deaths++] = now;
	atomic_fetch_add(&s->state->mem->deaths, 1);
	if (WIFSIGNALED(status))
		say(s, LOG_WARNING, "the server was ended by signal %d: another one goes on",
		    WTERMSIG(status));
	else
		say(s, LOG_WARNING, "the server ended with status %d: another one goes on",
		    WEXITSTATUS(status));
}

static bool can_go_on(const struct super *s)
{
	const struct state_fuse *fuse = &s->state->mem->fuse;

	/* Without FUSE_HAS_RESEND what was read and not answered would wait for ever. */
	return !atomic_load(&fuse->agreed) || fuse->resend;
}

static void worker_ended(struct super *s, int status)
{
	bool was_ready = s->now.ready, was_going = s->now.going;

	read_channel(s, &s->now); /* what it gave before it ended counts */
	drop(&s->now.channel);
	s->now = (struct worker){ .channel = -1 };
	atomic_store(&s->state->mem->worker, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && s->started) {
		finish(s, 0);
		return;
	}
	if (!s->started) {
		if (WIFSIGNALED(status))
			say(s, LOG_ERR,
			    "the server was ended by signal %d before the mount was ready",
			    WTERMSIG(status));
		finish(s, WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
		return;
	}
	if (s->down_since_us == 0)
		s->down_since_us = now_us();
	if (s->next.pid && s->next.prepared) {
		let_next_go(s);
		return;
	}
	if (s->next.pid) {
		/* It may need the mount to come to its point: it is started again when that is served. */
		(void)kill(s->next.pid, SIGKILL);
		s->next = (struct worker){ .channel = s->next.channel };
		drop(&s->next.channel);
	}
	if (s->client >= 0 && was_going)
		refuse_upgrade(s, "the new program ended before it served; the old one goes on");
	if (!(WIFEXITED(status) && WEXITSTATUS(status) == SUPER_EXIT_RETIRED))
		note_death(s, status);
	if (!can_go_on(s) || s->n_deaths > s->config->deaths_max) {
		give_up(s);
		return;
	}
	s->restart_at_ms = was_ready ? 1 : now_ms() + PAUSE_MS; /* 1: at once */
}

static void reap(struct super *s)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == s->now.pid) {
			worker_ended(s, status);
		} else if (pid == s->next.pid) {
			read_channel(s, &s->next);
			if (s->next.pid) {
				s->next.pid = 0;
				drop(&s->next.channel);
				refuse_upgrade(s,
					       "the new program ended before it was able to serve");
			}
		}
	}
}

static void take_signals(struct super *s)
{
	struct signalfd_siginfo info;

	while (read(s->signals, &info, sizeof(info)) == sizeof(info)) {
		int signo = (int)info.ssi_signo;

		if (signo == SIGCHLD)
			continue;
		if (signo != SIGUSR1)
			s->ending = true;
		if (s->now.pid && (s->now.ready || !s->started))
			(void)kill(s->now.pid, signo);
	}
	reap(s);
}

/* ---- Who asks for an upgrade ---- */

static void take_client(struct super *s)
{
	CLEANUP_CLOSE int sock = accept4(s->control, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (sock < 0 || getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return;
	if (peer.uid != 0 && peer.uid != geteuid())
		return; /* closed without a word */
	if (s->client >= 0) {
		const struct channel_msg busy = {
			.type = CH_REFUSED,
			.text = "another upgrade is under way",
		};

		(void)channel_send(sock, &busy, -1); /* nobody else to tell */
		return;
	}
	s->client = TAKE_FD(sock);
}

static void read_client(struct super *s)
{
	struct channel_msg msg;
	int fd = -1, r = channel_receive(s->client, &msg, &fd, MSG_DONTWAIT);

	if (r == -EAGAIN)
		return;
	if (s->next.pid || s->now.going) { /* he had his say; perhaps he left */
		if (fd >= 0)
			(void)close(fd);
		if (r < 0)
			drop(&s->client);
		return;
	}
	if (r < 0 || msg.type != CH_UPGRADE || fd < 0) {
		if (fd >= 0)
			(void)close(fd);
		drop(&s->client);
		drop(&s->program);
		return;
	}
	drop(&s->program);
	s->program = fd;
	if (s->ending || !can_go_on(s))
		refuse_upgrade(s, "the server is not able to be replaced now");
	else if (s->now.ready && start_next(s) < 0)
		refuse_upgrade(s, "the new program could not be started");
	/* Else when the worker that is on its way serves. */
}

/* ---- The loop ---- */

static int next_timeout(const struct super *s)
{
	uint64_t at = s->restart_at_ms, now = now_ms();

	if (s->now.deadline_ms && (!at || s->now.deadline_ms < at))
		at = s->now.deadline_ms;
	if (s->next.deadline_ms && (!at || s->next.deadline_ms < at))
		at = s->next.deadline_ms;
	return !at ? -1 : at <= now ? 0 : (int)(at - now);
}

static void check_deadlines(struct super *s)
{
	uint64_t now = now_ms();

	if (s->now.pid && s->now.deadline_ms && s->now.deadline_ms <= now) {
		/* What it has under way will be done again from where it was. */
		s->now.deadline_ms = 0;
		(void)kill(s->now.pid, SIGKILL);
	}
	if (s->next.pid && s->next.deadline_ms && s->next.deadline_ms <= now)
		cancel_next(s, "the new program did not come to the point in time");
}

static void step(struct super *s)
{
	struct pollfd fds[] = {
		{ .fd = s->signals, .events = POLLIN },
		{ .fd = s->now.channel, .events = POLLIN },
		{ .fd = s->next.channel, .events = POLLIN },
		{ .fd = s->control, .events = POLLIN },
		{ .fd = s->client, .events = POLLIN },
	};

	if (poll(fds, sizeof(fds) / sizeof(fds[0]), next_timeout(s)) < 0)
		return;
	if (fds[1].revents)
		read_channel(s, &s->now);
	if (fds[2].revents)
		read_channel(s, &s->next);
	if (fds[3].revents)
		take_client(s);
	else if (fds[4].revents && s->client >= 0)
		read_client(s);
	if (fds[0].revents)
		take_signals(s);
	check_deadlines(s);
}

static int block_signals(struct super *s)
{
	sigset_t set;

	(void)sigemptyset(&set); /* these fail only for bad arguments */
	(void)sigaddset(&set, SIGCHLD);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGUSR1);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGCHLD, SIG_DFL); /* or there would be nobody to wait for */
	if (sigprocmask(SIG_BLOCK, &set, &s->old_mask) < 0)
		return -errno;
	if (s->config->adopted) { /* they may be blocked from before an exec */
		(void)sigdelset(&s->old_mask, SIGCHLD);
		(void)sigdelset(&s->old_mask, SIGTERM);
		(void)sigdelset(&s->old_mask, SIGINT);
		(void)sigdelset(&s->old_mask, SIGUSR1);
	}
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signals < 0 ? -errno : 0;
}

/* Take up what an earlier supervisor, or this process under another program, has left. */
static void adopt(struct super *s)
{
	const struct super_adopted *adopted = s->config->adopted;

	s->started = true;
	s->control = adopted->control;
	if (s->control < 0)
		open_control(s);
	if (adopted->channel >= 0) {
		s->now = (struct worker){
			.pid = atomic_load(&s->state->mem->worker),
			.channel = adopted->channel,
			.ready = true,
		};
	} else {
		s->restart_at_ms = 1;
		fdstore_add_all(s->notify, s->state);
		(void)s->config->ready(s->config->ctx); /* as in first_ready() */
	}
	caps_lower();
}

int super_run(const struct super_config *config, struct super_link *link)
{
	struct super s = {
		.config = config,
		.state = config->state,
		.now.channel = -1,
		.next.channel = -1,
		.control = -1,
		.client = -1,
		.program = -1,
		.notify = fdstore_open(),
		.proc = oom_open(),
	};
	int r = block_signals(&s);

	if (r < 0)
		return r;
	if (config->adopted) {
		adopt(&s);
		reap(&s); /* who ended before there was a signalfd; the signal may have been discarded */
	} else {
		r = start_worker(&s, link);
	}
	while (r == 0 && !s.over) {
		step(&s);
		if (!s.over && s.restart_at_ms && s.restart_at_ms <= now_ms())
			r = start_worker(&s, link);
	}
	return r == 1 ? SUPER_IS_WORKER : r < 0 ? 1 : s.status;
}
