/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking for what comes soon, instead of sleeping.
 *
 * A client that asks one thing after the other sleeps while it is served, and its server while it works: each request
 * wakes both, on CPUs that idle, and that takes longer than many a request.
 */
#ifndef BASE_SOON_H
#define BASE_SOON_H

#include <stdbool.h>

/* Whether this thread may look at all: on one CPU nobody could work meanwhile. */
bool soon_possible(void);
/* Look for 50 microseconds whether there is something to read from FD, or an error on it. */
bool soon_readable(int fd);

#endif
