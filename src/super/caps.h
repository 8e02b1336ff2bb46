/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Capabilities of a process that itself needs none, but whose children do. */
#ifndef SUPER_CAPS_H
#define SUPER_CAPS_H

/* Put them down: none is in effect, those permitted stay at hand. */
void caps_lower(void);
/* Take up those that are permitted. */
void caps_raise(void);

#endif
