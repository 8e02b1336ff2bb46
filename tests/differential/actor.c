/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An actor: a process with its own user, groups, capabilities, umask, current directory and
 * descriptors.  It does its steps on both sides and compares what they showed.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "differential.h"

/* ---- Whose turn it is ---- */

void turn_give(struct shared *sh, uint32_t to)
{
	__atomic_store_n(&sh->turn, to, __ATOMIC_SEQ_CST);
	(void)syscall(SYS_futex, &sh->turn, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* False when SECONDS passed without a step being done (0: wait for ever). */
bool turn_wait(struct shared *sh, uint32_t want, unsigned seconds)
{
	uint32_t now, progress = __atomic_load_n(&sh->progress, __ATOMIC_SEQ_CST);
	unsigned idle = 0;

	while ((now = __atomic_load_n(&sh->turn, __ATOMIC_SEQ_CST)) != want) {
		const struct timespec second = { .tv_sec = 1 };
		uint32_t p;

		(void)syscall(SYS_futex, &sh->turn, FUTEX_WAIT, now, seconds ? &second : NULL, NULL,
			      0);
		p = __atomic_load_n(&sh->progress, __ATOMIC_SEQ_CST);
		if (seconds && p == progress && errno == ETIMEDOUT && ++idle >= seconds)
			return false;
		if (p != progress)
			idle = 0;
		progress = p;
	}
	return true;
}

/* ---- Who the actors are ---- */

static void drop_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d) < 0)
		abort();
	for (int i = 0; i < 2; i++)
		d[i].effective = d[i].permitted = d[i].permitted & (uint32_t)(keep >> (32 * i));
	if (syscall(SYS_capset, &h, d) < 0)
		abort();
}

static void become(unsigned actor)
{
	static const gid_t more[] = { 1000, 3000 };
	const uint64_t one = 1;

	/* 0 stays the saved user, for set_right() */
	if (actor == 1 && (setgroups(2, more) < 0 || setresgid(1000, 1000, 1000) < 0 ||
			   setresuid(1000, 1000, 0) < 0))
		abort();
	if (actor == 2 && (setgroups(0, NULL) < 0 || setresgid(2000, 2000, 2000) < 0 ||
			   setresuid(2000, 2000, 0) < 0))
		abort();
	/* user 0 without most of what makes root */
	if (actor == 3)
		drop_capabilities(one << CAP_CHOWN | one << CAP_FOWNER | one << CAP_SETFCAP);
	(void)umask(actor == 2 ? 027 : 022);
	/* a change of user makes /proc/self root's: extended attributes are read through it */
	(void)prctl(PR_SET_DUMPABLE, 1);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* ---- Descriptors ---- */

static void close_slot(struct run *run, int slot)
{
	for (int i = 0; i < 2; i++) {
		int *fd = &run->side[i].fd[slot];

		if (*fd >= 0)
			(void)close(*fd);
		*fd = -1;
	}
	run->slot[slot] = (struct slot){ 0 };
}

static void unmap_slot(struct run *run, int slot)
{
	run->sh->maps[run->actor][slot] = 0;
	for (int i = 0; i < 2; i++)
		op_unmap(&run->side[i], slot);
}

static void let_go(struct run *run)
{
	for (int i = 0; i < SLOTS; i++)
		close_slot(run, i);
	for (int i = 0; i < MAPS; i++)
		unmap_slot(run, i);
	if (chdir("/") < 0)
		abort();
	for (int i = 0; i < 2; i++) {
		struct side *s = &run->side[i];

		if (s->root >= 0)
			(void)close(s->root);
		if (s->cwd >= 0)
			(void)close(s->cwd);
		s->root = s->cwd = -1;
		for (int h = 0; h < HANDLES; h++)
			s->handle[h].len = 0;
	}
}

static bool enter_mounts(struct run *run)
{
	for (int i = 0; i < 2; i++) {
		struct side *s = &run->side[i];

		s->kernel = run->sh->kernel[i];
		s->root = open(s->mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		s->cwd = open(s->mnt, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (s->cwd < 0) {
			run_fail(run, "root", "the root of %s: %s", s->mnt, strerror(errno));
			return false;
		}
	}
	return true;
}

/* ---- A step ---- */

static void observe_path(struct run *run, struct side *s, struct rec *r, const struct op *op,
			 bool second)
{
	const struct op_info *info = &op_table[op->code];
	const struct str *path = second ? &op->path2 : &op->path;
	enum where w = second ? W_TARGET2 : W_TARGET, p = second ? W_PARENT2 : W_PARENT;
	int dir = op_dir(s, second ? op->at2 : op->at);
	char parent[4200];
	const char *slash = path->len ? memrchr(path->p, '/', path->len) : NULL;
	size_t n = slash ? (size_t)(slash - path->p) : 0;

	(void)look_at(run, s, r, w, dir, path->p, AT_SYMLINK_NOFOLLOW);
	if (!(info->observe & 1u << p))
		return;
	memcpy(parent, path->p, n);
	parent[n] = 0;
	(void)look_at(run, s, r, p, dir, parent, n ? 0 : AT_EMPTY_PATH);
}

/* Steps that change what a symlink leads to show it here alone. */
static void observe_led(struct run *run, struct side *s, struct rec *r, const struct op *op)
{
	if (S_ISLNK(rec_value(r, W_TARGET, TAG_MODE, 0)))
		(void)look_at(run, s, r, W_LED, op_dir(s, op->at), op->path.p, 0);
}

static bool op_creates(const struct op *op)
{
	return (op->code == OP_OPEN && op->a & (O_CREAT | __O_TMPFILE)) || op->code == OP_MKDIR ||
	       op->code == OP_MKNOD || op->code == OP_SYMLINK;
}

static bool is_guarded(const struct side *kernel, const struct op *op)
{
	struct statx sx;

	return statx(op_fd(kernel, op->fd), "", AT_EMPTY_PATH, STATX_TYPE, &sx) == 0 &&
	       sx.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND);
}

/* An object made immutable: the kernel still lets it be written through descriptors from before. */
static bool guarded_at_once(struct run *run, const struct op *op)
{
	const struct side *kernel = &run->side[run->sh->kernel[0] ? 0 : 1];

	if (op->code < OP_WRITE || op->code > OP_SPLICE || op->code == OP_TRUNCATE ||
	    !is_guarded(kernel, op))
		return false;
	rule_fired(run, "immutable-at-once");
	return true;
}

/* The kernel lets an owner of (-1, -1) move the times of what is immutable. */
static bool touches_guarded(struct run *run, const struct op *op)
{
	if ((op->code != OP_CHOWN && op->code != OP_FCHOWN) || (uint32_t)op->b != UINT32_MAX ||
	    (uint32_t)op->c != UINT32_MAX)
		return false;
	rule_fired(run, "immutable-at-once");
	return true;
}

/* FUSE has no request for these: the kernel does not do them either, so that both stay equal. */
static bool fuse_cannot(struct run *run, const struct op *op, const struct rec *lamina)
{
	uint64_t mode = rec_value(lamina, W_TARGET, TAG_MODE, 0);

	if (!run->place->program)
		return false;
	if ((op->code == OP_SETFLAGS || op->code == OP_SETFSX) && !S_ISREG(mode) &&
	    !S_ISDIR(mode) && lamina->f[1].value == ENOTTY) {
		rule_fired(run, "flags-of-special-files");
		return true;
	}
	if (lamina->f[1].value == EPERM && (guarded_at_once(run, op) || touches_guarded(run, op)))
		return true;
	if (lamina->f[1].value != EOPNOTSUPP)
		return false;
	if (op->code != OP_FALLOCATE ||
	    !(op->a &
	      ~(uint64_t)(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
		return false;
	rule_fired(run, "collapse-and-insert");
	return true;
}

/* The kernel's overlayfs does not copy ranges between files of two filesystems. */
static bool kernel_cannot(struct run *run, const struct op *op, const struct rec *kernel)
{
	if (op->code != OP_COPY_RANGE || kernel->f[1].value != EXDEV)
		return false;
	rule_fired(run, "copy-between-layers");
	return true;
}

/* The answer of a step that the other side could not do either, with all that it gave before that. */
static long skip(struct rec *r, const struct rec *other)
{
	for (size_t i = 2; i < other->n && other->f[i].where == W_CALL; i++)
		rec_put(r, W_CALL, other->f[i].tag, other->f[i].value);
	return -(long)other->f[1].value;
}

/* OTHER is the record of Lamina's side when this is the kernel's, which mostly comes second. */
static void do_side(struct run *run, struct side *s, const struct op *op, struct rec *r,
		    const struct rec *other)
{
	const struct op_info *info = &op_table[op->code];
	long n;

	rec_clear(r);
	rec_put(r, W_CALL, TAG_RET, 0);
	rec_put(r, W_CALL, TAG_ERRNO, 0);
	errno = 0;
	if (other && (s->kernel ? fuse_cannot(run, op, other) : kernel_cannot(run, op, other)))
		n = skip(r, other);
	else
		n = info->call(run, s, op, r);
	r->f[0].value = (uint64_t)(n < 0 ? -1 : n);
	r->f[1].value = (uint64_t)(n < 0 ? -n : 0);
	if (info->observe & 1 << W_FD && op_fd(s, op->fd) >= 0) {
		off_t pos = lseek(op_fd(s, op->fd), 0, SEEK_CUR);

		(void)look_at(run, s, r, W_FD, op_fd(s, op->fd), "", AT_EMPTY_PATH);
		/* in a directory it is a cookie, and everybody's own */
		if (!S_ISDIR(rec_value(r, W_FD, TAG_MODE, 0)))
			rec_put(r, W_FD, TAG_POS, (uint64_t)pos);
	}
	if (info->observe & 1 << W_TARGET)
		observe_path(run, s, r, op, false);
	if (info->observe & 1 << W_TARGET2)
		observe_path(run, s, r, op, true);
	if (info->observe & 1 << W_TARGET)
		observe_led(run, s, r, op);
	/* a new object may have the number of one that is gone, whose times mean nothing */
	if (op_creates(op))
		for (size_t i = 0; i < r->n; i++)
			if (r->f[i].tag == TAG_MTIME_MOVED || r->f[i].tag == TAG_CTIME_MOVED)
				r->f[i].value = r->f[i].where == W_PARENT ? r->f[i].value : 2;
}

/* Objects that were opened for writing may have been copied up by the kernel for that alone. */
static void note_opened(struct run *run, const struct op *op, const struct side *kernel)
{
	struct shared *sh = run->sh;
	int fd = op_fd(kernel, op->fd);
	struct statx sx;

	if (!op_writes_open(op) || fd < 0 || sh->n_opened == OPENED_MAX ||
	    run->rec[kernel->number]->f[1].value)
		return;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO, &sx) == 0)
		sh->opened[sh->n_opened++] = sx.stx_ino;
}

static void note_slot(struct run *run, const struct op *op)
{
	struct slot *slot = &run->slot[op->fd % SLOTS];

	if (op->code == OP_OPEN || op->code == OP_OPENHANDLE) {
		if (run->rec[0]->f[1].value == 0)
			*slot = (struct slot){
				.flags = (int)(op->code == OP_OPEN ? op->a : op->b),
			};
	}
	if (op->code == OP_MMAP) {
		run->map_flags[op->fd2 % MAPS] = slot->flags;
		run->sh->maps[run->actor][op->fd2 % MAPS] =
			run->rec[0]->f[1].value
				? 0
				: rec_value(run->rec[run->sh->kernel[0] ? 0 : 1], W_FD, TAG_INO, 0);
	}
	if (op->code == OP_MUNMAP)
		run->sh->maps[run->actor][op->fd2 % MAPS] = 0;
	if (op->code == OP_MWRITE && run->sh->n_mapped < OPENED_MAX &&
	    run->sh->maps[run->actor][op->fd2 % MAPS])
		run->sh->mapped[run->sh->n_mapped++] = run->sh->maps[run->actor][op->fd2 % MAPS];
}

static const struct timespec right_times[2] = { { .tv_sec = 1000000 }, { .tv_sec = 2000000 } };

static void set_parent_times(int dir, const struct str *path)
{
	const char *slash = path->len ? memrchr(path->p, '/', path->len) : NULL;
	char parent[4200];

	(void)snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path->p) : 1,
		       slash ? path->p : ".");
	(void)utimensat(dir, parent, right_times, 0);
}

/* The kernel copies directories up to give a handle, and Lamina does not: give both a reason to. */
static void copy_up_above(const struct side *s, const struct op *op)
{
	char path[4200];
	struct stat st;

	for (size_t i = 1; i <= op->path.len; i++) {
		if (i < op->path.len && op->path.p[i] != '/')
			continue;
		(void)snprintf(path, sizeof(path), "%.*s", (int)i, op->path.p);
		if (fstatat(s->root, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) &&
		    fchmodat(s->root, path, st.st_mode & 07777, 0) < 0)
			return;
	}
}

/* The kernel has copied up for an attribute that it then refused: have Lamina do it, too. */
static void copy_up_refused(struct run *run, const struct op *op)
{
	unsigned kernel = run->sh->kernel[0] ? 0 : 1;
	const uid_t u = (uid_t)-1;
	const gid_t g = (gid_t)-1;

	uint64_t mode = rec_value(run->rec[kernel], op->code == OP_SETXATTR ? W_TARGET : W_FD,
				  TAG_MODE, S_IFREG);

	if (run->script->cfg.userxattr && run->script->cfg.index && !S_ISREG(mode) &&
	    !S_ISDIR(mode)) {
		run->sh->over = true; /* the kernel cannot copy all of them up */
		return;
	}

	for (unsigned i = 0; i < 2; i++) {
		const struct side *s = &run->side[i ? kernel : !kernel];
		int r = op->code == OP_FSETXATTR ? fchown(op_fd(s, op->fd), u, g)
						 : fchownat(op_dir(s, op->at), op->path.p, u, g,
							    AT_SYMLINK_NOFOLLOW);

		if (r == 0 && op->code == OP_FSETXATTR)
			(void)fchmod(op_fd(s, op->fd), 0755); /* it clears more on one side */
		else if (r == 0 && fchmodat(op_dir(s, op->at), op->path.p, 0755, 0) < 0)
			continue;
		if (r < 0) /* Lamina refuses it for what is immutable, the kernel would not */
			return;
	}
}

/* An owner of (-1, -1) that the kernel refused has dropped capabilities where FUSE took it for a write. */
static void drop_capability(const struct side *s, const struct op *op)
{
	static const char name[] = "security.capability";

	/* where there is none, there is nothing to do */
	if (op->code == OP_FCHOWN)
		(void)fremovexattr(op_fd(s, op->fd), name);
	else if (op_enter(s, op->at) == 0)
		(void)(op->a & AT_SYMLINK_NOFOLLOW ? lremovexattr(op->path.p, name)
						   : removexattr(op->path.p, name));
}

/*
 * What a rule let through must not be compared for ever: the slot is closed, the times of the object are
 * set on both sides, or, where nothing helps, the run ends here.
 */
static void set_right(struct run *run, const struct op *op)
{
	const struct timespec *ts = right_times;
	uid_t me = geteuid();
	bool refused = run->rec[0]->f[1].value &&
		       (op->code == OP_SETXATTR || op->code == OP_FSETXATTR);
	int slot = op->fd % SLOTS;

	if (me != 0 && seteuid(0) < 0)
		abort();
	for (int i = 0; i < 2; i++) {
		const struct side *s = &run->side[i];

		if (run->fd_mode)
			(void)fchmod(op_fd(s, slot), 0644);
		if (run->path_mode &&
		    fchmodat(op_dir(s, op->at), op->path.p, 0755, AT_SYMLINK_NOFOLLOW) < 0 &&
		    fchmodat(op_dir(s, op->at), op->path.p, 0755, 0) < 0)
			continue;
		if (run->fd_times)
			(void)futimens(op_fd(s, slot), ts);
		if (run->path_times)
			(void)utimensat(op_dir(s, op->at), op->path.p, ts,
					op->code == OP_TRUNCATE ? 0 : AT_SYMLINK_NOFOLLOW);
		if (run->parent_times[0])
			set_parent_times(op_dir(s, op->at), &op->path);
		if (run->parent_times[1])
			set_parent_times(op_dir(s, op->at2), &op->path2);
		if (op->code == OP_HANDLE)
			copy_up_above(s, op);
		if ((op->code == OP_CHOWN || op->code == OP_FCHOWN) &&
		    run->rec[0]->f[1].value != run->rec[1]->f[1].value)
			drop_capability(s, op);
	}
	if (refused)
		copy_up_refused(run, op);
	if (me != 0 && seteuid(me) < 0)
		abort();
	/* they moved once more, or one side has looked at another object than the other */
	if (refused || run->fd_times || run->path_times || run->parent_times[0] ||
	    run->parent_times[1] || run->rec[0]->f[0].value != run->rec[1]->f[0].value)
		memset(run->sh->seen, 0, sizeof(run->sh->seen));
	run->fd_times = run->path_times = run->fd_mode = run->path_mode = false;
	run->parent_times[0] = run->parent_times[1] = false;
	for (int i = 0; i < SLOTS; i++)
		if (run->slot[i].odd)
			close_slot(run, i);
}

/* The kernel has set all flags that a file below on xfs showed on a copy on ext4, which has lost its extents by
 * that: have Lamina's lose them, too. */
static void lose_extents(struct run *run, const struct op *op)
{
	const unsigned kernel = run->sh->kernel[0] ? 0 : 1;
	unsigned flags[2] = { 0, 0 };

	if (strcmp(run->script->cfg.fs, "mixed") != 0 || run->rec[0]->f[1].value)
		return;
	for (unsigned i = 0; i < 2; i++) {
		const struct side *s = &run->side[i ? kernel : !kernel];
		CLEANUP_CLOSE int fd = openat(op_dir(s, op->at), op->path.p,
					      O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

		if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags[i]) < 0)
			return;
	}
	if (flags[1] & FS_EXTENT_FL || !(flags[0] & FS_EXTENT_FL))
		return;
	rule_fired(run, "extents-kept");

	const struct side *lamina = &run->side[!kernel];
	CLEANUP_CLOSE int fd = openat(op_dir(lamina, op->at), op->path.p,
				      O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

	flags[0] &= ~(unsigned)FS_EXTENT_FL;
	if (fd < 0 || ioctl(fd, FS_IOC_SETFLAGS, &flags[0]) < 0)
		run->sh->over = true;
	memset(run->sh->seen, 0, sizeof(run->sh->seen));
}

/* A link of something below that cannot carry user.* attributes is an object of its own in the kernel. */
static bool splits_links(const struct run *run, const struct op *op, const struct rec *kernel,
			 const struct rec *lamina)
{
	enum where w = op->code == OP_LINK ? W_TARGET : W_FD;

	return run->script->cfg.userxattr && (op->code == OP_LINK || op->code == OP_LINKFD) &&
	       kernel->f[1].value == 0 &&
	       rec_value(kernel, w, TAG_INO, 0) != rec_value(kernel, W_TARGET2, TAG_INO, 0) &&
	       rec_value(lamina, w, TAG_INO, 0) == rec_value(lamina, W_TARGET2, TAG_INO, 0);
}

/* When the inode of a directory was made that a step may change without its name; else 0. */
static int64_t birth_of_dir(const struct side *s, const struct op *op)
{
	static const uint8_t by_fd[] = { OP_FCHMOD, OP_FCHOWN, OP_FUTIMENS, OP_FSETXATTR,
					 OP_FREMOVEXATTR };
	static const uint8_t by_path[] = { OP_CHMOD, OP_CHOWN, OP_UTIMENS, OP_SETXATTR,
					   OP_REMOVEXATTR };
	bool here = memchr(by_path, op->code, sizeof(by_path)) && !strcmp(op->path.p, ".");
	struct statx sx;

	if ((!here && !memchr(by_fd, op->code, sizeof(by_fd))) ||
	    statx(here ? op_dir(s, op->at) : op_fd(s, op->fd), here ? "." : "", AT_EMPTY_PATH,
		  STATX_TYPE | STATX_BTIME, &sx) < 0 ||
	    !S_ISDIR(sx.stx_mode))
		return 0;
	return sx.stx_btime.tv_sec * 1000000000 + sx.stx_btime.tv_nsec;
}

/* The kernel has copied a removed directory up, in the place of what had got its name. */
static void came_back(struct run *run, const struct op *op, int64_t birth)
{
	unsigned kernel = run->sh->kernel[0] ? 0 : 1;
	const struct rec *lamina = run->rec[!kernel];

	if (!run->place->program || !birth || birth_of_dir(&run->side[kernel], op) == birth ||
	    rec_value(lamina, W_FD, TAG_NLINK, rec_value(lamina, W_TARGET, TAG_NLINK, 1)))
		return;
	rule_fired(run, "unlinked-lower-file");
	run->sh->over = true;
}

static bool do_step(struct run *run, const struct op *op)
{
	struct shared *sh = run->sh;
	unsigned kernel = sh->kernel[0] ? 0 : 1;
	int64_t birth = birth_of_dir(&run->side[kernel], op);

	if (run->guarded != sh->guarded) {
		for (int i = 0; i < MAPS; i++)
			unmap_slot(run, i);
		run->guarded = sh->guarded;
	}
	/* the one that can do less comes first, so that the other can leave it, too */
	if (op->code == OP_COPY_RANGE && run->place->program &&
	    !is_guarded(&run->side[kernel], op)) {
		do_side(run, &run->side[kernel], op, run->rec[kernel], NULL);
		do_side(run, &run->side[!kernel], op, run->rec[!kernel], run->rec[kernel]);
	} else {
		do_side(run, &run->side[!kernel], op, run->rec[!kernel], NULL);
		do_side(run, &run->side[kernel], op, run->rec[kernel], run->rec[!kernel]);
	}
	note_opened(run, op, &run->side[kernel]);
	note_slot(run, op);
	if (!compare_records(run, op, NULL))
		return false;
	for (int i = 0; i < SLOTS; i++)
		if ((run->side[0].fd[i] < 0) != (run->side[1].fd[i] < 0))
			close_slot(run, i);
	for (int i = 0; i < MAPS; i++)
		if (!run->side[0].map[i] != !run->side[1].map[i])
			unmap_slot(run, i);
	if ((op->code == OP_OPEN || op->code == OP_OPENHANDLE) &&
	    run->rec[0]->f[0].value != run->rec[1]->f[0].value)
		close_slot(run, op->fd % SLOTS);
	if (op->code == OP_RENAME && run->rec[0]->f[1].value)
		note_refused_rename(sh, op);
	else if (op->code == OP_RENAME)
		note_moved(sh, op);
	/* through a symlink nobody has looked at what was truncated */
	if (op->code == OP_TRUNCATE && !run->rec[0]->f[1].value &&
	    S_ISLNK(rec_value(run->rec[0], W_TARGET, TAG_MODE, 0)))
		run->path_times = true;
	if (run->place->program && splits_links(run, op, run->rec[kernel], run->rec[!kernel])) {
		rule_fired(run, "userxattr-index");
		sh->over = true;
	}
	if (op->code == OP_SETFLAGS && run->rec[kernel]->f[1].value == EOPNOTSUPP &&
	    run->place->program) {
		/* the kernel has done a part of it by then */
		rule_fired(run, "flags-refused-in-part");
		sh->over = true;
	}
	/* what a mapping would write to it from now on is refused by one alone */
	if (op->code == OP_SETFLAGS && !run->rec[0]->f[1].value && op->a & 0x30)
		__atomic_add_fetch(&sh->guarded, 1, __ATOMIC_SEQ_CST);
	if (op->code == OP_SETFLAGS && run->place->program)
		lose_extents(run, op);
	if (op->code == OP_MMAP && rec_value(run->rec[kernel], W_FD, TAG_ATTRS, 0))
		unmap_slot(run, op->fd2 % MAPS);
	if (op->code == OP_LSEEK && run->rec[0]->f[0].value != run->rec[1]->f[0].value)
		for (int i = 0; i < 2; i++)
			(void)lseek(op_fd(&run->side[i], op->fd), 0, SEEK_SET);
	set_right(run, op);
	came_back(run, op, birth);
	return true;
}

void actor_main(struct run *run)
{
	struct shared *sh = run->sh;
	unsigned mounted = 0;

	become(run->actor);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	for (;;) {
		(void)turn_wait(sh, run->actor + 1, 0);
		if (sh->closing) {
			let_go(run);
			mounted = 0;
		} else if (mounted != sh->mounted && !enter_mounts(run)) {
			/* told */
		} else {
			mounted = sh->mounted;
			while (sh->next < sh->last && !sh->failed && !sh->over) {
				if (!do_step(run, &run->script->ops.v[sh->next]))
					break;
				sh->next++;
				sh->ops_done++;
				__atomic_add_fetch(&sh->progress, 1, __ATOMIC_SEQ_CST);
			}
		}
		turn_give(sh, 0);
	}
}
