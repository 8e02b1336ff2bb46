/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What happens when our own code is wrong: one line to standard error, then abort().
 *
 * Not through log.c: the log may be what is broken, and its receiver may want a lock.
 */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *expr, const char *file, int line)
{
	/* Nothing can be done about a standard error that does not take it. */
	(void)fprintf(stderr, "lamina: %s:%d: this must hold but does not: %s\n", file, line, expr);
	abort();
}
