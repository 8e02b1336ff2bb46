/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mounts that only we can see.  Linux 5.12, CAP_SYS_ADMIN over the mount namespace. */
#include <linux/mount.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sys/compat.h"
#include "sys/feature.h"

/* <sys/mount.h> has it too but cannot be had together with <linux/mount.h>. */
#define PROPAGATION_PRIVATE (1u << 18)

int sys_clone_readonly(int fd)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_RDONLY,
		.propagation = PROPAGATION_PRIVATE,
	};
	CLEANUP_CLOSE int tree = -1;
	int r;

	if (!feature_present(FEATURE_OPEN_TREE))
		return -ENOSYS;
	/* Not AT_RECURSIVE: what is mounted below a layer is no part of it, as in overlayfs. */
	tree = (int)SYS_CALL("open_tree", false,
			     syscall(SYS_open_tree, fd, "",
				     AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
	if (tree < 0)
		return tree;
	r = (int)SYS_CALL("mount_setattr", false,
			  syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)));
	if (r < 0)
		return r;
	return TAKE_FD(tree);
}
