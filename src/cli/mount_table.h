/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mount table, and who serves a FUSE mount. */
#ifndef CLI_MOUNT_TABLE_H
#define CLI_MOUNT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mount_entry {
	bool fuse;	/* the type is "fuse" or "fuse.SOMETHING" */
	uint64_t minor; /* of its device number: the number of the FUSE connection */
};

/* The absolute path of PATH, its last component not looked at: its server may be gone.  NULL with errno; the
 * caller frees it. */
char *mount_table_path(const char *path);

/* The topmost mount at PATH, an absolute path without symlinks.  -ENOENT: there is none. */
int mount_table_find(const char *path, struct mount_entry *ret);

/* Call FN for each FUSE mount, with its place and the number of its connection, until it returns other than
 * 0, which is returned. */
int mount_table_each(int (*fn)(void *ctx, const char *path, uint64_t minor), void *ctx);

/* Whether process PID holds FUSE connection MINOR; false where the kernel does not tell. */
bool mount_table_serves(int32_t pid, uint64_t minor);

/* The processes that hold FUSE connection MINOR, as at most MAX pidfds in FDS, which the caller
 * closes.  *RET_N is 0 where the kernel does not tell (before Linux 6.16). */
int mount_table_servers(uint64_t minor, int *fds, size_t max, size_t *ret_n);

#endif
