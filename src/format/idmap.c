/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Maps of user and group ids, as the `uidmapping` and `gidmapping` options give them. */
#include "format/format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "lamina/lamina.h"

/* As many as the kernel takes in /proc/PID/uid_map. */
#define EXTENTS_MAX 340u

/* The next number of TEXT and where it ends; *MORE tells that a colon followed it. */
static int next_number(const char **text, uint32_t *ret, bool *more)
{
	size_t len = strcspn(*text, ":");
	uint64_t value;

	if (len > 20 || parse_u64_base(*text, (unsigned)len, 10, &value) < 0 || value > UINT32_MAX)
		return -EINVAL;
	*more = (*text)[len] == ':';
	*text += len + (*more ? 1 : 0);
	*ret = (uint32_t)value;
	return 0;
}

/* The last id of all, which means "none", is in no range; as in the kernel. */
static bool extent_is_good(const struct lam_idmap_extent *e)
{
	return e->length > 0 && e->inside <= UINT32_MAX - e->length &&
	       e->outside <= UINT32_MAX - e->length;
}

static bool ranges_meet(uint32_t a, uint32_t a_len, uint32_t b, uint32_t b_len)
{
	return a < b ? b - a < a_len : a - b < b_len;
}

static bool extents_meet(const struct lam_idmap_extent *a, const struct lam_idmap_extent *b)
{
	return ranges_meet(a->inside, a->length, b->inside, b->length) ||
	       ranges_meet(a->outside, a->length, b->outside, b->length);
}

int idmap_parse(const char *text, struct lam_idmap *ret)
{
	CLEANUP_FREE struct lam_idmap_extent *extents = NULL;
	bool more = true;
	size_t n = 0;

	if (*text == ':')
		text++;
	extents = calloc(EXTENTS_MAX, sizeof(*extents));
	if (!extents)
		return -ENOMEM;
	while (more) {
		struct lam_idmap_extent *e = &extents[n];

		if (n == EXTENTS_MAX)
			return -EINVAL;
		if (next_number(&text, &e->inside, &more) < 0 || !more ||
		    next_number(&text, &e->outside, &more) < 0 || !more ||
		    next_number(&text, &e->length, &more) < 0 || !extent_is_good(e))
			return -EINVAL;
		for (size_t i = 0; i < n; i++)
			if (extents_meet(&extents[i], e))
				return -EINVAL;
		n++;
	}
	ret->extents = TAKE_PTR(extents);
	ret->n = n;
	return 0;
}

bool idmap_to_outside(const struct lam_idmap *map, uint32_t inside, uint32_t *ret)
{
	if (!map->extents) {
		*ret = inside;
		return true;
	}
	for (size_t i = 0; i < map->n; i++) {
		const struct lam_idmap_extent *e = &map->extents[i];

		if (inside >= e->inside && inside - e->inside < e->length) {
			*ret = e->outside + (inside - e->inside);
			return true;
		}
	}
	return false;
}

bool idmap_to_inside(const struct lam_idmap *map, uint32_t outside, uint32_t *ret)
{
	if (!map->extents) {
		*ret = outside;
		return true;
	}
	for (size_t i = 0; i < map->n; i++) {
		const struct lam_idmap_extent *e = &map->extents[i];

		if (outside >= e->outside && outside - e->outside < e->length) {
			*ret = e->inside + (outside - e->outside);
			return true;
		}
	}
	return false;
}
