/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shortening: parts of a failing script are left out for as long as what is left fails in the same
 * way.  First what comes after the failing step, then ever smaller parts of the steps, then of the
 * layers.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "differential.h"

enum { SECONDS_MAX = 150 };

struct shrinking {
	const struct place *place;
	struct shared *sh;
	char kind[128];
	time_t end;
};

static bool still_fails(struct shrinking *k, const struct script *s)
{
	return time(NULL) < k->end && !run_script(s, k->place, k->sh) &&
	       !strcmp(k->kind, k->sh->kind);
}

static bool try_without(struct shrinking *k, struct script *s, struct oplist *list, size_t at,
			size_t n)
{
	size_t bytes = n * sizeof(*list->v), after = (list->n - at - n) * sizeof(*list->v);
	struct op *gone = malloc(bytes);
	bool fails;

	if (!gone)
		return false;
	memcpy(gone, list->v + at, bytes);
	memmove(list->v + at, list->v + at + n, after);
	list->n -= n;
	fails = still_fails(k, s);
	if (!fails) {
		memmove(list->v + at + n, list->v + at, after);
		memcpy(list->v + at, gone, bytes);
		list->n += n;
	}
	free(gone);
	return fails;
}

static bool shorten(struct shrinking *k, struct script *s, struct oplist *list)
{
	bool any = false;

	for (size_t size = list->n / 2 ? list->n / 2 : 1; list->n; size /= 2) {
		for (size_t at = 0; at < list->n;) {
			size_t n = size < list->n - at ? size : list->n - at;

			if (try_without(k, s, list, at, n))
				any = true;
			else
				at += n;
		}
		if (size <= 1)
			break;
	}
	return any;
}

/* Everything as the first caller, from the root, without options that do not matter. */
static void simplify(struct shrinking *k, struct script *s)
{
	for (size_t i = 0; i < s->ops.n; i++) {
		struct op old = s->ops.v[i];

		s->ops.v[i].actor = 0;
		if (old.actor && !still_fails(k, s))
			s->ops.v[i] = old;
	}
	for (int i = 0; i < 5; i++) {
		struct config old = s->cfg;
		struct config *c = &s->cfg;

		if (i == 0)
			c->volatile_ = false;
		else if (i == 1)
			c->nfs_export = false;
		else if (i == 2)
			c->index = c->nfs_export;
		else if (i == 3 && c->datas == 0)
			c->metacopy = false;
		else if (i == 4)
			strcpy(c->xino, "off");
		if (memcmp(c, &old, sizeof(old)) && !still_fails(k, s))
			*c = old;
	}
}

struct script *shrink(struct script *s, const struct place *p, struct shared *sh)
{
	struct shrinking k = { .place = p, .sh = sh, .end = time(NULL) + SECONDS_MAX };
	size_t last = sh->next + 1, all = s->ops.n;

	(void)snprintf(k.kind, sizeof(k.kind), "%s", sh->kind);
	if (last < all) {
		s->ops.n = last;
		if (!still_fails(&k, s))
			s->ops.n = all;
	}
	while (shorten(&k, s, &s->ops) && s->ops.n > 1 && time(NULL) < k.end)
		;
	(void)shorten(&k, s, &s->layers);
	simplify(&k, s);
	k.end = time(NULL) + SECONDS_MAX;
	(void)still_fails(&k, s); /* so that what is told is of the shortened script */
	return s;
}
