// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pictures of trees: everything about every object that a program could see, as sorted lines.
 *
 * Left out is what a change may alter without being about it: the times and sizes of directories, change
 * times, access times.  A time since the test began is "now".  An inode number is told where it is
 * one of a lower inode, which an object must keep.
 */
#include "trial.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/hash.h"

#define LINES_MOST 512u
#define DATA_MOST (1u << 20)

/* A tree being looked at: by the engine, or (stack NULL) below a directory. */
struct camera {
	struct lam_stack *stack;
	const char *base;
	char *lines[LINES_MOST];
	size_t n;
	/* Directories still to be listed. */
	char *dirs[LINES_MOST];
	uint64_t ids[LINES_MOST];
	size_t n_dirs;
	const char *dir; /* being listed */
	bool failed;
};

static const struct lam_call call = { 0 };
static char data[DATA_MOST];

/* One is in use at a time.  No allocation of the camera's own goes through what a test makes fail. */
static struct camera *camera_new(void)
{
	static struct camera camera;

	memset(&camera, 0, sizeof(camera));
	return &camera;
}

static char *copy_of(const char *text)
{
	char *copy;

	if (asprintf(&copy, "%s", text) < 0)
		trial_die("no memory");
	return copy;
}

/* ---- One object, both ways ---- */

struct object {
	const char *path;
	uint64_t id; /* of the engine */
	char *real;  /* as a path */
	struct lam_attr attr;
};

static int look(struct camera *c, struct object *o)
{
	struct stat st;

	if (c->stack)
		return lam_getattr(c->stack, &call, o->id, &o->attr);
	if (lstat(o->real, &st) < 0)
		return -errno;
	o->attr = (struct lam_attr){
		.size = (uint64_t)st.st_size,
		.mtime = st.st_mtim,
		.mode = st.st_mode,
		.nlink = (uint32_t)st.st_nlink,
		.uid = st.st_uid,
		.gid = st.st_gid,
		.rdev_major = major(st.st_rdev),
		.rdev_minor = minor(st.st_rdev),
	};
	return 0;
}

static ssize_t read_data(struct camera *c, const struct object *o)
{
	ssize_t n;
	int fd;

	if (S_ISLNK(o->attr.mode))
		return c->stack ? lam_readlink(c->stack, &call, o->id, data, sizeof(data))
				: readlink(o->real, data, sizeof(data));
	if (!S_ISREG(o->attr.mode))
		return 0;
	if (c->stack)
		return lam_read(c->stack, &call, o->id, 0, data, sizeof(data));
	fd = open(o->real, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, data, sizeof(data));
	close(fd);
	return n < 0 ? -errno : n;
}

static ssize_t get_xattr(struct camera *c, const struct object *o, const char *name, char *buf,
			 size_t size)
{
	return c->stack ? lam_getxattr(c->stack, &call, o->id, name, buf, size)
			: lgetxattr(o->real, name, buf, size);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int describe_xattrs(struct camera *c, const struct object *o, FILE *f)
{
	char list[4096], value[4096], *names[64];
	ssize_t len = c->stack ? lam_listxattr(c->stack, &call, o->id, list, sizeof(list))
			       : llistxattr(o->real, list, sizeof(list));
	size_t n = 0;

	if (len < 0)
		return len == -EOPNOTSUPP || !c->stack ? 0 : (int)len;
	for (char *p = list; p < list + len && n < 64; p += strlen(p) + 1)
		names[n++] = p;
	qsort(names, n, sizeof(names[0]), by_text);
	for (size_t i = 0; i < n; i++) {
		ssize_t size = get_xattr(c, o, names[i], value, sizeof(value));

		if (!strcmp(names[i], "security.selinux"))
			continue;
		if (size < 0)
			return c->stack ? (int)size : -errno;
		fprintf(f, " %s=%zd:%08llx", names[i], size,
			(unsigned long long)hash_bytes(value, (size_t)size) & 0xffffffff);
	}
	return 0;
}

/* How much of the data's beginning is text, for the reader of a failed test. */
static int text_length(size_t n)
{
	size_t i = 0;

	while (i < n && i < 16 && data[i] > ' ' && data[i] < 127)
		i++;
	return (int)i;
}

static int describe(struct camera *c, struct object *o, FILE *f)
{
	const struct lam_attr *a = &o->attr;
	ssize_t n;
	int r = look(c, o);

	if (r < 0)
		return r;
	fprintf(f, "%s %o %u:%u", o->path, a->mode, a->uid, a->gid);
	if (!S_ISDIR(a->mode)) {
		fprintf(f, " links=%u size=%llu", a->nlink, (unsigned long long)a->size);
		if (a->mtime.tv_sec >= trial_start)
			fprintf(f, " now");
		else
			fprintf(f, " %lld.%09ld", (long long)a->mtime.tv_sec, a->mtime.tv_nsec);
	}
	if (S_ISBLK(a->mode) || S_ISCHR(a->mode))
		fprintf(f, " dev=%u:%u", a->rdev_major, a->rdev_minor);
	if (c->stack && trial_is_lower(a->ino))
		fprintf(f, " ino=%llu", (unsigned long long)a->ino);
	n = read_data(c, o);
	if (n < 0)
		return (int)n;
	if (n > 0)
		fprintf(f, " data=%08llx'%.*s'",
			(unsigned long long)hash_bytes(data, (size_t)n) & 0xffffffff,
			text_length((size_t)n), data);
	return describe_xattrs(c, o, f);
}

/* ---- The tree ---- */

static void note(struct camera *c, const char *name, uint64_t id)
{
	struct object o = { .id = id };
	char *path = NULL, *line = NULL;
	size_t len;
	FILE *f = open_memstream(&line, &len);
	int r;

	if (!f || asprintf(&path, "%s%s%s", c->dir, *c->dir ? "/" : "", name) < 0 ||
	    (c->base && asprintf(&o.real, "%s/%s", c->base, path) < 0) || c->n == LINES_MOST)
		trial_die("no room for the picture");
	o.path = path;
	r = describe(c, &o, f);
	if (r < 0)
		fprintf(f, "%s cannot be looked at: %s", path, strerror(-r));
	fclose(f);
	c->lines[c->n++] = line;
	if (r == 0 && S_ISDIR(o.attr.mode)) {
		c->ids[c->n_dirs] = id;
		c->dirs[c->n_dirs++] = path;
	} else {
		free(path);
	}
	free(o.real);
}

struct names {
	struct lam_stack *stack;
	uint64_t dir;
	char *name[LINES_MOST];
	size_t n;
};

static bool take_name(void *ctx, const struct lam_dirent *de)
{
	struct names *names = ctx;

	if (strcmp(de->name, ".") && strcmp(de->name, "..") && names->n < LINES_MOST)
		names->name[names->n++] = copy_of(de->name);
	return true;
}

static void list_stack(struct camera *c, uint64_t id)
{
	struct names names = { .n = 0 };
	int r = lam_readdir(c->stack, &call, id, 0, 0, take_name, &names);

	if (r < 0 && c->n < LINES_MOST &&
	    asprintf(&c->lines[c->n++], "%s cannot be listed: %s", c->dir, strerror(-r)) < 0)
		trial_die("no memory");
	for (size_t i = 0; i < names.n; i++) {
		struct lam_entry e;

		r = lam_lookup(c->stack, &call, id, names.name[i], &e);
		if (r == 0)
			note(c, names.name[i], e.id);
		else if (asprintf(&c->lines[c->n++], "%s/%s is listed only: %s", c->dir,
				  names.name[i], strerror(-r)) < 0)
			trial_die("no memory");
		free(names.name[i]);
	}
}

static void list_path(struct camera *c)
{
	char path[1024];
	const struct dirent *de;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "%s/%s", c->base, c->dir);
	dir = opendir(path);
	if (!dir && asprintf(&c->lines[c->n++], "%s cannot be listed: %m", c->dir) < 0)
		trial_die("no memory");
	while (dir && (de = readdir(dir)))
		if (strcmp(de->d_name, ".") && strcmp(de->d_name, ".."))
			note(c, de->d_name, 0);
	if (dir)
		closedir(dir);
}

static char *develop(struct camera *c)
{
	char *text = NULL;
	size_t len;
	FILE *f;

	c->dirs[0] = copy_of("");
	c->ids[0] = LAM_ROOT_ID;
	c->n_dirs = 1;
	for (size_t i = 0; i < c->n_dirs; i++) {
		c->dir = c->dirs[i];
		if (c->stack)
			list_stack(c, c->ids[i]);
		else
			list_path(c);
	}
	qsort(c->lines, c->n, sizeof(c->lines[0]), by_text);
	f = open_memstream(&text, &len);
	if (!f)
		trial_die("no memory");
	for (size_t i = 0; i < c->n; i++) {
		fprintf(f, "%s\n", c->lines[i]);
		free(c->lines[i]);
	}
	for (size_t i = 0; i < c->n_dirs; i++)
		free(c->dirs[i]);
	fclose(f);
	return text;
}

char *picture_of_stack(struct lam_stack *stack)
{
	struct camera *c = camera_new();

	c->stack = stack;
	return develop(c);
}

char *picture_of_path(const char *path)
{
	struct camera *c = camera_new();

	c->base = path;
	return develop(c);
}

/* ---- Comparing ---- */

static bool has_line(const char *text, const char *line, size_t len)
{
	for (const char *p = text; *p; p = strchr(p, '\n') + 1)
		if (!strncmp(p, line, len) && p[len] == '\n')
			return true;
	return false;
}

/* The text with what MAY says left out; static, three at a time. */
static const char *blurred(unsigned may, const char *text, unsigned which)
{
	static char buf[3][65536];
	char *to = buf[which];
	bool dir = false;

	while (*text && to < buf[which] + sizeof(buf[which]) - 1) {
		if (may & (MAY_COUNT | MAY_BREAK) && !strncmp(text, " links=", 7))
			text += 7 + strspn(text + 7, "0123456789");
		if (may & (dir ? MAY_CLEAR : MAY_BREAK) && !strncmp(text, " ino=", 5))
			text += 5 + strspn(text + 5, "0123456789");
		if (*text == '\n')
			dir = false;
		else if (!strncmp(text, " 40", 3))
			dir = true;
		*to++ = *text++;
	}
	*to = '\0';
	return buf[which];
}

/* The line of the object that LINE is about; NULL if TEXT has none. */
static const char *same_object(const char *text, const char *line)
{
	size_t len = strcspn(line, " \n") + 1;

	for (const char *p = text; *p; p = strchr(p, '\n') + 1)
		if (!strncmp(p, line, len))
			return p;
	return NULL;
}

static bool has_word(const char *line, const char *word, size_t len)
{
	for (const char *p = line; p && *p && *p != '\n'; p += strcspn(p, " \n")) {
		p += *p == ' ';
		if (strcspn(p, " \n") == len && !strncmp(p, word, len))
			return true;
	}
	return false;
}

/* Every word of LINE is one of the old line or of the new one. */
static bool words_known(const char *line, const char *old, const char *new)
{
	for (const char *p = line; *p && *p != '\n'; p += strcspn(p, " \n")) {
		p += *p == ' ';
		if (!has_word(old, p, strcspn(p, " \n")) && !has_word(new, p, strcspn(p, " \n")))
			return false;
	}
	return true;
}

/* Part by part old or new: nothing else, and nothing missing that is in both. */
static bool is_between(const char *now, const char *old, const char *new)
{
	for (const char *p = now; *p; p = strchr(p, '\n') + 1)
		if (!words_known(p, same_object(old, p), same_object(new, p)))
			return false;
	for (const char *p = old; *p; p = strchr(p, '\n') + 1) {
		const char *late = same_object(new, p), *here = same_object(now, p);

		if (late && !here)
			return false;
		for (const char *w = p; late && *w != '\n'; w += strcspn(w, " \n")) {
			w += *w == ' ';
			if (has_word(late, w, strcspn(w, " \n")) &&
			    !has_word(here, w, strcspn(w, " \n")))
				return false;
		}
	}
	return true;
}

enum verdict picture_judge(unsigned may, const char *now, const char *old, const char *new)
{
	const char *blurred_now = blurred(may, now, 0);

	if (!strcmp(now, new))
		return VERDICT_NEW;
	if (!strcmp(now, old))
		return VERDICT_OLD;
	if (!strcmp(blurred_now, blurred(may, new, 1)) ||
	    !strcmp(blurred_now, blurred(may, old, 2)))
		return VERDICT_PARTS;
	if (may & MAY_PARTS && is_between(blurred_now, blurred(may, old, 1), blurred(may, new, 2)))
		return VERDICT_PARTS;
	return VERDICT_NEITHER;
}

static void explain_missing(const char *mark, const char *from, const char *in)
{
	for (const char *p = from; *p; p = strchr(p, '\n') + 1) {
		int len = (int)strcspn(p, "\n");

		if (!has_line(in, p, (size_t)len))
			printf("    %s %.*s\n", mark, len, p);
	}
}

void picture_explain(const char *now, const char *old, const char *new)
{
	explain_missing("now   ", now, old);
	explain_missing("old   ", old, now);
	if (old != new) {
		explain_missing("now*  ", now, new);
		explain_missing("new   ", new, now);
	}
}
