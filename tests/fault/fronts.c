// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every failing call of a request: a front end that serves a stack is asked for one thing, with the Nth
 * system call refused from the message to the answer, for every N, and again with the Nth allocation
 * refused.  There is one answer, an error or what is true; the tree is the old or the new one; the next
 * request is served, and where the tree is the old one still this one too; when the client has let go of
 * all, nothing is held: no reference, no lock, no descriptor, no memory, no orphan.  The next opening shows the
 * same tree.
 *
 *	fault-fronts --client FUSE|NFS [--only PART-OF-A-REQUEST'S-NAME] [--setup NAME] [--memory]
 *		     [--all] [--verbose]
 *
 * --memory: allocations, not system calls.  --all: each call with every error, not with one in turn.
 * In the directory $TMPDIR.
 */
#include "client.h"
#include "inspect.h"
#include "refuse.h"
#include "tests/trial/trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define POINTS_MOST 20000u
#define BODY_MOST (256u << 10)

static const struct setup *setup;
static const struct client *client;
static const struct ask *ask;
static bool verbose, memory, all_errors;
static unsigned n_points, n_passed, n_failed;
static char *old_tree, *new_tree;

void words_of(const char *request, struct words *ret)
{
	char *save = NULL;

	*ret = (struct words){ .n = 0 };
	(void)snprintf(ret->text, sizeof(ret->text), "%s", request);
	for (char *w = strtok_r(ret->text, " ", &save); w && ret->n < WORDS_MAX;
	     w = strtok_r(NULL, " ", &save)) {
		ret->num[ret->n] = strtoull(w, NULL, 0);
		ret->word[ret->n++] = w;
	}
}

void names_add(struct names *names, const char *name, size_t len)
{
	CHECK(names->n < NAMES_MOST && len < NAME_MOST);
	memset(names->name[names->n], 0, NAME_MOST);
	memcpy(names->name[names->n++], name, len);
}

static unsigned times_in(const struct names *names, const char *name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < names->n; i++)
		n += !strcmp(names->name[i], name);
	return n;
}

const char *lists_differ(const struct names *all, const struct names *ours)
{
	for (unsigned i = 0; i < all->n; i++)
		if (times_in(ours, all->name[i]) == 0)
			return "a name is not listed";
	for (unsigned i = 0; i < ours->n; i++)
		if (times_in(ours, ours->name[i]) != 1)
			return "a name is listed twice";
	return NULL;
}

/* ---- One server ---- */

static struct lam_stack *serve(void)
{
	struct lam_stack *stack = trial_open_or_die(setup);
	int r = script_run(stack, ask->prepare);
	if (r < 0)
		trial_die("%s: cannot be prepared: %s", ask->name, strerror(-r));
	client->begin(stack);
	return stack;
}

static void end(struct lam_stack *stack)
{
	client->end();
	lam_stack_close(stack);
	script_reset();
}

static char *take_tree(bool changed)
{
	struct lam_stack *stack;
	struct said said;
	const char *wrong;
	char *tree;

	trial_fresh(setup);
	stack = serve();
	client->make(ask->request);
	if (changed) {
		client->send(&said);
		wrong = said.wrong ? said.wrong : client->next();
		if (said.result < 0 || wrong)
			trial_die("%s %s: with nothing refused: %d, %s", client->name, ask->name,
				  said.result, wrong ? wrong : "");
	}
	wrong = client->let_go();
	if (wrong)
		trial_die("%s %s: with nothing refused: %s", client->name, ask->name, wrong);
	end(stack);
	if (trial_open(setup, &stack) < 0)
		trial_die("%s: cannot be opened again", ask->name);
	tree = picture_of_stack(stack);
	lam_stack_close(stack);
	return tree;
}

/* ---- Looking ---- */

/* What a request came to, and what was seen of it. */
struct trial {
	struct lam_stack *stack;
	struct said said;
	char *now;	   /* the tree */
	const char *wrong; /* the first thing that must not be */
	bool explain;	   /* what the tree has to do with it */
};

static void note(struct trial *t, const char *wrong)
{
	if (!t->wrong)
		t->wrong = wrong;
}

/* The same request once more: what it answers was true before. */
static void ask_twice(struct trial *t)
{
	static char first[BODY_MOST];
	const size_t len = t->said.len;
	struct said again;

	if (len > sizeof(first))
		trial_die("%s: an answer of %zu bytes", ask->name, len);
	memcpy(first, t->said.body, len);
	client->send(&again);
	note(t, again.wrong);
	if (again.result != 0)
		note(t, "the same request fails afterwards");
	else if (again.len != len || memcmp(again.body, first, len) != 0)
		note(t, "the same request is answered otherwise afterwards");
}

static void look(struct trial *t)
{
	const unsigned may = ask->may | setup->may;
	enum verdict v;

	free(t->now);
	t->now = picture_of_stack(t->stack);
	v = picture_judge(may, t->now, old_tree, new_tree);
	if (v == VERDICT_NEITHER || (t->said.result == 0 && v == VERDICT_OLD)) {
		t->explain = !t->wrong;
		note(t, t->said.result ? "neither tree" : "not the new tree");
	}
	/* What failed and left all as it was can be done now. */
	if (t->wrong || t->said.result == 0 || ask->may & MAY_DIFFER ||
	    (v != VERDICT_OLD && !(ask->may & MAY_SAME)))
		return;
	client->send(&t->said);
	note(t, t->said.wrong);
	if (t->said.result < 0)
		note(t, "it cannot be done afterwards");
	else if (!t->wrong && !(ask->may & MAY_SAME))
		look(t);
}

/* The next opening: the same tree, no litter. */
static void look_later(struct trial *t)
{
	struct lam_stack *stack;
	char *later;

	if (trial_open(setup, &stack) < 0) {
		note(t, "it cannot be opened again");
		return;
	}
	later = picture_of_stack(stack);
	lam_stack_close(stack);
	if (picture_judge(ask->may | setup->may, later, t->now, t->now) == VERDICT_NEITHER) {
		note(t, "another tree at the next opening");
		picture_explain(later, t->now, t->now);
	}
	note(t, trial_litter());
	free(later);
}

/* ---- One point ---- */

static bool try_point(unsigned at, int error, bool *ret_reached)
{
	struct trial t = { .stack = NULL };
	int result;
	unsigned fds;

	trial_fresh(setup);
	fds = inspect_fds();
	refuse_mark();
	t.stack = serve();
	client->make(ask->request);
	refuse_arm(memory, at, error);
	client->send(&t.said);
	*ret_reached = refuse_disarm();
	n_points++;
	result = t.said.result;
	note(&t, t.said.wrong);
	if (result == 0 && ask->may & MAY_LIST)
		note(&t, client->list_on());
	else if (result == 0 && ask->may & MAY_SAME && !(ask->may & MAY_DIFFER))
		ask_twice(&t);
	note(&t, client->next());
	look(&t);
	note(&t, client->let_go());
	note(&t, trial_orphans());
	note(&t, inspect_stack(t.stack));
	end(t.stack);
	if (inspect_fds() != fds)
		note(&t, "a descriptor is left open");
	look_later(&t);
	if (t.wrong) {
		printf("  %s, %s, %s: %s: answered %d; %s\n", client->name, setup->name, ask->name,
		       refuse_what(), result, t.wrong);
		if (t.explain)
			picture_explain(t.now, old_tree, new_tree);
	}
	free(t.now);
	if (!t.wrong && refuse_left()) {
		t.wrong = refuse_left();
		printf("  %s, %s, %s: %s: answered %d; %s\n", client->name, setup->name, ask->name,
		       refuse_what(), result, t.wrong);
	}
	return !t.wrong;
}

/* Every N, until there are no more calls; stops at the first failure. */
static void try_ask(void)
{
	unsigned points = n_points, turn = (unsigned)strlen(ask->name);
	bool reached = true, good = true;

	old_tree = take_tree(false);
	new_tree = take_tree(true);
	if (!strcmp(old_tree, new_tree) && !(ask->may & MAY_SAME))
		trial_die("%s, %s: nothing changes", setup->name, ask->name);
	for (unsigned at = 1; reached && good && at < POINTS_MOST; at++)
		for (unsigned e = 0; e < (all_errors && !memory ? REFUSE_ERRORS : 1) && good; e++)
			good = try_point(at, refuse_errors[(at + turn + e) % REFUSE_ERRORS],
					 &reached);
	if (verbose)
		printf("%s, %s: %u points\n", client->name, ask->name, n_points - points);
	if (good)
		n_passed++;
	else
		n_failed++;
	free(old_tree);
	free(new_tree);
}

int main(int argc, char **argv)
{
	const char *only = NULL, *setup_name = "default";

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--verbose"))
			verbose = true;
		else if (!strcmp(argv[i], "--memory"))
			memory = true;
		else if (!strcmp(argv[i], "--all"))
			all_errors = true;
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			only = argv[++i];
		else if (!strcmp(argv[i], "--setup") && i + 1 < argc)
			setup_name = argv[++i];
		else if (!strcmp(argv[i], "--client") && i + 1 < argc)
			client = strcmp(argv[++i], "NFS") ? &fuse_client : &nfs_client;
		else
			trial_die("unknown argument %s", argv[i]);
	}
	if (!client)
		trial_die("--client FUSE or NFS");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	trial_begin();
	for (size_t i = 0; i < n_setups; i++)
		if (!strcmp(setups[i].name, setup_name))
			setup = &setups[i];
	for (size_t i = 0; setup && i < client->n_asks; i++) {
		const struct change as_change = { .run = client->asks[i].request };

		ask = &client->asks[i];
		if (!trial_impossible(setup, &as_change) && (!only || strstr(ask->name, only)))
			try_ask();
	}
	if (!trial_lower_intact())
		n_failed++;
	trial_done();
	printf("%u points tried\n", n_points);
	printf("%u passed, %u failed\n", n_passed, n_failed);
	return n_failed || !n_passed;
}
