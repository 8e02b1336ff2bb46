/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The names of one merged directory: a hash table whose buckets are the top bits of the hash and
 * whose chains are in order of the hash, so that walking it is walking all names in the order of
 * their cookies.  The directory's lock protects it.
 */
#include "core.h"

#include "base/hash.h"

#define CHUNK 8192u
#define HASH_BITS 62

_Static_assert((sizeof(struct lentry) + LAM_NAME_MAX + 8) / 8 < 40,
	       "struct listing has room for every size");

struct lchunk {
	struct lchunk *next;
	char data[];
};

struct listing *listing_new(void)
{
	struct listing *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->bits = 3;
	l->buckets = calloc(1u << l->bits, sizeof(*l->buckets));
	if (!l->buckets) {
		free(l);
		return NULL;
	}
	l->bytes = sizeof(*l) + (sizeof(*l->buckets) << l->bits);
	return l;
}

void listing_free(struct listing *l)
{
	struct lchunk *c, *next;

	if (!l)
		return;
	for (c = l->chunks; c; c = next) {
		next = c->next;
		free(c);
	}
	free(l->chain);
	free(l->buckets);
	free(l);
}

uint64_t listing_hash(const char *name, size_t len)
{
	uint64_t h = hash_bytes(name, len) >> (64 - HASH_BITS);

	return h < LISTING_HASH_MIN ? h + LISTING_HASH_MIN : h;
}

static struct lentry **bucket(const struct listing *l, uint64_t hash)
{
	return &l->buckets[hash >> (HASH_BITS - l->bits)];
}

struct lentry *listing_find(const struct listing *l, const char *name, size_t len)
{
	uint64_t hash = listing_hash(name, len);

	for (struct lentry *e = *bucket(l, hash); e; e = e->next) {
		/* Names with equal hashes got the next free ones: see listing_add(). */
		if (e->hash >= hash && e->len == len && !memcmp(e->name, name, len))
			return e;
	}
	return NULL;
}

static void grow(struct listing *l)
{
	unsigned bits = l->bits + 2;
	struct lentry **buckets = calloc(1ul << bits, sizeof(*buckets));
	struct lentry **old = l->buckets;
	size_t n_old = 1ul << l->bits;

	if (!buckets)
		return;
	l->buckets = buckets;
	l->bits = bits;
	l->bytes += (sizeof(*buckets) << bits) - n_old * sizeof(*buckets);
	for (size_t b = 0; b < n_old; b++) {
		struct lentry *e, *next, **tail = NULL;

		/* A chain is in order, so each of the four new ones is filled at its end. */
		for (e = old[b]; e; e = next) {
			struct lentry **to = bucket(l, e->hash);

			next = e->next;
			e->next = NULL;
			if (*to)
				*tail = e;
			else
				*to = e;
			tail = &e->next;
		}
	}
	free(old);
}

static size_t entry_size(size_t len)
{
	return (sizeof(struct lentry) + len + 1 + 7) & ~(size_t)7;
}

static struct lentry *entry_alloc(struct listing *l, size_t len)
{
	size_t size = entry_size(len);
	struct lentry *e = l->free[size / 8];

	if (e) {
		l->free[size / 8] = e->next;
		memset(e, 0, sizeof(*e));
		return e;
	}
	if (l->chunk_used + size > l->chunk_size) {
		/* Small directories are many: chunks are small at first, and each twice the last. */
		size_t chunk = l->chunks ? 2 * l->chunk_size : 512;
		struct lchunk *c;

		if (chunk > CHUNK)
			chunk = CHUNK;
		c = malloc(sizeof(*c) + chunk);
		if (!c)
			return NULL;
		c->next = l->chunks;
		l->chunks = c;
		l->chunk_used = 0;
		l->chunk_size = chunk;
		l->bytes += sizeof(*c) + chunk;
	}
	e = (struct lentry *)(void *)(l->chunks->data + l->chunk_used);
	l->chunk_used += size;
	memset(e, 0, sizeof(*e));
	return e;
}

struct lentry *listing_add(struct listing *l, const char *name, size_t len, bool *ret_new)
{
	uint64_t hash = listing_hash(name, len);
	struct lentry *e = listing_find(l, name, len), **link;

	CHECK(len <= LAM_NAME_MAX);
	*ret_new = !e;
	if (e)
		return e;
	if (l->count >> l->bits >= 2 && l->bits < 40)
		grow(l);
	e = entry_alloc(l, len);
	if (!e)
		return NULL;
	/* Two names with one hash (of 62 bits) would share a cookie: the second takes the next free
	 * number within its bucket. */
	for (link = bucket(l, hash); *link && (*link)->hash <= hash; link = &(*link)->next)
		if ((*link)->hash == hash)
			hash++;
	e->hash = hash;
	e->len = (uint8_t)len;
	memcpy(e->name, name, len);
	e->name[len] = '\0';
	e->next = *link;
	*link = e;
	l->count++;
	return e;
}

void listing_remove(struct listing *l, struct lentry *e)
{
	struct lentry **link = bucket(l, e->hash);

	while (*link && *link != e)
		link = &(*link)->next;
	CHECK(*link == e);
	*link = e->next;
	l->count--;
	link = &l->free[entry_size(e->len) / 8];
	e->next = *link;
	*link = e;
}

int listing_more(struct listing *l, struct lentry *e, uint16_t pos)
{
	uint32_t *tail = &e->more;

	if (l->n_chain == l->cap_chain) {
		uint32_t cap = l->cap_chain ? l->cap_chain * 2 : 16;
		struct lchain *chain = realloc(l->chain, cap * sizeof(*chain));

		if (!chain)
			return -ENOMEM;
		l->bytes += (cap - l->cap_chain) * sizeof(*chain);
		l->chain = chain;
		l->cap_chain = cap;
	}
	while (*tail)
		tail = &l->chain[*tail - 1].next;
	l->chain[l->n_chain] = (struct lchain){ .pos = pos };
	*tail = ++l->n_chain;
	return 0;
}

struct lentry *listing_after(const struct listing *l, uint64_t cookie)
{
	size_t n = 1ul << l->bits;

	if (cookie >> HASH_BITS)
		return NULL;
	for (size_t b = cookie >> (HASH_BITS - l->bits); b < n; b++)
		for (struct lentry *e = l->buckets[b]; e; e = e->next)
			if (e->hash > cookie)
				return e;
	return NULL;
}
