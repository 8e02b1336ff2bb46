/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Strict parsing: the whole string or nothing.  -EINVAL for what is no number, -ERANGE for one that
 * does not fit.  No leading blanks, plus signs or other decorations. */
#ifndef BASE_PARSE_H
#define BASE_PARSE_H

#include <stdint.h>

int parse_u64(const char *s, uint64_t *ret);
int parse_u32(const char *s, uint32_t *ret);
/* BASE 8, 10 or 16 over the first LEN bytes. */
int parse_u64_base(const char *s, unsigned len, unsigned base, uint64_t *ret);

#endif
