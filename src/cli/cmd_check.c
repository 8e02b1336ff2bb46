/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lamina check: look for what is wrong in layers that are not mounted, and mend it. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lamina/check.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/json.h"

const char check_usage[] =
	"usage: lamina check [--repair] [--json] --lower DIR [--lower DIR]...\n"
	"                    [--upper DIR [--work DIR]]\n"
	"       lamina check [--repair] [--json] -o OPTION[,OPTION...]\n"
	"       lamina check [--repair] [--json] [-o OPTION[,OPTION...]] DIR\n"
	"       lamina check --kinds\n"
	"\n"
	"Look for what is wrong in layers that are not mounted: as one stack, or one DIR alone.\n"
	"\n"
	"  -l, --lower DIR      a directory below; the topmost first\n"
	"  -u, --upper DIR      the directory that takes all changes\n"
	"  -w, --work DIR       its scratch directory; by default UPPER.work\n"
	"  -o, --options LIST   options as of lamina mount (lowerdir=A:B,upperdir=U,workdir=W,\n"
	"                       userxattr, index=, nfs_export=, ...)\n"
	"      --repair         mend what can be mended without loss, and tell what was done;\n"
	"                       lower directories are never written\n"
	"      --json           print one JSON object\n"
	"      --kinds          list the kinds of findings, and why each matters\n"
	"  -h, --help\n"
	"\n"
	"Says nothing where nothing is wrong.  Exit status: 0 nothing is wrong, 1 all was mended,\n"
	"4 something is left (5: and something was mended), 8 the check could not be done, 16 wrong\n"
	"usage.  All of it: lamina-check(8).\n";

enum { STATUS_MENDED = 1, STATUS_LEFT = 4, STATUS_FAILED = 8, STATUS_USAGE = 16 };

enum { FLAG_REPAIR = LAYER_FLAG_END, FLAG_JSON, FLAG_KINDS };

static const struct option flags[] = {
	{ "lower", required_argument, NULL, 'l' },
	{ "upper", required_argument, NULL, 'u' },
	{ "work", required_argument, NULL, 'w' },
	{ "options", required_argument, NULL, 'o' },
	{ "repair", no_argument, NULL, FLAG_REPAIR },
	{ "json", no_argument, NULL, FLAG_JSON },
	{ "kinds", no_argument, NULL, FLAG_KINDS },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct request {
	const char *lone; /* the only directory, or NULL */
	bool repair, json;
	bool done; /* help or the list was printed */
	unsigned printed;
};

/* ---- Printing ---- */

static const char *place_name(const struct lam_check_finding *f, char out[24])
{
	switch (f->place) {
	case LAM_CHECK_UPPER:
		return "upper";
	case LAM_CHECK_LOWER:
		(void)snprintf(out, 24, "lower %u", f->layer);
		return out;
	case LAM_CHECK_WORK:
		return "work";
	case LAM_CHECK_LONE:
		break;
	}
	return "layer";
}

static const char *outcome_name(enum lam_check_outcome outcome)
{
	switch (outcome) {
	case LAM_CHECK_FOUND:
		return "found";
	case LAM_CHECK_LEFT:
		return "left";
	case LAM_CHECK_REPAIRED:
		return "repaired";
	case LAM_CHECK_FAILED:
		break;
	}
	return "failed";
}

/* A path of any length with what cannot be printed as \ooo. */
static void print_path(const char *path)
{
	const unsigned char *at = (const unsigned char *)path;

	(void)putchar('/');
	for (; *at; at++) {
		if (*at < 0x20 || *at == 0x7f || *at == '\\')
			(void)printf("\\%03o", *at);
		else
			(void)putchar(*at);
	}
}

static void print_text(const struct lam_check_finding *f)
{
	char place[24];

	(void)printf("%s: ", place_name(f, place));
	print_path(f->path);
	(void)printf(": %s: %s; %s.", f->kind, f->what, f->why);
	switch (f->outcome) {
	case LAM_CHECK_FOUND:
		(void)printf(" --repair %s.\n", f->repair);
		break;
	case LAM_CHECK_LEFT:
		(void)printf(" Not mended.\n");
		break;
	case LAM_CHECK_REPAIRED:
		(void)printf(" Mended: %s.\n", f->repair);
		break;
	case LAM_CHECK_FAILED:
		(void)printf(" Mending failed: %s.\n", log_errno(f->error));
		break;
	}
}

static void print_json(const struct lam_check_finding *f, bool first)
{
	static const char *const places[] = { "upper", "lower", "work", "layer" };

	(void)printf("%s\n  {\"kind\": ", first ? "" : ",");
	json_string(stdout, f->kind);
	(void)printf(", \"place\": \"%s\"", places[f->place]);
	if (f->place == LAM_CHECK_LOWER)
		(void)printf(", \"lower\": %u", f->layer);
	(void)printf(", \"path\": ");
	json_string(stdout, f->path);
	(void)printf(", \"what\": ");
	json_string(stdout, f->what);
	(void)printf(", \"why\": ");
	json_string(stdout, f->why);
	(void)printf(", \"repair\": ");
	json_string(stdout, f->repair);
	(void)printf(", \"outcome\": \"%s\"", outcome_name(f->outcome));
	if (f->outcome == LAM_CHECK_FAILED) {
		(void)printf(", \"error\": ");
		json_string(stdout, log_errno(f->error));
	}
	(void)putchar('}');
}

static void print_finding(void *ctx, const struct lam_check_finding *f)
{
	struct request *q = ctx;

	if (q->json)
		print_json(f, q->printed == 0);
	else
		print_text(f);
	q->printed++;
}

static void print_end(const struct request *q, const struct lam_check_result *res)
{
	if (q->json)
		(void)printf("%s], \"objects\": %" PRIu64 ", \"found\": %" PRIu64
			     ", \"repaired\": %" PRIu64 ", \"left\": %" PRIu64 "}\n",
			     q->printed ? "\n " : "", res->objects, res->found, res->repaired,
			     res->left);
	else if (res->found)
		(void)printf("%" PRIu64 " found, %" PRIu64 " mended, %" PRIu64 " left\n",
			     res->found, res->repaired, res->left);
}

static void print_kinds(void)
{
	const char *name, *why, *repair;

	for (size_t i = 0; (name = lam_check_kind(i, &why, &repair)) != NULL; i++)
		(void)printf("%s\n    %s\n    %s%s\n", name, why, repair ? "--repair " : "",
			     repair ? repair : "never mended");
}

/* ---- Messages of the library ---- */

/* A finding says what a warning of the engine would; an error tells why there is no check. */
static void receive(void *ctx, int level, const char *line)
{
	(void)ctx;
	if (level <= LOG_LEVEL_ERROR)
		message_error("%s", line);
}

static void receive_nothing(void *ctx, int level, const char *line)
{
	(void)ctx;
	(void)level;
	(void)line;
}

/* ---- The command line ---- */

static int take_flag(struct mount_plan *plan, struct request *q, int c)
{
	switch (c) {
	case FLAG_REPAIR:
		q->repair = true;
		return 0;
	case FLAG_JSON:
		q->json = true;
		return 0;
	case FLAG_KINDS:
		print_kinds();
		q->done = true;
		return 0;
	case 'h':
		(void)fputs(check_usage, stdout);
		q->done = true;
		return 0;
	default:
		return layer_flag_take(plan, "check", c);
	}
}

/* The work directory that `lamina mount` would take, if it is there: a check makes none. */
static int default_work(struct mount_plan *plan)
{
	const struct lam_config *config = lam_options_config(plan->stack);
	CLEANUP_FREE char *work = NULL;

	if (!config->upper || config->work)
		return 0;
	if (asprintf(&work, "%s.work", config->upper) < 0) {
		work = NULL;
		return -ENOMEM;
	}
	if (access(work, F_OK) < 0) {
		command_misused("check", "--upper without --work, and %s is not there",
				QUOTE(work));
		return -EINVAL;
	}
	return layer_default_work(plan);
}

static int parse(struct mount_plan *plan, struct request *q, int argc, char **argv)
{
	const struct lam_config *config;
	int c, r;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":l:u:w:o:h", flags, NULL)) != -1) {
		r = take_flag(plan, q, c);
		if (r < 0 || q->done)
			return r;
	}
	config = lam_options_config(plan->stack);
	if (optind < argc) {
		q->lone = argv[optind];
		if (argc - optind == 1 && !config->n_lower && !config->upper)
			return 0;
		command_misused("check", argc - optind > 1 ? "more than one directory given"
							   : "a directory and a stack given");
		return -EINVAL;
	}
	if (!config->n_lower) {
		command_misused("check", "nothing to check: give --lower, or a directory");
		return -EINVAL;
	}
	return default_work(plan);
}

static int check(struct mount_plan *plan, struct request *q)
{
	const struct lam_config *config = lam_options_config(plan->stack);
	unsigned what = q->repair ? LAM_CHECK_REPAIR : 0;
	struct lam_check_result res;
	int r;

	lam_set_log(receive, NULL);
	raise_descriptor_limit();
	if (q->json)
		(void)printf("{\"version\": 1, \"repair\": %s, \"findings\": [",
			     q->repair ? "true" : "false");
	r = q->lone ? lam_check_layer(config, q->lone, what, print_finding, q, &res)
		    : lam_check(config, what, print_finding, q, &res);
	lam_set_log(receive_nothing, NULL);
	if (r < 0) {
		if (q->json)
			(void)printf("], \"error\": \"%s\"}\n", log_errno(r));
		return STATUS_FAILED;
	}
	print_end(q, &res);
	if (fflush(stdout) != 0)
		return STATUS_FAILED;
	return (res.repaired ? STATUS_MENDED : 0) | (res.left ? STATUS_LEFT : 0);
}

int cmd_check(int argc, char **argv)
{
	struct request q = { 0 };
	struct mount_plan plan;
	int status = STATUS_USAGE;

	message_set_people();
	if (mount_plan_init(&plan, UNKNOWN_REFUSED) < 0)
		return STATUS_FAILED;
	if (parse(&plan, &q, argc, argv) == 0)
		status = q.done ? 0 : check(&plan, &q);
	mount_plan_done(&plan);
	return status;
}
