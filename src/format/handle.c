/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stored file handles: the values of the `origin` and `upper` attributes, and, in hex, the names in
 * the index.  Layout, as the kernel's overlayfs has it:
 *
 *	0 version (0)   1 magic (0xfb)   2 length of all of it   3 flags   4 handle type
 *	5 UUID of the filesystem, 16 bytes   21 the filesystem's own handle ("fid")
 */
#include "format/format.h"

#include <errno.h>
#include <string.h>

enum { AT_VERSION = 0, AT_MAGIC = 1, AT_LEN = 2, AT_FLAGS = 3, AT_TYPE = 4, AT_UUID = 5 };

#define VERSION 0u
#define MAGIC 0xfbu
#define FLAG_BIG_ENDIAN 1u
#define FLAG_ANY_ENDIAN 2u
#define FLAG_PATH_UPPER 4u
#define FLAGS_KNOWN (FLAG_BIG_ENDIAN | FLAG_ANY_ENDIAN | FLAG_PATH_UPPER)

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define FLAG_OF_THIS_HOST FLAG_BIG_ENDIAN
#else
#define FLAG_OF_THIS_HOST 0u
#endif

/* Handle types whose inside is known (include/linux/exportfs.h). */
enum { FID_INO32_GEN = 0x01, FID_BTRFS = 0x4d, FID_INO64_GEN = 0x81 };

int fh_encode(int type, const uint8_t uuid[FH_UUID_LEN], const void *fid, size_t fid_len,
	      bool path_upper, struct fh *ret)
{
	if (type < 0 || type > UINT8_MAX || fid_len > FH_MAX_FID)
		return -EOVERFLOW;
	ret->len = (uint8_t)(FH_HEADER + fid_len);
	ret->bytes[AT_VERSION] = VERSION;
	ret->bytes[AT_MAGIC] = MAGIC;
	ret->bytes[AT_LEN] = ret->len;
	ret->bytes[AT_FLAGS] = (uint8_t)(FLAG_OF_THIS_HOST | (path_upper ? FLAG_PATH_UPPER : 0u));
	ret->bytes[AT_TYPE] = (uint8_t)type;
	memcpy(ret->bytes + AT_UUID, uuid, FH_UUID_LEN);
	if (fid_len)
		memcpy(ret->bytes + FH_HEADER, fid, fid_len);
	return 0;
}

/* In the kernel's order of checks: a handle of a newer version is no error, whatever else it has. */
int fh_decode(const void *bytes, size_t size, struct fh_view *ret)
{
	const uint8_t *b = bytes;

	if (size == 0)
		return -ENODATA;
	if (size < FH_HEADER || b[AT_LEN] > size || b[AT_MAGIC] != MAGIC)
		return -EINVAL;
	if (b[AT_VERSION] > VERSION || (b[AT_FLAGS] & ~FLAGS_KNOWN))
		return -ENODATA;
	if (!(b[AT_FLAGS] & FLAG_ANY_ENDIAN) &&
	    (b[AT_FLAGS] & FLAG_BIG_ENDIAN) != FLAG_OF_THIS_HOST)
		return -ENODATA;
	if (b[AT_LEN] < FH_HEADER || b[AT_LEN] > FH_MAX)
		return -EINVAL;

	ret->type = b[AT_TYPE];
	ret->path_upper = b[AT_FLAGS] & FLAG_PATH_UPPER;
	ret->uuid = b + AT_UUID;
	ret->fid = b + FH_HEADER;
	ret->fid_len = b[AT_LEN] - FH_HEADER;
	ret->len = b[AT_LEN];
	return 0;
}

bool fh_equal(const struct fh *a, const struct fh *b)
{
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

/* Fids are in the byte order of the host that made them, which fh_decode() has compared. */
int fid_inode(int type, const void *fid, size_t fid_len, bool tmpfs, uint64_t *ret_ino,
	      uint32_t *ret_generation)
{
	const uint8_t *p = fid;

	switch (type) {
	case FID_INO32_GEN:
		if (tmpfs) {
			if (fid_len != 12)
				return -EINVAL;
			*ret_generation = get32(p);
			*ret_ino = (uint64_t)get32(p + 8) << 32 | get32(p + 4);
			return 0;
		}
		if (fid_len != 8)
			return -EINVAL;
		*ret_ino = get32(p);
		*ret_generation = get32(p + 4);
		return 0;
	case FID_INO64_GEN:
		if (fid_len != 12)
			return -EINVAL;
		*ret_ino = get64(p);
		*ret_generation = get32(p + 8);
		return 0;
	case FID_BTRFS:
		/* Number, subvolume, generation. */
		if (fid_len != 20)
			return -EINVAL;
		*ret_ino = get64(p);
		*ret_generation = get32(p + 16);
		return 0;
	default:
		return -ENODATA;
	}
}
