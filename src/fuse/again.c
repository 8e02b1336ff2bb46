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

/* Orphans that were there when this worker began. */
struct orphans {
	uint64_t *ids;
	size_t n, room;
};

static void note_orphan(void *ctx, uint64_t id)
{
	struct orphans *o = ctx;

	if (o->n == o->room) {
		size_t room = o->room ? o->room * 2 : 64;
		uint64_t *ids = reallocarray(o->ids, room, sizeof(*ids));

		if (!ids)
			return; /* it stays until the mount ends */
		o->ids = ids;
		o->room = room;
	}
	o->ids[o->n++] = id;
}

int again_begin(struct fuse_front *front)
{
	front->orphans = calloc(1, sizeof(*front->orphans));
	if (!front->orphans)
		return -ENOMEM;
	/* Those of now: what becomes one later has its FORGET still to come. */
	(void)lam_orphans(front->stack, note_orphan, front->orphans);
	return notify_resend(front);
}

void again_free(struct fuse_front *front)
{
	if (front->orphans)
		free(front->orphans->ids);
	free(front->orphans);
}

bool again_kernel_has(struct fuse_front *front, uint64_t id)
{
	return notify_ask_inode(front, id) != -ENOENT;
}

/* A file made by a request that is not answered yet: the kernel will hear of it. */
static bool is_promised(const struct fuse_front *front, uint64_t id)
{
	const struct state_memory *mem = front->link->state->mem;

	for (size_t i = 0; i < STATE_INTENTS; i++) {
		const struct state_intent *in = &mem->intents[i];

		if (atomic_load(&in->unique) != 0 && atomic_load(&in->phase) == INTENT_DONE &&
		    in->id == id)
			return true;
	}
	return false;
}

void again_sweep(struct fuse_front *front)
{
	const struct lam_call call = { .cred = { 0 } };

	for (size_t i = 0; front->orphans && i < front->orphans->n; i++) {
		uint64_t id = front->orphans->ids[i];
		struct lam_entry entry;

		/* In this order: it is answered before its record goes. */
		if (is_promised(front, id) || again_kernel_has(front, id))
			continue;
		if (lam_resolve(front->stack, &call, id, &entry) == 0)
			front_gone(front, id);
	}
}
