/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checking the mountpoint before anything is started, so that the commonest mistakes get a plain
 * answer at once.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/parse.h"

#define FD_PREFIX "/dev/fd/"

/* "/dev/fd/N": the caller has mounted already, and N is open in this process. */
static int check_descriptor(const char *path)
{
	uint32_t fd;

	if (parse_u32(path + strlen(FD_PREFIX), &fd) < 0 || fd > INT32_MAX) {
		message_error("mountpoint %s: no number of a descriptor", QUOTE(path));
		return -EINVAL;
	}
	if (fcntl((int)fd, F_GETFD) < 0) {
		message_error("mountpoint %s: this descriptor is not open", QUOTE(path));
		return -EBADF;
	}
	return 0;
}

static int refuse(const char *path, int error)
{
	if (error == ENOENT)
		message_error("mountpoint %s does not exist; make the directory first",
			      QUOTE(path));
	else if (error == ENOTCONN)
		message_error("mountpoint %s: a mount is there whose server is gone; unmount it "
			      "first (lamina umount)",
			      QUOTE(path));
	else
		message_error("mountpoint %s: %s", QUOTE(path), log_errno(-error));
	return -error;
}

int mount_plan_set_mountpoint(struct mount_plan *plan, const char *path)
{
	CLEANUP_FREE char *real = NULL;
	struct stat st;
	int r;

	if (supervise_taking_over())
		return mount_plan_replace(&plan->mountpoint,
					  supervise_mountpoint() ? supervise_mountpoint() : path);
	if (strncmp(path, FD_PREFIX, strlen(FD_PREFIX)) == 0) {
		r = check_descriptor(path);
		return r < 0 ? r : mount_plan_replace(&plan->mountpoint, path);
	}
	if (stat(path, &st) < 0)
		return refuse(path, errno);
	if (!S_ISDIR(st.st_mode))
		return refuse(path, ENOTDIR);
	real = realpath(path, NULL);
	if (!real)
		return refuse(path, errno);
	free(plan->mountpoint);
	plan->mountpoint = TAKE_PTR(real);
	return 0;
}
