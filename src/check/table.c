/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A table from 64-bit keys to a number and a text: open addressing, never more than half full. */
#include "check.h"

#include "base/hash.h"

static size_t place_of(const struct table64 *t, uint64_t key)
{
	size_t i = hash_u64(key) & t->mask;

	while (t->slots[i].key && t->slots[i].key != key)
		i = (i + 1) & t->mask;
	return i;
}

static int grow(struct table64 *t)
{
	struct table64 bigger = { .mask = t->slots ? t->mask * 2 + 1 : 63, .count = t->count };

	bigger.slots = calloc(bigger.mask + 1, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; t->slots && i <= t->mask; i++)
		if (t->slots[i].key)
			bigger.slots[place_of(&bigger, t->slots[i].key)] = t->slots[i];
	free(t->slots);
	*t = bigger;
	return 0;
}

struct tslot *table64_find(const struct table64 *t, uint64_t key)
{
	size_t i;

	if (!t->slots || !key)
		return NULL;
	i = place_of(t, key);
	return t->slots[i].key ? &t->slots[i] : NULL;
}

struct tslot *table64_add(struct table64 *t, uint64_t key)
{
	struct tslot *s;

	CHECK(key != 0);
	if ((!t->slots || t->count * 2 > t->mask) && grow(t) < 0)
		return NULL;
	s = &t->slots[place_of(t, key)];
	if (!s->key) {
		s->key = key;
		t->count++;
	}
	return s;
}

void table64_free(struct table64 *t)
{
	for (size_t i = 0; t->slots && i <= t->mask; i++)
		free(t->slots[i].text);
	free(t->slots);
	*t = (struct table64){ 0 };
}
