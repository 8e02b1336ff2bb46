/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages: one line each, bounded, quoted names, bursts cut and counted. */
#include "unit.h"

#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

struct receiver {
	char last[1024];
	int level;
	unsigned lines;	    /* without the lines that tell of losses */
	unsigned told_lost; /* sum of what those told */
};

static void receive(void *ctx, int level, const char *line)
{
	struct receiver *r = ctx;
	unsigned lost;

	if (sscanf(line, "%u messages were left out here", &lost) == 1) {
		r->told_lost += lost;
		return;
	}
	r->lines++;
	r->level = level;
	(void)snprintf(r->last, sizeof(r->last), "%s", line);
}

/* Wait for a second that nothing has been logged in. */
static void next_second(void)
{
	struct timespec now, until;

	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	until = (struct timespec){ .tv_sec = now.tv_sec + 1 };
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

static void lines_arrive(void **state)
{
	struct receiver r = { .level = 0 };
	char longest[2000];

	(void)state;
	log_set_sink(receive, &r);
	next_second();
	log_error("cannot open %s: %d", QUOTE("a\nb"), 5);
	assert_string_equal(r.last, "cannot open \"a\\012b\": 5");
	assert_int_equal(r.level, LOG_LEVEL_ERROR);
	log_warning("w");
	assert_int_equal(r.level, LOG_LEVEL_WARNING);
	log_info("i");
	assert_int_equal(r.level, LOG_LEVEL_INFO);
	log_debug("two\nlines\x7f%s", "\t");
	assert_string_equal(r.last, "two lines  ");
	assert_int_equal(r.level, LOG_LEVEL_DEBUG);

	memset(longest, 'l', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	log_info("%s", longest);
	assert_int_equal(strlen(r.last), 511);
	assert_string_equal(r.last + 508, "...");
	assert_int_equal(r.lines, 5);

	log_set_sink(NULL, NULL);
	log_info("nobody hears");
	assert_int_equal(r.lines, 5);
}

static void bursts_are_cut(void **state)
{
	struct receiver r = { .level = 0 };
	unsigned sent = 0;

	(void)state;
	log_set_sink(receive, &r);
	next_second();
	/* However slow the machine is, at some time 21 fall into one second. */
	while (sent == r.lines && sent < 100000) {
		log_info("again");
		sent++;
	}
	assert_true(sent > 20);
	assert_int_equal(sent, r.lines + r.told_lost + 1);
	next_second();
	log_info("after");
	sent++;
	assert_string_equal(r.last, "after");
	assert_int_equal(sent, r.lines + r.told_lost);
	log_set_sink(NULL, NULL);
}

static atomic_uint heard, told;

static void receive_many(void *ctx, int level, const char *line)
{
	unsigned lost;

	(void)ctx;
	(void)level;
	if (sscanf(line, "%u messages were left out here", &lost) == 1)
		atomic_fetch_add(&told, lost);
	else
		atomic_fetch_add(&heard, 1);
}

static void *log_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < 500; i++)
		log_info("line %d", i);
	return NULL;
}

static void threads_lose_no_count(void **state)
{
	pthread_t threads[4];

	(void)state;
	log_set_sink(receive_many, NULL);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_many, NULL), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	next_second();
	log_info("last");
	assert_int_equal(atomic_load(&heard) + atomic_load(&told), 2001);
	log_set_sink(NULL, NULL);
}

static void names_are_printable(void **state)
{
	char name[300];
	struct log_name q;

	(void)state;
	assert_string_equal(QUOTE(""), "\"\"");
	assert_string_equal(QUOTE("plain name"), "\"plain name\"");
	assert_string_equal(QUOTE("a\"b\\c\x01\x7f"), "\"a\\042b\\134c\\001\\177\"");
	assert_string_equal(QUOTE("r\xc3\xa9sum\xc3\xa9"), "\"r\xc3\xa9sum\xc3\xa9\"");

	memset(name, 'n', sizeof(name));
	name[122] = '\0';
	q = log_quote(name);
	assert_int_equal(strlen(q.text), 1 + 122 + 1);
	assert_null(strstr(q.text, "..."));
	name[122] = 'n';
	name[299] = '\0';
	q = log_quote(name);
	assert_int_equal(strlen(q.text), 127);
	assert_string_equal(q.text + 123, "...\"");
}

static void names_are_cut_between_characters(void **state)
{
	char name[400];
	struct log_name q;
	size_t len;

	(void)state;
	/* Two-byte characters behind 0 and behind 1 plain byte: one of them meets the limit inside. */
	for (size_t shift = 0; shift < 2; shift++) {
		memset(name, 'n', sizeof(name));
		for (size_t i = shift; i + 1 < sizeof(name); i += 2)
			memcpy(name + i, "\xc3\xa9", 2);
		name[300 + shift] = '\0';
		q = log_quote(name);
		len = strlen(q.text);
		assert_memory_equal(q.text + len - 4, "...\"", 4);
		assert_memory_equal(q.text + len - 6, "\xc3\xa9", 2);
	}
	/* Bytes that are no text at all, behind an escaped one, stay bounded. */
	memset(name, '\x80', sizeof(name));
	name[0] = '\x01';
	name[399] = '\0';
	q = log_quote(name);
	assert_memory_equal(q.text, "\"\\001", 5);
	assert_memory_equal(q.text + strlen(q.text) - 4, "...\"", 4);
	/* An escape that does not fit is left out whole. */
	memset(name, 'n', sizeof(name));
	name[121] = '\n';
	name[122] = '\0';
	q = log_quote(name);
	assert_int_equal(strlen(q.text), 1 + 121 + 3 + 1);
}

static void errors_have_texts(void **state)
{
	(void)state;
	assert_string_equal(log_errno(-ENOSPC), "No space left on device");
	assert_string_equal(log_errno(-99999), "unknown error");
	assert_string_equal(log_errno(0), "unknown error");
	assert_string_equal(log_errno(ENOSPC), "unknown error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_arrive),
		cmocka_unit_test(bursts_are_cut),
		cmocka_unit_test(threads_lose_no_count),
		cmocka_unit_test(names_are_printable),
		cmocka_unit_test(names_are_cut_between_characters),
		cmocka_unit_test(errors_have_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
