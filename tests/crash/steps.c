// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A crash at every step: each change is made by a process that stops dead before its Nth modifying
 * system call, and by one that stops dead after it, for every N.  Then the layers are opened again by the
 * engine, and mounted by Linux's overlayfs; after the stop before a call the engine comes first, after
 * the stop behind one the kernel does.  The tree must be the old or the new one; the next opening must
 * leave no litter; the change must then be possible, or done.
 *
 *	crash-steps [--setup NAME] [--only PART-OF-A-CHANGE'S-NAME] [--repairs] [--verbose]
 *
 * With --repairs it is the opening that crashes, at each of its calls, of layers that a crash left.
 *
 * In the directory $TMPDIR, whose filesystem is the one that is tried.
 */
#include "tests/trial/trial.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/sys.h"

#define STOPPED 77
#define POINTS_MOST 2000u

static const struct setup *setup;
static const struct change *change;
static bool verbose;
static unsigned n_points, n_passed, n_failed;
/* The trees before and after the change, by the engine and by the kernel. */
static char *old_tree, *new_tree, *old_kernel, *new_kernel;

/* ---- Stopping dead ---- */

static unsigned stop_at, calls_seen;
static bool stop_after;
static const char *stop_name;

static int stop(const char *name, bool mutates, bool after)
{
	stop_name = name;
	if (!mutates)
		return 0;
	if (!after)
		calls_seen++;
	if (calls_seen == stop_at && after == stop_after)
		_exit(STOPPED);
	return 0;
}

static int wait_for(pid_t pid)
{
	int status;

	if (pid < 0)
		trial_die("fork: %s", strerror(errno));
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		trial_die("%s: the process ended by signal %d", change->name, WTERMSIG(status));
	return WEXITSTATUS(status);
}

static void arm(unsigned at, bool after)
{
	stop_at = at;
	stop_after = after;
	calls_seen = 0;
	sys_fault_hook = stop;
}

/* Make the change, and close, in a process that may not live to its end.  True if it was stopped. */
static bool run_and_stop(unsigned at, bool after)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct lam_stack *stack;
		int r = trial_open(setup, &stack);

		if (r == 0)
			r = script_run(stack, change->prepare);
		arm(at, after);
		if (r == 0)
			r = script_run(stack, change->run);
		if (r == 0)
			lam_stack_close(stack);
		_exit(r != 0);
	}
	status = wait_for(pid);
	if (status != STOPPED && status != 0)
		trial_die("%s: the change itself failed", change->name);
	return status == STOPPED;
}

/* ---- Looking ---- */

static bool complain(unsigned at, bool after, const char *what)
{
	printf("  %s, %s: stopped %s call %u: %s\n", setup->name, change->name,
	       after ? "after" : "before", at, what);
	return false;
}

/* Two steps where the filesystem has not got the one. */
static bool in_gap(const char *now, bool kernel)
{
	/* To the kernel two directories with one origin are one too many. */
	return setup->gap &&
	       (kernel || (!strstr(now, " cannot be ") && !strstr(now, " is listed only"))) &&
	       (!strncmp(change->run, "rename", 6) || !strncmp(change->run, "rmdir", 5) ||
		strstr(change->run, "dir"));
}

static const struct change by_hand = {
	.name = "opening",
	.run = "",
	.may = MAY_COUNT,
};

static bool judge(unsigned at, bool after, const char *who, const char *now, const char *old,
		  const char *new)
{
	bool kernel = old == old_kernel;
	unsigned may = change->may | (kernel ? setup->kernel_may : setup->may);

	/* The opening has put the counts right. */
	if (!kernel && change != &by_hand)
		may &= ~MAY_COUNT;
	if (picture_judge(may, now, old, new) != VERDICT_NEITHER || in_gap(now, kernel))
		return true;
	complain(at, after, who);
	picture_explain(now, old, new);
	return false;
}

/* The check has nothing to say of layers that were opened again. */
static bool checked(unsigned at, bool after)
{
	const char *found = trial_check(setup);
	unsigned may = change->may | setup->may;

	if (!found)
		return true;
	if (!strchr(found, ';') &&
	    ((may & MAY_NEEDLESS && strstr(found, ": whiteout-needless: ")) ||
	     (may & MAY_STALE && strstr(found, ": record-origin-stale: "))))
		return true;
	return complain(at, after, found);
}

static bool see_by_engine(unsigned at, bool after)
{
	struct lam_stack *stack;
	char *now;
	int r = trial_open(setup, &stack);
	bool good;

	if (r < 0)
		return complain(at, after, strerror(-r));
	now = picture_of_stack(stack);
	lam_stack_close(stack);
	good = judge(at, after, "the engine shows neither", now, old_tree, new_tree);
	free(now);
	if (good && trial_litter())
		good = complain(at, after, trial_litter());
	return good && checked(at, after);
}

static bool see_by_kernel(unsigned at, bool after)
{
	char *now;
	int r = trial_kernel_mount(setup);
	bool good;

	if (r < 0)
		return complain(at, after, "the kernel does not mount it");
	now = picture_of_path("mnt");
	trial_kernel_unmount();
	good = judge(at, after, "the kernel shows neither", now, old_kernel, new_kernel);
	free(now);
	return good;
}

/* The change again: it works, or it was done. */
static bool again(unsigned at, bool after)
{
	struct lam_stack *stack;
	char *now;
	int r = trial_open(setup, &stack);
	bool good = true;

	if (r < 0)
		return complain(at, after, "it cannot be opened again");
	script_try(stack, change->prepare);
	r = script_run(stack, change->run);
	now = picture_of_stack(stack);
	lam_stack_close(stack);
	script_reset();
	if (r < 0 &&
	    picture_judge(change->may | setup->may, now, new_tree, new_tree) == VERDICT_NEITHER &&
	    !setup->gap) {
		good = complain(at, after, "it cannot be done afterwards");
		printf("    %s\n", strerror(-r));
		picture_explain(now, new_tree, new_tree);
	}
	free(now);
	return good;
}

/* One crash.  *RET_MORE: the change has more calls than AT. */
static bool try_point(unsigned at, bool after, bool *ret_more)
{
	bool good;

	trial_fresh(setup);
	*ret_more = run_and_stop(at, after);
	n_points++;
	if (setup->kernel && after && !see_by_kernel(at, after))
		return false;
	good = see_by_engine(at, after);
	if (good && setup->kernel && !after)
		good = see_by_kernel(at, after);
	return good && again(at, after);
}

/* ---- One change ---- */

/* The tree with the change made or not, and no crash. */
static bool take_reference(bool changed, char **ret_tree, char **ret_kernel)
{
	struct lam_stack *stack;
	int r;

	trial_fresh(setup);
	r = trial_open(setup, &stack);
	if (r == 0)
		r = script_run(stack, change->prepare);
	if (r == 0 && changed)
		r = script_run(stack, change->run);
	script_reset();
	if (r == 0) {
		lam_stack_close(stack);
		r = trial_open(setup, &stack);
	}
	if (r < 0) {
		printf("  %s, %s: without a crash: %s\n", setup->name, change->name, strerror(-r));
		return false;
	}
	*ret_tree = picture_of_stack(stack);
	lam_stack_close(stack);
	if (!setup->kernel)
		return true;
	r = trial_kernel_mount(setup);
	if (r < 0) {
		printf("  %s, %s: the kernel: %s\n", setup->name, change->name, strerror(-r));
		return false;
	}
	*ret_kernel = picture_of_path("mnt");
	trial_kernel_unmount();
	return true;
}

static void drop_references(void)
{
	char **all[] = { &old_tree, &new_tree, &old_kernel, &new_kernel };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		free(*all[i]);
		*all[i] = NULL;
	}
}

static void try_change(void)
{
	unsigned points = n_points;
	bool good = take_reference(false, &old_tree, &old_kernel) &&
		    take_reference(true, &new_tree, &new_kernel);
	bool more;

	if (good && !strcmp(old_tree, new_tree) && !(change->may & MAY_SAME)) {
		printf("  %s, %s: nothing changes\n", setup->name, change->name);
		good = false;
	}
	more = good;
	for (unsigned at = 1; more && good && at < POINTS_MOST; at++) {
		bool unused;

		good = try_point(at, false, &more);
		if (more && good)
			good = try_point(at, true, &unused);
	}
	drop_references();
	if (verbose)
		printf("%s, %s: %u points\n", setup->name, change->name, n_points - points);
	if (good)
		n_passed++;
	else
		n_failed++;
}

/* ---- Crashes of the repair itself ---- */

/* What an opening finds: upper and work with nothing in them, or all that a change left that was stopped
 * before its Nth call, or leftovers that are made by hand. */
struct mess {
	const char *change; /* its name; NULL: what MAKE does */
	void (*make)(void);
};

static void shell(const char *command)
{
	if (system(command) != 0) /* fixed text, in a directory of ours */
		trial_die("%s: failed", command);
}

static void make_nothing(void)
{
	trial_empty();
}

static void make_leftovers(void)
{
	trial_fresh(setup);
	shell("mkdir -p 'work/work/#1/a' work/work/full && chmod 0 work/work && "
	      "touch 'work/work/#1/f' 'work/work/#2' work/work/full/f && "
	      "ln up/up2a work/lamina/orphans/0000000000000001 && mkdir -p work/lamina/orphans/d/e");
	/* The kernel does without what it cannot clean. */
	if (!setup->kernel)
		shell("mkdir -p work/work/full/b/c/d && touch work/work/full/b/c/f");
	if (!setup->kernel && setup->index == LAM_ON)
		shell("touch 'work/index/#3' && mkdir 'work/index/#4'");
}

static const struct mess messes[] = {
	{ NULL, make_nothing },
	{ NULL, make_leftovers },
	{ "write to a lower hard link", NULL },
	{ "chmod a lower directory", NULL },
	{ "unlink the last name of an indexed file", NULL },
	{ "rmdir a directory with whiteouts in use", NULL },
	{ "rename a lower directory over one with whiteouts", NULL },
	{ "rename a lower file over a lower hard link", NULL },
	{ "name an unnamed file over a whiteout", NULL },
};

/* Open and close in a process that is stopped. */
static bool open_and_stop(unsigned at)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct lam_stack *stack;
		int r;

		arm(at, false);
		r = trial_open(setup, &stack);
		if (r == 0)
			lam_stack_close(stack);
		_exit(r != 0);
	}
	status = wait_for(pid);
	if (status != STOPPED && status != 0)
		trial_die("%s: opening failed", change->name);
	return status == STOPPED;
}

static void make_mess(const struct mess *mess, unsigned nth)
{
	if (mess->make) {
		mess->make();
		return;
	}
	trial_fresh(setup);
	(void)run_and_stop(nth, false);
}

/* Every call of the opening that finds MESS; NTH is where its change was stopped. */
static bool try_repair(const struct mess *mess, unsigned nth)
{
	bool good = true, more = true;

	for (unsigned at = 1; more && good && at < POINTS_MOST; at++) {
		make_mess(mess, nth);
		more = open_and_stop(at);
		n_points++;
		/* Nobody may show more than before; the kernel comes first every other time. */
		if (setup->kernel && at % 2)
			good = see_by_kernel(at, false);
		good = good && see_by_engine(at, false);
	}
	return good;
}

static const struct change *change_named(const char *name)
{
	for (size_t i = 0; i < n_changes; i++)
		if (!strcmp(changes[i].name, name))
			return &changes[i];
	trial_die("there is no change '%s'", name);
}

static void take_tree(char **ret_tree, char **ret_kernel)
{
	struct lam_stack *stack;
	int r = trial_open(setup, &stack);

	if (r < 0)
		trial_die("%s: cannot open: %s", change->name, strerror(-r));
	*ret_tree = picture_of_stack(stack);
	lam_stack_close(stack);
	if (!setup->kernel)
		return;
	r = trial_kernel_mount(setup);
	if (r < 0)
		trial_die("%s: the kernel: %s", change->name, strerror(-r));
	*ret_kernel = picture_of_path("mnt");
	trial_kernel_unmount();
}

static void try_mess(const struct mess *mess)
{
	bool good = true, more = true;
	unsigned points;

	for (unsigned nth = 1; good && more && nth < POINTS_MOST; nth++) {
		if (mess->change) {
			good = take_reference(false, &old_tree, &old_kernel) &&
			       take_reference(true, &new_tree, &new_kernel);
			trial_fresh(setup);
			more = run_and_stop(nth, false);
		} else {
			make_mess(mess, nth);
			take_tree(&old_tree, &old_kernel);
			make_mess(mess, nth);
			take_tree(&new_tree, &new_kernel);
			more = false;
		}
		points = n_points;
		good = good && try_repair(mess, nth);
		if (verbose)
			printf("%s, opening after %s %u: %u points\n", setup->name, change->name,
			       nth, n_points - points);
		drop_references();
	}
	if (good)
		n_passed++;
	else
		n_failed++;
}

int main(int argc, char **argv)
{
	const char *only = NULL, *only_setup = NULL;
	bool repairs = false;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--verbose"))
			verbose = true;
		else if (!strcmp(argv[i], "--repairs"))
			repairs = true;
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			only = argv[++i];
		else if (!strcmp(argv[i], "--setup") && i + 1 < argc)
			only_setup = argv[++i];
		else
			trial_die("unknown argument %s", argv[i]);
	}
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	trial_begin();
	for (size_t i = 0; i < n_setups; i++) {
		setup = &setups[i];
		if (only_setup && strcmp(setup->name, only_setup) != 0)
			continue;
		for (size_t k = 0; !repairs && k < n_changes; k++) {
			change = &changes[k];
			if (!trial_impossible(setup, change) &&
			    (!only || strstr(change->name, only)))
				try_change();
		}
		for (size_t k = 0; repairs && k < sizeof(messes) / sizeof(messes[0]); k++) {
			change = messes[k].change ? change_named(messes[k].change) : &by_hand;
			if (!trial_impossible(setup, change))
				try_mess(&messes[k]);
		}
	}
	if (!trial_lower_intact())
		n_failed++;
	trial_done();
	printf("%u points tried\n", n_points);
	printf("%u passed, %u failed\n", n_passed, n_failed);
	return n_failed || !n_passed;
}
