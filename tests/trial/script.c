// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Changes as text: a command is a verb and its words, separated by single blanks; commands are separated
 * by "; ".  Paths have no leading slash; "." is the root.  Modes are octal.
 *
 *	create P MODE		mkdir P MODE		mknod P MODE MAJOR MINOR
 *	symlink P TARGET	link OLD NEW		tmpfile DIR
 *	unlink P		rmdir P			tmplink NEW
 *	rename A B		exchange A B		noreplace A B
 *	write P OFFSET TEXT	fill P OFFSET LENGTH	truncate P SIZE
 *	falloc P OFFSET LENGTH	punch P OFFSET LENGTH	range FROM TO LENGTH
 *	chmod P MODE		chown P UID GID		utimes P SECONDS
 *	setx P NAME VALUE	rmx P NAME		chattr P FLAGS
 *	fsync P			hold P			forget
 *
 * "hold" makes an object one that a client refers to, "tmpfile" too; "forget" ends that for all.
 */
#include "trial.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"

#define WORDS_MOST 6u
#define HELD_MOST 4u
#define CHATTR_MASK (uint32_t)(FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL)

static const struct lam_call call = { .cred = { .umask = 022 } };
static uint64_t held[HELD_MOST];
static unsigned n_held;

struct command {
	struct lam_stack *stack;
	char text[512];
	char *words[WORDS_MOST];
	/* What the words are as numbers and objects, where they are. */
	uint64_t num[WORDS_MOST];
};

bool script_in_use(void *ctx, uint64_t id)
{
	(void)ctx;
	for (unsigned i = 0; i < n_held; i++)
		if (held[i] == id)
			return true;
	return false;
}

static int find(struct lam_stack *stack, const char *path, struct lam_entry *ret)
{
	char copy[512], *save = NULL;
	struct lam_entry e = { .id = LAM_ROOT_ID };

	(void)snprintf(copy, sizeof(copy), "%s", path);
	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		int r = strcmp(name, ".") ? lam_lookup(stack, &call, e.id, name, &e) : 0;

		if (r < 0)
			return r;
	}
	*ret = e;
	return 0;
}

/* The directory of PATH; *RET_NAME gets its last component. */
static int parent_of(struct lam_stack *stack, const char *path, const char **ret_name,
		     uint64_t *ret_id)
{
	const char *slash = strrchr(path, '/');
	struct lam_entry e = { .id = LAM_ROOT_ID };
	char dir[512];
	int r = 0;

	*ret_name = slash ? slash + 1 : path;
	if (slash) {
		(void)snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
		r = find(stack, dir, &e);
	}
	*ret_id = e.id;
	return r;
}

static int hold(uint64_t id)
{
	CHECK(n_held < HELD_MOST);
	held[n_held++] = id;
	return 0;
}

static int forget(struct lam_stack *stack)
{
	unsigned n = n_held;

	n_held = 0;
	for (unsigned i = 0; i < n; i++)
		lam_forget(stack, held[i]);
	return 0;
}

void script_reset(void)
{
	n_held = 0;
}

static mode_t octal(const char *word)
{
	return (mode_t)strtoul(word, NULL, 8);
}

/* ---- Commands on a name ---- */

static int do_name(struct command *c, uint64_t parent, const char *name)
{
	const char *verb = c->words[0];
	struct lam_stack *s = c->stack;
	struct lam_entry e;

	if (!strcmp(verb, "create"))
		return lam_mknod(s, &call, parent, name, S_IFREG | octal(c->words[2]), 0, 0, &e);
	if (!strcmp(verb, "mkdir"))
		return lam_mkdir(s, &call, parent, name, octal(c->words[2]), &e);
	if (!strcmp(verb, "mknod"))
		return lam_mknod(s, &call, parent, name, octal(c->words[2]), (uint32_t)c->num[3],
				 (uint32_t)c->num[4], &e);
	if (!strcmp(verb, "symlink"))
		return lam_symlink(s, &call, parent, name, c->words[2], &e);
	if (!strcmp(verb, "unlink"))
		return lam_unlink(s, &call, parent, name);
	if (!strcmp(verb, "rmdir"))
		return lam_rmdir(s, &call, parent, name);
	if (!strcmp(verb, "tmplink"))
		return lam_link(s, &call, held[0], parent, name, &e);
	return 1;
}

static int do_two_names(struct command *c, uint64_t parent, const char *name)
{
	const char *verb = c->words[0], *name2;
	struct lam_entry e;
	unsigned flags;
	uint64_t to;
	int r;

	if (!strcmp(verb, "rename"))
		flags = 0;
	else if (!strcmp(verb, "exchange"))
		flags = LAM_RENAME_EXCHANGE;
	else if (!strcmp(verb, "noreplace"))
		flags = LAM_RENAME_NOREPLACE;
	else if (!strcmp(verb, "link"))
		flags = ~0u;
	else
		return 1;
	r = parent_of(c->stack, c->words[2], &name2, &to);
	if (r < 0)
		return r;
	if (flags != ~0u)
		return lam_rename(c->stack, &call, parent, name, to, name2, flags);
	r = find(c->stack, c->words[1], &e);
	return r < 0 ? r : lam_link(c->stack, &call, e.id, to, name2, &e);
}

/* ---- Commands on an object ---- */

static int set(struct command *c, uint64_t id)
{
	const char *verb = c->words[0];
	struct lam_attr a = { 0 };
	unsigned valid;

	if (!strcmp(verb, "chmod")) {
		a.mode = octal(c->words[2]);
		valid = LAM_SET_MODE;
	} else if (!strcmp(verb, "chown")) {
		a.uid = (uint32_t)c->num[2];
		a.gid = (uint32_t)c->num[3];
		valid = LAM_SET_UID | LAM_SET_GID;
	} else if (!strcmp(verb, "utimes")) {
		a.atime.tv_sec = a.mtime.tv_sec = (time_t)c->num[2];
		valid = LAM_SET_ATIME | LAM_SET_MTIME;
	} else if (!strcmp(verb, "truncate")) {
		a.size = c->num[2];
		valid = LAM_SET_SIZE;
	} else {
		return 1;
	}
	return lam_setattr(c->stack, &call, id, valid, &a, &a);
}

static int write_all(struct command *c, uint64_t id, uint64_t off, const char *text, size_t len)
{
	ssize_t n = lam_write(c->stack, &call, id, off, text, len, LAM_WRITE_KILL_PRIV);

	return n < 0 ? (int)n : (size_t)n == len ? 0 : -ENOSPC; /* short: the rest met an error */
}

static int do_data(struct command *c, uint64_t id)
{
	const char *verb = c->words[0];
	struct lam_entry to;
	static char block[131072];
	ssize_t n;
	int r;

	if (!strcmp(verb, "write"))
		return write_all(c, id, c->num[2], c->words[3], strlen(c->words[3]));
	if (!strcmp(verb, "fill")) {
		memset(block, 'F', sizeof(block));
		CHECK(c->num[3] <= sizeof(block));
		return write_all(c, id, c->num[2], block, c->num[3]);
	}
	if (!strcmp(verb, "falloc"))
		return lam_fallocate(c->stack, &call, id, 0, c->num[2], c->num[3]);
	if (!strcmp(verb, "punch"))
		return lam_fallocate(c->stack, &call, id,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, c->num[2],
				     c->num[3]);
	if (!strcmp(verb, "fsync"))
		return lam_fsync(c->stack, &call, id, false);
	if (strcmp(verb, "range") != 0)
		return 1;
	r = find(c->stack, c->words[2], &to);
	if (r < 0)
		return r;
	n = lam_copy_range(c->stack, &call, id, 0, to.id, 0, c->num[3]);
	return n < 0 ? (int)n : 0;
}

static int do_object(struct command *c, const struct lam_entry *e)
{
	const char *verb = c->words[0];
	struct lam_fileattr fa;
	struct lam_entry made;
	int r;

	if (!strcmp(verb, "hold"))
		return hold(e->id);
	if (!strcmp(verb, "setx"))
		return lam_setxattr(c->stack, &call, e->id, c->words[2], c->words[3],
				    strlen(c->words[3]), 0);
	if (!strcmp(verb, "rmx"))
		return lam_removexattr(c->stack, &call, e->id, c->words[2]);
	if (!strcmp(verb, "chattr")) {
		r = lam_get_fileattr(c->stack, &call, e->id, &fa);
		if (r < 0)
			return r;
		fa.flags = (fa.flags & ~CHATTR_MASK) | (uint32_t)c->num[2];
		fa.flags_valid = true;
		return lam_set_fileattr(c->stack, &call, e->id, &fa);
	}
	if (!strcmp(verb, "tmpfile")) {
		r = lam_tmpfile(c->stack, &call, e->id, 0600, &made);
		return r < 0 ? r : hold(made.id);
	}
	r = set(c, e->id);
	return r > 0 ? do_data(c, e->id) : r;
}

/* ---- One line ---- */

static int run_command(struct command *c)
{
	char *save = NULL;
	struct lam_entry e;
	const char *name;
	uint64_t parent;
	unsigned n = 0;
	int r;

	for (char *w = strtok_r(c->text, " ", &save); w && n < WORDS_MOST;
	     w = strtok_r(NULL, " ", &save)) {
		c->num[n] = strtoull(w, NULL, 0);
		c->words[n++] = w;
	}
	if (!strcmp(c->words[0], "forget"))
		return forget(c->stack);
	r = parent_of(c->stack, c->words[1], &name, &parent);
	if (r == 0)
		r = do_name(c, parent, name);
	if (r > 0)
		r = do_two_names(c, parent, name);
	if (r <= 0)
		return r;
	r = find(c->stack, c->words[1], &e);
	if (r == 0)
		r = do_object(c, &e);
	CHECK(r <= 0); /* else there is no such verb */
	return r;
}

/* The command at *SCRIPT, which moves behind it. */
static int next_command(struct lam_stack *stack, const char **script)
{
	struct command c = { .stack = stack };
	const char *end = strstr(*script, "; ");
	size_t len = end ? (size_t)(end - *script) : strlen(*script);

	CHECK(len < sizeof(c.text));
	memcpy(c.text, *script, len);
	*script = end ? end + 2 : NULL;
	return run_command(&c);
}

int script_run(struct lam_stack *stack, const char *script)
{
	int r = 0;

	while (r >= 0 && script && *script)
		r = next_command(stack, &script);
	return r;
}

void script_try(struct lam_stack *stack, const char *script)
{
	while (script && *script)
		(void)next_command(stack, &script); /* it may have been done */
}
