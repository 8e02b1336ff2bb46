/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LOOKUP, FORGET, BATCH_FORGET: which objects the kernel comes to know and lets go. */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

int op_lookup(struct request *rq)
{
	struct fuse_front *front = rq->front;
	struct fuse_entry_out out;
	struct lam_entry entry;
	const char *name;
	int r;

	r = request_name(rq, &name);
	if (r < 0)
		return r;
	/* The kernel asks for "." of an id out of a file handle that it has no inode for, of any
	 * type, and for ".." to connect a directory. */
	if (strcmp(name, ".") == 0)
		r = lam_resolve(front->stack, &rq->call, rq->head.nodeid, &entry);
	else if (strcmp(name, "..") == 0)
		r = lam_parent(front->stack, &rq->call, rq->head.nodeid, &entry);
	else
		r = lam_lookup(front->stack, &rq->call, rq->head.nodeid, name, &entry);

	if (r == -ENOENT && (front->negative_ttl.sec || front->negative_ttl.nsec)) {
		/* Node id 0 is a name that does not exist, to be remembered. */
		out = (struct fuse_entry_out){
			.entry_valid = front->negative_ttl.sec,
			.entry_valid_nsec = front->negative_ttl.nsec,
		};
		return reply_bytes(rq, &out, sizeof(out));
	}
	if (r == 0 && !S_ISDIR(entry.attr.mode))
		walk_lookup(&front->walk, rq->head.nodeid);
	if (r == 0)
		r = reply_fill_entry(front, &entry, &out, 0);
	if (r < 0)
		return r;
	rq->counted = entry.id;
	if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
		names_note(front, entry.id, rq->head.nodeid, name, r > 0);
	return reply_bytes(rq, &out, sizeof(out));
}

/* While a thread ends its part in an object, that is not in use for the sake of the kernel. */
static _Thread_local uint64_t going;

bool front_in_use(void *ctx, uint64_t id)
{
	struct fuse_front *front = ctx;

	if (id == going)
		return false;
	if (id == LAM_ROOT_ID || holds_has(front->holds, id))
		return true;
	/* Who came after another worker knows only what it has counted itself.  The kernel cannot be asked
	 * here, as locks are held: again_sweep() does it. */
	if (front->successor)
		atomic_store_explicit(&front->doubts, true, memory_order_relaxed);
	return front->successor;
}

static void end_part(struct fuse_front *front, uint64_t id)
{
	going = id;
	lam_forget(front->stack, id);
	going = 0;
}

void front_gone(struct fuse_front *front, uint64_t id)
{
	end_part(front, id);
	names_drop(front, id);
}

/* The kernel does not know ID; but a file without a name may have got its number and not yet been answered, when the
 * FORGET of the one that had it before comes late.  That one is looked at again later. */
static void gone_unless_made(struct fuse_front *front, uint64_t id)
{
	bool made;

	mutex_lock(&front->making);
	made = holds_has(front->holds, id) || again_was_made(front, id);
	if (!made)
		end_part(front, id);
	mutex_unlock(&front->making);
	if (made)
		atomic_store(&front->doubts, true);
	else
		names_drop(front, id);
}

void front_forget(struct fuse_front *front, uint64_t id, uint64_t n)
{
	if (id == 0 || id == LAM_ROOT_ID || n == 0)
		return;
	if (!front->successor) {
		if (holds_drop(front->holds, id, n)) {
			lam_forget(front->stack, id);
			names_drop(front, id);
		}
		return;
	}
	/* What another worker has counted is not known: the kernel is asked. */
	if ((holds_drop(front->holds, id, n) || !holds_has(front->holds, id)) &&
	    !again_kernel_has(front, id))
		gone_unless_made(front, id);
}

int op_forget(struct request *rq)
{
	const struct fuse_forget_in *in = rq->arg;

	front_forget(rq->front, rq->head.nodeid, in->nlookup);
	return 0;
}

int op_batch_forget(struct request *rq)
{
	const struct fuse_batch_forget_in *in = rq->arg;
	struct fuse_forget_one one;

	if (in->count > rq->data_len / sizeof(one)) {
		request_malformed(rq, "fewer ids than announced");
		return -EIO;
	}
	for (uint32_t i = 0; i < in->count; i++) {
		memcpy(&one, rq->data + i * sizeof(one), sizeof(one));
		front_forget(rq->front, one.nodeid, one.nlookup);
	}
	return 0;
}
