/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the two sides share beside messages. */
#ifndef SUPER_INTERNAL_H
#define SUPER_INTERNAL_H

#include <stdbool.h>

struct state;

/* For the program that goes on where another one serves, and for a supervisor in its own place. */
#define ENV_TAKEOVER "LAMINA_TAKEOVER"
#define ENV_SUPERVISE "LAMINA_SUPERVISE"

/* Let all descriptors that the memory names pass exec, or not. */
void super_mark_all(const struct state *state, bool inherited);

#endif
