/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lamina mount: the same mount as under the drop-in names, for people: plain flags, warnings shown,
 * unknown options refused. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"

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
	"  -h, --help\n"
	"\n"
	"Unmount with: lamina umount MOUNTPOINT.  All options: lamina-mount(8).\n";

enum { FLAG_LOG = 256 };

static const struct option flags[] = {
	{ "lower", required_argument, NULL, 'l' },   { "upper", required_argument, NULL, 'u' },
	{ "work", required_argument, NULL, 'w' },    { "read-only", no_argument, NULL, 'r' },
	{ "options", required_argument, NULL, 'o' }, { "foreground", no_argument, NULL, 'f' },
	{ "debug", no_argument, NULL, 'd' },	     { "log", required_argument, NULL, FLAG_LOG },
	{ "help", no_argument, NULL, 'h' },	     { NULL, 0, NULL, 0 },
};

/* Set an option whose value has escapes from a path that has none. */
static int set_raw_path(struct mount_plan *plan, const char *name, const char *path)
{
	CLEANUP_FREE char *escaped = calloc(2, strlen(path) + 1);
	char *out = escaped;

	if (!escaped) {
		message_error("out of memory");
		return -ENOMEM;
	}
	for (; *path; path++) {
		if (*path == '\\' || *path == ':')
			*out++ = '\\';
		*out++ = *path;
	}
	return mount_plan_set(plan, name, escaped);
}

/* Without --work: UPPER.work, beside the upper directory and so, as a rule, on its filesystem. */
static int default_work(struct mount_plan *plan)
{
	const struct lam_config *config = lam_options_config(plan->stack);
	CLEANUP_FREE char *real = NULL, *work = NULL;

	if (!config->upper || config->work)
		return 0;
	real = realpath(config->upper, NULL);
	if (!real) {
		int r = -errno;

		message_error("upper directory %s: %s", QUOTE(config->upper), log_errno(r));
		return r;
	}
	if (strcmp(real, "/") == 0) {
		message_error("the upper directory / has no place beside it: give --work");
		return -EINVAL;
	}
	if (asprintf(&work, "%s.work", real) < 0) {
		work = NULL;
		message_error("out of memory");
		return -ENOMEM;
	}
	if (mkdir(work, 0700) < 0 && errno != EEXIST) {
		int r = -errno;

		message_error("cannot make the work directory %s: %s; give another with --work",
			      QUOTE(work), log_errno(r));
		return r;
	}
	return set_raw_path(plan, "workdir", work);
}

static int take_flag(struct mount_plan *plan, int c)
{
	switch (c) {
	case 'l':
		return mount_plan_set(plan, "lowerdir+", optarg);
	case 'u':
		return set_raw_path(plan, "upperdir", optarg);
	case 'w':
		return set_raw_path(plan, "workdir", optarg);
	case 'r':
		return mount_plan_set(plan, "ro", NULL);
	case 'o':
		return mount_plan_add(plan, optarg);
	case 'd':
		plan->debug = true;
		plan->foreground = true;
		return 0;
	case 'f':
		plan->foreground = true;
		return 0;
	case FLAG_LOG:
		return mount_plan_set(plan, "log", optarg);
	case ':':
		command_misused("mount", "a flag lacks its argument");
		return -EINVAL;
	default:
		command_misused("mount", "unknown flag");
		return -EINVAL;
	}
}

/* Returns 0, a negative errno, or 1 if help was asked for. */
static int parse(struct mount_plan *plan, int argc, char **argv)
{
	int c, r;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":l:u:w:ro:fdh", flags, NULL)) != -1) {
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
	if (!plan->remount) {
		r = default_work(plan);
		if (r < 0)
			return r;
	}
	return mount_plan_set_mountpoint(plan, argv[optind]);
}

int cmd_mount(int argc, char **argv)
{
	struct mount_plan plan;
	int r, status = 1;

	message_set_people();
	if (mount_plan_init(&plan, UNKNOWN_REFUSED) < 0)
		return 1;
	r = parse(&plan, argc, argv);
	if (r == 0) {
		status = mount_run(&plan);
	} else if (r > 0) {
		fputs(mount_usage, stdout);
		status = 0;
	}
	mount_plan_done(&plan);
	return status;
}
