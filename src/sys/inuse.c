/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether the kernel's overlayfs has a directory in use as an upper or work directory.
 *
 * The kernel knows by a flag of the inode, which it shows to nobody.  But it refuses such a directory as
 * a lower of another overlay with an index (EBUSY), and a lower is never written: so an overlay is made
 * over the directory, on scratch directories in memory, and never mounted anywhere.  That needs
 * CAP_SYS_ADMIN, and a kernel that takes layers by descriptor (6.13) and of a mount that is not attached
 * (6.18 does); else the mount tables of all processes that can be read are searched.
 */
#include <ctype.h>
#include <dirent.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "sys/compat.h"
#include "sys/feature.h"

#define NAMESPACES_MAX 4096u

/* ---- By a mount ---- */

static int set_fd(int context, const char *key, int fd)
{
	return (int)SYS_RETRY(syscall(SYS_fsconfig, context, FSCONFIG_SET_FD, key, NULL, fd));
}

/* A filesystem in memory that is mounted nowhere. */
static int make_scratch(void)
{
	CLEANUP_CLOSE int context = (int)SYS_RETRY(syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC));
	int r;

	if (context < 0)
		return context;
	r = (int)SYS_RETRY(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	return r < 0 ? r : (int)SYS_RETRY(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0));
}

static int make_dir(int dirfd, const char *name)
{
	int r = (int)SYS_RETRY(mkdirat(dirfd, name, 0700));

	return r < 0 ? r : (int)SYS_RETRY(openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

/* 1, 0, or -EOPNOTSUPP where that cannot be found out in this way. */
static int try_overlay(int fd)
{
	CLEANUP_CLOSE int scratch = make_scratch(), context = -1, upper = -1, work = -1;
	int r = scratch;

	if (r >= 0)
		r = upper = make_dir(scratch, "upper");
	if (r >= 0)
		r = work = make_dir(scratch, "work");
	if (r >= 0)
		r = context = (int)SYS_RETRY(syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC));
	if (r >= 0)
		r = set_fd(context, "lowerdir+", fd);
	if (r >= 0)
		r = set_fd(context, "upperdir", upper);
	if (r >= 0)
		r = set_fd(context, "workdir", work);
	if (r >= 0)
		r = (int)SYS_RETRY(
			syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "index", "on", 0));
	if (r < 0)
		return -EOPNOTSUPP;
	r = (int)SYS_RETRY(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	return r == 0 ? 0 : r == -EBUSY ? 1 : -EOPNOTSUPP;
}

/* ---- By the mount tables ---- */

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
	uint64_t c;

	while (*text) {
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

/* Whether PATH, as process PID sees it, is the directory. */
static bool is_same(const char *pid, const char *path, const struct stat *want)
{
	CLEANUP_FREE char *full = NULL;
	struct stat st;

	/* A relative one is relative to where mount(8) was called: nobody knows. */
	if (path[0] != '/' || asprintf(&full, "/proc/%s/root%s", pid, path) < 0) {
		full = NULL;
		return false;
	}
	return stat(full, &st) == 0 && st.st_ino == want->st_ino && st.st_dev == want->st_dev;
}

/* One line of a mount table: "... - overlay SOURCE OPTIONS". */
static bool line_has(const char *pid, char *line, const struct stat *want)
{
	static const char mark[] = " - overlay ";
	char *options = strstr(line, mark), *save, *word;

	if (!options)
		return false;
	options = strchr(options + strlen(mark), ' ');
	for (word = options ? strtok_r(options + 1, ",\n", &save) : NULL; word;
	     word = strtok_r(NULL, ",\n", &save)) {
		if (strncmp(word, "upperdir=", 9) != 0 && strncmp(word, "workdir=", 8) != 0)
			continue;
		word = strchr(word, '=') + 1;
		unescape(word);
		if (is_same(pid, word, want))
			return true;
	}
	return false;
}

static bool table_has(const char *pid, const struct stat *want)
{
	FILE *f __attribute__((cleanup(fclosep))) = NULL;
	CLEANUP_FREE char *line = NULL;
	char path[64];
	size_t size = 0;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/mountinfo", pid);
	f = fopen(path, "re");
	while (f && getline(&line, &size, f) > 0)
		if (line_has(pid, line, want))
			return true;
	return false;
}

/* Whether the mount namespace of PID was seen before; those that cannot be told apart count as new. */
static bool seen(const char *pid, ino_t *list, size_t *n)
{
	char path[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/ns/mnt", pid);
	if (stat(path, &st) < 0)
		return false;
	for (size_t i = 0; i < *n; i++)
		if (list[i] == st.st_ino)
			return true;
	if (*n < NAMESPACES_MAX)
		list[(*n)++] = st.st_ino;
	return false;
}

static int search_tables(const struct stat *want)
{
	DIR *proc __attribute__((cleanup(closedirp))) = opendir("/proc");
	CLEANUP_FREE ino_t *list = calloc(NAMESPACES_MAX, sizeof(*list));
	const struct dirent *entry;
	size_t n = 0;

	if (!list)
		return -ENOMEM;
	while (proc && (entry = readdir(proc)) != NULL) {
		if (!isdigit((unsigned char)entry->d_name[0]) || seen(entry->d_name, list, &n))
			continue;
		if (table_has(entry->d_name, want))
			return 1;
	}
	return 0;
}

int sys_overlay_uses(int fd)
{
	struct stat st;
	int r = fault_before("overlay_uses", false);

	if (r == 0)
		r = sys_stat(fd, "", &st);
	if (r < 0)
		return r;
	r = feature_present(FEATURE_OPEN_TREE) ? try_overlay(fd) : -EOPNOTSUPP;
	return r == -EOPNOTSUPP ? search_tables(&st) : r;
}
