/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strict numbers: the whole string or nothing. */
#include "unit.h"

#include "base/check.h"
#include "base/parse.h"

#include <errno.h>
#include <string.h>

static void good_numbers(void **state)
{
	uint64_t value;
	uint32_t small;

	(void)state;
	assert_int_equal(parse_u64("0", &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(parse_u64("18446744073709551615", &value), 0);
	assert_true(value == UINT64_MAX);
	assert_int_equal(parse_u64("000000000000000000000000000007", &value), 0);
	assert_int_equal(value, 7);
	assert_int_equal(parse_u32("4294967295", &small), 0);
	assert_true(small == UINT32_MAX);
}

static void not_numbers(void **state)
{
	static const char *const bad[] = { "",	  " 1",	 "1 ", "+1", "-1",  "0x10",
					   "1.5", "1e3", "a",  "१",  "1\n", "1_000" };
	uint64_t value = 77;
	uint32_t small = 77;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(parse_u64(bad[i], &value), -EINVAL);
		assert_int_equal(parse_u32(bad[i], &small), -EINVAL);
	}
	assert_int_equal(value, 77);
	assert_int_equal(small, 77);
}

static void too_big(void **state)
{
	uint64_t value = 77;
	uint32_t small = 77;
	char longest[5000];

	(void)state;
	assert_int_equal(parse_u64("18446744073709551616", &value), -ERANGE);
	assert_int_equal(parse_u64("99999999999999999999999", &value), -ERANGE);
	assert_int_equal(parse_u64("99999999999999999999999x", &value), -EINVAL);
	assert_int_equal(parse_u32("4294967296", &small), -ERANGE);
	memset(longest, '1', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(parse_u64(longest, &value), -EINVAL);
	assert_int_equal(value, 77);
	assert_int_equal(small, 77);
}

static void bases(void **state)
{
	uint64_t value = 77;

	(void)state;
	assert_int_equal(parse_u64_base("755", 3, 8, &value), 0);
	assert_int_equal(value, 0755);
	assert_int_equal(parse_u64_base("758", 3, 8, &value), -EINVAL);
	assert_int_equal(parse_u64_base("fFaA09", 6, 16, &value), 0);
	assert_int_equal(value, 0xffaa09);
	assert_int_equal(parse_u64_base("fg", 2, 16, &value), -EINVAL);
	assert_int_equal(parse_u64_base("123tail", 3, 10, &value), 0);
	assert_int_equal(value, 123);
	assert_int_equal(parse_u64_base("12", 0, 10, &value), -EINVAL);
	assert_int_equal(parse_u64_base("12", 2, 36, &value), -EINVAL);
	assert_int_equal(parse_u64_base("ffffffffffffffff", 16, 16, &value), 0);
	assert_true(value == UINT64_MAX);
	assert_int_equal(parse_u64_base("10000000000000000", 17, 16, &value), -ERANGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_numbers),
		cmocka_unit_test(not_numbers),
		cmocka_unit_test(too_big),
		cmocka_unit_test(bases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
