/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests that come again, and what a worker needs that goes on where another one ended. */
#include "again.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "internal.h"
#include "super/super.h"

static struct state *state_of(const struct request *rq)
{
	return rq->front->link ? rq->front->link->state : NULL;
}

enum past once_enter(struct request *rq)
{
	struct state *s = state_of(rq);
	uint64_t unique = rq->head.unique & ~FUSE_UNIQUE_RESEND;

	if (!s)
		return PAST_NONE;
	rq->intent = rq->head.unique & FUSE_UNIQUE_RESEND ? intent_find(s, unique) : NULL;
	if (!rq->intent) {
		rq->intent = intent_take(s, unique, rq->head.opcode);
		return PAST_NONE;
	}
	switch ((enum intent_phase)atomic_load(&rq->intent->phase)) {
	case INTENT_DONE:
		return PAST_DONE;
	case INTENT_BEGUN:
		return PAST_BEGUN;
	case INTENT_FREE:
		break;
	}
	return PAST_NONE;
}

void once_begin(struct request *rq)
{
	if (rq->intent)
		intent_begin(rq->intent);
}

uint64_t *once_prior(struct request *rq)
{
	return rq->intent ? rq->intent->prior : NULL;
}

int once_done(struct request *rq, int result, uint64_t id)
{
	if (rq->intent)
		intent_done(rq->intent, result, id);
	return result;
}

int once_result(const struct request *rq)
{
	return rq->intent->result;
}

uint64_t once_id(const struct request *rq)
{
	return rq->intent->id;
}

void once_leave(struct request *rq)
{
	if (rq->intent)
		intent_free(rq->intent);
	rq->intent = NULL;
}

int once_found(struct request *rq, const char *name, uint32_t type, struct lam_entry *ret)
{
	struct lam_entry entry;
	int r;

	r = lam_lookup(rq->front->stack, &rq->call, rq->head.nodeid, name, &entry);
	if (r < 0)
		return r;
	if ((entry.attr.mode & S_IFMT) != type)
		return -EEXIST;
	*ret = entry;
	return 0;
}

/* ---- Going on ---- */

/* Who made a file without a name has his answer, and the kernel makes the inode when he runs: until then it
 * says that there is none, also on a machine that has much else to do.  So it is asked twice. */
#define SWEEP_MS 10000

struct orphan {
	uint64_t id;
	uint32_t generation;
};

/* Orphans that the kernel may know of. */
struct orphans {
	struct orphan *found;
	size_t n, room;
	bool in_doubt; /* what FOUND has was unknown when it was last asked for */
};

static void note_orphan(void *ctx, uint64_t id)
{
	struct orphans *o = ctx;

	if (o->n == o->room) {
		size_t room = o->room ? o->room * 2 : 64;
		struct orphan *found = reallocarray(o->found, room, sizeof(*found));

		if (!found)
			return; /* it stays until the next time */
		o->found = found;
		o->room = room;
	}
	o->found[o->n++] = (struct orphan){ .id = id };
}

int again_begin(struct fuse_front *front)
{
	front->orphans = calloc(1, sizeof(*front->orphans));
	if (!front->orphans)
		return -ENOMEM;
	atomic_store(&front->doubts, true); /* there may be orphans from before */
	return notify_resend(front);
}

void again_free(struct fuse_front *front)
{
	if (front->orphans)
		free(front->orphans->found);
	free(front->orphans);
}

bool again_kernel_has(struct fuse_front *front, uint64_t id)
{
	return notify_ask_inode(front, id) != -ENOENT;
}

/* The record of a request that made ID and whose worker may have ended before or after it was answered. */
static struct state_intent *maker_of(const struct fuse_front *front, uint64_t id)
{
	struct state_memory *mem = front->link->state->mem;

	for (size_t i = 0; i < STATE_INTENTS; i++) {
		struct state_intent *in = &mem->intents[i];

		if (atomic_load(&in->unique) != 0 && atomic_load(&in->phase) == INTENT_DONE &&
		    in->id == id)
			return in;
	}
	return NULL;
}

bool again_was_made(const struct fuse_front *front, uint64_t id)
{
	return maker_of(front, id) != NULL;
}

/* Whether the kernel knows ID, or hears of it from this worker: then a FORGET ends it one day.  The kernel is
 * asked last, for an answer adds to HOLDS before it is given, and its record goes after it. */
static bool is_known(struct fuse_front *front, uint64_t id)
{
	const struct state_intent *in = maker_of(front, id);

	if (in && atomic_load(&in->generation) == atomic_load(&front->link->state->mem->generation))
		return true;
	return holds_has(front->holds, id) || again_kernel_has(front, id);
}

static bool find_orphan(struct fuse_front *front, uint64_t id, uint32_t *ret_generation)
{
	const struct lam_call call = { .cred = { 0 } };
	struct lam_entry entry;

	if (lam_resolve(front->stack, &call, id, &entry) < 0)
		return false;
	*ret_generation = entry.generation;
	return true;
}

/* Unknown for a while: the request that made it was answered long ago, or its caller is gone. */
static void end_orphan(struct fuse_front *front, const struct orphan *orphan)
{
	struct state_intent *in = maker_of(front, orphan->id);
	uint32_t generation;

	if (in) /* should it come all the same, it makes a new one */
		intent_free(in);
	/* The number may have got a new object meanwhile. */
	if (find_orphan(front, orphan->id, &generation) && generation == orphan->generation)
		front_gone(front, orphan->id);
}

static void look_for_orphans(struct fuse_front *front)
{
	struct orphans *o = front->orphans;
	size_t unknown = 0;

	o->n = 0;
	(void)lam_orphans(front->stack, note_orphan, o); /* else the next time */
	for (size_t i = 0; i < o->n; i++) {
		struct orphan orphan = o->found[i];

		if (!is_known(front, orphan.id) &&
		    find_orphan(front, orphan.id, &orphan.generation))
			o->found[unknown++] = orphan;
	}
	o->n = unknown;
	o->in_doubt = unknown > 0;
}

int again_sweep(struct fuse_front *front)
{
	struct orphans *o = front->orphans;

	for (size_t i = 0; o->in_doubt && i < o->n; i++) {
		if (!is_known(front, o->found[i].id))
			end_orphan(front, &o->found[i]);
	}
	o->in_doubt = false;
	if (atomic_exchange(&front->doubts, false))
		look_for_orphans(front);
	return SWEEP_MS;
}
