/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NFS front end: serves a stack of layers by NFS version 3 and MOUNT version 3 on one TCP port.
 *
 * It keeps no state of clients but a cache of answers against replays: file handles hold the ids of
 * the stack, so they stay good over a restart.
 *
 * The order of life: open a stack, nfs_front_open(), nfs_front_start(), nfs_front_wait(),
 * nfs_front_close(), close the stack.  nfs_front_open() starts no threads.
 */
#ifndef NFS_FRONT_H
#define NFS_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nfs_front;
struct lam_stack;
struct super_link;

/* What to serve and to whom.  Strings are borrowed for the duration of nfs_front_open(), the
 * callbacks and their context until nfs_front_close().  All zero is a sensible setting. */
struct nfs_front_config {
	const char *listen; /* "ADDR:PORT", "[ADDR6]:PORT" or "PORT"; NULL: 127.0.0.1:2049 */
	/* Rules "CIDR[,ro|rw,root_squash|no_root_squash|all_squash]"; the first that fits a client
	 * counts, and who fits none is not let in.  None: this machine, rw,root_squash. */
	const char *const *allow;
	size_t n_allow;
	const char *export_path;  /* a name for the root beside "/"; NULL: none */
	const char *key_file;	  /* key of the handles; NULL: kept in the work directory */
	const char *export_id;	  /* with key_file: what tells this export from others */
	unsigned threads;	  /* 0: from the number of CPUs */
	unsigned max_connections; /* 0: 256 */
	unsigned idle_seconds;	  /* a silent connection is closed after this; 0: 900 */
	unsigned stall_seconds;	  /* the same in the middle of a record; 0: 30 */
	bool async;		  /* answer changes of names before they are durable */

	/* Somebody else changes the stack too and wants to know what clients change here: an
	 * object's attributes or data, and a name.  Called by any thread, with no lock held. */
	bool shared;
	void (*changed)(void *ctx, uint64_t id);
	void (*name_changed)(void *ctx, uint64_t parent, const char *name);
	void *ctx;
	/* NULL, or the supervisor, as for fuse_front_open(). */
	const struct super_link *link;
};

/*
 * Listen, and read or make the key of the handles.  STACK is borrowed until nfs_front_close().
 * Errors, each with a line to the log: -EINVAL (an address, a rule, a key of the wrong length),
 * -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -ENOMEM, ...
 */
int nfs_front_open(struct nfs_front **ret, struct lam_stack *stack,
		   const struct nfs_front_config *config);

/* Start to serve, in threads with all signals blocked.  After an error none of them runs. */
int nfs_front_start(struct nfs_front *front);

/* Wait until nfs_front_stop() was called and all that was asked before has been answered. */
void nfs_front_wait(struct nfs_front *front);

/* Take no more requests.  Async-signal-safe.  A second call also stops copies that run. */
void nfs_front_stop(struct nfs_front *front);

/* Stop if that has not happened, give everything back.  NULL is allowed. */
void nfs_front_close(struct nfs_front *front);

/* The port that it listens on: of interest where the configuration says 0. */
unsigned nfs_front_port(const struct nfs_front *front);

#define NFS_FRONT_PROCS 22u

struct nfs_front_stats {
	uint64_t requests[NFS_FRONT_PROCS]; /* of NFS, by procedure number */
	uint64_t mount_requests;
	uint64_t errors;      /* requests answered with an error of NFS */
	uint64_t malformed;   /* that made no sense, or were for another program */
	uint64_t replays;     /* answered from the cache */
	uint64_t refused;     /* connections that no rule allowed, or one too many */
	uint64_t timed_out;   /* connections closed for their silence */
	unsigned connections; /* now */
};
void nfs_front_stats(struct nfs_front *front, struct nfs_front_stats *ret);

/* The name of a procedure, "LOOKUP", or NULL for numbers that are none.  Static storage. */
const char *nfs_front_proc_name(unsigned number);

#endif
