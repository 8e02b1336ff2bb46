/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a server tells of itself: the message between it and `lamina status`, over a socket in the abstract
 * namespace that is named after the connection of the mount.  docs/design/status.md
 */
#ifndef CLI_STATUS_H
#define CLI_STATUS_H

#include <lamina/lamina.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cli/cli.h"

#define STATUS_MAGIC UINT64_C(0x6c616d2d73746174)
#define STATUS_VERSION 1u /* with any change of struct status */
#define STATUS_FEATURES 16u
#define STATUS_TEXT_MAX (64u << 20)

enum status_feature_state { STATUS_OFF, STATUS_ON, STATUS_REFUSED };

struct status_feature {
	char name[24];
	char why[100]; /* of what is refused, or not "" for what is off by itself */
	uint32_t state;
};

/* In the byte order and layout of the machine: both ends are one program. */
struct status {
	uint64_t magic;
	uint32_t version, size;
	uint64_t text_len; /* of what follows, see below */
	uint64_t now_ns, since_ns, gap_us, rss_bytes;
	uint64_t held_ids, errors, malformed, interrupted, notifications;
	int32_t pid, supervisor; /* 0: none */
	uint32_t generation, deaths, upgrades;
	uint32_t threads, n_lower, n_data, n_features, writable;
	struct lam_stats stack;
	struct status_feature features[STATUS_FEATURES];
	uint64_t requests[FUSE_FRONT_OPS];
	struct fuse_front_latency latency[FUSE_FRONT_OPS];
};
/* The text: strings with a NUL after each: version of the program, mountpoint, upper and work directory
 * ("" without), the lower ones, the data-only ones. */

socklen_t status_address(uint64_t minor, struct sockaddr_un *ret);

/* status_server.c: answer until status_stop(), from a thread of its own.  A server that cannot be asked
 * serves all the same. */
struct status_server;
struct status_server *status_start(const struct mount_plan *plan, const struct super_link *link,
				   struct fuse_front *fuse, struct lam_stack *stack);
void status_stop(struct status_server *s);

/* status_print.c */
/* A sample of a mount, with its text taken apart. */
struct status_sample {
	struct status *status; /* owned, with the text behind it; NULL: none */
	const char **strings;  /* owned: 4 + lowers + data */
};
void status_print_json(const struct status_sample *s);
/* BEFORE: an earlier sample of the same server to count from, or NULL for its start. */
void status_print_text(const struct status_sample *s, const struct status_sample *before);

#endif
