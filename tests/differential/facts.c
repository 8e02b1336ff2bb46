/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is known of the objects of a difference beside the two records: what has happened to them in
 * this run, and what the step does.  Rules ask.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "facts.h"

/* Times that are left as they are: that is not even looked at. */
static bool touches_nothing(const struct op *op)
{
	return (op->code == OP_UTIMENS || op->code == OP_FUTIMENS) && (int64_t)op->b == -2 &&
	       (int64_t)op->c == -2;
}

/* It changes what a symlink leads to, not the symlink. */
static bool follows(const struct op *op)
{
	return (op->code == OP_CHMOD || op->code == OP_CHOWN || op->code == OP_UTIMENS) &&
	       !(op->a & AT_SYMLINK_NOFOLLOW);
}

/* The step changes attributes of the very object, and nothing else. */
bool fact_changes_attributes(const struct difference *d)
{
	static const uint8_t codes[] = { OP_CHMOD,	 OP_FCHMOD,	  OP_CHOWN,    OP_FCHOWN,
					 OP_UTIMENS,	 OP_FUTIMENS,	  OP_SETXATTR, OP_FSETXATTR,
					 OP_REMOVEXATTR, OP_FREMOVEXATTR, OP_SETFLAGS, OP_SETFSX };

	if ((d->where != W_TARGET && d->where != W_FD && d->where != W_LED) ||
	    rec_value(d->lr, W_CALL, TAG_ERRNO, 1) || touches_nothing(d->op))
		return false;
	if (S_ISLNK(rec_value(d->lr, W_TARGET, TAG_MODE, 0)) &&
	    follows(d->op) != (d->where == W_LED))
		return false;
	return memchr(codes, d->op->code, sizeof(codes)) != NULL;
}

bool fact_was_opened(const struct difference *d, enum where w)
{
	const struct shared *sh = d->run->sh;
	uint64_t ino = rec_value(d->kr, w, TAG_INO, 0);

	for (size_t i = 0; i < sh->n_opened; i++)
		if (sh->opened[i] == ino)
			return true;
	return false;
}

/* Whether it was written through a mapping. */
bool fact_was_mapped(const struct difference *d, enum where w)
{
	const struct shared *sh = d->run->sh;
	uint64_t ino = rec_value(d->kr, w, TAG_INO, 0);

	for (size_t i = 0; i < sh->n_mapped; i++)
		if (sh->mapped[i] == ino)
			return true;
	return false;
}

struct slot *fact_slot(const struct difference *d)
{
	return &d->run->slot[d->op->fd % SLOTS];
}

bool fact_removes_acl(const struct op *op)
{
	return (op->code == OP_REMOVEXATTR || op->code == OP_FREMOVEXATTR) &&
	       !strncmp(op->path2.p, "system.posix_acl_", 17);
}

bool fact_is_mark(const struct difference *d, const char *mark)
{
	const size_t len = strlen(mark);

	return d->where == W_UPPER && d->tag == TAG_XATTR && d->key_len > len &&
	       !memcmp(d->key + d->key_len - len, mark, len);
}

static void note_names(struct shared *sh, const struct str *path)
{
	for (size_t at = 0, n; at < path->len && sh->n_refused < OPENED_MAX; at += n + 1) {
		const char *slash = memchr(path->p + at, '/', path->len - at);

		n = slash ? (size_t)(slash - path->p) - at : path->len - at;
		sh->refused[sh->n_refused++] = look_hash(path->p + at, n);
	}
}

void note_refused_rename(struct shared *sh, const struct op *op)
{
	note_names(sh, &op->path);
	note_names(sh, &op->path2);
}

static bool is_refused(const struct shared *sh, const char *name, size_t len)
{
	uint64_t hash = look_hash(name, len);

	for (size_t i = 0; i < sh->n_refused; i++)
		if (sh->refused[i] == hash)
			return true;
	return false;
}

static struct str last_name(const struct str *path)
{
	const char *slash = path->len ? memrchr(path->p, '/', path->len) : NULL;
	size_t start = slash ? (size_t)(slash - path->p) + 1 : 0;

	return (struct str){ path->p + start, path->len - start };
}

/* What a refused rename has marked keeps its marks where it is moved to. */
void note_moved(struct shared *sh, const struct op *op)
{
	const struct str from = last_name(&op->path), to = last_name(&op->path2);

	if (is_refused(sh, from.p, from.len))
		note_names(sh, &to);
	else if (is_refused(sh, to.p, to.len)) /* an exchange */
		note_names(sh, &from);
}

/* Whether a refused rename had this name in its paths. */
bool fact_was_refused(const struct difference *d, const char *name, size_t len)
{
	return is_refused(d->run->sh, name, len);
}

/* Whether a listing has the name without a type. */
bool fact_has_no_type(const struct rec *r, const char *name, size_t len)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->f[i].tag == TAG_NAME && r->f[i].key_len == len &&
		    !memcmp(r->bytes + r->f[i].key, name, len))
			return !(r->f[i].value & ~(uint64_t)PHANTOM);
	return false;
}

/* Whether both files have nothing but zeros where one of the two answers to a seek says that there is a
 * hole; an error is the end. */
bool fact_only_zeros_between(const struct difference *d)
{
	int64_t k = (int64_t)rec_value(d->kr, W_CALL, TAG_RET, 0);
	int64_t l = (int64_t)rec_value(d->lr, W_CALL, TAG_RET, 0);
	uint64_t size = rec_value(d->lr, W_FD, TAG_SIZE, 0);
	uint64_t from, to;
	char buf[4096];

	if (!S_ISREG(rec_value(d->lr, W_FD, TAG_MODE, 0)))
		return false;
	k = k < 0 ? (int64_t)size : k;
	l = l < 0 ? (int64_t)size : l;
	from = (uint64_t)(k < l ? k : l);
	to = (uint64_t)(k < l ? l : k);
	/* data may follow the hole, in another block */
	if (d->op->b == SEEK_HOLE && to > (from | (sizeof(buf) - 1)))
		to = (from | (sizeof(buf) - 1)) + 1;
	while (from < to) {
		size_t n = to - from < sizeof(buf) ? (size_t)(to - from) : sizeof(buf);

		for (unsigned i = 0; i < 2; i++) {
			ssize_t got = pread(op_fd(&d->run->side[i], d->op->fd), buf, n,
					    (off_t)from);

			for (ssize_t at = 0; at < got; at++)
				if (buf[at])
					return false;
		}
		from += n;
	}
	return true;
}

/* How often the machine has taken memory from caches of inodes, for want of it or because somebody said so. */
uint64_t cache_reclaims(void)
{
	FILE *f = fopen("/proc/vmstat", "re");
	char name[64];
	unsigned long long v;
	uint64_t sum = 0;

	while (f && fscanf(f, "%63s %llu", name, &v) == 2)
		if (!strcmp(name, "drop_slab") || !strcmp(name, "slabs_scanned"))
			sum += v;
	if (f)
		(void)fclose(f);
	return sum;
}

/* Whether the kernel may have forgotten what it knew of the layers in this run. */
bool fact_forgot(const struct shared *sh)
{
	return sh->remounts || sh->reclaims != cache_reclaims();
}

/* Whether somebody has a mapping of what the step's descriptor is of. */
bool fact_is_mapped(const struct difference *d)
{
	const struct shared *sh = d->run->sh;
	const struct side *s = &d->run->side[sh->kernel[0] ? 0 : 1];
	struct stat st;

	if (fstat(op_fd(s, d->op->fd), &st) < 0)
		return false;
	for (size_t i = 0; i < (size_t)ACTORS * MAPS; i++)
		if (sh->maps[i / MAPS][i % MAPS] == st.st_ino)
			return true;
	return false;
}
