/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stored handles: what is decoded lies inside the input and encodes to the same bytes. */
#include "base/check.h"
#include "format/format.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fh_view view;
	uint32_t generation;
	uint64_t ino;
	struct fh fh;

	if (fh_decode(data, size, &view) < 0)
		return 0;
	CHECK(view.len <= size && view.len == FH_HEADER + view.fid_len);
	CHECK(view.uuid == data + 5 && view.fid == data + FH_HEADER);
	CHECK(fh_encode(view.type, view.uuid, view.fid, view.fid_len, view.path_upper, &fh) == 0);
	CHECK(fh.len == view.len);
	/* Only the flags may differ: a handle may say that it has no byte order. */
	CHECK(memcmp(fh.bytes, data, 3) == 0 && memcmp(fh.bytes + 4, data + 4, view.len - 4) == 0);
	(void)fid_inode(view.type, view.fid, view.fid_len, false, &ino, &generation);
	(void)fid_inode(view.type, view.fid, view.fid_len, true, &ino, &generation);
	return 0;
}
