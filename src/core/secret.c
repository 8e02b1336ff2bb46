/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What front ends keep in the work directory, for as long as the upper layer that it belongs to: secrets,
 * which are random bytes made once, and files of their own.  The lock of the work directory keeps other processes out;
 * no lock is taken here, as each front end asks once, when it is opened.
 */
#include "core.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

#define SECRET_MAX 256u
#define NAME_ROOM 64u

/* Returns 0, -ENOENT, or -EIO where the file is not of this size. */
static int read_secret(struct lam_stack *s, const char *name, void *buf, size_t size)
{
	CLEANUP_CLOSE int fd = sys_openat(s->own_fd, name, O_RDONLY | O_NOFOLLOW, 0);
	unsigned char bytes[SECRET_MAX + 1];
	ssize_t n;

	if (fd < 0)
		return fd;
	n = sys_pread(fd, bytes, sizeof(bytes), 0);
	if (n < 0)
		return (int)n;
	if ((size_t)n != size) {
		log_error("%s in the work directory has %zd bytes, not %zu", QUOTE(name), n, size);
		return -EIO;
	}
	memcpy(buf, bytes, size);
	return 0;
}

/* A crash leaves none or all of it. */
static int make_secret(struct lam_stack *s, const char *name, void *buf, size_t size)
{
	unsigned char bytes[SECRET_MAX];
	char temp[NAME_ROOM + 4];
	int fd, r = 0;

	if (getrandom(bytes, size, 0) != (ssize_t)size)
		return -EIO;
	(void)snprintf(temp, sizeof(temp), "%s.new", name);
	r = sys_unlink(s->own_fd, temp);
	if (r < 0 && r != -ENOENT)
		return r;
	fd = sys_openat(s->own_fd, temp, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	if (sys_pwrite(fd, bytes, size, 0) != (ssize_t)size)
		r = -EIO;
	else
		r = sys_fsync(fd);
	sys_close(fd);
	if (r == 0)
		r = sys_rename(s->own_fd, temp, s->own_fd, name, 0);
	if (r == 0)
		r = sys_fsync(s->own_fd);
	if (r < 0) {
		(void)sys_unlink(s->own_fd, temp);
		return r;
	}
	memcpy(buf, bytes, size);
	return 0;
}

static bool name_is_good(const char *name)
{
	return strlen(name) < NAME_ROOM && !strchr(name, '/');
}

int lam_stack_file(struct lam_stack *s, const char *name, int *ret_fd)
{
	int fd;

	if (!name_is_good(name))
		return -EINVAL;
	if (s->own_fd < 0)
		return -EROFS;
	fd = sys_openat(s->own_fd, name, O_CREAT | O_RDWR | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

int lam_stack_secret(struct lam_stack *s, const char *name, void *buf, size_t size)
{
	int r;

	if (size == 0 || size > SECRET_MAX || !name_is_good(name))
		return -EINVAL;
	if (s->own_fd < 0)
		return -EROFS;
	r = read_secret(s, name, buf, size);
	return r == -ENOENT ? make_secret(s, name, buf, size) : r;
}
