/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Objects whose ids are made from a name (docs/adr/0006) and that were copied up since.  What a lookup
 * finds then is an upper inode that says nothing of that id: this table does, from the upper inode's id, for
 * as long as the node lives, so that whoever has the file open and whoever looks it up mean one
 * object.  Lock: alias_lock, a leaf.
 */
#include "core.h"

#include "base/hash.h"

struct alias {
	struct alias *next;
	uint64_t upper_id, id;
};

static struct alias **slot_of(struct lam_stack *s, uint64_t upper_id)
{
	struct alias **link = &s->aliases[hash_u64(upper_id) % ALIAS_BUCKETS];

	while (*link && (*link)->upper_id != upper_id)
		link = &(*link)->next;
	return link;
}

static uint64_t upper_id_of(struct lam_stack *s, uint64_t ino)
{
	return id_make(s, s->layers[LAYER_UPPER].fs, ino, true);
}

/* N, with an id made from its name, has just got the upper inode INO. */
void alias_note(struct lam_stack *s, const struct node *n, uint64_t ino)
{
	uint64_t upper_id = upper_id_of(s, ino);
	struct mutex *guard MUTEX_GUARD = mutex_guard(&s->alias_lock);
	struct alias **link = slot_of(s, upper_id);

	if (!*link) {
		*link = calloc(1, sizeof(**link));
		if (!*link)
			return; /* the next lookup makes a second object of it, as after a restart */
		(*link)->upper_id = upper_id;
	}
	(*link)->id = n->id;
}

/* The id that the object of an upper inode has had before, or UPPER_ID itself. */
uint64_t alias_of(struct lam_stack *s, uint64_t upper_id)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&s->alias_lock);
	struct alias **link = slot_of(s, upper_id);

	return *link ? (*link)->id : upper_id;
}

/* N is freed. */
void alias_forget(struct lam_stack *s, const struct node *n)
{
	uint64_t upper_id = upper_id_of(s, n->real_ino);
	struct mutex *guard MUTEX_GUARD = mutex_guard(&s->alias_lock);
	struct alias **link = slot_of(s, upper_id), *gone = *link;

	if (gone && gone->id == n->id) {
		*link = gone->next;
		free(gone);
	}
}
