/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the front end share: the front itself, a request on its way, and the threads
 * that serve.
 */
#ifndef FUSE_INTERNAL_H
#define FUSE_INTERNAL_H

#include <lamina/lamina.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "again.h"
#include "base/mutex.h"
#include "compat.h"
#include "crew.h"
#include "front.h"
#include "helper.h"
#include "holds.h"
#include "late.h"
#include "latency.h"
#include "names.h"
#include "passthrough.h"
#include "walk.h"

/* How many INTERRUPTs that came before their request are remembered. */
#define EARLY_MAX 8u

/* The part of one serving thread that other threads look at. */
struct slot {
	struct mutex lock;     /* protects unique, and cancelled together with it */
	uint64_t unique;       /* the request being served; 0: none */
	atomic_bool cancelled; /* an INTERRUPT asked it to stop */
	/* Counters: written by the owner alone. */
	_Atomic uint64_t requests[FUSE_FRONT_OPS];
	_Atomic uint64_t errors, malformed, interrupted;
	struct latencies *latencies; /* the owner's */
} __attribute__((aligned(64)));

/* Settings of the mount, as agreed upon. */
struct protocol {
	uint32_t minor;
	uint64_t flags;	    /* FUSE_* that both sides know */
	uint32_t max_write; /* bytes of one WRITE */
	uint32_t max_pages; /* pages of one READ or WRITE */
	size_t payload;	    /* the largest body of a request or an answer */
	bool zero_open;	    /* OPEN and OPENDIR are switched off */
};

/* How long the kernel may believe an answer. */
struct ttl {
	uint64_t sec;
	uint32_t nsec;
};

struct fuse_front {
	struct lam_stack *stack;       /* borrowed */
	const struct super_link *link; /* to the supervisor; NULL: there is none */
	bool successor; /* another worker served before: the kernel refers to more than we know of */
	struct orphans *orphans; /* that may be nobody's any more; NULL: it is the first */
	atomic_bool doubts;	 /* something was kept that the kernel may not know */
	struct mutex
		making; /* RANK_FRONT: files without a name are made, and their numbers let go of */
	struct names *names; /* NULL: there is no supervisor */
	struct holds *holds;
	int fd;		      /* /dev/fuse */
	int stop_fd;	      /* eventfd: wakes the thread in fuse_front_serve() */
	int quit_fd;	      /* eventfd: tells the serving threads to drain and end */
	atomic_bool dead;     /* the connection is no more */
	atomic_bool draining; /* serve what is queued, then end */
	atomic_bool retiring; /* leave the mount to another worker */
	atomic_bool leaving;  /* for that: read no more */
	bool detached;	      /* the mount was taken away; only serve and close look */
	atomic_int failure;   /* what ended serving, if it was an error */

	char *mountpoint;		   /* absolute; NULL: handed over mounted */
	bool by_helper;			   /* mounted through fusermount3 */
	struct helper_unmounter unmounter; /* of such a mount */
	uint32_t owner;			   /* the user who mounted */
	bool root_only;			   /* of others than the owner only root may enter */
	bool opens_answered, no_acl, no_xattr, writeback;
	bool read_only;			 /* nothing can be written, ever */
	bool breaks_links;		 /* a hard link that is copied up gets a new number */
	bool want_passthrough;		 /* ask the kernel for it */
	struct passthrough *passthrough; /* NULL: not used */
	uint32_t want_write;		 /* bytes of one WRITE that are wished for */
	struct ttl entry_ttl, attr_ttl, negative_ttl;
	bool forever; /* entries and attributes never run out */
	struct protocol proto;

	bool uring; /* requests come over io_uring */
	bool uring_or_fail;
	unsigned n_dev;		     /* threads on /dev/fuse */
	struct crew crew;	     /* which of them take requests */
	unsigned n_queues;	     /* io_uring queues, one thread each */
	struct slot *slots;	     /* n_slots of them: dev, queues, late threads */
	struct latencies *latencies; /* of each slot */
	const char *no_uring;	     /* why it is not used; NULL: it is */
	int passthrough_error;	     /* why it is not used, though wished for */
	unsigned n_slots;
	atomic_uint running;
	_Atomic uint64_t notifications;
	_Atomic uint64_t early[EARLY_MAX]; /* interrupted before they were seen */
	atomic_uint early_next;

	/* Operations that may not hold up a serving thread.  Two pools: a seek waits for writes, so
	 * writes must not queue behind seeks. */
	struct late_pool *seekers, *slow;

	struct walk walk; /* what those who list directories want */
};

/* Where a request that wants to be served later stands. */
enum lateness {
	LATE_MAY,   /* it may ask for it by returning REQUEST_LATE */
	LATE_IS,    /* it runs in a late thread: it may wait for other requests */
	LATE_NEVER, /* there is no room: it must be answered without waiting for others */
};

/* Results of an operation other than a length or a negative errno. */
#define REQUEST_SILENT (1 << 30)     /* no answer is expected */
#define REQUEST_LATE ((1 << 30) + 1) /* serve again from a late thread */

/* One request.  The room for the answer may overlap DATA: an operation reads all it needs of
 * its names and values before it writes to OUT. */
struct request {
	struct fuse_front *front;
	struct slot *slot; /* of the serving thread */
	struct fuse_in_header head;
	const void *arg;  /* the fixed argument; as long as the operation wants it */
	const char *data; /* what follows it: names, values, data */
	size_t data_len;
	void *out; /* room for the body of the answer, 8-byte aligned */
	size_t out_size;
	struct lam_call call;
	enum lateness late;
	uint64_t counted;	     /* this answer adds a reference to this id; 0: none */
	struct state_intent *intent; /* the record of a request that must not be done twice */
};

/* request.c */

/* Take apart a message that lies in one piece.  0, or -EIO with RQ->head filled as far as it
 * goes. */
int request_decode_flat(struct request *rq, const void *msg, size_t len);
/* The same for one that comes as header, fixed argument (of up to ARG_MAX bytes) and payload. */
int request_decode_split(struct request *rq, const struct fuse_in_header *head, const void *arg,
			 size_t arg_max, const void *payload, size_t payload_len);
/* Serve a decoded request: the length of the answer's body, a negative errno or REQUEST_*. */
int request_serve(struct request *rq);
/* The answer did not reach the kernel: take back the references it would have added.  RESULT is
 * what request_serve() returned. */
void request_undo(struct request *rq, int result);
/* Count a message that could not be decoded, and say so. */
void request_malformed(struct request *rq, const char *what);
/* Whether an operation may take long enough to hold up the CPU's other requests. */
bool request_is_slow(const struct request *rq);

/* The next NUL-terminated name in the data; *NAME points into it.  -EIO, -ENAMETOOLONG, -EINVAL. */
int request_name(struct request *rq, const char **name);
/* The same for any string (a symlink's target). */
int request_string(struct request *rq, const char **string);

/* reply.c */

/* Count a reference to ENTRY's object and describe it.  1 if this is the only one that is known, else 0; -ENOMEM. */
int reply_fill_entry(struct fuse_front *front, const struct lam_entry *entry,
		     struct fuse_entry_out *to, unsigned marks);
/* A whole answer with an entry, or with attributes. */
int reply_entry(struct request *rq, const struct lam_entry *entry, unsigned marks);
int reply_attr(struct request *rq, const struct lam_attr *attr);
/* Copy a fixed answer out. */
int reply_bytes(struct request *rq, const void *body, size_t len);

/* The operations: op_*.c */

int op_lookup(struct request *rq);
int op_forget(struct request *rq);
int op_batch_forget(struct request *rq);
int op_getattr(struct request *rq);
int op_setattr(struct request *rq);
int op_statx(struct request *rq);
int op_readlink(struct request *rq);
int op_symlink(struct request *rq);
int op_mknod(struct request *rq);
int op_mkdir(struct request *rq);
int op_unlink(struct request *rq);
int op_rmdir(struct request *rq);
int op_rename(struct request *rq);
int op_rename2(struct request *rq);
int op_link(struct request *rq);
int op_create(struct request *rq);
int op_tmpfile(struct request *rq);
int op_open(struct request *rq);
int op_opendir(struct request *rq);
int op_release(struct request *rq);
int op_flush(struct request *rq);
int op_read(struct request *rq);
int op_write(struct request *rq);
int op_fsync(struct request *rq);
int op_fallocate(struct request *rq);
int op_lseek(struct request *rq);
int op_copy_range(struct request *rq);
int op_copy_range_64(struct request *rq);
int op_readdir(struct request *rq);
int op_readdirplus(struct request *rq);
int op_setxattr(struct request *rq);
int op_getxattr(struct request *rq);
int op_listxattr(struct request *rq);
int op_removexattr(struct request *rq);
int op_ioctl(struct request *rq);
int op_statfs(struct request *rq);
int op_syncfs(struct request *rq);
int op_interrupt(struct request *rq);
int op_destroy(struct request *rq);
int op_unsupported(struct request *rq);

/* Undo the references of a listing of LEN bytes that did not reach the kernel. */
void op_readdirplus_undo(struct request *rq, size_t len);
/* Undo the count of an open that did not reach the kernel. */
void op_open_undo(struct request *rq);
/* For lam_stack_add_user(). */
bool front_in_use(void *ctx, uint64_t id);
/* The kernel has nothing of ID any more. */
void front_gone(struct fuse_front *front, uint64_t id);
/* References of the kernel to ID went away. */
void front_forget(struct fuse_front *front, uint64_t id, uint64_t n);

/* notify.c */

/* Drop what the kernel caches of ID: with OFF < 0 attributes and ACLs only, else also the data
 * from OFF on for LEN bytes (0: to the end), which writes dirty pages back and so waits for WRITEs
 * to be served.  0 also if the kernel does not hold ID. */
int notify_inval_inode(struct fuse_front *front, uint64_t id, int64_t off, int64_t len);
/* The same for attributes, with -ENOENT if the kernel has no such inode. */
int notify_ask_inode(struct fuse_front *front, uint64_t id);
/* Ask for all requests again that were read and not answered. */
int notify_resend(struct fuse_front *front);
/* A set-uid or set-gid bit or the like may have gone: make the kernel ask for ID's mode again. */
void notify_priv_gone(struct fuse_front *front, uint64_t id);

/* numbers.c */

/* The number that the object shows that RQ may copy up; 0: it cannot change. */
uint64_t numbers_before(struct request *rq);
/* Afterwards: where it is another one, the kernel drops its listing of the directory. */
void numbers_after(struct request *rq, uint64_t before);

/* mount.c */

/* Mount FRONT as CONFIG says: sets fd, mountpoint, by_helper. */
int mount_attach(struct fuse_front *front, const struct fuse_front_config *config);
/* Take the mount away, lazily if it is busy. */
void mount_detach(struct fuse_front *front);

/* init.c */

/* Wait for the kernel's INIT and answer it: sets proto. */
int init_handshake(struct fuse_front *front);
/* What to answer to an INIT; -EPROTO for a kernel that is too old, -EAGAIN for one that shall
 * ask again with our major version. */
int init_negotiate(const struct fuse_front *front, const struct fuse_init_in *in,
		   struct fuse_init_out *out, struct protocol *proto);

/* dev.c */

/* Serve /dev/fuse with n_dev threads, using the first of SLOTS; *THREADS has room for them and one more.
 * Returns how many run, or an error if none does. */
int dev_start(struct fuse_front *front, struct slot *slots, pthread_t *threads);
/* Write an answer to FD, which its request was read from. */
int dev_reply(int fd, struct request *rq, int result);

/* uring.c */

/* Whether the kernel's switch is on and rings can be made. */
bool uring_usable(void);
/* How many queues the kernel wants: one for each possible CPU. */
unsigned uring_queues(void);
/* Like dev_start(), for n_queues threads, all of which are needed; *STARTED (0 before) counts those
 * that run, also after an error. */
int uring_start(struct fuse_front *front, struct slot *slots, pthread_t *threads, int *started);

/* front.c */

/* Start a serving thread that no signal reaches. */
int front_thread(pthread_t *ret, void *(*fn)(void *), void *arg);
/* The connection ended (R 0 or -ENODEV) or broke: wake fuse_front_serve(). */
void front_ended(struct fuse_front *front, int r);

#endif
