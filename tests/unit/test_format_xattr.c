/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The values and the names of the overlay's extended attributes. */
#include "unit.h"

#include "base/check.h"
#include "format/format.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int check_redirect(const char *value)
{
	return redirect_check(value, strlen(value));
}

static void redirect_values(void **state)
{
	(void)state;
	assert_int_equal(check_redirect("old name"), 0);
	assert_int_equal(check_redirect("/a"), 0);
	assert_int_equal(check_redirect("/a/b c/..."), 0);
	assert_int_equal(check_redirect("..."), 0);
	assert_int_equal(check_redirect(".a"), 0);
	assert_int_equal(check_redirect(".."), -EACCES);
	assert_int_equal(check_redirect("."), -EACCES);
	assert_int_equal(check_redirect("/a/../b"), -EACCES);
	assert_int_equal(check_redirect("/./a"), -EACCES);
	assert_int_equal(check_redirect(""), -EINVAL);
	assert_int_equal(check_redirect("/"), -EINVAL);
	assert_int_equal(check_redirect("/a/"), -EINVAL);
	assert_int_equal(check_redirect("//a"), -EINVAL);
	assert_int_equal(check_redirect("/a//b"), -EINVAL);
	assert_int_equal(check_redirect("/..//b"), -EINVAL);
	assert_int_equal(check_redirect("a/b"), -EINVAL);
	assert_int_equal(check_redirect("a/"), -EINVAL);
	assert_int_equal(redirect_check("a\0b", 3), -EINVAL);
	assert_int_equal(redirect_check("/a\0", 3), -EINVAL);
	/* Only LEN bytes are looked at. */
	assert_int_equal(redirect_check("ab/cd", 2), 0);
}

static void redirect_parts(void **state)
{
	static const char value[] = "/one/two/3";
	const char *part;
	size_t pos = 0, len;

	(void)state;
	assert_true(redirect_next(value, strlen(value), &pos, &part, &len));
	assert_int_equal(len, 3);
	assert_memory_equal(part, "one", 3);
	assert_true(redirect_next(value, strlen(value), &pos, &part, &len));
	assert_memory_equal(part, "two", 3);
	assert_true(redirect_next(value, strlen(value), &pos, &part, &len));
	assert_int_equal(len, 1);
	assert_memory_equal(part, "3", 1);
	assert_false(redirect_next(value, strlen(value), &pos, &part, &len));

	pos = 0;
	assert_true(redirect_next("alone", 5, &pos, &part, &len));
	assert_int_equal(len, 5);
	assert_false(redirect_next("alone", 5, &pos, &part, &len));
	pos = 0;
	assert_false(redirect_next("", 0, &pos, &part, &len));
}

static void metacopy_values(void **state)
{
	uint8_t value[80] = { 0, 36, 0, 1 };
	struct metacopy m = { .digest_len = 9 };

	(void)state;
	assert_int_equal(metacopy_decode("", 0, &m), 0);
	assert_int_equal(m.algorithm, 0);
	assert_int_equal(m.digest_len, 0);
	memset(value + 4, 0xd1, 32);
	assert_int_equal(metacopy_decode(value, 36, &m), 0);
	assert_int_equal(m.algorithm, 1);
	assert_int_equal(m.digest_len, 32);
	assert_memory_equal(m.digest, value + 4, 32);
	value[1] = 68;
	value[3] = 2;
	assert_int_equal(metacopy_decode(value, 68, &m), 0);
	assert_int_equal(m.digest_len, 64);
	value[1] = 4;
	value[3] = 0;
	assert_int_equal(metacopy_decode(value, 4, &m), 0);
	assert_int_equal(m.digest_len, 0);
	value[1] = 36;
	assert_int_equal(metacopy_decode(value, 36, &m), 0);
	assert_int_equal(m.digest_len, 0);

	m.algorithm = 77;
	for (size_t len = 1; len < 4; len++)
		assert_int_equal(metacopy_decode(value, len, &m), -EINVAL);
	assert_int_equal(metacopy_decode(value, 35, &m), -EINVAL);
	value[1] = 69;
	assert_int_equal(metacopy_decode(value, 69, &m), -EINVAL);
	value[0] = 1;
	value[1] = 36;
	assert_int_equal(metacopy_decode(value, 36, &m), -EINVAL);
	assert_int_equal(m.algorithm, 77);
}

static void nlink_values(void **state)
{
	static const struct {
		const char *text;
		bool lower;
		int32_t diff;
	} good[] = { { "U+0", false, 0 },
		     { "U-1", false, -1 },
		     { "L+12", true, 12 },
		     { "U+2147483647", false, INT32_MAX },
		     { "L-2147483648", true, INT32_MIN } };
	static const char *const bad[] = { "",	  "U",	   "u+1",  "X+1",	   "U+",
					   "L-",  "U+-1",  "U+1x", "U+2147483648", "L-2147483649",
					   "U 1", "U+1\n", "U0x1", "U+00000000001" };
	struct nlink_diff diff;
	char out[16];
	size_t len;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(nlink_decode(good[i].text, strlen(good[i].text), &diff), 0);
		assert_int_equal(diff.lower, good[i].lower);
		assert_int_equal(diff.diff, good[i].diff);
		len = nlink_encode(&diff, out);
		assert_int_equal(len, strlen(good[i].text));
		assert_memory_equal(out, good[i].text, len);
	}
	/* The kernel takes one without a sign. */
	assert_int_equal(nlink_decode("U3", 2, &diff), 0);
	assert_int_equal(diff.diff, 3);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(nlink_decode(bad[i], strlen(bad[i]), &diff), -EINVAL);
	assert_int_equal(diff.diff, 3);
}

static void origin_records(void **state)
{
	static const char text[] = "0100000000000abc 00000007 ffffffff 00000000";
	static const char *const bad[] = {
		"0100000000000abc 00000007 ffffffff 0000000",
		"0100000000000abc 00000007 ffffffff 000000000",
		"0100000000000abc_00000007 ffffffff 00000000",
		"0100000000000abg 00000007 ffffffff 00000000",
		"0100000000000abc 0000000x ffffffff 00000000",
		"0100000000000abc 00000007 ffffff f 00000000",
		"0100000000000abc 00000007 ffffffff 0000000 ",
		"",
	};
	struct origin_record rec;
	char out[ORIGIN_RECORD_LEN + 1];

	(void)state;
	assert_int_equal(strlen(text), ORIGIN_RECORD_LEN);
	assert_int_equal(origin_record_decode(text, strlen(text), &rec), 0);
	assert_int_equal(rec.id, 0x0100000000000abcull);
	assert_int_equal(rec.generation, 7);
	assert_int_equal(rec.upper_generation, UINT32_MAX);
	assert_int_equal(rec.upper_birth, 0);
	origin_record_encode(&rec, out);
	assert_string_equal(out, text);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(origin_record_decode(bad[i], strlen(bad[i]), &rec), -EINVAL);
	assert_int_equal(rec.generation, 7);
}

static void protattr_values(void **state)
{
	unsigned attrs = 99;
	char out[4];

	(void)state;
	for (unsigned want = 1; want < 4; want++) {
		size_t len = protattr_encode(want, out);

		assert_int_equal(protattr_decode(out, len, &attrs), 0);
		assert_int_equal(attrs, want);
	}
	assert_int_equal(protattr_encode(3, out), 2);
	assert_string_equal(out, "ai");
	assert_int_equal(protattr_encode(0, out), 0);
	assert_int_equal(protattr_decode("ia", 2, &attrs), 0);
	assert_int_equal(attrs, 3);
	attrs = 99;
	assert_int_equal(protattr_decode("", 0, &attrs), -EINVAL);
	assert_int_equal(protattr_decode("ax", 2, &attrs), -EINVAL);
	assert_int_equal(protattr_decode("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 33, &attrs), -EINVAL);
	assert_int_equal(attrs, 99);
}

static void names_of_whiteouts(void **state)
{
	(void)state;
	assert_true(name_is_dot_wh(".wh.a"));
	assert_true(name_is_dot_wh(DOT_WH_OPAQUE));
	assert_true(name_is_dot_wh(".wh."));
	assert_false(name_is_dot_wh(".wh"));
	assert_false(name_is_dot_wh("a.wh.b"));
	assert_false(name_is_dot_wh(""));
	assert_string_equal(dot_wh_target(".wh.a"), "a");
	assert_string_equal(dot_wh_target(".wh..hidden"), ".hidden");
	assert_string_equal(dot_wh_target(".wh...."), "...");
	assert_null(dot_wh_target(DOT_WH_OPAQUE));
	assert_null(dot_wh_target(".wh..wh.plnk"));
	assert_null(dot_wh_target(".wh."));
	assert_null(dot_wh_target(".wh.."));
	assert_null(dot_wh_target(".wh..."));
	assert_null(dot_wh_target("plain"));
}

static void classes_of_names(void **state)
{
	static const struct {
		const char *name;
		enum xattr_class trusted, user;
	} cases[] = {
		{ "trusted.overlay.opaque", XATTR_PRIVATE, XATTR_PLAIN },
		{ "user.overlay.opaque", XATTR_PLAIN, XATTR_PRIVATE },
		{ "trusted.overlay.overlay.opaque", XATTR_ESCAPED, XATTR_PLAIN },
		{ "user.overlay.overlay.opaque", XATTR_PLAIN, XATTR_ESCAPED },
		{ "trusted.overlay.overlay", XATTR_PRIVATE, XATTR_PLAIN },
		{ "trusted.overlay.", XATTR_PRIVATE, XATTR_PLAIN },
		{ "trusted.overlay", XATTR_PLAIN, XATTR_PLAIN },
		{ "trusted.overlays.x", XATTR_PLAIN, XATTR_PLAIN },
		{ "user.fuseoverlayfs.opaque", XATTR_PRIVATE, XATTR_PRIVATE },
		{ "user.fuseoverlayfs.override_stat", XATTR_PRIVATE, XATTR_PRIVATE },
		{ "user.containers.override_stat", XATTR_PRIVATE, XATTR_PRIVATE },
		{ "security.fuseoverlayfs.override_stat", XATTR_PRIVATE, XATTR_PRIVATE },
		{ "security.fuseoverlayfs.other", XATTR_PLAIN, XATTR_PLAIN },
		{ "user.containers.override_stat2", XATTR_PLAIN, XATTR_PLAIN },
		{ "security.capability", XATTR_PLAIN, XATTR_PLAIN },
		{ "", XATTR_PLAIN, XATTR_PLAIN },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(xattr_classify(cases[i].name, false), cases[i].trusted);
		assert_int_equal(xattr_classify(cases[i].name, true), cases[i].user);
	}
}

static void escaping(void **state)
{
	char out[XATTR_NAME_LIMIT + 1], back[XATTR_NAME_LIMIT + 1], name[XATTR_NAME_LIMIT + 2];

	(void)state;
	assert_int_equal(xattr_escape("user.mime", false, out), 0);
	assert_string_equal(out, "user.mime");
	assert_int_equal(xattr_escape("trusted.overlay.opaque", false, out), 0);
	assert_string_equal(out, "trusted.overlay.overlay.opaque");
	assert_int_equal(xattr_unescape(out, false, back), 0);
	assert_string_equal(back, "trusted.overlay.opaque");
	assert_int_equal(xattr_escape("trusted.overlay.overlay.x", false, out), 0);
	assert_string_equal(out, "trusted.overlay.overlay.overlay.x");
	assert_int_equal(xattr_unescape(out, false, back), 0);
	assert_string_equal(back, "trusted.overlay.overlay.x");
	assert_int_equal(xattr_escape("trusted.overlay.x", true, out), 0);
	assert_string_equal(out, "trusted.overlay.x");
	assert_int_equal(xattr_escape("user.overlay.x", true, out), 0);
	assert_string_equal(out, "user.overlay.overlay.x");
	assert_int_equal(xattr_escape("user.fuseoverlayfs.x", false, out), -EPERM);
	assert_int_equal(xattr_escape(XATTR_OVERRIDE_CONTAINERS, false, out), -EPERM);
	assert_int_equal(xattr_unescape("trusted.overlay.opaque", false, out), -EINVAL);
	assert_int_equal(xattr_unescape("user.mime", false, out), -EINVAL);

	/* The longest that fits, and one more byte. */
	memset(name, 'n', sizeof(name));
	memcpy(name, XATTR_TRUSTED_OVL, strlen(XATTR_TRUSTED_OVL));
	name[247] = '\0';
	assert_int_equal(xattr_escape(name, false, out), 0);
	assert_int_equal(strlen(out), 255);
	assert_int_equal(xattr_unescape(out, false, back), 0);
	assert_string_equal(back, name);
	name[247] = 'n';
	name[248] = '\0';
	assert_int_equal(xattr_escape(name, false, out), -EOPNOTSUPP);
	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	assert_int_equal(xattr_escape(name, false, out), 0);
	name[255] = 'n';
	name[256] = '\0';
	assert_int_equal(xattr_escape(name, false, out), -EOPNOTSUPP);
	memcpy(name, "trusted.overlay.overlay.", 24);
	assert_int_equal(xattr_unescape(name, false, out), -EINVAL);
}

static void check_override(const char *text, struct override_stat want)
{
	struct override_stat o = { 0 };

	assert_int_equal(override_stat_decode(text, strlen(text), &o), 0);
	assert_int_equal(o.uid, want.uid);
	assert_int_equal(o.gid, want.gid);
	assert_int_equal(o.mode, want.mode);
	assert_int_equal(o.type, want.type);
	assert_int_equal(o.rdev_major, want.rdev_major);
	assert_int_equal(o.rdev_minor, want.rdev_minor);
}

static void override_values(void **state)
{
	static const char *const bad[] = {
		"",
		"0",
		"0:0",
		"0:0:",
		"0:0:8",
		"0:0:644:",
		"0:0:644:fil",
		"0:0:644:files",
		"0:0:644:file-1",
		"0:0:644:block",
		"0:0:644:block-1",
		"0:0:644:block-1-",
		"0:0:644:block-1-2-3",
		"0:0:644:char--2",
		"0:0:644:file:",
		"-1:0:644",
		":0:0:644",
		"0:0:200000",
		"4294967296:0:644",
		"0:4294967296:644",
		"0:0:644:char-4294967296-0",
		"0:0:0x1ff",
		"0:0:000000000000000000000000644",
		" 0:0:644",
		"0:0:644 ",
	};
	struct override_stat o = { .uid = 99 };

	(void)state;
	check_override("0:0:755", (struct override_stat){ .mode = 0755 });
	check_override("1000:1001:0644:file",
		       (struct override_stat){ 1000, 1001, 0644, S_IFREG, 0, 0 });
	check_override("4294967295:0:4755:dir",
		       (struct override_stat){ UINT32_MAX, 0, 04755, S_IFDIR, 0, 0 });
	check_override("0:0:120777:symlink", (struct override_stat){ 0, 0, 0777, S_IFLNK, 0, 0 });
	check_override("0:0:0:pipe", (struct override_stat){ 0, 0, 0, S_IFIFO, 0, 0 });
	check_override("0:0:600:socket", (struct override_stat){ 0, 0, 0600, S_IFSOCK, 0, 0 });
	check_override("0:6:660:block-8-17", (struct override_stat){ 0, 6, 0660, S_IFBLK, 8, 17 });
	check_override("0:5:620:char-4-4294967295",
		       (struct override_stat){ 0, 5, 0620, S_IFCHR, 4, UINT32_MAX });
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(override_stat_decode(bad[i], strlen(bad[i]), &o), -EINVAL);
	assert_int_equal(override_stat_decode("0:0:644\0", 8, &o), -EINVAL);
	assert_int_equal(o.uid, 99);
}

static void check_written(struct override_stat o, const char *want)
{
	char out[OVERRIDE_STAT_MAX];
	size_t len = override_stat_encode(&o, out);

	assert_int_equal(len, strlen(want));
	assert_memory_equal(out, want, len);
	check_override(want, o);
}

static void override_written(void **state)
{
	(void)state;
	check_written((struct override_stat){ 0, 0, 0755, 0, 0, 0 }, "0:0:0755");
	check_written((struct override_stat){ 1, 2, 04711, S_IFREG, 0, 0 }, "1:2:04711:file");
	check_written((struct override_stat){ 1, 2, 0, S_IFDIR, 0, 0 }, "1:2:00:dir");
	check_written((struct override_stat){ 1, 2, 0777, S_IFLNK, 0, 0 }, "1:2:0777:symlink");
	check_written((struct override_stat){ 1, 2, 0600, S_IFIFO, 0, 0 }, "1:2:0600:pipe");
	check_written((struct override_stat){ 1, 2, 0600, S_IFSOCK, 0, 0 }, "1:2:0600:socket");
	check_written((struct override_stat){ 1, 2, 0600, S_IFCHR, 1, 3 }, "1:2:0600:char-1-3");
	check_written((struct override_stat){ UINT32_MAX, UINT32_MAX, 07777, S_IFBLK, UINT32_MAX,
					      UINT32_MAX },
		      "4294967295:4294967295:07777:block-4294967295-4294967295");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(redirect_values),    cmocka_unit_test(redirect_parts),
		cmocka_unit_test(metacopy_values),    cmocka_unit_test(nlink_values),
		cmocka_unit_test(origin_records),     cmocka_unit_test(protattr_values),
		cmocka_unit_test(names_of_whiteouts), cmocka_unit_test(classes_of_names),
		cmocka_unit_test(escaping),	      cmocka_unit_test(override_values),
		cmocka_unit_test(override_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
