/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking into an engine that nobody is using: what is held though it should not be. */
#ifndef TESTS_INSPECT_H
#define TESTS_INSPECT_H

#include <lamina/lamina.h>

/* NULL, or what is wrong: a lock that is held, a reference that nobody owns, a pinned descriptor, a copy-up
 * that never ended.  Static storage. */
const char *inspect_stack(struct lam_stack *stack);
/* How many descriptors the process has. */
unsigned inspect_fds(void);

#endif
