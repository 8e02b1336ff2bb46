/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listing cookies come from this hash, so its values are part of what clients hold: pinned here. */
#include "unit.h"

#include "base/hash.h"

#include <string.h>

static void values_never_change(void **state)
{
	char text[300];

	(void)state;
	/* The first is in the specification of XXH3; the others were computed once. */
	assert_int_equal(hash_bytes("", 0), 0x2d06800538d394c2ull);
	memset(text, 'x', sizeof(text));
	assert_int_equal(hash_bytes("a", 1), 0xe6c632b61e964e1full);
	assert_int_equal(hash_bytes("README.md", 9), 0xbb0783a46821c554ull);
	assert_int_equal(hash_bytes(text, 255), 0x2be953982ac8bd9dull);
}

static void bytes_are_bytes(void **state)
{
	(void)state;
	assert_int_not_equal(hash_bytes("a\0b", 3), hash_bytes("a\0c", 3));
	assert_int_not_equal(hash_bytes("\xff", 1), hash_bytes("\x7f", 1));
}

static void numbers_spread(void **state)
{
	uint64_t seen[256];

	(void)state;
	assert_int_equal(hash_u64(0), 0);
	/* The low byte alone tells 256 successive numbers apart about as well as chance does. */
	memset(seen, 0, sizeof(seen));
	for (uint64_t i = 1; i <= 4096; i++)
		seen[hash_u64(i) & 255]++;
	for (unsigned i = 0; i < 256; i++)
		assert_in_range(seen[i], 1, 48);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_never_change),
		cmocka_unit_test(bytes_are_bytes),
		cmocka_unit_test(numbers_spread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
