/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The order of a check.  Leftovers go first, since names that repairs make are made where they lie, and
 * since a link that a crash left changes a count; upper before the index, whose entries are judged by what
 * upper has.
 */
#include "check.h"

#include <errno.h>

static int check_all(struct check *c)
{
	bool upper = c->layers[LAYER_UPPER].fd >= 0;
	int r = c->base_fd >= 0 ? work_check(c) : 0;

	if (r == 0)
		r = index_prepare(c);
	if (r == 0 && upper)
		r = walk_tree(c, LAYER_UPPER);
	if (r == 0)
		r = index_check(c);
	for (uint16_t i = 1; r == 0 && i <= c->n_lower; i++) {
		r = walk_tree(c, i);
		lam_stack_close(TAKE_PTR(c->layers[i].below));
	}
	return r == 0 ? records_finish(c) : r;
}

static int run(const struct lam_config *config, const char *lone, unsigned flags, lam_check_fn fn,
	       void *ctx, struct lam_check_result *ret)
{
	struct check c = {
		.config = config, .fn = fn, .fn_ctx = ctx, .repair = flags & LAM_CHECK_REPAIR
	};
	int r = check_open(&c, lone);

	if (r == 0) {
		r = check_all(&c);
		if (r < 0)
			log_error("the check stopped at %s: %s",
				  c.path_len ? QUOTE(c.path) : "the top of a directory",
				  log_errno(r));
	}
	if (r == 0)
		*ret = c.result;
	check_close(&c);
	return r;
}

int lam_check(const struct lam_config *config, unsigned flags, lam_check_fn fn, void *ctx,
	      struct lam_check_result *ret)
{
	return run(config, NULL, flags, fn, ctx, ret);
}

int lam_check_layer(const struct lam_config *config, const char *path, unsigned flags,
		    lam_check_fn fn, void *ctx, struct lam_check_result *ret)
{
	return run(config, path, flags, fn, ctx, ret);
}
