/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nodes: what the process remembers of objects, in a table by id.  A node holds its parent, so a
 * path upward exists as long as anything below is known.  Nodes without references stay as a cache
 * until lam_forget() or memory pressure.
 *
 * Locks: a shard's lock for the table; a node's own lock for where it is and what it is.
 */
#include "core.h"

#include <malloc.h>
#include <unistd.h>

#include "base/hash.h"

/* After so many forgotten nodes the allocator is asked to give memory back. */
#define FORGOTTEN_MANY 16384u

/* In a node's count of references: it is in no table, and goes with the last of them. */
#define REFS_RETIRED (1u << 31)

static struct node_shard *shard_of(struct lam_stack *s, uint64_t id)
{
	return &s->shards[hash_u64(id) >> 58];
}

static uint32_t bucket_of(const struct node_shard *sh, uint64_t id)
{
	return (uint32_t)hash_u64(id) & sh->mask;
}

/* One for each 32 KiB of memory: less than a two-hundredth of it in all. */
static uint64_t default_limit(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
	uint64_t n = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 32768 : 0;

	return n < 65536 ? 65536 : n;
}

int nodes_init(struct lam_stack *s)
{
	_Static_assert(NODE_SHARDS == 64, "shard_of takes six bits");
	if (!s->node_limit)
		s->node_limit = default_limit();
	s->sweep_at = s->node_limit;
	for (unsigned i = 0; i < NODE_SHARDS; i++) {
		struct node_shard *sh = &s->shards[i];

		mutex_init(&sh->lock, RANK_TABLE);
		sh->mask = 15;
		sh->buckets = calloc(sh->mask + 1, sizeof(*sh->buckets));
		if (!sh->buckets)
			return -ENOMEM;
	}
	return 0;
}

static void extra_free(struct lam_stack *s, struct node_extra *x)
{
	if (!x)
		return;
	rdir_put(s, x->data_dir);
	free(x->data_name);
	free(x->data_path);
	free(x->handle);
	free(x->index_name);
	free(x);
}

static void dir_free(struct lam_stack *s, struct dir *d)
{
	if (!d)
		return;
	CHECK(!d->listing);
	window_drop(s, d);
	rdir_put(s, d->upper);
	for (unsigned i = 0; i < (unsigned)d->n_lower + d->n_spare; i++)
		rdir_put(s, d->lower[i]);
	free(d->lower);
	while (d->old) {
		struct old_parts *old = d->old;

		for (unsigned i = 0; i < old->n; i++)
			rdir_put(s, old->lower[i]);
		d->old = old->next;
		free(old->lower);
		free(old);
	}
	free(d);
}

/* As it is made: what it points to is counted elsewhere or not at all. */
static size_t node_size(const struct node *n)
{
	return sizeof(*n) + (n->dir ? sizeof(*n->dir) : 0);
}

/* Free a node that is in no table.  Its parent is returned for the caller to put: no recursion. */
static struct node *node_free(struct lam_stack *s, struct node *n)
{
	struct node *parent = n->parent;

	if (n->flags & NF_BY_NAME && n->layer == LAYER_UPPER && !n->dir)
		alias_forget(s, n);
	atomic_fetch_sub(&s->stat_nodes, 1);
	atomic_fetch_sub(&s->stat_node_bytes, node_size(n));
	if (n->dir)
		dirlist_drop_last(s, n);
	fdcache_drop(&s->fds, &n->fde);
	dir_free(s, n->dir);
	extra_free(s, n->extra);
	free(n->name);
	free(n);
	return parent;
}

/* A parent that was retired is in no table: it goes with the last of its children. */
static void part_from_parents(struct lam_stack *s)
{
	for (unsigned i = 0; i < NODE_SHARDS; i++) {
		struct node_shard *sh = &s->shards[i];

		for (uint32_t b = 0; sh->buckets && b <= sh->mask; b++) {
			for (struct node *n = sh->buckets[b]; n; n = n->next)
				node_put(s, TAKE_PTR(n->parent));
		}
	}
}

void nodes_destroy(struct lam_stack *s)
{
	part_from_parents(s);
	for (unsigned i = 0; i < NODE_SHARDS; i++) {
		struct node_shard *sh = &s->shards[i];

		for (uint32_t b = 0; sh->buckets && b <= sh->mask; b++) {
			struct node *n, *next;

			for (n = sh->buckets[b]; n; n = next) {
				next = n->next;
				(void)node_free(s, n); /* it has parted from its parent */
			}
		}
		free(sh->buckets);
	}
}

struct node *node_ref(struct node *n)
{
	uint32_t old = atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);

	CHECK((old & ~REFS_RETIRED) > 0);
	return n;
}

static struct node *find_locked(struct node_shard *sh, uint64_t id)
{
	struct node *n;

	for (n = sh->buckets[bucket_of(sh, id)]; n; n = n->next)
		if (n->id == id)
			break;
	if (n) {
		/* May rise from 0: a cached node comes back to life under the shard's lock. */
		atomic_fetch_add_explicit(&n->refs, 1, memory_order_acquire);
		n->recent = 1;
	}
	return n;
}

struct node *node_find(struct lam_stack *s, uint64_t id)
{
	struct node_shard *sh = shard_of(s, id);
	struct mutex *guard MUTEX_GUARD = mutex_guard(&sh->lock);
	struct node *n = find_locked(sh, id);

	if (n)
		sh->hits++;
	else
		sh->misses++;
	return n;
}

static void grow_locked(struct node_shard *sh)
{
	uint32_t mask = sh->mask * 2 + 1;
	struct node **buckets = calloc((size_t)mask + 1, sizeof(*buckets));

	if (!buckets)
		return; /* longer chains, nothing worse */
	for (uint32_t b = 0; b <= sh->mask; b++) {
		struct node *n, *next;

		for (n = sh->buckets[b]; n; n = next) {
			struct node **slot = &buckets[(uint32_t)hash_u64(n->id) & mask];

			next = n->next;
			n->next = *slot;
			*slot = n;
		}
	}
	free(sh->buckets);
	sh->buckets = buckets;
	sh->mask = mask;
}

static struct node *node_new(struct lam_stack *s, uint64_t id, uint32_t mode)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	if (S_ISDIR(mode)) {
		n->dir = calloc(1, sizeof(*n->dir));
		if (!n->dir) {
			free(n);
			return NULL;
		}
		mutex_init(&n->dir->lock, RANK_DIR);
	}
	mutex_init(&n->lock, RANK_NODE);
	n->id = id;
	n->type = (uint8_t)((mode & S_IFMT) >> 12);
	n->recent = 1;
	atomic_init(&n->refs, 1);
	atomic_fetch_add(&s->stat_nodes, 1);
	atomic_fetch_add(&s->stat_node_bytes, node_size(n));
	return n;
}

struct node *node_obtain(struct lam_stack *s, uint64_t id, uint32_t mode, bool *ret_new)
{
	struct node_shard *sh = shard_of(s, id);
	struct mutex *guard MUTEX_GUARD = mutex_guard(&sh->lock);
	struct node *n = find_locked(sh, id);
	uint32_t b;

	*ret_new = !n;
	if (n)
		return n;
	n = node_new(s, id, mode);
	if (!n)
		return NULL;
	if (sh->count >= sh->mask * 2)
		grow_locked(sh);
	b = bucket_of(sh, id);
	n->next = sh->buckets[b];
	sh->buckets[b] = n;
	sh->count++;
	return n;
}

void node_put(struct lam_stack *s, struct node *n)
{
	while (n) {
		/* The mark of a retired node is in the count itself: afterwards the node may be another
		 * thread's to free, and before, somebody may be retiring it. */
		uint32_t old = atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel);

		CHECK((old & ~REFS_RETIRED) > 0);
		if (old != (REFS_RETIRED | 1))
			return;
		n = node_free(s, n);
	}
}

void node_retire(struct lam_stack *s, struct node *n)
{
	struct node_shard *sh = shard_of(s, n->id);
	struct mutex *guard MUTEX_GUARD = mutex_guard(&sh->lock);
	struct node **link;

	for (link = &sh->buckets[bucket_of(sh, n->id)]; *link; link = &(*link)->next) {
		if (*link == n) {
			*link = n->next;
			sh->count--;
			atomic_fetch_or_explicit(&n->refs, REFS_RETIRED, memory_order_relaxed);
			return;
		}
	}
}

struct node *node_fresh(struct lam_stack *s, uint64_t id, uint32_t mode, bool *ret_new)
{
	struct node *old = node_find(s, id);

	if (old) {
		node_retire(s, old);
		node_put(s, old);
	}
	return node_obtain(s, id, mode, ret_new);
}

/* Whether a node without references may be forgotten: nothing about it would be lost. */
static bool disposable(const struct lam_stack *s, const struct node *n)
{
	if (n->id == LAM_ROOT_ID || n->flags & (NF_COPYING | NF_ORPHAN | NF_DEAD))
		return false;
	return n != s->root;
}

/* Take a node out of the table if nobody uses it; returned to be freed. */
static struct node *remove_idle(struct lam_stack *s, uint64_t id, bool dead_too)
{
	struct node_shard *sh = shard_of(s, id);
	struct mutex *guard MUTEX_GUARD = mutex_guard(&sh->lock);
	struct node **link, *n;

	for (link = &sh->buckets[bucket_of(sh, id)]; (n = *link); link = &n->next) {
		if (n->id != id)
			continue;
		if (atomic_load_explicit(&n->refs, memory_order_acquire))
			return NULL;
		if (!disposable(s, n) &&
		    !(dead_too && n != s->root && !(n->flags & (NF_COPYING | NF_ORPHAN))))
			return NULL;
		*link = n->next;
		sh->count--;
		return n;
	}
	return NULL;
}

/* What many small nodes leave is in pieces that the allocator does not give back by itself. */
static void give_back(struct lam_stack *s)
{
	uint64_t n = atomic_fetch_add_explicit(&s->forgotten, 1, memory_order_relaxed) + 1;

	if (n < FORGOTTEN_MANY || n < atomic_load(&s->stat_nodes))
		return;
	atomic_store(&s->forgotten, 0);
#ifdef __GLIBC__
	(void)malloc_trim(0); /* whether there was anything does not matter */
#endif
}

/* Forget a node and the ancestors that only it kept. */
static void forget_chain(struct lam_stack *s, uint64_t id, bool dead_too)
{
	struct node *n = remove_idle(s, id, dead_too);

	if (n) {
		struct node *parent = node_free(s, n);

		/* Ancestors stay cached: the kernel holds them longer than their children, and
		 * tells when it does not. */
		node_put(s, parent);
		give_back(s);
	}
}

/* False: it is none. */
static bool forget_orphan(struct lam_stack *s, uint64_t id)
{
	struct node *n = node_find(s, id);
	bool orphan = n ? n->flags & NF_ORPHAN : s->left_orphans > 0;

	node_put(s, n);
	if (!orphan)
		return false;
	mutex_lock(&s->orphans_lock);
	n = node_find(s, id);
	orphan = n && n->flags & NF_ORPHAN;
	if (orphan) {
		/* Out of the table first: once the inode is gone its number may be used again, and the new
		 * object must not find this node. */
		node_retire(s, n);
		(void)work_orphan_drop(s, n); /* what is left over goes at the next mount */
	} else if (!n) {
		work_left_orphan_drop(s, id);
		orphan = true;
	}
	node_put(s, n);
	mutex_unlock(&s->orphans_lock);
	return orphan;
}

void lam_forget(struct lam_stack *s, uint64_t id)
{
	if (stack_in_use(s, id))
		return;
	if (!forget_orphan(s, id))
		forget_chain(s, id, true);
}

/* Whether a node that no thread refers to can be found again from its id by whoever still has that.
 * Rare states are worth their memory: what is known of other places than the usual one, an id made from a
 * name.  So are directories, which are many fewer than files and costly to connect again. */
static bool sweepable(struct lam_stack *s, const struct node *n, bool held_too)
{
	if (!disposable(s, n))
		return false;
	if (!node_is_dir(n) && held_too && !n->extra &&
	    !(n->flags & (NF_BY_NAME | NF_DETACHED | NF_NAME_GONE | NF_INDEXED | NF_METACOPY)))
		return true;
	return !stack_in_use(s, n->id);
}

/* Take out of one shard what was not used since the last sweep; a list. */
static struct node *sweep_shard(struct lam_stack *s, struct node_shard *sh, bool held_too)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&sh->lock);
	struct node *gone = NULL;

	for (uint32_t b = 0; b <= sh->mask; b++) {
		struct node **link = &sh->buckets[b], *n;

		while ((n = *link)) {
			bool idle = !atomic_load_explicit(&n->refs, memory_order_acquire) &&
				    !n->recent && sweepable(s, n, held_too);

			n->recent = 0;
			if (!idle) {
				link = &n->next;
				continue;
			}
			*link = n->next;
			sh->count--;
			n->next = gone;
			gone = n;
		}
	}
	return gone;
}

static void sweep(struct lam_stack *s)
{
	struct lam_info info;

	lam_stack_info(s, &info);
	for (unsigned i = 0; i < NODE_SHARDS; i++) {
		struct node *gone = sweep_shard(s, &s->shards[i], info.resolves_files);

		while (gone) {
			struct node *next = gone->next;

			node_put(s, node_free(s, gone));
			gone = next;
		}
	}
}

void nodes_check(struct lam_stack *s)
{
	uint64_t due = atomic_load_explicit(&s->sweep_at, memory_order_relaxed), n;

	if (atomic_load_explicit(&s->stat_nodes, memory_order_relaxed) < due)
		return;
	if (!atomic_compare_exchange_strong(&s->sweep_at, &due, UINT64_MAX))
		return; /* another thread does it */
	sweep(s);
	n = atomic_load(&s->stat_nodes);
	if (n < s->node_limit)
		n = s->node_limit;
	/* The first sweep only marks; the next is due when the marks mean something. */
	atomic_store(&s->sweep_at, n + s->node_limit / 8 + 1);
}

struct node_extra *node_extra(struct node *n)
{
	if (!n->extra)
		n->extra = calloc(1, sizeof(*n->extra));
	return n->extra;
}

void node_take_location(struct lam_stack *s, struct node *n, struct node *parent, char *name)
{
	struct node *old_parent;
	char *old_name;

	node_ref(parent);
	mutex_lock(&n->lock);
	old_name = n->name;
	old_parent = n->parent;
	n->name = name;
	n->parent = parent;
	n->flags &= (uint16_t) ~(NF_DETACHED | NF_NAME_GONE);
	mutex_unlock(&n->lock);
	free(old_name);
	node_put(s, old_parent);
}

/* Caller holds N's lock. */
static bool is_location(const struct node *n, const struct node *parent, const char *name)
{
	return n->parent == parent && n->name && !strcmp(n->name, name);
}

bool node_has_location(struct node *n, const struct node *parent, const char *name)
{
	bool is;

	mutex_lock(&n->lock);
	is = is_location(n, parent, name);
	mutex_unlock(&n->lock);
	return is;
}

void node_name_gone(struct node *n, const struct node *parent, const char *name, bool gone)
{
	mutex_lock(&n->lock);
	if (is_location(n, parent, name)) {
		if (gone)
			n->flags |= NF_NAME_GONE;
		else
			n->flags &= (uint16_t)~NF_NAME_GONE;
	}
	mutex_unlock(&n->lock);
}

int node_set_location(struct lam_stack *s, struct node *n, struct node *parent, const char *name)
{
	char *copy;

	mutex_lock(&n->lock);
	if (is_location(n, parent, name)) {
		n->flags &= (uint16_t)~NF_NAME_GONE;
		mutex_unlock(&n->lock);
		return 0;
	}
	mutex_unlock(&n->lock);

	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	node_take_location(s, n, parent, copy);
	return 0;
}

int node_get(struct lam_stack *s, uint64_t id, struct node **ret)
{
	struct node *n = node_find(s, id);

	if (n) {
		*ret = n;
		return 0;
	}
	return resolve_id(s, id, ret);
}

int node_get_dir(struct lam_stack *s, uint64_t id, struct node **ret)
{
	struct node *n;
	int r = node_get(s, id, &n);

	if (r < 0)
		return r;
	if (!node_is_dir(n)) {
		node_put(s, n);
		return -ENOTDIR;
	}
	*ret = n;
	return 0;
}
