/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Merged listings of directories: made in one pass over each layer, kept in step with what we do,
 * dropped when memory is short.  The directory's lock protects its listing; listings_lock the list of
 * all of them.
 */
#include "core.h"

#include <errno.h>

/* Lookups that are answered by looking at the layers before a listing is made. */
#define LOOKUPS_BEFORE_LISTING 4u
#define SCAN_BUFFER 32768u

/* From where FD stands to the end. */
static int scan(int fd, dirscan_fn fn, void *ctx)
{
	CLEANUP_FREE char *buf = malloc(SCAN_BUFFER);
	ssize_t n;

	if (!buf)
		return -ENOMEM;
	while ((n = sys_getdents(fd, buf, SCAN_BUFFER)) > 0) {
		for (ssize_t pos = 0; pos < n;) {
			const struct sys_dirent *de = (const void *)(buf + pos);
			int r;

			if (de->reclen < sizeof(*de) + 1 || de->reclen > n - pos)
				return -EIO;
			pos += de->reclen;
			if (de->name[0] == '.' &&
			    (!de->name[1] || (de->name[1] == '.' && !de->name[2])))
				continue;
			r = fn(ctx, de);
			if (r)
				return r;
		}
	}
	return (int)n;
}

int dirscan(int fd, dirscan_fn fn, void *ctx)
{
	/* A position of our own: others may read the cached descriptor at the same time. */
	CLEANUP_CLOSE int own = sys_openat(fd, ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

	return own < 0 ? own : scan(own, fn, ctx);
}

int dirscan_locked(int fd, dirscan_fn fn, void *ctx)
{
	int64_t at = sys_lseek(fd, 0, SEEK_SET);

	/* One that may be searched and not read is open by O_PATH: reading says why not. */
	return at < 0 ? dirscan(fd, fn, ctx) : scan(fd, fn, ctx);
}

struct build {
	struct lam_stack *s;
	struct listing *l;
	struct fdent *dir;
	uint16_t pos;
	uint16_t layer;
	bool saw_dot_wh;
};

static int add_name(struct build *b, const struct sys_dirent *de)
{
	const char *name = de->name;
	size_t len = strlen(name);
	uint8_t type = de->type;
	bool is_new;
	struct lentry *e;

	if (len > LAM_NAME_MAX)
		return 0;
	if (type == DT_UNKNOWN) {
		struct stat st;

		if (sys_stat(b->dir->fd, name, &st) < 0)
			return 0;
		type = (uint8_t)((st.st_mode & S_IFMT) >> 12);
	}
	e = listing_add(b->l, name, len, &is_new);
	if (!e)
		return -ENOMEM;
	if (is_new) {
		e->first = b->pos;
		e->ino = de->ino;
		e->type = type;
		e->flags = b->pos ? LE_BELOW : LE_UPPER;
		if (type != DT_DIR)
			e->flags |= LE_STOP;
		if (type == DT_CHR)
			e->flags |= LE_MAYBE_WH;
	} else {
		if (b->pos)
			e->flags |= LE_BELOW;
		if (e->flags & LE_STOP)
			return b->l->count > b->s->listing_max ? 1 : 0;
		if (type == DT_DIR) {
			int r = listing_more(b->l, e, b->pos);

			if (r < 0)
				return r;
		} else {
			e->flags |= LE_STOP;
		}
	}
	return b->l->count > b->s->listing_max ? 1 : 0;
}

static int build_name(void *ctx, const struct sys_dirent *de)
{
	struct build *b = ctx;

	if (b->s->read_dot_wh && name_is_dot_wh(de->name)) {
		b->saw_dot_wh = true;
		return 0;
	}
	return add_name(b, de);
}

/* The second pass of a layer that has `.wh.` names: they hide what the layers below have. */
static int build_dot_wh(void *ctx, const struct sys_dirent *de)
{
	struct build *b = ctx;
	const char *name = name_is_dot_wh(de->name) ? dot_wh_target(de->name) : NULL;
	struct lentry *e;
	bool is_new;

	if (!name || !*name)
		return 0;
	e = listing_add(b->l, name, strlen(name), &is_new);
	if (!e)
		return -ENOMEM;
	if (is_new) {
		e->first = b->pos;
		e->type = DT_UNKNOWN;
		e->flags = LE_WHITEOUT;
	}
	e->flags |= LE_STOP;
	return 0;
}

static int build_layer(struct build *b, struct rdir *r)
{
	int res = rdir_open(b->s, r, &b->dir);

	if (res < 0)
		return res;
	b->layer = r->layer;
	b->saw_dot_wh = false;
	res = dirscan_locked(b->dir->fd, build_name, b);
	if (res == 0 && b->saw_dot_wh)
		res = dirscan_locked(b->dir->fd, build_dot_wh, b);
	if (res == 0 && !b->saw_dot_wh && !b->s->watch_lower &&
	    (r->layer != LAYER_UPPER || !b->s->write_dot_wh))
		r->no_dot_wh = true;
	fdcache_put(&b->s->fds, b->dir);
	return res;
}

/* A listing for D, not yet attached.  1: more names than a listing may have. */
static int build(struct lam_stack *s, struct node *d, struct listing **ret)
{
	struct build b = { .s = s, .l = listing_new() };
	int r = 0;

	if (!b.l)
		return -ENOMEM;
	if (d->dir->upper)
		r = build_layer(&b, d->dir->upper);
	for (unsigned i = 0; i < d->dir->n_lower && r == 0; i++) {
		b.pos = (uint16_t)(i + 1);
		r = build_layer(&b, d->dir->lower[i]);
	}
	if (r) {
		listing_free(b.l);
		return r;
	}
	*ret = b.l;
	return 0;
}

/* Take listings from the cold end until the bound holds.  Only of directories that nobody has locked. */
static void shrink(struct lam_stack *s, struct listing *keep)
{
	for (unsigned tries = 0; tries < 32; tries++) {
		struct listing *l = NULL;
		struct node *d = NULL;

		mutex_lock(&s->listings_lock);
		if (s->listings_bytes > s->listings_limit) {
			TAILQ_FOREACH_REVERSE(l, &s->listings, listinglist, lru) {
				if (l != keep && mutex_trylock(&l->node->dir->lock)) {
					d = l->node;
					TAILQ_REMOVE(&s->listings, l, lru);
					s->listings_bytes -= l->bytes;
					/* Before the list is let go: then the node may. */
					d->dir->listing = NULL;
					mutex_unlock(&d->dir->lock);
					break;
				}
			}
		}
		mutex_unlock(&s->listings_lock);
		if (!d)
			return;
		listing_free(l);
	}
}

int dirlist_build(struct lam_stack *s, struct node *d, bool now)
{
	struct dir *dir = d->dir;
	struct listing *l;
	int r;

	/* Where others change lower layers, a listing serves one reading and no lookup. */
	if (dir->listing || dir->too_big || (s->watch_lower && !now))
		return 0;
	if (!now && (dir->n_lower + 1u) * ++dir->lookups <= 2 * LOOKUPS_BEFORE_LISTING)
		return 0;
	r = build(s, d, &l);
	if (r == 1) {
		dir->too_big = true;
		return 0;
	}
	if (r == -EACCES) /* may be searched, not read */
		return now ? r : 0;
	if (r < 0)
		return r;
	l->node = d;
	dir->listing = l;
	dir->lookups = 0;
	mutex_lock(&s->listings_lock);
	TAILQ_INSERT_HEAD(&s->listings, l, lru);
	s->listings_bytes += l->bytes;
	mutex_unlock(&s->listings_lock);
	shrink(s, l);
	return 0;
}

void dirlist_drop_locked(struct lam_stack *s, struct node *d)
{
	struct listing *l = d->dir->listing;

	if (!l)
		return;
	mutex_lock(&s->listings_lock);
	TAILQ_REMOVE(&s->listings, l, lru);
	s->listings_bytes -= l->bytes;
	mutex_unlock(&s->listings_lock);
	d->dir->listing = NULL;
	listing_free(l);
}

void dirlist_drop_last(struct lam_stack *s, struct node *d)
{
	struct listing *l;

	mutex_lock(&s->listings_lock); /* against shrink(), the only one who may still know it */
	l = d->dir->listing;
	if (l) {
		TAILQ_REMOVE(&s->listings, l, lru);
		s->listings_bytes -= l->bytes;
		d->dir->listing = NULL;
	}
	mutex_unlock(&s->listings_lock);
	if (l)
		listing_free(l);
}

void dirlist_touch(struct lam_stack *s, struct listing *l)
{
	mutex_lock(&s->listings_lock);
	if (TAILQ_FIRST(&s->listings) != l) {
		TAILQ_REMOVE(&s->listings, l, lru);
		TAILQ_INSERT_HEAD(&s->listings, l, lru);
	}
	mutex_unlock(&s->listings_lock);
}

/* Change a listing by FN, keeping the sum of bytes; drop it when memory is short. */
static struct lentry *change_add(struct lam_stack *s, struct node *d, const char *name)
{
	struct listing *l = d->dir->listing;
	size_t before = l->bytes;
	struct lentry *e;
	bool is_new;

	e = listing_add(l, name, strlen(name), &is_new);
	mutex_lock(&s->listings_lock);
	s->listings_bytes += l->bytes - before;
	mutex_unlock(&s->listings_lock);
	if (!e || l->count > s->listing_max) {
		d->dir->too_big = e != NULL;
		dirlist_drop_locked(s, d);
		return NULL;
	}
	return e;
}

void dirlist_note_upper(struct lam_stack *s, struct node *d, const char *name, uint32_t mode,
			bool stop)
{
	struct lentry *e;

	window_note_added(s, d->dir, name);
	if (!d->dir->listing)
		return;
	e = change_add(s, d, name);
	if (!e)
		return;
	if (e->first != 0 && e->type == DT_DIR && !(e->flags & LE_WHITEOUT) && S_ISDIR(mode) &&
	    !stop) {
		/* A lower directory gets an upper part: positions below stay, those above something
		 * that is covered too. */
		uint32_t more = e->more;
		uint16_t pos = e->first;

		e->more = 0;
		if (listing_more(d->dir->listing, e, pos) < 0) {
			dirlist_drop_locked(s, d);
			return;
		}
		d->dir->listing->chain[e->more - 1].next = more;
	} else if (e->first != 0 || e->flags & LE_WHITEOUT || stop) {
		e->more = 0;
	}
	e->first = 0;
	e->ino = 0;
	e->type = (uint8_t)((mode & S_IFMT) >> 12);
	e->flags = (uint8_t)((e->flags & LE_BELOW) | LE_UPPER);
	if (!S_ISDIR(mode) || stop)
		e->flags |= LE_STOP;
}

void dirlist_note_removed(struct lam_stack *s, struct node *d, const char *name, bool whiteout)
{
	struct listing *l = d->dir->listing;
	struct lentry *e;

	if (!l)
		return;
	if (whiteout) {
		e = change_add(s, d, name);
		if (!e)
			return;
		e->first = 0;
		e->more = 0;
		e->type = DT_UNKNOWN;
		e->flags = (uint8_t)((e->flags & LE_BELOW) | LE_WHITEOUT | LE_STOP);
		return;
	}
	e = listing_find(l, name, strlen(name));
	if (e)
		listing_remove(l, e);
}

struct empty_check {
	struct lam_stack *s;
	int fd;
	uint16_t layer;
	bool whiteouts;
};

/* Whether upper's own names are all whiteouts. */
static int check_upper_name(void *ctx, const struct sys_dirent *de)
{
	struct empty_check *c = ctx;
	struct statx st;

	if (c->s->read_dot_wh && name_is_dot_wh(de->name)) {
		c->whiteouts = true;
		return 0;
	}
	if (de->type != DT_CHR && de->type != DT_REG && de->type != DT_UNKNOWN)
		return -ENOTEMPTY;
	if (sys_statx(c->fd, de->name, &st) < 0)
		return 0;
	if (!lookup_is_whiteout(c->s, c->layer, c->fd, de->name, &st))
		return -ENOTEMPTY;
	c->whiteouts = true;
	return 0;
}

static bool is_visible(struct lam_stack *s, struct node *d, const char *name)
{
	struct found f = { 0 };
	int r = lookup_locked(s, d, name, &f);
	bool visible = r < 0 || f.type;

	found_done(s, &f);
	return visible;
}

struct visible_check {
	struct lam_stack *s;
	struct node *d;
};

static int check_visible_name(void *ctx, const struct sys_dirent *de)
{
	const struct visible_check *c = ctx;

	if (c->s->read_dot_wh && name_is_dot_wh(de->name))
		return 0;
	return is_visible(c->s, c->d, de->name) ? -ENOTEMPTY : 0;
}

/* The same for a directory whose listing would be too big. */
static int check_lower_scan(struct lam_stack *s, struct node *d)
{
	struct visible_check c = { .s = s, .d = d };
	int r = 0;

	for (unsigned i = 0; i < d->dir->n_lower && r == 0; i++) {
		struct fdent *e;

		r = rdir_open(s, d->dir->lower[i], &e);
		if (r < 0)
			break;
		r = dirscan_locked(e->fd, check_visible_name, &c);
		fdcache_put(&s->fds, e);
	}
	return r;
}

static int check_lower_visible(struct lam_stack *s, struct node *d)
{
	struct listing *l;
	int r;

	if (s->watch_lower)
		dirlist_drop_locked(s, d);
	r = dirlist_build(s, d, true);
	if (r < 0)
		return r;
	l = d->dir->listing;
	if (!l)
		return check_lower_scan(s, d);
	for (struct lentry *e = listing_after(l, 0); e; e = listing_after(l, e->hash)) {
		if (e->flags & LE_WHITEOUT)
			continue;
		if (!(e->flags & LE_MAYBE_WH) && e->type != DT_REG)
			return -ENOTEMPTY;
		if (is_visible(s, d, e->name))
			return -ENOTEMPTY;
	}
	return 0;
}

int dirlist_check_empty(struct lam_stack *s, struct node *d, bool *ret_whiteouts)
{
	struct empty_check c = { .s = s, .layer = LAYER_UPPER };
	struct fdent *e;
	int r;

	if (d->dir->upper) {
		r = rdir_open(s, d->dir->upper, &e);
		if (r < 0)
			return r;
		c.fd = e->fd;
		r = dirscan_locked(e->fd, check_upper_name, &c);
		fdcache_put(&s->fds, e);
		if (r < 0)
			return r;
	}
	if (d->dir->n_lower) {
		r = check_lower_visible(s, d);
		if (r < 0)
			return r;
	}
	*ret_whiteouts = c.whiteouts;
	return 0;
}

/* Only whiteouts are removed: whatever else has come into the directory stays, and keeps it. */
static int clean_name(void *ctx, const struct sys_dirent *de)
{
	struct empty_check *c = ctx;
	int r = check_upper_name(c, de);

	return r < 0 ? r : sys_unlink(c->fd, de->name);
}

int dirlist_clean(struct lam_stack *s, int fd)
{
	struct empty_check c = { .s = s, .layer = LAYER_UPPER, .fd = fd };

	return dirscan(fd, clean_name, &c);
}
