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
#include "tests/trial/trial.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/sys.h"

#define COPIES_MOST 400u

/* These end with an fsync: the last copy must have the new tree. */
static const struct change synced[] = {
	{ "write and fsync", NULL, "write dir/file 0 BELOW; fsync dir/file", MAY_PARTS },
	{ "write to a large file and fsync", NULL, "write big 5000 BELOW; fsync big", MAY_PARTS },
	{ "write to a hard link and fsync", NULL, "write hard1 0 HARD; fsync hard1",
	  MAY_PARTS | MAY_COUNT },
	{ "write to a new file and fsync", "create new 644", "fill new 0 20000; fsync new",
	  MAY_PARTS },
};
/* Others, of the table that all tests share. */
static const char *const unsynced[] = {
	"chmod a lower file",
	"write to a lower file",
	"write to a large lower file",
	"truncate a lower file",
	"chmod the other name of a lower hard link",
	"rename a lower file over an upper file",
	"rename a lower directory over one with whiteouts",
	"link a lower file over a whiteout",
	"unlink the last name of an indexed file",
	"write to a file with metadata only",
};

static const struct setup *setup;
static const struct change *change;
static const char *disk, *fs_type, *mountpoint;
static char home[512];
static unsigned n_points, n_passed, n_failed;
static char *old_tree, *new_tree, *old_kernel, *new_kernel;

/* ---- The disk ---- */

__attribute__((format(printf, 1, 2))) static void shell(const char *format, ...)
{
	char command[1200];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	if (system(command) != 0) /* our own words and paths */
		trial_die("%s: failed", command);
}

/* Mount IMAGE, and go to the trial's directory in it. */
static void insert(const char *image)
{
	shell("mount -o loop %s %s", image, mountpoint);
	if (chdir(home) < 0)
		trial_die("%s is not on %s: %s", home, image, strerror(errno));
}

static void eject(void)
{
	if (chdir("/") < 0 || umount(mountpoint) < 0)
		trial_die("cannot unmount %s: %s", mountpoint, strerror(errno));
}

static void copy_name(unsigned n, char out[600])
{
	(void)snprintf(out, 600, "%s.copy%u", disk, n);
}

static void copy_disk(unsigned n)
{
	char name[600];
	int from = open(disk, O_RDONLY | O_CLOEXEC), to;

	copy_name(n, name);
	to = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (from < 0 || to < 0 || ioctl(to, FICLONE, from) < 0)
		_exit(3);
	close(from);
	close(to);
}

/* Something else in the same filesystem is synced. */
static void commit(void)
{
	int fd = open("other", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) < 0)
		_exit(4);
	close(fd);
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
	commit();
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
		int r = trial_open(setup, &stack);

		if (r == 0)
			r = script_run(stack, change->prepare);
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

/* ---- Looking ---- */

static void take_trees(char **ret_tree, char **ret_kernel)
{
	struct lam_stack *stack;
	int r = trial_open(setup, &stack);

	if (r < 0) {
		*ret_tree = strdup("it cannot be opened\n");
	} else {
		*ret_tree = picture_of_stack(stack);
		lam_stack_close(stack);
	}
	r = trial_kernel_mount(setup);
	if (r < 0) {
		*ret_kernel = strdup("the kernel does not mount it\n");
		return;
	}
	*ret_kernel = picture_of_path("mnt");
	trial_kernel_unmount();
}

static void take_reference(bool changed, char **ret_tree, char **ret_kernel)
{
	struct lam_stack *stack;
	int r;

	trial_fresh(setup);
	r = trial_open(setup, &stack);
	if (r == 0)
		r = script_run(stack, change->prepare);
	if (r == 0 && changed)
		r = script_run(stack, change->run);
	if (r < 0)
		trial_die("%s, %s: %s", setup->name, change->name, strerror(-r));
	lam_stack_close(stack);
	script_reset();
	take_trees(ret_tree, ret_kernel);
}

static bool judge(unsigned copy, bool must_be_new)
{
	/* What nobody has synced may be there in part, as the time of a write whose data is not. */
	const unsigned may = change->may | setup->may | MAY_PARTS;
	char *tree, *kernel;
	enum verdict v, k;

	take_trees(&tree, &kernel);
	v = picture_judge(may, tree, old_tree, new_tree);
	k = picture_judge(may | setup->kernel_may, kernel, old_kernel, new_kernel);
	if (must_be_new && v != VERDICT_NEW)
		v = VERDICT_NEITHER;
	if (v == VERDICT_NEITHER || k == VERDICT_NEITHER) {
		printf("  %s, %s, %s, copy %u (%s): %s\n", fs_type, setup->name, change->name, copy,
		       copy % 2 ? "after a commit" : "as it was",
		       must_be_new ? "what was synced is lost"
				   : (v == VERDICT_NEITHER ? "neither tree"
							   : "the kernel shows neither"));
		if (v == VERDICT_NEITHER)
			picture_explain(tree, old_tree, new_tree);
		else
			picture_explain(kernel, old_kernel, new_kernel);
	}
	free(tree);
	free(kernel);
	return v != VERDICT_NEITHER && k != VERDICT_NEITHER;
}

static void try_change(bool ends_synced)
{
	bool good = true;
	unsigned n;

	take_reference(false, &old_tree, &old_kernel);
	take_reference(true, &new_tree, &new_kernel);
	trial_fresh(setup);
	n = run_and_copy();
	eject();
	for (unsigned i = 0; i < n; i++) {
		char name[600];

		copy_name(i, name);
		if (good) {
			insert(name);
			good = judge(i, ends_synced && i + 2 >= n);
			eject();
			n_points++;
		}
		(void)unlink(name);
	}
	insert(disk);
	free(old_tree);
	free(new_tree);
	free(old_kernel);
	free(new_kernel);
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
	pid_t pid;
	int status;

	trial_fresh(&setups[0]);
	pid = fork();
	if (pid == 0)
		_exit(trial_open(&careless, &stack) < 0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		trial_die("volatile: cannot be opened");
	copy_disk(0);
	eject();
	shell("mv %s.copy0 %s.volatile", disk, disk);
	shell("mount -o loop %s.volatile %s", disk, mountpoint);
	if (chdir(home) < 0)
		trial_die("%s: %s", home, strerror(errno));
	n_points++;
	if (trial_open(&setups[0], &stack) == -EINVAL) {
		n_passed++;
	} else {
		printf("  %s: after a crash under volatile it can be opened\n", fs_type);
		n_failed++;
	}
	eject();
	shell("rm %s.volatile", disk);
	insert(disk);
}

static void try_all(const char *only)
{
	for (size_t i = 0; i < sizeof(synced) / sizeof(synced[0]); i++) {
		change = &synced[i];
		if (!only || strstr(change->name, only))
			try_change(true);
	}
	for (size_t i = 0; i < sizeof(unsynced) / sizeof(unsynced[0]); i++) {
		for (size_t k = 0; k < n_changes; k++)
			if (!strcmp(changes[k].name, unsynced[i]))
				change = &changes[k];
		if (!only || strstr(change->name, only))
			try_change(false);
	}
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "default", "metacopy", "strict" };
	const char *only = NULL;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--disk"))
			disk = argv[i + 1];
		else if (!strcmp(argv[i], "--fs"))
			fs_type = argv[i + 1];
		else if (!strcmp(argv[i], "--only"))
			only = argv[i + 1];
	}
	mountpoint = getenv("TMPDIR");
	if (!disk || !fs_type || !mountpoint)
		trial_die("usage: crash-power --disk FILE --fs TYPE");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	trial_begin();
	if (!getcwd(home, sizeof(home)))
		trial_die("getcwd: %s", strerror(errno));
	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
		for (size_t i = 0; i < n_setups; i++)
			if (!strcmp(setups[i].name, names[k]))
				setup = &setups[i];
		try_all(only);
	}
	try_volatile();
	trial_done();
	printf("%u copies looked at\n", n_points);
	printf("%u passed, %u failed\n", n_passed, n_failed);
	return n_failed || !n_passed;
}
