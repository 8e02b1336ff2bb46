/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lamina nfs: serve layers by NFS, without a mount. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

const char nfs_usage[] =
	"usage: lamina nfs --lower DIR [--lower DIR]... [--upper DIR [--work DIR]] [OPTION...]\n"
	"       lamina nfs -o OPTION[,OPTION...] [OPTION...]\n"
	"\n"
	"Show directories on top of each other as one tree to clients of NFS version 3, without a\n"
	"mount and without rpcbind.\n"
	"\n"
	"  -l, --lower DIR      a directory below, never written; the topmost first\n"
	"  -u, --upper DIR      the directory that takes all changes\n"
	"  -w, --work DIR       scratch directory; by default UPPER.work\n"
	"  -r, --read-only      allow no changes although there is an upper directory\n"
	"  -o, --options LIST   options of the layers, as of lamina mount\n"
	"      --listen ADDR:PORT\n"
	"                       where to listen; by default 127.0.0.1:2049\n"
	"      --allow CIDR[,ro|rw][,root_squash|no_root_squash|all_squash]\n"
	"                       who may come; may be given more than once, the first that fits\n"
	"                       counts; by default this machine only, rw,root_squash\n"
	"      --export PATH    a name for the tree beside /\n"
	"      --key-file FILE  16 random bytes that keep file handles good over a restart, for\n"
	"                       layers without a work directory, which else keeps the key\n"
	"      --async          answer changes of names before they are on disk\n"
	"      --threads N      how many requests are served at once\n"
	"      --max-connections N, --idle SECONDS, --stall SECONDS\n"
	"                       limits; by default 256, 900 and 30\n"
	"  -f, --foreground     stay in the foreground\n"
	"  -d, --debug          the same, with all messages on standard error\n"
	"      --log FILE       append messages to FILE\n"
	"  -h, --help\n"
	"\n"
	"A client: mount -t nfs -o vers=3,tcp,nolock,port=2049,mountport=2049 HOST:/ DIR\n"
	"All of it: lamina-nfs(8).\n";

enum {
	FLAG_LISTEN = LAYER_FLAG_END,
	FLAG_ALLOW,
	FLAG_EXPORT,
	FLAG_KEY_FILE,
	FLAG_THREADS,
	FLAG_CONNECTIONS,
	FLAG_IDLE,
	FLAG_STALL,
	FLAG_ASYNC,
	FLAG_END,
};

static const struct option flags[] = {
	LAYER_FLAGS,
	{ "listen", required_argument, NULL, FLAG_LISTEN },
	{ "allow", required_argument, NULL, FLAG_ALLOW },
	{ "export", required_argument, NULL, FLAG_EXPORT },
	{ "key-file", required_argument, NULL, FLAG_KEY_FILE },
	{ "threads", required_argument, NULL, FLAG_THREADS },
	{ "max-connections", required_argument, NULL, FLAG_CONNECTIONS },
	{ "idle", required_argument, NULL, FLAG_IDLE },
	{ "stall", required_argument, NULL, FLAG_STALL },
	{ "async", no_argument, NULL, FLAG_ASYNC },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* Flags are in the order of the settings. */
static int take_flag(struct mount_plan *plan, int c)
{
	if (c >= FLAG_LISTEN && c < FLAG_END)
		return nfs_plan_set(&plan->nfs, (enum nfs_setting)(c - FLAG_LISTEN), optarg);
	return layer_flag_take(plan, "nfs", c);
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
	if (optind < argc) {
		command_misused("nfs", "takes no operand: there is nothing to mount on");
		return -EINVAL;
	}
	plan->nfs.wanted = true;
	return layer_default_work(plan);
}

int cmd_nfs(int argc, char **argv)
{
	return mount_command(parse, nfs_usage, argc, argv);
}
