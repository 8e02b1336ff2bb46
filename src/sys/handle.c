/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* File handles, an inode's name that outlives its paths: name_to_handle_at, open_by_handle_at. */
#include <string.h>

#include "sys/feature.h"

union handle_buf {
	struct file_handle head;
	uint8_t bytes[sizeof(struct file_handle) + sizeof(((struct sys_handle *)NULL)->fid)];
};

int sys_name_to_handle(int dirfd, const char *name, struct sys_handle *ret, int *ret_mount)
{
	union handle_buf buf = { .head = { .handle_bytes = sizeof(ret->fid) } };
	int mount, r;

	if (!feature_present(FEATURE_NAME_TO_HANDLE))
		return -EOPNOTSUPP;
	r = (int)SYS_CALL(
		"name_to_handle_at", false,
		name_to_handle_at(dirfd, name, &buf.head, &mount, name[0] ? 0 : AT_EMPTY_PATH));
	if (r < 0)
		return r;
	if (buf.head.handle_bytes > sizeof(ret->fid))
		return -EOVERFLOW;
	ret->type = buf.head.handle_type;
	ret->len = buf.head.handle_bytes;
	memcpy(ret->fid, buf.head.f_handle, ret->len);
	if (ret_mount)
		*ret_mount = mount;
	return 0;
}

int sys_open_by_handle(int mount_fd, const struct sys_handle *handle, int flags)
{
	union handle_buf buf;

	if (!feature_present(FEATURE_NAME_TO_HANDLE))
		return -EOPNOTSUPP;
	if (handle->len > sizeof(handle->fid))
		return -EINVAL;
	memset(&buf, 0, sizeof(buf));
	buf.head.handle_bytes = handle->len;
	buf.head.handle_type = handle->type;
	memcpy(buf.head.f_handle, handle->fid, handle->len);
	return (int)SYS_CALL("open_by_handle_at", flags & O_TRUNC,
			     open_by_handle_at(mount_fd, &buf.head, flags | O_CLOEXEC));
}
