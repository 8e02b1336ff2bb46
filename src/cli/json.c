/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing JSON strings. */
#include "cli/json.h"

#include <stdint.h>

/* How many bytes the UTF-8 character at TEXT has; 0 if it is none. */
static unsigned utf8_length(const unsigned char *text)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t c = text[0];
	unsigned n;

	if (c < 0x80)
		return 1;
	n = c >= 0xf0 && c < 0xf8 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 0;
	if (n == 0 || c >= 0xf8)
		return 0;
	c &= 0x7fu >> n;
	for (unsigned i = 1; i < n; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (text[i] & 0x3fu);
	}
	return c >= smallest[n] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? n : 0;
}

void json_string(FILE *f, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	if (!text) {
		(void)fputs("null", f); /* errors of a stream are looked at when it ends */
		return;
	}
	(void)fputc('"', f);
	while (*at) {
		unsigned n = utf8_length(at);

		if (n == 0)
			(void)fprintf(f, "\\udc%02x", *at++);
		else if (*at == '"' || *at == '\\')
			(void)fprintf(f, "\\%c", *at++);
		else if (*at < 0x20 || *at == 0x7f)
			(void)fprintf(f, "\\u%04x", *at++);
		else
			for (; n; n--)
				(void)fputc(*at++, f);
	}
	(void)fputc('"', f);
}
