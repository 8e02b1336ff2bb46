/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client side of the comparison of NFS servers: one workload over libnfs, on so many connections at
 * once, for so long.  Prints the operations per second and the microseconds of one operation.
 *
 * usage: nfs_load URL WORKLOAD CONNECTIONS SECONDS
 * URL: of a directory that has "dir/file" (with something in it) and "big" (64 MiB), and is writable.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#include <nfsc/libnfs.h> /* needs what is above */

#define MIB (1u << 20)
#define BIG_BLOCKS 64u
#define CONNECTIONS_MAX 64u

struct connection {
	struct nfs_context *nfs;
	struct nfsfh *big;
	unsigned number;
	unsigned long done;
	bool failed;
	pthread_t thread;
	char *buf;
};

struct workload {
	const char *name;
	int (*step)(struct connection *c);
	bool big; /* works on a big file of its own, which stays open */
};

static atomic_bool stop;
static pthread_barrier_t start;
static const struct workload *workload;

static int step_stat(struct connection *c)
{
	struct nfs_stat_64 st;

	return nfs_stat64(c->nfs, "/dir/file", &st);
}

static int step_getattr(struct connection *c)
{
	struct nfs_stat_64 st;

	return nfs_fstat64(c->nfs, c->big, &st);
}

/* A new name each time, as a program that unpacks an archive does. */
static int step_create(struct connection *c)
{
	struct nfsfh *fh;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/dir/new-%u-%lu", c->number, c->done);
	r = nfs_creat(c->nfs, path, 0644, &fh);
	if (r < 0)
		return r;
	r = nfs_write(c->nfs, fh, 4096, c->buf);
	if (nfs_close(c->nfs, fh) < 0 && r >= 0)
		r = -1;
	return r < 0 ? r : 0;
}

static int step_read(struct connection *c)
{
	const uint64_t at = c->done % BIG_BLOCKS * MIB;

	return nfs_pread(c->nfs, c->big, at, MIB, c->buf) == (int)MIB ? 0 : -1;
}

static int step_write(struct connection *c)
{
	const uint64_t at = c->done % BIG_BLOCKS * MIB;

	return nfs_pwrite(c->nfs, c->big, at, MIB, c->buf) == (int)MIB ? 0 : -1;
}

static const struct workload workloads[] = {
	{ "stat", step_stat, false },	  { "getattr", step_getattr, true },
	{ "create", step_create, false }, { "read", step_read, true },
	{ "write", step_write, true },
};

static int connect_to(struct connection *c, const char *text)
{
	struct nfs_url *url;
	char path[32];
	int r;

	c->nfs = nfs_init_context();
	c->buf = calloc(1, MIB);
	if (!c->nfs || !c->buf)
		return -1;
	url = nfs_parse_url_dir(c->nfs, text);
	if (!url)
		return -1;
	r = nfs_mount(c->nfs, url->server, url->path);
	nfs_destroy_url(url);
	if (r < 0 || !workload->big)
		return r;
	/* Writers have a file each; all read the same one. */
	snprintf(path, sizeof(path), workload->step == step_write ? "/own-%u" : "/big", c->number);
	r = workload->step == step_write ? nfs_creat(c->nfs, path, 0644, &c->big)
					 : nfs_open(c->nfs, path, O_RDONLY, &c->big);
	return r;
}

static void *run(void *arg)
{
	struct connection *c = arg;

	(void)pthread_barrier_wait(&start);
	while (!atomic_load_explicit(&stop, memory_order_relaxed) && !c->failed) {
		c->failed = workload->step(c) < 0;
		c->done++;
	}
	return NULL;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void nap(double seconds)
{
	struct timespec ts = { .tv_sec = (time_t)seconds };

	ts.tv_nsec = (long)((seconds - (double)ts.tv_sec) * 1e9);
	nanosleep(&ts, NULL);
}

static int measure(struct connection *conns, unsigned n, double seconds)
{
	unsigned long done = 0;
	double begin, end;

	pthread_barrier_init(&start, NULL, n + 1);
	for (unsigned i = 0; i < n; i++) {
		if (pthread_create(&conns[i].thread, NULL, run, &conns[i]) != 0)
			return 1;
	}
	(void)pthread_barrier_wait(&start);
	begin = now();
	nap(seconds);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < n; i++) {
		pthread_join(conns[i].thread, NULL);
		done += conns[i].done;
		if (conns[i].failed) {
			fprintf(stderr, "%s\n", nfs_get_error(conns[i].nfs));
			return 1;
		}
	}
	end = now();
	printf("%.1f %.3f\n", (double)done / (end - begin), (end - begin) * 1e6 * n / (double)done);
	return 0;
}

int main(int argc, char **argv)
{
	static struct connection conns[CONNECTIONS_MAX];
	unsigned n = argc == 5 ? (unsigned)atoi(argv[3]) : 0;
	int r;

	for (size_t i = 0; n > 0 && i < sizeof(workloads) / sizeof(workloads[0]); i++) {
		if (!strcmp(argv[2], workloads[i].name))
			workload = &workloads[i];
	}
	if (!workload || n > CONNECTIONS_MAX) {
		fprintf(stderr,
			"usage: %s URL stat|getattr|create|read|write CONNECTIONS SECONDS\n",
			argv[0]);
		return 2;
	}
	for (unsigned i = 0; i < n; i++) {
		conns[i].number = i;
		if (connect_to(&conns[i], argv[1]) < 0) {
			fprintf(stderr, "%s: %s\n", argv[1], nfs_get_error(conns[i].nfs));
			return 1;
		}
	}
	r = measure(conns, n, atof(argv[4]));
	for (unsigned i = 0; i < n; i++) {
		if (conns[i].big)
			(void)nfs_close(conns[i].nfs, conns[i].big);
		nfs_destroy_context(conns[i].nfs);
		free(conns[i].buf);
	}
	return r;
}
