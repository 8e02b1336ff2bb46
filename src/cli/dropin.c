/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The drop-in: the command line of fuse-overlayfs, which container programs write, and of the
 * helpers of mount(8).
 *
 *	PROG [-f|-d|-V|-h] [-o OPT[,OPT...]]... [SOURCE] MOUNTPOINT
 *
 * Under a name that begins with "mount." the caller is mount(8): `-f` then means to check only, and
 * SOURCE is the name that the mount table shall show, as `mount -a` looks for it there.
 */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELPER "mount."
#define HELPER_FUSE "fuse."

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, const char *with)
{
	size_t len = strlen(text), n = strlen(with);

	return len >= n && strcmp(text + len - n, with) == 0;
}

bool dropin_is_name(const char *prog)
{
	return begins(prog, HELPER) || ends(prog, "lamina-mount") || ends(prog, "fuse-overlayfs");
}

/* What the mount table calls the type, after "fuse.". */
static const char *subtype_of(const char *name)
{
	if (begins(name, HELPER))
		name += strlen(HELPER);
	if (begins(name, HELPER_FUSE))
		name += strlen(HELPER_FUSE);
	return *name ? name : "lamina";
}

static void print_help(const char *prog)
{
	printf("usage: %s [-f|-d] [-o OPTION[,OPTION...]]... [SOURCE] MOUNTPOINT\n"
	       "       %s --version\n"
	       "\n"
	       "Mount directories on top of each other.\n"
	       "\n"
	       "  -o lowerdir=A:B        directories below, the topmost first\n"
	       "  -o upperdir=U          directory that takes the changes (none: read-only)\n"
	       "  -o workdir=W           scratch directory on the filesystem of U\n"
	       "  -o OPTION              any option of fuse-overlayfs or overlayfs; unknown ones\n"
	       "                         are ignored\n"
	       "  -f, --foreground       stay in the foreground\n"
	       "  -d, --debug            the same, with messages\n"
	       "  -V, --version\n"
	       "  -h, --help\n"
	       "\n"
	       "Unmount with: fusermount3 -u MOUNTPOINT, or umount MOUNTPOINT as root.\n"
	       "The manual: lamina-mount(8).\n",
	       prog, prog);
}

static const struct option long_options[] = {
	{ "foreground", no_argument, NULL, 'f' },    { "debug", no_argument, NULL, 'd' },
	{ "version", no_argument, NULL, 'V' },	     { "help", no_argument, NULL, 'h' },
	{ "options", required_argument, NULL, 'o' }, { NULL, 0, NULL, 0 },
};

struct line {
	const char *prog;
	bool helper;   /* called by mount(8) */
	bool informed; /* help or version was printed: nothing to mount */
};

static int take_type(struct mount_plan *plan, const char *type)
{
	return mount_plan_replace(&plan->subtype, subtype_of(type));
}

static int take_flag(struct mount_plan *plan, struct line *line, int c)
{
	switch (c) {
	case 'o':
		return mount_plan_add(plan, optarg);
	case 'f':
		if (line->helper)
			plan->fake = true;
		else
			plan->foreground = true;
		return 0;
	case 'd':
		plan->debug = true;
		plan->foreground = true;
		return 0;
	case 'r':
		return mount_plan_set(plan, "ro", NULL);
	case 'w':
		return mount_plan_set(plan, "rw", NULL);
	case 't':
		return take_type(plan, optarg);
	case 's': /* one thread, or mount(8)'s "sloppy": unknown options pass anyway */
	case 'n': /* no entry in /etc/mtab */
	case 'v':
	case 'N': /* a mount namespace, which mount(8) has entered */
		return 0;
	case 'V':
		version_print(line->prog);
		line->informed = true;
		return 0;
	case 'h':
		print_help(line->prog);
		line->informed = true;
		return 0;
	case ':':
		message_error("-%c needs an argument", optopt);
		return -EINVAL;
	default:
		if (optopt)
			message_error("unknown flag -%c; see %s --help", optopt, line->prog);
		else
			message_error("unknown flag; see %s --help", line->prog);
		return -EINVAL;
	}
}

/* [SOURCE] MOUNTPOINT */
static int take_operands(struct mount_plan *plan, const struct line *line, int n, char **operands)
{
	if (n == 0) {
		message_error("no mountpoint given; see %s --help", line->prog);
		return -EINVAL;
	}
	if (n > 2) {
		message_error("more than a source and a mountpoint given");
		return -EINVAL;
	}
	if (n == 2 && line->helper && !plan->fsname &&
	    mount_plan_replace(&plan->fsname, operands[0]) < 0)
		return -ENOMEM;
	return mount_plan_set_mountpoint(plan, operands[n - 1]);
}

static int parse(struct mount_plan *plan, struct line *line, int argc, char **argv)
{
	int r = mount_plan_replace(&plan->subtype, subtype_of(line->prog));
	int c;

	opterr = 0;
	while (r == 0 && !line->informed &&
	       (c = getopt_long(argc, argv, ":o:fdrwt:snvN:Vh", long_options, NULL)) != -1)
		r = take_flag(plan, line, c);
	if (r == 0 && !line->informed)
		r = take_operands(plan, line, argc - optind, argv + optind);
	return r;
}

int dropin_main(const char *prog, int argc, char **argv)
{
	struct mount_plan plan;
	struct line line = { .prog = prog, .helper = begins(prog, HELPER) };
	const char *dots = getenv("FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT");
	int status = 1;

	message_set_program(prog);
	if (mount_plan_init(&plan, UNKNOWN_IGNORED) < 0)
		return 1;
	if (dots && *dots)
		lam_options_config(plan.stack)->dot_whiteouts = LAM_ON;
	if (parse(&plan, &line, argc, argv) == 0)
		status = line.informed ? 0 : mount_run(&plan);
	mount_plan_done(&plan);
	return status;
}
