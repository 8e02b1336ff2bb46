/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a test wants to be missing. */
#include "base/seam.h"

#ifdef LAMINA_FAULT_SEAM

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The next name of the list at *AT, which moves behind it; its length, 0 at the end. */
static size_t next_name(const char **at, const char **ret)
{
	size_t len;

	*at += strspn(*at, " ");
	len = strcspn(*at, " ");
	*ret = *at;
	*at += len;
	return len;
}

bool seam_without(const char *name)
{
	const char *at = getenv("LAMINA_WITHOUT"), *one;
	size_t len;

	while (at && (len = next_name(&at, &one)) > 0)
		if (strlen(name) == len && !strncmp(one, name, len))
			return true;
	return false;
}

void seam_check(const char *prefix, const char *const *known, unsigned n)
{
	const char *at = getenv("LAMINA_WITHOUT"), *one;
	size_t len;

	while (at && (len = next_name(&at, &one)) > 0) {
		bool found = *prefix ? strncmp(one, prefix, strlen(prefix)) != 0
				     : !strncmp(one, "fuse_", 5);

		for (unsigned i = 0; i < n && !found; i++)
			found = strlen(known[i]) == len && !strncmp(one, known[i], len);
		if (found)
			continue;
		(void)fprintf(stderr, "LAMINA_WITHOUT: there is no '%.*s'\n", (int)len, one);
		abort();
	}
}

#endif
