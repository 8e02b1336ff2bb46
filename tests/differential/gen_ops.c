/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random steps. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "gen.h"

struct making {
	struct rng *r;
	struct script *s;
	struct names *names;
	unsigned actor;
	bool open[ACTORS][SLOTS], dir[ACTORS][SLOTS];
};

/* How often each step comes; what is not here comes as part of others. */
static const struct {
	uint8_t code, weight;
} weights[] = {
	{ OP_OPEN, 110 },     { OP_CLOSE, 15 },	      { OP_READ, 20 },	    { OP_PREAD, 20 },
	{ OP_WRITE, 40 },     { OP_PWRITE, 35 },      { OP_READV, 5 },	    { OP_WRITEV, 6 },
	{ OP_LSEEK, 20 },     { OP_TRUNCATE, 14 },    { OP_FTRUNCATE, 14 }, { OP_FALLOCATE, 12 },
	{ OP_COPY_RANGE, 8 }, { OP_SENDFILE, 4 },     { OP_SPLICE, 4 },	    { OP_FSYNC, 4 },
	{ OP_FDATASYNC, 3 },  { OP_SYNCFS, 1 },	      { OP_FADVISE, 2 },    { OP_MMAP, 10 },
	{ OP_MREAD, 14 },     { OP_MWRITE, 12 },      { OP_MSYNC, 5 },	    { OP_MUNMAP, 2 },
	{ OP_LINK, 30 },      { OP_LINKFD, 8 },	      { OP_SYMLINK, 12 },   { OP_READLINK, 8 },
	{ OP_MKNOD, 14 },     { OP_MKDIR, 35 },	      { OP_UNLINK, 55 },    { OP_RMDIR, 30 },
	{ OP_RENAME, 80 },    { OP_CHMOD, 25 },	      { OP_FCHMOD, 8 },	    { OP_CHOWN, 20 },
	{ OP_FCHOWN, 6 },     { OP_UTIMENS, 15 },     { OP_FUTIMENS, 6 },   { OP_SETXATTR, 30 },
	{ OP_FSETXATTR, 8 },  { OP_GETXATTR, 15 },    { OP_FGETXATTR, 5 },  { OP_LISTXATTR, 12 },
	{ OP_FLISTXATTR, 4 }, { OP_REMOVEXATTR, 15 }, { OP_STAT, 25 },	    { OP_FREMOVEXATTR, 4 },
	{ OP_FSTAT, 10 },     { OP_STATFS, 2 },	      { OP_ACCESS, 12 },    { OP_LIST, 25 },
	{ OP_READDIR, 8 },    { OP_FLOCK, 8 },	      { OP_LOCK, 10 },	    { OP_GETLK, 5 },
	{ OP_GETFLAGS, 6 },   { OP_SETFLAGS, 8 },     { OP_GETFSX, 4 },	    { OP_SETFSX, 3 },
	{ OP_HANDLE, 10 },    { OP_OPENHANDLE, 10 },  { OP_CHDIR, 8 },	    { OP_UMASK, 3 },
};

static uint8_t any_code(struct rng *r)
{
	static unsigned sum;
	uint64_t v;

	if (!sum)
		for (size_t i = 0; i < sizeof(weights) / sizeof(weights[0]); i++)
			sum += weights[i].weight;
	v = rng_below(r, sum);
	for (size_t i = 0;; i++) {
		if (v < weights[i].weight)
			return weights[i].code;
		v -= weights[i].weight;
	}
}

/* ---- Arguments ---- */

static int any_slot(struct making *m)
{
	for (int i = 0; i < 6; i++) {
		int slot = (int)rng_below(m->r, SLOTS);

		if (m->open[m->actor][slot])
			return slot;
	}
	return (int)rng_below(m->r, SLOTS);
}

/* A path for something that is there, or a new name; relative to one of three kinds of places. */
static void any_path(struct making *m, bool fresh, bool dir, int *at, struct str *path)
{
	struct rng *r = m->r;
	unsigned v = (unsigned)rng_below(r, 100);
	struct str none = { NULL, 0 };

	*at = AT_ROOT;
	if (v < 8) {
		*at = AT_CWD;
	} else if (v < 14) {
		for (int i = 0; i < SLOTS; i++)
			if (m->open[m->actor][i] && m->dir[m->actor][i])
				*at = i;
	}
	if (*at != AT_ROOT) {
		*path = gen_join(m->s, none, rng_chance(r, 5) ? "." : gen_name(r, dir));
		return;
	}
	if (m->names->n && rng_chance(r, fresh ? 25 : 88)) {
		for (int i = 0; i < 4; i++) {
			const struct known *k = &m->names->v[rng_below(r, m->names->n)];

			*path = k->path;
			if (k->dir == dir)
				return;
		}
		return;
	}
	*path = gen_join(m->s, gen_dir(r, m->names), gen_name(r, dir));
}

static uint64_t any_offset(struct rng *r)
{
	unsigned v = (unsigned)rng_below(r, 100);

	if (v < 30)
		return 0;
	if (v < 75)
		return rng_below(r, 6000);
	if (v < 85)
		return 4096 * rng_below(r, 40);
	return rng_below(r, 200000);
}

static uint64_t any_length(struct rng *r)
{
	unsigned v = (unsigned)rng_below(r, 100);

	if (v < 5)
		return 0;
	if (v < 80)
		return 1 + rng_below(r, 5000);
	if (v < 90)
		return 4096 * (1 + rng_below(r, 8));
	return rng_below(r, 100000);
}

static uint64_t any_mode(struct rng *r)
{
	static const uint32_t modes[] = { 0644, 0755, 0600, 0700, 0777, 04755, 02755, 01777,
					  0444, 0,    0640, 0222, 0666, 06711, 0555,  02644 };

	return modes[rng_below(r, 16)];
}

static uint64_t any_id(struct rng *r)
{
	static const int64_t ids[] = { 0, 1000, 1000, 2000, 3000, -1, 70000 };

	return (uint64_t)ids[rng_below(r, 7)];
}

static uint64_t any_time(struct rng *r)
{
	unsigned v = (unsigned)rng_below(r, 100);

	if (v < 25)
		return (uint64_t)-1;
	if (v < 45)
		return (uint64_t)-2;
	if (v < 50)
		return 0;
	return rng_below(r, 1400000000);
}

static uint64_t open_flags(struct rng *r)
{
	static const int modes[] = { O_RDONLY, O_RDONLY, O_WRONLY, O_RDWR, O_RDWR };
	int f = modes[rng_below(r, 5)];

	if (rng_chance(r, 35))
		f |= O_CREAT;
	if (rng_chance(r, 10))
		f |= O_EXCL | O_CREAT;
	if (rng_chance(r, 15))
		f |= O_TRUNC;
	if (rng_chance(r, 15))
		f |= O_APPEND;
	if (rng_chance(r, 12))
		f = O_RDONLY | O_DIRECTORY;
	if (rng_chance(r, 6))
		f |= O_NOFOLLOW;
	if (rng_chance(r, 5))
		f = O_PATH | (f & (O_NOFOLLOW | O_DIRECTORY));
	if (rng_chance(r, 3))
		f |= rng_chance(r, 50) ? O_SYNC : O_DSYNC;
	if (rng_chance(r, 2))
		f |= O_NOATIME;
	if (rng_chance(r, 6))
		f = (rng_chance(r, 80) ? O_RDWR : O_WRONLY) | O_TMPFILE |
		    (rng_chance(r, 10) ? O_EXCL : 0);
	return (uint64_t)f;
}

/* ---- Steps by kind ---- */

static void gen_open(struct making *m, struct op *op)
{
	op->a = open_flags(m->r);
	op->b = any_mode(m->r);
	op->fd = (int)rng_below(m->r, SLOTS);
	any_path(m, op->a & O_CREAT, op->a & O_DIRECTORY, &op->at, &op->path);
	m->open[m->actor][op->fd] = true;
	m->dir[m->actor][op->fd] = (op->a & O_DIRECTORY) && (op->a & O_TMPFILE) != O_TMPFILE;
	if (op->a & O_CREAT && op->at == AT_ROOT)
		names_add(m->names, op->path, false);
}

static void gen_data(struct making *m, struct op *op)
{
	static const int modes[] = { 0, 0, 1, 3, 3, 16, 17, 2, 8, 32, 64 };
	struct rng *r = m->r;

	op->a = any_length(r);
	op->b = any_offset(r);
	op->c = 1 + rng_below(r, 1000);
	switch (op->code) {
	case OP_LSEEK:
		op->a = any_offset(r);
		op->b = rng_below(r, 5);
		break;
	case OP_FTRUNCATE:
		op->a = any_offset(r);
		break;
	case OP_FALLOCATE:
		op->a = (uint64_t)modes[rng_below(r, 11)];
		op->c = any_length(r);
		break;
	case OP_COPY_RANGE:
	case OP_SPLICE:
		op->a = any_offset(r);
		op->c = any_length(r);
		op->fd2 = any_slot(m);
		break;
	case OP_SENDFILE:
		op->a = any_offset(r);
		op->b = any_length(r);
		op->fd2 = any_slot(m);
		break;
	case OP_FADVISE:
		op->a = any_offset(r);
		op->c = rng_below(r, 6);
		break;
	default:
		break;
	}
}

static void gen_map(struct making *m, struct op *op)
{
	static const int prots[] = { PROT_READ, PROT_READ | PROT_WRITE };
	static const int flags[] = { MS_ASYNC, MS_SYNC, MS_SYNC | MS_INVALIDATE };
	struct rng *r = m->r;

	op->fd2 = (int)rng_below(r, MAPS);
	if (op->code == OP_MMAP) {
		op->a = 1 + rng_below(r, 40000);
		op->b = (uint64_t)prots[rng_below(r, 2)];
		op->c = rng_chance(r, 75) ? MAP_SHARED : MAP_PRIVATE;
	} else if (op->code == OP_MSYNC) {
		op->a = (uint64_t)flags[rng_below(r, 3)];
	} else {
		op->a = any_offset(r);
		op->b = 1 + rng_below(r, 3000);
		op->c = 1 + rng_below(r, 1000);
	}
}

static void gen_lock(struct making *m, struct op *op)
{
	static const int locks[] = { LOCK_SH, LOCK_EX, LOCK_UN };
	static const int types[] = { F_RDLCK, F_WRLCK, F_UNLCK };
	struct rng *r = m->r;

	if (op->code == OP_FLOCK) {
		op->a = (uint64_t)locks[rng_below(r, 3)];
		return;
	}
	op->a = (uint64_t)types[rng_below(r, op->code == OP_GETLK ? 2 : 3)];
	op->b = rng_below(r, 100);
	op->c = rng_below(r, 100);
	op->d = rng_chance(r, 40);
}

static void gen_names(struct making *m, struct op *op)
{
	static const uint64_t renames[] = { 0, 0, 0, 0, 0, 1, 2, 4, 3 };
	static const uint32_t types[] = { S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK };
	static const char *const targets[] = { "a", "b", "h/../b", "d/e", "nowhere", ".", "c" };
	struct rng *r = m->r;
	bool dir = op->code == OP_MKDIR || op->code == OP_RMDIR || rng_chance(r, 30);

	any_path(m, op->code == OP_MKDIR || op->code == OP_MKNOD || op->code == OP_SYMLINK, dir,
		 &op->at, &op->path);
	any_path(m, true, dir, &op->at2, &op->path2);
	op->b = any_mode(r);
	if (op->code == OP_RENAME)
		op->a = renames[rng_below(r, 9)];
	if (op->code == OP_LINK)
		op->a = rng_chance(r, 20) ? AT_SYMLINK_FOLLOW : 0;
	if (op->code == OP_SYMLINK) {
		const char *t = targets[rng_below(r, 7)];

		op->text = script_str(m->s, t, strlen(t));
	}
	if (op->code == OP_MKNOD) {
		op->b |= types[rng_below(r, 5)];
		op->a = rng_chance(r, 10) ? 0 : S_ISBLK(op->b) ? makedev(240, 99) : makedev(1, 3);
	}
	if (op->code == OP_UNLINK || op->code == OP_RMDIR || op->code == OP_READLINK)
		return;
	if (op->at == AT_ROOT && op->code != OP_RENAME && op->code != OP_LINK)
		names_add(m->names, op->path, dir);
	else if (op->at2 == AT_ROOT && op->code == OP_RENAME)
		names_add(m->names, op->path2, dir);
	else if (op->at2 == AT_ROOT)
		names_add(m->names, op->path2, false);
}

static void gen_attr(struct making *m, struct op *op)
{
	static const uint64_t flags[] = { 0, 0x40, 0x80, 0x8, 0x20, 0x10, 0xc0 };
	struct rng *r = m->r;

	do
		any_path(m, false, rng_chance(r, 35), &op->at, &op->path);
	while ((op->code == OP_HANDLE && op->at != AT_ROOT) ||
	       /* the kernel forgets the flags of the root with the mount */
	       (op->code == OP_SETFLAGS && !strcmp(op->path.p, ".")));
	op->a = rng_chance(r, 50) ? AT_SYMLINK_NOFOLLOW : 0;
	op->b = any_mode(r);
	switch (op->code) {
	case OP_TRUNCATE:
		op->a = any_offset(r);
		break;
	case OP_CHOWN:
	case OP_FCHOWN:
		op->b = any_id(r);
		op->c = any_id(r);
		break;
	case OP_UTIMENS:
	case OP_FUTIMENS:
		op->b = any_time(r);
		op->c = any_time(r);
		break;
	case OP_ACCESS:
		op->b = rng_below(r, 8);
		op->a |= rng_chance(r, 30) ? AT_EACCESS : 0;
		break;
	case OP_SETFLAGS:
		op->a = flags[rng_below(r, 7)];
		break;
	case OP_SETFSX:
		op->a = rng_below(r, 3) * 7;
		break;
	case OP_UMASK:
		op->a = rng_chance(r, 50) ? 022 : rng_below(r, 0100) | (rng_below(r, 8) << 3);
		break;
	case OP_HANDLE:
	case OP_OPENHANDLE:
		op->a = rng_below(r, HANDLES);
		op->b = open_flags(r) & (uint64_t)(O_ACCMODE | O_PATH);
		break;
	case OP_LIST:
		op->a = rng_below(r, 6);
		break;
	default:
		break;
	}
}

static void gen_xattrs(struct making *m, struct op *op)
{
	struct rng *r = m->r;

	any_path(m, false, rng_chance(r, 35), &op->at, &op->path);
	gen_xattr(r, m->s, &op->path2, &op->text);
	if (op->code == OP_GETXATTR || op->code == OP_FGETXATTR)
		op->a = rng_chance(r, 70) ? 4096 : rng_below(r, 10);
	else if (op->code == OP_SETXATTR || op->code == OP_FSETXATTR)
		op->a = rng_chance(r, 80) ? 0 : 1 + rng_below(r, 2);
}

static void gen_arguments(struct making *m, struct op *op)
{
	op->fd = any_slot(m);
	if (op->code == OP_OPEN)
		gen_open(m, op);
	else if (op->code == OP_CLOSE)
		m->open[m->actor][op->fd] = false;
	else if (op->code <= OP_FADVISE && op->code != OP_TRUNCATE)
		gen_data(m, op);
	else if (op->code >= OP_MMAP && op->code <= OP_MUNMAP)
		gen_map(m, op);
	else if (op->code >= OP_LINK && op->code <= OP_RENAME)
		gen_names(m, op);
	else if (op->code >= OP_FLOCK && op->code <= OP_GETLK)
		gen_lock(m, op);
	else if (op->code >= OP_SETXATTR && op->code <= OP_FREMOVEXATTR)
		gen_xattrs(m, op);
	else
		gen_attr(m, op);
	if (op->code == OP_OPENHANDLE) {
		op->fd = (int)rng_below(m->r, SLOTS);
		m->open[m->actor][op->fd] = true;
	}
}

/* ---- All steps ---- */

static void add(struct making *m, struct op *op)
{
	struct str empty = script_str(m->s, "", 0);

	if (!op->path.p)
		op->path = empty;
	if (!op->path2.p)
		op->path2 = empty;
	if (!op->text.p)
		op->text = empty;
	script_add(&m->s->ops, op);
}

void gen_ops(struct rng *r, struct script *s, struct names *names, size_t n)
{
	struct making m = { .r = r, .s = s, .names = names };

	for (size_t i = 0; i < n; i++) {
		struct op op = { .at = AT_ROOT, .at2 = AT_ROOT };
		unsigned v = (unsigned)rng_below(r, 10000);

		if (rng_chance(r, 12))
			m.actor = rng_chance(r, 45) ? 0 : (unsigned)rng_below(r, ACTORS);
		op.actor = (uint8_t)m.actor;
		if (v < 30) {
			op.code = OP_CHECK;
		} else if (v < 50) {
			op.code = OP_REMOUNT;
			op.a = rng_chance(r, 75);
			memset(m.open, 0, sizeof(m.open));
		} else if (v < 51) {
			op.code = OP_DROP;
			op.a = i % 16 == 0;
		} else {
			do
				op.code = any_code(r);
			while (!s->cfg.nfs_export &&
			       (op.code == OP_HANDLE || op.code == OP_OPENHANDLE));
			gen_arguments(&m, &op);
		}
		add(&m, &op);
	}
}

struct script *generate(uint64_t seed, size_t n, const char *fs)
{
	struct rng r = { seed * 0x2545F4914F6CDD1Dull + 12345 };
	struct script *s = script_new();
	struct names *names = calloc(1, sizeof(*names));

	if (!names)
		abort();
	s->cfg.seed = seed;
	if (fs)
		(void)snprintf(s->cfg.fs, sizeof(s->cfg.fs), "%s", fs);
	gen_config(&r, &s->cfg);
	gen_layers(&r, s, names);
	gen_ops(&r, s, names, n);
	free(names);
	return s;
}
