/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fsx [-s SEED] [-n OPERATIONS] [-l MAXIMUM] [-r] FILE
 *
 * Does random things to FILE and to a model of it in memory, and compares after each read and at
 * the end: reads and writes at any offset, appends, truncation both ways, shared mappings read
 * and written, allocation, punched and zeroed holes, copy_file_range within the file, SEEK_DATA
 * and SEEK_HOLE, sync, closing and opening anew.  The model starts from what FILE holds, so that
 * a file that is not yet copied up can be given.  Two descriptors are used in turn, one of them
 * opened read-only at the very start (and with -r kept open throughout): what one writes, the
 * other must see.
 *
 * The same seed does the same things.  Prints the first difference and the last operations; exits
 * 1 then.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HISTORY 40u

static const char *path;
static unsigned char *model; /* what the file must hold; zero from model_size on */
static unsigned char *scratch;
static size_t model_size, limit = 512 * 1024;
static int rw_fd = -1, ro_fd = -1;
static bool keep_reader;
static uint64_t rng_state;
static char history[HISTORY][96];
static unsigned long step;

/* xorshift64*: the same numbers everywhere. */
static uint64_t rng(void)
{
	rng_state ^= rng_state >> 12;
	rng_state ^= rng_state << 25;
	rng_state ^= rng_state >> 27;
	return rng_state * 0x2545f4914f6cdd1dull;
}

static size_t below(size_t n)
{
	return n ? (size_t)(rng() % n) : 0;
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(history[step % HISTORY], sizeof(history[0]), format, ap);
	va_end(ap);
}

__attribute__((noreturn, format(printf, 1, 2))) static void differ(const char *format, ...)
{
	va_list ap;
	unsigned long i;

	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	printf("\nthe last operations, oldest first:\n");
	for (i = step >= HISTORY ? step - HISTORY + 1 : 0; i <= step; i++)
		printf("%6lu %s\n", i, history[i % HISTORY]);
	exit(1);
}

static void open_both(void)
{
	if (rw_fd >= 0 && close(rw_fd) < 0)
		differ("close: %s", strerror(errno));
	rw_fd = open(path, O_RDWR | O_CLOEXEC);
	if (rw_fd < 0)
		differ("open for writing: %s", strerror(errno));
	if (keep_reader && ro_fd >= 0)
		return;
	if (ro_fd >= 0)
		close(ro_fd);
	ro_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (ro_fd < 0)
		differ("open for reading: %s", strerror(errno));
}

static void compare(const char *how, const unsigned char *got, size_t off, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (got[i] != model[off + i])
			differ("%s at %zu+%zu: byte %zu is %02x, not %02x", how, off, len, off + i,
			       got[i], model[off + i]);
}

static void compare_size(void)
{
	struct stat st;

	if (fstat(rw_fd, &st) < 0)
		differ("fstat: %s", strerror(errno));
	if ((size_t)st.st_size != model_size)
		differ("size is %lld, not %zu", (long long)st.st_size, model_size);
	if (fstat(ro_fd, &st) < 0)
		differ("fstat of the reader: %s", strerror(errno));
	if ((size_t)st.st_size != model_size)
		differ("size by the reader is %lld, not %zu", (long long)st.st_size, model_size);
}

/* A place and a length that fit under the limit; small and large, aligned and not. */
static void region(size_t *off, size_t *len, size_t end)
{
	static const size_t spans[] = { 16, 4096, 70000, 300000 };
	size_t span = spans[below(4)];

	*off = below(end);
	if (below(3) == 0)
		*off &= ~(size_t)4095;
	*len = 1 + below(span);
	if (below(3) == 0)
		*len = (*len + 4095) & ~(size_t)4095;
	if (*len > end - *off)
		*len = end - *off;
}

static void grow(size_t end)
{
	if (end > model_size)
		model_size = end;
}

static void op_read(void)
{
	size_t off, len, want;
	bool by_reader = below(2);
	ssize_t r;

	region(&off, &len, limit);
	note("read %zu+%zu %s", off, len, by_reader ? "reader" : "writer");
	r = pread(by_reader ? ro_fd : rw_fd, scratch, len, (off_t)off);
	if (r < 0)
		differ("read: %s", strerror(errno));
	want = off >= model_size ? 0 : len < model_size - off ? len : model_size - off;
	if ((size_t)r != want)
		differ("read gave %zd bytes, not %zu", r, want);
	compare("read", scratch, off, want);
}

static void fill(unsigned char *p, size_t len)
{
	size_t i;
	uint64_t x = rng();

	for (i = 0; i < len; i++) {
		if (i % 8 == 0)
			x = x * 6364136223846793005ull + 1442695040888963407ull;
		p[i] = (unsigned char)(x >> (8 * (i % 8)));
	}
}

static void op_write(void)
{
	size_t off, len;
	ssize_t r;

	region(&off, &len, limit);
	note("write %zu+%zu", off, len);
	fill(scratch, len);
	r = pwrite(rw_fd, scratch, len, (off_t)off);
	if (r < 0 || (size_t)r != len)
		differ("write gave %zd: %s", r, strerror(errno));
	memcpy(model + off, scratch, len);
	grow(off + len);
}

static void op_append(void)
{
	size_t len = 1 + below(5000);
	ssize_t r;
	int fd;

	if (len > limit - model_size)
		len = limit - model_size;
	note("append %zu at %zu", len, model_size);
	fill(scratch, len);
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		differ("open to append: %s", strerror(errno));
	r = write(fd, scratch, len);
	if (r < 0 || (size_t)r != len)
		differ("append gave %zd: %s", r, strerror(errno));
	close(fd);
	memcpy(model + model_size, scratch, len);
	model_size += len;
}

static void op_truncate(void)
{
	size_t size = below(limit);

	note("truncate %zu -> %zu", model_size, size);
	if (below(4) == 0 ? truncate(path, (off_t)size) : ftruncate(rw_fd, (off_t)size))
		differ("truncate: %s", strerror(errno));
	if (size < model_size)
		memset(model + size, 0, model_size - size);
	model_size = size;
}

static void op_map_read(void)
{
	size_t off, len, page;
	unsigned char *p;

	if (!model_size)
		return;
	region(&off, &len, model_size);
	page = off & ~(size_t)4095;
	note("mapped read %zu+%zu", off, len);
	p = mmap(NULL, off - page + len, PROT_READ, below(2) ? MAP_SHARED : MAP_PRIVATE, ro_fd,
		 (off_t)page);
	if (p == MAP_FAILED)
		differ("mmap: %s", strerror(errno));
	compare("mapped read", p + (off - page), off, len);
	munmap(p, off - page + len);
}

static void op_map_write(void)
{
	size_t off, len, page;
	unsigned char *p;

	if (!model_size)
		return;
	region(&off, &len, model_size);
	page = off & ~(size_t)4095;
	note("mapped write %zu+%zu", off, len);
	p = mmap(NULL, off - page + len, PROT_READ | PROT_WRITE, MAP_SHARED, rw_fd, (off_t)page);
	if (p == MAP_FAILED)
		differ("mmap to write: %s", strerror(errno));
	fill(p + (off - page), len);
	memcpy(model + off, p + (off - page), len);
	if (below(2) && msync(p, off - page + len, MS_SYNC) < 0)
		differ("msync: %s", strerror(errno));
	munmap(p, off - page + len);
}

static void op_fallocate(void)
{
	static const struct {
		int mode;
		bool zeroes, grows;
		const char *name;
	} kinds[] = {
		{ 0, false, true, "allocate" },
		{ FALLOC_FL_KEEP_SIZE, false, false, "allocate, keep size" },
		{ FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, true, false, "punch" },
		{ FALLOC_FL_ZERO_RANGE, true, true, "zero" },
		{ FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, true, false, "zero, keep size" },
	};
	size_t off, len, end, k = below(5);

	region(&off, &len, limit);
	note("%s %zu+%zu", kinds[k].name, off, len);
	if (fallocate(rw_fd, kinds[k].mode, (off_t)off, (off_t)len) < 0) {
		if (errno == EOPNOTSUPP) /* the filesystem below may not have it */
			return;
		differ("%s: %s", kinds[k].name, strerror(errno));
	}
	end = off + len < model_size ? off + len : model_size;
	if (kinds[k].zeroes && end > off)
		memset(model + off, 0, end - off);
	if (kinds[k].grows)
		grow(off + len);
}

static void op_copy_range(void)
{
	size_t from, to, len;
	off_t in, out;
	ssize_t r;

	if (!model_size)
		return;
	region(&from, &len, model_size);
	to = below(limit - len);
	if (to < from + len && from < to + len)
		return; /* ranges that overlap are an error */
	note("copy_file_range %zu+%zu -> %zu", from, len, to);
	in = (off_t)from;
	out = (off_t)to;
	r = copy_file_range(below(2) ? ro_fd : rw_fd, &in, rw_fd, &out, len, 0);
	if (r < 0)
		differ("copy_file_range: %s", strerror(errno));
	if (r == 0 || (size_t)r > len)
		differ("copy_file_range gave %zd of %zu", r, len);
	memcpy(model + to, model + from, (size_t)r);
	grow(to + (size_t)r);
}

/* Holes may be reported as data, never data as a hole. */
static void op_seek(void)
{
	size_t off, i;
	off_t data, hole;

	if (!model_size)
		return;
	off = below(model_size);
	note("seek data and hole from %zu", off);
	data = lseek(ro_fd, (off_t)off, SEEK_DATA);
	if (data < 0 && errno != ENXIO)
		differ("SEEK_DATA: %s", strerror(errno));
	if (data >= 0 && ((size_t)data < off || (size_t)data >= model_size))
		differ("SEEK_DATA from %zu gave %lld", off, (long long)data);
	for (i = off; i < (data < 0 ? model_size : (size_t)data); i++)
		if (model[i])
			differ("SEEK_DATA from %zu gave %lld, but byte %zu is not zero", off,
			       (long long)data, i);
	hole = lseek(ro_fd, (off_t)off, SEEK_HOLE);
	if (hole < (off_t)off || (size_t)hole > model_size)
		differ("SEEK_HOLE from %zu gave %lld", off, (long long)hole);
}

static void op_sync(void)
{
	note("sync");
	if (below(2) ? fsync(rw_fd) : fdatasync(rw_fd))
		differ("sync: %s", strerror(errno));
}

static void op_reopen(void)
{
	note("reopen");
	open_both();
}

static void (*const operations[])(void) = {
	op_read,      op_read,	    op_read,	   op_write,	op_write,     op_write,
	op_append,    op_truncate,  op_map_read,   op_map_read, op_map_write, op_map_write,
	op_fallocate, op_fallocate, op_copy_range, op_seek,	op_sync,      op_reopen,
};

static void load(void)
{
	ssize_t r;

	while ((r = pread(ro_fd, model + model_size, limit - model_size, (off_t)model_size)) > 0)
		model_size += (size_t)r;
	if (r < 0)
		err(2, "%s", path);
}

static void check_whole(const char *how)
{
	size_t done = 0;
	ssize_t r;

	note("%s", how);
	compare_size();
	while (done < model_size) {
		r = pread(ro_fd, scratch, model_size - done, (off_t)done);
		if (r <= 0)
			differ("%s at %zu: %zd", how, done, r);
		compare(how, scratch, done, (size_t)r);
		done += (size_t)r;
	}
}

int main(int argc, char **argv)
{
	unsigned long n = 2000, seed = 1;
	int c;

	while ((c = getopt(argc, argv, "s:n:l:r")) != -1) {
		if (c == 's')
			seed = strtoul(optarg, NULL, 10);
		else if (c == 'n')
			n = strtoul(optarg, NULL, 10);
		else if (c == 'l')
			limit = strtoul(optarg, NULL, 10);
		else if (c == 'r')
			keep_reader = true;
		else
			errx(2, "usage: fsx [-s SEED] [-n OPERATIONS] [-l MAXIMUM] [-r] FILE");
	}
	if (optind + 1 != argc || limit < 8192)
		errx(2, "usage: fsx [-s SEED] [-n OPERATIONS] [-l MAXIMUM] [-r] FILE");
	path = argv[optind];
	model = calloc(1, limit);
	scratch = malloc(limit);
	if (!model || !scratch)
		err(2, "memory");
	ro_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (ro_fd < 0)
		err(2, "%s", path);
	load();
	rng_state = seed * 0x9e3779b97f4a7c15ull + 1;
	open_both();
	for (step = 0; step < n; step++) {
		operations[below(sizeof(operations) / sizeof(operations[0]))]();
		compare_size();
	}
	check_whole("the whole file by the reader");
	keep_reader = false;
	open_both();
	check_whole("the whole file, opened anew");
	return 0;
}
