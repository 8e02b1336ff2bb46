/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of ids that the kernel refers to.
 *
 * Open addressing with linear probing in 64 shards, each with its own lock; a shard grows at three
 * quarters and shrinks at one eighth.  Removal moves the followers back, so that there are no
 * tombstones and a lookup ends at the first empty place.  Id 0 marks an empty place.
 */
#include "holds.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mutex.h"

#define SHARDS 64u
#define SHARD_MIN 8u

#define MARK_SHIFT 62
#define COUNT_MASK ((UINT64_C(1) << MARK_SHIFT) - 1)

struct hold {
	uint64_t id;
	uint64_t word; /* marks in the upper two bits, below them the count */
};

struct shard {
	struct mutex lock;
	struct hold *table; /* NULL until the first id; the lock protects all below it */
	size_t size;	    /* a power of two */
	size_t used;
};

struct holds {
	struct shard shards[SHARDS];
};

_Static_assert(sizeof(struct hold) == 16, "an entry has 16 bytes");

struct holds *holds_new(void)
{
	struct holds *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	for (size_t i = 0; i < SHARDS; i++)
		mutex_init(&h->shards[i].lock, RANK_LEAF);
	return h;
}

void holds_free(struct holds *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < SHARDS; i++)
		free(h->shards[i].table);
	free(h);
}

static struct shard *shard_of(struct holds *h, uint64_t hash)
{
	return &h->shards[hash >> 58];
}

static size_t home_of(const struct shard *s, uint64_t id)
{
	return (size_t)hash_u64(id) & (s->size - 1);
}

/* The place of ID, or the empty place where it belongs.  The table is never full. */
static size_t shard_find(const struct shard *s, uint64_t id)
{
	size_t i = home_of(s, id);

	while (s->table[i].id != 0 && s->table[i].id != id)
		i = (i + 1) & (s->size - 1);
	return i;
}

static struct hold *shard_get(const struct shard *s, uint64_t id)
{
	size_t i;

	if (!s->table || id == 0)
		return NULL;
	i = shard_find(s, id);
	return s->table[i].id == id ? &s->table[i] : NULL;
}

static int shard_resize(struct shard *s, size_t size)
{
	struct shard next = { .size = size, .used = s->used };

	CHECK(size > s->used);
	next.table = calloc(size, sizeof(*next.table));
	if (!next.table)
		return -ENOMEM;
	for (size_t i = 0; i < s->size; i++) {
		if (s->table[i].id != 0)
			next.table[shard_find(&next, s->table[i].id)] = s->table[i];
	}
	free(s->table);
	s->table = next.table;
	s->size = size;
	return 0;
}

static void shard_remove(struct shard *s, struct hold *hold)
{
	size_t hole = (size_t)(hold - s->table);
	size_t mask = s->size - 1;

	for (size_t i = (hole + 1) & mask; s->table[i].id != 0; i = (i + 1) & mask) {
		size_t home = home_of(s, s->table[i].id);

		/* An entry may move back unless its home lies after the hole. */
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			s->table[hole] = s->table[i];
			hole = i;
		}
	}
	s->table[hole] = (struct hold){ 0 };
	s->used--;
	/* A table that cannot shrink for want of memory is merely too large. */
	if (s->size > SHARD_MIN && s->used < s->size / 8)
		(void)shard_resize(s, s->size / 2);
}

static int add_locked(struct shard *s, uint64_t id, unsigned marks)
{
	struct hold *hold;
	bool first;

	if (s->used + 1 > s->size / 4 * 3) {
		int r = shard_resize(s, s->size == 0 ? SHARD_MIN : s->size * 2);

		if (r < 0)
			return r;
	}
	hold = &s->table[shard_find(s, id)];
	first = hold->id == 0;
	if (first) {
		hold->id = id;
		s->used++;
	}
	CHECK((hold->word & COUNT_MASK) != COUNT_MASK);
	hold->word = (hold->word + 1) | (uint64_t)marks << MARK_SHIFT;
	return first;
}

int holds_add(struct holds *h, uint64_t id, unsigned marks)
{
	struct shard *s = shard_of(h, hash_u64(id));
	int r;

	CHECK(id != 0 && marks <= 3);
	mutex_lock(&s->lock);
	r = add_locked(s, id, marks);
	mutex_unlock(&s->lock);
	return r;
}

bool holds_drop(struct holds *h, uint64_t id, uint64_t n)
{
	struct shard *s = shard_of(h, hash_u64(id));
	struct hold *hold;
	bool last = false;

	mutex_lock(&s->lock);
	hold = shard_get(s, id);
	if (hold) {
		last = n >= (hold->word & COUNT_MASK);
		if (last)
			shard_remove(s, hold);
		else
			hold->word -= n;
	}
	mutex_unlock(&s->lock);
	return last;
}

bool holds_has(struct holds *h, uint64_t id)
{
	struct shard *s = shard_of(h, hash_u64(id));
	bool has;

	mutex_lock(&s->lock);
	has = shard_get(s, id) != NULL;
	mutex_unlock(&s->lock);
	return has;
}

void holds_mark(struct holds *h, uint64_t id, unsigned marks)
{
	struct shard *s = shard_of(h, hash_u64(id));
	struct hold *hold;

	CHECK(marks <= 3);
	mutex_lock(&s->lock);
	hold = shard_get(s, id);
	if (hold)
		hold->word |= (uint64_t)marks << MARK_SHIFT;
	mutex_unlock(&s->lock);
}

unsigned holds_unmark(struct holds *h, uint64_t id, unsigned marks)
{
	struct shard *s = shard_of(h, hash_u64(id));
	struct hold *hold;
	unsigned had = 0;

	CHECK(marks <= 3);
	mutex_lock(&s->lock);
	hold = shard_get(s, id);
	if (hold) {
		had = (unsigned)(hold->word >> MARK_SHIFT) & marks;
		hold->word &= ~((uint64_t)marks << MARK_SHIFT);
	}
	mutex_unlock(&s->lock);
	return had;
}

unsigned holds_marks(struct holds *h, uint64_t id)
{
	struct shard *s = shard_of(h, hash_u64(id));
	struct hold *hold;
	unsigned marks;

	mutex_lock(&s->lock);
	hold = shard_get(s, id);
	marks = hold ? (unsigned)(hold->word >> MARK_SHIFT) : 0;
	mutex_unlock(&s->lock);
	return marks;
}

uint64_t holds_count(struct holds *h)
{
	uint64_t n = 0;

	for (size_t i = 0; i < SHARDS; i++) {
		mutex_lock(&h->shards[i].lock);
		n += h->shards[i].used;
		mutex_unlock(&h->shards[i].lock);
	}
	return n;
}

void holds_clear(struct holds *h, void (*gone)(void *ctx, uint64_t id), void *ctx)
{
	for (size_t i = 0; i < SHARDS; i++) {
		struct shard *s = &h->shards[i];
		struct hold *table;
		size_t size;

		mutex_lock(&s->lock);
		table = s->table;
		size = s->size;
		s->table = NULL;
		s->size = s->used = 0;
		mutex_unlock(&s->lock);
		for (size_t k = 0; k < size; k++) {
			if (table[k].id != 0)
				gone(ctx, table[k].id);
		}
		free(table);
	}
}
