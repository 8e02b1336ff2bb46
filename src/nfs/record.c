/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Record marking (RFC 5531, 11): a record is one or more fragments, each after four bytes that hold
 * its length and, in the highest bit, whether it is the last.  No limit of the RFC's own: here a
 * record has NFS_MAX_RECORD bytes, and fragments that bring nothing are not taken.
 */
#include "internal.h"

#include <endian.h>
#include <string.h>

#include "base/check.h"

#define LAST_FRAGMENT 0x80000000u

void record_reset(struct record *rec)
{
	*rec = (struct record){ .buf = rec->buf };
}

/* The four bytes of a mark are there. */
static enum record_state begin_fragment(struct record *rec)
{
	uint32_t mark;

	memcpy(&mark, rec->mark, 4);
	mark = be32toh(mark);
	rec->n_mark = 0;
	rec->last = mark & LAST_FRAGMENT;
	rec->left = mark & ~LAST_FRAGMENT;
	/* An empty last fragment ends what came before it; any other empty one only costs time. */
	if (rec->left > NFS_MAX_RECORD - rec->len || (rec->left == 0 && !rec->last))
		return RECORD_BAD;
	return rec->left == 0 ? RECORD_COMPLETE : RECORD_MORE;
}

size_t record_room(struct record *rec, uint8_t **ret)
{
	*ret = rec->buf + rec->len;
	return rec->left;
}

enum record_state record_took(struct record *rec, size_t n)
{
	CHECK(n <= rec->left);
	rec->len += n;
	rec->left -= (uint32_t)n;
	return rec->left == 0 && rec->last ? RECORD_COMPLETE : RECORD_MORE;
}

enum record_state record_add(struct record *rec, const uint8_t *data, size_t *len)
{
	size_t taken = 0;

	CHECK(rec->buf);
	while (taken < *len) {
		size_t n = *len - taken;

		if (rec->left == 0) {
			rec->mark[rec->n_mark++] = data[taken++];
			if (rec->n_mark == 4) {
				enum record_state state = begin_fragment(rec);

				if (state != RECORD_MORE) {
					*len = taken;
					return state;
				}
			}
			continue;
		}
		if (n > rec->left)
			n = rec->left;
		memcpy(rec->buf + rec->len, data + taken, n);
		taken += n;
		if (record_took(rec, n) == RECORD_COMPLETE) {
			*len = taken;
			return RECORD_COMPLETE;
		}
	}
	return RECORD_MORE;
}
