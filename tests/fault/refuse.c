// SPDX-License-Identifier: GPL-2.0-or-later
/* The hook of src/sys, and what the linker puts before the C library's functions. */
#include "refuse.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/sys.h"

#define LIVING_MOST 65536u /* a power of two */

const int refuse_errors[REFUSE_ERRORS] = { -EIO,    -ENOSPC, -EDQUOT, -EINTR,
					   -ENOMEM, -EMFILE, -ESTALE, -EACCES };

static unsigned refuse_at;
static int refuse_with;
static bool of_memory;
static atomic_uint seen;
static atomic_bool armed;
static char refused[32];

static int refuse(const char *name, bool mutates, bool after)
{
	(void)mutates;
	if (after || atomic_fetch_add(&seen, 1) + 1 != refuse_at)
		return 0;
	(void)snprintf(refused, sizeof(refused), "%s", name);
	return refuse_with;
}

static bool no_memory(const char *name)
{
	if (!atomic_load(&armed) || atomic_fetch_add(&seen, 1) + 1 != refuse_at)
		return false;
	(void)snprintf(refused, sizeof(refused), "%s", name);
	return true;
}

void refuse_arm(bool memory, unsigned n, int error)
{
	refuse_at = n;
	refuse_with = error;
	of_memory = memory;
	refused[0] = '\0';
	atomic_store(&seen, 0);
	atomic_store(&armed, memory);
	sys_fault_hook = memory ? NULL : refuse;
}

bool refuse_disarm(void)
{
	atomic_store(&armed, false);
	sys_fault_hook = NULL;
	return atomic_load(&seen) >= refuse_at;
}

const char *refuse_what(void)
{
	static char what[128];

	(void)snprintf(what, sizeof(what), "%s %u (%s) refused%s%s",
		       of_memory ? "allocation" : "call", refuse_at, refused,
		       of_memory ? "" : " with ", of_memory ? "" : strerror(-refuse_with));
	return what;
}

/* ---- What lives ---- */

struct living {
	uintptr_t at; /* 0: free */
	size_t size;
	const void *maker;
};

/* Open addressing; what is removed moves its followers back. */
static struct living living[LIVING_MOST];
static size_t n_living;
static pthread_mutex_t living_lock = PTHREAD_MUTEX_INITIALIZER;

static size_t home_of(uintptr_t at)
{
	return (size_t)((at >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 40) & (LIVING_MOST - 1);
}

static size_t place_of(uintptr_t at)
{
	size_t i = home_of(at);

	while (living[i].at != 0 && living[i].at != at)
		i = (i + 1) & (LIVING_MOST - 1);
	return i;
}

static void *born(void *p, size_t size, const void *maker)
{
	if (!p)
		return NULL;
	pthread_mutex_lock(&living_lock);
	if (n_living < LIVING_MOST / 2) {
		living[place_of((uintptr_t)p)] =
			(struct living){ .at = (uintptr_t)p, .size = size, .maker = maker };
		n_living++;
	}
	pthread_mutex_unlock(&living_lock);
	return p;
}

/* What the C library has made by itself is not there. */
static void dead(uintptr_t at)
{
	size_t hole, i;

	if (!at)
		return;
	pthread_mutex_lock(&living_lock);
	hole = place_of(at);
	if (living[hole].at == at) {
		n_living--;
		for (i = (hole + 1) & (LIVING_MOST - 1); living[i].at != 0;
		     i = (i + 1) & (LIVING_MOST - 1)) {
			if (((i - home_of(living[i].at)) & (LIVING_MOST - 1)) <
			    ((i - hole) & (LIVING_MOST - 1)))
				continue;
			living[hole] = living[i];
			hole = i;
		}
		living[hole] = (struct living){ 0 };
	}
	pthread_mutex_unlock(&living_lock);
}

void refuse_mark(void)
{
	pthread_mutex_lock(&living_lock);
	memset(living, 0, sizeof(living));
	n_living = 0;
	pthread_mutex_unlock(&living_lock);
}

const char *refuse_left(void)
{
	/* So that a place can be looked up in the program, wherever it is loaded. */
	const uintptr_t base = (uintptr_t)refuse_arm;
	static char what[128];
	const char *ret = NULL;

	pthread_mutex_lock(&living_lock);
	for (size_t i = 0; i < LIVING_MOST && !ret && n_living > 0; i++) {
		if (!living[i].at)
			continue;
		(void)snprintf(what, sizeof(what),
			       "%zu allocations are left, one of %zu bytes, made at refuse_arm%+td",
			       n_living, living[i].size,
			       (intptr_t)living[i].maker - (intptr_t)base);
		ret = what;
	}
	pthread_mutex_unlock(&living_lock);
	return ret;
}

/* ---- Before the C library's ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
void __wrap_free(void *p);

#define MAKER __builtin_return_address(0)

void *__wrap_malloc(size_t size)
{
	return no_memory("malloc") ? NULL : born(__real_malloc(size), size, MAKER);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return no_memory("calloc") ? NULL : born(__real_calloc(n, size), n * size, MAKER);
}

void *__wrap_realloc(void *p, size_t size)
{
	return __wrap_reallocarray(p, 1, size);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	if (no_memory("reallocarray"))
		return NULL;
	dead((uintptr_t)p); /* before another thread has it */
	return born(__real_reallocarray(p, n, size), n * size, MAKER);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return no_memory("aligned_alloc") ? NULL
					  : born(__real_aligned_alloc(align, size), size, MAKER);
}

char *__wrap_strdup(const char *s)
{
	return no_memory("strdup") ? NULL : born(__real_strdup(s), strlen(s) + 1, MAKER);
}

char *__wrap_strndup(const char *s, size_t n)
{
	return no_memory("strndup") ? NULL : born(__real_strndup(s, n), n, MAKER);
}

void __wrap_free(void *p)
{
	dead((uintptr_t)p);
	__real_free(p);
}
