/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One more name for an object: the object is copied up, and linked to its new place. */
#include "core.h"

#include <errno.h>

/* Link the upper inode of N into the directory behind FD as NAME, over a whiteout if there is one. */
static int link_inode(struct lam_stack *s, struct node *n, int dirfd, const char *name,
		      bool whiteout)
{
	CLEANUP_CLOSE int fd = node_open(s, n, O_PATH);
	char temp[32];
	int r;

	if (fd < 0)
		return fd;
	if (!whiteout) {
		r = sys_link_fd(fd, dirfd, name);
	} else {
		work_temp_name(s, temp);
		r = sys_link_fd(fd, s->work_fd, temp);
		if (r < 0)
			return r;
		r = sys_rename(s->work_fd, temp, dirfd, name, 0);
		if (r < 0)
			(void)sys_unlink(s->work_fd, temp);
	}
	if (r ==
	    0) /* a walk of upper may have been here already, and come late to the other name */
		uppermap_note(s, n, n->real_ino,
			      fsys_generation(s, s->layers[LAYER_UPPER].fs, fd, "", NULL));
	return r;
}

static int link_locked(struct lam_stack *s, struct node *n, struct node *d, const char *name,
		       struct lam_entry *ret)
{
	struct found f = { 0 };
	struct lam_entry entry;
	struct fdent *e;
	bool orphan = n->flags & NF_ORPHAN;
	int r;

	if (d->flags & NF_DEAD || (n->flags & NF_DEAD && !orphan))
		return -ENOENT;
	r = lookup_locked(s, d, name, &f);
	if (r == 0 && f.type)
		r = -EEXIST;
	if (r == 0 && n->flags & NF_ORIGIN)
		r = copyup_set_impure(s, d);
	if (r == 0 && n->flags & NF_INDEXED) {
		struct statx st;

		r = node_statx(s, n, &st);
		if (r == 0)
			r = index_settle_nlink(s, n, &st);
	}
	if (r == 0)
		r = rdir_open(s, d->dir->upper, &e);
	if (r == 0) {
		r = link_inode(s, n, e->fd, name, f.upper_whiteout || f.upper_dead_file);
		if (r == 0 && f.upper_dot_wh)
			r = work_unwhiteout(s, e->fd, name, true);
		fdcache_put(&s->fds, e);
	}
	found_done(s, &f);
	if (r < 0)
		return r;
	if (orphan) { /* O_TMPFILE gets its first name */
		(void)work_orphan_drop(s, n);
		n->flags &= (uint16_t)~NF_DEAD;
	}
	dirlist_note_upper(s, d, name, node_mode_type(n), true);
	r = node_set_location(s, n, d, name);
	if (r == 0)
		r = attr_get(s, n, &entry.attr);
	if (r < 0)
		return r;
	entry.id = n->id;
	entry.generation = n->generation;
	*ret = entry;
	return 0;
}

int lam_link(struct lam_stack *s, const struct lam_call *call, uint64_t id, uint64_t parent,
	     const char *name, struct lam_entry *ret)
{
	HELD(n, s);
	HELD(d, s);
	struct names_lock names;
	int r = node_get(s, id, &n.n);

	if (r == 0)
		r = node_get_dir(s, parent, &d.n);
	if (r == 0)
		r = name_check(s, name, true);
	if (r < 0)
		return r;
	if (s->read_only)
		return -EROFS;
	if (node_is_dir(n.n))
		return -EPERM;
	if (n.n->flags & NF_DEAD && !(n.n->flags & NF_ORPHAN))
		return -ENOENT;
	perm_thread_init();
	r = attr_check_change(s, n.n, false);
	if (r == 0)
		r = attr_check_change(s, d.n, true);
	/* A second name cannot carry a redirect relative to the first: without redirects the data comes up. */
	if (r == 0)
		r = s->redirect_on ? copyup(s, call, n.n) : copyup_data(s, call, n.n, UINT64_MAX);
	if (r == 0)
		r = copyup(s, call, d.n);
	if (r < 0)
		return r;
	if (n.n->flags & NF_METACOPY) {
		mutex_lock(&s->rename_lock);
		r = rename_set_redirect(s, n.n, false);
		mutex_unlock(&s->rename_lock);
		if (r < 0)
			return r;
	}
	mutex_lock(&d.n->dir->lock);
	names = names_lock(s, n.n, NULL);
	r = link_locked(s, n.n, d.n, name, ret);
	names_note(s);
	names_unlock(&names);
	mutex_unlock(&d.n->dir->lock);
	return r;
}

int link_name_locked(struct lam_stack *s, struct node *d, const char *name, struct node *n)
{
	struct statx st, there;
	struct fdent *e;
	uint32_t visible;
	char key[INDEX_NAME_MAX + 1];
	int r;

	if (!(n->flags & NF_INDEXED))
		return 0;
	r = node_statx(s, n, &st);
	if (r == 0)
		r = index_node_nlink(s, n, &st, &visible);
	if (r == 0)
		r = rdir_open(s, d->dir->upper, &e);
	if (r < 0)
		return r;
	r = sys_statx(e->fd, name, &there);
	if (r == 0) {
		r = there.stx_ino == st.stx_ino ? 0 : -ESTALE;
		goto out;
	}
	if (r != -ENOENT)
		goto out;
	mutex_lock(&n->lock);
	strcpy(key, n->extra->index_name);
	mutex_unlock(&n->lock);
	r = copyup_set_impure(s, d);
	if (r == 0)
		r = index_write_nlink_lower(s, n, key, visible);
	if (r == 0)
		r = sys_link(index_dir(s, key), key, e->fd, name);
	names_note(s);
	if (r == 0)
		r = index_write_nlink(s, index_dir(s, key), key, visible, st.stx_nlink + 1);
	if (r == 0)
		dirlist_note_upper(s, d, name, node_mode_type(n), false);
out:
	fdcache_put(&s->fds, e);
	return r;
}
