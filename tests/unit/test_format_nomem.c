/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Each allocation of the parsers fails in turn: -ENOMEM, nothing changed, nothing lost.  The linker
 * puts the functions below in front of malloc() and calloc(). */
#include "unit.h"

#include "base/log.h"
#include "format/format.h"
#include "lamina/lamina.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);

static bool armed;
static unsigned until_failure;

static bool fails_now(void)
{
	return armed && until_failure-- == 0;
}

void *__wrap_malloc(size_t size)
{
	return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : __real_calloc(n, size);
}

/* Let the Nth allocation of FN fail, for each N, until it succeeds.  Returns how many there are. */
static unsigned fail_each(int (*fn)(void))
{
	for (unsigned n = 0; n < 100; n++) {
		int r;

		until_failure = n;
		armed = true;
		r = fn();
		armed = false;
		if (r == 0)
			return n;
		assert_int_equal(r, -ENOMEM);
	}
	return 0;
}

static int split_layers(void)
{
	struct layer_list list = { .n_lower = 99 };
	int r = layers_split("/a:/b::/c", &list);

	if (r == 0)
		layers_free(&list);
	else
		assert_int_equal(list.n_lower, 99);
	return r;
}

static int ignore_option(void *ctx, const char *name, const char *value)
{
	(void)ctx;
	(void)name;
	(void)value;
	return 0;
}

static int split_options(void)
{
	return options_split("a,b=c", ignore_option, NULL);
}

static int unescape_path(void)
{
	char *path = NULL;
	int r = path_unescape("/a\\:b", &path);

	if (r < 0)
		assert_null(path);
	free(path);
	return r;
}

static int parse_map(void)
{
	struct lam_idmap map = { NULL, 99 };
	int r = idmap_parse("0:1000:1", &map);

	if (r < 0)
		assert_int_equal(map.n, 99);
	free(map.extents);
	return r;
}

static void parsers_survive(void **state)
{
	(void)state;
	/* Two arrays and three paths. */
	assert_int_equal(fail_each(split_layers), 5);
	assert_int_equal(fail_each(split_options), 1);
	assert_int_equal(fail_each(unescape_path), 1);
	assert_int_equal(fail_each(parse_map), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parsers_survive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
