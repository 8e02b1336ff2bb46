/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking names away.  What is below is hidden by a whiteout, never copied; what somebody still uses
 * moves to the orphan area instead of being removed.
 */
#include "core.h"

#include <errno.h>

/* ---- Names of files ---- */

/* Visible names of a non-directory before the change. */
static int count_names(struct lam_stack *s, struct node *n, const struct found *f, uint32_t *ret)
{
	int64_t v;

	if (n->flags & NF_INDEXED)
		return index_node_nlink(s, n, &f->st, ret);
	v = f->st.stx_nlink;
	if (n->flags & NF_ORPHAN) /* one name is only the orphan area's */
		v--;
	if (f->layer != LAYER_UPPER && n->extra)
		v += n->extra->nlink_adjust;
	*ret = v > 0 ? (uint32_t)v : 1;
	return 0;
}

/* The key of N's index entry; "" where its filesystem has no handles. */
static int key_if_any(struct lam_stack *s, struct node *n, char key[INDEX_NAME_MAX + 1])
{
	int r = index_node_key(s, n, key);

	if (r < 0)
		key[0] = '\0';
	return r == -EOPNOTSUPP || r == -ENODATA ? 0 : r;
}

int drop_begin(struct lam_stack *s, struct node *d, const char *name, const struct found *f,
	       struct node *n, struct drop *ret)
{
	struct drop w = { .n = n, .pin = -1 };
	int r;

	w.in_upper = f->layer == LAYER_UPPER && !f->index_only;
	if (!w.in_upper)
		w.lower_positive = true;
	else {
		r = lookup_lower_positive(s, d, name);
		if (r < 0)
			return r;
		w.lower_positive = r;
	}
	w.in_use = stack_in_use(s, n->id);
	if (node_is_dir(n)) {
		w.last = true;
		if (s->nfs_export && n->dir->n_lower) {
			r = key_if_any(s, n, w.key);
			if (r < 0)
				return r;
		}
		*ret = w;
		return 0;
	}
	r = count_names(s, n, f, &w.names);
	if (r < 0)
		return r;
	/* Where links break at copy-up each name below is an object of its own. */
	w.last = w.names <= 1 || (n->flags & NF_BY_NAME && f->layer != LAYER_UPPER);
	if (w.last)
		record_peek(s, n, w.record);
	if (n->flags & NF_INDEXED && w.in_upper) {
		r = index_settle_nlink(s, n, &f->st);
		if (r < 0)
			return r;
	}
	if (f->layer != LAYER_UPPER && (s->nfs_export || f->lower_links) && s->index_fd >= 0) {
		r = key_if_any(s, n, w.key);
		if (r < 0)
			return r;
	}
	/* An indexed inode whose name is only below: its count changes without a link being removed. */
	if (n->flags & NF_INDEXED && !w.in_upper && !w.last) {
		w.upper_nlink = f->st.stx_nlink;
		mutex_lock(&n->lock);
		if (n->extra && n->extra->index_name)
			strcpy(w.key, n->extra->index_name);
		mutex_unlock(&n->lock);
	}
	*ret = w;
	return 0;
}

/* Other names remain, but not the one on record: keep a way to the inode. */
int drop_keep_way(struct lam_stack *s, struct node *d, const char *name, struct drop *w)
{
	struct node *n = w->n;
	struct sys_handle h;
	struct node_extra *x;
	struct place p;
	int r;

	if (w->last || !node_has_location(n, d, name))
		return 0;
	if (!node_is_upper(n) || n->flags & (NF_INDEXED | NF_ORPHAN)) {
		node_name_gone(n, d, name, true);
		return 0;
	}
	r = node_place(s, n, &p);
	if (r < 0)
		return r;
	r = s->upper_handles ? sys_name_to_handle(p.dirfd, p.name, &h, NULL) : -EOPNOTSUPP;
	if (r < 0 && w->in_use) {
		/* No handles: one more link in the orphan area does the same, and is not counted. */
		char orphan[32];

		work_orphan_name(n->id, orphan);
		r = sys_link(p.dirfd, p.name, s->orphan_fd, orphan);
		if (r == 0) {
			n->flags |= NF_ORPHAN;
			atomic_fetch_add(&s->stat_orphans, 1);
		}
		place_done(s, &p);
		return r;
	}
	place_done(s, &p);
	if (r < 0)
		return 0; /* nobody holds it: the next lookup finds another name */
	mutex_lock(&n->lock);
	x = node_extra(n);
	if (x && !x->handle)
		x->handle = malloc(sizeof(h));
	if (x && x->handle) {
		*x->handle = h;
		n->flags |= NF_DETACHED;
	}
	mutex_unlock(&n->lock);
	return x && x->handle ? 0 : -ENOMEM;
}

int drop_pin(struct drop *w, int dirfd, const char *name)
{
	int fd;

	if (!w->last || !w->in_upper)
		return 0;
	fd = sys_openat(dirfd, name, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	w->pin = fd;
	return 0;
}

void drop_unpin(struct drop *w)
{
	if (w->pin >= 0)
		sys_close(w->pin);
	w->pin = -1;
}

int drop_end(struct lam_stack *s, struct drop *w)
{
	struct node *n = w->n;
	int r = 0;

	if (!node_is_dir(n) && w->names > 1)
		names_note(s);
	if (!w->last) {
		/* Only now: a count that is too low after a crash would make the last but one name the
		 * last, and what is written through the other be lost. */
		if (w->upper_nlink && w->key[0])
			return index_write_nlink(s, index_dir(s, w->key), w->key, w->names - 1,
						 w->upper_nlink);
		if (!node_is_upper(n) && w->key[0]) {
			struct node_extra *x;
			int32_t adjust = 0;

			mutex_lock(&n->lock);
			x = node_extra(n);
			if (x)
				adjust = --x->nlink_adjust;
			mutex_unlock(&n->lock);
			r = x ? links_adjust_store(s, w->key, adjust) : -ENOMEM;
		}
		return r;
	}
	if (n->flags & NF_INDEXED)
		r = index_remove(s, n);
	else if (w->key[0] && node_is_dir(n))
		r = index_forget_dir(s, n, w->key);
	else if (w->key[0] && !node_is_upper(n)) {
		r = links_adjust_store(s, w->key, 0);
		if (r == 0 && s->nfs_export)
			r = index_whiteout(s, w->key);
	}
	uppermap_gone(s, n);
	record_drop(s, n->real_ino, w->record);
	n->flags |= NF_DEAD;
	if (!w->in_use)
		node_retire(s, n);
	return r;
}

void drop_unused(struct lam_stack *s, struct node *n)
{
	if (n && n->flags & NF_ORPHAN && n->flags & NF_DEAD)
		lam_forget(s, n->id); /* looks again whether it is in use */
}

/* The upper part of a file's name goes, or a whiteout comes. */
static int hide_file(struct lam_stack *s, int dirfd, const char *name, struct drop *w)
{
	if (!w->in_upper)
		return work_whiteout(s, dirfd, name);
	if (w->last && w->in_use && !(w->n->flags & NF_INDEXED))
		return work_orphan(s, w->n, dirfd, name, w->lower_positive);
	return w->lower_positive ? work_whiteout_over(s, dirfd, name) : sys_unlink(dirfd, name);
}

static int hide_dir(struct lam_stack *s, int dirfd, const char *name, struct drop *w,
		    bool whiteouts)
{
	char temp[32];
	int r;

	if (!w->in_upper)
		return work_whiteout(s, dirfd, name);
	if (w->in_use)
		return work_orphan(s, w->n, dirfd, name, w->lower_positive);
	if (w->lower_positive) {
		r = work_whiteout_exchange(s, NULL, dirfd, name, temp);
	} else if (!whiteouts) {
		return sys_rmdir(dirfd, name);
	} else {
		work_temp_name(s, temp);
		r = sys_rename(dirfd, name, s->work_fd, temp, 0);
	}
	if (r == 0)
		work_discard(s, temp, true);
	return r;
}

/* ---- The operations ---- */

struct removal {
	struct lam_stack *s;
	struct node *d;
	const char *name;
	bool dir;
	struct found f;
	struct node *n;
};

static int remove_locked(struct removal *m)
{
	struct lam_stack *s = m->s;
	bool whiteouts = false;
	struct drop w = { .pin = -1 };
	struct fdent *e;
	int r = attr_check_change(s, m->d, false);

	if (r == 0)
		r = attr_check_change(s, m->n, false);
	if (r == 0 && m->dir) {
		mutex_lock_second(&m->n->dir->lock);
		r = dirlist_check_empty(s, m->n, &whiteouts);
		if (r < 0)
			mutex_unlock(&m->n->dir->lock);
	}
	if (r < 0)
		return r;
	/* Its parent must be copied up first, but not for what is refused anyway. */
	r = m->d->dir->upper ? drop_begin(s, m->d, m->name, &m->f, m->n, &w) : -EAGAIN;
	if (r == 0)
		r = drop_keep_way(s, m->d, m->name, &w);
	if (r == 0)
		r = rdir_open(s, m->d->dir->upper, &e);
	if (r == 0) {
		r = drop_pin(&w, e->fd, m->name);
		if (r == 0)
			begun_note(s, e->fd, m->name, &w);
		if (r == 0)
			r = m->dir ? hide_dir(s, e->fd, m->name, &w, whiteouts)
				   : hide_file(s, e->fd, m->name, &w);
		fdcache_put(&s->fds, e);
	}
	if (r == 0) {
		dirlist_note_removed(s, m->d, m->name, w.lower_positive);
		if (m->dir)
			dirlist_drop_locked(s, m->n);
		if (drop_end(s, &w) < 0)
			log_warning("the index could not be told that %s is removed",
				    QUOTE(m->name));
	}
	begun_clear(s, &w);
	drop_unpin(&w);
	if (m->dir)
		mutex_unlock(&m->n->dir->lock);
	return r;
}

/* What goes by this name.  Again, if another name of the same file has changed since. */
static int remove_find(struct removal *m)
{
	struct lam_stack *s = m->s;
	int r;

	node_put(s, m->n);
	m->n = NULL;
	found_done(s, &m->f);
	m->f = (struct found){ 0 };
	r = lookup_locked(s, m->d, m->name, &m->f);
	if (r == 0)
		r = m->f.type ? 0 : -ENOENT;
	if (r == 0 && S_ISDIR(m->f.type) != m->dir)
		r = m->dir ? -ENOTDIR : -EISDIR;
	if (r == 0)
		r = lookup_node_locked(s, m->d, m->name, &m->f, &m->n);
	return r;
}

static int remove_try(struct removal *m)
{
	struct lam_stack *s = m->s;
	struct names_lock names = { 0 };
	uint64_t seen;
	int r;

	mutex_lock(&m->d->dir->lock);
	seen = names_seen(s);
	r = remove_find(m);
	if (r == 0) {
		const uint64_t id = m->n->id;

		names = names_lock(s, m->n, NULL);
		if (names.first && names_changed(s, seen))
			r = remove_find(m);
		if (r == 0 && m->n->id != id)
			r = -ESTALE; /* upper was changed behind our back */
	}
	if (r == 0)
		r = remove_locked(m);
	names_unlock(&names);
	mutex_unlock(&m->d->dir->lock);
	if (r == 0)
		drop_unused(s, m->n);
	node_put(s, m->n);
	m->n = NULL;
	found_done(s, &m->f);
	return r;
}

static int remove_by_id(struct lam_stack *s, const struct lam_call *call, uint64_t parent,
			const char *name, bool dir)
{
	struct removal m = { .s = s, .name = name, .dir = dir };
	HELD(d, s);
	int r = node_get_dir(s, parent, &d.n);

	if (r == 0)
		r = name_check(s, name, false);
	if (r < 0)
		return r;
	if (s->read_only)
		return -EROFS;
	m.d = d.n;
	r = remove_try(&m);
	if (r == -EAGAIN) {
		r = copyup(s, call, d.n);
		if (r == 0)
			r = remove_try(&m);
	}
	return r;
}

int lam_unlink(struct lam_stack *s, const struct lam_call *call, uint64_t parent, const char *name)
{
	return remove_by_id(s, call, parent, name, false);
}

int lam_rmdir(struct lam_stack *s, const struct lam_call *call, uint64_t parent, const char *name)
{
	return remove_by_id(s, call, parent, name, true);
}

/* ---- A clean directory in place of one that is empty but for whiteouts ---- */

/* What the clean one is to have of the other's attributes: not those about what is below. */
static bool want_clean(void *ctx, const char *name)
{
	const char *prefix = ((const struct lam_stack *)ctx)->userxattr ? XATTR_USER_OVL
									: XATTR_TRUSTED_OVL;
	size_t len = strlen(prefix);

	return strncmp(name, prefix, len) ||
	       (strcmp(name + len, "redirect") && strcmp(name + len, "opaque") &&
		strcmp(name + len, "impure"));
}

/* As the directory NAME is, but for what is in it. */
static int make_clean(struct lam_stack *s, int dirfd, const char *name, const char *temp)
{
	CLEANUP_CLOSE int to = -1, from = -1;
	struct statx st;
	int r = sys_statx(dirfd, name, &st);

	if (r < 0)
		return r;
	to = sys_openat(s->work_fd, temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	r = to < 0 ? to : perm_chown(s, to, "", st.stx_uid, st.stx_gid);
	if (r == 0)
		r = sys_copy_xattrs(dirfd, name, to, "", want_clean, s);
	if (r == 0 && s->upper_xattr)
		r = ovl_set(s, to, "", "opaque", "y", 1);
	if (r == 0)
		from = sys_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (from >= 0)
		(void)sys_copy_fileattr(from,
					to); /* as a copy-up: what cannot be had is left out */
	if (r == 0)
		r = sys_chmod(to, "", st.stx_mode & 07777u);
	if (r == 0) {
		struct timespec ts[2] = {
			{ .tv_sec = st.stx_atime.tv_sec, .tv_nsec = st.stx_atime.tv_nsec },
			{ .tv_sec = st.stx_mtime.tv_sec, .tv_nsec = st.stx_mtime.tv_nsec },
		};

		r = sys_utimens(to, "", ts);
	}
	return r;
}

int remove_clear_dir(struct lam_stack *s, int dirfd, const char *name, const struct drop *w,
		     char temp[32])
{
	int r;

	work_victim_name(s, w->in_use ? w->n : NULL, temp);
	r = sys_mkdir(s->work_fd, temp, 0700);
	if (r == 0) {
		r = make_clean(s, dirfd, name, temp);
		if (r == 0)
			r = work_replace(s, dirfd, name, temp);
		if (r < 0)
			(void)sys_rmdir(s->work_fd, temp);
	}
	if (r < 0)
		temp[0] = '\0';
	return r;
}

void remove_clear_undo(struct lam_stack *s, int dirfd, const char *name, char temp[32])
{
	int r = work_replace(s, dirfd, name, temp);

	if (r < 0)
		log_warning("%s could not be put back where it was: %s", QUOTE(name), strerror(-r));
	(void)sys_rmdir(s->work_fd, temp); /* the clean one; anything else has names in it */
}

void remove_clear_done(struct lam_stack *s, const char *temp, struct drop *w)
{
	char orphan[32];

	if (!w->in_use) {
		work_discard(s, temp, true);
		return;
	}
	work_orphan_name(w->n->id, orphan);
	if (sys_rename(s->work_fd, temp, s->orphan_fd, orphan, 0) < 0)
		return; /* the name is clear; without the orphan its users get ESTALE */
	w->n->flags |= NF_ORPHAN;
	atomic_fetch_add(&s->stat_orphans, 1);
}
