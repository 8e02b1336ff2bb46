/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tight loops of the benchmark, where a shell would measure itself.
 *
 *   openread DIR N     open, read and close N times, going round the files of DIR
 *   churn DIR N        create N empty files in a new directory below DIR and unlink them
 *   append DIR         append 10 bytes to every file of DIR
 *   poke FILE          write one byte in the middle of FILE
 *   seqread FILE       read FILE by 1 MiB          seqwrite FILE MIB   write MIB new MiB by 1 MiB
 *   randread FILE N    N reads of 4 KiB            randwrite FILE N    N writes of 4 KiB
 *   mapread FILE       touch every page of FILE through a mapping
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1024u * 1024u)

static char buffer[MIB];

/* The same pseudo-random places in every run. */
static uint64_t rng(void)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static int must_open(int dirfd, const char *name, int flags)
{
	int fd = openat(dirfd, name, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		err(1, "%s", name);
	return fd;
}

/* The regular files of DIR.  The program ends soon: nothing is freed. */
static char **list(int dirfd, size_t *ret_n)
{
	DIR *d = fdopendir(dup(dirfd));
	char **names = NULL;
	size_t n = 0, room = 0;
	struct dirent *e;

	if (!d)
		err(1, "fdopendir");
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		if (n == room) {
			room = room ? 2 * room : 256;
			names = realloc(names, room * sizeof(*names));
			if (!names)
				err(1, "memory");
		}
		names[n++] = strdup(e->d_name);
	}
	closedir(d);
	if (!n)
		errx(1, "no files");
	*ret_n = n;
	return names;
}

static void op_openread(const char *dir, unsigned long times)
{
	int dirfd = must_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY), fd;
	size_t n;
	char **names = list(dirfd, &n);

	for (unsigned long i = 0; i < times; i++) {
		fd = must_open(dirfd, names[i % n], O_RDONLY);
		if (read(fd, buffer, 4096) < 0)
			err(1, "read");
		close(fd);
	}
}

static void op_churn(const char *dir, unsigned long times)
{
	int dirfd = must_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY), sub;
	char name[32];

	if (mkdirat(dirfd, "churn", 0755) < 0)
		err(1, "mkdir");
	sub = must_open(dirfd, "churn", O_RDONLY | O_DIRECTORY);
	for (unsigned long i = 0; i < times; i++) {
		snprintf(name, sizeof(name), "file-%lu", i);
		close(must_open(sub, name, O_WRONLY | O_CREAT | O_EXCL));
	}
	for (unsigned long i = 0; i < times; i++) {
		snprintf(name, sizeof(name), "file-%lu", i);
		if (unlinkat(sub, name, 0) < 0)
			err(1, "unlink %s", name);
	}
	if (unlinkat(dirfd, "churn", AT_REMOVEDIR) < 0)
		err(1, "rmdir");
}

static void op_append(const char *dir)
{
	int dirfd = must_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY), fd;
	size_t n;
	char **names = list(dirfd, &n);

	for (size_t i = 0; i < n; i++) {
		fd = must_open(dirfd, names[i], O_WRONLY | O_APPEND);
		if (write(fd, "ten bytes\n", 10) != 10)
			err(1, "append to %s", names[i]);
		close(fd);
	}
}

static void op_poke(const char *file)
{
	int fd = must_open(AT_FDCWD, file, O_WRONLY);
	struct stat st;

	if (fstat(fd, &st) < 0 || pwrite(fd, "x", 1, st.st_size / 2) != 1 || close(fd) < 0)
		err(1, "%s", file);
}

static void op_sequential(const char *file, unsigned long mib, int writes)
{
	int fd = must_open(AT_FDCWD, file, writes ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY);
	ssize_t r;

	if (!writes) {
		while ((r = read(fd, buffer, MIB)) > 0)
			continue;
		if (r < 0)
			err(1, "%s", file);
	}
	for (unsigned long i = 0; writes && i < mib; i++)
		if (write(fd, buffer, MIB) != (ssize_t)MIB)
			err(1, "%s", file);
	if (close(fd) < 0)
		err(1, "%s", file);
}

static void op_random(const char *file, unsigned long times, int writes)
{
	int fd = must_open(AT_FDCWD, file, writes ? O_RDWR : O_RDONLY);
	struct stat st;
	uint64_t pages;
	off_t where;
	ssize_t r;

	if (fstat(fd, &st) < 0 || st.st_size < 4096)
		errx(1, "%s is too small", file);
	pages = (uint64_t)st.st_size / 4096;
	for (unsigned long i = 0; i < times; i++) {
		where = (off_t)(rng() % pages * 4096);
		r = writes ? pwrite(fd, buffer, 4096, where) : pread(fd, buffer, 4096, where);
		if (r != 4096)
			err(1, "%s at %lld", file, (long long)where);
	}
	close(fd);
}

static void op_mapread(const char *file)
{
	int fd = must_open(AT_FDCWD, file, O_RDONLY);
	volatile unsigned char sum = 0;
	unsigned char *p;
	struct stat st;

	if (fstat(fd, &st) < 0)
		err(1, "%s", file);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");
	for (size_t i = 0; i < (size_t)st.st_size; i += 4096)
		sum = (unsigned char)(sum + p[i]);
	close(fd);
}

int main(int argc, char **argv)
{
	const char *op = argc > 2 ? argv[1] : "";
	unsigned long n = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;

	if (!strcmp(op, "openread"))
		op_openread(argv[2], n);
	else if (!strcmp(op, "churn"))
		op_churn(argv[2], n);
	else if (!strcmp(op, "append"))
		op_append(argv[2]);
	else if (!strcmp(op, "poke"))
		op_poke(argv[2]);
	else if (!strcmp(op, "seqread"))
		op_sequential(argv[2], 0, 0);
	else if (!strcmp(op, "seqwrite"))
		op_sequential(argv[2], n, 1);
	else if (!strcmp(op, "randread"))
		op_random(argv[2], n, 0);
	else if (!strcmp(op, "randwrite"))
		op_random(argv[2], n, 1);
	else if (!strcmp(op, "mapread"))
		op_mapread(argv[2]);
	else
		errx(2, "usage: ops OPERATION PATH [COUNT]");
	return 0;
}
