// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every failing call: each change is made with its Nth system call refused, for every N, and again with
 * its Nth allocation refused.  The caller gets an error, and the tree is the old one, or the new one where
 * the error came late; or no error, and the tree is the new one.  Nothing stays held: no lock, no
 * reference, no descriptor, no memory.  The next opening shows the same tree and leaves no litter, and the change
 * can be made then.
 *
 *	fault-calls [--setup NAME] [--only PART-OF-A-CHANGE'S-NAME] [--memory] [--open] [--look]
 *		    [--all] [--verbose]
 *
 * --memory: allocations, not system calls.  --open: of opening the layers.  --look: of looking at the
 * whole tree.  --all: each call with every error, not with one of them in turn.
 * In the directory $TMPDIR.
 */
#include "inspect.h"
#include "refuse.h"
#include "tests/trial/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POINTS_MOST 20000u
#define HANG_S 60u

static const struct setup *setup;
static const struct change *change;
static bool verbose, memory, all_errors;
static unsigned n_points, n_passed, n_failed;
static char *old_tree, *new_tree;

static void arm(unsigned at, int error)
{
	refuse_arm(memory, at, error);
	(void)alarm(HANG_S); /* a lock that is held would be waited for without end */
}

/* Whether the call was reached. */
static bool disarm(void)
{
	(void)alarm(0);
	return refuse_disarm();
}

/* ---- Looking ---- */

static bool complain(int answer, const char *what)
{
	printf("  %s, %s: %s: answered %s; %s\n", setup->name, change->name, refuse_what(),
	       answer ? strerror(-answer) : "success", what);
	return false;
}

/* The tree as the same process shows it after the failure. */
static bool judge_live(struct lam_stack *stack, int answer, char **ret_now)
{
	unsigned may = change->may | setup->may;
	const char *held = inspect_stack(stack);
	enum verdict v;

	if (held) {
		*ret_now = NULL;
		return complain(answer, held);
	}
	*ret_now = picture_of_stack(stack);
	v = picture_judge(may, *ret_now, old_tree, new_tree);
	if (v == VERDICT_NEITHER || (answer == 0 && v == VERDICT_OLD)) {
		complain(answer, answer == 0 ? "not the new tree" : "neither tree");
		picture_explain(*ret_now, answer == 0 ? new_tree : old_tree, new_tree);
		return false;
	}
	return true;
}

/* The next opening: the same tree, no litter. */
static bool judge_later(int answer, const char *before)
{
	struct lam_stack *stack;
	char *later;
	int r = trial_open(setup, &stack);
	bool good = true;

	if (r < 0)
		return complain(answer, "it cannot be opened again");
	later = picture_of_stack(stack);
	lam_stack_close(stack);
	if (picture_judge(change->may | setup->may, later, before, before) == VERDICT_NEITHER) {
		good = complain(answer, "another tree at the next opening");
		picture_explain(later, before, before);
	} else if (trial_litter()) {
		good = complain(answer, trial_litter());
	}
	free(later);
	return good;
}

/* And the change can be made. */
static bool judge_again(int answer)
{
	struct lam_stack *stack;
	char *now;
	int r = trial_open(setup, &stack);
	bool good = true;

	if (r < 0)
		return complain(answer, "it cannot be opened once more");
	script_try(stack, change->prepare);
	r = script_run(stack, change->run);
	now = picture_of_stack(stack);
	lam_stack_close(stack);
	script_reset();
	if (r < 0 &&
	    picture_judge(change->may | setup->may, now, new_tree, new_tree) == VERDICT_NEITHER) {
		good = complain(answer, "it cannot be done afterwards");
		picture_explain(now, new_tree, new_tree);
	}
	free(now);
	return good;
}

/* ---- Changes ---- */

/* One call refused.  *RET_REACHED: the change has as many. */
static bool try_point(unsigned at, int error, bool *ret_reached)
{
	struct lam_stack *stack;
	unsigned fds;
	char *now;
	bool good;
	int r;

	trial_fresh(setup);
	fds = inspect_fds();
	refuse_mark();
	stack = trial_open_or_die(setup);
	r = script_run(stack, change->prepare);
	if (r < 0)
		trial_die("%s: cannot be prepared: %s", change->name, strerror(-r));
	arm(at, error);
	r = script_run(stack, change->run);
	*ret_reached = disarm();
	n_points++;
	good = judge_live(stack, r, &now);
	lam_stack_close(stack);
	script_reset();
	if (good && inspect_fds() != fds)
		good = complain(r, "a descriptor is left open");
	good = good && judge_later(r, now) && judge_again(r);
	free(now);
	if (good && refuse_left())
		good = complain(r, refuse_left());
	return good;
}

static char *take_tree(bool changed)
{
	struct lam_stack *stack;
	char *tree;
	int r;

	trial_fresh(setup);
	stack = trial_open_or_die(setup);
	r = script_run(stack, change->prepare);
	if (r == 0 && changed)
		r = script_run(stack, change->run);
	lam_stack_close(stack);
	script_reset();
	if (r < 0)
		trial_die("%s, %s: with nothing refused: %s", setup->name, change->name,
			  strerror(-r));
	stack = trial_open_or_die(setup);
	tree = picture_of_stack(stack);
	lam_stack_close(stack);
	return tree;
}

typedef bool (*point_fn)(unsigned at, int error, bool *ret_reached);

/* Every N, until there are no more calls; stops at the first failure. */
static void try_all(point_fn point)
{
	unsigned points = n_points, turn = (unsigned)strlen(change->name);
	bool reached = true, good = true;

	for (unsigned at = 1; reached && good && at < POINTS_MOST; at++)
		for (unsigned e = 0; e < (all_errors && !memory ? REFUSE_ERRORS : 1) && good; e++)
			good = point(at, refuse_errors[(at + turn + e) % REFUSE_ERRORS], &reached);
	if (verbose)
		printf("%s, %s: %u points\n", setup->name, change->name, n_points - points);
	if (good)
		n_passed++;
	else
		n_failed++;
}

static void try_change(void)
{
	old_tree = take_tree(false);
	new_tree = take_tree(true);
	if (!strcmp(old_tree, new_tree) && !(change->may & MAY_SAME))
		trial_die("%s, %s: nothing changes", setup->name, change->name);
	try_all(try_point);
	free(old_tree);
	free(new_tree);
}

/* ---- Opening, and looking ---- */

static const struct change opening = { .name = "opening", .run = "" };
static const struct change looking = { .name = "looking at everything", .run = "" };

static bool try_open(unsigned at, int error, bool *ret_reached)
{
	struct lam_stack *stack = NULL;
	unsigned fds;
	char *now = NULL;
	bool good = true;
	int r;

	trial_fresh(setup);
	fds = inspect_fds();
	refuse_mark();
	arm(at, error);
	r = trial_open(setup, &stack);
	*ret_reached = disarm();
	n_points++;
	if (r == 0) {
		lam_stack_close(stack);
		if (inspect_fds() != fds)
			return complain(r, "a descriptor is left open");
	} else if (inspect_fds() != fds) {
		return complain(r, "a descriptor is left open");
	}
	if (refuse_left())
		return complain(r, refuse_left());
	stack = trial_open_or_die(setup);
	now = picture_of_stack(stack);
	lam_stack_close(stack);
	if (strcmp(now, old_tree) != 0) {
		good = complain(r, "another tree");
		picture_explain(now, old_tree, old_tree);
	}
	free(now);
	return good;
}

/* An error may show in the first picture, and only there. */
static bool try_look(unsigned at, int error, bool *ret_reached)
{
	struct lam_stack *stack;
	unsigned fds;
	const char *held;
	bool good = true;
	char *now;

	if (at == 1)
		trial_fresh(setup);
	fds = inspect_fds();
	stack = trial_open_or_die(setup);
	arm(at, error);
	now = picture_of_stack(stack);
	*ret_reached = disarm();
	n_points++;
	free(now);
	held = inspect_stack(stack);
	if (held)
		good = complain(0, held);
	now = picture_of_stack(stack);
	if (good && strcmp(now, old_tree) != 0) {
		good = complain(0, "another tree afterwards");
		picture_explain(now, old_tree, old_tree);
	}
	free(now);
	lam_stack_close(stack);
	if (good && inspect_fds() != fds)
		good = complain(0, "a descriptor is left open");
	return good;
}

static void try_other(const struct change *what, point_fn point)
{
	change = what;
	old_tree = take_tree(false);
	new_tree = old_tree;
	try_all(point);
	free(old_tree);
}

/* ---- */

struct arguments {
	const char *only, *setup;
	bool open, look;
};

static void parse(struct arguments *a, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--verbose"))
			verbose = true;
		else if (!strcmp(argv[i], "--memory"))
			memory = true;
		else if (!strcmp(argv[i], "--all"))
			all_errors = true;
		else if (!strcmp(argv[i], "--open"))
			a->open = true;
		else if (!strcmp(argv[i], "--look"))
			a->look = true;
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			a->only = argv[++i];
		else if (!strcmp(argv[i], "--setup") && i + 1 < argc)
			a->setup = argv[++i];
		else
			trial_die("unknown argument %s", argv[i]);
	}
}

int main(int argc, char **argv)
{
	struct arguments a = { 0 };

	parse(&a, argc, argv);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	trial_begin();
	for (size_t i = 0; i < n_setups; i++) {
		setup = &setups[i];
		if (a.setup && strcmp(setup->name, a.setup) != 0)
			continue;
		if (a.open)
			try_other(&opening, try_open);
		if (a.look)
			try_other(&looking, try_look);
		for (size_t k = 0; !a.open && !a.look && k < n_changes; k++) {
			change = &changes[k];
			if (!trial_impossible(setup, change) &&
			    (!a.only || strstr(change->name, a.only)))
				try_change();
		}
	}
	if (!trial_lower_intact())
		n_failed++;
	trial_done();
	printf("%u points tried\n", n_points);
	printf("%u passed, %u failed\n", n_passed, n_failed);
	return n_failed || !n_passed;
}
