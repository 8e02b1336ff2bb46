/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options as text: the stack's (lamina/options.h) and the mount's (src/cli/mount_options.c). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/cli.h"

/* ---- The stack's options ---- */

static int setup_stack(void **state)
{
	struct lam_options *o;

	if (lam_options_new(&o) < 0)
		return -1;
	*state = o;
	return 0;
}

static int teardown_stack(void **state)
{
	lam_options_free(*state);
	return 0;
}

static void expect_error(struct lam_options *o, const char *name, const char *value, int r,
			 const char *part)
{
	assert_int_equal(lam_options_set(o, name, value), r);
	assert_non_null(strstr(lam_options_error(o), part));
}

static void lowerdir_list(void **state)
{
	struct lam_options *o = *state;
	const struct lam_config *c;

	assert_int_equal(lam_options_set(o, "lowerdir", "/a:/b\\:c::/d::/e"), 0);
	c = lam_options_config(o);
	assert_int_equal(c->n_lower, 2);
	assert_string_equal(c->lower[0], "/a");
	assert_string_equal(c->lower[1], "/b:c");
	assert_int_equal(c->n_data_lower, 2);
	assert_string_equal(c->data_lower[1], "/e");

	/* A second list replaces the first. */
	assert_int_equal(lam_options_set(o, "lowerdir", "/x"), 0);
	c = lam_options_config(o);
	assert_int_equal(c->n_lower, 1);
	assert_int_equal(c->n_data_lower, 0);
	assert_string_equal(c->lower[0], "/x");
}

static void lowerdir_refused(void **state)
{
	struct lam_options *o = *state;

	expect_error(o, "lowerdir", ":/a", -EINVAL, "colon");
	expect_error(o, "lowerdir", "/a:", -EINVAL, "colon");
	expect_error(o, "lowerdir", "/a:::/b", -EINVAL, "colon");
	expect_error(o, "lowerdir", "", -EINVAL, "needs");
	expect_error(o, "lowerdir", NULL, -EINVAL, "needs");
	/* What failed left nothing behind. */
	assert_int_equal(lam_options_config(o)->n_lower, 0);
}

static void lowerdir_plus(void **state)
{
	struct lam_options *o = *state;
	const struct lam_config *c;

	assert_int_equal(lam_options_set(o, "lowerdir+", "/a:b"), 0);
	assert_int_equal(lam_options_set(o, "lowerdir+", "/c"), 0);
	assert_int_equal(lam_options_set(o, "datadir+", "/d"), 0);
	expect_error(o, "lowerdir+", "/e", -EINVAL, "datadir+");
	c = lam_options_config(o);
	assert_int_equal(c->n_lower, 2);
	assert_string_equal(c->lower[0], "/a:b");
	assert_string_equal(c->lower[1], "/c");
	assert_int_equal(c->n_data_lower, 1);
	assert_int_equal(lam_options_set(o, "lowerdir", "/z"), 0);
	expect_error(o, "lowerdir+", "/e", -EINVAL, "mixed");
	expect_error(o, "datadir+", "/e", -EINVAL, "mixed");
}

static void upper_and_work(void **state)
{
	struct lam_options *o = *state;

	assert_int_equal(lam_options_set(o, "upperdir", "/u\\:v"), 0);
	assert_int_equal(lam_options_set(o, "workdir", "/w"), 0);
	assert_string_equal(lam_options_config(o)->upper, "/u:v");
	assert_string_equal(lam_options_config(o)->work, "/w");
	expect_error(o, "upperdir", "", -EINVAL, "directory");
	assert_string_equal(lam_options_config(o)->upper, "/u:v");
}

static void enumerations(void **state)
{
	struct lam_options *o = *state;
	const struct lam_config *c = lam_options_config(o);

	assert_int_equal(c->index, LAM_DEFAULT);
	assert_int_equal(lam_options_set(o, "index", "off"), 0);
	assert_int_equal(lam_options_set(o, "nfs_export", "on"), 0);
	assert_int_equal(lam_options_set(o, "metacopy", "on"), 0);
	assert_int_equal(lam_options_set(o, "redirect_dir", "nofollow"), 0);
	assert_int_equal(lam_options_set(o, "xino", "auto"), 0);
	assert_int_equal(lam_options_set(o, "dot_whiteouts", "on"), 0);
	assert_int_equal(lam_options_set(o, "userxattr", NULL), 0);
	c = lam_options_config(o);
	assert_int_equal(c->index, LAM_OFF);
	assert_int_equal(c->nfs_export, LAM_ON);
	assert_int_equal(c->metacopy, LAM_ON);
	assert_int_equal(c->redirect_dir, LAM_REDIRECT_NOFOLLOW);
	assert_int_equal(c->xino, LAM_XINO_AUTO);
	assert_int_equal(c->dot_whiteouts, LAM_ON);
	assert_int_equal(c->userxattr, LAM_ON);
	expect_error(o, "index", "maybe", -EINVAL, "on, off");
	expect_error(o, "index", NULL, -EINVAL, "needs a value");
	expect_error(o, "redirect_dir", "", -EINVAL, "nofollow");
	assert_int_equal(lam_options_config(o)->index, LAM_OFF);
}

static void syncing(void **state)
{
	struct lam_options *o = *state;

	assert_int_equal(lam_options_set(o, "fsync", "strict"), 0);
	assert_int_equal(lam_options_config(o)->fsync, LAM_FSYNC_STRICT);
	assert_int_equal(lam_options_set(o, "fsync", "0"), 0);
	assert_int_equal(lam_options_config(o)->fsync, LAM_FSYNC_AUTO);
	assert_int_equal(lam_options_set(o, "volatile", NULL), 0);
	assert_int_equal(lam_options_config(o)->fsync, LAM_FSYNC_VOLATILE);
	assert_int_equal(lam_options_set(o, "fsync", "auto"), 0);
	assert_int_equal(lam_options_config(o)->fsync, LAM_FSYNC_AUTO);
	assert_int_equal(lam_options_set(o, "volatile", "0"), 0);
	assert_int_equal(lam_options_config(o)->fsync, LAM_FSYNC_AUTO);
}

static void known_but_not_done(void **state)
{
	struct lam_options *o = *state;

	assert_int_equal(lam_options_set(o, "verity", "off"), 0);
	assert_int_equal(lam_options_set(o, "uuid", "auto"), 0);
	expect_error(o, "verity", "on", -EOPNOTSUPP, "not supported");
	expect_error(o, "verity", "require", -EOPNOTSUPP, "not supported");
	expect_error(o, "uuid", "off", -EOPNOTSUPP, "not supported");
	expect_error(o, "verity", "perhaps", -EINVAL, "require");
}

static void owners(void **state)
{
	struct lam_options *o = *state;
	const struct lam_config *c;

	/* One caller begins the list with a colon. */
	assert_int_equal(lam_options_set(o, "uidmapping", ":0:1000:1:1:100000:65536"), 0);
	assert_int_equal(lam_options_set(o, "gidmapping", "0:1000:1"), 0);
	assert_int_equal(lam_options_set(o, "squash_to_uid", "7"), 0);
	assert_int_equal(lam_options_set(o, "xattr_permissions", "2"), 0);
	c = lam_options_config(o);
	assert_int_equal(c->uidmap.n, 2);
	/* Ids in the layers first, ids as shown second. */
	assert_int_equal(c->uidmap.extents[1].outside, 1);
	assert_int_equal(c->uidmap.extents[1].inside, 100000);
	assert_int_equal(c->gidmap.n, 1);
	assert_true(c->squash_uid);
	assert_false(c->squash_gid);
	assert_int_equal(c->squash_to_uid, 7);
	assert_int_equal(c->xattr_permissions, 2);
	assert_int_equal(lam_options_set(o, "squash_to_root", NULL), 0);
	c = lam_options_config(o);
	assert_true(c->squash_gid);
	/* A number goes before root's, whatever the order. */
	assert_int_equal(c->squash_to_uid, 7);
	assert_int_equal(c->squash_to_gid, 0);
	assert_int_equal(lam_options_set(o, "squash_to_gid", "8"), 0);
	assert_int_equal(lam_options_config(o)->squash_to_gid, 8);
	expect_error(o, "uidmapping", "0:1000", -EINVAL, "map");
	expect_error(o, "uidmapping", NULL, -EINVAL, "map");
	expect_error(o, "squash_to_uid", "root", -EINVAL, "number");
	expect_error(o, "squash_to_gid", "4294967295", -EINVAL, "number");
	expect_error(o, "xattr_permissions", "3", -EINVAL, "number");
	/* The refused map did not replace the good one. */
	assert_int_equal(lam_options_config(o)->uidmap.n, 2);
}

static void switches_and_bounds(void **state)
{
	struct lam_options *o = *state;
	const struct lam_config *c;

	assert_int_equal(lam_options_set(o, "noacl", NULL), 0);
	assert_int_equal(lam_options_set(o, "noxattrs", "1"), 0);
	assert_int_equal(lam_options_set(o, "static_nlink", "0"), 0);
	assert_int_equal(lam_options_set(o, "ino32_t", "1"), 0);
	assert_int_equal(lam_options_set(o, "watch_lower", NULL), 0);
	assert_int_equal(lam_options_set(o, "max_fds", "100"), 0);
	assert_int_equal(lam_options_set(o, "max_nodes", "1000"), 0);
	assert_int_equal(lam_options_set(o, "cache_size", "3"), 0);
	c = lam_options_config(o);
	assert_true(c->no_acl && c->no_xattr && c->ino32 && c->watch_lower);
	assert_false(c->static_nlink);
	assert_int_equal(c->max_fds, 100);
	assert_int_equal(c->max_nodes, 1000);
	assert_int_equal(c->max_cache_bytes, 3u << 20);
	expect_error(o, "noacl", "yes", -EINVAL, "neither 0 nor 1");
	expect_error(o, "max_fds", "-1", -EINVAL, "number");
	expect_error(o, "max_nodes", "many", -EINVAL, "number");
	expect_error(o, "cache_size", "18446744073709551615", -EINVAL, "too much");
}

static void unknown_name(void **state)
{
	struct lam_options *o = *state;

	assert_int_equal(lam_options_set(o, "lowerdirs", "/a"), -ENOENT);
	assert_string_equal(lam_options_error(o), "");
}

static void names_are_known(void **state)
{
	struct lam_options *o = *state;
	const char *name;
	size_t i;

	for (i = 0; (name = lam_options_name(i)) != NULL; i++)
		assert_int_not_equal(lam_options_set(o, name, NULL), -ENOENT);
	assert_true(i > 20);
}

/* ---- Lists, and the mount's options ---- */

static int setup_plan(void **state)
{
	static struct mount_plan plan;

	*state = &plan;
	return mount_plan_init(&plan, UNKNOWN_REFUSED);
}

static int teardown_plan(void **state)
{
	mount_plan_done(*state);
	return 0;
}

static void defaults(void **state)
{
	const struct mount_plan *p = *state;

	assert_true(p->front.default_permissions);
	assert_int_equal(p->front.allow_other, geteuid() == 0);
	assert_int_equal(p->front.mount_flags, MS_NOATIME);
	assert_true(p->front.entry_ttl < 0 && p->front.attr_ttl < 0 && p->front.negative_ttl < 0);
	assert_false(p->front.writeback || p->front.opens_answered || p->foreground);
}

static void lists(void **state)
{
	struct mount_plan *p = *state;
	const struct lam_config *c;

	assert_int_equal(mount_plan_add(p, "lowerdir=/a\\:b:/c\\,d,,upperdir=/u\\054v,"), 0);
	assert_int_equal(mount_plan_add(p, "workdir=/w,volatile"), 0);
	c = lam_options_config(p->stack);
	assert_int_equal(c->n_lower, 2);
	assert_string_equal(c->lower[0], "/a:b");
	assert_string_equal(c->lower[1], "/c,d");
	assert_string_equal(c->upper, "/u,v");
	assert_string_equal(c->work, "/w");
	assert_int_equal(c->fsync, LAM_FSYNC_VOLATILE);
	assert_int_equal(mount_plan_add(p, "=x"), -EINVAL);
}

static void quoted_values(void **state)
{
	struct mount_plan *p = *state;

	assert_int_equal(mount_plan_add(p, "context=\"system_u:object_r:x_t:s0:c1,c2\",ro"), 0);
	assert_true(p->front.mount_flags & MS_RDONLY);
	assert_int_equal(mount_plan_add(p, "fsname=\"a,b\""), 0);
	assert_string_equal(p->fsname, "a,b");
}

static void flags_of_mount(void **state)
{
	struct mount_plan *p = *state;

	assert_int_equal(mount_plan_add(p, "nosuid,nodev,noexec,ro,suid,rw,strictatime"), 0);
	assert_int_equal(p->front.mount_flags, MS_NODEV | MS_NOEXEC | MS_STRICTATIME);
	assert_int_equal(p->flags_set, MS_NODEV | MS_NOEXEC | MS_STRICTATIME);
	assert_true(p->flags_cleared & MS_NOSUID);
	assert_true(p->flags_cleared & MS_NOATIME);
}

static void numbers_of_the_mount(void **state)
{
	struct mount_plan *p = *state;

	assert_int_equal(mount_plan_add(p, "timeout=2.5,negative_timeout=0,threads=3"), 0);
	assert_true(p->front.entry_ttl > 2.4 && p->front.entry_ttl < 2.6);
	assert_true(p->front.attr_ttl > 2.4 && p->front.attr_ttl < 2.6);
	assert_true(p->front.negative_ttl >= 0 && p->front.negative_ttl < 0.1);
	assert_int_equal(p->front.threads, 3);
	assert_int_equal(mount_plan_add(p, "timeout=soon"), -EINVAL);
	assert_int_equal(mount_plan_add(p, "timeout="), -EINVAL);
	assert_int_equal(mount_plan_add(p, "timeout=nan"), -EINVAL);
	assert_int_equal(mount_plan_add(p, "threads=many"), -EINVAL);
	assert_int_equal(mount_plan_add(p, "max_write=1"), -EINVAL);
	assert_int_equal(mount_plan_add(p, "transport=pigeon"), -EINVAL);
	assert_int_equal(mount_plan_add(p, "transport=dev,writeback=1,passthrough=auto"), 0);
	assert_int_equal(p->front.transport, FUSE_TRANSPORT_DEV);
	assert_true(p->front.writeback);
	assert_int_equal(p->front.passthrough, FUSE_PASSTHROUGH_AUTO);
}

static void allow_root_or_other(void **state)
{
	struct mount_plan *p = *state;

	assert_int_equal(mount_plan_add(p, "allow_root"), 0);
	assert_true(p->front.allow_root);
	assert_false(p->front.allow_other);
	assert_int_equal(mount_plan_add(p, "allow_other"), 0);
	assert_true(p->front.allow_other);
	assert_false(p->front.allow_root);
}

static void passed_over(void **state)
{
	struct mount_plan *p = *state;

	assert_int_equal(mount_plan_add(p, "x-systemd.automount,_netdev,comment=text,nofail,"
					   "clone_fd,max_idle_threads=3,fast_ino=1,threaded=0"),
			 0);
}

static void unknown_options(void **state)
{
	struct mount_plan *p = *state;

	assert_int_equal(mount_plan_add(p, "no_such_thing=1"), -EINVAL);
	assert_int_equal(mount_plan_add(p, "ro=1"), -EINVAL);
	p->unknown = UNKNOWN_IGNORED;
	assert_int_equal(mount_plan_add(p, "no_such_thing=1,uid=3,plugins=/x,noacl"), 0);
	assert_true(lam_options_config(p->stack)->no_acl);
	/* A known one with a wrong value is a mistake under every name. */
	assert_int_equal(mount_plan_add(p, "xino=purple"), -EINVAL);
}

static void nearest(void **state)
{
	(void)state;
	assert_string_equal(mount_option_nearest("lowerdirs"), "lowerdir");
	assert_string_equal(mount_option_nearest("uperdir"), "upperdir");
	assert_string_equal(mount_option_nearest("redirectdir"), "redirect_dir");
	assert_string_equal(mount_option_nearest("alow_other"), "allow_other");
	assert_null(mount_option_nearest("completely-different-and-much-too-long-to-be-near"));
	assert_null(mount_option_nearest("qqqqqqqq"));
}

static void mountpoints(void **state)
{
	struct mount_plan *p = *state;

	assert_int_equal(mount_plan_set_mountpoint(p, "/proc/.."), 0);
	assert_string_equal(p->mountpoint, "/");
	assert_int_equal(mount_plan_set_mountpoint(p, "/nowhere/at/all"), -ENOENT);
	assert_int_equal(mount_plan_set_mountpoint(p, "/proc/version"), -ENOTDIR);
	assert_int_equal(mount_plan_set_mountpoint(p, "/dev/fd/x"), -EINVAL);
	assert_int_equal(mount_plan_set_mountpoint(p, "/dev/fd/99999"), -EBADF);
	assert_int_equal(mount_plan_set_mountpoint(p, "/dev/fd/1"), 0);
	assert_string_equal(p->mountpoint, "/dev/fd/1");
}

static void drop_in_names(void **state)
{
	(void)state;
	assert_true(dropin_is_name("lamina-mount"));
	assert_true(dropin_is_name("fuse-overlayfs"));
	assert_true(dropin_is_name("my-fuse-overlayfs"));
	assert_true(dropin_is_name("mount.lamina"));
	assert_true(dropin_is_name("mount.fuse.lamina"));
	assert_true(dropin_is_name("mount.fuse.fuse-overlayfs"));
	assert_false(dropin_is_name("lamina"));
}

#define STACK(f) cmocka_unit_test_setup_teardown(f, setup_stack, teardown_stack)
#define PLAN(f) cmocka_unit_test_setup_teardown(f, setup_plan, teardown_plan)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STACK(lowerdir_list),
		STACK(lowerdir_refused),
		STACK(lowerdir_plus),
		STACK(upper_and_work),
		STACK(enumerations),
		STACK(syncing),
		STACK(known_but_not_done),
		STACK(owners),
		STACK(switches_and_bounds),
		STACK(unknown_name),
		STACK(names_are_known),
		PLAN(defaults),
		PLAN(lists),
		PLAN(quoted_values),
		PLAN(flags_of_mount),
		PLAN(numbers_of_the_mount),
		PLAN(allow_root_or_other),
		PLAN(passed_over),
		PLAN(unknown_options),
		PLAN(mountpoints),
		cmocka_unit_test(nearest),
		cmocka_unit_test(drop_in_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
