/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of a whole server: a build with -Dfault_seam=true behaves as if what the environment
 * variable LAMINA_WITHOUT names (blanks between) were missing.  No other build looks at it.
 */
#ifndef BASE_SEAM_H
#define BASE_SEAM_H

#include <stdbool.h>

#ifdef LAMINA_FAULT_SEAM
/* Whether NAME is to be missing. */
bool seam_without(const char *name);
/* Stop the process, saying so, if a name with this prefix ("" for those without any) is in no list. */
void seam_check(const char *prefix, const char *const *known, unsigned n);
#else
static inline bool seam_without(const char *name)
{
	(void)name;
	return false;
}
#endif

#endif
