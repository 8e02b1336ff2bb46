/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is guessed about those who list directories. */
#include "unit.h"

#include "fuse/walk.h"

/* List N directories from *ID on; how many of them without attributes. */
static unsigned list(struct walk *w, uint64_t *id, unsigned n)
{
	unsigned bare = 0;

	for (unsigned i = 0; i < n; i++)
		bare += walk_list(w, (*id)++, true);
	return bare;
}

static void names_are_learned(void **state)
{
	struct walk w = { 0 };
	uint64_t id = 100;

	(void)state;
	assert_int_equal(list(&w, &id, 40), 13); /* one probe, and all after the quiet */
	assert_int_equal(list(&w, &id, 1000), 1000);
	assert_true(walk_list(&w, id - 1, false)); /* goes on as it began */
}

static void lookups_unlearn(void **state)
{
	struct walk w = { 0 };
	uint64_t id = 100;

	(void)state;
	(void)list(&w, &id, 200);
	assert_true(walk_list(&w, id, true));
	for (unsigned i = 0; i < 4; i++)
		walk_lookup(&w, id);
	assert_int_equal(list(&w, &id, 60), 0);
}

/* One who looks at every file: the probes become rare. */
static void attributes_are_learned(void **state)
{
	struct walk w = { 0 };
	unsigned bare = 0;

	(void)state;
	for (uint64_t id = 100; id < 5500; id++) {
		if (walk_list(&w, id, true)) {
			bare++;
			for (unsigned i = 0; i < 10; i++)
				walk_lookup(&w, id);
		}
	}
	assert_in_range(bare, 1, 12);
}

static void empty_directories_tell_nothing(void **state)
{
	struct walk w = { 0 };

	(void)state;
	for (uint64_t id = 100; id < 300; id++) {
		if (walk_list(&w, id, true))
			walk_nothing_left_out(&w, id);
		assert_false(w.names_only);
	}
}

/* Few lookups among many listings are somebody else. */
static void a_lookup_now_and_then_is_none(void **state)
{
	struct walk w = { 0 };
	uint64_t id = 100;

	(void)state;
	(void)list(&w, &id, 200);
	for (unsigned i = 0; i < 50; i++) {
		assert_true(walk_list(&w, id, true));
		walk_lookup(&w, id);
		id++;
		assert_int_equal(list(&w, &id, 31), 31);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_learned),
		cmocka_unit_test(lookups_unlearn),
		cmocka_unit_test(attributes_are_learned),
		cmocka_unit_test(empty_directories_tell_nothing),
		cmocka_unit_test(a_lookup_now_and_then_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
