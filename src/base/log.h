/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages: one line, through a callback, at most a few per second of one kind. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stddef.h>

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

typedef void (*log_sink_fn)(void *ctx, int level, const char *line);
/* Set the receiver; NULL drops messages.  Not to be called while other threads log. */
void log_set_sink(log_sink_fn fn, void *ctx);

/* Bursts of more than 20 lines within a second are cut; a line then says how many were lost. */
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_msg(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_msg(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_msg(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* A name made printable: quotes around it, control bytes, quotes and backslashes as \ooo. */
struct log_name {
	char text[128]; /* cut with "..." where the name is longer */
};
struct log_name log_quote(const char *name);
#define QUOTE(name) (log_quote(name).text)
/* The text of a negative errno, e.g. "No space left on device". Static storage. */
const char *log_errno(int r);

#endif
