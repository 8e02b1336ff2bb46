/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages between supervisor, workers and those who ask for an upgrade: one structure, perhaps with one
 * descriptor, over sockets that keep messages apart. */
#ifndef SUPER_CHANNEL_H
#define SUPER_CHANNEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum channel_type {
	CH_NONE,
	/* worker to supervisor */
	CH_KEEP,     /* a descriptor of kind A and index B */
	CH_READY,    /* serving */
	CH_PREPARED, /* could go on where another program serves */
	CH_REFUSED,  /* could not; TEXT says why */
	/* supervisor to worker */
	CH_GO, /* the other one is gone */
	/* to the supervisor, and back */
	CH_UPGRADE,  /* the descriptor is of the program */
	CH_UPGRADED, /* VALUE: microseconds without a server */
};

struct channel_msg {
	uint32_t type;
	uint32_t a, b;
	uint32_t magic;
	uint64_t value;
	char text[232];
};

/* Send without waiting; FD -1: none.  -EAGAIN where the other side does not read. */
int channel_send(int sock, const struct channel_msg *msg, int fd);
/* The same for any other datagram. */
int channel_send_bytes(int sock, const void *bytes, size_t len, int fd);
/* Receive; *RET_FD (closed on exec) is -1 if none came.  FLAGS: MSG_DONTWAIT.  -EAGAIN; -EPIPE: the other side
 * is gone; -EPROTO: something else. */
int channel_receive(int sock, struct channel_msg *msg, int *ret_fd, int flags);
/* The abstract address of the supervisor of a connection; returns its length. */
socklen_t channel_address(uint32_t minor, struct sockaddr_un *ret);

#endif
