/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copying the data of a whole file.  A small file takes one read and one write.  A large one is
 * cloned where the filesystem can; else its extents go over one by one and its holes stay.
 * Takes no lock; the file being copied may change or shrink meanwhile.
 */
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sys/feature.h"

#define SMALL_FILE (64u << 10)
#define BUFFER_SIZE (1u << 20)
#define RANGE_MAX (64u << 20)
/* What is looked at for zeros where holes cannot be asked for. */
#define HOLE_BLOCK 4096u

struct copy {
	int in, out;
	uint64_t size; /* to reach */
	uint64_t end;  /* OUT's size so far */
	uint64_t copied;
	const _Atomic bool *cancelled;
	char *buf;
	bool by_hand; /* copy_file_range is of no use here */
	bool no_seek; /* holes are unknown: blocks of zeros are left out */
};

static bool copy_cancelled(const struct copy *c)
{
	return c->cancelled && atomic_load_explicit(c->cancelled, memory_order_relaxed);
}

static bool all_zero(const char *p, size_t len)
{
	return len == 0 || (p[0] == '\0' && memcmp(p, p + 1, len - 1) == 0);
}

static int copy_write(struct copy *c, const char *p, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = sys_pwrite(c->out, p + done, len - done, off + done);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	if (len > 0)
		c->end = off + len;
	c->copied += len;
	return 0;
}

/* Write what is not zero: runs of blocks, of which each holds some other byte. */
static int copy_write_nonzero(struct copy *c, const char *p, size_t len, uint64_t off)
{
	size_t start = 0, pos = 0;

	while (pos < len) {
		size_t n = len - pos < HOLE_BLOCK ? len - pos : HOLE_BLOCK;
		int r = 0;

		if (all_zero(p + pos, n)) {
			r = copy_write(c, p + start, pos - start, off + start);
			start = pos + n;
		}
		if (r < 0)
			return r;
		pos += n;
	}
	return copy_write(c, p + start, len - start, off + start);
}

static int copy_finish(struct copy *c)
{
	return c->end == c->size ? 0 : sys_ftruncate(c->out, c->size);
}

static int copy_small(struct copy *c)
{
	/* Builds that clear every variable need not clear this one for each small file. */
	__attribute__((uninitialized)) char buf[SMALL_FILE];
	ssize_t n = sys_pread(c->in, buf, (size_t)c->size, 0);
	int r = 0;

	if (n < 0)
		return (int)n;
	if (!all_zero(buf, (size_t)n))
		r = copy_write(c, buf, (size_t)n, 0);
	return r < 0 ? r : copy_finish(c);
}

/*
 * Clone the whole if it is wanted whole.  1 if done, 0 to go on by other means.  The size is
 * compared again afterwards, as the file may have changed in between.
 */
static int copy_reflink(struct copy *c)
{
	struct stat st;
	int r = sys_stat(c->in, "", &st);

	if (r < 0)
		return r;
	if ((uint64_t)st.st_size != c->size)
		return 0;
	r = sys_ficlone(c->out, c->in);
	if (r == -ENOSPC || r == -EDQUOT || r == -EIO || r == -ENOMEM)
		return r;
	if (r < 0)
		return 0;
	r = sys_stat(c->out, "", &st);
	if (r < 0)
		return r;
	c->end = (uint64_t)st.st_size;
	r = copy_finish(c);
	return r < 0 ? r : 1;
}

/* A piece by copy_file_range.  *RET_N stays 0 if reads and writes have to decide. */
static int copy_piece_range(struct copy *c, uint64_t off, uint64_t len, size_t *ret_n)
{
	size_t want = len < RANGE_MAX ? (size_t)len : RANGE_MAX;
	ssize_t n = sys_copy_file_range(c->in, off, c->out, off, want);

	if (n == -ENOSPC || n == -EDQUOT || n == -EIO || n == -ENOMEM || n == -EFBIG)
		return (int)n;
	/* 0 is the end of the file, or a filesystem that cannot: a read tells which. */
	if (n <= 0) {
		c->by_hand = true;
		return 0;
	}
	c->end = off + (size_t)n;
	c->copied += (size_t)n;
	*ret_n = (size_t)n;
	return 0;
}

static int copy_piece_hand(struct copy *c, uint64_t off, uint64_t len, size_t *ret_n)
{
	ssize_t n;
	int r;

	if (!c->buf)
		c->buf = malloc(BUFFER_SIZE);
	if (!c->buf)
		return -ENOMEM;
	n = sys_pread(c->in, c->buf, len < BUFFER_SIZE ? (size_t)len : BUFFER_SIZE, off);
	if (n < 0)
		return (int)n;
	r = c->no_seek ? copy_write_nonzero(c, c->buf, (size_t)n, off)
		       : copy_write(c, c->buf, (size_t)n, off);
	if (r < 0)
		return r;
	*ret_n = (size_t)n;
	return 0;
}

/* Copy [OFF, END).  1 if the file turned out to be shorter. */
static int copy_extent(struct copy *c, uint64_t off, uint64_t end)
{
	while (off < end) {
		size_t n = 0;
		int r = 0;

		if (copy_cancelled(c))
			return -EINTR;
		if (!c->by_hand)
			r = copy_piece_range(c, off, end - off, &n);
		if (r == 0 && c->by_hand) {
			r = copy_piece_hand(c, off, end - off, &n);
			if (r == 0 && n == 0)
				return 1;
		}
		if (r < 0)
			return r;
		off += n;
	}
	return 0;
}

static int copy_extents(struct copy *c)
{
	uint64_t pos = 0;

	while (pos < c->size) {
		int64_t data = sys_lseek(c->in, (int64_t)pos, SEEK_DATA);
		int64_t hole;
		uint64_t end;
		int r;

		if (data == -ENXIO)
			break;
		if (data < 0 && data != -EINVAL && data != -EOPNOTSUPP && data != -ENOSYS)
			return (int)data;
		if (data < 0) {
			c->no_seek = true;
			c->by_hand = true;
			r = copy_extent(c, pos, c->size);
			return r < 0 ? r : 0;
		}
		if ((uint64_t)data >= c->size)
			break;
		hole = sys_lseek(c->in, data, SEEK_HOLE);
		end = hole <= data || (uint64_t)hole > c->size ? c->size : (uint64_t)hole;
		r = copy_extent(c, (uint64_t)data, end);
		if (r < 0)
			return r;
		if (r > 0)
			break;
		pos = end;
	}
	return 0;
}

static int copy_large(struct copy *c)
{
	int r = copy_reflink(c);

	if (r != 0)
		return r < 0 ? r : 0;
	c->by_hand = !feature_present(FEATURE_COPY_FILE_RANGE);
	r = copy_extents(c);
	return r < 0 ? r : copy_finish(c);
}

int sys_copy_data(int in, int out, uint64_t size, const _Atomic bool *cancelled,
		  uint64_t *ret_copied)
{
	struct copy c = { .in = in, .out = out, .size = size, .cancelled = cancelled };
	int r;

	if (size > INT64_MAX)
		return -EFBIG;
	if (copy_cancelled(&c))
		return -EINTR;
	r = size <= SMALL_FILE ? copy_small(&c) : copy_large(&c);
	free(c.buf);
	if (r == 0 && ret_copied)
		*ret_copied = c.copied;
	return r;
}
