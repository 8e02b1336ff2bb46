/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What identity costs, inside one process and without FUSE: a first walk with attributes, with and without
 * asking the filesystem for handles (interleaved), the memory of a node, and the decoding of an id that was
 * never seen (its inode warm in the kernel).
 *
 * usage: bench-identity LOWER UPPER WORK [ROUNDS]
 * UPPER and WORK are emptied by nobody: give fresh ones on the filesystem to be measured.
 */
#include <lamina/lamina.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "sys/sys.h"

struct ids {
	uint64_t *id;
	size_t n, cap;
};

struct walk {
	struct ids all, dirs;
	bool failed;
};

static void push(struct walk *w, struct ids *ids, uint64_t id)
{
	if (ids->n == ids->cap) {
		size_t cap = ids->cap ? ids->cap * 2 : 1024;
		uint64_t *p = realloc(ids->id, cap * sizeof(*p));

		if (!p) {
			w->failed = true;
			return;
		}
		ids->id = p;
		ids->cap = cap;
	}
	ids->id[ids->n++] = id;
}

static bool emit(void *ctx, const struct lam_dirent *de)
{
	struct walk *w = ctx;

	if (!de->entry)
		return true;
	push(w, &w->all, de->entry->id);
	if (S_ISDIR(de->type))
		push(w, &w->dirs, de->entry->id);
	return !w->failed;
}

static double now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int walk_all(struct lam_stack *s, struct walk *w)
{
	static const struct lam_call call = { .cred = { .uid = 0 } };

	push(w, &w->dirs, LAM_ROOT_ID);
	for (size_t i = 0; i < w->dirs.n && !w->failed; i++) {
		int r = lam_readdir(s, &call, w->dirs.id[i], 0, LAM_LIST_PLUS, emit, w);

		if (r < 0)
			return r;
	}
	return w->failed ? -1 : 0;
}

static void die(const char *what, int r)
{
	(void)fprintf(stderr, "bench-identity: %s: %s\n", what, strerror(-r));
	exit(1);
}

static struct lam_stack *open_stack(char **argv)
{
	const char *lower[] = { argv[1] };
	const struct lam_config config = {
		.lower = lower, .n_lower = 1, .upper = argv[2], .work = argv[3]
	};
	struct lam_stack *s;
	int r = lam_stack_open(&config, &s);

	if (r < 0)
		die("open", r);
	return s;
}

static double first_walk(char **argv, bool handles, size_t *ret_n, double *ret_bytes)
{
	struct lam_stack *s;
	struct walk w = { 0 };
	struct lam_stats st;
	double t;
	int r;

	s = open_stack(argv);
	if (!handles)
		sys_disable("name_to_handle");
	t = now();
	r = walk_all(s, &w);
	t = now() - t;
	sys_enable_all();
	if (r < 0)
		die("walk", r);
	lam_stack_stats(s, &st);
	*ret_n = w.all.n;
	*ret_bytes = (double)st.node_bytes / (double)st.nodes;
	free(w.all.id);
	free(w.dirs.id);
	lam_stack_close(s);
	return t;
}

/* Microseconds an id, of up to 20,000 spread over the tree. */
static double cold_decode(char **argv, size_t *ret_n)
{
	static const struct lam_call call = { .cred = { .uid = 0 } };
	struct lam_stack *s = open_stack(argv);
	struct lam_entry e;
	struct walk w = { 0 };
	size_t step, n = 0;
	double t;
	int r = walk_all(s, &w);

	if (r < 0)
		die("walk", r);
	for (size_t i = w.all.n; i-- > 0;) /* children before their parents */
		lam_forget(s, w.all.id[i]);
	step = w.all.n / 20000 + 1;
	r = lam_resolve(s, &call, w.all.id[0], &e); /* makes what is made once */
	if (r < 0)
		die("resolve", r);
	t = now();
	for (size_t i = 1; i < w.all.n; i += step, n++) {
		r = lam_resolve(s, &call, w.all.id[i], &e);
		if (r < 0)
			die("resolve", r);
	}
	t = now() - t;
	free(w.all.id);
	free(w.dirs.id);
	lam_stack_close(s);
	*ret_n = n;
	return t / (double)n * 1e6;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 4 ? (unsigned)atoi(argv[4]) : 7;
	double *ratio, with = 0, without = 0, bytes = 0, skip = 0, us;
	size_t n = 0, decoded;

	if (argc < 4 || rounds < 1 || rounds > 1000) {
		(void)fprintf(stderr, "usage: bench-identity LOWER UPPER WORK [ROUNDS]\n");
		return 2;
	}
	ratio = calloc(rounds, sizeof(*ratio));
	if (!ratio)
		die("memory", -12);
	(void)first_walk(argv, true, &n, &bytes); /* warms the kernel's caches */
	for (unsigned i = 0; i < rounds; i++) {
		with = first_walk(argv, true, &n, &bytes);
		without = first_walk(argv, false, &n, &skip);
		ratio[i] = with / without;
	}
	qsort(ratio, rounds, sizeof(*ratio), by_size);
	us = cold_decode(argv, &decoded);
	(void)printf("objects                     %zu\n", n);
	(void)printf("first walk, with/without    %.2f (%.2f to %.2f, %u rounds)\n",
		     ratio[rounds / 2], ratio[0], ratio[rounds - 1], rounds);
	(void)printf("bytes a node (struct)       %.0f\n", bytes);
	(void)printf("cold decode                 %.1f us (%zu ids)\n", us, decoded);
	free(ratio);
	return 0;
}
