/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stored handles and index names, against bytes that Linux's overlayfs wrote. */
#include "unit.h"

#include "base/check.h"
#include "format/format.h"

#include <errno.h>
#include <string.h>

static const uint8_t uuid[FH_UUID_LEN] = { 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
					   0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f };
/* ext4: inode 32390, generation 0xb4cd4aef. */
static const uint8_t ext4_fid[8] = { 0x86, 0x7e, 0, 0, 0xef, 0x4a, 0xcd, 0xb4 };
static const uint8_t ext4_handle[29] = { 0x00, 0xfb, 0x1d, 0x00, 0x01, 0x10, 0x11, 0x12, 0x13, 0x14,
					 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e,
					 0x1f, 0x86, 0x7e, 0x00, 0x00, 0xef, 0x4a, 0xcd, 0xb4 };

static void encodes_as_the_kernel(void **state)
{
	struct fh fh;

	(void)state;
	assert_int_equal(fh_encode(1, uuid, ext4_fid, sizeof(ext4_fid), false, &fh), 0);
	assert_int_equal(fh.len, sizeof(ext4_handle));
	assert_memory_equal(fh.bytes, ext4_handle, sizeof(ext4_handle));
	assert_int_equal(fh_encode(1, uuid, ext4_fid, sizeof(ext4_fid), true, &fh), 0);
	assert_int_equal(fh.bytes[3], 4);
	assert_int_equal(fh_encode(0xff, uuid, NULL, 0, false, &fh), 0);
	assert_int_equal(fh.len, FH_HEADER);
}

static void refuses_what_does_not_fit(void **state)
{
	uint8_t fid[FH_MAX_FID + 1] = { 0 };
	struct fh fh;

	(void)state;
	assert_int_equal(fh_encode(0, uuid, fid, FH_MAX_FID, false, &fh), 0);
	assert_int_equal(fh.len, FH_MAX);
	assert_int_equal(fh_encode(0, uuid, fid, FH_MAX_FID + 1, false, &fh), -EOVERFLOW);
	assert_int_equal(fh_encode(256, uuid, fid, 8, false, &fh), -EOVERFLOW);
	assert_int_equal(fh_encode(-1, uuid, fid, 8, false, &fh), -EOVERFLOW);
}

static void decodes(void **state)
{
	uint8_t longer[64] = { 0 };
	struct fh_view view;

	(void)state;
	memcpy(longer, ext4_handle, sizeof(ext4_handle));
	longer[3] = 4;
	/* What stands behind the handle does not count. */
	assert_int_equal(fh_decode(longer, sizeof(longer), &view), 0);
	assert_int_equal(view.type, 1);
	assert_true(view.path_upper);
	assert_ptr_equal(view.uuid, longer + 5);
	assert_ptr_equal(view.fid, longer + 21);
	assert_int_equal(view.fid_len, 8);
	assert_int_equal(view.len, 29);
	assert_int_equal(fh_decode(ext4_handle, sizeof(ext4_handle), &view), 0);
	assert_false(view.path_upper);
}

/* The example with one byte changed. */
static int decode_with(size_t at, uint8_t value)
{
	uint8_t bytes[sizeof(ext4_handle)];
	struct fh_view view;

	memcpy(bytes, ext4_handle, sizeof(bytes));
	bytes[at] = value;
	return fh_decode(bytes, sizeof(bytes), &view);
}

static void malformed_and_unknown(void **state)
{
	uint8_t big[256];
	struct fh_view view;

	(void)state;
	assert_int_equal(fh_decode(ext4_handle, 0, &view), -ENODATA);
	for (size_t size = 1; size < sizeof(ext4_handle); size++)
		assert_int_equal(fh_decode(ext4_handle, size, &view), -EINVAL);
	assert_int_equal(decode_with(1, 0xfa), -EINVAL);
	assert_int_equal(decode_with(0, 1), -ENODATA);
	assert_int_equal(decode_with(3, 8), -ENODATA);
	assert_int_equal(decode_with(3, 0x80), -ENODATA);
	assert_int_equal(decode_with(2, 30), -EINVAL);
	assert_int_equal(decode_with(2, 20), -EINVAL);
	assert_int_equal(decode_with(2, 0), -EINVAL);
	assert_int_equal(decode_with(2, 21), 0);
	/* The other byte order, and a handle that says that it has none. */
	assert_int_equal(decode_with(3, __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 1 : 0),
			 -ENODATA);
	assert_int_equal(decode_with(3, 2), 0);
	assert_int_equal(decode_with(3, 3), 0);

	memset(big, 0, sizeof(big));
	memcpy(big, ext4_handle, sizeof(ext4_handle));
	big[2] = FH_MAX;
	assert_int_equal(fh_decode(big, sizeof(big), &view), 0);
	big[2] = FH_MAX + 1;
	assert_int_equal(fh_decode(big, sizeof(big), &view), -EINVAL);
}

static void equality_is_of_bytes(void **state)
{
	struct fh a, b;

	(void)state;
	assert_int_equal(fh_encode(1, uuid, ext4_fid, 8, false, &a), 0);
	assert_int_equal(fh_encode(1, uuid, ext4_fid, 8, false, &b), 0);
	assert_true(fh_equal(&a, &b));
	b.bytes[28] ^= 1;
	assert_false(fh_equal(&a, &b));
	assert_int_equal(fh_encode(1, uuid, ext4_fid, 4, false, &b), 0);
	assert_false(fh_equal(&a, &b));
}

static void inode_numbers(void **state)
{
	/* 64 bits of number, 32 of generation. */
	static const uint8_t xfs[12] = { 0x83, 0, 0, 0x10, 0, 0, 0, 0x20, 7, 0, 0, 0 };
	static const uint8_t btrfs[20] = { 1, 1, 0, 0, 0, 0, 0, 0, 5, 0,
					   0, 0, 0, 0, 0, 0, 9, 0, 0, 1 };
	static const uint8_t tmpfs[12] = { 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0 };
	uint32_t generation = 55;
	uint64_t ino = 55;

	(void)state;
	assert_int_equal(fid_inode(0x01, ext4_fid, 8, false, &ino, &generation), 0);
	assert_int_equal(ino, 32390);
	assert_true(generation == 0xb4cd4aefu);
	assert_int_equal(fid_inode(0x81, xfs, 12, false, &ino, &generation), 0);
	assert_true(ino == 0x2000000010000083ull);
	assert_int_equal(generation, 7);
	assert_int_equal(fid_inode(0x4d, btrfs, 20, false, &ino, &generation), 0);
	assert_int_equal(ino, 257);
	assert_int_equal(generation, 0x01000009);
	assert_int_equal(fid_inode(0x01, tmpfs, 12, true, &ino, &generation), 0);
	assert_true(ino == 0x100000002ull);
	assert_int_equal(generation, 3);

	ino = 55;
	generation = 55;
	assert_int_equal(fid_inode(0x01, ext4_fid, 8, true, &ino, &generation), -EINVAL);
	assert_int_equal(fid_inode(0x01, tmpfs, 12, false, &ino, &generation), -EINVAL);
	assert_int_equal(fid_inode(0x81, xfs, 8, false, &ino, &generation), -EINVAL);
	assert_int_equal(fid_inode(0x4d, btrfs, 16, false, &ino, &generation), -EINVAL);
	assert_int_equal(fid_inode(0xf8, xfs, 12, false, &ino, &generation), -ENODATA);
	assert_int_equal(ino, 55);
	assert_int_equal(generation, 55);
}

#define EXT4_NAME "00fb1d0001101112131415161718191a1b1c1d1e1f867e0000ef4acdb4"

static void index_names(void **state)
{
	char name[INDEX_NAME_MAX + 1];
	uint8_t fid[FH_MAX_FID];
	struct fh fh, back;

	(void)state;
	assert_int_equal(fh_encode(1, uuid, ext4_fid, 8, false, &fh), 0);
	index_name_encode(&fh, name);
	assert_string_equal(name, EXT4_NAME);
	assert_int_equal(index_name_decode(name, &back), 0);
	assert_true(fh_equal(&fh, &back));

	memset(fid, 0xab, sizeof(fid));
	assert_int_equal(fh_encode(0x81, uuid, fid, sizeof(fid), true, &fh), 0);
	index_name_encode(&fh, name);
	assert_int_equal(strlen(name), INDEX_NAME_MAX);
	assert_int_equal(index_name_decode(name, &back), 0);
	assert_true(fh_equal(&fh, &back));
}

static void strange_index_names(void **state)
{
	static const char *const bad[] = {
		"",
		"#1f",
		"00fb1d0001",
		/* one digit short, one too many, a pair too many */
		"00fb1d0001101112131415161718191a1b1c1d1e1f867e0000ef4acdb",
		EXT4_NAME "0",
		EXT4_NAME "00",
		/* capitals, a blank, no hex */
		"00FB1D0001101112131415161718191A1B1C1D1E1F867E0000EF4ACDB4",
		"00fb1d0001101112131415161718191a1b1c1d1e1f867e0000ef4acd 4",
		"00fb1d0001101112131415161718191a1b1c1d1e1f867e0000ef4acdg4",
		/* the magic */
		"00fa1d0001101112131415161718191a1b1c1d1e1f867e0000ef4acdb4",
	};
	char longest[INDEX_NAME_MAX + 3];
	struct fh fh = { .len = 99 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(index_name_decode(bad[i], &fh), -EINVAL);
	memset(longest, '0', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(index_name_decode(longest, &fh), -EINVAL);
	/* A newer version of the format. */
	assert_int_equal(index_name_decode("01fb1d0001101112131415161718191a1b1c1d1e1f867e0000ef4a"
					   "cdb4",
					   &fh),
			 -ENODATA);
	assert_int_equal(fh.len, 99);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(encodes_as_the_kernel),
		cmocka_unit_test(refuses_what_does_not_fit),
		cmocka_unit_test(decodes),
		cmocka_unit_test(malformed_and_unknown),
		cmocka_unit_test(equality_is_of_bytes),
		cmocka_unit_test(inode_numbers),
		cmocka_unit_test(index_names),
		cmocka_unit_test(strange_index_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
