/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lamina mount: the same mount as under the drop-in names, for people: plain flags, warnings shown,
 * unknown options refused. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

const char mount_usage[] =
	"usage: lamina mount --lower DIR [--lower DIR]... [--upper DIR [--work DIR]] MOUNTPOINT\n"
	"       lamina mount -o OPTION[,OPTION...] MOUNTPOINT\n"
	"\n"
	"Show directories on top of each other as one tree at MOUNTPOINT.\n"
	"\n"
	"  -l, --lower DIR      a directory below, never written; the topmost first\n"
	"  -u, --upper DIR      the directory that takes all changes; without it the mount is\n"
	"                       read-only\n"
	"  -w, --work DIR       scratch directory on the filesystem of the upper one; by default\n"
	"                       UPPER.work, which is made if it is missing\n"
	"  -r, --read-only      allow no changes although there is an upper directory\n"
	"  -o, --options LIST   mount options: those of Linux's overlayfs (lowerdir=A:B,\n"
	"                       upperdir=U, workdir=W, index=, metacopy=, volatile, ...), of\n"
	"                       fuse-overlayfs (uidmapping=, squash_to_uid=, ...), and of mount(8)\n"
	"  -f, --foreground     stay in the foreground\n"
	"  -d, --debug          the same, with all messages on standard error\n"
	"      --log FILE       append messages to FILE\n"
	"      --nfs ADDR:PORT  serve the same tree by NFS too; see lamina-nfs(8)\n"
	"      --nfs-allow CIDR[,...]\n"
	"                       who may come there: as --allow of lamina nfs\n"
	"  -h, --help\n"
	"\n"
	"Unmount with: lamina umount MOUNTPOINT.  All options: lamina-mount(8).\n";

enum { FLAG_NFS = LAYER_FLAG_END, FLAG_NFS_ALLOW };

static const struct option flags[] = {
	LAYER_FLAGS,
	{ "nfs", required_argument, NULL, FLAG_NFS },
	{ "nfs-allow", required_argument, NULL, FLAG_NFS_ALLOW },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static int take_flag(struct mount_plan *plan, int c)
{
	switch (c) {
	case FLAG_NFS:
		return nfs_plan_set(&plan->nfs, NFS_LISTEN, optarg);
	case FLAG_NFS_ALLOW:
		return nfs_plan_set(&plan->nfs, NFS_ALLOW, optarg);
	default:
		return layer_flag_take(plan, "mount", c);
	}
}

/* Returns 0, a negative errno, or 1 if help was asked for. */
static int parse(struct mount_plan *plan, int argc, char **argv)
{
	int c, r;

	opterr = 0;
	while ((c = getopt_long(argc, argv, LAYER_FLAG_LETTERS "h", flags, NULL)) != -1) {
		if (c == 'h')
			return 1;
		r = take_flag(plan, c);
		if (r < 0)
			return r;
	}
	if (argc - optind != 1) {
		command_misused("mount", optind == argc ? "no mountpoint given"
							: "more than one mountpoint given");
		return -EINVAL;
	}
	if (plan->nfs.config.n_allow > 0 && !plan->nfs.wanted) {
		command_misused("mount", "--nfs-allow without --nfs");
		return -EINVAL;
	}
	if (!plan->remount) {
		r = layer_default_work(plan);
		if (r < 0)
			return r;
	}
	return mount_plan_set_mountpoint(plan, argv[optind]);
}

int cmd_mount(int argc, char **argv)
{
	return mount_command(parse, mount_usage, argc, argv);
}
