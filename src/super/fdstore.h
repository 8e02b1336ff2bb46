/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A service manager that keeps descriptors while its service is away (systemd's file descriptor store): what
 * is given to it comes back to the supervisor that is started next.
 */
#ifndef SUPER_FDSTORE_H
#define SUPER_FDSTORE_H

#include <stdint.h>

struct state;

/* A socket to the manager, or -1 if there is none that keeps descriptors. */
int fdstore_open(void);
/* Give it descriptor I of the memory, or everything, and the word that the service is up. */
void fdstore_add(int sock, const struct state *state, uint32_t i);
void fdstore_add_all(int sock, const struct state *state);
/* It need not keep anything any more. */
void fdstore_forget(int sock, const struct state *state);

/* What came back: 0 and a memory whose numbers are those of this process; -ENOENT: nothing did; -EPROTO:
 * of another layout. */
int fdstore_take(struct state *ret);

#endif
