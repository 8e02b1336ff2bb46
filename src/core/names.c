/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One change at a time of the names of one file.  How many names a file has is read, compared and changed
 * by removals, renames, links and copy-ups, and the names may be in different directories, whose locks
 * do not exclude each other.  The kernel locks the inode before it asks; a server of NFS does not.
 *
 * The locks are a fixed number of stripes by id, taken after the directories'.  What was looked up
 * before must be looked up again where names_changed() says so; mostly nothing has changed.
 */
#include "core.h"

#include "base/hash.h"

static struct mutex *stripe_of(struct lam_stack *s, const struct node *n)
{
	if (!n || node_is_dir(n)) /* has one name, which its parent's lock covers */
		return NULL;
	return &s->name_locks[hash_u64(n->id) % NAME_STRIPES];
}

struct names_lock names_lock(struct lam_stack *s, const struct node *a, const struct node *b)
{
	struct names_lock lock = { .first = stripe_of(s, a), .second = stripe_of(s, b) };

	if (lock.first == lock.second)
		lock.second = NULL;
	if (!lock.first || (lock.second && lock.second < lock.first)) {
		struct mutex *other = lock.first;

		lock.first = lock.second;
		lock.second = other;
	}
	if (lock.first)
		mutex_lock(lock.first);
	if (lock.second)
		mutex_lock_second(lock.second);
	return lock;
}

void names_unlock(struct names_lock *lock)
{
	if (lock->second)
		mutex_unlock(lock->second);
	if (lock->first)
		mutex_unlock(lock->first);
	*lock = (struct names_lock){ 0 };
}
