/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The duplicate-request cache: a client that got no answer, as when a connection broke, asks again
 * under the same number.  What must not be done twice is answered from here the second time.
 *
 * A request is known by the client's address, its number, its length and a hash of its bytes.  The
 * port is not compared: not every client comes back from the same one.  A fixed number of entries,
 * the longest unused one goes first; entries of requests that are being done never go.
 *
 * What takes, gives or moves a name would also be harmful after the server has been killed between
 * doing and answering.  So those requests are written to a file before they begin and when they are
 * done; the next run reads it.  The file need not be durable: after a crash of the machine its
 * contents could be older than the tree, so it counts only within one boot.
 *
 * Lock: drc->lock, for everything but the file's slot of an entry that is being done, which belongs
 * to who does it.  Answers are copied under it, at most DRC_ANSWER_MAX bytes; nothing is written.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/log.h"

#define KEEP_MS 120000u	  /* after this long nobody asks again */
#define WAIT_STEP_MS 100u /* for the first one's answer */
#define LOAD_SLOTS 64u	  /* read at once */
#define WAIT_MS_MAX 1000u /* then the second one is dropped */

struct drc_entry {
	TAILQ_ENTRY(drc_entry) by_age;
	LIST_ENTRY(drc_entry) in_chain;
	struct drc_key key;
	uint64_t since_ms;
	size_t len;
	bool busy, used;
	bool noted;	   /* it has a slot in the file */
	bool interrupted;  /* begun by an earlier run */
	uint64_t noted_id; /* with either */
	uint8_t answer[DRC_ANSWER_MAX];
};

/* The file: a head, and a slot for each entry.  None is on two pages: a process that is killed while it writes has
 * written one or has not, but may have written the first of two pages. */
#define SLOT_SIZE 1024u
#define FILE_MAGIC "lamina replies 2"
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

struct file_head {
	char magic[20];
	char boot[36];
	uint32_t entries, slot_size;
};

struct file_slot {
	uint64_t sum; /* of all that follows, as far as it is used */
	struct drc_key key;
	uint64_t id;
	uint32_t done, len; /* DONE 0: begun */
	uint8_t answer[DRC_ANSWER_MAX];
	uint8_t fill[SLOT_SIZE - 56 - DRC_ANSWER_MAX];
};
_Static_assert(sizeof(struct file_slot) == SLOT_SIZE && sizeof(struct file_head) <= SLOT_SIZE,
	       "pages hold whole slots");

LIST_HEAD(drc_chain, drc_entry);

struct drc {
	struct mutex lock;
	struct cond done;
	TAILQ_HEAD(drc_ages, drc_entry) by_age; /* the next to go first */
	struct drc_chain *chains;
	size_t mask;
	struct drc_entry *entries;
	unsigned n_entries;
	int fd; /* of the file, or -1 */
};

static struct drc_chain *chain_of(struct drc *drc, const struct drc_key *key)
{
	return &drc->chains[hash_u64(key->hash ^ key->xid) & drc->mask];
}

/* ---- The file ---- */

static off_t slot_at(const struct drc *drc, const struct drc_entry *entry)
{
	const size_t slot = (size_t)(entry - drc->entries);

	return (off_t)((1 + slot) * SLOT_SIZE); /* the head has one to itself */
}

static uint64_t slot_sum(const struct file_slot *slot)
{
	const size_t from = offsetof(struct file_slot, key);

	return hash_bytes((const uint8_t *)slot + from,
			  offsetof(struct file_slot, answer) - from + slot->len);
}

/* To fail costs no more than what there would be without a file. */
static void store(const struct drc *drc, const struct drc_entry *entry, const uint8_t *answer,
		  size_t len)
{
	struct file_slot slot;

	memset(&slot, 0, sizeof(slot));
	slot.key = entry->key;
	slot.id = entry->noted_id;
	slot.done = answer ? 1 : 0;
	slot.len = (uint32_t)len;
	if (answer)
		memcpy(slot.answer, answer, len);
	slot.sum = slot_sum(&slot);
	if (pwrite(drc->fd, &slot, offsetof(struct file_slot, answer) + len, slot_at(drc, entry)) <
	    0)
		log_warning("nfs: an answer is not kept for the next start: %s", log_errno(-errno));
}

static void load_slot(struct drc *drc, struct drc_entry *entry, const struct file_slot *slot)
{
	if (slot->len > DRC_ANSWER_MAX || slot->sum == 0 || slot->sum != slot_sum(slot))
		return;
	entry->key = slot->key;
	entry->noted_id = slot->id;
	entry->interrupted = !slot->done;
	entry->len = slot->len;
	memcpy(entry->answer, slot->answer, slot->len);
	/* While the server was not there, nobody could ask. */
	entry->since_ms = front_now_ms();
	entry->used = true;
	LIST_INSERT_HEAD(chain_of(drc, &entry->key), entry, in_chain);
	TAILQ_REMOVE(&drc->by_age, entry, by_age);
	TAILQ_INSERT_TAIL(&drc->by_age, entry, by_age);
}

/* Many at once: who takes over has clients that wait.  The last one may have no more than was written of it. */
static int load_slots(struct drc *drc)
{
	CLEANUP_FREE struct file_slot *slots = calloc(LOAD_SLOTS, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (unsigned i = 0; i < drc->n_entries; i += LOAD_SLOTS) {
		const unsigned left = drc->n_entries - i;
		const size_t want = (left < LOAD_SLOTS ? left : LOAD_SLOTS) * sizeof(*slots);
		ssize_t n;

		memset(slots, 0, want);
		n = pread(drc->fd, slots, want, slot_at(drc, &drc->entries[i]));
		if (n < 0)
			return -errno;
		for (unsigned k = 0; k * sizeof(*slots) < (size_t)n; k++)
			load_slot(drc, &drc->entries[i + k], &slots[k]);
		if ((size_t)n < want)
			break;
	}
	return 0;
}

static bool read_boot_id(char ret[36])
{
	CLEANUP_CLOSE int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);

	return fd >= 0 && read(fd, ret, 36) == 36;
}

/* Take over what the last run left, if it was in this boot. */
static void load(struct drc *drc)
{
	struct file_head head, want = { .magic = FILE_MAGIC,
					.entries = drc->n_entries,
					.slot_size = sizeof(struct file_slot) };
	int r;

	if (!read_boot_id(want.boot)) {
		log_warning("nfs: answers are not kept for the next start: no boot id");
		(void)close(drc->fd);
		drc->fd = -1;
		return;
	}
	if (pread(drc->fd, &head, sizeof(head), 0) == sizeof(head) &&
	    memcmp(&head, &want, sizeof(head)) == 0) {
		r = load_slots(drc);
		if (r < 0)
			log_warning("nfs: answers of the last run cannot be read: %s",
				    log_errno(r));
		return;
	}
	if (ftruncate(drc->fd, 0) < 0 || pwrite(drc->fd, &want, sizeof(want), 0) != sizeof(want))
		log_warning("nfs: answers are not kept for the next start: %s", log_errno(-errno));
}

/* ---- The cache ---- */

struct drc *drc_new(unsigned entries, int fd)
{
	struct drc *drc = calloc(1, sizeof(*drc));
	size_t chains = 1;

	if (!drc) {
		if (fd >= 0)
			(void)close(fd);
		return NULL;
	}
	drc->fd = fd;
	drc->n_entries = entries;
	while (chains < entries)
		chains *= 2;
	drc->chains = calloc(chains, sizeof(*drc->chains));
	drc->entries = calloc(entries, sizeof(*drc->entries));
	if (!drc->chains || !drc->entries) {
		drc_free(drc);
		return NULL;
	}
	drc->mask = chains - 1;
	mutex_init(&drc->lock, RANK_LEAF);
	TAILQ_INIT(&drc->by_age);
	for (unsigned i = 0; i < entries; i++)
		TAILQ_INSERT_TAIL(&drc->by_age, &drc->entries[i], by_age);
	if (drc->fd >= 0)
		load(drc);
	return drc;
}

void drc_free(struct drc *drc)
{
	if (!drc)
		return;
	if (drc->fd >= 0)
		(void)close(drc->fd);
	free(drc->chains);
	free(drc->entries);
	free(drc);
}

static bool same(const struct drc_key *a, const struct drc_key *b)
{
	return a->hash == b->hash && a->xid == b->xid && a->len == b->len &&
	       memcmp(a->addr, b->addr, sizeof(a->addr)) == 0;
}

static void forget_locked(struct drc *drc, struct drc_entry *entry)
{
	LIST_REMOVE(entry, in_chain);
	entry->used = false;
	TAILQ_REMOVE(&drc->by_age, entry, by_age);
	TAILQ_INSERT_HEAD(&drc->by_age, entry, by_age);
}

static struct drc_entry *find_locked(struct drc *drc, const struct drc_key *key)
{
	struct drc_entry *entry;

	LIST_FOREACH(entry, chain_of(drc, key), in_chain) {
		if (!same(&entry->key, key))
			continue;
		if (entry->busy || front_now_ms() - entry->since_ms < KEEP_MS)
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
	TAILQ_REMOVE(&drc->by_age, entry, by_age);
	TAILQ_INSERT_TAIL(&drc->by_age, entry, by_age);
	entry->key = *key;
	entry->used = entry->busy = true;
	entry->noted = entry->interrupted = false;
	entry->since_ms = front_now_ms();
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
	if (entry->interrupted) {
		entry->busy = entry->noted = true;
		*ret_entry = entry;
		return DRC_AGAIN;
	}
	memcpy(answer, entry->answer, entry->len);
	*ret_len = entry->len;
	return DRC_REPLAY;
}

void drc_note(struct drc *drc, struct drc_entry *entry, uint64_t id)
{
	if (!entry || drc->fd < 0)
		return;
	entry->noted = true;
	entry->noted_id = id;
	store(drc, entry, NULL, 0);
}

uint64_t drc_noted(const struct drc_entry *entry)
{
	return entry->noted_id;
}

void drc_done(struct drc *drc, struct drc_entry *entry, const uint8_t *answer, size_t len)
{
	if (!entry)
		return;
	CHECK(len <= DRC_ANSWER_MAX);
	if (entry->noted && drc->fd >= 0 && len > 0)
		store(drc, entry, answer, len);
	mutex_lock(&drc->lock);
	CHECK(entry->busy);
	entry->busy = entry->interrupted = false;
	entry->len = len;
	if (len > 0)
		memcpy(entry->answer, answer, len);
	else
		forget_locked(drc, entry);
	mutex_unlock(&drc->lock);
	cond_broadcast(&drc->done);
}
