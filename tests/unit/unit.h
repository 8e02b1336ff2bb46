/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every unit test starts with: cmocka wants these four before it. */
#ifndef UNIT_UNIT_H
#define UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#endif
