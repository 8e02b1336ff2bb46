/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Origins of upper objects, no directories, that can carry no attribute: symlinks, FIFOs and sockets where the
 * overlay's attributes are user.*, and anything where upper has none; and of those whose origin has no
 * handle to put into one.  Each is a symlink in workdir/lamina/origins,
 * named by the number of the upper inode; its target says what the object is and which use of the number is
 * meant (docs/design/identity.md).
 *
 * A record is written before the copy gets its name, and removed after the last name is gone, so that a
 * crash leaves one too many at worst, which nothing believes.
 * Lock: record_lock while one is replaced or removed, since the number of what is gone may be used again.
 */
#include "core.h"

#include <errno.h>
#include <stdio.h>

#include "base/parse.h"

static void record_name(uint64_t ino, char out[32])
{
	(void)snprintf(out, 32, "%016llx", (unsigned long long)ino);
}

bool record_needed(const struct lam_stack *s, uint32_t type)
{
	return !s->upper_xattr || (s->userxattr && !S_ISREG(type));
}

/* Which use of its number the upper inode NAME in DIRFD is; false if nothing tells. */
static bool which_use(struct lam_stack *s, int dirfd, const char *name, const struct statx *st,
		      struct origin_record *rec)
{
	rec->upper_generation = fsys_generation(s, s->layers[LAYER_UPPER].fs, dirfd, name, NULL);
	rec->upper_birth = st->stx_mask & STATX_BTIME ? birth_generation(st) : 0;
	return rec->upper_generation || rec->upper_birth;
}

static ssize_t read_text(struct lam_stack *s, uint64_t ino, char text[ORIGIN_RECORD_LEN + 1])
{
	char buf[ORIGIN_RECORD_LEN + 2], name[32];
	ssize_t n;

	record_name(ino, name);
	n = sys_readlink(s->origins_fd, name, buf, sizeof(buf));
	if (n < 0)
		return n;
	if (n != ORIGIN_RECORD_LEN)
		return -EINVAL;
	memcpy(text, buf, ORIGIN_RECORD_LEN);
	text[ORIGIN_RECORD_LEN] = '\0';
	return n;
}

int record_store(struct lam_stack *s, const struct node *n, int dirfd, const char *name,
		 const struct statx *st, char text[ORIGIN_RECORD_LEN + 1])
{
	struct origin_record rec = { .id = n->id, .generation = n->generation };
	char temp[32], own[32];
	struct fsys *fs;
	int r;

	text[0] = '\0';
	if (s->origins_fd < 0 || !id_lasts(n->id) || n->flags & NF_BY_NAME)
		return 0;
	/* A filesystem that forgets its handles may number anew at each mount as well. */
	if (!id_real_ino(s, n->id, &fs) || fs->opaque_handles ||
	    !which_use(s, dirfd, name, st, &rec))
		return 0;
	origin_record_encode(&rec, text);
	record_name(st->stx_ino, own);
	work_temp_name(s, temp);
	r = sys_symlink(text, s->work_fd, temp);
	if (r < 0) {
		text[0] = '\0';
		return r == -EPERM || r == -EOPNOTSUPP ? 0 : r;
	}
	mutex_lock(&s->record_lock);
	s->records_used = true;
	r = numset_add(&s->records_fresh, st->stx_ino);
	if (r == 0)
		r = sys_rename(s->work_fd, temp, s->origins_fd, own, 0);
	mutex_unlock(&s->record_lock);
	if (r < 0) {
		(void)sys_unlink(s->work_fd, temp);
		text[0] = '\0';
	}
	return r;
}

bool record_load(struct lam_stack *s, int dirfd, const char *name, const struct statx *st,
		 struct origin_record *ret)
{
	char text[ORIGIN_RECORD_LEN + 1];
	struct origin_record rec, use;

	if (!s->records_used || read_text(s, st->stx_ino, text) < 0 ||
	    origin_record_decode(text, ORIGIN_RECORD_LEN, &rec) < 0)
		return false;
	if (!which_use(s, dirfd, name, st, &use) || use.upper_generation != rec.upper_generation ||
	    use.upper_birth != rec.upper_birth)
		return false;
	*ret = rec;
	return true;
}

void record_peek(struct lam_stack *s, const struct node *n, char text[ORIGIN_RECORD_LEN + 1])
{
	if (!s->records_used || !node_is_upper(n) || !(n->flags & NF_ORIGIN) ||
	    read_text(s, n->real_ino, text) < 0)
		text[0] = '\0';
}

void record_drop(struct lam_stack *s, uint64_t ino, const char *text)
{
	char now[ORIGIN_RECORD_LEN + 1], name[32];

	if (!text[0])
		return;
	record_name(ino, name);
	mutex_lock(&s->record_lock);
	/* Another text is of another object, which has the number now. */
	if (read_text(s, ino, now) > 0 && !strcmp(now, text))
		(void)sys_unlink(s->origins_fd, name); /* to leave it is no harm */
	mutex_unlock(&s->record_lock);
}

/* ---- Those of objects that are no more ---- */

struct sweep {
	struct lam_stack *s;
	bool (*in_upper)(void *ctx, uint64_t ino);
	void *ctx;
};

static int sweep_name(void *ctx, const struct sys_dirent *de)
{
	struct sweep *w = ctx;
	uint64_t ino;
	bool fresh;

	if (strlen(de->name) != 16 || parse_u64_base(de->name, 16, 16, &ino) < 0) {
		(void)sys_unlink(w->s->origins_fd, de->name); /* nothing of ours */
		return 0;
	}
	if (w->in_upper(w->ctx, ino))
		return 0;
	mutex_lock(&w->s->record_lock);
	fresh = numset_has(&w->s->records_fresh, ino); /* its object may be on its way */
	if (!fresh)
		(void)sys_unlink(w->s->origins_fd, de->name);
	mutex_unlock(&w->s->record_lock);
	return 0;
}

void record_sweep(struct lam_stack *s, bool (*in_upper)(void *ctx, uint64_t ino), void *ctx)
{
	struct sweep w = { s, in_upper, ctx };

	if (s->records_used && !s->read_only)
		(void)dirscan(s->origins_fd, sweep_name, &w); /* what stays is not believed */
}

static int any_name(void *ctx, const struct sys_dirent *de)
{
	(void)de;
	((struct lam_stack *)ctx)->records_used = true;
	return 1;
}

int record_open(struct lam_stack *s)
{
	int r = dirscan(s->origins_fd, any_name, s);

	return r < 0 ? r : 0;
}
