/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files that the kernel reads and writes itself, by a backing id. */
#ifndef FUSE_PASSTHROUGH_H
#define FUSE_PASSTHROUGH_H

#include <stdint.h>

struct fuse_front;
struct fuse_open_out;
struct passthrough;
struct request;

/* Whether the kernel lets us register backing files: 0, -EPERM, -EOPNOTSUPP, ... */
int passthrough_probe(int fuse_fd);
/* NULL if memory is short. */
struct passthrough *passthrough_new(struct fuse_front *front);
/* The connection is at its end: what is still registered goes with it.  NULL is allowed. */
void passthrough_free(struct passthrough *p);

/* Decide how a file is opened with the open(2) flags FLAGS, count it, and say so in OUT.  -EPERM: it
 * may not be written.  Undone by passthrough_release() with OUT's handle. */
int passthrough_open(struct request *rq, uint64_t id, uint32_t flags, struct fuse_open_out *out);
void passthrough_release(struct request *rq, uint64_t id, uint64_t handle);

#endif
