/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Id maps: no overlap, and every id inside one comes back from outside. */
#include "base/check.h"
#include "base/cleanup.h"
#include "format/format.h"

#include <stdlib.h>
#include <string.h>

#include "lamina/lamina.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input as a string. */
static char *as_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	CHECK(text);
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

static void check_extent(const struct lam_idmap *map, const struct lam_idmap_extent *e)
{
	uint32_t last = e->length - 1, outside, inside;

	CHECK(e->length > 0);
	CHECK(idmap_to_outside(map, e->inside, &outside) && outside == e->outside);
	CHECK(idmap_to_inside(map, outside, &inside) && inside == e->inside);
	CHECK(idmap_to_outside(map, e->inside + last, &outside) && outside == e->outside + last);
	CHECK(idmap_to_inside(map, outside, &inside) && inside == e->inside + last);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_FREE char *text = as_text(data, size);
	struct lam_idmap map;
	uint32_t id;

	if (idmap_parse(text, &map) < 0)
		return 0;
	CHECK(map.n > 0);
	for (size_t i = 0; i < map.n; i++)
		check_extent(&map, &map.extents[i]);
	CHECK(!idmap_to_outside(&map, UINT32_MAX, &id));
	CHECK(!idmap_to_inside(&map, UINT32_MAX, &id));
	free(map.extents);
	return 0;
}
