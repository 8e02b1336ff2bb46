/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The differences that are meant: each rule has the name of a row in docs/design/divergences.md, and
 * says as narrowly as it can which difference it lets through.  Nothing else is.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "differential.h"

static bool nlink_of_directories(const struct difference *d)
{
	uint64_t mode = rec_value(d->lr, d->where, TAG_MODE, 0);

	return d->tag == TAG_NLINK && S_ISDIR(mode) && d->k == 1;
}

static bool block_sizes(const struct difference *d)
{
	return d->tag == TAG_BLKSIZE || d->tag == TAG_BLOCKS;
}

/* The kernel's side does not do it where FUSE could not: actor.c. */
static bool collapse_and_insert(const struct difference *d)
{
	(void)d;
	return false;
}

static bool statx_attributes(const struct difference *d)
{
	return d->tag == TAG_ATTRS && d->l == 0;
}

/* The step changes attributes of the very object, and nothing else. */
static bool changes_attributes(const struct difference *d)
{
	static const uint8_t codes[] = { OP_CHMOD,	 OP_FCHMOD,	  OP_CHOWN,    OP_FCHOWN,
					 OP_UTIMENS,	 OP_FUTIMENS,	  OP_SETXATTR, OP_FSETXATTR,
					 OP_REMOVEXATTR, OP_FREMOVEXATTR, OP_SETFLAGS, OP_SETFSX };

	if ((d->where != W_TARGET && d->where != W_FD) || rec_value(d->lr, W_CALL, TAG_ERRNO, 1))
		return false;
	return memchr(codes, d->op->code, sizeof(codes)) != NULL;
}

/*
 * A copy-up changes the ctime of the directories around it (the marks `impure` and `origin`), and the
 * two copy up at different moments.  A directory whose names changed has its mtime moved, and that
 * must agree.
 */
static bool ctime_of_copy_up(const struct difference *d)
{
	return d->tag == TAG_CTIME_MOVED && d->op &&
	       S_ISDIR(rec_value(d->lr, d->where, TAG_MODE, 0)) &&
	       !(changes_attributes(d) && d->l == 0);
}

static bool was_opened(const struct difference *d, enum where w)
{
	const struct shared *sh = d->run->sh;
	uint64_t ino = rec_value(d->kr, w, TAG_INO, 0);

	for (size_t i = 0; i < sh->n_opened; i++)
		if (sh->opened[i] == ino)
			return true;
	return false;
}

static struct slot *slot_of(const struct difference *d)
{
	return &d->run->slot[d->op->fd % SLOTS];
}

/* The kernel has made the copy when Lamina still has not: at the open. */
static bool open_does_not_copy_up(const struct difference *d)
{
	if (d->tag == TAG_CTIME_MOVED && d->op)
		return op_writes_open(d->op) ? d->k == 1 && d->l == 0
					     : d->l == 1 && was_opened(d, d->where);
	return false;
}

/* Filling a file that had metadata only in upper sets its mtime in the kernel. */
static bool metacopy_keeps_mtime(const struct difference *d)
{
	if (!d->op || !op_writes_open(d->op) || !d->run->script->cfg.metacopy ||
	    (d->where != W_FD && d->where != W_TARGET))
		return false;
	if ((d->tag != TAG_MTIME && d->tag != TAG_MTIME_MOVED) || d->k != 1)
		return false;
	slot_of(d)->times_differ = true;
	return true;
}

/*
 * FUSE does not know of immutable and append-only objects: it lets them be opened, and looks at
 * permissions and names first.  Whatever would change something is refused by both.
 */
static bool open_of_immutable(const struct difference *d)
{
	bool attrs = rec_value(d->kr, W_TARGET, TAG_ATTRS, 0) ||
		     rec_value(d->kr, W_PARENT, TAG_ATTRS, 0) ||
		     rec_value(d->kr, W_TARGET2, TAG_ATTRS, 0) ||
		     rec_value(d->kr, W_PARENT2, TAG_ATTRS, 0) ||
		     rec_value(d->kr, W_FD, TAG_ATTRS, 0);

	if (!d->op || !attrs || rec_value(d->kr, W_CALL, TAG_ERRNO, 0) != EPERM)
		return false;
	if (d->op->code == OP_OPEN && d->where == W_FD && !d->has_k)
		return true;
	if (d->tag != TAG_RET && d->tag != TAG_ERRNO)
		return false;
	return d->op->code == OP_OPEN || d->op->code == OP_ACCESS ||
	       rec_value(d->lr, W_CALL, TAG_ERRNO, 0) != 0;
}

/* FUSE has no flags for what is no file and no directory. */
static bool flags_of_special_files(const struct difference *d)
{
	uint64_t mode = rec_value(d->lr, W_TARGET, TAG_MODE, 0);

	return d->op && (d->op->code == OP_GETFLAGS || d->op->code == OP_GETFSX) &&
	       d->where == W_CALL && !S_ISREG(mode) && !S_ISDIR(mode) &&
	       rec_value(d->lr, W_CALL, TAG_ERRNO, 0) == ENOTTY;
}

/* What the kernel lists but cannot look up: a whiteout where nothing is merged. */
static bool whiteout_not_merged(const struct difference *d)
{
	if (d->op && d->op->code == OP_RMDIR && d->where <= W_TARGET &&
	    rec_value(d->kr, W_CALL, TAG_ERRNO, 0) == ENOTEMPTY &&
	    rec_value(d->lr, W_CALL, TAG_ERRNO, 1) == 0) {
		d->run->sh->over = true;
		return true;
	}
	return d->tag == TAG_NAME && !d->has_l && d->k & PHANTOM;
}

static bool refused_setxattr(const struct difference *d)
{
	return d->tag == TAG_CTIME_MOVED && d->op && d->k == 1 && d->l == 0 &&
	       (d->op->code == OP_SETXATTR || d->op->code == OP_FSETXATTR) &&
	       rec_value(d->lr, W_CALL, TAG_ERRNO, 0) != 0;
}

/* FUSE gives directories' descriptors the seeks of a file; a filesystem does not know them. */
static bool seek_in_directories(const struct difference *d)
{
	return d->op && d->op->code == OP_LSEEK && d->op->b >= SEEK_END &&
	       (d->tag == TAG_RET || d->tag == TAG_ERRNO || d->tag == TAG_POS) &&
	       S_ISDIR(rec_value(d->lr, W_FD, TAG_MODE, 0));
}

/* Both are the kernel's when it is compared with itself. */
static bool d_ino_of_kernel(const struct difference *d)
{
	return d->tag == TAG_D_INO && (!d->has_l || d->run->sh->kernel[1] == d->run->sh->kernel[0]);
}

static bool nlink_of_complete_index(const struct difference *d)
{
	return d->tag == TAG_NLINK && d->run->script->cfg.nfs_export;
}

static const struct rule {
	const char *name;
	bool (*allows)(const struct difference *d);
} rules[] = {
	{ "nlink-of-directories", nlink_of_directories },
	{ "blocks", block_sizes },
	{ "statx-attributes", statx_attributes },
	{ "ctime-of-copy-up", ctime_of_copy_up },
	{ "open-does-not-copy-up", open_does_not_copy_up },
	{ "metacopy-keeps-mtime", metacopy_keeps_mtime },
	{ "open-of-immutable", open_of_immutable },
	{ "flags-of-special-files", flags_of_special_files },
	{ "whiteout-not-merged", whiteout_not_merged },
	{ "refused-setxattr", refused_setxattr },
	{ "seek-in-directories", seek_in_directories },
	{ "ino-constant", d_ino_of_kernel },
	{ "nlink-of-complete-index", nlink_of_complete_index },
	{ "collapse-and-insert", collapse_and_insert },
};

enum { RULES = sizeof(rules) / sizeof(rules[0]) };
_Static_assert((int)RULES <= (int)RULES_MAX, "more rules than there are counters");

bool rules_allow(const struct difference *d)
{
	for (size_t i = 0; i < RULES; i++)
		if (rules[i].allows(d)) {
			__atomic_add_fetch(&d->run->sh->rules[i], 1, __ATOMIC_RELAXED);
			return true;
		}
	return false;
}

const char *rule_name(size_t i)
{
	return rules[i].name;
}

size_t rules_count(void)
{
	return RULES;
}

void rule_fired(struct run *run, const char *name)
{
	for (size_t i = 0; i < RULES; i++)
		if (!strcmp(rules[i].name, name))
			__atomic_add_fetch(&run->sh->rules[i], 1, __ATOMIC_RELAXED);
}
