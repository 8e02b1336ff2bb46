/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line, the workers, the report.  README.md has the options. */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "differential.h"

enum { JOBS_MAX = 8, RUNS_TOLD = 250, COMBOS = 3 * 2 * 2 * 2 * 2 * 4 * 3 * 2 };

struct options {
	const char *program, *fs, *save;
	uint64_t seed, runs;
	size_t ops;
	unsigned jobs, seconds;
	bool dump, no_shrink, pin;
	char **replay;
};

/* What a worker tells main. */
struct told {
	struct shared sh;
	uint64_t runs, failed, refused;
	bool combos[COMBOS];
};

static int usage(void)
{
	fputs("usage: lam-differential [--program P | --self] [--seed N] [--runs N] [--seconds N]\n"
	      "       [--ops N] [--jobs N] [--pin] [--fs ext4|xfs|mixed] [--save DIR] [--no-shrink]\n"
	      "       lam-differential --dump --seed N [--ops N]\n"
	      "       lam-differential [--program P] --replay FILE...\n",
	      stderr);
	return 2;
}

static bool parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "program", required_argument, NULL, 'p' },
		{ "self", no_argument, NULL, 'k' },
		{ "seed", required_argument, NULL, 's' },
		{ "runs", required_argument, NULL, 'n' },
		{ "seconds", required_argument, NULL, 't' },
		{ "ops", required_argument, NULL, 'o' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "fs", required_argument, NULL, 'f' },
		{ "save", required_argument, NULL, 'd' },
		{ "replay", no_argument, NULL, 'r' },
		{ "dump", no_argument, NULL, 'x' },
		{ "no-shrink", no_argument, NULL, 'q' },
		{ "pin", no_argument, NULL, 'c' },
		{ NULL, 0, NULL, 0 },
	};
	bool replay = false;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0)
		switch (c) {
		case 'p':
			o->program = optarg;
			break;
		case 'k':
			o->program = NULL;
			break;
		case 's':
			o->seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			o->runs = strtoull(optarg, NULL, 0);
			break;
		case 't':
			o->seconds = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'o':
			o->ops = strtoul(optarg, NULL, 0);
			break;
		case 'j':
			o->jobs = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'f':
			o->fs = optarg;
			break;
		case 'd':
			o->save = optarg;
			break;
		case 'r':
			replay = true;
			break;
		case 'x':
			o->dump = true;
			break;
		case 'q':
			o->no_shrink = true;
			break;
		case 'c':
			o->pin = true;
			break;
		default:
			return false;
		}
	if (o->program && !(o->program = realpath(o->program, NULL))) {
		perror("differential: the program");
		return false;
	}
	if (replay)
		o->replay = argv + optind;
	for (char **f = o->replay; f && *f; f++) {
		char *path = realpath(*f, NULL);

		*f = path ? path : *f; /* a run changes the directory */
	}
	if (!replay && optind < argc)
		return false;
	if (!o->runs && !o->seconds)
		o->runs = 10;
	return o->jobs >= 1 && o->jobs <= JOBS_MAX;
}

/* ---- A worker ---- */

static unsigned combo_of(const struct config *c)
{
	static const char *const fs[] = { "ext4", "xfs", "mixed" };
	static const char *const redirects[] = { "on", "follow", "nofollow", "off" };
	static const char *const xinos[] = { "off", "auto", "on" };
	unsigned n = 0;

	for (unsigned i = 0; i < 3; i++)
		n += !strcmp(c->fs, fs[i]) ? i : 0;
	n = n * 2 + c->userxattr;
	n = n * 2 + c->index;
	n = n * 2 + c->nfs_export;
	n = n * 2 + c->metacopy;
	for (unsigned i = 0, k = n * 4; i < 4; i++)
		if (!strcmp(c->redirect, redirects[i]))
			n = k + (c->userxattr ? 0 : i);
	for (unsigned i = 0, k = n * 3; i < 3; i++)
		if (!strcmp(c->xino, xinos[i]))
			n = k + i;
	return (n * 2 + c->volatile_) % COMBOS;
}

static void save(const struct options *o, const struct script *s, const struct shared *sh)
{
	char path[400], kind[80];
	FILE *f;

	(void)snprintf(kind, sizeof(kind), "%.70s", sh->kind);
	for (char *p = kind; *p; p++)
		if (*p == ' ' || *p == '/')
			*p = '-';
	(void)snprintf(path, sizeof(path), "%s/%s-%llu.txt", o->save, kind,
		       (unsigned long long)s->cfg.seed);
	f = fopen(path, "we");
	if (!f)
		return;
	for (const char *p = sh->what; *p;) {
		size_t n = strcspn(p, "\n");

		fprintf(f, "# %.*s\n", (int)n, p);
		p += n + (p[n] == '\n');
	}
	script_write(s, f);
	(void)fclose(f);
	printf("    saved as %s (%zu layer items, %zu steps)\n", path, s->layers.n, s->ops.n);
}

static bool one_run(const struct options *o, struct script *s, const struct place *p,
		    struct told *t, const char *name)
{
	bool good = run_script(s, p, &t->sh);

	t->runs++;
	t->combos[combo_of(&s->cfg)] = true;
	if (!good) {
		t->failed++;
		printf("FAIL %s step %u: %s\n", name, t->sh.next, t->sh.what);
		fflush(stdout);
		if (!o->no_shrink && !o->replay) {
			uint64_t done = t->sh.ops_done;

			s = shrink(s, p, &t->sh);
			t->sh.ops_done = done;
			printf("    shortened: %s\n", t->sh.what);
			save(o, s, &t->sh);
		}
	} else if (o->replay) {
		printf("ok %s\n", name);
	}
	fflush(stdout);
	return good;
}

/* What a step wakes is on the same processor then, and nothing has to wait for another one to wake up. */
static void pin(unsigned job)
{
	cpu_set_t all, one;
	int n;

	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		return;
	n = (int)job % CPU_COUNT(&all);
	CPU_ZERO(&one);
	for (size_t i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all) && n-- == 0)
			CPU_SET(i, &one);
	(void)sched_setaffinity(0, sizeof(one), &one); /* then it is slower */
}

static void worker(const struct options *o, const char *root, unsigned job, struct told *t)
{
	struct place p = { .program = o->program, .seconds = 30 };
	time_t end = o->seconds ? time(NULL) + o->seconds : 0;
	int e;

	(void)setsid(); /* processors may be shared by sessions: each job has its share */
	if (o->pin)
		pin(job);

	(void)snprintf(p.dir, sizeof(p.dir), "%s/%u", root, job);
	e = place_make(&p);
	if (e < 0) {
		printf("FAIL no images: %s\n", strerror(-e));
		t->failed++;
		return;
	}
	for (char **f = o->replay; f && *f; f++) {
		struct script *s = script_read(*f);

		if (s)
			(void)one_run(o, s, &p, t, *f);
		else {
			t->failed++;
			t->runs++;
		}
		script_free(s);
	}
	for (uint64_t i = job; !o->replay; i += o->jobs) {
		char name[40];
		struct script *s;

		if ((end && time(NULL) >= end) || (o->runs ? i >= o->runs : !end))
			break;
		s = generate(o->seed + i, o->ops, o->fs);
		(void)snprintf(name, sizeof(name), "seed %llu", (unsigned long long)s->cfg.seed);
		(void)one_run(o, s, &p, t, name);
		script_free(s);
		if (t->runs % RUNS_TOLD == 0) {
			printf("so far job %u: %llu operations in %llu runs, %llu failed\n", job,
			       (unsigned long long)t->sh.ops_done, (unsigned long long)t->runs,
			       (unsigned long long)t->failed);
			fflush(stdout);
		}
	}
}

/* ---- All workers ---- */

static int report(const struct told *t, unsigned jobs, bool replay)
{
	uint64_t runs = 0, ops = 0, failed = 0, fired;
	unsigned combos = 0;

	for (unsigned j = 0; j < jobs; j++) {
		runs += t[j].runs;
		ops += t[j].sh.ops_done;
		failed += t[j].failed;
	}
	for (unsigned i = 0; i < COMBOS; i++)
		for (unsigned j = 0; j < jobs; j++)
			if (t[j].combos[i]) {
				combos++;
				break;
			}
	printf("%llu operations in %llu runs, %u combinations of options\n",
	       (unsigned long long)ops, (unsigned long long)runs, combos);
	for (size_t i = 0; !replay && i < rules_count(); i++) {
		fired = 0;
		for (unsigned j = 0; j < jobs; j++)
			fired += t[j].sh.rules[i];
		printf("    %-28s %llu\n", rule_name(i), (unsigned long long)fired);
	}
	printf("%llu passed, %llu failed\n", (unsigned long long)(runs - failed),
	       (unsigned long long)failed);
	return failed || !runs ? 1 : 0;
}

static int run_all(const struct options *o, const char *root)
{
	struct told *t = mmap(NULL, sizeof(*t) * JOBS_MAX, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[JOBS_MAX];

	if (t == MAP_FAILED || mount("differential", root, "tmpfs", 0, "size=8G,mode=755") < 0) {
		perror("differential: a place in memory");
		return 1;
	}
	(void)umask(022);
	for (unsigned j = 0; j < o->jobs; j++) {
		pid[j] = fork();
		if (pid[j] == 0) {
			worker(o, root, j, &t[j]);
			exit(0);
		}
	}
	for (unsigned j = 0; j < o->jobs; j++) {
		int status = 0;

		while (waitpid(pid[j], &status, 0) < 0 && errno == EINTR)
			;
		if (status) {
			printf("FAIL a worker ended with status %d\n", status);
			t[j].failed++;
		}
	}
	return report(t, o->jobs, o->replay != NULL);
}

/* In namespaces of its own: whatever happens, no mount, server or loop device is left. */
static int sandboxed(const struct options *o)
{
	char root[] = "/tmp/lam-differential.XXXXXX";
	int status = 1;
	pid_t pid;

	if (unshare(CLONE_NEWNS | CLONE_NEWPID) < 0 || !mkdtemp(root) || chmod(root, 0755) < 0) {
		perror("differential: needs root");
		return 1;
	}
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("proc", "/proc", "proc", 0, NULL) < 0)
			_exit(1);
		exit(run_all(o, root));
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	(void)umount2(root, MNT_DETACH);
	(void)rmdir(root);
	/* Not by way of exit(): what looks for leaks there needs a process more, and the namespace for
	 * processes has ended with its first. */
	(void)fflush(NULL);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

int main(int argc, char **argv)
{
	struct options o = {
		.program = getenv("LAMINA_MOUNT"), .save = ".", .seed = 1, .ops = 1500, .jobs = 1
	};

	if (!parse(argc, argv, &o))
		return usage();
	if (o.dump) {
		struct script *s = generate(o.seed, o.ops, o.fs);

		script_write(s, stdout);
		script_free(s);
		return 0;
	}
	return sandboxed(&o);
}
