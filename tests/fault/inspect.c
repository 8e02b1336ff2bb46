// SPDX-License-Identifier: GPL-2.0-or-later
#include "inspect.h"

#include <dirent.h>
#include <stdio.h>

#include "core/core.h"

/* As in node.c: the mark of a node that is in no table. */
#define REFS_MARK 0x80000000u

static char said[256];

static const char *say(const char *what, const struct node *n)
{
	(void)snprintf(said, sizeof(said), "%s: node %llx '%s'", what, (unsigned long long)n->id,
		       n->name ? n->name : "");
	return said;
}

typedef const char *(*visit_fn)(struct lam_stack *s, struct node *n);

static const char *each_node(struct lam_stack *s, visit_fn visit)
{
	const char *wrong = NULL;

	for (unsigned i = 0; i < NODE_SHARDS && !wrong; i++)
		for (uint32_t b = 0; b <= s->shards[i].mask && !wrong; b++)
			for (struct node *n = s->shards[i].buckets[b]; n && !wrong; n = n->next)
				wrong = visit(s, n);
	return wrong;
}

/* Children hold their parents; the root is held by the stack.  Counted down and up again. */
static const char *take_parent(struct lam_stack *s, struct node *n)
{
	(void)s;
	if (n->parent)
		n->parent->refs--;
	return NULL;
}

static const char *give_parent(struct lam_stack *s, struct node *n)
{
	(void)s;
	if (n->parent)
		n->parent->refs++;
	return NULL;
}

static const char *check_refs(struct lam_stack *s, struct node *n)
{
	uint32_t want = n == s->root ? 1 : 0;

	return (n->refs & ~REFS_MARK) == want ? NULL : say("a reference is left", n);
}

static const char *check_locks(struct lam_stack *s, struct node *n)
{
	(void)s;
	if (mutex_is_locked(&n->lock))
		return say("its lock is held", n);
	if (n->dir && mutex_is_locked(&n->dir->lock))
		return say("its directory lock is held", n);
	return n->flags & NF_COPYING ? say("a copy-up never ended", n) : NULL;
}

static const char *check_stack(struct lam_stack *s)
{
	const struct mutex *locks[] = { &s->fs_lock,	   &s->work_lock,   &s->rename_lock,
					&s->copyup_lock,   &s->rdir_lock,   &s->fds.lock,
					&s->listings_lock, &s->origins_lock };
	const struct fdent *e;

	for (size_t i = 0; i < ARRAY_LEN(locks); i++)
		if (mutex_is_locked(locks[i]))
			return "a lock of the stack is held";
	for (unsigned i = 0; i < NODE_SHARDS; i++)
		if (mutex_is_locked(&s->shards[i].lock))
			return "the lock of a shard is held";
	TAILQ_FOREACH(e, &s->fds.list, lru)
		if (e->pins)
			return "a descriptor is pinned";
	return NULL;
}

const char *inspect_stack(struct lam_stack *stack)
{
	const char *wrong = check_stack(stack);

	if (!wrong)
		wrong = each_node(stack, check_locks);
	(void)each_node(stack, take_parent);
	if (!wrong)
		wrong = each_node(stack, check_refs);
	(void)each_node(stack, give_parent);
	return wrong;
}

unsigned inspect_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}
