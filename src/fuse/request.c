/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A request from the kernel: taken apart, checked, given to its operation.
 *
 * Nothing here trusts the message: lengths are compared with what the operation needs before it
 * runs, and names are looked for inside the message only.  A message that makes no sense gets EIO
 * and a line in the log.
 */
#include "internal.h"

#include <errno.h>
#include <stdalign.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"

#define OP_ANYONE 1u  /* also for those whom allow_root keeps out: they hold a file already */
#define OP_SILENT 2u  /* never answered */
#define OP_SLOW 4u    /* may copy, or wait for a disk, as a rule */
#define OP_CHANGES 8u /* may copy up the object if its data still lies below */

struct op {
	const char *name;
	int (*run)(struct request *rq);
	uint16_t arg_size; /* bytes of the fixed argument */
	uint16_t flags;
};

static const struct op ops[FUSE_FRONT_OPS] = {
	[FUSE_LOOKUP] = { "LOOKUP", op_lookup, 0, 0 },
	[FUSE_FORGET] = { "FORGET", op_forget, sizeof(struct fuse_forget_in),
			  OP_ANYONE | OP_SILENT },
	[FUSE_GETATTR] = { "GETATTR", op_getattr, sizeof(struct fuse_getattr_in), 0 },
	[FUSE_SETATTR] = { "SETATTR", op_setattr, sizeof(struct fuse_setattr_in), OP_CHANGES },
	[FUSE_READLINK] = { "READLINK", op_readlink, 0, 0 },
	[FUSE_SYMLINK] = { "SYMLINK", op_symlink, 0, 0 },
	[FUSE_MKNOD] = { "MKNOD", op_mknod, sizeof(struct fuse_mknod_in), 0 },
	[FUSE_MKDIR] = { "MKDIR", op_mkdir, sizeof(struct fuse_mkdir_in), 0 },
	[FUSE_UNLINK] = { "UNLINK", op_unlink, 0, 0 },
	[FUSE_RMDIR] = { "RMDIR", op_rmdir, 0, 0 },
	[FUSE_RENAME] = { "RENAME", op_rename, sizeof(struct fuse_rename_in), OP_SLOW },
	[FUSE_LINK] = { "LINK", op_link, sizeof(struct fuse_link_in), OP_SLOW },
	[FUSE_OPEN] = { "OPEN", op_open, sizeof(struct fuse_open_in), 0 },
	[FUSE_READ] = { "READ", op_read, sizeof(struct fuse_read_in), OP_ANYONE },
	[FUSE_WRITE] = { "WRITE", op_write, sizeof(struct fuse_write_in), OP_ANYONE | OP_CHANGES },
	[FUSE_STATFS] = { "STATFS", op_statfs, 0, 0 },
	[FUSE_RELEASE] = { "RELEASE", op_release, sizeof(struct fuse_release_in), OP_ANYONE },
	[FUSE_FSYNC] = { "FSYNC", op_fsync, sizeof(struct fuse_fsync_in), OP_ANYONE | OP_SLOW },
	/* The size depends on FUSE_SETXATTR_EXT: arg_size_of(). */
	[FUSE_SETXATTR] = { "SETXATTR", op_setxattr, 0, OP_CHANGES },
	[FUSE_GETXATTR] = { "GETXATTR", op_getxattr, sizeof(struct fuse_getxattr_in), 0 },
	[FUSE_LISTXATTR] = { "LISTXATTR", op_listxattr, sizeof(struct fuse_getxattr_in), 0 },
	[FUSE_REMOVEXATTR] = { "REMOVEXATTR", op_removexattr, 0, OP_CHANGES },
	[FUSE_FLUSH] = { "FLUSH", op_flush, sizeof(struct fuse_flush_in), OP_ANYONE },
	[FUSE_INIT] = { "INIT", op_unsupported, 0, OP_ANYONE },
	[FUSE_OPENDIR] = { "OPENDIR", op_opendir, sizeof(struct fuse_open_in), 0 },
	[FUSE_READDIR] = { "READDIR", op_readdir, sizeof(struct fuse_read_in), OP_ANYONE },
	[FUSE_RELEASEDIR] = { "RELEASEDIR", op_release, sizeof(struct fuse_release_in), OP_ANYONE },
	[FUSE_FSYNCDIR] = { "FSYNCDIR", op_fsync, sizeof(struct fuse_fsync_in),
			    OP_ANYONE | OP_SLOW },
	[FUSE_GETLK] = { "GETLK", op_unsupported, 0, OP_ANYONE },
	[FUSE_SETLK] = { "SETLK", op_unsupported, 0, OP_ANYONE },
	[FUSE_SETLKW] = { "SETLKW", op_unsupported, 0, OP_ANYONE },
	[FUSE_ACCESS] = { "ACCESS", op_unsupported, 0, 0 },
	[FUSE_CREATE] = { "CREATE", op_create, sizeof(struct fuse_create_in), 0 },
	[FUSE_INTERRUPT] = { "INTERRUPT", op_interrupt, sizeof(struct fuse_interrupt_in),
			     OP_ANYONE | OP_SILENT },
	[FUSE_BMAP] = { "BMAP", op_unsupported, 0, OP_ANYONE },
	[FUSE_DESTROY] = { "DESTROY", op_destroy, 0, OP_ANYONE },
	[FUSE_IOCTL] = { "IOCTL", op_ioctl, sizeof(struct fuse_ioctl_in), OP_CHANGES },
	[FUSE_POLL] = { "POLL", op_unsupported, 0, OP_ANYONE },
	[FUSE_NOTIFY_REPLY] = { "NOTIFY_REPLY", op_destroy, 0, OP_ANYONE | OP_SILENT },
	[FUSE_BATCH_FORGET] = { "BATCH_FORGET", op_batch_forget,
				sizeof(struct fuse_batch_forget_in), OP_ANYONE | OP_SILENT },
	[FUSE_FALLOCATE] = { "FALLOCATE", op_fallocate, sizeof(struct fuse_fallocate_in),
			     OP_ANYONE | OP_SLOW },
	[FUSE_READDIRPLUS] = { "READDIRPLUS", op_readdirplus, sizeof(struct fuse_read_in),
			       OP_ANYONE },
	[FUSE_RENAME2] = { "RENAME2", op_rename2, sizeof(struct fuse_rename2_in), OP_SLOW },
	[FUSE_LSEEK] = { "LSEEK", op_lseek, sizeof(struct fuse_lseek_in), OP_ANYONE },
	[FUSE_COPY_FILE_RANGE] = { "COPY_FILE_RANGE", op_copy_range,
				   sizeof(struct fuse_copy_file_range_in), OP_ANYONE | OP_SLOW },
	[FUSE_SETUPMAPPING] = { "SETUPMAPPING", op_unsupported, 0, OP_ANYONE },
	[FUSE_REMOVEMAPPING] = { "REMOVEMAPPING", op_unsupported, 0, OP_ANYONE },
	[FUSE_SYNCFS] = { "SYNCFS", op_syncfs, sizeof(struct fuse_syncfs_in), OP_ANYONE | OP_SLOW },
	[FUSE_TMPFILE] = { "TMPFILE", op_tmpfile, sizeof(struct fuse_create_in), 0 },
	[FUSE_STATX] = { "STATX", op_statx, sizeof(struct fuse_statx_in), 0 },
	[FUSE_COPY_FILE_RANGE_64] = { "COPY_FILE_RANGE_64", op_copy_range_64,
				      sizeof(struct fuse_copy_file_range_in), OP_ANYONE | OP_SLOW },
};

const char *fuse_front_op_name(unsigned number)
{
	return number < FUSE_FRONT_OPS ? ops[number].name : NULL;
}

static const struct op *op_of(const struct request *rq)
{
	uint32_t n = rq->head.opcode;

	return n < FUSE_FRONT_OPS && ops[n].run ? &ops[n] : NULL;
}

static size_t arg_size_of(const struct request *rq)
{
	const struct op *op = op_of(rq);

	if (rq->head.opcode == FUSE_SETXATTR)
		return rq->front->proto.flags & FUSE_SETXATTR_EXT ? sizeof(struct fuse_setxattr_in)
								  : FUSE_COMPAT_SETXATTR_IN_SIZE;
	return op ? op->arg_size : 0;
}

static void set_caller(struct request *rq)
{
	rq->call.cred = (struct lam_cred){
		.uid = rq->head.uid,
		.gid = rq->head.gid,
		.pid = (int32_t)rq->head.pid,
	};
	rq->call.cancelled = &rq->slot->cancelled;
}

/* Extensions lie at the end of the message; none of those that are defined concerns us. */
static int strip_extensions(struct request *rq)
{
	size_t len = (size_t)rq->head.total_extlen * 8;

	if (len > rq->data_len)
		return -EIO;
	rq->data_len -= len;
	return 0;
}

int request_decode_flat(struct request *rq, const void *msg, size_t len)
{
	const char *p = msg;
	size_t arg_size;

	memset(&rq->head, 0, sizeof(rq->head));
	rq->counted = 0;
	if (len < sizeof(rq->head))
		return -EIO;
	memcpy(&rq->head, p, sizeof(rq->head));
	if (rq->head.len != len)
		return -EIO;
	p += sizeof(rq->head);
	len -= sizeof(rq->head);
	arg_size = arg_size_of(rq);
	if (len < arg_size)
		return -EIO;
	CHECK((uintptr_t)p % alignof(uint64_t) == 0);
	rq->arg = p;
	rq->data = p + arg_size;
	rq->data_len = len - arg_size;
	set_caller(rq);
	return strip_extensions(rq);
}

int request_decode_split(struct request *rq, const struct fuse_in_header *head, const void *arg,
			 size_t arg_max, const void *payload, size_t payload_len)
{
	memcpy(&rq->head, head, sizeof(rq->head));
	rq->counted = 0;
	if (arg_size_of(rq) > arg_max)
		return -EIO;
	CHECK((uintptr_t)arg % alignof(uint64_t) == 0);
	rq->arg = arg;
	rq->data = payload;
	rq->data_len = payload_len;
	set_caller(rq);
	return strip_extensions(rq);
}

void request_malformed(struct request *rq, const char *what)
{
	const char *name = fuse_front_op_name(rq->head.opcode);

	atomic_fetch_add_explicit(&rq->slot->malformed, 1, memory_order_relaxed);
	log_warning("the kernel sent a request that makes no sense: %s (%u), %u bytes: %s",
		    name ? name : "unknown", rq->head.opcode, rq->head.len, what);
}

/* Make the request known to INTERRUPT. */
static void enter(struct request *rq)
{
	struct slot *slot = rq->slot;
	struct fuse_front *front = rq->front;

	mutex_lock(&slot->lock);
	slot->unique = rq->head.unique;
	atomic_store_explicit(&slot->cancelled, false, memory_order_relaxed);
	mutex_unlock(&slot->lock);
	/* An INTERRUPT that found no slot leaves a note and then looks at the slots once more.  Either
	 * it took this lock later than we and saw the number, or earlier, and we see the note. */
	for (unsigned i = 0; i < EARLY_MAX; i++) {
		if (atomic_load_explicit(&front->early[i], memory_order_relaxed) == rq->head.unique)
			atomic_store_explicit(&slot->cancelled, true, memory_order_relaxed);
	}
}

static void leave(struct slot *slot)
{
	mutex_lock(&slot->lock);
	slot->unique = 0;
	mutex_unlock(&slot->lock);
}

static void count(_Atomic uint64_t *counter)
{
	/* Only the owner of the slot writes: no locked instruction is needed. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* The objects that the request names are made known to an engine that cannot find them by number. */
static void prime(struct request *rq)
{
	names_prime(rq->front, &rq->call, rq->head.nodeid);
	switch (rq->head.opcode) {
	case FUSE_LINK:
		names_prime(rq->front, &rq->call,
			    ((const struct fuse_link_in *)rq->arg)->oldnodeid);
		break;
	case FUSE_RENAME:
		names_prime(rq->front, &rq->call, ((const struct fuse_rename_in *)rq->arg)->newdir);
		break;
	case FUSE_RENAME2:
		names_prime(rq->front, &rq->call,
			    ((const struct fuse_rename2_in *)rq->arg)->newdir);
		break;
	case FUSE_COPY_FILE_RANGE:
	case FUSE_COPY_FILE_RANGE_64:
		names_prime(rq->front, &rq->call,
			    ((const struct fuse_copy_file_range_in *)rq->arg)->nodeid_out);
		break;
	default:
		break;
	}
}

static int run(struct request *rq, const struct op *op)
{
	uint64_t before = 0;
	int r;

	if (rq->front->root_only && !(op->flags & OP_ANYONE) && rq->head.uid != 0 &&
	    rq->head.uid != rq->front->owner)
		return -EACCES;
	if (op->flags & OP_SILENT)
		return op->run(rq);
	if (rq->front->names)
		prime(rq);
	enter(rq);
	if (rq->front->breaks_links)
		before = numbers_before(rq);
	r = op->run(rq);
	if (before && r >= 0 && r != REQUEST_LATE)
		numbers_after(rq, before);
	leave(rq->slot);
	return r;
}

int request_serve(struct request *rq)
{
	const struct op *op = op_of(rq);
	const uint64_t start = latency_now();
	int r;

	if (!op) {
		log_debug("request %u is unknown", rq->head.opcode);
		r = -ENOSYS;
	} else {
		r = run(rq, op);
	}
	if (r == REQUEST_LATE)
		return r;
	if (op) {
		count(&rq->slot->requests[rq->head.opcode]);
		latency_note(rq->slot->latencies, rq->head.opcode, start);
	}
	if (r < 0 && r != -ENOSYS)
		count(&rq->slot->errors);
	if (op && (op->flags & OP_SILENT))
		return REQUEST_SILENT;
	/* The kernel takes numbers up to 511 for an error and the rest for a broken server. */
	return r <= -512 ? -EIO : r;
}

bool request_is_slow(const struct request *rq)
{
	const struct op *op = op_of(rq);

	if (!op)
		return false;
	if (op->flags & OP_CHANGES)
		return !(holds_marks(rq->front->holds, rq->head.nodeid) & HOLD_OWN_DATA);
	return (op->flags & OP_SLOW) != 0;
}

void request_undo(struct request *rq, int result)
{
	if (result < 0 || result >= REQUEST_SILENT)
		return;
	op_open_undo(rq);
	if (rq->counted != 0)
		front_forget(rq->front, rq->counted, 1);
	else if (rq->head.opcode == FUSE_READDIRPLUS)
		op_readdirplus_undo(rq, (size_t)result);
}

int request_string(struct request *rq, const char **string)
{
	const char *end = memchr(rq->data, '\0', rq->data_len);
	const char *start = rq->data;

	if (!end) {
		request_malformed(rq, "a string does not end");
		return -EIO;
	}
	rq->data = end + 1;
	rq->data_len -= (size_t)(end + 1 - start);
	*string = start;
	return 0;
}

int request_name(struct request *rq, const char **name)
{
	const char *s;
	int r = request_string(rq, &s);

	if (r < 0)
		return r;
	if (*s == '\0' || strchr(s, '/')) {
		request_malformed(rq, "not the name of an entry");
		return -EINVAL;
	}
	if (strlen(s) > LAM_NAME_MAX)
		return -ENAMETOOLONG;
	*name = s;
	return 0;
}
