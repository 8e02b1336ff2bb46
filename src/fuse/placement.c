/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Following one client: looked at after FIRST requests in a row, and then after every AGAIN. */
#include "placement.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define FIRST 32u
#define AGAIN 256u
#define STAT_CPU 39 /* field of proc_pid_stat(5): the CPU last run on */

void placement_init(struct placement *p)
{
	*p = (struct placement){ .cpu = -1 };
	/* More CPUs than the set has room for: no following. */
	p->known = sched_getaffinity(0, sizeof(p->home), &p->home) == 0 && CPU_COUNT(&p->home) > 1;
}

int placement_cpu_of(uint32_t pid)
{
	char path[64], text[1024], *at;
	int fd CLEANUP_CLOSE = -1;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%u/stat", pid); /* it fits */
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	at = strrchr(text, ')'); /* field 2 is the program's name, which may hold anything */
	for (int field = 2; at && field < STAT_CPU; field++)
		at = strchr(at + 1, ' ');
	return at ? atoi(at) : -1;
}

static void bind_to(struct placement *p, int cpu)
{
	cpu_set_t set;

	if (cpu < 0 || cpu >= CPU_SETSIZE || !CPU_ISSET((size_t)cpu, &p->home)) {
		placement_release(p);
		return;
	}
	if (cpu == p->cpu)
		return;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	p->cpu = sched_setaffinity(0, sizeof(set), &set) == 0 ? cpu : -1;
}

void placement_release(struct placement *p)
{
	p->count = 0;
	if (p->cpu < 0)
		return;
	p->cpu = -1;
	(void)sched_setaffinity(0, sizeof(p->home), &p->home); /* as it was */
}

void placement_note(struct placement *p, uint32_t pid, bool follow)
{
	if (!p->known || !pid)
		return;
	if (!follow) {
		placement_release(p);
		return;
	}
	if (pid != p->pid) {
		placement_release(p);
		p->pid = pid;
	}
	p->count++;
	if (p->count == FIRST || p->count % AGAIN == 0)
		bind_to(p, placement_cpu_of(pid));
}
