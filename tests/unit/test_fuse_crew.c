/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How many threads take requests: what the watcher makes of what it sees. */
#include "unit.h"

#include "fuse/crew.h"

static struct crew *new_crew(struct crew *c, unsigned n)
{
	assert_int_equal(crew_init(c, n), 0);
	crew_limit(c, n);
	return c;
}

/* Look N times; at each the members up to SERVING have moved on, and are serving. */
static void look(struct crew *c, unsigned n, unsigned serving)
{
	for (unsigned k = 0; k < n; k++) {
		for (unsigned i = 0; i < serving; i++) {
			if (c->members[i].turn & 1u)
				crew_end(c, i);
			crew_begin(c, i);
		}
		(void)crew_look(c);
	}
}

static void one_is_enough_for_little(void **state)
{
	struct crew c = { 0 };

	(void)state;
	new_crew(&c, 4);
	assert_false(crew_parked(&c, 0));
	assert_true(crew_parked(&c, 1));
	for (unsigned k = 0; k < 100; k++) {
		look(&c, 1, k % 2); /* busy half of the time */
		if (k % 2)
			crew_end(&c, 0);
	}
	assert_int_equal(c.out, 1);
	crew_done(&c);
}

static void work_calls_them_out_and_rest_back(void **state)
{
	struct crew c = { 0 };

	(void)state;
	new_crew(&c, 4);
	for (unsigned k = 0; k < 40; k++)
		look(&c, 1, c.out);
	assert_int_equal(c.out, 4);
	for (unsigned i = 0; i < 4; i++)
		crew_end(&c, i);
	for (unsigned k = 0; k < 40; k++)
		(void)crew_look(&c);
	assert_int_equal(c.out, 1);
	crew_done(&c);
}

static void one_that_is_stuck_is_not_waited_for(void **state)
{
	struct crew c = { 0 };

	(void)state;
	new_crew(&c, 2);
	crew_begin(&c, 0);
	(void)crew_look(&c);
	assert_int_equal(c.out, 1);
	(void)crew_look(&c);
	assert_int_equal(c.out, 2);
	crew_begin(&c, 1);
	(void)crew_look(&c);
	(void)crew_look(&c);
	assert_int_equal(c.out, 2); /* there is nobody else */
	crew_done(&c);
}

static void only_those_that_were_started(void **state)
{
	struct crew c = { 0 };

	(void)state;
	new_crew(&c, 4);
	crew_limit(&c, 1);
	crew_begin(&c, 0);
	for (unsigned k = 0; k < 10; k++)
		(void)crew_look(&c);
	assert_int_equal(c.out, 1);
	crew_done(&c);
}

static void the_watcher_sleeps_when_nothing_comes(void **state)
{
	struct crew c = { 0 };
	unsigned k = 0;

	(void)state;
	new_crew(&c, 4);
	crew_begin(&c, 0);
	while (k < 100 && !crew_look(&c))
		k++;
	assert_int_equal(k, 100); /* never while one serves */
	crew_end(&c, 0);
	for (k = 0; k < 100 && !crew_look(&c); k++)
		;
	assert_in_range(k, 10, 99);
	crew_done(&c);
}

static void a_crew_of_one_is_none(void **state)
{
	struct crew c = { 0 };

	(void)state;
	assert_int_equal(crew_init(&c, 1), 0);
	assert_false(crew_parked(&c, 0));
	crew_begin(&c, 0);
	crew_end(&c, 0);
	crew_done(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_is_enough_for_little),
		cmocka_unit_test(work_calls_them_out_and_rest_back),
		cmocka_unit_test(one_that_is_stuck_is_not_waited_for),
		cmocka_unit_test(only_those_that_were_started),
		cmocka_unit_test(the_watcher_sleeps_when_nothing_comes),
		cmocka_unit_test(a_crew_of_one_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
