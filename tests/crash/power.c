// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The loss of power: while a change is made, after each of its modifying system calls, the disk that upper
 * is on is copied twice: as it is, which is what the filesystem has sent to it so far, and after a commit of
 * the filesystem's journal that something else asked for, which brings names to the disk without the data
 * that nobody asked for.  Then each copy is mounted, which replays the journal, and looked at by the
 * engine and by Linux's overlayfs: the tree is the old or the new one, no file is empty or mixed, what was
 * synced is there.
 *
 *	crash-power --disk FILE --fs TYPE [--only PART-OF-A-CHANGE'S-NAME]
 *
 * FILE is an image with that filesystem, on another one that shares blocks between files (FICLONE);
 * $TMPDIR is where it is mounted.
 */
#include "power.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/sys.h"

#define COPIES_MOST 400u

static const struct setup *setup;
static const struct change *change;
static const char *disk, *fs_type;
static unsigned n_points, n_passed, n_failed;

static void copy_name(unsigned n, char out[600])
{
	(void)snprintf(out, 600, "%s.copy%u", disk, n);
}

static void copy_disk(unsigned n)
{
	char name[600];

	copy_name(n, name);
	power_clone(disk, name);
}

/* ---- The change ---- */

static unsigned n_copies;

static int copy_after(const char *name, bool mutates, bool after)
{
	(void)name;
	(void)mutates;
	if (!after || n_copies + 2 > COPIES_MOST)
		return 0;
	copy_disk(n_copies++);
	power_commit();
	copy_disk(n_copies++);
	return 0;
}

/* Make it in a process that copies the disk; returns how many copies there are. */
static unsigned run_and_copy(void)
{
	int status, fds[2];
	unsigned n = 0;
	pid_t pid;

	if (pipe(fds) < 0)
		trial_die("pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		struct lam_stack *stack;
		int r = power_prepare(setup, change, &stack);

		sync(); /* what was before is on the disk */
		sys_fault_hook = copy_after;
		if (r == 0)
			r = script_run(stack, change->run);
		sys_fault_hook = NULL;
		if (r == 0 && write(fds[1], &n_copies, sizeof(n_copies)) < 0)
			r = -errno;
		_exit(r != 0);
	}
	close(fds[1]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
	    WEXITSTATUS(status) != 0 || read(fds[0], &n, sizeof(n)) != sizeof(n))
		trial_die("%s, %s: the change failed", setup->name, change->name);
	close(fds[0]);
	return n;
}

static void try_change(const struct change *what, bool ends_synced)
{
	struct power_trees trees;
	char name[600], title[64];
	bool good = true;
	unsigned n;

	change = what;
	power_references(setup, change, &trees);
	trial_fresh(setup);
	n = run_and_copy();
	power_eject();
	for (unsigned i = 0; i < n; i++) {
		copy_name(i, name);
		(void)snprintf(title, sizeof(title), "copy %u (%s)", i,
			       i % 2 ? "after a commit" : "as it was");
		if (good) {
			power_insert(name);
			good = power_judge(setup, change, &trees, ends_synced && i + 2 >= n, title);
			power_eject();
			n_points++;
		}
		(void)unlink(name);
	}
	power_insert(disk);
	power_trees_free(&trees);
	if (good)
		n_passed++;
	else
		n_failed++;
}

/* With fsync=volatile nothing is promised but that the next opening says so. */
static void try_volatile(void)
{
	const struct setup careless = { .name = "volatile",
					.index = LAM_ON,
					.fsync = LAM_FSYNC_VOLATILE };
	struct lam_stack *stack;
	char name[600];
	pid_t pid;
	int status;

	trial_fresh(&setups[0]);
	pid = fork();
	if (pid == 0)
		_exit(trial_open(&careless, &stack) < 0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		trial_die("volatile: cannot be opened");
	copy_disk(0);
	power_eject();
	copy_name(0, name);
	power_insert(name);
	n_points++;
	if (trial_open(&setups[0], &stack) == -EINVAL) {
		n_passed++;
	} else {
		printf("  %s: after a crash under volatile it can be opened\n", fs_type);
		n_failed++;
	}
	power_eject();
	(void)unlink(name);
	power_insert(disk);
}

int main(int argc, char **argv)
{
	const char *only = NULL, *mountpoint = getenv("TMPDIR");

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--disk"))
			disk = argv[i + 1];
		else if (!strcmp(argv[i], "--fs"))
			fs_type = argv[i + 1];
		else if (!strcmp(argv[i], "--only"))
			only = argv[i + 1];
	}
	if (!disk || !fs_type || !mountpoint)
		trial_die("usage: crash-power --disk FILE --fs TYPE");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	trial_begin();
	power_begin(mountpoint, fs_type);
	for (unsigned i = 0; (setup = power_setup(i)) != NULL; i++)
		power_changes(only, try_change);
	try_volatile();
	trial_done();
	printf("%u copies looked at\n", n_points);
	printf("%u passed, %u failed\n", n_passed, n_failed);
	return n_failed || !n_passed;
}
