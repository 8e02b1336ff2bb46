/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mutex: one word, of which the kernel hears only when somebody has to wait.
 *
 * 0 is free, 1 is held, 2 is held with (perhaps) somebody waiting.  Taking it is an acquire, giving
 * it back a release, both C11 atomics, so that ThreadSanitizer sees the order it makes.
 *
 * The functions that take and give are opaque to the compiler's analysis between functions: gcc 12
 * takes them, whose system call it knows to call nothing back, for unable to let another thread at
 * a static variable, and would keep such a variable in a register from before the lock.
 *
 * With LAMINA_LOCK_RANKS each thread keeps a list of what it holds; see rank_taken().
 */
#include "base/mutex.h"

#include "base/check.h"

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__has_attribute) && __has_attribute(noipa)
#define OPAQUE __attribute__((noipa))
#else
#define OPAQUE __attribute__((noinline))
#endif

enum { WORD_FREE = 0, WORD_HELD = 1, WORD_WAITED = 2 };

/* Sleep while *WORD is VALUE.  Comes back early for any reason: callers look again. */
static void futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *timeout)
{
	int saved = errno;

	/* EAGAIN, EINTR and ETIMEDOUT all mean: look again. */
	(void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout, NULL, 0);
	errno = saved;
}

static void futex_wake(_Atomic uint32_t *word, int how_many)
{
	int saved = errno;

	/* The word may be gone by now, with the last user of what it is in: EFAULT is no harm. */
	(void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, how_many, NULL, NULL, 0);
	errno = saved;
}

#ifdef LAMINA_LOCK_RANKS

#define HELD_MAX 16u

static _Thread_local struct {
	const struct mutex *mutex[HELD_MAX];
	unsigned n;
} held;

/* Whether the order allows to take M now: above all that is held, or, as the SECOND, beside it. */
static void rank_check(const struct mutex *m, bool second)
{
	for (unsigned i = 0; i < held.n; i++) {
		CHECK(held.mutex[i] != m);
		CHECK(held.mutex[i]->rank < m->rank || (second && held.mutex[i]->rank == m->rank));
	}
}

static void rank_taken(const struct mutex *m)
{
	CHECK(m->rank >= RANK_FRONT && m->rank <= RANK_LEAF);
	CHECK(held.n < HELD_MAX);
	held.mutex[held.n++] = m;
}

/* Giving back is allowed in any order. */
static void rank_given(const struct mutex *m)
{
	unsigned i = held.n;

	while (i > 0 && held.mutex[i - 1] != m)
		i--;
	CHECK(i > 0);
	for (; i < held.n; i++)
		held.mutex[i - 1] = held.mutex[i];
	held.n--;
}

#else

static inline void rank_check(const struct mutex *m, bool second)
{
	(void)m;
	(void)second;
}

static inline void rank_taken(const struct mutex *m)
{
	(void)m;
}

static inline void rank_given(const struct mutex *m)
{
	(void)m;
}

#endif

void mutex_init(struct mutex *m, enum mutex_rank rank)
{
	atomic_init(&m->word, WORD_FREE);
	m->rank = (uint32_t)rank;
}

static bool word_take(struct mutex *m)
{
	uint32_t expected = WORD_FREE;

	return atomic_compare_exchange_strong_explicit(&m->word, &expected, WORD_HELD,
						       memory_order_acquire, memory_order_relaxed);
}

OPAQUE static void lock_checked(struct mutex *m, bool second)
{
	rank_check(m, second);
	if (!word_take(m)) {
		/* Whoever had to wait takes it as "waited for": others may wait beside it. */
		while (atomic_exchange_explicit(&m->word, WORD_WAITED, memory_order_acquire) !=
		       WORD_FREE)
			futex_wait(&m->word, WORD_WAITED, NULL);
	}
	rank_taken(m);
}

OPAQUE void mutex_lock(struct mutex *m)
{
	lock_checked(m, false);
}

OPAQUE void mutex_lock_second(struct mutex *m)
{
	lock_checked(m, true);
}

/* Does not wait, so cannot deadlock: any order will do. */
OPAQUE bool mutex_trylock(struct mutex *m)
{
	if (!word_take(m))
		return false;
	rank_taken(m);
	return true;
}

OPAQUE void mutex_unlock(struct mutex *m)
{
	uint32_t old;

	rank_given(m);
	old = atomic_exchange_explicit(&m->word, WORD_FREE, memory_order_release);
	CHECK(old != WORD_FREE);
	if (old == WORD_WAITED)
		futex_wake(&m->word, 1);
}

bool mutex_is_locked(const struct mutex *m)
{
	return atomic_load_explicit(&m->word, memory_order_relaxed) != WORD_FREE;
}

/*
 * The condition's number is odd while somebody may wait for it.  Waiters make it odd with the
 * mutex held, and a broadcaster has changed what they wait for with the mutex held, so it sees
 * them; a broadcast that nobody waits for is one load.
 */
OPAQUE static void wait_until(struct cond *c, struct mutex *m, const struct timespec *timeout)
{
	uint32_t seq = atomic_fetch_or_explicit(&c->seq, 1u, memory_order_relaxed) | 1u;

	mutex_unlock(m);
	futex_wait(&c->seq, seq, timeout);
	/* It may be the second of its rank; it was taken in a good order before. */
	lock_checked(m, true);
}

void cond_wait(struct cond *c, struct mutex *m)
{
	wait_until(c, m, NULL);
}

void cond_wait_for(struct cond *c, struct mutex *m, unsigned timeout_ms)
{
	struct timespec timeout = {
		.tv_sec = (time_t)(timeout_ms / 1000u),
		.tv_nsec = (long)(timeout_ms % 1000u) * 1000000L,
	};

	wait_until(c, m, &timeout);
}

void cond_broadcast(struct cond *c)
{
	uint32_t seq = atomic_load_explicit(&c->seq, memory_order_relaxed);

	while (seq & 1u) {
		if (atomic_compare_exchange_weak_explicit(
			    &c->seq, &seq, seq + 1u, memory_order_relaxed, memory_order_relaxed)) {
			futex_wake(&c->seq, INT32_MAX);
			return;
		}
	}
}
