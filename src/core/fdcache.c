/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bounded cache of open descriptors: of real directories and of the data of files.  Entries in
 * use are pinned; others are closed from the least recently used end when there are too many.
 * Everything is under the cache's own lock; opening and closing happen outside it.
 */
#include "core.h"

void fdcache_init(struct fdcache *c, unsigned limit)
{
	mutex_init(&c->lock, RANK_FDCACHE);
	TAILQ_INIT(&c->list);
	c->count = 0;
	c->limit = limit;
}

static void fdent_free(struct fdent *e)
{
	sys_close(e->fd);
	free(e);
}

void fdcache_destroy(struct fdcache *c)
{
	struct fdent *e;

	while ((e = TAILQ_FIRST(&c->list))) {
		TAILQ_REMOVE(&c->list, e, lru);
		if (e->owner)
			*e->owner = NULL;
		fdent_free(e);
	}
	c->count = 0;
}

struct fdent *fdcache_get(struct fdcache *c, struct fdent **owner, bool writable)
{
	struct fdent *e;

	mutex_lock(&c->lock);
	e = *owner;
	if (e && writable && !e->writable)
		e = NULL;
	if (e)
		c->hits++;
	else
		c->misses++;
	if (e) {
		e->pins++;
		if (TAILQ_FIRST(&c->list) != e) {
			TAILQ_REMOVE(&c->list, e, lru);
			TAILQ_INSERT_HEAD(&c->list, e, lru);
		}
	}
	mutex_unlock(&c->lock);
	return e;
}

/* Take an entry out of the list; it is freed by the caller, outside the lock. */
static void detach_locked(struct fdcache *c, struct fdent *e)
{
	if (e->owner)
		*e->owner = NULL;
	e->owner = NULL;
	TAILQ_REMOVE(&c->list, e, lru);
	c->count--;
}

/* An idle entry to close, or NULL.  Pinned ones are passed over, but not for long. */
static struct fdent *victim_locked(struct fdcache *c)
{
	struct fdent *e;
	unsigned tries = 64;

	if (c->count <= c->limit)
		return NULL;
	TAILQ_FOREACH_REVERSE(e, &c->list, fdlist, lru) {
		if (!e->pins) {
			detach_locked(c, e);
			return e;
		}
		if (--tries == 0)
			break;
	}
	return NULL;
}

struct fdent *fdcache_add(struct fdcache *c, struct fdent **owner, int fd, bool writable)
{
	struct fdent *e = malloc(sizeof(*e)), *old, *evict[2];

	if (!e) {
		sys_close(fd);
		return NULL;
	}
	e->owner = owner;
	e->fd = fd;
	e->pins = 1;
	e->writable = writable;

	mutex_lock(&c->lock);
	old = *owner;
	if (old && (old->writable || !writable)) {
		old->pins++;
		mutex_unlock(&c->lock);
		fdent_free(e);
		return old;
	}
	if (old) {
		detach_locked(c, old);
		if (old->pins)
			old = NULL; /* its last user frees it */
	}
	*owner = e;
	TAILQ_INSERT_HEAD(&c->list, e, lru);
	c->count++;
	evict[0] = victim_locked(c);
	evict[1] = evict[0] ? victim_locked(c) : NULL;
	mutex_unlock(&c->lock);

	if (old)
		fdent_free(old);
	for (unsigned i = 0; i < 2; i++)
		if (evict[i])
			fdent_free(evict[i]);
	return e;
}

void fdcache_put(struct fdcache *c, struct fdent *e)
{
	bool dead;

	if (!e)
		return;
	mutex_lock(&c->lock);
	CHECK(e->pins > 0);
	e->pins--;
	dead = !e->pins && !e->owner;
	mutex_unlock(&c->lock);
	if (dead)
		fdent_free(e);
}

void fdcache_drop(struct fdcache *c, struct fdent **owner)
{
	struct fdent *e;

	mutex_lock(&c->lock);
	e = *owner;
	if (e) {
		detach_locked(c, e);
		if (e->pins)
			e = NULL;
	}
	mutex_unlock(&c->lock);
	if (e)
		fdent_free(e);
}

void fdcache_shrink(struct fdcache *c, unsigned keep)
{
	struct fdlist gone = TAILQ_HEAD_INITIALIZER(gone);
	struct fdent *e, *next;
	unsigned seen = 0;

	mutex_lock(&c->lock);
	for (e = TAILQ_FIRST(&c->list); e; e = next) {
		next = TAILQ_NEXT(e, lru);
		if (seen++ < keep || e->pins)
			continue;
		detach_locked(c, e);
		TAILQ_INSERT_TAIL(&gone, e, lru);
	}
	mutex_unlock(&c->lock);
	while ((e = TAILQ_FIRST(&gone))) {
		TAILQ_REMOVE(&gone, e, lru);
		fdent_free(e);
	}
}
