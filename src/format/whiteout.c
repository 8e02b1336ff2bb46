/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whiteouts by name, as container images and AUFS have them: ".wh.NAME" hides NAME. */
#include "format/format.h"

#include <string.h>

bool name_is_dot_wh(const char *name)
{
	return strncmp(name, DOT_WH, DOT_WH_LEN) == 0;
}

/* A second prefix marks what AUFS keeps for itself, and the opaque marker: names that hide none. */
const char *dot_wh_target(const char *name)
{
	const char *target = name + DOT_WH_LEN;

	if (!name_is_dot_wh(name) || name_is_dot_wh(target))
		return NULL;
	if (*target == '\0' || strcmp(target, ".") == 0 || strcmp(target, "..") == 0)
		return NULL;
	return target;
}
