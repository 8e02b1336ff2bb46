/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A worker's side: what it gives to its supervisor, and how it comes to go on where another one served. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "channel.h"
#include "fdstore.h"
#include "internal.h"
#include "super.h"

int super_keep(const struct super_link *link, enum state_fd kind, uint32_t index, int fd)
{
	const struct channel_msg msg = { .type = CH_KEEP, .a = kind, .b = index };

	return link->state ? channel_send(link->channel, &msg, fd) : 0;
}

/* Only one worker at a time: who comes after a supervisor that is gone cannot wait for the child of another.
 * The lock goes when the last thread of its owner has ended, and with it every read of the connection. */
static int take_turn(const struct super_link *link)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	while (fcntl(link->state->fd, F_SETLKW, &lock) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	atomic_store(&link->state->mem->worker, (int32_t)getpid());
	return 0;
}

int super_begin(struct super_link *link)
{
	return link->state ? take_turn(link) : 0;
}

int super_ready(const struct super_link *link)
{
	const struct channel_msg msg = { .type = CH_READY };

	if (!link->state)
		return 0;
	/* Late, since a change of credentials of this thread would undo it. */
	if (prctl(PR_SET_PDEATHSIG, link->foreground ? SIGKILL : SUPER_SIGNAL_ALONE) < 0)
		return -errno;
	if (getppid() != link->parent)
		(void)raise(link->foreground ? SIGKILL : SUPER_SIGNAL_ALONE);
	return channel_send(link->channel, &msg, -1);
}

/* ---- Started by exec ---- */

static void close_on_exec(int fd)
{
	if (fd >= 0)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* at worst a helper has it for a while */
}

void super_mark_all(const struct state *state, bool inherited)
{
	const struct state_memory *mem = state->mem;
	uint32_t n = atomic_load(&mem->n_kept);
	const int flags = inherited ? 0 : FD_CLOEXEC;

	(void)fcntl(state->fd, F_SETFD, flags); /* it is open */
	for (uint32_t i = 0; i < n && i < STATE_KEPT; i++)
		(void)fcntl(mem->kept[i].fd, F_SETFD, flags);
	for (uint32_t i = 0; i < mem->n_dirs; i++) {
		if (mem->dirs[i] >= 0)
			(void)fcntl(mem->dirs[i], F_SETFD, flags);
	}
}

int super_inherit(struct state *state, struct super_link *link)
{
	const char *text = getenv(ENV_TAKEOVER);
	int fd, channel, foreground, fdstore, r;

	if (!text)
		return -ENOENT;
	/* The numbers are our own supervisor's. */
	if (sscanf(text, "%d %d %d %d", &fd, &channel, &foreground, &fdstore) != 4)
		return -EINVAL;
	(void)unsetenv(ENV_TAKEOVER);
	*link = (struct super_link){
		.state = state,
		.channel = channel,
		.successor = true,
		.foreground = foreground != 0,
		.fdstore = fdstore != 0,
		.parent = getppid(),
	};
	close_on_exec(channel);
	r = state_attach(state, fd);
	if (r < 0) {
		super_refuse(link, r == -EPROTO
					   ? "the program that serves keeps its state in another "
					     "layout: end the mount and make it again"
					   : log_errno(r));
		return r;
	}
	super_mark_all(state, false);
	return 0;
}

int super_adopt(struct state *state, struct super_adopted *ret)
{
	const char *text = getenv(ENV_SUPERVISE);
	struct super_adopted adopted = { -1, -1 };
	int fd, r;

	if (!text) {
		r = fdstore_take(state);
		if (r == 0)
			*ret = adopted;
		return r;
	}
	if (sscanf(text, "%d %d %d", &fd, &adopted.channel, &adopted.control) != 3)
		return -EINVAL;
	(void)unsetenv(ENV_SUPERVISE);
	r = state_attach(state, fd);
	if (r < 0)
		return r;
	super_mark_all(state, false);
	close_on_exec(adopted.channel);
	close_on_exec(adopted.control);
	*ret = adopted;
	return 0;
}

void super_refuse(const struct super_link *link, const char *why)
{
	struct channel_msg msg = { .type = CH_REFUSED };

	(void)snprintf(msg.text, sizeof(msg.text), "%s", why); /* a long one is cut */
	(void)channel_send(link->channel, &msg, -1);	       /* if not, our end says it */
}

int super_await_turn(const struct super_link *link)
{
	struct channel_msg msg = { .type = CH_PREPARED };
	int fd = -1, r = channel_send(link->channel, &msg, -1);

	if (r == 0)
		r = channel_receive(link->channel, &msg, &fd, 0);
	if (fd >= 0)
		(void)close(fd);
	if (r < 0)
		return r;
	return msg.type == CH_GO ? 0 : -EPROTO;
}

/* ---- Asking for an upgrade ---- */

static int connect_to(uint32_t minor, int *ret)
{
	CLEANUP_CLOSE int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address;
	socklen_t len = channel_address(minor, &address);
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (sock < 0)
		return -errno;
	if (connect(sock, (const struct sockaddr *)&address, len) < 0)
		return errno == ECONNREFUSED ? -ENOENT : -errno;
	/* The name is anybody's to take: it must be root's or our own. */
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return -errno;
	if (peer.uid != 0 && peer.uid != geteuid() && geteuid() != 0)
		return -EPERM;
	*ret = TAKE_FD(sock);
	return 0;
}

int super_ask_upgrade(uint32_t minor, int program_fd, uint64_t *ret_gap_us, char *why, size_t size)
{
	struct channel_msg msg = { .type = CH_UPGRADE };
	CLEANUP_CLOSE int sock = -1;
	int fd = -1, r = connect_to(minor, &sock);

	if (r == 0)
		r = channel_send(sock, &msg, program_fd);
	if (r == 0)
		r = channel_receive(sock, &msg, &fd, 0);
	if (fd >= 0)
		(void)close(fd);
	if (r < 0) {
		(void)snprintf(why, size, "%s",
			       r == -ENOENT  ? "no supervisor of this mount answers"
			       : r == -EPIPE ? "only its owner and root may do this"
					     : log_errno(r));
		return r == -EPIPE ? -EPERM : r;
	}
	if (msg.type != CH_UPGRADED) {
		(void)snprintf(why, size, "%s", msg.text);
		return -ECANCELED;
	}
	*ret_gap_us = msg.value;
	return 0;
}
