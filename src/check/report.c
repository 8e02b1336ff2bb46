/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Findings on their way to the caller.  problem_begin() takes down where; problem_say() adds what;
 * problem_mend() decides whether it is mended now, and reports it if not; problem_done() reports how
 * mending went.
 */
#include "check.h"

#include <errno.h>
#include <stdarg.h>

static char *path_of(const struct check *c, const char *name)
{
	size_t extra = name ? strlen(name) : 0;
	char *path = malloc(c->path_len + extra + 2);
	size_t len = c->path_len;

	if (!path)
		return NULL;
	memcpy(path, c->path, len);
	if (extra && len)
		path[len++] = '/';
	if (extra)
		memcpy(path + len, name, extra);
	path[len + extra] = '\0';
	return path;
}

int problem_begin(struct check *c, struct problem *p, enum kind kind, uint16_t layer,
		  const char *name)
{
	*p = (struct problem){ .kind = kind, .layer = layer };
	p->place = c->lone		  ? LAM_CHECK_LONE
		   : layer == LAYER_UPPER ? LAM_CHECK_UPPER
					  : LAM_CHECK_LOWER;
	p->mendable = kinds[kind].repair && (c->lone || layer == LAYER_UPPER);
	p->path = path_of(c, name);
	return p->path ? 0 : -ENOMEM;
}

int problem_begin_work(struct check *c, struct problem *p, enum kind kind, const char *path)
{
	(void)c;
	*p = (struct problem){ .kind = kind, .place = LAM_CHECK_WORK };
	p->mendable = kinds[kind].repair != NULL;
	p->path = strdup(path);
	return p->path ? 0 : -ENOMEM;
}

void problem_say(struct problem *p, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(p->what, sizeof(p->what), fmt, args); /* a long one is cut */
	va_end(args);
}

static void report(struct check *c, struct problem *p, enum lam_check_outcome outcome, int error)
{
	const struct kind_text *k = &kinds[p->kind];
	const struct lam_check_finding f = {
		.kind = k->name,
		.place = p->place,
		.layer = p->layer,
		.path = p->path,
		.what = p->what,
		.why = k->why,
		.repair = outcome == LAM_CHECK_LEFT ? NULL : k->repair,
		.outcome = outcome,
		.error = error,
	};

	c->result.found++;
	if (outcome == LAM_CHECK_REPAIRED)
		c->result.repaired++;
	else
		c->result.left++;
	c->fn(c->fn_ctx, &f);
	free(TAKE_PTR(p->path));
}

bool problem_mend(struct check *c, struct problem *p, bool possible)
{
	if (!p->mendable || !possible || c->stopped) {
		report(c, p, LAM_CHECK_LEFT, 0);
		return false;
	}
	if (!c->repair) {
		report(c, p, LAM_CHECK_FOUND, 0);
		return false;
	}
	return true;
}

void problem_done(struct check *c, struct problem *p, int r)
{
	report(c, p, r < 0 ? LAM_CHECK_FAILED : LAM_CHECK_REPAIRED, r < 0 ? r : 0);
}
