/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages to whoever set a receiver.
 *
 * Takes no lock (a message may come from under any), so the rate limit is kept in three atomics:
 * two threads that meet at the turn of a second may let a line or two more through, and no line is
 * lost without being counted.
 */
#include "base/log.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LINE_MAX_BYTES 512u
#define LINES_PER_SECOND 20u

/* Set before other threads log, as log.h asks; read by all. */
static log_sink_fn sink;
static void *sink_ctx;

static atomic_llong window; /* the second (monotonic clock) that LINES counts in */
static atomic_uint lines;   /* passed on in this second, or cut */
static atomic_uint lost;    /* cut and not yet told of */

void log_set_sink(log_sink_fn fn, void *ctx)
{
	sink = fn;
	sink_ctx = ctx;
}

/* Whether one more line may pass; *RET_LOST gets how many were cut before it. */
static bool rate_allows(unsigned *ret_lost)
{
	struct timespec now;
	long long second, seen;

	*ret_lost = 0;
	CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
	second = now.tv_sec;
	seen = atomic_load(&window);
	if (seen != second && atomic_compare_exchange_strong(&window, &seen, second))
		atomic_store(&lines, 0);
	if (atomic_fetch_add(&lines, 1) >= LINES_PER_SECOND) {
		atomic_fetch_add(&lost, 1);
		return false;
	}
	*ret_lost = atomic_exchange(&lost, 0);
	return true;
}

/* One line, whatever was formatted into it. */
static void make_one_line(char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == 0x7f)
			*text = ' ';
	}
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	unsigned cut;
	va_list args;
	int n;

	if (!sink || !rate_allows(&cut))
		return;
	if (cut) {
		/* Always fits. */
		(void)snprintf(line, sizeof(line), "%u messages were left out here", cut);
		sink(sink_ctx, LOG_LEVEL_WARNING, line);
	}
	va_start(args, fmt);
	n = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(line))
		memcpy(line + sizeof(line) - 4, "...", 4);
	make_one_line(line);
	sink(sink_ctx, (int)level, line);
}

static bool needs_escape(unsigned char c)
{
	return c < 0x20 || c == 0x7f || c == '"' || c == '\\';
}

struct log_name log_quote(const char *name)
{
	struct log_name ret;
	/* Room for the closing quote, "..." and NUL must be left. */
	const size_t limit = sizeof(ret.text) - 5;
	size_t at = 0;

	ret.text[at++] = '"';
	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;
		size_t need = needs_escape(c) ? 4 : 1;

		if (at + need > limit)
			break;
		if (need == 1) {
			ret.text[at++] = *name;
			continue;
		}
		ret.text[at++] = '\\';
		ret.text[at++] = (char)('0' + (c >> 6));
		ret.text[at++] = (char)('0' + ((c >> 3) & 7));
		ret.text[at++] = (char)('0' + (c & 7));
	}
	if (*name) {
		/* Not in the middle of a character. */
		while (at > 1 && ((unsigned char)*name & 0xc0) == 0x80 &&
		       ((unsigned char)name[-1] & 0x80)) {
			name--;
			at--;
		}
		memcpy(ret.text + at, "...", 3);
		at += 3;
	}
	ret.text[at++] = '"';
	ret.text[at] = '\0';
	return ret;
}

const char *log_errno(int r)
{
	const char *text = r < 0 ? strerrordesc_np(-r) : NULL;

	return text ? text : "unknown error";
}
