/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fusermount3, the set-uid program through which ordinary users mount. */
#ifndef FUSE_HELPER_H
#define FUSE_HELPER_H

/* Mount on MOUNTPOINT with an option list; the caller owns *RET_FD.  Errors are logged with what
 * the helper said.  -EPERM if it refused, -ENOENT if it is not installed. */
int helper_mount(const char *mountpoint, const char *options, int *ret_fd);

/*
 * Somebody to unmount by fusermount3 later on, when the process itself may start no program any more: a
 * child that waits to be told, and ends with whoever has the other end of its pipe.
 */
struct helper_unmounter {
	int fd; /* -1: there is none */
	int pid;
};
int helper_stand_by(const char *mountpoint, struct helper_unmounter *ret);
/* Let it unmount, lazily.  -EINVAL if the helper could not. */
int helper_umount(struct helper_unmounter *u);
/* Let it go.  May be called for none. */
void helper_dismiss(struct helper_unmounter *u);

#endif
