/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing JSON: only what strings need. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <stdio.h>

/* TEXT as a JSON string, in quotes; NULL as null.  A byte that is not part of UTF-8 becomes \udcXX, XX
 * being the byte, as Python's surrogateescape does it: names in a filesystem are bytes. */
void json_string(FILE *f, const char *text);

#endif
