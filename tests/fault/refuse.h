/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Refusing the Nth system call (at the seam of src/sys) or the Nth allocation (by the linker: --wrap), of
 * whatever thread; and counting what is allocated and not given back.
 */
#ifndef TESTS_REFUSE_H
#define TESTS_REFUSE_H

#include <stdbool.h>
#include <stddef.h>

#define REFUSE_ERRORS 8u
extern const int refuse_errors[REFUSE_ERRORS];

/* From now on the Nth gets ERROR, an allocation nothing. */
void refuse_arm(bool memory, unsigned n, int error);
/* No more.  Whether there were as many. */
bool refuse_disarm(void);
/* Which it was, and what it got.  Static storage. */
const char *refuse_what(void);

/* Allocations count from here on. */
void refuse_mark(void);
/* One that lives, as its size and a place in the program, or NULL.  Static storage. */
const char *refuse_left(void);

#endif
