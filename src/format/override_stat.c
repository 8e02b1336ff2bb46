/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owner, mode and type kept in an attribute where the mounter may not set the real ones:
 * "uid:gid:mode[:type]", as fuse-overlayfs and containers/storage write it.
 */
#include "format/format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/parse.h"

#define PERMISSIONS 07777u
/* Some writers leave the type in the mode. */
#define MODE_MAX 0177777u

static const struct {
	const char *name;
	uint32_t type;
	bool has_rdev;
} types[] = {
	{ "file", S_IFREG, false }, { "dir", S_IFDIR, false },	   { "symlink", S_IFLNK, false },
	{ "pipe", S_IFIFO, false }, { "socket", S_IFSOCK, false }, { "block", S_IFBLK, true },
	{ "char", S_IFCHR, true },
};

/* A piece of the value that has not been read yet. */
struct rest {
	const char *at;
	size_t len;
};

/* Take what stands before the next END, or all.  Returns false when nothing was left to take;
 * an END as the last byte leaves an empty piece behind it. */
static bool take_piece(struct rest *rest, char end, const char **ret, size_t *ret_len)
{
	const char *stop;

	if (!rest->at)
		return false;
	stop = rest->len ? memchr(rest->at, end, rest->len) : NULL;
	*ret = rest->at;
	*ret_len = stop ? (size_t)(stop - rest->at) : rest->len;
	rest->at = stop ? stop + 1 : NULL;
	rest->len = stop ? rest->len - *ret_len - 1 : 0;
	return true;
}

static int take_number(struct rest *rest, char end, unsigned base, uint32_t max, uint32_t *ret)
{
	const char *piece;
	size_t len;
	uint64_t value;

	if (!take_piece(rest, end, &piece, &len) || len > 24 ||
	    parse_u64_base(piece, (unsigned)len, base, &value) < 0 || value > max)
		return -EINVAL;
	*ret = (uint32_t)value;
	return 0;
}

/* What may follow the mode. */
static int decode_type(struct rest *rest, struct override_stat *o)
{
	const char *piece;
	size_t len;

	if (!take_piece(rest, '-', &piece, &len))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (strlen(types[i].name) != len || memcmp(types[i].name, piece, len) != 0)
			continue;
		o->type = types[i].type;
		if (types[i].has_rdev &&
		    (take_number(rest, '-', 10, UINT32_MAX, &o->rdev_major) < 0 ||
		     take_number(rest, '-', 10, UINT32_MAX, &o->rdev_minor) < 0))
			return -EINVAL;
		return rest->at ? -EINVAL : 0;
	}
	return -EINVAL;
}

int override_stat_decode(const char *value, size_t len, struct override_stat *ret)
{
	struct rest rest = { value, len };
	struct override_stat o = { 0 };

	if (len == 0 || take_number(&rest, ':', 10, UINT32_MAX, &o.uid) < 0 ||
	    take_number(&rest, ':', 10, UINT32_MAX, &o.gid) < 0 ||
	    take_number(&rest, ':', 8, MODE_MAX, &o.mode) < 0)
		return -EINVAL;
	o.mode &= PERMISSIONS;
	if (decode_type(&rest, &o) < 0)
		return -EINVAL;
	*ret = o;
	return 0;
}

size_t override_stat_encode(const struct override_stat *o, char out[OVERRIDE_STAT_MAX])
{
	size_t room = OVERRIDE_STAT_MAX;
	int n = snprintf(out, room, "%u:%u:0%o", o->uid, o->gid, o->mode & PERMISSIONS);
	size_t len = (size_t)n;

	CHECK(n > 0 && len < room);
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (types[i].type != o->type)
			continue;
		n = types[i].has_rdev ? snprintf(out + len, room - len, ":%s-%u-%u", types[i].name,
						 o->rdev_major, o->rdev_minor)
				      : snprintf(out + len, room - len, ":%s", types[i].name);
		CHECK(n > 0 && (size_t)n < room - len);
		len += (size_t)n;
	}
	return len;
}
