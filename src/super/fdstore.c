/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file descriptor store of a service manager, by its datagrams (sd_notify(3)) and its environment
 * (sd_listen_fds(3)).
 *
 * The names tell what is what: "lamina-state", "lamina-kept-I" and "lamina-dir-I", with the index in the
 * memory, whose numbers are put right for the process that gets them.
 */
#include "fdstore.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "channel.h"
#include "internal.h"
#include "state.h"

#define FIRST_FD 3
#define NAME_STATE "lamina-state"

int fdstore_open(void)
{
	const char *path = getenv("NOTIFY_SOCKET"), *max = getenv("FDSTORE");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	CLEANUP_CLOSE int sock = -1;
	size_t len = path ? strlen(path) : 0;

	/* A manager that keeps descriptors says how many (since systemd 254); who has an older one
	 * sets this in the unit. */
	if (!max || atoi(max) <= 0 || len < 2 || len >= sizeof(address.sun_path))
		return -1;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || connect(sock, (const struct sockaddr *)&address,
				(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		return -1;
	return TAKE_FD(sock);
}

static void send_text(int sock, const char *text, int fd)
{
	if (sock < 0)
		return;
	/* What is not kept cannot be taken up again, and nothing else comes of it. */
	(void)channel_send_bytes(sock, text, strlen(text), fd);
}

static void store(int sock, const char *name, int fd)
{
	char text[96];

	/* Without FDPOLL=0 a descriptor with an error pending would be thrown away. */
	(void)snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	send_text(sock, text, fd);
}

static void name_of(char *buf, size_t size, const char *what, uint32_t i)
{
	(void)snprintf(buf, size, "lamina-%s-%u", what, i);
}

void fdstore_add(int sock, const struct state *state, uint32_t i)
{
	char name[32];

	name_of(name, sizeof(name), "kept", i);
	store(sock, name, state->mem->kept[i].fd);
}

void fdstore_add_all(int sock, const struct state *state)
{
	const struct state_memory *mem = state->mem;
	uint32_t n = atomic_load(&mem->n_kept);
	char name[32];

	for (uint32_t i = 0; i < n; i++)
		fdstore_add(sock, state, i);
	for (uint32_t i = 0; i < mem->n_dirs; i++) {
		name_of(name, sizeof(name), "dir", i);
		if (mem->dirs[i] >= 0)
			store(sock, name, mem->dirs[i]);
	}
	store(sock, NAME_STATE, state->fd);
	send_text(sock, "READY=1", -1);
}

static void forget(int sock, const char *name)
{
	char text[96];

	(void)snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	send_text(sock, text, -1);
}

void fdstore_forget(int sock, const struct state *state)
{
	const struct state_memory *mem = state->mem;
	uint32_t n = atomic_load(&mem->n_kept);
	char name[32];

	forget(sock, NAME_STATE); /* first: without it the others mean nothing */
	for (uint32_t i = 0; i < n; i++) {
		name_of(name, sizeof(name), "kept", i);
		forget(sock, name);
	}
	for (uint32_t i = 0; i < mem->n_dirs; i++) {
		name_of(name, sizeof(name), "dir", i);
		forget(sock, name);
	}
}

/* ---- Taking it up ---- */

/* Descriptor FIRST_FD + I is what the I-th of these names says.  -1: there is no such name. */
static int fd_of(const char *names, int n, const char *name)
{
	size_t len = strlen(name);

	for (int i = 0; i < n && names; i++) {
		const char *end = strchrnul(names, ':');

		if ((size_t)(end - names) == len && memcmp(names, name, len) == 0)
			return FIRST_FD + i;
		names = *end ? end + 1 : NULL;
	}
	return -1;
}

int fdstore_take(struct state *ret)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	char name[32];
	int n, fd, r;

	if (!pid || !count || !names || (pid_t)atol(pid) != getpid())
		return -ENOENT;
	n = atoi(count);
	fd = fd_of(names, n, NAME_STATE);
	if (fd < 0)
		return -ENOENT;
	r = state_attach(ret, fd);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < atomic_load(&ret->mem->n_kept); i++) {
		name_of(name, sizeof(name), "kept", i);
		ret->mem->kept[i].fd = fd_of(names, n, name);
	}
	for (uint32_t i = 0; i < ret->mem->n_dirs; i++) {
		name_of(name, sizeof(name), "dir", i);
		ret->mem->dirs[i] = fd_of(names, n, name);
	}
	super_mark_all(ret, false);
	return state_kept(ret, STATE_FD_FUSE, 0) < 0 && state_kept(ret, STATE_FD_NFS, 0) < 0
		       ? -ENOENT
		       : 0;
}
