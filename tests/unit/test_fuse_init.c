/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is agreed upon with kernels of different ages. */
#include "unit.h"

#include <errno.h>
#include <unistd.h>

#include "fuse/internal.h"

#define ALL32 0xffffffffu

static const struct fuse_front plain = { .forever = true };

static struct fuse_init_in kernel(uint32_t minor, uint32_t flags, uint32_t flags2)
{
	return (struct fuse_init_in){ .major = 7,
				      .minor = minor,
				      .flags = flags,
				      .flags2 = flags2,
				      .max_readahead = 131072 };
}

static void takes_what_is_safe(void **state)
{
	struct fuse_init_in in = kernel(45, ALL32, ALL32);
	struct fuse_init_out out;
	struct protocol proto;

	(void)state;
	assert_int_equal(init_negotiate(&plain, &in, &out, &proto), 0);
	assert_int_equal(out.major, 7);
	assert_int_equal(out.max_readahead, 131072);
	assert_int_equal(out.time_gran, 1);
	assert_int_equal(out.max_write, 1 << 20);
	assert_int_equal(out.max_pages * (uint32_t)sysconf(_SC_PAGESIZE), 1 << 20);
	assert_true(proto.zero_open);
	assert_int_equal(proto.flags, (uint64_t)out.flags | (uint64_t)out.flags2 << 32);

	assert_true(out.flags & FUSE_EXPORT_SUPPORT);
	assert_true(out.flags & FUSE_DONT_MASK);
	assert_true(out.flags & FUSE_POSIX_ACL);
	assert_true(out.flags & FUSE_HANDLE_KILLPRIV_V2);
	assert_true(out.flags & FUSE_DO_READDIRPLUS);
	assert_true(out.flags & FUSE_EXPLICIT_INVAL_DATA);
	assert_true(proto.flags & FUSE_HAS_RESEND);
	/* Losing truncations, locks that nobody would keep, caches we did not ask for. */
	assert_false(out.flags & FUSE_ATOMIC_O_TRUNC);
	assert_false(out.flags & (FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS));
	assert_false(out.flags & (FUSE_READDIRPLUS_AUTO | FUSE_AUTO_INVAL_DATA));
	assert_false(out.flags & (FUSE_WRITEBACK_CACHE | FUSE_HANDLE_KILLPRIV));
	assert_false(proto.flags & FUSE_OVER_IO_URING);
	assert_false(proto.flags & FUSE_SECURITY_CTX);
}

static void follows_the_settings(void **state)
{
	struct fuse_front front = {
		.no_acl = true,
		.writeback = true,
		.uring = true,
		.opens_answered = true,
		.want_write = 65536,
	};
	struct fuse_init_in in = kernel(45, ALL32, ALL32);
	struct fuse_init_out out;
	struct protocol proto;

	(void)state;
	assert_int_equal(init_negotiate(&front, &in, &out, &proto), 0);
	assert_false(out.flags & FUSE_POSIX_ACL);
	assert_true(out.flags & FUSE_WRITEBACK_CACHE);
	assert_true(out.flags & FUSE_AUTO_INVAL_DATA);
	assert_false(out.flags & FUSE_EXPLICIT_INVAL_DATA);
	assert_true(proto.flags & FUSE_OVER_IO_URING);
	assert_false(proto.zero_open);
	assert_int_equal(out.max_write, 65536);

	assert_false(proto.flags & FUSE_PASSTHROUGH);
	front.writeback = false;
	front.want_passthrough = true;
	assert_int_equal(init_negotiate(&front, &in, &out, &proto), 0);
	assert_true(proto.flags & FUSE_PASSTHROUGH);

	front.no_acl = false;
	front.no_xattr = true;
	assert_int_equal(init_negotiate(&front, &in, &out, &proto), 0);
	assert_false(out.flags & FUSE_POSIX_ACL);
	front.want_write = 1;
	assert_int_equal(init_negotiate(&front, &in, &out, &proto), 0);
	assert_int_equal(out.max_write, sysconf(_SC_PAGESIZE));
	front.want_write = UINT32_MAX;
	assert_int_equal(init_negotiate(&front, &in, &out, &proto), 0);
	assert_int_equal(out.max_write, 256 * sysconf(_SC_PAGESIZE));
}

static void takes_only_what_is_offered(void **state)
{
	struct fuse_front front = { .forever = true, .uring = true };
	/* The upper half counts only with FUSE_INIT_EXT. */
	struct fuse_init_in in = kernel(31, FUSE_BIG_WRITES | FUSE_NO_OPEN_SUPPORT, ALL32);
	struct fuse_init_out out;
	struct protocol proto;

	(void)state;
	assert_int_equal(init_negotiate(&front, &in, &out, &proto), 0);
	assert_int_equal(out.flags, FUSE_BIG_WRITES);
	assert_int_equal(out.flags2, 0);
	assert_int_equal(proto.minor, 31);
	/* Opens can only be switched off where those of directories can. */
	assert_false(proto.zero_open);
	/* Without FUSE_MAX_PAGES a request has 32 pages at most. */
	assert_int_equal(out.max_write, 32 * sysconf(_SC_PAGESIZE));
}

static void answers_other_versions(void **state)
{
	struct fuse_init_in in = kernel(45, ALL32, ALL32);
	struct fuse_init_out out;
	struct protocol proto;

	(void)state;
	in.major = 8;
	assert_int_equal(init_negotiate(&plain, &in, &out, &proto), -EAGAIN);
	assert_int_equal(out.major, 7);
	in.major = 6;
	assert_int_equal(init_negotiate(&plain, &in, &out, &proto), -EPROTO);
	in = kernel(29, ALL32, 0);
	assert_int_equal(init_negotiate(&plain, &in, &out, &proto), -EPROTO);
	in.minor = 30;
	assert_int_equal(init_negotiate(&plain, &in, &out, &proto), 0);
	in.minor = 99;
	assert_int_equal(init_negotiate(&plain, &in, &out, &proto), 0);
	assert_int_equal(proto.minor, 45);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_what_is_safe),
		cmocka_unit_test(follows_the_settings),
		cmocka_unit_test(takes_only_what_is_offered),
		cmocka_unit_test(answers_other_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
