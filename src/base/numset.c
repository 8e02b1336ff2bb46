/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sets of numbers in clusters: open addressing, at most half full.  A word without bits is a free place. */
#include "base/numset.h"

#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"

struct numset_word {
	uint64_t cluster; /* the number without its low six bits */
	uint64_t bits;
};

static struct numset_word *place_of(const struct numset *set, uint64_t cluster)
{
	size_t i = (size_t)hash_u64(cluster) & set->mask;

	while (set->words[i].bits && set->words[i].cluster != cluster)
		i = (i + 1) & set->mask;
	return &set->words[i];
}

static int grow(struct numset *set)
{
	struct numset bigger = { .mask = set->words ? set->mask * 2 + 1 : 15, .used = set->used };

	bigger.words = calloc(bigger.mask + 1, sizeof(*bigger.words));
	if (!bigger.words)
		return -ENOMEM;
	for (size_t i = 0; set->words && i <= set->mask; i++)
		if (set->words[i].bits)
			*place_of(&bigger, set->words[i].cluster) = set->words[i];
	free(set->words);
	*set = bigger;
	return 0;
}

int numset_add(struct numset *set, uint64_t number)
{
	struct numset_word *w;

	if (!set->words || set->used * 2 > set->mask) {
		int r = grow(set);

		if (r < 0)
			return r;
	}
	w = place_of(set, number >> 6);
	set->used += !w->bits;
	w->cluster = number >> 6;
	w->bits |= UINT64_C(1) << (number & 63);
	return 0;
}

bool numset_has(const struct numset *set, uint64_t number)
{
	return set->words && place_of(set, number >> 6)->bits >> (number & 63) & 1;
}

void numset_clear(struct numset *set)
{
	free(set->words);
	*set = (struct numset){ 0 };
}
