/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One run of a script: layers built twice, mounted by the kernel and by Lamina, the steps handed to
 * the actors, trees and layers compared, all of it removed again.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "differential.h"

struct session {
	struct run run;
	pid_t actor[ACTORS];
	uint64_t lower[2];
};

static void add_log(struct run *run, const struct side *s)
{
	char path[80], text[1200];
	size_t used = strlen(run->sh->what);
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/log%u", s->base, s->number);
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	n = read(fd, text, sizeof(text) - 1);
	if (n > 0)
		(void)snprintf(run->sh->what + used, sizeof(run->sh->what) - used,
			       "\n    log: %.*s", (int)n, text);
}

/* A symlink that was moved to the root of the mount may have led to files beside the mount. */
static void clean_beside(const struct place *p, unsigned side)
{
	static const char *const names[] = { "b", "d" };
	char path[80];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/m%u/%s", p->dir, side, names[i]);
		(void)unlink(path);
	}
}

static void clean(const struct place *p)
{
	static const char *const fs[] = { "ext4", "xfs" };
	char path[80];

	for (unsigned i = 0; i < 2; i++) {
		for (unsigned k = 0; k < 2; k++) {
			(void)snprintf(path, sizeof(path), "%s/%s/%u", p->dir, fs[k], i);
			tree_remove(path);
		}
		(void)snprintf(path, sizeof(path), "%s/log%u", p->dir, i);
		(void)unlink(path);
		clean_beside(p, i);
	}
}

/* ---- Actors ---- */

static bool start_actors(struct session *ss)
{
	for (unsigned i = 0; i < ACTORS; i++) {
		ss->actor[i] = fork();
		if (ss->actor[i] == 0) {
			ss->run.actor = i;
			actor_main(&ss->run);
		}
		if (ss->actor[i] < 0)
			return false;
	}
	return true;
}

static void stop_actors(struct session *ss)
{
	for (unsigned i = 0; i < ACTORS; i++)
		if (ss->actor[i] > 0) {
			(void)kill(ss->actor[i], SIGKILL);
			(void)waitpid(ss->actor[i], NULL, 0);
			ss->actor[i] = 0;
		}
}

/* Give an actor its turn; a step that does not end is a failure of its own. */
static bool turn_of(struct session *ss, unsigned actor)
{
	struct shared *sh = ss->run.sh;

	turn_give(sh, actor + 1);
	if (turn_wait(sh, 0, ss->run.place->seconds))
		return !sh->failed;
	if (waitpid(ss->actor[actor], NULL, WNOHANG) == ss->actor[actor]) {
		ss->actor[actor] = 0;
		run_fail(&ss->run, "actor", "the actor of step %u died", sh->next);
	} else {
		run_fail(&ss->run, "hang", "step %u did not end in %u seconds", sh->next,
			 ss->run.place->seconds);
	}
	return false;
}

static bool all_let_go(struct session *ss)
{
	bool good = true;

	ss->run.sh->closing = true;
	for (unsigned i = 0; i < ACTORS && good; i++)
		good = turn_of(ss, i);
	ss->run.sh->closing = false;
	return good;
}

/* ---- Mounts ---- */

static void init_sides(struct run *run)
{
	for (unsigned i = 0; i < 2; i++) {
		struct side *s = &run->side[i];

		*s = (struct side){ .number = i, .root = -1, .cwd = -1 };
		for (int k = 0; k < SLOTS; k++)
			s->fd[k] = -1;
		(void)snprintf(s->base, sizeof(s->base), "%s", run->place->dir);
		(void)snprintf(s->mnt, sizeof(s->mnt), "%s/m%u/m", run->place->dir, i);
	}
}

/* 1 mounted, 0 both refused, -1 failed. */
static int mount_both(struct run *run)
{
	int e[2];

	for (unsigned i = 0; i < 2; i++) {
		run->side[i].kernel = run->sh->kernel[i];
		e[i] = side_mount(run, &run->side[i]);
	}
	run->sh->mounted++;
	if (e[0] == 0 && e[1] == 0)
		return 1;
	if (e[0] < 0 && e[1] < 0)
		return 0;
	run_fail(run, "mount", "mount: side 0 (%s) %s, side 1 (%s) %s",
		 run->side[0].kernel ? "kernel" : "lamina", strerror(-e[0]),
		 run->side[1].kernel ? "kernel" : "lamina", strerror(-e[1]));
	return -1;
}

static bool unmount_both(struct session *ss)
{
	struct run *run = &ss->run;

	for (unsigned i = 0; i < 2; i++) {
		int e = side_unmount(run, &run->side[i]);

		if (e < 0) {
			run_fail(run, "unmount", "unmount of side %u (%s): %s", i,
				 run->side[i].kernel ? "kernel" : "lamina", strerror(-e));
			return false;
		}
	}
	for (unsigned i = 0; i < 2; i++)
		if (lower_print(run, &run->side[i]) != ss->lower[i]) {
			run_fail(run, "lower", "a lower layer of side %u was written", i);
			return false;
		}
	return upper_compare(run);
}

static bool remount(struct session *ss, bool swap)
{
	struct shared *sh = ss->run.sh;

	if (!tree_settle(&ss->run) || !all_let_go(ss) || !unmount_both(ss))
		return false;
	memset(sh->seen, 0, sizeof(sh->seen));
	sh->remounts++;
	if (swap && ss->run.place->program) {
		sh->kernel[0] = !sh->kernel[0];
		sh->kernel[1] = !sh->kernel[1];
		sh->swaps++;
	}
	switch (mount_both(&ss->run)) {
	case 1:
		return tree_compare(&ss->run);
	case 0: /* both refuse what the other left, and equally: there is nothing more to do */
		sh->over = true;
		return true;
	default:
		return false;
	}
}

/* Names that nobody uses are forgotten by whatever is mounted again. */
static void forget_names(const char *dir)
{
	(void)mount(NULL, dir, NULL, MS_REMOUNT | MS_NOATIME, NULL); /* or they stay */
}

/* The caches of the two mounts and of the layers under them; those of the whole MACHINE, inodes as well, are
 * many, and others want them. */
static void drop_caches(struct run *run, bool machine)
{
	static const char *const fs[] = { "ext4", "xfs" };
	CLEANUP_CLOSE int fd = -1;
	char path[80];

	for (unsigned i = 0; i < 2; i++)
		forget_names(run->side[i].mnt);
	for (unsigned i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", run->place->dir, fs[i]);
		forget_names(path);
	}
	if (machine)
		fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)!write(fd, "2", 1);
	run->sh->remounts++;
}

/* ---- All steps ---- */

static bool all_steps(struct session *ss)
{
	const struct oplist *ops = &ss->run.script->ops;
	struct shared *sh = ss->run.sh;
	bool good = true;

	for (sh->next = 0; good && !sh->over && sh->next < ops->n;) {
		const struct op *op = &ops->v[sh->next];
		uint32_t last = sh->next;

		if (op->code == OP_CHECK || op->code == OP_REMOUNT || op->code == OP_DROP) {
			if (op->code == OP_CHECK)
				good = tree_compare(&ss->run);
			else if (op->code == OP_REMOUNT)
				good = remount(ss, op->a != 0);
			else
				drop_caches(&ss->run, op->a != 0);
			sh->next += good;
			continue;
		}
		while (last < ops->n && ops->v[last].actor == op->actor &&
		       ops->v[last].code < OP_CHECK)
			last++;
		sh->last = last;
		good = turn_of(ss, op->actor);
	}
	if (!good || sh->over)
		return good;
	return tree_settle(&ss->run) && all_let_go(ss) && unmount_both(ss);
}

static bool session_run(struct session *ss)
{
	struct run *run = &ss->run;
	int r;

	for (unsigned i = 0; i < 2; i++) {
		int e = layers_build(run, &run->side[i]);

		if (e < 0) {
			run_fail(run, "layers", "layers of side %u: %s", i, strerror(-e));
			return false;
		}
		ss->lower[i] = lower_print(run, &run->side[i]);
	}
	r = mount_both(run);
	if (r <= 0)
		return r == 0;
	if (!start_actors(ss)) {
		run_fail(run, "fork", "no actors: %s", strerror(errno));
		return false;
	}
	return tree_compare(run) && all_steps(ss);
}

bool run_script(const struct script *s, const struct place *p, struct shared *sh)
{
	static struct rec rec[2];
	struct session ss = { .run = { .script = s, .place = p, .sh = sh } };
	struct timespec now;
	bool good;

	clean(p);
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	sh->start_ns = (now.tv_sec - 1) * 1000000000;
	sh->n_opened = sh->n_mapped = 0;
	sh->n_refused = 0;
	sh->remounts = sh->swaps = 0;
	sh->reclaims = cache_reclaims();
	sh->failed = sh->closing = sh->over = sh->odd_change = sh->refused_name = false;
	sh->turn = 0;
	sh->what[0] = sh->kind[0] = 0;
	sh->kernel[0] = true;
	sh->kernel[1] = !p->program;
	memset(sh->seen, 0, sizeof(sh->seen));
	memset(sh->maps, 0, sizeof(sh->maps));
	ss.run.rec[0] = &rec[0];
	ss.run.rec[1] = &rec[1];
	init_sides(&ss.run);
	good = session_run(&ss);
	if (sh->failed) {
		good = false;
		for (unsigned i = 0; i < 2; i++)
			add_log(&ss.run, &ss.run.side[i]);
	}
	/* a server that hangs must go first: it may hold an actor */
	for (unsigned i = 0; i < 2 && !good; i++)
		if (ss.run.side[i].server > 0)
			side_abort(&ss.run.side[i]);
	stop_actors(&ss);
	if (chdir("/") < 0)
		good = false;
	for (unsigned i = 0; i < 2; i++)
		side_abort(&ss.run.side[i]);
	clean(p);
	return good;
}
