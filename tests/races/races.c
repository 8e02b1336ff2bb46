/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every operation at once on few names: threads that draw operations and names at random, so that most of
 * them meet.  Nothing is known of the outcome of one; but an errno that no meeting of two operations can
 * cause is a mistake, and so is a descriptor whose file changes its identity.
 *
 * usage: races DIR THREADS SECONDS SEED
 * DIR has directories d0 to d2, each with a directory s.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define NAMES 5
#define DIRS 6 /* d0 to d2, and s in each */
#define KEPT 4 /* descriptors that a thread keeps over operations */
#define SIZE_MAX_ 100000

struct thread {
	unsigned number;
	uint64_t rng;
	unsigned long done, failed;
	char said[96]; /* the names that the operation has drawn */
	int kept[KEPT];
	ino_t kept_ino[KEPT];
	char kept_name[KEPT][32];
	pthread_t id;
};

struct operation {
	const char *name;
	int (*run)(struct thread *t); /* -1 and errno, or at least 0 */
};

/* What was done last, for who reads of a mistake. */
#define EVENTS 256u

struct event {
	double begin, end; /* ms */
	unsigned thread;
	const char *name;
	char said[96];
	int error;
};

static struct event events[EVENTS];
static atomic_uint n_events;
static int top;
static atomic_bool stop;
static atomic_uint mistakes;

static unsigned draw(struct thread *t, unsigned n)
{
	t->rng ^= t->rng << 13;
	t->rng ^= t->rng >> 7;
	t->rng ^= t->rng << 17;
	return (unsigned)(t->rng >> 33) % n;
}

static void said(struct thread *t, const char *name)
{
	size_t len = strlen(t->said);

	snprintf(t->said + len, sizeof(t->said) - len, " %s", name);
}

static void a_dir(struct thread *t, char ret[16])
{
	unsigned d = draw(t, DIRS);

	snprintf(ret, 16, d < 3 ? "d%u" : "d%u/s", d % 3);
}

static const char *a_name(struct thread *t, char ret[32])
{
	char dir[16];

	a_dir(t, dir);
	snprintf(ret, 32, "%s/n%u", dir, draw(t, NAMES));
	said(t, ret);
	return ret;
}

static int with_file(struct thread *t, int flags, int (*use)(struct thread *t, int fd))
{
	char name[32];
	int fd = openat(top, a_name(t, name), flags | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW, 0644);
	int r, saved;

	if (fd < 0)
		return -1;
	r = use(t, fd);
	saved = errno;
	close(fd);
	errno = saved;
	return r;
}

/* ---- Names ---- */

static int op_create(struct thread *t)
{
	char name[32];
	int fd = openat(top, a_name(t, name), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	return fd < 0 ? -1 : close(fd);
}

static int op_mkdir(struct thread *t)
{
	char name[32];

	return mkdirat(top, a_name(t, name), 0755);
}

static int op_mknod(struct thread *t)
{
	char name[32];

	return mknodat(top, a_name(t, name), (draw(t, 2) ? S_IFIFO : S_IFSOCK) | 0644, 0);
}

static int op_symlink(struct thread *t)
{
	char name[32];

	return symlinkat("n1", top, a_name(t, name));
}

static int op_link(struct thread *t)
{
	char from[32], to[32];

	return linkat(top, a_name(t, from), top, a_name(t, to), 0);
}

static int op_unlink(struct thread *t)
{
	char name[32];

	return unlinkat(top, a_name(t, name), 0);
}

static int op_rmdir(struct thread *t)
{
	char name[32];

	return unlinkat(top, a_name(t, name), AT_REMOVEDIR);
}

static int op_rename(struct thread *t)
{
	static const unsigned flags[] = { 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	char from[32], to[32];

	a_name(t, from);
	a_name(t, to);
	return (int)syscall(SYS_renameat2, top, from, top, to, flags[draw(t, 5)]);
}

/* The directories themselves move too, and come back. */
static int op_rename_dir(struct thread *t)
{
	char from[16], to[16];

	snprintf(from, sizeof(from), "d%u/s", draw(t, 3));
	snprintf(to, sizeof(to), "d%u/s", draw(t, 3));
	said(t, from);
	said(t, to);
	return (int)syscall(SYS_renameat2, top, from, top, to, RENAME_EXCHANGE);
}

static int name_it(struct thread *t, int fd)
{
	char name[32], path[64];

	if (write(fd, "tmpfile", 7) < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, path, top, a_name(t, name), AT_SYMLINK_FOLLOW);
}

static int op_tmpfile(struct thread *t)
{
	char dir[16];
	int fd, r, saved;

	a_dir(t, dir);
	fd = openat(top, dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
	if (fd < 0)
		return -1;
	r = name_it(t, fd);
	saved = errno;
	close(fd);
	errno = saved;
	return r;
}

/* ---- Attributes ---- */

static int op_stat(struct thread *t)
{
	struct stat st;
	char name[32];

	return fstatat(top, a_name(t, name), &st, AT_SYMLINK_NOFOLLOW);
}

static int op_chmod(struct thread *t)
{
	char name[32];

	return fchmodat(top, a_name(t, name), 0600 + draw(t, 64), 0);
}

static int op_chown(struct thread *t)
{
	char name[32];

	return fchownat(top, a_name(t, name), draw(t, 9), draw(t, 9), AT_SYMLINK_NOFOLLOW);
}

static int op_utimes(struct thread *t)
{
	const struct timespec ts[2] = { { .tv_sec = 1000 + draw(t, 99) },
					{ .tv_nsec = UTIME_NOW } };
	char name[32];

	return utimensat(top, a_name(t, name), ts, AT_SYMLINK_NOFOLLOW);
}

static int use_xattr(struct thread *t, int fd)
{
	char value[64];

	switch (draw(t, 4)) {
	case 0:
		return fsetxattr(fd, "user.a", "value", 5, 0);
	case 1:
		return (int)fgetxattr(fd, "user.a", value, sizeof(value));
	case 2:
		return fremovexattr(fd, "user.a");
	default:
		return (int)flistxattr(fd, value, sizeof(value));
	}
}

static int op_xattr(struct thread *t)
{
	return with_file(t, O_RDONLY, use_xattr);
}

static int op_readlink(struct thread *t)
{
	char name[32], target[64];

	return (int)readlinkat(top, a_name(t, name), target, sizeof(target));
}

/* ---- Data ---- */

static int use_write(struct thread *t, int fd)
{
	char bytes[3000];

	memset(bytes, 'a' + (int)t->number, sizeof(bytes));
	return (int)pwrite(fd, bytes, 1 + draw(t, sizeof(bytes)), draw(t, SIZE_MAX_));
}

static int op_write(struct thread *t)
{
	return with_file(t, O_WRONLY | (draw(t, 4) ? 0 : O_CREAT), use_write);
}

static int op_append(struct thread *t)
{
	return with_file(t, O_WRONLY | O_APPEND, use_write);
}

static int use_read(struct thread *t, int fd)
{
	char bytes[5000];

	return (int)pread(fd, bytes, sizeof(bytes), draw(t, SIZE_MAX_));
}

static int op_read(struct thread *t)
{
	return with_file(t, O_RDONLY, use_read);
}

static int use_truncate(struct thread *t, int fd)
{
	return ftruncate(fd, draw(t, SIZE_MAX_));
}

static int op_truncate(struct thread *t)
{
	return with_file(t, O_WRONLY | (draw(t, 2) ? O_TRUNC : 0), use_truncate);
}

static int use_fallocate(struct thread *t, int fd)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE };

	return fallocate(fd, modes[draw(t, 3)], draw(t, SIZE_MAX_), 1 + draw(t, 9999));
}

static int op_fallocate(struct thread *t)
{
	return with_file(t, O_RDWR, use_fallocate);
}

static int use_sync(struct thread *t, int fd)
{
	return draw(t, 2) ? fsync(fd) : fdatasync(fd);
}

static int op_sync(struct thread *t)
{
	return with_file(t, O_RDWR, use_sync);
}

static int use_mapping(struct thread *t, int fd)
{
	struct stat st;
	char *p;

	if (fstat(fd, &st) < 0 || st.st_size < 4096)
		return 0;
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -1;
	/* Through the kernel, which tells by an error when another one has truncated it. */
	if (pread(fd, p, 100, 200) < 0 && errno != EFAULT) {
		munmap(p, 4096);
		return -1;
	}
	if (draw(t, 2))
		(void)msync(p, 4096, MS_SYNC);
	return munmap(p, 4096);
}

static int op_mapping(struct thread *t)
{
	return with_file(t, O_RDWR, use_mapping);
}

static int use_lock(struct thread *t, int fd)
{
	if (flock(fd, (draw(t, 2) ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? 0 : -1;
	return flock(fd, LOCK_UN);
}

static int op_lock(struct thread *t)
{
	return with_file(t, O_RDONLY, use_lock);
}

static int use_copy(struct thread *t, int fd)
{
	char name[32];
	int to = openat(top, a_name(t, name), O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	int r, saved;

	if (to < 0)
		return -1;
	r = (int)copy_file_range(fd, NULL, to, NULL, 20000, 0);
	saved = errno;
	close(to);
	errno = saved;
	return r;
}

static int op_copy(struct thread *t)
{
	return with_file(t, O_RDONLY, use_copy);
}

/* ---- Listings, handles, what stays open ---- */

static int op_list(struct thread *t)
{
	bool seen[NAMES] = { false };
	char dir[16];
	struct dirent *e;
	DIR *d;
	int fd;

	a_dir(t, dir);
	fd = openat(top, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return -1;
	}
	errno = 0;
	while ((e = readdir(d))) {
		unsigned n = (unsigned)(e->d_name[1] - '0');

		if (e->d_name[0] != 'n' || n >= NAMES)
			continue;
		/* A name may go and come again meanwhile, but its place in the listing is one. */
		if (seen[n]) {
			fprintf(stderr, "%s: %s twice in one listing\n", dir, e->d_name);
			atomic_fetch_add(&mistakes, 1);
		}
		seen[n] = true;
	}
	if (errno) {
		int saved = errno;

		closedir(d);
		errno = saved;
		return -1;
	}
	return closedir(d);
}

static int op_handle(struct thread *t)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u = { .h.handle_bytes = MAX_HANDLE_SZ };
	char name[32];
	int mount_id, fd;

	if (name_to_handle_at(top, a_name(t, name), &u.h, &mount_id, 0) < 0)
		return -1;
	fd = open_by_handle_at(top, &u.h, O_PATH | O_CLOEXEC);
	return fd < 0 ? -1 : close(fd);
}

static void mistake(const char *what, const char *name, ino_t was, ino_t is)
{
	fprintf(stderr, "%s: %s: it was %lu and is %lu\n", name, what, (unsigned long)was,
		(unsigned long)is);
	atomic_fetch_add(&mistakes, 1);
}

/* A descriptor is of one file for good, whatever happens to its names. */
static int op_keep(struct thread *t)
{
	unsigned i = draw(t, KEPT);
	struct stat st;
	char name[32];

	if (t->kept[i] >= 0) {
		if (fstat(t->kept[i], &st) < 0)
			mistake(strerror(errno), t->kept_name[i], t->kept_ino[i], 0);
		else if (st.st_ino != t->kept_ino[i])
			mistake("the file of a descriptor", t->kept_name[i], t->kept_ino[i],
				st.st_ino);
		close(t->kept[i]);
	}
	t->kept[i] = openat(top, a_name(t, name), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	if (t->kept[i] < 0)
		return -1;
	strcpy(t->kept_name[i], name);
	if (fstat(t->kept[i], &st) == 0) {
		t->kept_ino[i] = st.st_ino;
		return 0;
	}
	mistake(strerror(errno), name, 0, 0);
	close(t->kept[i]);
	t->kept[i] = -1;
	return 0;
}

static const struct operation operations[] = {
	{ "create", op_create },
	{ "mkdir", op_mkdir },
	{ "mknod", op_mknod },
	{ "symlink", op_symlink },
	{ "link", op_link },
	{ "unlink", op_unlink },
	{ "unlink", op_unlink },
	{ "rmdir", op_rmdir },
	{ "rename", op_rename },
	{ "rename", op_rename },
	{ "exchange of directories", op_rename_dir },
	{ "tmpfile", op_tmpfile },
	{ "stat", op_stat },
	{ "chmod", op_chmod },
	{ "chown", op_chown },
	{ "utimes", op_utimes },
	{ "xattr", op_xattr },
	{ "readlink", op_readlink },
	{ "write", op_write },
	{ "append", op_append },
	{ "read", op_read },
	{ "truncate", op_truncate },
	{ "fallocate", op_fallocate },
	{ "sync", op_sync },
	{ "mapping", op_mapping },
	{ "lock", op_lock },
	{ "copy", op_copy },
	{ "list", op_list },
	{ "handle", op_handle },
	{ "keep", op_keep },
};

#define N_OPERATIONS (sizeof(operations) / sizeof(operations[0]))

/* What two operations that meet can cause each other. */
static bool expected(int error)
{
	switch (error) {
	case ENOENT:
	case EEXIST:
	case ENOTDIR:
	case EISDIR:
	case ENOTEMPTY:
	case EINVAL: /* a directory into itself, readlink of what is no link, two times the same file */
	case ELOOP: /* O_NOFOLLOW meets a symlink */
	case EPERM: /* user attributes of a FIFO, a link to a directory */
	case ESTALE:
	case ENXIO: /* a FIFO nobody reads, a socket */
	case ENODATA:
	case ERANGE:
	case EXDEV:
	case ESPIPE: /* data operations on a FIFO */
	case ENODEV:
	case EBADF: /* sync of a FIFO */
	case EOPNOTSUPP:
	case EMLINK:
		return true;
	default:
		return false;
	}
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void note(struct thread *t, const char *name, double begin, int error)
{
	struct event *e = &events[atomic_fetch_add(&n_events, 1) % EVENTS];

	*e = (struct event){
		.begin = begin, .end = now_ms(), .thread = t->number, .name = name, .error = error
	};
	strcpy(e->said, t->said);
}

static void tell_events(void)
{
	for (unsigned i = 0, n = atomic_load(&n_events); i < EVENTS && i < n; i++) {
		const struct event *e = &events[(n + i) % EVENTS];

		fprintf(stderr, "%.3f-%.3f %u: %s%s: %s\n", e->begin, e->end, e->thread, e->name,
			e->said, e->error ? strerror(e->error) : "done");
	}
}

static void *work(void *arg)
{
	struct thread *t = arg;

	while (!atomic_load(&stop)) {
		const struct operation *op = &operations[draw(t, N_OPERATIONS)];
		double begin = now_ms();
		int error;

		t->said[0] = '\0';
		t->done++;
		error = op->run(t) < 0 ? errno : 0;
		note(t, op->name, begin, error);
		t->failed += error != 0;
		if (error && !expected(error)) {
			fprintf(stderr, "%s: %s\n", op->name, strerror(error));
			atomic_fetch_add(&mistakes, 1);
		}
		if (atomic_load(&mistakes))
			atomic_store(&stop, true); /* what led to it is still on record */
	}
	for (unsigned i = 0; i < KEPT; i++) {
		if (t->kept[i] >= 0)
			close(t->kept[i]);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned long done = 0, failed = 0;
	struct thread *threads;
	unsigned n;

	if (argc != 5)
		errx(2, "usage: races DIR THREADS SECONDS SEED");
	top = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	n = (unsigned)atoi(argv[2]);
	threads = calloc(n, sizeof(*threads));
	if (top < 0 || !threads)
		err(2, "%s", argv[1]);
	umask(0);
	for (unsigned i = 0; i < n; i++) {
		threads[i].number = i;
		threads[i].rng = ((uint64_t)atoi(argv[4]) << 20) + i * 7919 + 88172645463325252u;
		for (unsigned k = 0; k < KEPT; k++)
			threads[i].kept[k] = -1;
		if (pthread_create(&threads[i].id, NULL, work, &threads[i]))
			errx(2, "no thread");
	}
	for (int i = 0; i < atoi(argv[3]) * 100 && !atomic_load(&stop); i++)
		usleep(10000);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < n; i++) {
		pthread_join(threads[i].id, NULL);
		done += threads[i].done;
		failed += threads[i].failed;
	}
	if (atomic_load(&mistakes))
		tell_events();
	printf("%lu operations, %lu of them with an error that was to be expected\n", done, failed);
	return atomic_load(&mistakes) || done == failed;
}
