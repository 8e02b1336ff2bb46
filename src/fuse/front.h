/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The FUSE front end: shows a stack of layers as a mounted filesystem.
 *
 * It speaks the kernel's protocol itself.  It keeps no open-file state: requests name objects by
 * the ids of the stack, and all that is remembered is which ids the kernel still refers to.
 *
 * The order of life: open a stack, fuse_front_open(), fuse_front_serve(), fuse_front_close(), close
 * the stack.  fuse_front_open() starts no threads, so a caller that becomes a daemon may fork
 * before or after it; serve and close belong to one process.
 */
#ifndef FUSE_FRONT_H
#define FUSE_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuse_front;
struct lam_stack;
struct super_link;

enum fuse_transport {
	FUSE_TRANSPORT_AUTO,  /* io_uring where the kernel offers it, else /dev/fuse */
	FUSE_TRANSPORT_DEV,   /* reads and writes of /dev/fuse */
	FUSE_TRANSPORT_URING, /* io_uring or fail */
};

enum fuse_passthrough { FUSE_PASSTHROUGH_OFF, FUSE_PASSTHROUGH_AUTO, FUSE_PASSTHROUGH_ON };

/* What to mount and how.  Strings are borrowed for the duration of fuse_front_open().  All zero but
 * the mountpoint and the times to live is a sensible setting. */
struct fuse_front_config {
	const char *mountpoint;	   /* a directory, or "/dev/fd/N": N is mounted already */
	const char *fsname;	   /* source in the mount table; NULL: the subtype */
	const char *subtype;	   /* the type is "fuse.SUBTYPE"; NULL: "lamina" */
	unsigned long mount_flags; /* MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOATIME, ... */
	const char *extra_options; /* handed to mount as they are: context="...", ... or NULL */
	bool allow_other;	   /* other users than the mounting one may use it */
	bool allow_root;	   /* of the others only root may; excludes allow_other */
	bool default_permissions;  /* the kernel checks permissions */
	bool read_only;		   /* the same as MS_RDONLY in mount_flags */
	enum fuse_transport transport;
	unsigned threads;    /* of /dev/fuse; 0: from the number of CPUs */
	double entry_ttl;    /* seconds a name is cached by the kernel; < 0: for ever */
	double attr_ttl;     /* the same for attributes */
	double negative_ttl; /* the same for names that do not exist */
	bool writeback;	     /* writeback caching: fast small writes, inexact times */
	enum fuse_passthrough passthrough;
	bool no_acl;	     /* do not offer POSIX ACLs */
	bool no_xattr;	     /* do not offer extended attributes */
	bool opens_answered; /* answer OPEN instead of switching it off */
	uint32_t max_write;  /* bytes of one WRITE or READ; 0: 1 MiB */
	/* NULL, or the supervisor, which keeps what a worker that takes over needs; borrowed for as long
	 * as the front end lives. */
	const struct super_link *link;
};

/*
 * Mount and shake hands with the kernel: when this returns 0 the mount is there and takes requests,
 * which wait for fuse_front_serve().  STACK is borrowed until fuse_front_close() and must not be
 * used after it other than to be closed.  Mounts directly where that is permitted, else through
 * fusermount3.  Errors, each with a line to the log: -EINVAL, -ENOENT, -ENOTDIR, -EPERM, -EACCES,
 * -EBUSY, -ENOMEM, -EPROTO (a kernel older than Linux 5.2), -EOPNOTSUPP (no io_uring, though asked
 * for), -ENODEV (no FUSE in this kernel), or what mount(2) returned.
 */
int fuse_front_open(struct fuse_front **ret, struct lam_stack *stack,
		    const struct fuse_front_config *config);

/*
 * Serve until the filesystem is unmounted or fuse_front_stop() is called; 0 for both, or the error
 * that ended it.  The calling thread only waits: signals that it does not block reach it and no
 * serving thread.
 */
int fuse_front_serve(struct fuse_front *front);

/* Ask the serving threads to end: unmount (lazily, if the filesystem is busy), answer what was
 * asked before, return.  Async-signal-safe; more than one call does no harm. */
void fuse_front_stop(struct fuse_front *front);

/* The same, but leave the mount to another worker: what was read is answered, the rest is not touched.
 * After fuse_front_serve() the process should end without more ado. */
void fuse_front_retire(struct fuse_front *front);

/* Unmount if that has not happened, give everything back.  NULL is allowed. */
void fuse_front_close(struct fuse_front *front);

/*
 * Somebody else than the kernel has changed object ID: its attributes or its data; or what NAME in
 * directory PARENT is.  The kernel forgets what it had cached of that.  Waits for requests to be
 * served: not to be called by a thread that serves the mount, nor with a lock held.
 */
void fuse_front_changed(struct fuse_front *front, uint64_t id);
void fuse_front_name_changed(struct fuse_front *front, uint64_t parent, const char *name);

/* Number of counters in fuse_front_stats: one for each request number of the protocol. */
#define FUSE_FRONT_OPS 64u

/* How long operations of one kind took, from when a thread had them to when the answer was made: counts
 * for less than 1, 2, 4, ... times BUCKET_NS, and in the last one for all that took longer. */
#define FUSE_FRONT_BUCKETS 15u
#define FUSE_FRONT_BUCKET_NS 2000u
struct fuse_front_latency {
	uint64_t total_ns;
	uint64_t counts[FUSE_FRONT_BUCKETS];
};

/* What was served since the mount. */
struct fuse_front_stats {
	uint64_t requests[FUSE_FRONT_OPS]; /* by request number */
	struct fuse_front_latency latency[FUSE_FRONT_OPS];
	uint64_t errors;			     /* requests answered with an error */
	uint64_t malformed;			     /* requests that made no sense */
	uint64_t interrupted;			     /* operations asked to stop */
	uint64_t notifications;			     /* sent to the kernel */
	uint64_t held_ids;			     /* ids that the kernel refers to, now */
	const char *transport;			     /* "dev" or "io_uring"; static */
	unsigned threads;			     /* serving, now */
	uint32_t minor;				     /* of protocol version 7 */
	uint64_t flags;				     /* FUSE_* features agreed upon */
	bool zero_open, writeback, passthrough, acl; /* in use */
	const char *no_uring;	    /* why io_uring is not used; NULL: it is; static */
	const char *no_zero_open;   /* the same for opens that are not asked for */
	const char *no_passthrough; /* NULL: in use, or was not asked for */
	const char *no_writeback;   /* the same */
};
void fuse_front_stats(struct fuse_front *front, struct fuse_front_stats *ret);

/* The name of a request, "LOOKUP", or NULL for numbers that are none.  Static storage. */
const char *fuse_front_op_name(unsigned number);

#endif
