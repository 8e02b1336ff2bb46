/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The flags that say which layers and how to run: the same in every command that opens a stack. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"

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
int layer_default_work(struct mount_plan *plan)
{
	const struct lam_config *config = lam_options_config(plan->stack);
	CLEANUP_FREE char *real = NULL, *work = NULL;

	if (!config->upper || config->work)
		return 0;
	real = supervise_taking_over() ? strdup(config->upper) : realpath(config->upper, NULL);
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
	if (!supervise_taking_over() && mkdir(work, 0700) < 0 && errno != EEXIST) {
		int r = -errno;

		message_error("cannot make the work directory %s: %s; give another with --work",
			      QUOTE(work), log_errno(r));
		return r;
	}
	return set_raw_path(plan, "workdir", work);
}

int layer_flag_take(struct mount_plan *plan, const char *command, int c)
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
	case LAYER_FLAG_LOG:
		return mount_plan_set(plan, "log", optarg);
	case ':':
		command_misused(command, "a flag lacks its argument");
		return -EINVAL;
	default:
		command_misused(command, "unknown flag");
		return -EINVAL;
	}
}
