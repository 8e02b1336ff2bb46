/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lamina umount: end mounts and wait until their servers have ended, so that the layers are free.
 *
 * The mountpoint is found in the mount table by its path, of which only the directory above is
 * looked at: the mount itself may be dead.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/mount_table.h"

const char umount_usage[] =
	"usage: lamina umount [-l] MOUNTPOINT...\n"
	"\n"
	"End mounts, and wait until their servers have ended and let go of the layers.\n"
	"\n"
	"  -l, --lazy    detach at once though the mount is in use; it ends with its last user\n"
	"  -h, --help\n";

#define MAX_SERVERS 16u
#define WAIT_MS 60000

static const struct option flags[] = {
	{ "lazy", no_argument, NULL, 'l' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* Run fusermount3, or the older name of it; its own message is the message. */
static int run_fusermount(const char *path, bool lazy)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return -errno;
	if (child == 0) {
		const char *how = lazy ? "-uz" : "-u";

		(void)execlp("fusermount3", "fusermount3", how, "--", path, (char *)NULL);
		(void)execlp("fusermount", "fusermount", how, "--", path, (char *)NULL);
		message_error("cannot run fusermount3: %s", log_errno(-errno));
		_exit(1);
	}
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* Unmount; a failure has been said. */
static int detach(const char *path, bool lazy)
{
	if (umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
		return 0;
	if (errno == EPERM)
		return run_fusermount(path, lazy);
	if (errno == EBUSY)
		message_error("%s is in use; end what uses it, or detach it with: lamina umount -l",
			      QUOTE(path));
	else
		message_error("cannot unmount %s: %s", QUOTE(path), log_errno(-errno));
	return -EBUSY;
}

static int64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* fails only for unknown clocks */
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Wait until the processes behind FDS have ended, all together for at most WAIT_MS. */
static int wait_for_servers(const int *fds, size_t n)
{
	int64_t end = now_ms() + WAIT_MS;

	for (size_t i = 0; i < n; i++) {
		struct pollfd p = { .fd = fds[i], .events = POLLIN };
		int r;

		do {
			int64_t left = end - now_ms();

			r = poll(&p, 1, left > 0 ? (int)left : 0);
		} while (r < 0 && errno == EINTR);
		if (r == 0)
			return -ETIMEDOUT;
	}
	return 0;
}

static int unmount(const char *path, bool lazy)
{
	struct mount_entry entry;
	int servers[MAX_SERVERS];
	size_t n = 0;
	int r = mount_table_find(path, &entry);

	if (r == -ENOENT) {
		message_error("nothing is mounted on %s", QUOTE(path));
		return r;
	}
	if (r < 0) {
		message_error("cannot read the mount table: %s", log_errno(r));
		return r;
	}
	if (!entry.fuse) {
		message_error("the mount on %s is not one of Lamina's; use umount(8)", QUOTE(path));
		return -EINVAL;
	}
	/* Before the unmount, after which nothing leads to them any more. */
	if (!lazy)
		(void)mount_table_servers(entry.minor, servers, MAX_SERVERS, &n);
	r = detach(path, lazy);
	if (r == 0 && wait_for_servers(servers, n) < 0) {
		message_error("%s is unmounted, but its server is still running", QUOTE(path));
		r = -ETIMEDOUT;
	}
	for (size_t i = 0; i < n; i++)
		(void)close(servers[i]);
	return r;
}

int cmd_umount(int argc, char **argv)
{
	bool lazy = false;
	int c, status = 0;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "lh", flags, NULL)) != -1) {
		if (c == 'h') {
			fputs(umount_usage, stdout);
			return 0;
		}
		if (c != 'l')
			return command_misused("umount", "unknown flag");
		lazy = true;
	}
	if (optind == argc)
		return command_misused("umount", "no mountpoint given");
	for (int i = optind; i < argc; i++) {
		CLEANUP_FREE char *path = mount_table_path(argv[i]);

		if (!path) {
			message_error("%s: %s", QUOTE(argv[i]), log_errno(-errno));
			status = 1;
		} else if (unmount(path, lazy) < 0) {
			status = 1;
		}
	}
	return status;
}
