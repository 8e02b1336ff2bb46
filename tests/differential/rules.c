/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The differences that are meant: each rule has the name of a row in docs/design/divergences.md, and
 * says as narrowly as it can which difference it lets through.  Nothing else is.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "differential.h"

static bool is_call(const struct difference *d, uint8_t code)
{
	return d->op && d->op->code == code && d->where == W_CALL;
}

static bool nlink_of_directories(const struct difference *d)
{
	uint64_t mode = rec_value(d->lr, d->where, TAG_MODE, 0);

	return d->tag == TAG_NLINK && S_ISDIR(mode) && d->k == 1;
}

static bool block_sizes(const struct difference *d)
{
	return d->tag == TAG_BLKSIZE || d->tag == TAG_BLOCKS;
}

static bool collapse_and_insert(const struct difference *d)
{
	return is_call(d, OP_FALLOCATE) && d->op->a & (8 | 32);
}

static bool statx_attributes(const struct difference *d)
{
	return d->tag == TAG_ATTRS && d->l == 0;
}

/*
 * A copy-up changes the ctime of the directory around it (the mark `impure`), and the two copy up at
 * different moments.  A directory whose names changed has its mtime moved, and then both agree.
 */
static bool ctime_of_directory(const struct difference *d)
{
	return d->tag == TAG_CTIME_MOVED && d->op &&
	       (d->where == W_PARENT || d->where == W_PARENT2) &&
	       rec_value(d->kr, d->where, TAG_MTIME_MOVED, 1) == 0 &&
	       rec_value(d->lr, d->where, TAG_MTIME_MOVED, 1) == 0;
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
	{ "ctime-of-copy-up", ctime_of_directory },
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
