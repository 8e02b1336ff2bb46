/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The shared memory that outlives a worker: made, attached to, and the records of requests in it. */
#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hash.h"

#define PROBES 16u
#define EVICTING 1u /* the kernel's numbers are even */

_Static_assert(sizeof(struct state_intent) == 64, "one cache line each");

int state_create(struct state *ret, size_t n_dirs, const char *version)
{
	CLEANUP_CLOSE int fd = memfd_create("lamina-state", MFD_CLOEXEC);
	size_t size = sizeof(struct state_memory) + n_dirs * sizeof(int32_t);
	struct state_memory *mem;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0)
		return -errno;
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		return -errno;
	mem->magic = STATE_MAGIC;
	mem->layout = STATE_LAYOUT;
	mem->size = size;
	mem->n_dirs = (uint32_t)n_dirs;
	(void)snprintf(mem->version, sizeof(mem->version), "%s", version);
	for (size_t i = 0; i < n_dirs; i++)
		mem->dirs[i] = -1;
	*ret = (struct state){ .mem = mem, .fd = TAKE_FD(fd) };
	return 0;
}

int state_attach(struct state *ret, int fd)
{
	struct state_memory *mem;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < (off_t)sizeof(*mem))
		return -EPROTO;
	mem = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		return -errno;
	if (mem->magic != STATE_MAGIC || mem->layout != STATE_LAYOUT ||
	    mem->size != (uint64_t)st.st_size ||
	    mem->size != sizeof(*mem) + mem->n_dirs * sizeof(int32_t)) {
		(void)munmap(mem, (size_t)st.st_size); /* it was mapped like this */
		return -EPROTO;
	}
	*ret = (struct state){ .mem = mem, .fd = fd };
	return 0;
}

int state_kept(const struct state *s, enum state_fd kind, uint32_t index)
{
	uint32_t n = s->mem ? atomic_load(&s->mem->n_kept) : 0;

	for (uint32_t i = 0; i < n && i < STATE_KEPT; i++) {
		const struct state_kept *k = &s->mem->kept[i];

		if (k->kind == (uint32_t)kind && k->index == index)
			return k->fd;
	}
	return -1;
}

static size_t home_of(uint64_t unique)
{
	return (size_t)hash_u64(unique) % STATE_INTENTS;
}

struct state_intent *intent_find(struct state *s, uint64_t unique)
{
	for (size_t i = 0; i < PROBES; i++) {
		struct state_intent *in = &s->mem->intents[(home_of(unique) + i) % STATE_INTENTS];

		if (atomic_load_explicit(&in->unique, memory_order_acquire) == unique) {
			atomic_store(&in->generation, atomic_load(&s->mem->generation));
			return in;
		}
	}
	return NULL;
}

/*
 * A worker that ended between its answer and the release of the record leaves that behind; the kernel
 * does not ask again.  The oldest of these makes way where there is no free place.
 */
static struct state_intent *evict(struct state *s, uint64_t unique)
{
	uint32_t generation = atomic_load(&s->mem->generation);
	struct state_intent *oldest = NULL;
	uint64_t lowest = UINT64_MAX;

	for (size_t i = 0; i < PROBES; i++) {
		struct state_intent *in = &s->mem->intents[(home_of(unique) + i) % STATE_INTENTS];
		uint64_t u = atomic_load(&in->unique);

		if (u != 0 && u < lowest && atomic_load(&in->generation) != generation) {
			lowest = u;
			oldest = in;
		}
	}
	/* By way of a number that no request has: the old record must not be taken for one of UNIQUE. */
	if (!oldest || !atomic_compare_exchange_strong(&oldest->unique, &lowest, EVICTING))
		return NULL;
	atomic_store(&oldest->phase, INTENT_FREE);
	atomic_store(&oldest->unique, unique);
	return oldest;
}

struct state_intent *intent_take(struct state *s, uint64_t unique, uint32_t opcode)
{
	struct state_intent *in = NULL;

	for (size_t i = 0; i < PROBES && !in; i++) {
		uint64_t none = 0;

		in = &s->mem->intents[(home_of(unique) + i) % STATE_INTENTS];
		if (atomic_load_explicit(&in->unique, memory_order_relaxed) != 0 ||
		    !atomic_compare_exchange_strong(&in->unique, &none, unique))
			in = NULL;
	}
	if (!in)
		in = evict(s, unique);
	if (!in)
		return NULL;
	/* Until intent_begin() it says: nothing has happened. */
	atomic_store_explicit(&in->phase, INTENT_FREE, memory_order_relaxed);
	atomic_store_explicit(&in->generation, atomic_load(&s->mem->generation),
			      memory_order_relaxed);
	atomic_store_explicit(&in->count_phase, INTENT_FREE, memory_order_relaxed);
	in->opcode = opcode;
	in->result = 0;
	in->id = in->prior[0] = in->prior[1] = 0;
	return in;
}

void intent_begin(struct state_intent *in)
{
	atomic_store_explicit(&in->phase, INTENT_BEGUN, memory_order_release);
}

void intent_done(struct state_intent *in, int result, uint64_t id)
{
	in->result = result;
	in->id = id;
	atomic_store_explicit(&in->phase, INTENT_DONE, memory_order_release);
}

void intent_free(struct state_intent *in)
{
	atomic_store_explicit(&in->phase, INTENT_FREE, memory_order_release);
	atomic_store_explicit(&in->unique, 0, memory_order_release);
}
