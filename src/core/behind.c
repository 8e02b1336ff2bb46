/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copying a big file up while its writer goes on.
 *
 * The copy lies in workdir/lamina/behind under the object's id, with a second file that says which chunks of the lower
 * file it has.  A write copies the chunks that it touches, if the copy has not got them, and is made there; a read
 * takes each chunk from where it is; a thread copies the rest, and publishes the whole as any copy-up does.  Until then the
 * lower file is the object for all but its data, size and time of change, so a change of anything else, a truncation, or a
 * sync finishes the copy first.  A process that is killed leaves both files, and the next one goes on.
 *
 * Lock: one for each copy (RANK_BEHIND), over its chunks.  A chunk that is marked never changes back, so readers look
 * without it.
 */
#include "core.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHUNK (128u << 10)
#define AT_ONCE 8u /* so many copies: each keeps two descriptors open */

#define MAP_MAGIC 0x31444e4842414cu /* "LABHND1" */

/* The head of the second file; after it there is a byte for each chunk, not 0 when the copy has it. */
struct map_head {
	uint64_t magic;
	uint64_t size; /* of the lower file, in bytes */
	int64_t mtime; /* of the last write, in nanoseconds since 1970 */
	uint64_t spare;
};

struct behind {
	TAILQ_ENTRY(behind) link; /* behinds.lock */
	unsigned refs;		  /* behinds.lock; the list has one */
	bool failed;		  /* behinds.lock: the thread does not try again */
	uint64_t id;
	char name[24], map_name[32]; /* in behinds.dir_fd */
	int fd, map_fd;
	uint64_t size; /* of the lower file */
	uint64_t n_chunks;
	_Atomic uint8_t *have;
	_Atomic int64_t mtime;
	_Atomic unsigned writers; /* that wait for the lock */
	struct mutex lock;	  /* RANK_BEHIND */
	char *buf;		  /* of CHUNK bytes; lock */
	bool unnamed, over;	  /* lock */
};

static void behind_free(struct behind *b)
{
	if (b->fd >= 0)
		sys_close(b->fd);
	if (b->map_fd >= 0)
		sys_close(b->map_fd);
	free(b->have);
	free(b->buf);
	free(b);
}

static struct behind *behind_new(uint64_t id, uint64_t size)
{
	struct behind *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->fd = b->map_fd = -1;
	b->id = id;
	b->size = size;
	b->n_chunks = (size + CHUNK - 1) / CHUNK;
	b->refs = 1;
	mutex_init(&b->lock, RANK_BEHIND);
	(void)snprintf(b->name, sizeof(b->name), "%016llx", (unsigned long long)id);
	(void)snprintf(b->map_name, sizeof(b->map_name), "%s.map", b->name);
	b->have = calloc(b->n_chunks, 1);
	b->buf = malloc(CHUNK);
	if (!b->have || !b->buf) {
		behind_free(b);
		return NULL;
	}
	return b;
}

struct behind *behind_get(struct lam_stack *s, uint64_t id)
{
	struct behinds *all = &s->behinds;
	struct behind *b;

	if (atomic_load_explicit(&all->n, memory_order_acquire) == 0)
		return NULL;
	mutex_lock(&all->lock);
	TAILQ_FOREACH(b, &all->all, link) {
		if (b->id == id) {
			b->refs++;
			break;
		}
	}
	mutex_unlock(&all->lock);
	return b;
}

void behind_put(struct lam_stack *s, struct behind *b)
{
	bool last;

	if (!b)
		return;
	mutex_lock(&s->behinds.lock);
	last = --b->refs == 0;
	mutex_unlock(&s->behinds.lock);
	if (last)
		behind_free(b);
}

static void add(struct lam_stack *s, struct behind *b)
{
	mutex_lock(&s->behinds.lock);
	TAILQ_INSERT_TAIL(&s->behinds.all, b, link);
	atomic_fetch_add(&s->behinds.n, 1);
	mutex_unlock(&s->behinds.lock);
}

/* ---- Chunks ---- */

static int note_chunk(struct behind *b, uint64_t i)
{
	ssize_t n = sys_pwrite(b->map_fd, "\1", 1, sizeof(struct map_head) + i);

	if (n != 1)
		return n < 0 ? (int)n : -EIO;
	atomic_store_explicit(&b->have[i], 1, memory_order_release);
	return 0;
}

static int copy_extent(struct behind *b, int from, uint64_t off, uint64_t end)
{
	while (off < end) {
		ssize_t n = sys_pread(from, b->buf, (size_t)(end - off), off), done = 0;

		if (n < 0)
			return (int)n;
		if (n == 0)
			break; /* it has become shorter behind our back: zeros */
		while (done < n) {
			ssize_t w = sys_pwrite(b->fd, b->buf + done, (size_t)(n - done),
					       off + (uint64_t)done);

			if (w <= 0)
				return w < 0 ? (int)w : -EIO;
			done += w;
		}
		off += (uint64_t)n;
	}
	return 0;
}

/* Holes of the lower file stay holes.  Called locked. */
static int fetch(struct behind *b, int from, uint64_t i)
{
	uint64_t off = i * CHUNK, end = off + CHUNK < b->size ? off + CHUNK : b->size;
	int r = 0;

	if (atomic_load_explicit(&b->have[i], memory_order_relaxed))
		return 0;
	while (off < end && r == 0) {
		int64_t data = sys_lseek(from, (int64_t)off, SEEK_DATA), hole;

		if (data == -ENXIO || (data >= 0 && (uint64_t)data >= end))
			break;
		hole = data < 0 ? -1 : sys_lseek(from, data, SEEK_HOLE);
		/* Where holes cannot be asked for, there are none. */
		if (data >= 0)
			off = (uint64_t)data;
		r = copy_extent(b, from, off,
				hole > 0 && (uint64_t)hole < end ? (uint64_t)hole : end);
		off = hole > 0 ? (uint64_t)hole : end;
	}
	return r < 0 ? r : note_chunk(b, i);
}

/* Nobody has a name or a descriptor of it any more. */
static bool is_unwanted(struct lam_stack *s, const struct node *n)
{
	return n->flags & NF_DEAD && !stack_in_use(s, n->id);
}

/* A writer comes before the thread that copies the rest. */
static void let_writers_pass(const struct behind *b)
{
	while (atomic_load_explicit(&b->writers, memory_order_relaxed) > 0)
		(void)sched_yield(); /* always 0 */
}

int behind_fill(struct lam_stack *s, struct behind *b, struct node *n,
		const _Atomic bool *cancelled)
{
	struct fdent *from;
	int r = data_fd(s, n, false, &from);

	for (uint64_t i = 0; r == 0 && i < b->n_chunks; i++) {
		if (atomic_load_explicit(&b->have[i], memory_order_acquire))
			continue;
		if (is_unwanted(s, n))
			r = -ESTALE;
		else if (cancelled && atomic_load_explicit(cancelled, memory_order_relaxed))
			r = -EINTR;
		if (r < 0)
			break;
		let_writers_pass(b);
		mutex_lock(&b->lock);
		r = fetch(b, from->fd, i);
		mutex_unlock(&b->lock);
		atomic_fetch_add(&s->stat_copyup_bytes, CHUNK);
	}
	fdcache_put(&s->fds, from);
	return r;
}

/* ---- Reading and writing ---- */

ssize_t behind_read(struct lam_stack *s, struct behind *b, struct node *n, void *buf, size_t size,
		    uint64_t off)
{
	struct fdent *from;
	size_t done = 0;
	int r = data_fd(s, n, false, &from); /* when all is over meanwhile, it is of the copy */

	if (r < 0)
		return r;
	while (done < size) {
		uint64_t at = off + done, i = at / CHUNK;
		bool after = at >= b->size; /* where the lower file has nothing */
		bool here = after || atomic_load_explicit(&b->have[i], memory_order_acquire);
		uint64_t end = after			   ? UINT64_MAX
			       : (i + 1) * CHUNK < b->size ? (i + 1) * CHUNK
							   : b->size;
		size_t part = size - done < end - at ? size - done : (size_t)(end - at);
		ssize_t got = sys_pread(here ? b->fd : from->fd, (char *)buf + done, part, at);

		if (got < 0 && done == 0)
			r = (int)got;
		if (got <= 0)
			break;
		done += (size_t)got;
		if ((size_t)got < part)
			break;
	}
	fdcache_put(&s->fds, from);
	return r < 0 ? r : (ssize_t)done;
}

static int note_time(struct behind *b)
{
	struct timespec now;
	int64_t ns;

	if (clock_gettime(CLOCK_REALTIME_COARSE, &now) < 0)
		return -errno;
	ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	if (ns == atomic_load(&b->mtime))
		return 0;
	atomic_store(&b->mtime, ns);
	return sys_pwrite(b->map_fd, &ns, sizeof(ns), offsetof(struct map_head, mtime)) ==
			       sizeof(ns)
		       ? 0
		       : -EIO;
}

ssize_t behind_write(struct lam_stack *s, struct behind *b, struct node *n, const void *buf,
		     size_t size, uint64_t off)
{
	struct fdent *from = NULL;
	ssize_t done = -EAGAIN;
	int r = 0;

	atomic_fetch_add(&b->writers, 1);
	mutex_lock(&b->lock);
	atomic_fetch_sub(&b->writers, 1);
	if (b->over)
		goto out;
	r = data_fd(s, n, false, &from);
	for (uint64_t i = off / CHUNK; r == 0 && i < b->n_chunks && i * CHUNK < off + size; i++)
		r = fetch(b, from->fd, i);
	if (r == 0)
		r = note_time(b);
	done = r < 0 ? r : sys_pwrite(b->fd, buf, size, off);
out:
	mutex_unlock(&b->lock);
	fdcache_put(&s->fds, from);
	return done;
}

static struct timespec time_of(const struct behind *b)
{
	int64_t ns = atomic_load(&b->mtime);

	return (struct timespec){ .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
}

void behind_attr(const struct behind *b, struct lam_attr *a)
{
	struct stat st;

	if (sys_stat(b->fd, "", &st) < 0)
		return;
	a->size = (uint64_t)st.st_size;
	if ((uint64_t)st.st_blocks > a->blocks)
		a->blocks = (uint64_t)st.st_blocks;
	if (atomic_load(&b->mtime))
		a->mtime = a->ctime = time_of(b);
}

/* ---- The end of one ---- */

int behind_dup(const struct behind *b)
{
	return sys_dup(b->fd);
}

int behind_lock(struct behind *b)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };
	int r;

	mutex_lock(&b->lock);
	if (atomic_load(&b->mtime))
		ts[1] = time_of(b);
	r = sys_utimens(b->fd, "", ts);
	if (r < 0)
		mutex_unlock(&b->lock);
	return r;
}

void behind_unlock(struct behind *b)
{
	mutex_unlock(&b->lock);
}

/* By a link: should something fail after it, the data is still here. */
int behind_install(struct lam_stack *s, const struct behind *b, int dirfd, const char *name)
{
	return sys_link(s->behinds.dir_fd, b->name, dirfd, name);
}

/* The caller has a reference of his own. */
static void take_off(struct lam_stack *s, struct behind *b)
{
	mutex_lock(&s->behinds.lock);
	TAILQ_REMOVE(&s->behinds.all, b, link);
	atomic_fetch_sub(&s->behinds.n, 1);
	b->refs--;
	mutex_unlock(&s->behinds.lock);
}

void behind_unname(struct lam_stack *s, struct behind *b)
{
	if (b->unnamed)
		return;
	b->unnamed = true;
	/* In this order: a copy without the other file would not be known for one. */
	(void)sys_unlink(s->behinds.dir_fd, b->name);
	(void)sys_unlink(s->behinds.dir_fd, b->map_name);
}

void behind_over(struct lam_stack *s, struct behind *b)
{
	behind_unname(s, b);
	b->over = true;
	take_off(s, b);
}

/* ---- Beginning ---- */

static bool is_fit(const struct lam_stack *s, const struct place *p, const struct statx *st)
{
	char caps[64];

	/* What a write clears would have to be told of the copy and of the lower file. */
	if (st->stx_size < s->behinds.min || st->stx_mode & (S_ISUID | S_ISGID) ||
	    s->layers[LAYER_UPPER].override_name)
		return false;
	if (st->stx_nlink > 1 && s->index_fd < 0)
		return false; /* its names come apart, at one moment for all who ask */
	switch (sys_getxattr(p->dirfd, p->name, "security.capability", caps, sizeof(caps))) {
	case -ENODATA:
	case -EOPNOTSUPP:
		return true;
	default:
		return false;
	}
}

/* The two files.  1; 0: it is better copied at once. */
static int make_files(struct lam_stack *s, struct behind *b, struct node *n, const struct statx *st)
{
	const int flags = O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW;
	struct map_head head = { .magic = MAP_MAGIC, .size = b->size };
	struct fdent *from;
	int r;

	b->fd = sys_openat(s->behinds.dir_fd, b->name, flags, 0600);
	b->map_fd = b->fd < 0 ? b->fd : sys_openat(s->behinds.dir_fd, b->map_name, flags, 0600);
	if (b->map_fd < 0)
		return b->map_fd;
	r = data_fd(s, n, false, &from);
	if (r < 0)
		return r;
	r = sys_ficlone(b->fd, from->fd);
	fdcache_put(&s->fds, from);
	if (r == 0)
		return 0; /* there is a way that takes no time */
	/* So that what was written cannot fail later for want of room. */
	if (st->stx_blocks * 512 >= st->stx_size)
		r = sys_fallocate(b->fd, 0, 0, b->size);
	else
		r = -EOPNOTSUPP;
	if (r == -EOPNOTSUPP)
		r = sys_ftruncate(b->fd, b->size);
	if (r == 0)
		r = sys_ftruncate(b->map_fd, sizeof(head) + b->n_chunks);
	if (r == 0 && sys_pwrite(b->map_fd, &head, sizeof(head), 0) != sizeof(head))
		r = -EIO;
	return r < 0 ? r : 1;
}

int behind_begin(struct lam_stack *s, struct node *n)
{
	struct place p = PLACE_NONE;
	struct behind *b = NULL;
	struct statx st;
	int r;

	if (!S_ISREG(node_mode_type(n)) || n->flags & (NF_METACOPY | NF_DEAD | NF_DETACHED) ||
	    s->behinds.min == UINT64_MAX || atomic_load(&s->behinds.n) >= AT_ONCE)
		return 0;
	r = node_place(s, n, &p);
	if (r == 0)
		r = sys_statx(p.dirfd, p.name, &st);
	if (r == 0 && st.stx_ino == p.ino && is_fit(s, &p, &st)) {
		b = behind_new(n->id, st.stx_size);
		r = b ? make_files(s, b, n, &st) : 0;
	}
	place_done(s, &p);
	if (!b)
		return 0;
	if (r == 1) {
		add(s, b);
		return 1;
	}
	if (b->fd >= 0)
		(void)sys_unlink(s->behinds.dir_fd, b->name);
	if (b->map_fd >= 0)
		(void)sys_unlink(s->behinds.dir_fd, b->map_name);
	behind_free(b);
	return 0; /* whoever copies it at once meets the error again, and can say it */
}

/* ---- The thread ---- */

/* Finish one, or drop what is not wanted. */
static int finish(struct lam_stack *s, struct behind *b, const struct lam_call *call)
{
	HELD(n, s);
	int r = node_get(s, b->id, &n.n);

	if (r < 0)
		return r;
	if (!is_unwanted(s, n.n))
		r = copyup_data(s, call, n.n, UINT64_MAX);
	if (r < 0 && !is_unwanted(s, n.n))
		return r;
	mutex_lock(&b->lock);
	if (!b->over) /* or an earlier process was that far */
		behind_over(s, b);
	mutex_unlock(&b->lock);
	if (is_unwanted(s, n.n))
		lam_forget(s, b->id);
	return 0;
}

/* The next one to finish, as a reference; NULL: the end. */
static struct behind *next(struct behinds *all)
{
	struct behind *b = NULL;

	mutex_lock(&all->lock);
	while (!all->stop) {
		TAILQ_FOREACH(b, &all->all, link) {
			if (!b->failed)
				break;
		}
		if (b) {
			b->refs++;
			break;
		}
		cond_wait(&all->cond, &all->lock);
	}
	mutex_unlock(&all->lock);
	return b;
}

static void *finish_all(void *arg)
{
	struct lam_stack *s = arg;
	struct behinds *all = &s->behinds;
	const struct lam_call call = { .cancelled = &all->stop };
	struct behind *b;

	while ((b = next(all))) {
		int r = finish(s, b, &call);

		if (r < 0 && !all->stop) {
			log_warning(
				"copying up what was written to is put off until it is synced: %s",
				log_errno(r));
			mutex_lock(&all->lock);
			b->failed = true;
			mutex_unlock(&all->lock);
		}
		behind_put(s, b);
	}
	return NULL;
}

int behind_kick(struct lam_stack *s)
{
	struct behinds *all = &s->behinds;
	sigset_t blocked, before;
	int r = 0;

	mutex_lock(&all->lock);
	if (!all->running) {
		(void)sigfillset(&blocked); /* always 0 */
		r = -pthread_sigmask(SIG_SETMASK, &blocked, &before);
		if (r == 0) {
			r = -pthread_create(&all->thread, NULL, finish_all, s);
			(void)pthread_sigmask(SIG_SETMASK, &before, NULL); /* as it was */
		}
		all->running = r == 0;
	}
	mutex_unlock(&all->lock);
	cond_broadcast(&all->cond);
	return r;
}

int behinds_settle(struct lam_stack *s)
{
	int r = 0;

	for (;;) {
		struct behind *b;

		mutex_lock(&s->behinds.lock);
		b = TAILQ_FIRST(&s->behinds.all);
		if (b)
			b->refs++;
		mutex_unlock(&s->behinds.lock);
		if (!b)
			return r;
		r = finish(s, b, NULL);
		behind_put(s, b);
		if (r < 0)
			return r;
	}
}

/* ---- All of them ---- */

/* What an earlier process was at. */
static struct behind *load(struct lam_stack *s, const char *map_name)
{
	struct map_head head;
	struct behind *b = NULL;
	unsigned long long id;
	int n = 0, fd;

	if (sscanf(map_name, "%16llx.map%n", &id, &n) != 1 || n != 20 || map_name[20])
		return NULL;
	fd = sys_openat(s->behinds.dir_fd, map_name, O_RDWR | O_NOFOLLOW, 0);
	if (fd < 0)
		return NULL;
	if (sys_pread(fd, &head, sizeof(head), 0) == sizeof(head) && head.magic == MAP_MAGIC &&
	    head.size > 0 && head.size <= INT64_MAX)
		b = behind_new(id, head.size);
	if (!b) {
		sys_close(fd);
		return NULL;
	}
	b->map_fd = fd;
	atomic_store(&b->mtime, head.mtime);
	b->fd = sys_openat(s->behinds.dir_fd, b->name, O_RDWR | O_NOFOLLOW, 0);
	if (b->fd < 0 ||
	    sys_pread(fd, b->have, b->n_chunks, sizeof(head)) != (ssize_t)b->n_chunks) {
		behind_free(b);
		return NULL;
	}
	return b;
}

static int load_or_remove(void *ctx, const struct sys_dirent *de)
{
	struct lam_stack *s = ctx;
	size_t len = strlen(de->name);
	struct behind *b;

	if (len < 4 || strcmp(de->name + len - 4, ".map") != 0)
		return 0;
	b = load(s, de->name);
	if (b)
		add(s, b);
	return b ? 0 : sys_unlink(s->behinds.dir_fd, de->name);
}

int behinds_open(struct lam_stack *s, int own_fd, bool takeover)
{
	struct behinds *all = &s->behinds;
	int r = sys_mkdir(own_fd, "behind", 0700);

	if (r < 0 && r != -EEXIST)
		return r;
	all->dir_fd = sys_openat(own_fd, "behind", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (all->dir_fd < 0)
		return all->dir_fd;
	r = takeover ? dirscan(all->dir_fd, load_or_remove, s) : work_wipe(all->dir_fd, NULL);
	return r < 0 ? r : 0;
}

void behinds_close(struct lam_stack *s)
{
	struct behinds *all = &s->behinds;
	struct behind *b;

	mutex_lock(&all->lock);
	all->stop = true;
	mutex_unlock(&all->lock);
	cond_broadcast(&all->cond);
	if (all->running)
		(void)pthread_join(all->thread, NULL); /* it is there, and ends */
	while ((b = TAILQ_FIRST(&all->all))) {
		/* Without a root the stack was never open: whoever opens it next goes on. */
		int r = s->root ? 0 : -ECANCELED;

		b->refs++;
		if (r == 0)
			r = finish(s, b, NULL);
		if (r < 0 && s->root)
			log_error("what was written to a file, and never synced, is lost: %s",
				  log_errno(r));
		if (r < 0)
			take_off(s, b);
		behind_put(s, b);
	}
	if (all->dir_fd >= 0)
		sys_close(all->dir_fd);
	all->dir_fd = -1;
}
