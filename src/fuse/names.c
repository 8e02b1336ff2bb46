/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where objects were last seen: a table in a memfd of its own, whose pages are used as it fills. */
#include "names.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/log.h"
#include "internal.h"
#include "super/super.h"

#define BUCKETS 65536u
#define SMALL 262144u /* slots for names of up to SMALL_NAME bytes, and */
#define LARGE 16384u  /* for longer ones; numbered after the small */
#define SMALL_NAME 39u
#define NO_SLOT 0u /* slot 0 is not used */

/* A slot is filled before its number is stored where it is found: whoever comes after sees all or nothing. */
struct name_slot {
	_Atomic uint64_t id; /* 0: free */
	uint64_t parent;
	_Atomic uint32_t next;
	uint32_t primed; /* the worker whose engine knows it */
			 /* The name follows. */
};

struct small_slot {
	struct name_slot slot;
	char name[SMALL_NAME + 1];
};

struct large_slot {
	struct name_slot slot;
	char name[LAM_NAME_MAX + 1];
};

_Static_assert(sizeof(struct small_slot) == 64, "what an object costs");
_Static_assert(offsetof(struct small_slot, name) == sizeof(struct name_slot) &&
		       offsetof(struct large_slot, name) == sizeof(struct name_slot),
	       "where name_of() finds it");

static char *name_of(struct name_slot *s)
{
	return (char *)((uintptr_t)s + sizeof(*s)); /* not s + 1: it is not of this object */
}

struct name_table {
	_Atomic uint32_t buckets[BUCKETS];
	_Atomic uint32_t used[2]; /* of each kind: those from here on were never used */
	struct small_slot small[SMALL];
	struct large_slot large[LARGE];
};

struct pile {
	uint32_t *slots;
	size_t n, room;
};

struct names {
	struct mutex lock; /* RANK_FRONT */
	struct name_table *table;
	struct pile free[2]; /* small and large slots that are free again */
};

static struct name_slot *slot_at(struct names *n, uint32_t i)
{
	return i < SMALL ? &n->table->small[i].slot : &n->table->large[i - SMALL].slot;
}

/* The slots that were ever used of one kind are those from *RET_FIRST to before *RET_END. */
static void used_slots(struct names *n, unsigned kind, uint32_t *ret_first, uint32_t *ret_end)
{
	uint32_t used = atomic_load(&n->table->used[kind]);

	*ret_first = kind ? SMALL : 1;
	*ret_end = kind ? SMALL + (used < LARGE ? used : LARGE) : used < SMALL ? used : SMALL;
}

void names_free(struct names *names)
{
	if (!names)
		return;
	if (names->table)
		(void)munmap(names->table, sizeof(*names->table)); /* it was mapped like this */
	free(names->free[0].slots);
	free(names->free[1].slots);
	free(names);
}

static void give_slot(struct names *n, uint32_t slot)
{
	struct pile *p = &n->free[slot >= SMALL];

	if (p->n == p->room) {
		size_t room = p->room ? p->room * 2 : 256;
		uint32_t *more = reallocarray(p->slots, room, sizeof(*more));

		if (!more)
			return; /* the next worker finds it */
		p->slots = more;
		p->room = room;
	}
	p->slots[p->n++] = slot;
}

/* NO_SLOT: there is no room. */
static uint32_t take_slot(struct names *n, bool large)
{
	struct pile *p = &n->free[large];
	_Atomic uint32_t *used = &n->table->used[large];

	if (p->n > 0)
		return p->slots[--p->n];
	if (atomic_load(used) >= (large ? LARGE : SMALL))
		return NO_SLOT;
	return atomic_fetch_add(used, 1) + (large ? SMALL : 0);
}

static uint32_t bucket_of(uint64_t id)
{
	return (uint32_t)(hash_u64(id) % BUCKETS);
}

/* Chains are made anew: the worker before may have ended while it changed one. */
static void link_all(struct names *n)
{
	for (uint32_t b = 0; b < BUCKETS; b++)
		atomic_store(&n->table->buckets[b], NO_SLOT);
	for (unsigned kind = 0; kind < 2; kind++) {
		uint32_t first, end;

		used_slots(n, kind, &first, &end);
		for (uint32_t i = first; i < end; i++) {
			struct name_slot *s = slot_at(n, i);
			uint64_t id = atomic_load(&s->id);
			_Atomic uint32_t *head = &n->table->buckets[bucket_of(id)];

			if (id == 0) {
				give_slot(n, i);
				continue;
			}
			atomic_store(&s->next, atomic_load(head));
			atomic_store(head, i);
		}
	}
}

static int attach(struct fuse_front *front, struct names *n)
{
	int kept = state_kept(front->link->state, STATE_FD_NAMES, 0);
	int fd CLEANUP_CLOSE = kept < 0 ? memfd_create("lamina-names", MFD_CLOEXEC) : -1;
	void *table;
	int r = 0;

	if (kept < 0 && (fd < 0 || ftruncate(fd, sizeof(struct name_table)) < 0))
		return -errno;
	table = mmap(NULL, sizeof(struct name_table), PROT_READ | PROT_WRITE, MAP_SHARED,
		     kept < 0 ? fd : kept, 0);
	if (table == MAP_FAILED)
		return -errno;
	n->table = table;
	if (kept < 0) {
		atomic_store(&n->table->used[0], 1);
		r = super_keep(front->link, STATE_FD_NAMES, 0, fd);
	} else {
		link_all(n);
	}
	return r;
}

int names_open(struct fuse_front *front)
{
	struct names *n;
	int r;

	if (!front->link)
		return 0;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	mutex_init(&n->lock, RANK_FRONT);
	r = attach(front, n);
	if (r < 0) {
		names_free(n);
		return r;
	}
	front->names = n;
	return 0;
}

static struct name_slot *find_locked(struct names *n, uint64_t id)
{
	uint32_t i = atomic_load(&n->table->buckets[bucket_of(id)]);

	/* Bounded: a chain that a dying process left must not be followed for ever. */
	for (uint32_t steps = 0; i != NO_SLOT && i < SMALL + LARGE && steps < SMALL; steps++) {
		struct name_slot *s = slot_at(n, i);

		if (atomic_load(&s->id) == id)
			return s;
		i = atomic_load(&s->next);
	}
	return NULL;
}

static void add_locked(struct names *n, uint64_t id, uint64_t parent, const char *name,
		       uint32_t generation)
{
	_Atomic uint32_t *head = &n->table->buckets[bucket_of(id)];
	uint32_t i = take_slot(n, strlen(name) > SMALL_NAME);
	struct name_slot *s;

	if (i == NO_SLOT)
		return;
	s = slot_at(n, i);
	s->parent = parent;
	s->primed = generation;
	strcpy(name_of(s), name);
	atomic_store(&s->next, atomic_load(head));
	atomic_store(&s->id, id);
	atomic_store(head, i);
}

/* Take the slots of ID out: WHICH, or where that is NULL all.  There are two for a moment, and longer where a forgotten
 * object was found again before its note went. */
static void remove_locked(struct names *n, uint64_t id, const struct name_slot *which)
{
	_Atomic uint32_t *link = &n->table->buckets[bucket_of(id)];
	uint32_t i;

	while ((i = atomic_load(link)) != NO_SLOT && i < SMALL + LARGE) {
		struct name_slot *s = slot_at(n, i);

		if (which ? s == which : atomic_load(&s->id) == id) {
			atomic_store(link, atomic_load(&s->next));
			atomic_store(&s->id, 0);
			give_slot(n, i);
		} else {
			link = &s->next;
		}
	}
}

static uint32_t generation_of(const struct fuse_front *front)
{
	return atomic_load(&front->link->state->mem->generation);
}

void names_note(struct fuse_front *front, uint64_t id, uint64_t parent, const char *name,
		bool first)
{
	struct names *n = front->names;
	struct name_slot *s;

	if (!n || id == LAM_ROOT_ID || strlen(name) > LAM_NAME_MAX)
		return;
	mutex_lock(&n->lock);
	/* What the worker before noted is there, and what it counted is not. */
	s = first && !front->successor ? NULL : find_locked(n, id);
	if (s && s->parent == parent && strcmp(name_of(s), name) == 0) {
		s->primed = generation_of(front);
	} else {
		/* A new one before the old one goes: there is always one that is whole. */
		add_locked(n, id, parent, name, generation_of(front));
		if (s && find_locked(n, id) != s)
			remove_locked(n, id, s);
	}
	mutex_unlock(&n->lock);
}

void names_drop(struct fuse_front *front, uint64_t id)
{
	if (!front->names)
		return;
	mutex_lock(&front->names->lock);
	remove_locked(front->names, id, NULL);
	mutex_unlock(&front->names->lock);
}

/* ---- The other way ---- */

struct step {
	uint64_t id, parent;
	char name[LAM_NAME_MAX + 1];
};

/* The next step up from ID that the engine has to be shown; false: it knows ID, or nobody does. */
static bool step_of(struct fuse_front *front, uint64_t id, struct step *ret)
{
	struct names *n = front->names;
	struct name_slot *s;
	bool yes = false;

	if (id == LAM_ROOT_ID)
		return false;
	mutex_lock(&n->lock);
	s = find_locked(n, id);
	if (s && s->primed != generation_of(front)) {
		s->primed = generation_of(front);
		ret->id = id;
		ret->parent = s->parent;
		strcpy(ret->name, name_of(s));
		yes = true;
	}
	mutex_unlock(&n->lock);
	return yes;
}

void names_prime(struct fuse_front *front, const struct lam_call *call, uint64_t id)
{
	struct step *steps CLEANUP_FREE = NULL;
	size_t n = 0, room = 0;
	struct lam_entry entry;

	if (!front->names || !front->successor)
		return;
	for (;; n++) {
		if (n == room) {
			struct step *more = reallocarray(steps, room + 16, sizeof(*more));

			if (!more)
				break;
			steps = more;
			room += 16;
		}
		if (!step_of(front, id, &steps[n]))
			break;
		id = steps[n].parent;
	}
	/* From the root down; what is not there any more is left to be ESTALE. */
	while (n-- > 0)
		(void)lam_lookup(front->stack, call, steps[n].parent, steps[n].name, &entry);
}
