/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mount options: from text to what to mount and how.
 *
 * Three kinds of names: those of the stack (known to the library), those of the mount (the table
 * below), and those that mean something to others (fstab's) or have no meaning here and are let
 * pass.  Any other name is refused under `lamina mount` and ignored under the drop-in names, whose
 * callers write options of many programs.
 */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/parse.h"

#ifndef MS_LAZYTIME
#define MS_LAZYTIME (1ul << 25)
#endif

/* ---- Flags of mount(2) ---- */

static const struct {
	const char *name;
	unsigned long set, clear;
} mount_flags[] = {
	{ "ro", MS_RDONLY, 0 },
	{ "rw", 0, MS_RDONLY },
	{ "suid", 0, MS_NOSUID },
	{ "nosuid", MS_NOSUID, 0 },
	{ "dev", 0, MS_NODEV },
	{ "nodev", MS_NODEV, 0 },
	{ "exec", 0, MS_NOEXEC },
	{ "noexec", MS_NOEXEC, 0 },
	{ "sync", MS_SYNCHRONOUS, 0 },
	{ "async", 0, MS_SYNCHRONOUS },
	{ "dirsync", MS_DIRSYNC, 0 },
	{ "atime", 0, MS_NOATIME },
	{ "noatime", MS_NOATIME, MS_RELATIME | MS_STRICTATIME },
	{ "diratime", 0, MS_NODIRATIME },
	{ "nodiratime", MS_NODIRATIME, 0 },
	{ "relatime", MS_RELATIME, MS_NOATIME | MS_STRICTATIME },
	{ "norelatime", 0, MS_RELATIME },
	{ "strictatime", MS_STRICTATIME, MS_NOATIME | MS_RELATIME },
	{ "nostrictatime", 0, MS_STRICTATIME },
	{ "lazytime", MS_LAZYTIME, 0 },
	{ "nolazytime", 0, MS_LAZYTIME },
};

/* Returns 0, -ENOENT if NAME is no flag, or -EINVAL, said, if it has a value. */
static int set_mount_flag(struct mount_plan *plan, const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_LEN(mount_flags); i++) {
		if (strcmp(name, mount_flags[i].name) != 0)
			continue;
		if (value) {
			message_error("option %s takes no value", name);
			return -EINVAL;
		}
		plan->front.mount_flags &= ~mount_flags[i].clear;
		plan->front.mount_flags |= mount_flags[i].set;
		plan->flags_set = (plan->flags_set & ~mount_flags[i].clear) | mount_flags[i].set;
		plan->flags_cleared |= mount_flags[i].clear;
		return 0;
	}
	return -ENOENT;
}

/* ---- Options of the mount ---- */

struct option {
	const char *name;
	int (*set)(struct mount_plan *plan, const struct option *option, const char *value);
	size_t offset; /* of the field in struct mount_plan */
};

static int refuse_value(const struct option *option, const char *value, const char *wanted)
{
	if (!value)
		message_error("option %s needs a value: %s", option->name, wanted);
	else
		message_error("option %s: %s is not %s", option->name, QUOTE(value), wanted);
	return -EINVAL;
}

static void *field(struct mount_plan *plan, const struct option *option)
{
	return (char *)plan + option->offset;
}

static int set_bool(struct mount_plan *plan, const struct option *option, const char *value)
{
	bool *flag = field(plan, option);

	if (value && strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
		return refuse_value(option, value, "0 or 1");
	*flag = !value || value[0] == '1';
	return 0;
}

/* Each excludes the other; the last one named is meant, as root has allow_other from the start. */
static int set_allow_other(struct mount_plan *plan, const struct option *option, const char *value)
{
	int r = set_bool(plan, option, value);

	if (r == 0 && plan->front.allow_other)
		plan->front.allow_root = false;
	return r;
}

static int set_allow_root(struct mount_plan *plan, const struct option *option, const char *value)
{
	int r = set_bool(plan, option, value);

	if (r == 0 && plan->front.allow_root)
		plan->front.allow_other = false;
	return r;
}

/* Nobody else checks: the stack does what it is told. */
static int set_permissions(struct mount_plan *plan, const struct option *option, const char *value)
{
	int r = set_bool(plan, option, value);

	if (r == 0 && !plan->front.default_permissions) {
		message_error("option %s cannot be switched off: nothing would check permissions",
			      option->name);
		r = -EINVAL;
	}
	return r;
}

static int set_string(struct mount_plan *plan, const struct option *option, const char *value)
{
	if (!value || !*value)
		return refuse_value(option, NULL, "a text");
	return mount_plan_replace(field(plan, option), value);
}

static int parse_seconds(const struct option *option, const char *value, double *ret)
{
	char *end;
	double seconds;

	if (!value || !*value)
		return refuse_value(option, NULL, "seconds, or -1 for ever");
	errno = 0;
	seconds = strtod(value, &end);
	if (errno != 0 || *end != '\0' || !isfinite(seconds))
		return refuse_value(option, value, "a number of seconds");
	*ret = seconds;
	return 0;
}

static int set_seconds(struct mount_plan *plan, const struct option *option, const char *value)
{
	return parse_seconds(option, value, field(plan, option));
}

/* timeout=N: names, attributes and missing names alike. */
static int set_timeout(struct mount_plan *plan, const struct option *option, const char *value)
{
	double seconds;
	int r = parse_seconds(option, value, &seconds);

	if (r < 0)
		return r;
	plan->front.entry_ttl = plan->front.attr_ttl = plan->front.negative_ttl = seconds;
	return 0;
}

static int set_threads(struct mount_plan *plan, const struct option *option, const char *value)
{
	uint32_t n;

	if (!value || parse_u32(value, &n) < 0 || n > 1024)
		return refuse_value(option, value, "a number from 0 to 1024");
	plan->front.threads = n;
	return 0;
}

static int set_max_write(struct mount_plan *plan, const struct option *option, const char *value)
{
	uint32_t n;

	if (!value || parse_u32(value, &n) < 0 || n < 4096 || n > 1024 * 1024)
		return refuse_value(option, value, "a number of bytes from 4096 to 1048576");
	plan->front.max_write = n;
	return 0;
}

static int set_transport(struct mount_plan *plan, const struct option *option, const char *value)
{
	if (value && strcmp(value, "auto") == 0)
		plan->front.transport = FUSE_TRANSPORT_AUTO;
	else if (value && strcmp(value, "dev") == 0)
		plan->front.transport = FUSE_TRANSPORT_DEV;
	else if (value && strcmp(value, "uring") == 0)
		plan->front.transport = FUSE_TRANSPORT_URING;
	else
		return refuse_value(option, value, "auto, dev or uring");
	return 0;
}

static int set_passthrough(struct mount_plan *plan, const struct option *option, const char *value)
{
	if (!value || strcmp(value, "on") == 0)
		plan->front.passthrough = FUSE_PASSTHROUGH_ON;
	else if (strcmp(value, "auto") == 0)
		plan->front.passthrough = FUSE_PASSTHROUGH_AUTO;
	else if (strcmp(value, "off") == 0)
		plan->front.passthrough = FUSE_PASSTHROUGH_OFF;
	else
		return refuse_value(option, value, "off, auto or on");
	return 0;
}

static int set_supervisor(struct mount_plan *plan, const struct option *option, const char *value)
{
	if (!value || strcmp(value, "on") == 0)
		plan->supervisor = true;
	else if (strcmp(value, "off") == 0)
		plan->supervisor = false;
	else
		return refuse_value(option, value, "on or off");
	return 0;
}

static int set_restarts(struct mount_plan *plan, const struct option *option, const char *value)
{
	uint32_t n;

	if (!value || parse_u32(value, &n) < 0 || n > 1000)
		return refuse_value(option, value, "a number from 0 to 1000");
	plan->restarts = n;
	return 0;
}

static int set_debug(struct mount_plan *plan, const struct option *option, const char *value)
{
	(void)option;
	(void)value;
	plan->debug = true;
	plan->foreground = true;
	return 0;
}

/* Labels of a security module: for the kernel, quoted again.  A kernel without one refuses to mount
 * with them, so they are left out there. */
static int set_context(struct mount_plan *plan, const struct option *option, const char *value)
{
	CLEANUP_FREE char *text = NULL;
	const char *before = plan->extra_options;

	if (!value || !*value || strchr(value, '"'))
		return refuse_value(option, value, "a security context");
	if (access("/sys/fs/selinux/enforce", F_OK) < 0)
		return 0;
	if (asprintf(&text, "%s%s%s=\"%s\"", before ? before : "", before ? "," : "", option->name,
		     value) < 0) {
		text = NULL;
		message_error("out of memory");
		return -ENOMEM;
	}
	free(plan->extra_options);
	plan->extra_options = TAKE_PTR(text);
	return 0;
}

#define AT(member) offsetof(struct mount_plan, member)

static const struct option table[] = {
	{ "allow_other", set_allow_other, AT(front.allow_other) },
	{ "allow_root", set_allow_root, AT(front.allow_root) },
	{ "default_permissions", set_permissions, AT(front.default_permissions) },
	{ "fsname", set_string, AT(fsname) },
	{ "subtype", set_string, AT(subtype) },
	{ "timeout", set_timeout, 0 },
	{ "entry_timeout", set_seconds, AT(front.entry_ttl) },
	{ "attr_timeout", set_seconds, AT(front.attr_ttl) },
	{ "negative_timeout", set_seconds, AT(front.negative_ttl) },
	{ "threads", set_threads, 0 },
	{ "max_write", set_max_write, 0 },
	{ "transport", set_transport, 0 },
	{ "passthrough", set_passthrough, 0 },
	{ "supervisor", set_supervisor, 0 },
	{ "restarts", set_restarts, 0 },
	{ "writeback", set_bool, AT(front.writeback) },
	{ "answer_opens", set_bool, AT(front.opens_answered) },
	{ "context", set_context, 0 },
	{ "fscontext", set_context, 0 },
	{ "defcontext", set_context, 0 },
	{ "rootcontext", set_context, 0 },
	{ "log", set_string, AT(log_path) },
	{ "debug", set_debug, 0 },
	{ "remount", set_bool, AT(remount) },
};

/* Words that mean something to mount(8), systemd or other FUSE programs, and nothing here. */
static const char *const passed_over[] = {
	"_netdev",	  "auto",     "big_writes",
	"clone_fd",	  "comment",  "defaults",
	"fast_ino",	  "group",    "max_idle_threads",
	"max_threads",	  "noauto",   "nofail",
	"nonempty",	  "nouser",   "nousers",
	"override_creds", "owner",    "silent",
	"loud",		  "threaded", "user",
	"users",
};

static bool is_passed_over(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(passed_over); i++) {
		if (strcmp(name, passed_over[i]) == 0)
			return true;
	}
	return strncmp(name, "x-", 2) == 0 || strncmp(name, "X-", 2) == 0;
}

/* ---- The nearest name ---- */

#define NEAR_MAX 40u /* longer names are not compared */

/* How many letters have to be changed, put in or left out to get from A to B. */
static size_t distance(const char *a, const char *b)
{
	size_t row[NEAR_MAX + 1];
	size_t len_a = strlen(a), len_b = strlen(b);

	if (len_a > NEAR_MAX || len_b > NEAR_MAX)
		return NEAR_MAX;
	for (size_t j = 0; j <= len_b; j++)
		row[j] = j;
	for (size_t i = 1; i <= len_a; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= len_b; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diagonal = row[j];
			row[j] = best;
		}
	}
	return row[len_b];
}

struct nearest {
	const char *wanted, *best;
	size_t distance;
};

static void consider(struct nearest *n, const char *name)
{
	size_t d = distance(n->wanted, name);

	if (d < n->distance) {
		n->distance = d;
		n->best = name;
	}
}

const char *mount_option_nearest(const char *name)
{
	/* A third of the letters may be wrong: `lower` is not `log`, `lowerdirs` is `lowerdir`. */
	struct nearest n = { .wanted = name, .distance = strlen(name) / 3 + 2 };
	const char *known;

	for (size_t i = 0; (known = lam_options_name(i)) != NULL; i++)
		consider(&n, known);
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		consider(&n, table[i].name);
	for (size_t i = 0; i < ARRAY_LEN(mount_flags); i++)
		consider(&n, mount_flags[i].name);
	return n.best;
}

/* ---- The plan ---- */

int mount_plan_replace(char **owned, const char *text)
{
	char *copy = strdup(text);

	if (!copy) {
		message_error("out of memory");
		return -ENOMEM;
	}
	free(*owned);
	*owned = copy;
	return 0;
}

int mount_plan_init(struct mount_plan *plan, enum unknown_options unknown)
{
	int r;

	*plan = (struct mount_plan){ .unknown = unknown };
	r = lam_options_new(&plan->stack);
	if (r < 0) {
		message_error("out of memory");
		return r;
	}
	plan->front.mount_flags = MS_NOATIME;
	plan->front.default_permissions = true;
	plan->front.allow_other = geteuid() == 0;
	plan->front.entry_ttl = plan->front.attr_ttl = plan->front.negative_ttl = -1;
	plan->front.passthrough = FUSE_PASSTHROUGH_OFF;
	plan->supervisor = true;
	plan->restarts = 10;
	return 0;
}

void mount_plan_done(struct mount_plan *plan)
{
	lam_options_free(plan->stack);
	free(plan->mountpoint);
	free(plan->fsname);
	free(plan->subtype);
	free(plan->extra_options);
	free(plan->log_path);
	free(plan->nfs.allow);
	*plan = (struct mount_plan){ 0 };
}

static int refuse_unknown(const char *name)
{
	const char *near = mount_option_nearest(name);

	if (near)
		message_error("unknown option %s; did you mean %s?", QUOTE(name), near);
	else
		message_error("unknown option %s; lamina help mount lists the known ones",
			      QUOTE(name));
	return -EINVAL;
}

int mount_plan_set(struct mount_plan *plan, const char *name, const char *value)
{
	int r = set_mount_flag(plan, name, value);

	if (r != -ENOENT)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (strcmp(name, table[i].name) == 0)
			return table[i].set(plan, &table[i], value);
	}
	if (is_passed_over(name))
		return 0;
	r = lam_options_set(plan->stack, name, value);
	if (r == -ENOENT)
		return plan->unknown == UNKNOWN_IGNORED ? 0 : refuse_unknown(name);
	if (r < 0)
		message_error("%s", lam_options_error(plan->stack));
	return r;
}

/* To tell a refused option, which has been reported, from a list that cannot be split. */
struct take_state {
	struct mount_plan *plan;
	bool failed; /* an option was refused, and that was said */
};

static int take_option(void *ctx, const char *name, const char *value)
{
	struct take_state *state = ctx;
	int r = mount_plan_set(state->plan, name, value);

	state->failed = r < 0;
	return r;
}

int mount_plan_add(struct mount_plan *plan, const char *list)
{
	struct take_state state = { .plan = plan };
	int r = lam_options_split(list, take_option, &state);

	if (r < 0 && !state.failed) {
		if (r == -ENOMEM)
			message_error("out of memory");
		else
			message_error("an option in %s has no name before the =", QUOTE(list));
	}
	return r;
}
