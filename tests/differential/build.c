/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Layers on disk: made from a script's items, removed again. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "differential.h"

enum { T0 = 1500000000, HOLE = 65536 };

/* What cannot be made (its parent is no directory) is left out; equally on both sides. */
static void may_fail(int r)
{
	(void)r;
}

static void make_parents(int dir, const char *path)
{
	CLEANUP_FREE char *copy = strdup(path);

	for (char *p = copy; p && (p = strchr(p, '/')); p++) {
		*p = 0;
		(void)mkdirat(dir, copy, 0755); /* it may be there */
		*p = '/';
	}
}

static void make_file(int dir, const struct op *op)
{
	CLEANUP_CLOSE int fd = openat(dir, op->path.p, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
				      0644);
	size_t size = (size_t)op->b;

	if (fd < 0)
		return;
	if (op->c && size) {
		op_fill(op_buffer(), size, op->c);
		if (write(fd, op_buffer(), size) < 0)
			perror("differential: writing a layer");
	}
	if (ftruncate(fd, (off_t)size) < 0)
		perror("differential: size of a file in a layer");
	if (op->d && op->d < size)
		(void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)op->d, HOLE);
}

static void make_item(int dir, const struct op *op)
{
	make_parents(dir, op->path.p);
	switch (op->code) {
	case LY_DIR:
		(void)mkdirat(dir, op->path.p, 0755);
		break;
	case LY_FILE:
		make_file(dir, op);
		break;
	case LY_SYMLINK:
		may_fail(symlinkat(op->text.p, dir, op->path.p));
		break;
	case LY_NODE:
		(void)mknodat(dir, op->path.p, (mode_t)op->b, (dev_t)op->c);
		break;
	case LY_LINK:
		may_fail(linkat(dir, op->path2.p, dir, op->path.p, 0));
		break;
	default:
		break;
	}
}

/* The stored form of an object's handle, as overlayfs's `origin` has it. */
static size_t stored_handle(int dir, const char *path, unsigned char *out)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + 128];
	} b;
	unsigned char uuid[17] = { 16 };
	int mount;

	b.h.handle_bytes = 128;
	if (name_to_handle_at(dir, path, &b.h, &mount, 0) < 0)
		return 0;
	if (ioctl(dir, _IOR(0x15, 0, unsigned char[17]), uuid) < 0)
		return 0;
	out[0] = 0;
	out[1] = 0xfb;
	out[2] = (unsigned char)(21 + b.h.handle_bytes);
	out[3] = 0;
	out[4] = (unsigned char)b.h.handle_type;
	memcpy(out + 5, uuid + 1, 16);
	memcpy(out + 21, b.h.f_handle, b.h.handle_bytes);
	return 21 + b.h.handle_bytes;
}

static void set_origin(const struct run *run, const struct side *s, int dir, const struct op *op)
{
	const struct config *cfg = &run->script->cfg;
	unsigned char value[160];
	char buf[128];
	CLEANUP_CLOSE int of = open(layer_dir(s, (unsigned)op->b, cfg, buf),
				    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t n = of < 0 ? 0 : stored_handle(of, op->path2.p, value);

	if (n && fchdir(dir) == 0)
		(void)lsetxattr(op->path.p,
				cfg->userxattr ? "user.overlay.origin" : "trusted.overlay.origin",
				value, n, 0);
}

static void set_flags(int dir, const struct op *op)
{
	CLEANUP_CLOSE int fd = openat(dir, op->path.p,
				      O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	unsigned flags = 0;

	if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return;
	flags |= (unsigned)op->b;
	(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static void finish_item(const struct run *run, const struct side *s, int dir, const struct op *op)
{
	struct stat st;

	if (fstatat(dir, op->path.p, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (op->code == LY_ATTR) {
		may_fail(
			fchownat(dir, op->path.p, (uid_t)op->c, (gid_t)op->d, AT_SYMLINK_NOFOLLOW));
		if (!S_ISLNK(st.st_mode))
			may_fail(fchmodat(dir, op->path.p, (mode_t)op->b, 0));
	}
	if (op->code == LY_XATTR && fchdir(dir) == 0)
		(void)lsetxattr(op->path.p, op->path2.p, op->text.p, op->text.len, 0);
	if (op->code == LY_ORIGIN)
		set_origin(run, s, dir, op);
}

static int set_old_time(const char *path, const struct stat *st, int type, struct FTW *f)
{
	/* by name and depth alone: the two sides' paths differ in front */
	uint64_t h = look_hash(path + f->base, strlen(path + f->base)) + (uint64_t)f->level * 7;
	const struct timespec t = { .tv_sec = T0 + (time_t)(f->level ? h % 100000 : 0),
				    .tv_nsec = 5000 };
	const struct timespec ts[2] = { t, t };

	(void)st;
	(void)type;
	(void)utimensat(AT_FDCWD, path, ts, AT_SYMLINK_NOFOLLOW);
	return 0;
}

static int each_item(struct run *run, struct side *s, int pass)
{
	const struct script *sc = run->script;
	char buf[128];

	for (size_t i = 0; i < sc->layers.n; i++) {
		const struct op *op = &sc->layers.v[i];
		CLEANUP_CLOSE int dir = open(layer_dir(s, (unsigned)op->a, &sc->cfg, buf),
					     O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (dir < 0)
			return -errno;
		if (pass == 0 && op->code <= LY_LINK)
			make_item(dir, op);
		else if (pass == 1 && op->code == LY_ATTR)
			finish_item(run, s, dir, op);
		else if (pass == 2 && (op->code == LY_XATTR || op->code == LY_ORIGIN))
			finish_item(run, s, dir, op);
		else if (pass == 3 && op->code == LY_TIME) {
			const struct timespec t = { .tv_sec = (time_t)op->b, .tv_nsec = 77 };
			const struct timespec ts[2] = { t, t };

			(void)utimensat(dir, op->path.p, ts, AT_SYMLINK_NOFOLLOW);
		} else if (pass == 4 && op->code == LY_FLAGS)
			set_flags(dir, op);
	}
	return 0;
}

/* All layers of one side, empty ones and the work directory too. */
int layers_build(struct run *run, struct side *s)
{
	const struct config *cfg = &run->script->cfg;
	char buf[128];
	int e = 0;

	for (unsigned l = 0; l <= cfg->lowers + cfg->datas + 1; l++) {
		const char *dir = layer_dir(s, l, cfg, buf);
		char *slash = strrchr(dir, '/');

		*slash = 0;
		(void)mkdir(dir, 0755);
		*slash = '/';
		if (mkdir(dir, 0755) < 0)
			return -errno;
	}
	for (int pass = 0; pass < 5 && e == 0; pass++) {
		if (pass == 3)
			for (unsigned l = 0; l <= cfg->lowers + cfg->datas; l++)
				if (nftw(layer_dir(s, l, cfg, buf), set_old_time, 32, FTW_PHYS) < 0)
					return -errno;
		e = each_item(run, s, pass);
	}
	if (chdir("/") < 0)
		return -errno;
	return e;
}

static void clear_flags(const char *path)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	unsigned flags = 0;

	if (fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
		flags &= ~(unsigned)(FS_IMMUTABLE_FL | FS_APPEND_FL);
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	if (remove(path) < 0 && errno == EPERM) {
		CLEANUP_FREE char *parent = strdup(path);

		if (!parent)
			return 0;
		*strrchr(parent, '/') = 0;
		clear_flags(parent);
		clear_flags(path); /* a device node can have them, too */
		(void)remove(path);
	}
	return 0;
}

/* Immutable files too; what stays is met by the next run's mkdir. */
void tree_remove(const char *path)
{
	for (int i = 0; i < 4 && access(path, F_OK) == 0; i++)
		(void)nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS);
	if (access(path, F_OK) == 0)
		fprintf(stderr, "differential: %s cannot be removed\n", path);
}
