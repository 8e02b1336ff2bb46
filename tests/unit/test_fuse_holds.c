/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of ids that the kernel refers to. */
#include "unit.h"

#include <stdbool.h>
#include <stdlib.h>

#include "fuse/holds.h"

static void counts_up_and_down(void **state)
{
	struct holds *h = holds_new();

	(void)state;
	assert_non_null(h);
	assert_false(holds_has(h, 5));
	assert_false(holds_drop(h, 5, 1));
	assert_int_equal(holds_add(h, 5, 0), 1);
	assert_int_equal(holds_add(h, 5, 0), 0);
	assert_true(holds_has(h, 5));
	assert_int_equal(holds_count(h), 1);
	assert_false(holds_drop(h, 5, 1));
	assert_true(holds_has(h, 5));
	assert_true(holds_drop(h, 5, 1));
	assert_false(holds_has(h, 5));
	assert_int_equal(holds_count(h), 0);
	/* More than there are. */
	assert_int_equal(holds_add(h, 6, 0), 1);
	assert_true(holds_drop(h, 6, UINT64_MAX));
	assert_false(holds_has(h, 6));
	holds_free(h);
}

static void marks_stay_while_held(void **state)
{
	struct holds *h = holds_new();

	(void)state;
	holds_mark(h, 9, HOLD_PRIV);
	assert_int_equal(holds_marks(h, 9), 0);
	assert_int_equal(holds_add(h, 9, HOLD_OWN_DATA), 1);
	holds_mark(h, 9, HOLD_PRIV);
	assert_int_equal(holds_add(h, 9, 0), 0);
	assert_int_equal(holds_marks(h, 9), HOLD_PRIV | HOLD_OWN_DATA);
	assert_int_equal(holds_unmark(h, 9, HOLD_PRIV), HOLD_PRIV);
	assert_int_equal(holds_unmark(h, 9, HOLD_PRIV), 0);
	assert_int_equal(holds_marks(h, 9), HOLD_OWN_DATA);
	/* The marks do not disturb the count. */
	assert_false(holds_drop(h, 9, 1));
	assert_true(holds_drop(h, 9, 1));
	assert_int_equal(holds_add(h, 9, 0), 1);
	assert_int_equal(holds_marks(h, 9), 0);
	holds_free(h);
}

#define IDS 4096u

static uint64_t id_of(size_t i)
{
	/* Close together, far apart, and with the upper bits set. */
	return (uint64_t)i + 1 + (i % 3 == 0 ? UINT64_C(1) << 62 : 0) +
	       (i % 5 == 0 ? (uint64_t)i << 40 : 0);
}

/* A long random walk next to an array that cannot be wrong. */
static void agrees_with_a_plain_array(void **state)
{
	struct holds *h = holds_new();
	static unsigned model[IDS];
	uint64_t live = 0, x = 88172645463325252u;

	(void)state;
	for (unsigned step = 0; step < 400000; step++) {
		/* Phases of growing and of shrinking. */
		bool grow = (step / 50000) % 2 == 0;
		size_t i;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		i = (size_t)(x >> 20) % IDS;
		if (x % 10 < (grow ? 7u : 2u)) {
			assert_int_equal(holds_add(h, id_of(i), 0), model[i] == 0);
			live += model[i]++ == 0;
		} else {
			unsigned n = (unsigned)(x >> 8) % 3 + 1;
			bool last = model[i] > 0 && n >= model[i];

			assert_int_equal(holds_drop(h, id_of(i), n), last);
			live -= last;
			model[i] = n >= model[i] ? 0 : model[i] - n;
		}
		if (step % 997 == 0)
			assert_int_equal(holds_count(h), live);
	}
	for (size_t i = 0; i < IDS; i++)
		assert_int_equal(holds_has(h, id_of(i)), model[i] > 0);
	holds_free(h);
}

static void note_gone(void *ctx, uint64_t id)
{
	unsigned char *seen = ctx;

	assert_in_range(id, 1, 1000);
	assert_int_equal(seen[id], 0);
	seen[id] = 1;
}

static void clearing_tells_each_once(void **state)
{
	struct holds *h = holds_new();
	unsigned char seen[1001] = { 0 };

	(void)state;
	for (uint64_t id = 1; id <= 1000; id++)
		assert_int_equal(holds_add(h, id, 0), 1);
	holds_clear(h, note_gone, seen);
	for (unsigned id = 1; id <= 1000; id++)
		assert_int_equal(seen[id], 1);
	assert_int_equal(holds_count(h), 0);
	assert_false(holds_has(h, 1));
	/* And it goes on. */
	assert_int_equal(holds_add(h, 1, 0), 1);
	assert_true(holds_has(h, 1));
	holds_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_up_and_down),
		cmocka_unit_test(marks_stay_while_held),
		cmocka_unit_test(agrees_with_a_plain_array),
		cmocka_unit_test(clearing_tells_each_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
