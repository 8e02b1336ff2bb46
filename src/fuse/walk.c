/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guessing whether a walk wants attributes.
 *
 * At first every listing has them.  Now and then one goes without, as a probe: if its files are looked up
 * one by one, that was wrong, and the next probe comes after twice as many listings; if nobody does while
 * QUIET further directories are listed, attributes are left out from then on, until some lookups tell
 * that they are missed.
 */
#include "walk.h"

#include "base/hash.h"

#define FIRST_INTERVAL 4u
#define INTERVAL_AFTER_MISS 64u
#define INTERVAL_MAX 4096u
#define QUIET 24u
#define HITS 4u	   /* lookups in lately listed directories that end the leaving out ... */
#define FORGET 32u /* ... within so many listings */

static _Atomic uint64_t *slot_of(struct walk *w, uint64_t id)
{
	return &w->bare[hash_u64(id) % WALK_REMEMBERED];
}

static bool is_bare(struct walk *w, uint64_t id)
{
	return atomic_load_explicit(slot_of(w, id), memory_order_relaxed) == id;
}

static void set_bare(struct walk *w, uint64_t id, bool bare)
{
	if (bare)
		atomic_store_explicit(slot_of(w, id), id, memory_order_relaxed);
	else if (is_bare(w, id))
		atomic_store_explicit(slot_of(w, id), 0, memory_order_relaxed);
}

static void attributes_again(struct walk *w, unsigned interval)
{
	w->interval = interval;
	w->countdown = interval;
	w->probe = 0;
	w->hits = 0;
	w->names_only = false;
}

static bool list_with_attributes(struct walk *w, uint64_t id)
{
	if (w->probe) {
		if (++w->quiet >= QUIET) {
			w->probe = 0;
			w->hits = 0;
			w->names_only = true;
		}
		return false;
	}
	if (!w->interval)
		attributes_again(w, FIRST_INTERVAL);
	if (w->countdown > 1) {
		w->countdown--;
		return false;
	}
	w->quiet = 0;
	w->probe = id;
	return true;
}

bool walk_list(struct walk *w, uint64_t id, bool start)
{
	bool bare;

	if (!start)
		return is_bare(w, id);
	if (w->names_only) {
		if (++w->listed % FORGET == 0)
			w->hits = 0;
		bare = true;
	} else {
		bare = list_with_attributes(w, id);
	}
	set_bare(w, id, bare);
	return bare;
}

void walk_nothing_left_out(struct walk *w, uint64_t id)
{
	if (w->probe == id)
		w->probe = 0; /* the next listing is the probe */
}

void walk_lookup(struct walk *w, uint64_t id)
{
	if (!is_bare(w, id))
		return;
	if (w->names_only) {
		if (++w->hits >= HITS)
			attributes_again(w, INTERVAL_AFTER_MISS);
	} else if (w->probe == id) {
		unsigned next = w->interval * 2;

		attributes_again(w, next < INTERVAL_MAX ? next : INTERVAL_MAX);
	}
}
