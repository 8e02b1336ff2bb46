/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets of numbers: what was added is there, and nothing else is. */
#include "unit.h"

#include "base/numset.h"

static void empty(void **state)
{
	struct numset set = { 0 };

	(void)state;
	assert_false(numset_has(&set, 0));
	assert_false(numset_has(&set, UINT64_MAX));
	numset_clear(&set);
}

static void edges(void **state)
{
	static const uint64_t in[] = { 0, 1, 63, 64, 127, 1ull << 32, 1ull << 63, UINT64_MAX };
	static const uint64_t out[] = { 2, 62, 65, 126, 128, (1ull << 32) + 1, UINT64_MAX - 1 };
	struct numset set = { 0 };

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(numset_add(&set, in[i]), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_true(numset_has(&set, in[i]));
	for (unsigned i = 0; i < 7; i++)
		assert_false(numset_has(&set, out[i]));
	numset_clear(&set);
	assert_false(numset_has(&set, 1));
}

/* Every third number, and numbers far from each other: through all growth. */
static void many(void **state)
{
	struct numset set = { 0 };

	(void)state;
	for (uint64_t i = 0; i < 100000; i++) {
		assert_int_equal(numset_add(&set, i * 3), 0);
		assert_int_equal(numset_add(&set, (i << 20) | 1ull << 60), 0);
	}
	for (uint64_t i = 0; i < 300000; i++)
		assert_int_equal(numset_has(&set, i), i % 3 == 0);
	for (uint64_t i = 0; i < 100000; i++) {
		assert_true(numset_has(&set, (i << 20) | 1ull << 60));
		assert_false(numset_has(&set, (i << 20) | 1ull << 60 | 1));
	}
	numset_clear(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty),
		cmocka_unit_test(edges),
		cmocka_unit_test(many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
