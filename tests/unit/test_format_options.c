/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text of mount options, lists of layers, and id maps. */
#include "unit.h"

#include "base/check.h"
#include "format/format.h"
#include "lamina/lamina.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Writes what it gets as "name=value;" or "name;" and stops at an option "stop". */
static int note(void *ctx, const char *name, const char *value)
{
	char *out = ctx;
	size_t at = strlen(out);

	(void)snprintf(out + at, 1024 - at, "%s%s%s;", name, value ? "=" : "", value ? value : "");
	return strcmp(name, "stop") == 0 ? -ECANCELED : 0;
}

static void check_split(const char *text, const char *want)
{
	char out[1024] = "";

	assert_int_equal(options_split(text, note, out), 0);
	assert_string_equal(out, want);
}

static void options_are_split(void **state)
{
	char out[1024] = "";

	(void)state;
	check_split("", "");
	check_split("ro", "ro;");
	check_split("a=1,b,c=", "a=1;b;c=;");
	check_split("work,,volatile,", "work;volatile;");
	check_split(",,", "");
	check_split("a=b=c", "a=b=c;");
	check_split("lowerdir=/a\\,b:/c,ro", "lowerdir=/a,b:/c;ro;");
	check_split("lowerdir=/a\\054b,ro", "lowerdir=/a,b;ro;");
	check_split("lowerdir=/a\\:b\\\\:c,x", "lowerdir=/a\\:b\\\\:c;x;");
	/* An escaped backslash does not escape the comma behind it. */
	check_split("upperdir=/a\\\\,ro", "upperdir=/a\\\\;ro;");
	check_split("a\\=b\\=c", "a\\=b\\=c;");
	check_split("upperdir=/a\\", "upperdir=/a\\;");
	check_split("context=\"system_u:object_r:c:s0:c1,c2\",ro",
		    "context=system_u:object_r:c:s0:c1,c2;ro;");
	check_split("context=\"x\"", "context=x;");
	check_split("context=\"\",ro", "context=;ro;");
	/* Quotes that do not enclose a value are ordinary. */
	check_split("upperdir=/a\"b,ro", "upperdir=/a\"b;ro;");
	check_split("upperdir=\"a,ro", "upperdir=\"a;ro;");
	check_split("upperdir=\"a\"b,c", "upperdir=\"a\"b;c;");

	assert_int_equal(options_split("ro,=1", note, out), -EINVAL);
	out[0] = '\0';
	assert_int_equal(options_split("a,stop,b", note, out), -ECANCELED);
	assert_string_equal(out, "a;stop;");
}

static void check_layers(const char *value, const char *want)
{
	struct layer_list list;
	char out[1024] = "";
	size_t at = 0;

	assert_int_equal(layers_split(value, &list), 0);
	for (size_t i = 0; i < list.n_lower; i++)
		at += (size_t)snprintf(out + at, sizeof(out) - at, "[%s]", list.lower[i]);
	for (size_t i = 0; i < list.n_data; i++)
		at += (size_t)snprintf(out + at, sizeof(out) - at, "{%s}", list.data[i]);
	assert_string_equal(out, want);
	layers_free(&list);
	assert_null(list.lower);
	assert_int_equal(list.n_lower, 0);
	layers_free(&list);
}

static void layers_are_split(void **state)
{
	static const char *const bad[] = { "",	   ":",	      ":/a",	   "/a:",     "/a::",
					   "::/a", "/a:::/b", "/a::/b:/c", "/a::/b:", "/a::/b::" };
	struct layer_list list = { .n_lower = 99 };

	(void)state;
	check_layers("/a", "[/a]");
	check_layers("/a:b/c:/d", "[/a][b/c][/d]");
	check_layers("/a::/d1::/d2", "[/a]{/d1}{/d2}");
	check_layers("/a:/b::/d", "[/a][/b]{/d}");
	check_layers("/a\\:b:/c", "[/a:b][/c]");
	check_layers("/a\\\\:b:/c", "[/a:b][/c]");
	check_layers("/a\\\\b:/c", "[/a\\b][/c]");
	check_layers("/a\\,b", "[/a,b]");
	check_layers("/a\\b", "[/ab]");
	check_layers("/a\\", "[/a\\]");
	check_layers("\\:", "[:]");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(layers_split(bad[i], &list), -EINVAL);
	assert_int_equal(list.n_lower, 99);
}

static void many_layers(void **state)
{
	struct layer_list list;
	char *text = malloc(3 * 2000 + 1);

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < 2000; i++)
		memcpy(text + 3 * i, "/a:", 4);
	text[3 * 2000 - 1] = '\0';
	assert_int_equal(layers_split(text, &list), 0);
	assert_int_equal(list.n_lower, 2000);
	assert_string_equal(list.lower[1999], "/a");
	layers_free(&list);
	free(text);
}

static void check_path(const char *value, const char *want)
{
	char *path;

	assert_int_equal(path_unescape(value, &path), 0);
	assert_string_equal(path, want);
	free(path);
}

static void single_paths(void **state)
{
	(void)state;
	check_path("", "");
	check_path("/a:b", "/a:b");
	check_path("/a\\:b\\\\:c\\\\d\\,e", "/a:b:c\\d,e");
	check_path("/a\\", "/a\\");
}

static void maps_translate(void **state)
{
	struct lam_idmap map, identity = { NULL, 0 };
	uint32_t id = 55;

	(void)state;
	assert_int_equal(idmap_parse("0:1000:1:1:100000:65536", &map), 0);
	assert_int_equal(map.n, 2);
	assert_true(idmap_to_outside(&map, 0, &id));
	assert_int_equal(id, 1000);
	assert_true(idmap_to_outside(&map, 1, &id));
	assert_int_equal(id, 100000);
	assert_true(idmap_to_outside(&map, 65536, &id));
	assert_int_equal(id, 165535);
	assert_false(idmap_to_outside(&map, 65537, &id));
	assert_true(idmap_to_inside(&map, 1000, &id));
	assert_int_equal(id, 0);
	assert_true(idmap_to_inside(&map, 165535, &id));
	assert_int_equal(id, 65536);
	assert_false(idmap_to_inside(&map, 165536, &id));
	assert_false(idmap_to_inside(&map, 0, &id));
	assert_false(idmap_to_inside(&map, 99999, &id));
	assert_int_equal(id, 65536);
	free(map.extents);

	assert_true(idmap_to_outside(&identity, 4711, &id));
	assert_int_equal(id, 4711);
	assert_true(idmap_to_inside(&identity, 4712, &id));
	assert_int_equal(id, 4712);
}

static void maps_are_strict(void **state)
{
	static const char *const bad[] = {
		"",
		":",
		"0",
		"0:1",
		"0:1:",
		"0:1:0",
		"0:1:1:",
		"0:1:1:2",
		"0:1:1:2:3",
		"::0:1:1",
		"0:1:x",
		"-1:0:1",
		"0:-1:1",
		"0: 1:1",
		"4294967296:0:1",
		"4294967295:0:1",
		"0:4294967295:1",
		"1:0:4294967295",
		"0:1:4294967295",
		"0:0:4294967296",
		/* Ranges that meet, inside and outside. */
		"0:1000:10:9:2000:1",
		"9:2000:1:0:1000:10",
		"0:1000:10:20:1009:5",
		"0:0:1:0:5:1",
		"0:000000000000000000001:1",
	};
	struct lam_idmap map = { NULL, 99 };
	char many[341 * 16];
	size_t at = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(idmap_parse(bad[i], &map), -EINVAL);
	assert_int_equal(map.n, 99);

	assert_int_equal(idmap_parse(":0:1000:1", &map), 0);
	assert_int_equal(map.n, 1);
	free(map.extents);
	assert_int_equal(idmap_parse("0:0:4294967295", &map), 0);
	free(map.extents);

	for (unsigned i = 0; i < 340; i++)
		at += (size_t)snprintf(many + at, sizeof(many) - at, ":%u:%u:1", i, 1000 + i);
	assert_int_equal(idmap_parse(many, &map), 0);
	assert_int_equal(map.n, 340);
	free(map.extents);
	(void)snprintf(many + at, sizeof(many) - at, ":9999:9999:1");
	assert_int_equal(idmap_parse(many, &map), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_are_split), cmocka_unit_test(layers_are_split),
		cmocka_unit_test(many_layers),	     cmocka_unit_test(single_paths),
		cmocka_unit_test(maps_translate),    cmocka_unit_test(maps_are_strict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
