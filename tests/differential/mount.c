/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images of filesystems, and mounting one side's layers by the kernel or by Lamina. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "differential.h"

enum { FUSE_MAGIC = 0x65735546, IMAGE_MIB = 1024 };
extern char **environ;

static int command(const char *const *argv)
{
	char *args[16];
	pid_t pid;
	int status, i = 0;

	for (; argv[i]; i++)
		args[i] = (char *)(uintptr_t)argv[i];
	args[i] = NULL;
	if (posix_spawnp(&pid, args[0], NULL, NULL, args, environ) != 0)
		return -ENOENT;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status ? -EIO : 0;
}

static int image_mount(const char *dir, const char *fs)
{
	char image[80], target[80];
	const char *const mkfs_ext4[] = { "mkfs.ext4", "-q", "-F", "-m", "0", image, NULL };
	const char *const mkfs_xfs[] = { "mkfs.xfs", "-q", "-f", image, NULL };
	const char *const mount_it[] = { "mount", "-o", "loop,noatime", image, target, NULL };
	int e;

	(void)snprintf(image, sizeof(image), "%s/%s.img", dir, fs);
	(void)snprintf(target, sizeof(target), "%s/%s", dir, fs);
	CLEANUP_CLOSE int fd = open(image, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)IMAGE_MIB << 20) < 0 || mkdir(target, 0755) < 0)
		return -errno;
	e = command(fs[0] == 'e' ? mkfs_ext4 : mkfs_xfs);
	return e < 0 ? e : command(mount_it);
}

/* A directory of a worker with both images in it; in memory if the directory is. */
int place_make(const struct place *p)
{
	char path[80];
	int e;

	if (mkdir(p->dir, 0755) < 0)
		return -errno;
	for (unsigned i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "%s/m%u", p->dir, i);
		(void)mkdir(path, 0755);
		(void)snprintf(path, sizeof(path), "%s/m%u/m", p->dir, i);
		(void)mkdir(path, 0755);
	}
	e = image_mount(p->dir, "ext4");
	return e < 0 ? e : image_mount(p->dir, "xfs");
}

const char *fs_of_layer(const struct config *cfg, unsigned layer)
{
	if (strcmp(cfg->fs, "mixed") != 0)
		return cfg->fs;
	return layer == 0 || layer > cfg->lowers + cfg->datas ? "ext4" : "xfs";
}

/* Layer 0 is upper; the number after the last one is the work directory. */
const char *layer_dir(const struct side *s, unsigned layer, const struct config *cfg, char *buf)
{
	const char *fs = fs_of_layer(cfg, layer);

	if (layer == 0)
		(void)snprintf(buf, 128, "%s/%s/%u/u", s->base, fs, s->number);
	else if (layer > cfg->lowers + cfg->datas)
		(void)snprintf(buf, 128, "%s/%s/%u/w", s->base, fs, s->number);
	else
		(void)snprintf(buf, 128, "%s/%s/%u/l%u", s->base, fs, s->number, layer);
	return buf;
}

static void all_options(const struct config *cfg, const struct side *s, char *buf, size_t size)
{
	char dir[128], rest[200];
	size_t n = (size_t)snprintf(buf, size, "lowerdir=");

	for (unsigned i = 1; i <= cfg->lowers + cfg->datas; i++)
		n += (size_t)snprintf(buf + n, size - n, "%s%s",
				      i == 1		? ""
				      : i > cfg->lowers ? "::"
							: ":",
				      layer_dir(s, i, cfg, dir));
	n += (size_t)snprintf(buf + n, size - n, ",upperdir=%s", layer_dir(s, 0, cfg, dir));
	n += (size_t)snprintf(buf + n, size - n, ",workdir=%s",
			      layer_dir(s, cfg->lowers + cfg->datas + 1, cfg, dir));
	(void)snprintf(buf + n, size - n, ",%s", config_options(cfg, rest, sizeof(rest)));
}

/* After "volatile" the layers are refused until the mark is removed, by both alike. */
static void clear_volatile(const struct config *cfg, const struct side *s)
{
	char dir[128], path[200];

	(void)snprintf(path, sizeof(path), "%s/work/incompat/volatile",
		       layer_dir(s, cfg->lowers + cfg->datas + 1, cfg, dir));
	if (access(path, F_OK) == 0)
		tree_remove(path);
}

static int wait_mounted(struct side *s, unsigned seconds)
{
	struct statfs f;

	for (unsigned i = 0; i < seconds * 2000; i++) {
		const struct timespec pause = { .tv_nsec = 500000 };
		int status;

		if (statfs(s->mnt, &f) == 0 && f.f_type == FUSE_MAGIC)
			return 0;
		if (waitpid(s->server, &status, WNOHANG) == s->server) {
			s->server = 0;
			return -EINVAL;
		}
		nanosleep(&pause, NULL);
	}
	return -ETIMEDOUT;
}

static int mount_lamina(struct run *run, struct side *s, const char *options)
{
	char opts[2600], log[80];
	char *argv[] = { (char *)(uintptr_t) "lamina-mount",
			 (char *)(uintptr_t) "-f",
			 (char *)(uintptr_t) "-o",
			 opts,
			 s->mnt,
			 NULL };

	(void)snprintf(opts, sizeof(opts), "%s,noatime", options);
	(void)snprintf(log, sizeof(log), "%s/log%u", s->base, s->number);
	s->server = fork();
	if (s->server < 0)
		return -errno;
	if (s->server == 0) {
		int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);

		if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 || chdir("/") < 0)
			_exit(127);
		execv(run->place->program, argv);
		_exit(127);
	}
	return wait_mounted(s, run->place->seconds);
}

/* 0, or how the mount was refused. */
int side_mount(struct run *run, struct side *s)
{
	const struct config *cfg = &run->script->cfg;
	char options[2400];
	int e = 0;

	clear_volatile(cfg, s);
	all_options(cfg, s, options, sizeof(options));
	if (!s->kernel)
		return mount_lamina(run, s, options);
	if (mount("overlay", s->mnt, "overlay", MS_NOATIME, options) < 0)
		e = -errno;
	return e;
}

static int wait_server(struct side *s, unsigned seconds)
{
	for (unsigned i = 0; i < seconds * 2000; i++) {
		const struct timespec pause = { .tv_nsec = 500000 };
		int status;

		if (waitpid(s->server, &status, WNOHANG) == s->server) {
			s->server = 0;
			return status == 0 ? 0 : -ECANCELED;
		}
		nanosleep(&pause, NULL);
	}
	return -ETIMEDOUT;
}

/* Unmount, and wait until the server has ended; -ECANCELED when it did so with an error. */
int side_unmount(struct run *run, struct side *s)
{
	for (int i = 0; umount2(s->mnt, 0) < 0; i++) {
		const struct timespec pause = { .tv_nsec = 1000000 };

		if (errno != EBUSY || i == 2000)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return s->server ? wait_server(s, run->place->seconds) : 0;
}

/* Get rid of a mount whose server hangs or has died. */
void side_abort(struct side *s)
{
	struct stat st;
	char path[80];

	if (s->server > 0) {
		/* the number of the connection is the minor of the mount's device */
		if (lstat(s->mnt, &st) == 0) {
			(void)snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort",
				       minor(st.st_dev));
			CLEANUP_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

			if (fd >= 0)
				(void)!write(fd, "1", 1);
		}
		(void)kill(s->server, SIGKILL);
		(void)waitpid(s->server, NULL, 0);
		s->server = 0;
	}
	(void)umount2(s->mnt, MNT_DETACH);
}
