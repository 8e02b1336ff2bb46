/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Assertions about our own code, in every build.  Never about what comes from outside. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

_Noreturn void check_failed(const char *expr, const char *file, int line);

#define CHECK(expr)                                              \
	do {                                                     \
		if (__builtin_expect(!(expr), 0))                \
			check_failed(#expr, __FILE__, __LINE__); \
	} while (0)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
