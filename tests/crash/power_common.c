// SPDX-License-Identifier: GPL-2.0-or-later
#include "power.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

static const char *fs_name, *mounted_on;
static char home[512];

/* ---- What is done ---- */

const struct change power_synced[] = {
	{ "write and fsync", NULL, "write dir/file 0 BELOW; fsync dir/file", MAY_PARTS },
	{ "write to a large file and fsync", NULL, "write big 5000 BELOW; fsync big", MAY_PARTS },
	{ "write to a hard link and fsync", NULL, "write hard1 0 HARD; fsync hard1",
	  MAY_PARTS | MAY_COUNT },
	{ "write to a new file and fsync", "create new 644", "fill new 0 20000; fsync new",
	  MAY_PARTS },
};
const size_t n_power_synced = sizeof(power_synced) / sizeof(power_synced[0]);

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

void power_changes(const char *only, void (*try)(const struct change *change, bool ends_synced))
{
	for (size_t i = 0; i < n_power_synced; i++)
		if (!only || strstr(power_synced[i].name, only))
			try(&power_synced[i], true);
	for (size_t i = 0; i < sizeof(unsynced) / sizeof(unsynced[0]); i++)
		for (size_t k = 0; k < n_changes; k++)
			if (!strcmp(changes[k].name, unsynced[i]) &&
			    (!only || strstr(unsynced[i], only)))
				try(&changes[k], false);
}

const struct setup *power_setup(unsigned i)
{
	static const char *const names[] = { "default", "metacopy", "strict" };

	for (size_t k = 0; i < sizeof(names) / sizeof(names[0]) && k < n_setups; k++)
		if (!strcmp(setups[k].name, names[i]))
			return &setups[k];
	return NULL;
}

/* ---- The disk ---- */

void power_shell(const char *format, ...)
{
	char command[1200];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	if (system(command) != 0) /* our own words and paths */
		trial_die("%s: failed", command);
}

void power_begin(const char *mountpoint, const char *fs_type)
{
	mounted_on = mountpoint;
	fs_name = fs_type;
	if (!getcwd(home, sizeof(home)))
		trial_die("getcwd: %s", strerror(errno));
}

void power_insert(const char *image)
{
	power_shell("mount -o loop %s %s", image, mounted_on);
	if (chdir(home) < 0)
		trial_die("%s is not on %s: %s", home, image, strerror(errno));
}

void power_eject(void)
{
	if (chdir("/") < 0 || umount(mounted_on) < 0)
		trial_die("cannot unmount %s: %s", mounted_on, strerror(errno));
}

void power_clone(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (in < 0 || out < 0 || ioctl(out, FICLONE, in) < 0)
		_exit(3);
	close(in);
	close(out);
}

void power_commit(void)
{
	int fd = open("other", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) < 0)
		_exit(4);
	close(fd);
}

/* ---- Looking ---- */

static void take_trees(const struct setup *setup, char **ret_tree, char **ret_kernel)
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

static void take_reference(const struct setup *setup, const struct change *change, bool changed,
			   char **ret_tree, char **ret_kernel)
{
	struct lam_stack *stack;
	int r;

	trial_fresh(setup);
	r = power_prepare(setup, change, &stack);
	if (r == 0 && changed)
		r = script_run(stack, change->run);
	if (r < 0)
		trial_die("%s, %s: %s", setup->name, change->name, strerror(-r));
	lam_stack_close(stack);
	script_reset();
	take_trees(setup, ret_tree, ret_kernel);
}

void power_references(const struct setup *setup, const struct change *change,
		      struct power_trees *ret)
{
	take_reference(setup, change, false, &ret->old, &ret->old_kernel);
	take_reference(setup, change, true, &ret->new, &ret->new_kernel);
}

void power_trees_free(struct power_trees *trees)
{
	free(trees->old);
	free(trees->new);
	free(trees->old_kernel);
	free(trees->new_kernel);
}

int power_prepare(const struct setup *setup, const struct change *change, struct lam_stack **ret)
{
	int r = trial_open(setup, ret);

	return r < 0 ? r : script_run(*ret, change->prepare);
}

bool power_judge(const struct setup *setup, const struct change *change,
		 const struct power_trees *trees, bool must_be_new, const char *what)
{
	/* What nobody has synced may be there in part, as the time of a write whose data is not. */
	const unsigned may = change->may | setup->may | MAY_PARTS;
	char *tree, *kernel;
	enum verdict v, k;

	take_trees(setup, &tree, &kernel);
	v = picture_judge(may, tree, trees->old, trees->new);
	k = picture_judge(may | setup->kernel_may, kernel, trees->old_kernel, trees->new_kernel);
	if (must_be_new && v != VERDICT_NEW)
		v = VERDICT_NEITHER;
	if (v == VERDICT_NEITHER || k == VERDICT_NEITHER) {
		printf("  %s, %s, %s, %s: %s\n", fs_name, setup->name, change->name, what,
		       must_be_new ? "what was synced is lost"
				   : (v == VERDICT_NEITHER ? "neither tree"
							   : "the kernel shows neither"));
		if (v == VERDICT_NEITHER)
			picture_explain(tree, trees->old, trees->new);
		else
			picture_explain(kernel, trees->old_kernel, trees->new_kernel);
	}
	free(tree);
	free(kernel);
	return v != VERDICT_NEITHER && k != VERDICT_NEITHER;
}
