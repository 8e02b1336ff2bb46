/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages to the kernel that nobody asked for: forget what you have cached.
 *
 * Dropping attributes takes no lock of the kernel that a request could hold and is safe anywhere.
 * Dropping data writes dirty pages back, so it waits for WRITEs to be served.  (Dropping a name
 * takes the lock of its directory, which requests hold: no thread that serves may do that.)
 */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "base/check.h"
#include "base/log.h"

static int notify(struct fuse_front *front, int code, const void *body, size_t len)
{
	struct fuse_out_header head = {
		.len = (uint32_t)(sizeof(head) + len),
		.error = code,
		.unique = 0,
	};
	struct iovec iov[2] = {
		{ .iov_base = &head, .iov_len = sizeof(head) },
		/* writev() only reads. */
		{ .iov_base = (void *)(uintptr_t)body, .iov_len = len },
	};

	atomic_fetch_add_explicit(&front->notifications, 1, memory_order_relaxed);
	if (writev(front->fd, iov, 2) < 0)
		return -errno;
	return 0;
}

int notify_inval_inode(struct fuse_front *front, uint64_t id, int64_t off, int64_t len)
{
	struct fuse_notify_inval_inode_out out = { .ino = id, .off = off, .len = len };
	int r;

	r = notify(front, FUSE_NOTIFY_INVAL_INODE, &out, sizeof(out));
	if (r == -ENOENT)
		return 0;
	if (r < 0 && !atomic_load(&front->dead))
		log_debug("invalidating an inode: %s", log_errno(r));
	return r;
}

int notify_ask_inode(struct fuse_front *front, uint64_t id)
{
	struct fuse_notify_inval_inode_out out = { .ino = id, .off = -1 };

	return notify(front, FUSE_NOTIFY_INVAL_INODE, &out, sizeof(out));
}

int notify_resend(struct fuse_front *front)
{
	return notify(front, FUSE_NOTIFY_RESEND, NULL, 0);
}

void fuse_front_changed(struct fuse_front *front, uint64_t id)
{
	/* From 0 to the end: data too, and what readdir has cached of a directory. */
	if (!atomic_load(&front->dead))
		(void)notify_inval_inode(front, id, 0, 0); /* it was logged */
}

void fuse_front_name_changed(struct fuse_front *front, uint64_t parent, const char *name)
{
	struct {
		struct fuse_notify_inval_entry_out out;
		char name[LAM_NAME_MAX + 1];
	} body = { .out = { .parent = parent, .namelen = (uint32_t)strlen(name) } };
	int r;

	CHECK(body.out.namelen <= LAM_NAME_MAX);
	if (atomic_load(&front->dead))
		return;
	memcpy(body.name, name, body.out.namelen);
	/* With the terminating NUL. */
	r = notify(front, FUSE_NOTIFY_INVAL_ENTRY, &body, sizeof(body.out) + body.out.namelen + 1);
	if (r < 0 && r != -ENOENT && !atomic_load(&front->dead))
		log_debug("invalidating a name: %s", log_errno(r));
	fuse_front_changed(front, parent);
}

void notify_priv_gone(struct fuse_front *front, uint64_t id)
{
	/* The mark is taken away first: an answer that shows the bits again sets it again.  What a worker
	 * before this one has shown is not known. */
	if (holds_unmark(front->holds, id, HOLD_PRIV) ||
	    (front->successor && !holds_has(front->holds, id)))
		(void)notify_inval_inode(front, id, -1, 0); /* it was logged */
}
