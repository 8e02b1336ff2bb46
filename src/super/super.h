/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The supervisor: holds what a worker's end must not take away (the connection, the directories of the
 * layers, a listening socket, the memory of state.h), and starts another worker when one ends.
 * docs/design/takeover.md
 */
#ifndef SUPER_SUPER_H
#define SUPER_SUPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "super/state.h"

/* How a worker ends that gives its place to another one. */
#define SUPER_EXIT_RETIRED 17

/* What asks a worker to do that, and what it gets when its supervisor is gone. */
#define SUPER_SIGNAL_RETIRE SIGUSR2
#define SUPER_SIGNAL_ALONE SIGPWR

/* What a supervisor that goes on has beside the memory; -1: not that. */
struct super_adopted {
	int channel; /* to the worker that serves, a child of this process */
	int control; /* where upgrades are asked for */
};

struct super_config {
	struct state *state;
	char **argv;	     /* of the program, for its successor */
	bool foreground;     /* with the supervisor the workers end */
	unsigned deaths_max; /* in a minute; more end the mount */
	/* STATE is of an earlier supervisor: somebody has served already. */
	const struct super_adopted *adopted;
	int (*ready)(void *ctx);			     /* the first worker serves */
	void (*say)(void *ctx, int level, const char *line); /* level as in syslog(3) */
	void *ctx;
};

/* What a worker has of its supervisor.  All of it is the worker's own. */
struct super_link {
	struct state *state; /* borrowed; NULL: there is no supervisor */
	int channel;
	bool successor; /* another worker served before */
	bool fdstore;	/* somebody will go on should the supervisor end */
	bool foreground;
	pid_t parent;
};

#define SUPER_IS_WORKER (-1)

/*
 * Start a worker and watch over it until the last one ends; returns the exit status of the program.  In
 * a worker returns SUPER_IS_WORKER with *LINK.  Negative: nothing was started.
 */
int super_run(const struct super_config *config, struct super_link *link);

/* ---- In a worker ---- */

/* Wait until no other worker is left.  First of all, and once. */
int super_begin(struct super_link *link);
/* Give a descriptor to the supervisor; it stays open here. */
int super_keep(const struct super_link *link, enum state_fd kind, uint32_t index, int fd);
/* All is there: requests are served from now on. */
int super_ready(const struct super_link *link);

/* ---- One program in place of another ---- */

/* Whether this process was started to go on where another program is serving; before anything else
 * looks at the environment.  Returns 0 and fills in LINK, -ENOENT if not, or another error after having told
 * why to who asked. */
int super_inherit(struct state *state, struct super_link *link);
/* The successor is able to go on: wait until it may.  An error: it may not. */
int super_await_turn(const struct super_link *link);
/* Tell who asked for the successor why there is none. */
void super_refuse(const struct super_link *link, const char *why);

/* Whether this process goes on as a supervisor: of its own workers, under a new program, or with what
 * the service manager kept.  Returns 0, -ENOENT if not, -EPROTO: that is of another layout. */
int super_adopt(struct state *state, struct super_adopted *ret);

/* Ask the supervisor of connection MINOR for its replacement by the program PROGRAM_FD (O_PATH is enough), and
 * wait until it serves.  WHY (SIZE bytes) gets the reason of a refusal: -EPERM, -ECANCELED.
 * *RET_GAP_US: how long nobody served. */
int super_ask_upgrade(uint32_t minor, int program_fd, uint64_t *ret_gap_us, char *why, size_t size);

#endif
