/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What stands for the attribute `origin` of an upper object that can carry none, as text:
 *
 *	ID GENERATION UPPER-GENERATION UPPER-BIRTH
 *
 * in hexadecimal digits, 16 and then 8 each.  It is short enough for a symlink that needs no block.
 */
#include "format/format.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "base/parse.h"

int origin_record_decode(const char *text, size_t len, struct origin_record *ret)
{
	uint64_t id, generation, upper_generation, upper_birth;

	if (len != ORIGIN_RECORD_LEN || text[16] != ' ' || text[25] != ' ' || text[34] != ' ')
		return -EINVAL;
	if (parse_u64_base(text, 16, 16, &id) < 0 ||
	    parse_u64_base(text + 17, 8, 16, &generation) < 0 ||
	    parse_u64_base(text + 26, 8, 16, &upper_generation) < 0 ||
	    parse_u64_base(text + 35, 8, 16, &upper_birth) < 0)
		return -EINVAL;
	*ret = (struct origin_record){
		.id = id,
		.generation = (uint32_t)generation,
		.upper_generation = (uint32_t)upper_generation,
		.upper_birth = (uint32_t)upper_birth,
	};
	return 0;
}

void origin_record_encode(const struct origin_record *rec, char out[ORIGIN_RECORD_LEN + 1])
{
	int n = snprintf(out, ORIGIN_RECORD_LEN + 1, "%016llx %08x %08x %08x",
			 (unsigned long long)rec->id, rec->generation, rec->upper_generation,
			 rec->upper_birth);

	CHECK(n == ORIGIN_RECORD_LEN);
}
