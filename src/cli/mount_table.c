/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mount table (/proc/self/mountinfo), and the processes that serve a FUSE mount.
 *
 * Nothing here asks the mounted filesystem itself, whose server may be gone.
 */
#include "cli/mount_table.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"

static void fclosep(FILE **f)
{
	if (*f)
		(void)fclose(*f); /* only read */
}

static void closedirp(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

/* Turn \040 and the like back, in place. */
static void unescape(char *text)
{
	char *to = text;

	while (*text) {
		uint64_t c;

		if (*text == '\\' && strnlen(text, 4) == 4 &&
		    parse_u64_base(text + 1, 3, 8, &c) == 0 && c < 256) {
			*to++ = (char)c;
			text += 4;
		} else {
			*to++ = *text++;
		}
	}
	*to = '\0';
}

/* "36 35 98:0 /root /where options... - type source superoptions" */
static bool parse_line(char *line, char **where, char **type, uint64_t *minor)
{
	char *save, *word = strtok_r(line, " \n", &save);
	const char *colon;

	*where = *type = NULL;
	for (unsigned i = 0; word && i < 5; i++, word = strtok_r(NULL, " \n", &save)) {
		if (i == 2) {
			colon = strchr(word, ':');
			if (!colon || parse_u64(colon + 1, minor) < 0)
				return false;
		}
		if (i == 4)
			*where = word;
	}
	while (word && strcmp(word, "-") != 0)
		word = strtok_r(NULL, " \n", &save);
	if (word)
		*type = strtok_r(NULL, " \n", &save);
	return *where && *type;
}

char *mount_table_path(const char *path)
{
	size_t len = strlen(path);
	size_t start;
	CLEANUP_FREE char *above = NULL, *parent = NULL;
	char *whole;

	while (len > 1 && path[len - 1] == '/')
		len--;
	start = len;
	while (start > 0 && path[start - 1] != '/')
		start--;
	if (start == len || strncmp(path + start, ".", len - start) == 0 ||
	    strncmp(path + start, "..", len - start) == 0)
		return realpath(path, NULL);
	above = start > 0 ? strndup(path, start) : strdup(".");
	if (!above)
		return NULL;
	parent = realpath(above, NULL);
	if (!parent)
		return NULL;
	if (asprintf(&whole, "%s/%.*s", strcmp(parent, "/") == 0 ? "" : parent, (int)(len - start),
		     path + start) < 0)
		return NULL;
	return whole;
}

int mount_table_find(const char *path, struct mount_entry *ret)
{
	FILE *f __attribute__((cleanup(fclosep))) = fopen("/proc/self/mountinfo", "re");
	CLEANUP_FREE char *line = NULL;
	size_t size = 0;
	bool found = false;

	if (!f)
		return -errno;
	while (getline(&line, &size, f) > 0) {
		char *where, *type;
		uint64_t minor = 0;

		if (!parse_line(line, &where, &type, &minor))
			continue;
		unescape(where);
		if (strcmp(where, path) != 0)
			continue;
		/* The last one of a place is the topmost. */
		found = true;
		ret->minor = minor;
		ret->fuse = strcmp(type, "fuse") == 0 || strncmp(type, "fuse.", 5) == 0;
	}
	return found ? 0 : -ENOENT;
}

int mount_table_each(int (*fn)(void *ctx, const char *path, uint64_t minor), void *ctx)
{
	FILE *f __attribute__((cleanup(fclosep))) = fopen("/proc/self/mountinfo", "re");
	CLEANUP_FREE char *line = NULL;
	size_t size = 0;
	int r = 0;

	if (!f)
		return -errno;
	while (r == 0 && getline(&line, &size, f) > 0) {
		char *where, *type;
		uint64_t minor = 0;

		if (!parse_line(line, &where, &type, &minor) ||
		    (strcmp(type, "fuse") != 0 && strncmp(type, "fuse.", 5) != 0))
			continue;
		unescape(where);
		r = fn(ctx, where, minor);
	}
	return r;
}

/* Whether descriptor FD of process PID is FUSE connection MINOR.  Kernels before 6.16 do not say. */
static bool serves(const char *pid, const char *fd, uint64_t minor)
{
	static const char key[] = "fuse_connection:";
	FILE *f __attribute__((cleanup(fclosep))) = NULL;
	CLEANUP_FREE char *path = NULL, *line = NULL;
	char target[32];
	size_t size = 0;
	ssize_t n;

	if (asprintf(&path, "/proc/%s/fd/%s", pid, fd) < 0) {
		path = NULL;
		return false;
	}
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	if (strcmp(target, "/dev/fuse") != 0)
		return false;
	free(TAKE_PTR(path));
	if (asprintf(&path, "/proc/%s/fdinfo/%s", pid, fd) < 0) {
		path = NULL;
		return false;
	}
	f = fopen(path, "re");
	while (f && getline(&line, &size, f) > 0) {
		uint64_t number;
		char *value = line + strlen(key);

		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		value += strspn(value, " \t");
		value[strcspn(value, "\n")] = '\0';
		return parse_u64(value, &number) == 0 && number == minor;
	}
	return false;
}

static bool process_serves(const char *pid, uint64_t minor)
{
	DIR *fds __attribute__((cleanup(closedirp))) = NULL;
	CLEANUP_FREE char *path = NULL;
	const struct dirent *entry;

	if (asprintf(&path, "/proc/%s/fd", pid) < 0) {
		path = NULL;
		return false;
	}
	fds = opendir(path);
	while (fds && (entry = readdir(fds)) != NULL) {
		if (serves(pid, entry->d_name, minor))
			return true;
	}
	return false;
}

bool mount_table_serves(int32_t pid, uint64_t minor)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", pid);
	return process_serves(text, minor);
}

int mount_table_servers(uint64_t minor, int *fds, size_t max, size_t *ret_n)
{
	DIR *proc __attribute__((cleanup(closedirp))) = opendir("/proc");
	const struct dirent *entry;
	size_t n = 0;

	if (!proc)
		return -errno;
	while (n < max && (entry = readdir(proc)) != NULL) {
		uint32_t pid;
		int fd;

		if (!isdigit((unsigned char)entry->d_name[0]) ||
		    parse_u32(entry->d_name, &pid) < 0 || pid > INT_MAX)
			continue;
		if (!process_serves(entry->d_name, minor))
			continue;
		fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0u);
		if (fd < 0)
			continue; /* it has just ended */
		fds[n++] = fd;
	}
	*ret_n = n;
	return 0;
}
