/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the generators of layers and of steps share. */
#ifndef DIFFERENTIAL_GEN_H
#define DIFFERENTIAL_GEN_H

#include "differential.h"

enum { NAMES_MAX = 200 };

/* Paths that may well exist, so that steps meet something. */
struct names {
	struct known {
		struct str path;
		bool dir;
	} v[NAMES_MAX];
	size_t n, next;
};

const char *gen_name(struct rng *r, bool dir);
struct str gen_join(struct script *s, struct str dir, const char *name);
struct str gen_dir(struct rng *r, const struct names *n);
struct str gen_acl(struct rng *r);
void gen_xattr(struct rng *r, struct script *s, struct str *name, struct str *value);
void names_add(struct names *n, struct str path, bool dir);

#endif
