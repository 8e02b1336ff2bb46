/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For mount_libnfs.c: asking the server, and what is known of its objects. */
#ifndef LAMINA_TESTS_MOUNT_LIBNFS_H
#define LAMINA_TESTS_MOUNT_LIBNFS_H

#define FUSE_USE_VERSION 35
#define _FILE_OFFSET_BITS 64 /* FUSE insists */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <search.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <nfsc/libnfs.h> /* needs what is above */
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>

/* Bytes that the server may lose until they are committed. */
struct unstable {
	STAILQ_ENTRY(unstable) next;
	uint64_t off;
	u_int len;
	writeverf3 verf;
	char data[];
};
STAILQ_HEAD(unstables, unstable);

struct node {
	nfs_fh3 fh;
	uint64_t lookups;
	unsigned opens;
	struct unstables pending;
	size_t pending_bytes;
	/* Its name until it is closed, when it has been removed. */
	char hidden[32];
	struct node *hidden_in;
};

/* What is told of an object: a copy, as the library's own goes after the call. */
struct object {
	nfs_fh3 fh;
	char bytes[NFS3_FHSIZE];
	fattr3 attr;
};

struct question {
	bool answered, later;
	int error; /* an errno */
	void (*take)(void *answer, void *to);
	void *to;
};

static struct nfs_context *nfs;
static struct rpc_context *rpc;
static struct node root;
static void *nodes; /* by handle */

__attribute__((noreturn)) static void fatal(const char *what)
{
	fprintf(stderr, "mount_libnfs: %s\n", what);
	exit(1);
}

static void *allocate(size_t size)
{
	void *p = calloc(1, size);

	if (!p)
		fatal("out of memory");
	return p;
}

/* ---- Asking ---- */

static void answered(struct rpc_context *from, int status, void *data, void *private)
{
	struct question *q = private;
	nfsstat3 nfs_status;

	(void)from;
	q->answered = true;
	if (status != RPC_STATUS_SUCCESS) {
		q->error = EIO;
		return;
	}
	memcpy(&nfs_status, data, sizeof(nfs_status)); /* every answer begins with it */
	q->later = nfs_status == NFS3ERR_JUKEBOX;
	q->error = nfs_status == NFS3ERR_STALE	     ? ESTALE
		   : nfs_status == NFS3ERR_BADHANDLE ? ESTALE
		   : nfs_status == NFS3ERR_NOTSUPP   ? EOPNOTSUPP
						     : -nfsstat3_to_errno((int)nfs_status);
	if (nfs_status == NFS3_OK && q->take)
		q->take(data, q->to);
}

static void nap(long ms)
{
	const struct timespec ts = { .tv_nsec = ms * 1000000 };

	nanosleep(&ts, NULL);
}

/* The library connects again by itself, at once and without end: not too often. */
static void await(struct question *q)
{
	while (!q->answered) {
		struct pollfd p = { .fd = rpc_get_fd(rpc), .events = (short)rpc_which_events(rpc) };

		if (poll(&p, 1, 100) < 0)
			p.revents = 0;
		if (p.revents & (POLLERR | POLLHUP))
			nap(10);
		if (rpc_service(rpc, p.revents) < 0)
			fatal(rpc_get_error(rpc));
	}
}

/* Do one procedure, and again while the server says "later".  Its value is 0 or an errno. */
#define ASK(procedure, args, take_it, take_to)                                             \
	({                                                                                 \
		struct question q_;                                                        \
		do {                                                                       \
			q_ = (struct question){ .take = (take_it), .to = (take_to) };      \
			if (rpc_nfs3_##procedure##_async(rpc, answered, (args), &q_) != 0) \
				fatal(rpc_get_error(rpc));                                 \
			await(&q_);                                                        \
			if (q_.later)                                                      \
				nap(100);                                                  \
		} while (q_.later);                                                        \
		q_.error;                                                                  \
	})

/* ---- Objects ---- */

static int by_handle(const void *a, const void *b)
{
	const nfs_fh3 *x = &((const struct node *)a)->fh, *y = &((const struct node *)b)->fh;

	if (x->data.data_len != y->data.data_len)
		return x->data.data_len < y->data.data_len ? -1 : 1;
	return memcmp(x->data.data_val, y->data.data_val, x->data.data_len);
}

static struct node *node_of(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? &root : (struct node *)(uintptr_t)ino;
}

static void node_init(struct node *n, const nfs_fh3 *fh)
{
	n->fh.data.data_len = fh->data.data_len;
	n->fh.data.data_val = allocate(fh->data.data_len);
	memcpy(n->fh.data.data_val, fh->data.data_val, fh->data.data_len);
	STAILQ_INIT(&n->pending);
	if (!tsearch(n, &nodes, by_handle))
		fatal("out of memory");
}

static struct node *find(const nfs_fh3 *fh)
{
	const struct node key = { .fh = *fh };
	struct node **found = tfind(&key, &nodes, by_handle);

	return found ? *found : NULL;
}

static void node_forget(struct node *n, uint64_t lookups)
{
	if (n == &root)
		return;
	n->lookups -= lookups;
	if (n->lookups > 0)
		return;
	tdelete(n, &nodes, by_handle);
	free(n->fh.data.data_val);
	free(n);
}

static void copy_handle(struct object *o, const nfs_fh3 *fh)
{
	if (fh->data.data_len > sizeof(o->bytes))
		fatal("a handle is too long");
	memcpy(o->bytes, fh->data.data_val, fh->data.data_len);
	o->fh.data.data_len = fh->data.data_len;
	o->fh.data.data_val = o->bytes;
}

/* A server may leave these out.  Ours does not, and one request less is asked for that. */
static const fattr3 *attributes(const post_op_attr *attr)
{
	if (!attr->attributes_follow)
		fatal("an answer without attributes");
	return &attr->post_op_attr_u.attributes;
}

static void take_lookup(void *answer, void *to)
{
	const LOOKUP3resok *ok = &((LOOKUP3res *)answer)->LOOKUP3res_u.resok;
	struct object *o = to;

	copy_handle(o, &ok->object);
	o->attr = *attributes(&ok->obj_attributes);
}

#define TAKE_NEW(name, type)                                                       \
	static void name(void *answer, void *to)                                   \
	{                                                                          \
		const type##resok *ok = &((type##res *)answer)->type##res_u.resok; \
		struct object *o = to;                                             \
                                                                                   \
		if (!ok->obj.handle_follows)                                       \
			fatal("a new object without a handle");                    \
		copy_handle(o, &ok->obj.post_op_fh3_u.handle);                     \
		o->attr = *attributes(&ok->obj_attributes);                        \
	}

TAKE_NEW(take_create, CREATE3)
TAKE_NEW(take_mkdir, MKDIR3)
TAKE_NEW(take_symlink, SYMLINK3)
TAKE_NEW(take_mknod, MKNOD3)

static void take_getattr(void *answer, void *to)
{
	*(fattr3 *)to = ((GETATTR3res *)answer)->GETATTR3res_u.resok.obj_attributes;
}

static int get_attributes(const nfs_fh3 *fh, fattr3 *ret)
{
	GETATTR3args args = { .object = *fh };

	return ASK(getattr, &args, take_getattr, ret);
}

static struct stat as_stat(const fattr3 *a)
{
	static const mode_t types[] = { 0,	 S_IFREG, S_IFDIR,  S_IFBLK,
					S_IFCHR, S_IFLNK, S_IFSOCK, S_IFIFO };

	return (struct stat){
		.st_ino = a->fileid,
		.st_mode = types[a->type] | a->mode,
		.st_nlink = a->nlink,
		.st_uid = a->uid,
		.st_gid = a->gid,
		.st_size = (off_t)a->size,
		.st_blocks = (blkcnt_t)((a->used + 511) / 512),
		.st_blksize = 4096,
		.st_rdev = makedev(a->rdev.specdata1, a->rdev.specdata2),
		.st_atim = { a->atime.seconds, a->atime.nseconds },
		.st_mtim = { a->mtime.seconds, a->mtime.nseconds },
		.st_ctim = { a->ctime.seconds, a->ctime.nseconds },
	};
}

/* The kernel knows the object from now on, once more. */
static struct fuse_entry_param entry_of(const struct object *o)
{
	struct node *n = find(&o->fh);

	if (!n) {
		n = allocate(sizeof(*n));
		node_init(n, &o->fh);
	}
	n->lookups++;
	return (struct fuse_entry_param){
		.ino = n == &root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)n,
		.attr = as_stat(&o->attr),
	};
}

static void reply_entry(fuse_req_t req, int error, const struct object *o)
{
	struct fuse_entry_param e;

	if (error) {
		fuse_reply_err(req, error);
		return;
	}
	e = entry_of(o);
	fuse_reply_entry(req, &e);
}

static diropargs3 at(fuse_ino_t parent, const char *name)
{
	return (diropargs3){ .dir = node_of(parent)->fh, .name = (char *)(uintptr_t)name };
}

static sattr3 with_mode(mode_t mode)
{
	return (sattr3){ .mode = { .set_it = 1, .set_mode3_u.mode = mode & 07777 } };
}

#endif
