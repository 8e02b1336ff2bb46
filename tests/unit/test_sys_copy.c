// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copying whole files: every size and every way, holes, more than 4 GiB, files that change size
 * meanwhile, cancelling, clones; and the range copy under it.
 */
#include "scratch.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* Ways to copy, from the best down: what is switched off for each. */
static const char *const ways[][4] = {
	{ NULL },
	{ "ficlone", NULL },
	{ "ficlone", "copy_file_range", NULL },
	{ "ficlone", "copy_file_range", "seek_data", NULL },
	{ "ficlone", "seek_data", NULL },
};
#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

static void take_way(size_t way)
{
	sys_enable_all();
	for (size_t i = 0; i < 4 && ways[way][i]; i++)
		sys_disable(ways[way][i]);
}

/* Calls counted by the hook; it can also cancel or fail. */
static unsigned calls, writes, mutating;
static unsigned fail_write; /* fail the Nth; 0: none */
static _Atomic bool cancel;
static bool cancel_at_write;

static int count_calls(const char *name, bool mutates, bool after)
{
	if (after)
		return 0;
	calls++;
	mutating += mutates;
	if (strcmp(name, "pwrite") != 0 && strcmp(name, "copy_file_range") != 0)
		return 0;
	writes++;
	if (cancel_at_write)
		cancel = true;
	return writes == fail_write ? -ENOSPC : 0;
}

static void count_from_zero(void)
{
	calls = writes = mutating = fail_write = 0;
	cancel = cancel_at_write = false;
	sys_fault_hook = count_calls;
}

/* A byte that differs along the file and is never zero. */
static char byte_at(uint64_t off)
{
	return (char)(1 + (off ^ (off >> 8) ^ (off >> 17)) % 255);
}

static void fill(int fd, uint64_t from, uint64_t to)
{
	char *buf = malloc((size_t)MIB);

	assert_non_null(buf);
	while (from < to) {
		size_t n = to - from < MIB ? (size_t)(to - from) : (size_t)MIB;

		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(from + i);
		assert_int_equal(pwrite(fd, buf, n, (off_t)from), (int)n);
		from += n;
	}
	free(buf);
}

/* [FROM, TO) holds what fill() wrote there, or zeros. */
static void check_range(int fd, uint64_t from, uint64_t to, bool zeros)
{
	char *buf = malloc((size_t)MIB);

	assert_non_null(buf);
	while (from < to) {
		size_t n = to - from < MIB ? (size_t)(to - from) : (size_t)MIB;

		assert_int_equal(pread(fd, buf, n, (off_t)from), (int)n);
		for (size_t i = 0; i < n; i++)
			if (buf[i] != (zeros ? '\0' : byte_at(from + i)))
				fail_msg("byte %llu is %d", (unsigned long long)(from + i), buf[i]);
		from += n;
	}
	free(buf);
}

static uint64_t size_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_size;
}

static uint64_t bytes_used(int fd)
{
	struct stat st;

	assert_int_equal(fsync(fd), 0); /* delayed allocation */
	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static int fresh(const char *name)
{
	(void)unlinkat(scratch, name, 0); /* the first time there is none */
	return make_file(name, "");
}

static void test_sizes(void **state)
{
	const uint64_t sizes[] = { 0, 1, 4095, 4096, 65535, 65536, 65537, MIB + 3, 5 * MIB + 1 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int in = fresh("in");

		fill(in, 0, sizes[i]);
		for (size_t way = 0; way < N_WAYS; way++) {
			uint64_t copied = UINT64_MAX;
			int out = fresh("out");

			take_way(way);
			assert_int_equal(sys_copy_data(in, out, sizes[i], NULL, &copied), 0);
			assert_true(copied == sizes[i] || (way == 0 && copied == 0));
			assert_int_equal(size_of(out), sizes[i]);
			check_range(out, 0, sizes[i], false);
			close(out);
		}
		close(in);
	}
}

/* Small files are the most common by far: their cost is fixed. */
static void test_small_is_two_calls(void **state)
{
	int in = make_file("in", "a small file"), out = make_file("out", "");

	(void)state;
	count_from_zero();
	assert_int_equal(sys_copy_data(in, out, 12, NULL, NULL), 0);
	assert_int_equal(calls, 2);
	assert_int_equal(mutating, 1);
	assert_int_equal(size_of(out), 12);
	count_from_zero();
	assert_int_equal(sys_copy_data(in, out, 0, NULL, NULL), 0);
	assert_true(calls <= 1);
	assert_int_equal(mutating, 0);
	close(in);
	close(out);
}

/* A hole of 64 MiB, data, a hole of 64 MiB, data not at a block's border, a hole to the end. */
static void test_holes(void **state)
{
	const uint64_t size = 200 * MIB + 5;
	int in = make_file("in", "");

	(void)state;
	fill(in, 64 * MIB, 65 * MIB);
	fill(in, 129 * MIB + 4096, 129 * MIB + 10000);
	assert_int_equal(ftruncate(in, (off_t)size), 0);
	for (size_t way = 0; way < N_WAYS; way++) {
		uint64_t copied = 0;
		int out = fresh("out");

		take_way(way);
		assert_int_equal(sys_copy_data(in, out, size, NULL, &copied), 0);
		assert_int_equal(size_of(out), size);
		check_range(out, 0, 64 * MIB, true);
		check_range(out, 64 * MIB, 65 * MIB, false);
		check_range(out, 65 * MIB, 129 * MIB + 4096, true);
		check_range(out, 129 * MIB + 4096, 129 * MIB + 10000, false);
		check_range(out, 129 * MIB + 10000, size, true);
		assert_true(copied <= 2 * MIB);
		assert_true(bytes_used(out) <= 3 * MIB);
		close(out);
	}
	close(in);
}

static void test_all_hole(void **state)
{
	const uint64_t sizes[] = { 4096, 65536, 3 * MIB };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int in = fresh("in");

		assert_int_equal(ftruncate(in, (off_t)sizes[i]), 0);
		for (size_t way = 0; way < N_WAYS; way++) {
			int out = fresh("out");

			take_way(way);
			assert_int_equal(sys_copy_data(in, out, sizes[i], NULL, NULL), 0);
			assert_int_equal(size_of(out), sizes[i]);
			assert_int_equal(bytes_used(out), 0);
			check_range(out, 0, sizes[i], true);
			close(out);
		}
		close(in);
	}
}

static void test_beyond_4gib(void **state)
{
	const uint64_t size = 6 * GIB + 17;
	int in = make_file("in", "");

	(void)state;
	fill(in, 0, 10);
	fill(in, 4 * GIB - 4096, 4 * GIB + 4096);
	fill(in, size - 10, size);
	/* Without SEEK_DATA 6 GiB of zeros would be read: that way has its test above. */
	for (size_t way = 0; way < 3; way++) {
		int out = fresh("out");

		take_way(way);
		assert_int_equal(sys_copy_data(in, out, size, NULL, NULL), 0);
		assert_int_equal(size_of(out), size);
		check_range(out, 0, 10, false);
		check_range(out, 10, MIB, true);
		check_range(out, 4 * GIB - 4096, 4 * GIB + 4096, false);
		check_range(out, 4 * GIB + 4096, 4 * GIB + MIB, true);
		check_range(out, size - 10, size, false);
		assert_true(bytes_used(out) <= MIB);
		close(out);
	}
	close(in);
}

/* SIZE is what was known before: the file may be shorter or longer by now. */
static void test_other_size(void **state)
{
	const uint64_t have[] = { 100, 3 * MIB };
	const uint64_t want[] = { 50, 60000, 2 * MIB, 10 * MIB };

	(void)state;
	for (size_t i = 0; i < 2 * 4; i++) {
		uint64_t is = have[i / 4], size = want[i % 4];
		int in = fresh("in");

		fill(in, 0, is);
		for (size_t way = 0; way < N_WAYS; way++) {
			int out = fresh("out");

			take_way(way);
			assert_int_equal(sys_copy_data(in, out, size, NULL, NULL), 0);
			assert_int_equal(size_of(out), size);
			check_range(out, 0, is < size ? is : size, false);
			check_range(out, is < size ? is : size, size, true);
			close(out);
		}
		close(in);
	}
}

static int shrinking = -1;

static int shrink_at_write(const char *name, bool mutates, bool after)
{
	if (mutates && after && strcmp(name, "pwrite") == 0)
		assert_int_equal(ftruncate(shrinking, (off_t)(MIB + 5)), 0);
	return 0;
}

static void test_shrinks_while_copied(void **state)
{
	int in = make_file("in", ""), out = make_file("out", "");

	(void)state;
	fill(in, 0, 5 * MIB);
	take_way(2);
	shrinking = in;
	sys_fault_hook = shrink_at_write;
	assert_int_equal(sys_copy_data(in, out, 5 * MIB, NULL, NULL), 0);
	assert_int_equal(size_of(out), 5 * MIB);
	check_range(out, 0, MIB + 5, false);
	check_range(out, MIB + 5, 5 * MIB, true);
	close(in);
	close(out);
}

static void test_cancel(void **state)
{
	int in = make_file("in", ""), out = make_file("out", "");
	uint64_t copied = 77;

	(void)state;
	fill(in, 0, 5 * MIB);
	take_way(2);
	count_from_zero();
	cancel = true;
	assert_int_equal(sys_copy_data(in, out, 5 * MIB, &cancel, &copied), -EINTR);
	assert_int_equal(calls, 0);
	count_from_zero();
	cancel_at_write = true;
	assert_int_equal(sys_copy_data(in, out, 5 * MIB, &cancel, &copied), -EINTR);
	assert_int_equal(writes, 1);
	assert_int_equal(copied, 77);
	close(in);
	close(out);
}

static void test_error(void **state)
{
	int in = make_file("in", "");

	(void)state;
	fill(in, 0, 5 * MIB);
	for (size_t way = 1; way < N_WAYS; way++) {
		unsigned last = way == 1 ? 1 : 3; /* the range call takes all at once */

		for (unsigned nth = 1; nth <= last; nth++) {
			int out = fresh("out");

			take_way(way);
			count_from_zero();
			fail_write = nth;
			assert_int_equal(sys_copy_data(in, out, 5 * MIB, NULL, NULL), -ENOSPC);
			assert_int_equal(writes, nth);
			close(out);
		}
	}
	close(in);
}

static void test_reflink(void **state)
{
	int in = make_file("in", ""), out = make_file("out", ""), probe = make_file("probe", "");
	uint64_t copied = 77;
	bool can;

	(void)state;
	fill(in, 0, 2 * MIB);
	can = ioctl(probe, FICLONE, in) == 0;
	count_from_zero();
	assert_int_equal(sys_copy_data(in, out, 2 * MIB, NULL, &copied), 0);
	check_range(out, 0, 2 * MIB, false);
	assert_int_equal(copied, can ? 0 : 2 * MIB);
	assert_true(can ? writes == 0 : writes > 0);
	/* Only the first part is wanted: no clone of the whole. */
	close(out);
	out = fresh("out");
	assert_int_equal(sys_copy_data(in, out, MIB, NULL, &copied), 0);
	assert_int_equal(size_of(out), MIB);
	assert_int_equal(copied, MIB);
	close(in);
	close(out);
	close(probe);
}

static void test_range(void **state)
{
	int in = make_file("in", ""), out = make_file("out", "");

	(void)state;
	fill(in, 0, 3 * MIB);
	for (int round = 0; round < 2; round++) {
		uint64_t off = 100;

		while (off < 3 * MIB) {
			ssize_t n = sys_copy_file_range(in, off, out, off, (size_t)(4 * MIB));

			assert_true(n > 0);
			off += (uint64_t)n;
		}
		assert_int_equal(off, 3 * MIB);
		check_range(out, 0, 100, true);
		check_range(out, 100, 3 * MIB, false);
		assert_int_equal(sys_copy_file_range(in, 3 * MIB, out, 0, 10), 0);
		assert_int_equal(sys_copy_file_range(in, 0, in, 5, 10), -EINVAL);
		assert_int_equal(sys_copy_file_range(in, UINT64_MAX, out, 0, 10), -EINVAL);
		assert_int_equal(ftruncate(out, 0), 0);
		sys_disable("copy_file_range");
	}
	close(in);
	close(out);
}

static void test_read_write(void **state)
{
	int fd = make_file("file", "0123456789");
	char buf[16];

	(void)state;
	assert_int_equal(sys_pread(fd, buf, sizeof(buf), 4), 6);
	assert_memory_equal(buf, "456789", 6);
	assert_int_equal(sys_pread(fd, buf, sizeof(buf), 10), 0);
	assert_int_equal(sys_pread(fd, buf, sizeof(buf), UINT64_MAX), -EINVAL);
	assert_int_equal(sys_pwrite(fd, "ab", 2, 9), 2);
	assert_int_equal(sys_pwrite(fd, "ab", 2, UINT64_MAX), -EFBIG);
	assert_int_equal(size_of(fd), 11);
	assert_int_equal(sys_ftruncate(fd, UINT64_MAX), -EFBIG);
	assert_int_equal(sys_ftruncate(fd, 3), 0);
	assert_int_equal(sys_fallocate(fd, 0, 0, 8192), 0);
	assert_int_equal(size_of(fd), 8192);
	assert_int_equal(sys_fallocate(fd, 0, UINT64_MAX, 1), -EFBIG);
	sys_disable("fallocate");
	assert_int_equal(sys_fallocate(fd, 0, 0, 8192), -EOPNOTSUPP);
	assert_int_equal(sys_lseek(fd, 0, SEEK_HOLE) >= 0, true);
	sys_disable("seek_data");
	assert_int_equal(sys_lseek(fd, 0, SEEK_HOLE), -EINVAL);
	assert_int_equal(sys_lseek(fd, 0, SEEK_END), 8192);
	assert_int_equal(sys_fsync(fd), 0);
	assert_int_equal(sys_fdatasync(fd), 0);
	assert_int_equal(sys_syncfs(fd), 0);
	close(fd);
	fd = sys_openat(scratch, "file", O_RDONLY, 0);
	assert_int_equal(sys_pwrite(fd, "ab", 2, 0), -EBADF);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_sizes),	SCRATCH_TEST(test_small_is_two_calls),
		SCRATCH_TEST(test_holes),	SCRATCH_TEST(test_all_hole),
		SCRATCH_TEST(test_beyond_4gib), SCRATCH_TEST(test_other_size),
		SCRATCH_TEST(test_cancel),	SCRATCH_TEST(test_shrinks_while_copied),
		SCRATCH_TEST(test_error),	SCRATCH_TEST(test_reflink),
		SCRATCH_TEST(test_range),	SCRATCH_TEST(test_read_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
