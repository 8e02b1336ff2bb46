/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads for requests that must not hold up a serving thread.
 *
 * A serving thread that waited for another request to be served could wait for itself.  Such
 * requests go through here.  The number of jobs is bounded by the requests the kernel has under
 * way.
 */
#include "late.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/mutex.h"
#include "internal.h"

struct late_thread {
	struct late_pool *pool;
	struct slot *slot;
	pthread_t thread;
};

struct late_pool {
	struct mutex lock; /* RANK_FRONT; protects the queue and STOPPING */
	struct cond more;
	STAILQ_HEAD(late_jobs, late_job) jobs;
	bool stopping;
	unsigned n, started;
	struct late_thread threads[];
};

struct late_pool *late_pool_new(struct slot *slots, unsigned n)
{
	struct late_pool *pool = calloc(1, sizeof(*pool) + n * sizeof(pool->threads[0]));

	if (!pool)
		return NULL;
	mutex_init(&pool->lock, RANK_FRONT);
	STAILQ_INIT(&pool->jobs);
	pool->n = n;
	for (unsigned i = 0; i < n; i++) {
		pool->threads[i].pool = pool;
		pool->threads[i].slot = &slots[i];
	}
	return pool;
}

static void *late_main(void *arg)
{
	struct late_thread *self = arg;
	struct late_pool *pool = self->pool;

	mutex_lock(&pool->lock);
	for (;;) {
		struct late_job *job = STAILQ_FIRST(&pool->jobs);

		if (!job) {
			if (pool->stopping)
				break;
			cond_wait(&pool->more, &pool->lock);
			continue;
		}
		STAILQ_REMOVE_HEAD(&pool->jobs, link);
		mutex_unlock(&pool->lock);
		job->run(job, self->slot);
		mutex_lock(&pool->lock);
	}
	mutex_unlock(&pool->lock);
	return NULL;
}

int late_pool_start(struct late_pool *pool)
{
	int r = 0;

	while (pool->started < pool->n) {
		struct late_thread *t = &pool->threads[pool->started];

		r = front_thread(&t->thread, late_main, t);
		if (r < 0)
			break;
		pool->started++;
	}
	return pool->started > 0 ? 0 : r;
}

bool late_pool_add(struct late_pool *pool, struct late_job *job)
{
	bool taken;

	mutex_lock(&pool->lock);
	taken = !pool->stopping && pool->started > 0;
	if (taken)
		STAILQ_INSERT_TAIL(&pool->jobs, job, link);
	mutex_unlock(&pool->lock);
	if (taken)
		cond_broadcast(&pool->more);
	return taken;
}

void late_pool_stop(struct late_pool *pool)
{
	mutex_lock(&pool->lock);
	pool->stopping = true;
	mutex_unlock(&pool->lock);
	cond_broadcast(&pool->more);
	for (unsigned i = 0; i < pool->started; i++)
		(void)pthread_join(pool->threads[i].thread, NULL); /* it is joinable */
	pool->started = 0;
}

void late_pool_free(struct late_pool *pool)
{
	if (!pool)
		return;
	CHECK(pool->started == 0);
	free(pool);
}
