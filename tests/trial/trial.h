/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of tests/crash and tests/fault have in common: layers with something of everything,
 * a table of changes, each a transaction of the engine, and pictures of whole trees to compare.
 *
 * A trial runs in a directory of its own, which is the current one: lower layers l1 (on top) and l2, made
 * once and never written; up and work, made anew for every trial; mnt for the kernel's overlayfs.
 */
#ifndef TESTS_TRIAL_H
#define TESTS_TRIAL_H

#include <lamina/lamina.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* How the stack is opened. */
struct setup {
	const char *name;
	const char *without; /* features that are switched off, separated by blanks */
	enum lam_toggle index, nfs_export, metacopy;
	enum lam_toggle userxattr;
	enum lam_fsync fsync;
	bool kernel; /* Linux's overlayfs mounts these layers with the same settings */
	bool gap;    /* renames and rmdir take two steps, and a crash between shows what is below */
	unsigned may;	     /* MAY_* for every change */
	unsigned kernel_may; /* ... as the kernel shows it */
	bool no_tmpfile;     /* there are no files without names */
	bool no_exchange;    /* nor exchanges */
};

extern const struct setup setups[];
extern const size_t n_setups;

/* A change.  PREPARE and RUN are commands separated by "; ": script.c has the list. */
struct change {
	const char *name, *prepare, *run;
	unsigned may; /* MAY_*: what a crash may leave that is neither the old nor the new tree */
};

/* docs/design/crash-consistency.md says when. */
#define MAY_COUNT 1u /* a count of names that is one too high */
#define MAY_PARTS \
	2u /* some parts of what was asked for are done: each word of a line is old or new */
#define MAY_BREAK 8u	 /* a hard link has become a file of its own */
#define MAY_SAME 16u	 /* the change does not show in a picture */
#define MAY_NEEDLESS 32u /* a whiteout that has changed its place, and hides nothing there */
#define MAY_STALE \
	64u	     /* a record of an origin that no inode matches: it goes when upper is walked */
#define MAY_CLEAR 4u /* an empty directory that is about to be replaced is another one already */

extern const struct change changes[];
extern const size_t n_changes;

/* Whether a change, or what prepares it, is nothing that can be done under these settings. */
bool trial_impossible(const struct setup *setup, const struct change *change);

/* ---- layers.c ---- */

/* Stop the test, saying where and why. */
_Noreturn void trial_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Make the directory and the lower layers, and go there.  Ends with trial_done(). */
void trial_begin(void);
void trial_done(void);
/* Upper and work as the base script leaves them, under these settings. */
void trial_fresh(const struct setup *setup);
/* Upper and work with nothing in them. */
void trial_empty(void);
int trial_open(const struct setup *setup, struct lam_stack **ret);
struct lam_stack *trial_open_or_die(const struct setup *setup);
/* Mount by Linux's overlayfs on mnt, and unmount. */
int trial_kernel_mount(const struct setup *setup);
void trial_kernel_unmount(void);
/* A temporary name that is left after opening, as text; NULL: none is. */
const char *trial_litter(void);
/* An orphan that is there, also while a stack is open. */
const char *trial_orphans(void);
/* What `lamina check` finds in the layers, NULL if nothing is wrong. */
const char *trial_check(const struct setup *setup);
/* Whether INO is an inode of the lower layers. */
bool trial_is_lower(uint64_t ino);
/* Whether every lower file is as it was made. */
bool trial_lower_intact(void);
/* Times after this are "now" in a picture. */
extern time_t trial_start;

/* ---- script.c ---- */

/* Run commands; the first negative answer ends it and is returned. */
int script_run(struct lam_stack *stack, const char *script);
/* Run them all, whatever they answer. */
void script_try(struct lam_stack *stack, const char *script);
/* The answer to whether a client refers to an id, of every stack that trial_open() opens. */
bool script_in_use(void *ctx, uint64_t id);
/* What script_run() holds on to: nothing any more.  For a stack that is gone. */
void script_reset(void);

/* ---- picture.c ---- */

/* The whole tree as text, one line an object, sorted; the caller frees it.  NULL and *RET_ERROR if an
 * object cannot be looked at. */
char *picture_of_stack(struct lam_stack *stack);
/* The same of a directory, as system calls show it. */
char *picture_of_path(const char *path);
enum verdict { VERDICT_OLD, VERDICT_NEW, VERDICT_PARTS, VERDICT_NEITHER };
/* Which one NOW is, if MAY is what it may differ in. */
enum verdict picture_judge(unsigned may, const char *now, const char *old, const char *new);
/* Print the lines of NOW that are neither in OLD nor in NEW, and those of both that are missing. */
void picture_explain(const char *now, const char *old, const char *new);

#endif
