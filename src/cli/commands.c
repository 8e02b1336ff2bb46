/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands of `lamina`. */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

static const struct command commands[] = {
	{ "mount", cmd_mount, "show directories on top of each other as one tree", mount_usage },
	{ "umount", cmd_umount, "end a mount, and wait until its server has ended", umount_usage },
	{ "upgrade", cmd_upgrade, "let this program take the place of a mount's server",
	  upgrade_usage },
	{ "nfs", cmd_nfs, "serve directories on top of each other by NFS", nfs_usage },
	{ "status", cmd_status, "show what mounts do, and how fast", status_usage },
	{ "check", cmd_check, "look for what is wrong in layers, and mend it", check_usage },
	{ "version", cmd_version, "print which version this is", version_usage },
	{ "help", cmd_help, "list the commands, or explain one", help_usage },
};

const struct command *command_at(size_t i)
{
	return i < ARRAY_LEN(commands) ? &commands[i] : NULL;
}

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(name, commands[i].name) == 0)
			return &commands[i];
	}
	return NULL;
}

int command_misused(const char *name, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args); /* a long one is cut */
	va_end(args);
	message_error("%s: %s; see lamina help %s", name, text, name);
	return 1;
}
