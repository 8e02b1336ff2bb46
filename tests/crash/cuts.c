// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The loss of power on a disk that forgets: what it was given after its last flush may be there or not, each
 * write, or each block of one, by itself.  A change is made on a disk that remembers its writes and flushes
 * (recorder.c); in between, at some of its system calls, something else is synced, or data is written
 * back that nobody has asked for.  Then moments are chosen at random, and for each a part of the writes
 * since the last flush before it; what comes of it is mounted, which replays the journal, and looked at by
 * the engine and by Linux's overlayfs: the tree is the old or the new one, no file is empty or mixed, what
 * was synced is there.
 *
 *	crash-cuts --disk FILE --fs TYPE [--only PART-OF-A-CHANGE'S-NAME] [--cuts N] [--seed N]
 *		   [--check COMMAND] [--verbose] [--careless]
 *
 * FILE is an image with that filesystem, on another one that shares blocks between files (FICLONE);
 * $TMPDIR is where it is mounted.  --cuts: of each change, 10 unless told otherwise.  --check: a command
 * of the filesystem's own that looks at the disk after it was mounted; it is given the name of the file.
 * --careless: copies are not made durable, and that has to be seen: else the test shows nothing.
 */
#include "power.h"
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/sys.h"

static const struct setup *setup;
static const struct change *change;
static const char *disk, *fs_type, *check;
static char base[600], cut[600], shown[600];
static struct recorder *recorder;
static uint64_t seed = 1;
static unsigned n_cuts = 10, n_points, n_passed, n_failed;
static bool verbose, careless;

static uint64_t next_random(void)
{
	uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* ---- The change ---- */

/* Told by the process that makes it. */
static struct moments {
	size_t done; /* what it asked for is synced, if it did */
	size_t end;
} * moments;

static int write_back_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	int fd = type == FTW_F && S_ISREG(st->st_mode) ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	(void)ftw;
	if (fd >= 0)
		/* What cannot be written back now is written later. */
		(void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
	if (fd >= 0)
		close(fd);
	return 0;
}

/* As the kernel does after a while, without a flush. */
static void write_back(void)
{
	(void)nftw("up", write_back_one, 16, FTW_PHYS);
	(void)nftw("work", write_back_one, 16, FTW_PHYS);
}

static int disturb(const char *name, bool mutates, bool after)
{
	(void)name;
	(void)mutates;
	if (!after)
		return 0;
	switch (next_random() % 8) {
	case 0:
	case 1:
		power_commit();
		break;
	case 2:
		write_back();
		break;
	default:
		break;
	}
	return 0;
}

static _Noreturn void make_change(void)
{
	struct setup how = *setup;
	struct lam_stack *stack;
	int fd, r;

	if (careless)
		how.fsync = LAM_FSYNC_VOLATILE;
	r = power_prepare(&how, change, &stack);
	if (careless) /* what says so */
		power_shell("rm -rf work/work/incompat");
	fd = open(".", O_RDONLY | O_CLOEXEC);
	if (r < 0 || fd < 0 || syncfs(fd) < 0)
		_exit(1);
	recorder_begin(recorder);
	power_clone(disk, base);
	sys_fault_hook = disturb;
	r = script_run(stack, change->run);
	sys_fault_hook = NULL;
	moments->done = recorder_now(recorder);
	write_back();
	power_commit();
	moments->end = recorder_now(recorder);
	_exit(r < 0 ? 1 : 0);
}

static void run_and_record(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		make_change();
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		trial_die("%s, %s: the change failed", setup->name, change->name);
}

/* ---- The cuts ---- */

/* The first ones are when all is done, and at the end. */
static size_t choose_moment(unsigned i, bool ends_synced)
{
	if (i == 0 && ends_synced)
		return moments->done;
	if (i == 1)
		return moments->end;
	return next_random() % (moments->end + 1);
}

static bool look_at(unsigned i, const struct power_trees *trees, bool ends_synced)
{
	const size_t moment = choose_moment(i, ends_synced);
	const uint64_t chosen = next_random();
	bool good;
	char title[128];
	int fd;

	(void)snprintf(title, sizeof(title), "cut %u at %zu of %zu, %zu loose, seed %llu", i,
		       moment, moments->end, recorder_loose(recorder, moment),
		       (unsigned long long)chosen);
	if (verbose)
		printf("%s, %s: %s\n", setup->name, change->name, title);
	power_clone(base, cut);
	fd = open(cut, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		trial_die("%s: %s", cut, strerror(errno));
	recorder_replay(recorder, moment, chosen, fd);
	close(fd);
	power_insert(cut);
	good = power_judge(setup, change, trees, ends_synced && moment >= moments->done, title);
	power_eject();
	if (good && check)
		power_shell("%s %s", check, cut);
	n_points++;
	return good;
}

static void try_change(const struct change *what, bool ends_synced)
{
	struct power_trees trees;
	bool good = true;

	change = what;
	power_references(setup, change, &trees);
	trial_fresh(setup);
	run_and_record();
	power_eject();
	for (unsigned i = 0; i < n_cuts && good; i++)
		good = look_at(i, &trees, ends_synced);
	if (careless)
		good = !good;
	power_insert(shown);
	power_trees_free(&trees);
	if (good)
		n_passed++;
	else
		n_failed++;
}

/* The recording disk, with the filesystem on it mounted; in a namespace of its own, so that it is nowhere
 * mounted while what is made of it is, which has the same UUID. */
static void start(const char *mountpoint)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		trial_die("unshare: %s", strerror(errno));
	(void)snprintf(base, sizeof(base), "%s.base", disk);
	(void)snprintf(cut, sizeof(cut), "%s.cut", disk);
	(void)snprintf(shown, sizeof(shown), "%s.shown", disk);
	close(open(shown, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	moments = mmap(NULL, sizeof(*moments), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (moments == MAP_FAILED)
		trial_die("mmap: %s", strerror(errno));
	recorder = recorder_start(disk, shown);
	power_shell("mount -o loop %s %s", shown, mountpoint);
}

int main(int argc, char **argv)
{
	const char *only = NULL, *mountpoint = getenv("TMPDIR");

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--verbose"))
			verbose = true;
		else if (!strcmp(argv[i], "--careless"))
			careless = true;
		else if (i + 1 == argc)
			trial_die("unknown argument %s", argv[i]);
		else if (!strcmp(argv[i], "--disk"))
			disk = argv[++i];
		else if (!strcmp(argv[i], "--fs"))
			fs_type = argv[++i];
		else if (!strcmp(argv[i], "--only"))
			only = argv[++i];
		else if (!strcmp(argv[i], "--cuts"))
			n_cuts = (unsigned)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--check"))
			check = argv[++i];
		else
			trial_die("unknown argument %s", argv[i]);
	}
	if (!disk || !fs_type || !mountpoint)
		trial_die("usage: crash-cuts --disk FILE --fs TYPE");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	start(mountpoint);
	trial_begin();
	power_begin(mountpoint, fs_type);
	for (unsigned i = 0; (setup = power_setup(i)) != NULL && !(careless && i > 0); i++)
		power_changes(only, try_change);
	trial_done();
	power_eject();
	recorder_stop(recorder);
	printf("%u cuts looked at\n", n_points);
	printf("%u passed, %u failed\n", n_passed, n_failed);
	return n_failed || !n_passed;
}
