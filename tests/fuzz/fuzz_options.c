/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mount options and lists of layers. */
#include "base/check.h"
#include "base/cleanup.h"
#include "format/format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

static int see_option(void *ctx, const char *name, const char *value)
{
	size_t *total = ctx;

	CHECK(*name && !strchr(name, '='));
	*total += strlen(name) + (value ? strlen(value) : 0);
	return 0;
}

static void check_layers(const char *text)
{
	struct layer_list list;
	int r = layers_split(text, &list);

	CHECK(r == 0 || r == -EINVAL);
	if (r < 0)
		return;
	CHECK(list.n_lower > 0);
	for (size_t i = 0; i < list.n_lower; i++)
		CHECK(*list.lower[i]);
	for (size_t i = 0; i < list.n_data; i++)
		CHECK(*list.data[i]);
	layers_free(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_FREE char *text = as_text(data, size);
	CLEANUP_FREE char *path = NULL;
	size_t total = 0;
	int r = options_split(text, see_option, &total);

	CHECK(r == 0 || r == -EINVAL);
	CHECK(total <= strlen(text));
	check_layers(text);
	CHECK(path_unescape(text, &path) == 0);
	CHECK(strlen(path) <= strlen(text));
	return 0;
}
