/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fusermount3, the set-uid program through which ordinary users mount. */
#ifndef FUSE_HELPER_H
#define FUSE_HELPER_H

/* Mount on MOUNTPOINT with an option list; the caller owns *RET_FD.  Errors are logged with what
 * the helper said.  -EPERM if it refused, -ENOENT if it is not installed. */
int helper_mount(const char *mountpoint, const char *options, int *ret_fd);

/* Unmount lazily.  -EINVAL if the helper could not. */
int helper_umount(const char *mountpoint);

#endif
