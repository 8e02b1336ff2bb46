// SPDX-License-Identifier: GPL-2.0-or-later
/* The layers of a trial, and opening them by the engine and by the kernel. */
#include "trial.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <lamina/check.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "sys/sys.h"

#define BIG_SIZE (200u << 10)
#define LOWER_MOST 512u

time_t trial_start;
static char root[512];
static uint64_t lower_inos[LOWER_MOST];
static size_t n_lower_inos;
static char *lower_before;

_Noreturn void trial_die(const char *fmt, ...)
{
	va_list ap;

	sys_fault_hook = NULL;
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	exit(1);
}

static void must(int r, const char *what, const char *name)
{
	if (r < 0)
		trial_die("%s %s: %s", what, name, strerror(errno));
}

/* ---- Lower layers ---- */

static void put_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	must(fd, "making", path);
	must((int)write(fd, text, strlen(text)), "writing", path);
	must(fchmod(fd, mode), "chmod", path);
	close(fd);
}

/* Data, a hole, data: more than is copied at once. */
static void put_big(const char *path)
{
	char block[4096];
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	must(fd, "making", path);
	for (unsigned i = 0; i < BIG_SIZE; i += sizeof(block)) {
		memset(block, 'a' + (int)(i / sizeof(block) % 26), sizeof(block));
		if (i < BIG_SIZE / 4 || i > BIG_SIZE / 2)
			must((int)pwrite(fd, block, sizeof(block), i), "writing", path);
	}
	close(fd);
}

static int note_lower(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const struct timespec times[2] = { { .tv_sec = 1000000 + (time_t)n_lower_inos },
					   { .tv_sec = 1000000 + (time_t)n_lower_inos } };

	(void)type;
	(void)ftw;
	if (n_lower_inos == LOWER_MOST)
		return -1;
	lower_inos[n_lower_inos++] = st->st_ino;
	return utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

bool trial_is_lower(uint64_t ino)
{
	for (size_t i = 0; i < n_lower_inos; i++)
		if (lower_inos[i] == ino)
			return true;
	return false;
}

static void make_dirs(void)
{
	static const char *const dirs[] = {
		"l1",	     "l2",	    "mnt",
		"l1/dir",    "l1/dir/sub",  "l1/dir/sub/low",
		"l2/dir",    "l1/ren",	    "l1/ren/sub",
		"l1/moved0", "l1/moved0/s", "l1/empty",
		"l1/white",  "l1/gonedir",  "l1/goneopq",
		"l1/vacant", "l2/vacant",   "l1/copydir",
		"l1/full",   "l2/full",	    "l1/moved0/e",
	};

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		must(mkdir(dirs[i], 0755), "mkdir", dirs[i]);
}

static void make_files(void)
{
	static const char *const files[] = {
		"l1/dir/file",	 "l2/dir/other", "l1/dir/sub/deep", "l1/ren/sub/file",
		"l1/moved0/s/f", "l1/empty/x",	 "l1/empty/y",	    "l1/white/x",
		"l1/gonedir/g",	 "l1/goneopq/g", "l1/copydir/c",    "l1/full/a",
		"l2/full/b",	 "l1/f1",	 "l1/f2",	    "l1/gone",
		"l1/gone2",	 "l1/copied",	 "l1/hard1",	    "l1/hardi1",
		"l1/hardw1",	 "l1/single",	 "l2/f1",	    "l1/target",
		"l1/ren/up",
	};
	char text[64];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		(void)snprintf(text, sizeof(text), "below %s\n", files[i]);
		put_file(files[i], text, 0644);
	}
	put_big("l1/big");
	put_file("l1/void", "", 0600);
	put_file("l1/suid", "#!\n", 04755);
	put_file("l1/rich", "rich\n", 0640);
}

static void make_lower(void)
{
	static const char *const links[][2] = {
		{ "l1/hard1", "l1/hard2" },   { "l1/hard1", "l1/dir/hard3" },
		{ "l1/hardi1", "l1/hardi2" }, { "l1/hardw1", "l1/hardw2" },
		{ "l1/hardw1", "l1/hardw3" },
	};
	/* cap_net_raw, permitted and effective, version 2 */
	static const unsigned char cap[20] = { 1, 0, 0, 2, 0, 0x20, 0, 0 };

	make_dirs();
	make_files();
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		must(link(links[i][0], links[i][1]), "link", links[i][1]);
	must(symlink("dir/file", "l1/sym"), "symlink", "l1/sym");
	must(symlink("nowhere", "l1/gonesym"), "symlink", "l1/gonesym");
	must(mknod("l1/fifo", S_IFIFO | 0640, 0), "mknod", "l1/fifo");
	must(mknod("l1/sock", S_IFSOCK | 0640, 0), "mknod", "l1/sock");
	must(mknod("l1/dev", S_IFBLK | 0600, makedev(7, 250)), "mknod", "l1/dev");
	must(setxattr("l1/rich", "user.a", "1", 1, 0), "setxattr", "l1/rich");
	must(setxattr("l1/rich", "trusted.b", "two", 3, 0), "setxattr", "l1/rich");
	must(setxattr("l1/dir/sub", "user.d", "dir", 3, 0), "setxattr", "l1/dir/sub");
	must(setxattr("l1/suid", "security.capability", cap, sizeof(cap), 0), "setxattr",
	     "l1/suid");
	must(chown("l1/rich", 1000, 1001), "chown", "l1/rich");
	must(nftw("l1", note_lower, 16, FTW_DEPTH | FTW_PHYS), "times", "l1");
	must(nftw("l2", note_lower, 16, FTW_DEPTH | FTW_PHYS), "times", "l2");
}

static char *picture_of_lower(void)
{
	char *a = picture_of_path("l1"), *b = picture_of_path("l2"), *both;

	if (!a || !b || asprintf(&both, "%s%s", a, b) < 0)
		trial_die("cannot read the lower layers");
	free(a);
	free(b);
	return both;
}

bool trial_lower_intact(void)
{
	char *now = picture_of_lower();
	bool same = strcmp(now, lower_before) == 0;

	if (!same)
		picture_explain(now, lower_before, lower_before);
	free(now);
	return same;
}

/* ---- The directory ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)type;
	(void)ftw;
	if (S_ISDIR(st->st_mode) && !(st->st_mode & 0700))
		(void)chmod(path, 0700); /* if it cannot be emptied, remove() says so */
	return remove(path);
}

static void remove_tree(const char *path)
{
	if (nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
		trial_die("cannot remove %s: %s", path, strerror(errno));
}

void trial_begin(void)
{
	const char *base = getenv("TMPDIR");

	(void)snprintf(root, sizeof(root), "%s/trial-XXXXXX", base ? base : "/tmp");
	if (geteuid() != 0)
		trial_die("this needs root");
	if (!mkdtemp(root) || chdir(root) < 0)
		trial_die("cannot make %s: %s", root, strerror(errno));
	must(unshare(CLONE_NEWNS), "unshare", "mounts");
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "making private", "/");
	(void)umask(0);
	trial_start = time(NULL) - 1;
	make_lower();
	lower_before = picture_of_lower();
}

void trial_done(void)
{
	must(chdir("/"), "chdir", "/");
	remove_tree(root);
	free(lower_before);
	lower_before = NULL;
}

void trial_empty(void)
{
	remove_tree("up");
	remove_tree("work");
	must(mkdir("up", 0755), "mkdir", "up");
	must(mkdir("work", 0755), "mkdir", "work");
}

/* What is in upper before each change. */
static const char base_script[] =
	"write copied 0 COPIED; write hardi1 0 HARDI; chmod hardi2 600; chmod copydir 711; "
	"unlink gone; unlink gone2; unlink gonesym; unlink gonedir/g; rmdir gonedir; "
	"unlink goneopq/g; rmdir goneopq; mkdir goneopq 755; create goneopq/new 644; "
	"unlink empty/x; unlink empty/y; unlink full/a; unlink hardw3; "
	"create up 644; write up 0 upper; mkdir updir 755; create updir/a 600; mkdir upempty 700; "
	"create up2a 644; link up2a up2b; symlink upsym to; mknod upfifo 10644 0 0; create ren/n 600";
static const char base_moves[] = "rename moved0 moved1";

void trial_fresh(const struct setup *setup)
{
	struct setup quick = *setup;
	struct lam_stack *stack;
	int r;

	trial_empty();
	quick.fsync = LAM_FSYNC_VOLATILE;
	r = trial_open(&quick, &stack);
	if (r < 0)
		trial_die("%s: cannot open the layers: %s", setup->name, strerror(-r));
	r = script_run(stack, base_script);
	if (r < 0)
		trial_die("%s: the base script: %s", setup->name, strerror(-r));
	r = script_run(stack, base_moves);
	if (r < 0 && r != -EXDEV)
		trial_die("%s: %s: %s", setup->name, base_moves, strerror(-r));
	lam_stack_close(stack);
	script_reset();
	remove_tree("work/work/incompat");
}

static void switch_off(const char *features)
{
	char copy[256], *save = NULL;

	sys_enable_all();
	(void)snprintf(copy, sizeof(copy), "%s", features ? features : "");
	for (char *f = strtok_r(copy, " ", &save); f; f = strtok_r(NULL, " ", &save))
		sys_disable(f);
}

static struct lam_config config_of(const struct setup *setup)
{
	static const char *const lower[] = { "l1", "l2" };

	return (struct lam_config){
		.lower = lower,
		.n_lower = 2,
		.upper = "up",
		.work = "work",
		.index = setup->index,
		.nfs_export = setup->nfs_export,
		.metacopy = setup->metacopy,
		.userxattr = setup->userxattr,
		.fsync = setup->fsync,
	};
}

int trial_open(const struct setup *setup, struct lam_stack **ret)
{
	const struct lam_config config = config_of(setup);
	int r;

	switch_off(setup->without);
	r = lam_stack_open(&config, ret);
	if (r == 0)
		r = lam_stack_add_user(*ret, script_in_use, NULL);
	return r;
}

struct lam_stack *trial_open_or_die(const struct setup *setup)
{
	struct lam_stack *stack;
	int r = trial_open(setup, &stack);

	if (r < 0)
		trial_die("%s: cannot open: %s", setup->name, strerror(-r));
	return stack;
}

/* ---- The check ---- */

static char findings[2000];

static void note_finding(void *ctx, const struct lam_check_finding *f)
{
	size_t used = strlen(findings);

	(void)ctx;
	(void)snprintf(findings + used, sizeof(findings) - used, "%s%s: %s: %s", used ? "; " : "",
		       f->path, f->kind, f->what);
}

const char *trial_check(const struct setup *setup)
{
	struct lam_config config = config_of(setup);
	struct lam_check_result result;
	int r;

	switch_off(setup->without);
	/* where whiteouts are names, the check has to be told that they are meant */
	if (setup->without &&
	    (strstr(setup->without, "char_device") || strstr(setup->without, "renameat2")))
		config.dot_whiteouts = LAM_ON;
	findings[0] = '\0';
	r = lam_check(&config, 0, note_finding, NULL, &result);
	if (r < 0)
		(void)snprintf(findings, sizeof(findings), "the check cannot be done: %s",
			       strerror(-r));
	return findings[0] ? findings : NULL;
}

/* ---- The kernel ---- */

static const char *on_off(enum lam_toggle t)
{
	return t == LAM_ON ? "on" : "off";
}

int trial_kernel_mount(const struct setup *setup)
{
	char options[512];

	(void)snprintf(options, sizeof(options),
		       "lowerdir=l1:l2,upperdir=up,workdir=work,redirect_dir=on,index=%s,"
		       "nfs_export=%s,metacopy=%s",
		       on_off(setup->index), on_off(setup->nfs_export), on_off(setup->metacopy));
	return mount("overlay", "mnt", "overlay", 0, options) < 0 ? -errno : 0;
}

void trial_kernel_unmount(void)
{
	must(umount("mnt"), "umount", "mnt");
}

/* The first name in PLACE, where LEFT has room for it. */
static const char *name_in(const char *place, char left[600])
{
	DIR *dir = opendir(place);
	const struct dirent *de;

	left[0] = '\0';
	while (dir && (de = readdir(dir)))
		if (strcmp(de->d_name, ".") && strcmp(de->d_name, "..") &&
		    strcmp(de->d_name, "incompat"))
			(void)snprintf(left, 600, "%s/%s is left", place, de->d_name);
	if (dir)
		closedir(dir);
	return left[0] ? left : NULL;
}

#define ORPHANS "work/lamina/orphans"

const char *trial_orphans(void)
{
	static char left[600];

	return name_in(ORPHANS, left);
}

const char *trial_litter(void)
{
	static const char *const places[] = { "work/work", ORPHANS, "work/lamina/stray" };
	static char left[600];
	const char *found = NULL;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !found; i++)
		found = name_in(places[i], left);
	return found;
}
