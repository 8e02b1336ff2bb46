// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The recording disk.  Its process speaks as much of FUSE as one file needs, and takes one request after
 * the other.  A write that was answered before a flush came is what the flush is about; writes are answered
 * when they are in the log, so the log's order is what the filesystem could rely on.  The file is opened
 * for direct access: no cache keeps anything back.
 */
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse/compat.h"
#include "tests/trial/trial.h"

#define ENTRIES_MOST 65536u
#define DATA_MOST (512u << 20) /* memory is used as it fills */
#define WRITE_MOST (1u << 20)
#define BLOCK 4096u
#define BUFFER (WRITE_MOST + 2 * BLOCK)

struct entry {
	uint64_t off;
	size_t at;    /* in DATA */
	uint32_t len; /* 0: a flush */
};

/* Shared by the disk's process and the test's. */
struct recorder {
	pid_t pid;
	char file[512];
	atomic_bool ready, recording, full;
	atomic_size_t n;
	size_t used;
	struct entry entries[ENTRIES_MOST];
	char data[DATA_MOST];
};

/* ---- The disk's process ---- */

struct disk {
	struct recorder *r;
	int dev, image;
	uint64_t size;
	char *buf;
};

static void note(struct recorder *r, uint64_t off, const void *data, uint32_t len)
{
	size_t n = atomic_load(&r->n);

	if (!atomic_load(&r->recording))
		return;
	if (n == ENTRIES_MOST || len > DATA_MOST - r->used) {
		atomic_store(&r->full, true);
		return;
	}
	r->entries[n] = (struct entry){ .off = off, .at = r->used, .len = len };
	if (len > 0)
		memcpy(r->data + r->used, data, len);
	r->used += len;
	atomic_store(&r->n, n + 1);
}

static void answer(const struct disk *d, uint64_t unique, int error, const void *body, size_t len)
{
	struct fuse_out_header head = { .len = (uint32_t)(sizeof(head) + len),
					.error = error,
					.unique = unique };
	static char out[BUFFER];
	ssize_t n;

	memcpy(out, &head, sizeof(head));
	if (len > 0)
		memcpy(out + sizeof(head), body, len);
	n = write(d->dev, out, sizeof(head) + len);
	(void)n; /* who does not wait any more needs no answer */
}

static void answer_init(const struct disk *d, const struct fuse_in_header *in, const void *arg)
{
	const struct fuse_init_in *init = arg;
	const struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION,
					   .minor = 31,
					   .max_readahead = init->max_readahead,
					   .flags = init->flags &
						    (FUSE_BIG_WRITES | FUSE_MAX_PAGES),
					   .max_background = 16,
					   .max_write = WRITE_MOST,
					   .max_pages = WRITE_MOST / BLOCK };

	answer(d, in->unique, 0, &out, sizeof(out));
}

static void answer_attr(const struct disk *d, const struct fuse_in_header *in)
{
	const struct fuse_attr_out out = { .attr_valid = 1000000,
					   .attr = { .ino = 1,
						     .size = d->size,
						     .blocks = d->size / 512,
						     .mode = S_IFREG | 0600,
						     .nlink = 1,
						     .blksize = BLOCK } };

	answer(d, in->unique, 0, &out, sizeof(out));
}

static void do_read(const struct disk *d, const struct fuse_in_header *in, const void *arg)
{
	const struct fuse_read_in *read = arg;
	static char data[WRITE_MOST];
	ssize_t n = pread(d->image, data, read->size < WRITE_MOST ? read->size : WRITE_MOST,
			  (off_t)read->offset);

	answer(d, in->unique, n < 0 ? -errno : 0, data, n < 0 ? 0 : (size_t)n);
}

static void do_write(const struct disk *d, const struct fuse_in_header *in, const void *arg)
{
	const struct fuse_write_in *head = arg;
	const char *data = (const char *)arg + sizeof(*head);
	const struct fuse_write_out out = { .size = head->size };

	if (pwrite(d->image, data, head->size, (off_t)head->offset) != (ssize_t)head->size) {
		answer(d, in->unique, -EIO, NULL, 0);
		return;
	}
	note(d->r, head->offset, data, head->size);
	answer(d, in->unique, 0, &out, sizeof(out));
}

static void serve(const struct disk *d)
{
	const struct fuse_in_header *in = (const void *)d->buf;
	const void *arg = d->buf + sizeof(*in);
	const struct fuse_open_out open = { .open_flags = FOPEN_DIRECT_IO };
	const struct fuse_statfs_out statfs = { .st = { .bsize = BLOCK, .namelen = 255 } };

	switch (in->opcode) {
	case FUSE_INIT:
		answer_init(d, in, arg);
		break;
	case FUSE_GETATTR:
	case FUSE_SETATTR: /* times */
		answer_attr(d, in);
		break;
	case FUSE_OPEN:
		answer(d, in->unique, 0, &open, sizeof(open));
		break;
	case FUSE_READ:
		do_read(d, in, arg);
		break;
	case FUSE_WRITE:
		do_write(d, in, arg);
		break;
	case FUSE_FSYNC:
		note(d->r, 0, NULL, 0);
		answer(d, in->unique, 0, NULL, 0);
		break;
	case FUSE_STATFS:
		answer(d, in->unique, 0, &statfs, sizeof(statfs));
		break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
	case FUSE_DESTROY:
		answer(d, in->unique, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default: /* among them FALLOCATE: nothing is discarded */
		answer(d, in->unique, -ENOSYS, NULL, 0);
	}
}

static _Noreturn void run_disk(struct recorder *r, int dev, int image, uint64_t size)
{
	struct disk d = { .r = r, .dev = dev, .image = image, .size = size, .buf = malloc(BUFFER) };

	/* It must go with the test, and for nothing else. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGINT, SIG_IGN);
	/* What the test mounts it does not have: the disk must not hold the filesystem that is on it. */
	if (unshare(CLONE_NEWNS) < 0)
		_exit(1);
	atomic_store(&r->ready, true);
	while (d.buf) {
		ssize_t n = read(dev, d.buf, BUFFER);

		if (n >= (ssize_t)sizeof(struct fuse_in_header))
			serve(&d);
		else if (n < 0 && errno != EINTR && errno != ENOENT && errno != EAGAIN)
			break;
	}
	_exit(0);
}

/* ---- The test's side ---- */

struct recorder *recorder_start(const char *image, const char *file)
{
	struct recorder *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int dev = open("/dev/fuse", O_RDWR | O_CLOEXEC), fd = open(image, O_RDWR | O_CLOEXEC);
	char options[128];
	struct stat st;
	pid_t pid;

	if (r == MAP_FAILED || dev < 0 || fd < 0 || fstat(fd, &st) < 0)
		trial_die("%s: %s", image, strerror(errno));
	(void)snprintf(r->file, sizeof(r->file), "%s", file);
	(void)snprintf(options, sizeof(options), "fd=%d,rootmode=100600,user_id=0,group_id=0", dev);
	if (mount("recorder", file, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
		trial_die("cannot mount on %s: %s", file, strerror(errno));
	pid = fork();
	if (pid < 0)
		trial_die("fork: %s", strerror(errno));
	if (pid == 0)
		run_disk(r, dev, fd, (uint64_t)st.st_size);
	r->pid = pid; /* written by nobody else */
	close(dev);
	close(fd);
	while (!atomic_load(&r->ready) && waitpid(r->pid, NULL, WNOHANG) == 0)
		(void)usleep(1000);
	if (!atomic_load(&r->ready))
		trial_die("the recorder does not start");
	return r;
}

void recorder_stop(struct recorder *r)
{
	if (umount2(r->file, MNT_DETACH) < 0)
		trial_die("cannot unmount %s: %s", r->file, strerror(errno));
	(void)kill(r->pid, SIGKILL); /* what used it is gone */
	(void)waitpid(r->pid, NULL, 0);
	(void)munmap(r, sizeof(*r)); /* it was mapped like this */
}

void recorder_begin(struct recorder *r)
{
	atomic_store(&r->recording, false);
	atomic_store(&r->n, 0);
	r->used = 0;
	atomic_store(&r->recording, true);
}

size_t recorder_now(const struct recorder *r)
{
	if (atomic_load(&r->full))
		trial_die("more is written than can be remembered");
	return atomic_load(&r->n);
}

static size_t last_flush(const struct recorder *r, size_t moment)
{
	while (moment > 0 && r->entries[moment - 1].len > 0)
		moment--;
	return moment;
}

size_t recorder_loose(const struct recorder *r, size_t moment)
{
	return moment - last_flush(r, moment);
}

/* ---- Replay ---- */

/* As in tests/differential: the same numbers on every machine. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void put(const struct recorder *r, const struct entry *e, size_t from, size_t len, int fd)
{
	if (pwrite(fd, r->data + e->at + from, len, (off_t)(e->off + from)) != (ssize_t)len)
		trial_die("replaying: %s", strerror(errno));
}

void recorder_replay(const struct recorder *r, size_t moment, uint64_t seed, int fd)
{
	const size_t flushed = last_flush(r, moment);
	/* Of how many in a hundred it is said that they are there. */
	static const unsigned shares[] = { 0, 10, 50, 90, 100 };
	unsigned share = shares[next_random(&seed) % (sizeof(shares) / sizeof(shares[0]))];
	bool torn = next_random(&seed) % 2;

	for (size_t i = 0; i < moment; i++) {
		const struct entry *e = &r->entries[i];
		const size_t piece = i < flushed || !torn ? e->len : BLOCK;

		for (size_t at = 0; at < e->len; at += piece) {
			size_t len = e->len - at < piece ? e->len - at : piece;

			if (i < flushed || next_random(&seed) % 100 < share)
				put(r, e, at, len, fd);
		}
	}
}
