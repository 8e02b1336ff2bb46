/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Steps on open files: contents, sizes, mappings, locks. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "differential.h"

#define UNUSED __attribute__((unused))
#define DO(name)                                                                                  \
	long do_##name(struct run *run UNUSED, struct side *s UNUSED, const struct op *op UNUSED, \
		       struct rec *r UNUSED)

static long ret(long n)
{
	return n < 0 ? -errno : n;
}

static size_t length(uint64_t n)
{
	return n < OP_BUFFER ? (size_t)n : OP_BUFFER;
}

DO(open)
{
	int slot = op->fd % SLOTS, dir = op_dir(s, op->at), fd;

	if (dir == -1)
		return -errno;
	fd = openat(dir, op->path.p, (int)op->a | O_CLOEXEC | O_NONBLOCK, (mode_t)op->b);
	if (fd < 0)
		return -errno;
	if (s->fd[slot] >= 0)
		(void)close(s->fd[slot]);
	s->fd[slot] = fd;
	return 0;
}

DO(close)
{
	int *fd = &s->fd[op->fd % SLOTS], r0 = close(*fd);

	*fd = -1;
	return ret(r0);
}

static long got_data(struct rec *r, ssize_t n)
{
	if (n < 0)
		return -errno;
	rec_put(r, W_CALL, TAG_DATA, look_hash(op_buffer(), (size_t)n));
	return n;
}

DO(read)
{
	return got_data(r, read(op_fd(s, op->fd), op_buffer(), length(op->a)));
}

DO(pread)
{
	return got_data(r, pread(op_fd(s, op->fd), op_buffer(), length(op->a), (off_t)op->b));
}

DO(readv)
{
	size_t len = length(op->a);
	struct iovec v[2] = { { op_buffer(), len / 3 }, { op_buffer() + len / 3, len - len / 3 } };

	return got_data(r, readv(op_fd(s, op->fd), v, 2));
}

DO(write)
{
	op_fill(op_buffer(), length(op->a), op->c);
	return ret(write(op_fd(s, op->fd), op_buffer(), length(op->a)));
}

DO(pwrite)
{
	op_fill(op_buffer(), length(op->a), op->c);
	return ret(pwrite(op_fd(s, op->fd), op_buffer(), length(op->a), (off_t)op->b));
}

DO(writev)
{
	size_t len = length(op->a);
	struct iovec v[2] = { { op_buffer(), len / 3 }, { op_buffer() + len / 3, len - len / 3 } };

	op_fill(op_buffer(), len, op->c);
	return ret(writev(op_fd(s, op->fd), v, 2));
}

DO(lseek)
{
	return ret(lseek(op_fd(s, op->fd), (off_t)op->a, (int)op->b));
}

DO(truncate)
{
	int e = op_enter(s, op->at);

	return e < 0 ? e : ret(truncate(op->path.p, (off_t)op->a));
}

DO(ftruncate)
{
	return ret(ftruncate(op_fd(s, op->fd), (off_t)op->a));
}

DO(fallocate)
{
	return ret(fallocate(op_fd(s, op->fd), (int)op->a, (off_t)op->b, (off_t)op->c));
}

DO(copy_file_range)
{
	off_t in = (off_t)op->a, out = (off_t)op->b;

	return ret(
		copy_file_range(op_fd(s, op->fd2), &in, op_fd(s, op->fd), &out, length(op->c), 0));
}

DO(sendfile)
{
	off_t in = (off_t)op->a;

	return ret(sendfile(op_fd(s, op->fd), op_fd(s, op->fd2), &in, length(op->b)));
}

/* From one file to the other through a pipe; at most what a pipe holds. */
DO(splice)
{
	CLEANUP_CLOSE int out = -1;
	CLEANUP_CLOSE int in = -1;
	int p[2];
	off_t off = (off_t)op->a, off2 = (off_t)op->b;
	ssize_t n;

	if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	out = p[0];
	in = p[1];
	n = splice(op_fd(s, op->fd2), &off, in, NULL, op->c % 32768, SPLICE_F_NONBLOCK);
	rec_put(r, W_CALL, TAG_VALUE, (uint64_t)(n < 0 ? -errno : n));
	if (n <= 0)
		return 0;
	return ret(splice(out, NULL, op_fd(s, op->fd), &off2, (size_t)n, SPLICE_F_NONBLOCK));
}

DO(fsync)
{
	return ret(fsync(op_fd(s, op->fd)));
}

DO(fdatasync)
{
	return ret(fdatasync(op_fd(s, op->fd)));
}

DO(syncfs)
{
	return ret(syncfs(op_fd(s, op->fd)));
}

DO(fadvise)
{
	return -posix_fadvise(op_fd(s, op->fd), (off_t)op->a, (off_t)op->b, (int)op->c);
}

/* ---- Mappings ---- */

static sigjmp_buf bus_jump;
static volatile sig_atomic_t bus_armed;

static void on_bus(int sig)
{
	if (bus_armed)
		siglongjmp(bus_jump, 1);
	signal(sig, SIG_DFL);
}

static void bus_catch(void)
{
	struct sigaction sa = { .sa_handler = on_bus, .sa_flags = SA_NODEFER };

	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	bus_armed = 1;
}

void op_unmap(struct side *s, int slot)
{
	if (!s->map[slot])
		return;
	munmap(s->map[slot], s->map_len[slot]);
	(void)close(s->map_fd[slot]);
	s->map[slot] = NULL;
}

DO(mmap)
{
	int i = op->fd2 % MAPS;
	char proc[40];
	void *p;

	op_unmap(s, i);
	p = mmap(NULL, length(op->a), (int)op->b, (int)op->c, op_fd(s, op->fd), 0);
	if (p == MAP_FAILED)
		return -errno;
	s->map[i] = p;
	s->map_len[i] = length(op->a);
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", op_fd(s, op->fd));
	s->map_fd[i] = open(proc, O_PATH | O_CLOEXEC);
	return 0;
}

/* What can be read of a mapping: contents up to the end of the file or the first page that gives
 * SIGBUS.  What lies between the end and the end of its page means nothing. */
DO(mread)
{
	int i = op->fd2 % MAPS;
	volatile size_t at = 0;
	volatile uint64_t sum = 0;

	struct stat st;

	if (!s->map[i] || fstat(s->map_fd[i], &st) < 0)
		return -EINVAL;
	if (!sigsetjmp(bus_jump, 1)) {
		bus_catch();
		for (; at < s->map_len[i]; at += 4096) {
			size_t left = (size_t)st.st_size > at ? (size_t)st.st_size - at : 0;
			size_t n = s->map_len[i] - at;

			n = n < 4096 ? n : 4096;
			(void)*((volatile char *)s->map[i] + at);
			sum = sum * 31 + look_hash((char *)s->map[i] + at, n < left ? n : left);
		}
	}
	bus_armed = 0;
	rec_put(r, W_CALL, TAG_DATA, sum);
	return (long)at;
}

DO(mwrite)
{
	int i = op->fd2 % MAPS;
	volatile bool bad = true;
	volatile size_t off, n;

	struct stat st;

	if (!s->map[i] || fstat(s->map_fd[i], &st) < 0)
		return -EINVAL;
	off = op->a % s->map_len[i];
	n = op->b < s->map_len[i] - off ? op->b : s->map_len[i] - off;
	/* what is written behind the end means nothing, and is kept by FUSE when the file grows */
	if (off < (size_t)st.st_size && n > (size_t)st.st_size - off)
		n = (size_t)st.st_size - off;
	if (off >= (size_t)st.st_size)
		n = 0;
	op_fill(op_buffer(), n, op->c);
	if (!sigsetjmp(bus_jump, 1)) {
		bus_catch();
		(void)*((volatile char *)s->map[i] + off);
		memcpy((char *)s->map[i] + off, op_buffer(), n);
		bad = false;
	}
	bus_armed = 0;
	return bad ? -EFAULT : 0;
}

DO(msync)
{
	int i = op->fd2 % MAPS;

	if (!s->map[i])
		return -EINVAL;
	return ret(msync(s->map[i], s->map_len[i], (int)op->a));
}

DO(munmap)
{
	op_unmap(s, op->fd2 % MAPS);
	return 0;
}

/* ---- Locks ---- */

DO(flock)
{
	return ret(flock(op_fd(s, op->fd), (int)op->a | LOCK_NB));
}

static struct flock lock_of(const struct op *op)
{
	return (struct flock){ .l_type = (short)op->a,
			       .l_whence = SEEK_SET,
			       .l_start = (off_t)op->b,
			       .l_len = (off_t)op->c };
}

DO(lock)
{
	struct flock l = lock_of(op);

	return ret(fcntl(op_fd(s, op->fd), op->d ? F_OFD_SETLK : F_SETLK, &l));
}

DO(getlk)
{
	struct flock l = lock_of(op);

	if (fcntl(op_fd(s, op->fd), op->d ? F_OFD_GETLK : F_GETLK, &l) < 0)
		return -errno;
	rec_put(r, W_CALL, TAG_VALUE, (uint64_t)l.l_type);
	if (l.l_type != F_UNLCK) {
		rec_put(r, W_CALL, TAG_VALUE, (uint64_t)l.l_start);
		rec_put(r, W_CALL, TAG_VALUE, (uint64_t)l.l_len);
		rec_put(r, W_CALL, TAG_VALUE, (uint64_t)l.l_pid);
	}
	return 0;
}
