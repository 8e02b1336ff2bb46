/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What crash-power and crash-cuts share: a disk that is an image on a filesystem that shares blocks between
 * files, the changes, and looking at what a loss of power has left of one.
 */
#ifndef TESTS_POWER_H
#define TESTS_POWER_H

#include "tests/trial/trial.h"

/* Changes that end with an fsync: what is done then must not be lost. */
extern const struct change power_synced[];
extern const size_t n_power_synced;
/* Call TRY with each of those, and with some others of the table that all tests share; of which the name
 * has ONLY in it, if that is not NULL. */
void power_changes(const char *only, void (*try)(const struct change *change, bool ends_synced));
/* The setups in which they are made: NULL after the last one. */
const struct setup *power_setup(unsigned i);

/* Run a command of the shell that must not fail. */
__attribute__((format(printf, 1, 2))) void power_shell(const char *format, ...);

/* Where the filesystem is mounted.  After trial_begin(). */
void power_begin(const char *mountpoint, const char *fs_type);
/* Mount an image or a device, and go to the trial's directory in it. */
void power_insert(const char *image);
void power_eject(void);
/* FROM and TO share their blocks. */
void power_clone(const char *from, const char *to);
/* Something else in the same filesystem is synced. */
void power_commit(void);

/* What the engine and the kernel show before a change and after it. */
struct power_trees {
	char *old, *new, *old_kernel, *new_kernel;
};
void power_references(const struct setup *setup, const struct change *change,
		      struct power_trees *ret);
void power_trees_free(struct power_trees *trees);
/* Upper and work are as before the change, and opened in this process.  0 or an error. */
int power_prepare(const struct setup *setup, const struct change *change, struct lam_stack **ret);
/* Whether what is mounted is the old or the new tree, or must be new and is; says what is not as it should
 * be, and WHAT it is. */
bool power_judge(const struct setup *setup, const struct change *change,
		 const struct power_trees *trees, bool must_be_new, const char *what);

#endif
