/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mutex and its condition, built here with their checks of rank whatever the build has. */
#include "unit.h"

#ifndef LAMINA_LOCK_RANKS
#define LAMINA_LOCK_RANKS 1
#endif
#include "../../src/base/mutex.c"

#include "dies.h"

#include <pthread.h>

static struct mutex front = MUTEX_INIT(RANK_FRONT);
static struct mutex node_a = MUTEX_INIT(RANK_NODE), node_b = MUTEX_INIT(RANK_NODE);
static struct mutex leaf = MUTEX_INIT(RANK_LEAF);

static void lock_and_unlock(void **state)
{
	struct mutex m;

	(void)state;
	mutex_init(&m, RANK_DIR);
	assert_false(mutex_is_locked(&m));
	mutex_lock(&m);
	assert_true(mutex_is_locked(&m));
	assert_false(mutex_trylock(&m));
	mutex_unlock(&m);
	assert_true(mutex_trylock(&m));
	mutex_unlock(&m);
	assert_false(mutex_is_locked(&m));
	{
		struct mutex *guard MUTEX_GUARD = mutex_guard(&m);

		assert_true(mutex_is_locked(&m));
	}
	assert_false(mutex_is_locked(&m));
	{
		struct mutex *guard MUTEX_GUARD = mutex_guard(&m);

		/* Given back early. */
		mutex_unlock(guard);
		guard = NULL;
		assert_false(mutex_is_locked(&m));
	}
}

static void rising_order_is_allowed(void **state)
{
	(void)state;
	mutex_lock(&front);
	mutex_lock(&node_a);
	mutex_lock_second(&node_b);
	mutex_lock(&leaf);
	/* Any order back. */
	mutex_unlock(&node_a);
	mutex_unlock(&front);
	mutex_unlock(&leaf);
	mutex_unlock(&node_b);
	/* Trying cannot deadlock. */
	mutex_lock(&leaf);
	assert_true(mutex_trylock(&front));
	mutex_unlock(&front);
	mutex_unlock(&leaf);
	assert_int_equal(held.n, 0);
}

static void falling_order(void)
{
	mutex_lock(&leaf);
	mutex_lock(&node_a);
}

static void same_rank(void)
{
	mutex_lock(&node_a);
	mutex_lock(&node_b);
}

static void second_below(void)
{
	mutex_lock(&leaf);
	mutex_lock_second(&node_a);
}

static void same_twice(void)
{
	mutex_lock(&node_a);
	mutex_lock_second(&node_a);
}

static void unlock_of_free(void)
{
	mutex_unlock(&node_a);
}

static void unlock_of_others(void)
{
	mutex_lock(&node_b);
	mutex_unlock(&node_a);
}

static void no_rank(void)
{
	struct mutex m = { 0, 0 };

	mutex_lock(&m);
}

static void too_many(void)
{
	struct mutex m[HELD_MAX + 1];

	for (unsigned i = 0; i <= HELD_MAX; i++) {
		mutex_init(&m[i], RANK_NODE);
		mutex_lock_second(&m[i]);
	}
}

static void wait_under_higher(void)
{
	struct cond c = { 0 };

	mutex_lock(&node_a);
	mutex_lock(&leaf);
	cond_wait_for(&c, &node_a, 1);
}

static void broken_orders_stop(void **state)
{
	(void)state;
	assert_true(dies_saying(falling_order, "rank"));
	assert_true(dies_saying(same_rank, "rank"));
	assert_true(dies_saying(second_below, "rank"));
	assert_true(dies_saying(same_twice, "!= m"));
	assert_true(dies_saying(unlock_of_free, "i > 0"));
	assert_true(dies_saying(unlock_of_others, "i > 0"));
	assert_true(dies_saying(no_rank, "RANK_FRONT"));
	assert_true(dies_saying(too_many, "HELD_MAX"));
	assert_true(dies_saying(wait_under_higher, "rank"));
}

#define THREADS 4
#define ROUNDS 20000

static struct mutex counter_lock = MUTEX_INIT(RANK_TABLE);
static unsigned counter; /* under counter_lock */

static void *count_up(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		mutex_lock(&counter_lock);
		counter++;
		mutex_unlock(&counter_lock);
	}
	return NULL;
}

static void threads_exclude_each_other(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_up, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(counter, THREADS * ROUNDS);
	assert_false(mutex_is_locked(&counter_lock));
}

static struct mutex turn_lock = MUTEX_INIT(RANK_TABLE);
static struct cond turn_changed;
static unsigned turn; /* under turn_lock */

static void *take_turns(void *arg)
{
	unsigned me = *(const unsigned *)arg;

	for (unsigned i = 0; i < 500; i++) {
		mutex_lock(&turn_lock);
		while (turn % THREADS != me)
			cond_wait(&turn_changed, &turn_lock);
		turn++;
		cond_broadcast(&turn_changed);
		mutex_unlock(&turn_lock);
	}
	return NULL;
}

/* A broadcast that is lost makes this hang. */
static void conditions_wake_all(void **state)
{
	pthread_t threads[THREADS];
	unsigned ids[THREADS];

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		ids[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, take_turns, &ids[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(turn, THREADS * 500);
}

static void waits_end_by_time(void **state)
{
	struct cond c = { 0 };

	(void)state;
	cond_broadcast(&c);
	assert_int_equal(atomic_load(&c.seq), 0);
	mutex_lock(&node_a);
	cond_wait_for(&c, &node_a, 1);
	cond_wait_for(&c, &node_a, 1001 - 1000);
	assert_true(mutex_is_locked(&node_a));
	mutex_unlock(&node_a);
	assert_int_equal(atomic_load(&c.seq), 1);
	cond_broadcast(&c);
	assert_int_equal(atomic_load(&c.seq), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lock_and_unlock),     cmocka_unit_test(rising_order_is_allowed),
		cmocka_unit_test(broken_orders_stop),  cmocka_unit_test(threads_exclude_each_other),
		cmocka_unit_test(conditions_wake_all), cmocka_unit_test(waits_end_by_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
