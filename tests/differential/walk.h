/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Walking two trees side by side. */
#ifndef DIFFERENTIAL_WALK_H
#define DIFFERENTIAL_WALK_H

#include "differential.h"

enum { GROUPS = 1 << 13 };

/* Names that are one object have one number, that of the first name met. */
struct groups {
	uint64_t met;
	struct group {
		uint64_t key, first;
	} v[GROUPS];
};

uint64_t groups_get(struct groups *g, uint64_t dev, uint64_t ino);

struct walk {
	struct run *run;
	enum where where;
	int root[2];
	/* put what is seen of one object on one side in the run's record; returns its type */
	mode_t (*look)(struct walk *w, unsigned side, const char *path);
	/* put a directory's entries there; NULL: look_list() */
	void (*list)(struct walk *w, unsigned side, int fd, const char *dir);
	struct groups *groups;
	void *context;
};

bool walk_pair(struct walk *w);

#endif
