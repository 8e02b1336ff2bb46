/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lamina upgrade: this program takes the place of the one that serves a mount. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "mount_table.h"

const char upgrade_usage[] =
	"usage: lamina upgrade MOUNTPOINT...\n"
	"\n"
	"Let this program take the place of the server of a mount, which goes on all the while: open\n"
	"files, mappings, locks and working directories stay as they are.  What is asked in between\n"
	"waits for some milliseconds.  If this program cannot go on where the other one is, it says why,\n"
	"and the other one goes on.\n"
	"\n"
	"  -h, --help\n"
	"\n"
	"All of it: lamina-upgrade(8).\n";

static const struct option flags[] = {
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static int upgrade(const char *path)
{
	CLEANUP_CLOSE int program = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	struct mount_entry entry = { 0 };
	uint64_t gap_us = 0;
	char why[256];
	int r = program < 0 ? -errno : mount_table_find(path, &entry);

	if (r == -ENOENT) {
		message_error("nothing is mounted on %s", QUOTE(path));
		return r;
	}
	if (r < 0) {
		message_error("cannot look at the mount table: %s", log_errno(r));
		return r;
	}
	if (!entry.fuse) {
		message_error("the mount on %s is not one of Lamina's", QUOTE(path));
		return -EINVAL;
	}
	r = super_ask_upgrade((uint32_t)entry.minor, program, &gap_us, why, sizeof(why));
	if (r < 0) {
		message_error("%s is not upgraded: %s", QUOTE(path), why);
		return r;
	}
	printf("%s: upgraded; nobody served for %llu.%03llu ms\n", path,
	       (unsigned long long)(gap_us / 1000), (unsigned long long)(gap_us % 1000));
	return 0;
}

int cmd_upgrade(int argc, char **argv)
{
	int c, status = 0;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "h", flags, NULL)) != -1) {
		if (c != 'h')
			return command_misused("upgrade", "unknown flag");
		fputs(upgrade_usage, stdout);
		return 0;
	}
	if (optind == argc)
		return command_misused("upgrade", "no mountpoint given");
	for (int i = optind; i < argc; i++) {
		CLEANUP_FREE char *path = mount_table_path(argv[i]);

		if (!path) {
			message_error("%s: %s", QUOTE(argv[i]), log_errno(-errno));
			status = 1;
		} else if (upgrade(path) < 0) {
			status = 1;
		}
	}
	return status;
}
