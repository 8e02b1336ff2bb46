/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The duplicate-request cache: a client that got no answer, as when a connection broke, asks again
 * under the same number.  What must not be done twice is answered from here the second time.
 *
 * A request is known by the client's address, its number, its length and a hash of its bytes.  The
 * port is not compared: not every client comes back from the same one.  A fixed number of entries,
 * the longest unused one goes first; entries of requests that are being done never go.
 *
 * Lock: drc->lock, for everything.  Answers are copied under it, at most DRC_ANSWER_MAX bytes.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"

#define KEEP_MS 120000u	  /* after this long nobody asks again */
#define WAIT_STEP_MS 100u /* for the first one's answer */
#define WAIT_MS_MAX 1000u /* then the second one is dropped */

/* What is to outlive this process is in the record, and there alone. */
struct drc_entry {
	TAILQ_ENTRY(drc_entry) by_age;
	LIST_ENTRY(drc_entry) in_chain;
	struct state_reply *rec;
	bool busy, used;
	bool left; /* begun by another process, which ended */
};

LIST_HEAD(drc_chain, drc_entry);

struct drc {
	struct mutex lock;
	struct cond done;
	TAILQ_HEAD(drc_ages, drc_entry) by_age; /* the next to go first */
	struct drc_chain *chains;
	size_t mask;
	struct drc_entry *entries;
	struct state_reply *own; /* NULL: they are in shared memory */
};

static struct drc_chain *chain_of(struct drc *drc, const struct drc_key *key)
{
	return &drc->chains[hash_u64(key->hash ^ key->xid) & drc->mask];
}

static bool same(const struct state_reply *a, const struct drc_key *b)
{
	return a->hash == b->hash && a->xid == b->xid && a->request_len == b->len &&
	       memcmp(a->addr, b->addr, sizeof(a->addr)) == 0;
}

/* An entry at the start: empty, or as another process has left it. */
static void adopt(struct drc *drc, struct drc_entry *entry)
{
	const struct drc_key key = { .xid = entry->rec->xid, .hash = entry->rec->hash };
	uint32_t phase = atomic_load(&entry->rec->phase);

	TAILQ_INSERT_TAIL(&drc->by_age, entry, by_age);
	if (phase == REPLY_FREE || entry->rec->len > DRC_ANSWER_MAX)
		return;
	entry->used = true;
	entry->left = phase == REPLY_BEGUN;
	LIST_INSERT_HEAD(chain_of(drc, &key), entry, in_chain);
}

struct drc *drc_new(unsigned entries, struct state_memory *mem)
{
	struct drc *drc = calloc(1, sizeof(*drc));
	size_t chains = 1;

	CHECK(!mem || entries <= STATE_REPLIES);
	if (!drc)
		return NULL;
	while (chains < entries)
		chains *= 2;
	drc->chains = calloc(chains, sizeof(*drc->chains));
	drc->entries = calloc(entries, sizeof(*drc->entries));
	if (!mem)
		drc->own = calloc(entries, sizeof(*drc->own));
	if (!drc->chains || !drc->entries || (!mem && !drc->own)) {
		drc_free(drc);
		return NULL;
	}
	drc->mask = chains - 1;
	mutex_init(&drc->lock, RANK_LEAF);
	TAILQ_INIT(&drc->by_age);
	for (unsigned i = 0; i < entries; i++) {
		drc->entries[i].rec = mem ? &mem->replies[i] : &drc->own[i];
		adopt(drc, &drc->entries[i]);
	}
	return drc;
}

void drc_free(struct drc *drc)
{
	if (!drc)
		return;
	free(drc->chains);
	free(drc->entries);
	free(drc->own);
	free(drc);
}

static void forget_locked(struct drc *drc, struct drc_entry *entry)
{
	LIST_REMOVE(entry, in_chain);
	atomic_store(&entry->rec->phase, REPLY_FREE);
	entry->used = entry->left = false;
	TAILQ_REMOVE(&drc->by_age, entry, by_age);
	TAILQ_INSERT_HEAD(&drc->by_age, entry, by_age);
}

static struct drc_entry *find_locked(struct drc *drc, const struct drc_key *key)
{
	struct drc_entry *entry;

	LIST_FOREACH(entry, chain_of(drc, key), in_chain) {
		if (!same(entry->rec, key))
			continue;
		if (entry->busy || front_now_ms() - entry->rec->since_ms < KEEP_MS)
			return entry;
		forget_locked(drc, entry);
		return NULL;
	}
	return NULL;
}

/* An entry for a new request, or NULL if all are of requests that are being done. */
static struct drc_entry *take_locked(struct drc *drc, const struct drc_key *key)
{
	struct drc_entry *entry;

	TAILQ_FOREACH(entry, &drc->by_age, by_age) {
		if (!entry->busy)
			break;
	}
	if (!entry)
		return NULL;
	if (entry->used)
		LIST_REMOVE(entry, in_chain);
	atomic_store(&entry->rec->phase, REPLY_FREE);
	TAILQ_REMOVE(&drc->by_age, entry, by_age);
	TAILQ_INSERT_TAIL(&drc->by_age, entry, by_age);
	entry->used = entry->busy = true;
	entry->left = false;
	entry->rec->xid = key->xid;
	entry->rec->hash = key->hash;
	entry->rec->request_len = key->len;
	memcpy(entry->rec->addr, key->addr, sizeof(key->addr));
	entry->rec->since_ms = front_now_ms();
	atomic_store(&entry->rec->phase, REPLY_BEGUN);
	LIST_INSERT_HEAD(chain_of(drc, key), entry, in_chain);
	return entry;
}

enum drc_found drc_begin(struct drc *drc, const struct drc_key *key, struct drc_entry **ret_entry,
			 uint8_t *answer, size_t *ret_len)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&drc->lock);
	struct drc_entry *entry = find_locked(drc, key);

	/* The first one is still being done: its answer may come soon. */
	for (unsigned ms = 0; entry && entry->busy; ms += WAIT_STEP_MS) {
		if (ms >= WAIT_MS_MAX)
			return DRC_BUSY;
		cond_wait_for(&drc->done, &drc->lock, WAIT_STEP_MS);
		entry = find_locked(drc, key);
	}
	if (!entry) {
		*ret_entry = take_locked(drc, key);
		return DRC_NEW;
	}
	if (entry->left) {
		entry->left = false;
		entry->busy = true;
		*ret_entry = entry;
		return DRC_AGAIN;
	}
	memcpy(answer, entry->rec->answer, entry->rec->len);
	*ret_len = entry->rec->len;
	return DRC_REPLAY;
}

void drc_done(struct drc *drc, struct drc_entry *entry, const uint8_t *answer, size_t len)
{
	if (!entry)
		return;
	mutex_lock(&drc->lock);
	CHECK(entry->busy && len <= DRC_ANSWER_MAX);
	entry->busy = false;
	entry->rec->len = (uint32_t)len;
	if (len > 0)
		memcpy(entry->rec->answer, answer, len);
	atomic_store(&entry->rec->phase, REPLY_DONE);
	if (len == 0)
		forget_locked(drc, entry);
	mutex_unlock(&drc->lock);
	cond_broadcast(&drc->done);
}
