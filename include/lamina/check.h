/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checking layers that are not mounted, and mending them.
 *
 * The check reads every object of upper and of the merged lower layers, the work directory and the
 * index, and reports what is wrong, one finding at a time.  With LAM_CHECK_REPAIR it mends in upper and
 * in the work directory what can be mended without loss; lower layers are never written.  Every repair
 * leaves, if it is cut off, a state that a second check finds and mends.
 */
#ifndef LAMINA_CHECK_H
#define LAMINA_CHECK_H

#include <lamina/lamina.h>

#ifdef __cplusplus
extern "C" {
#endif

enum lam_check_place {
	LAM_CHECK_UPPER,
	LAM_CHECK_LOWER, /* and which one in LAYER, from 1 */
	LAM_CHECK_WORK,
	LAM_CHECK_LONE, /* the only directory of lam_check_layer() */
};

enum lam_check_outcome {
	LAM_CHECK_FOUND,    /* a repair would mend it */
	LAM_CHECK_LEFT,	    /* cannot be mended safely */
	LAM_CHECK_REPAIRED, /* was mended */
	LAM_CHECK_FAILED,   /* mending it failed; ERROR tells why */
};

/* One thing that is wrong.  All strings are borrowed for the length of the call. */
struct lam_check_finding {
	const char *kind; /* as lam_check_kind() lists them: does not change between versions */
	enum lam_check_place place;
	unsigned layer;
	const char *path;   /* below the place, without a leading slash; "" for the place itself */
	const char *what;   /* what is wrong, printable */
	const char *why;    /* why it matters */
	const char *repair; /* what a repair does; NULL if there is none */
	enum lam_check_outcome outcome;
	int error; /* negative errno of LAM_CHECK_FAILED */
};

typedef void (*lam_check_fn)(void *ctx, const struct lam_check_finding *finding);

struct lam_check_result {
	uint64_t objects; /* looked at */
	uint64_t found;	  /* of these the next two */
	uint64_t repaired;
	uint64_t left; /* not mended, for whatever reason */
};

#define LAM_CHECK_REPAIR 1u

/*
 * Check the stack that CONFIG describes, as lam_stack_open() would open it.  FN gets each finding.
 * Errors, each with a line to the log: -EBUSY (the layers are mounted somewhere), -EINVAL (no layers,
 * upper without work), -ENOENT, -ENOTDIR, -ENOMEM, or what a filesystem returned; what was mended
 * before an error stays mended.
 */
int lam_check(const struct lam_config *config, unsigned flags, lam_check_fn fn, void *ctx,
	      struct lam_check_result *ret);

/*
 * Check one directory as a layer of which nothing else is known: only what is wrong by itself is
 * found.  CONFIG gives the settings; its layers are not looked at.
 */
int lam_check_layer(const struct lam_config *config, const char *path, unsigned flags,
		    lam_check_fn fn, void *ctx, struct lam_check_result *ret);

/* The kinds of findings: name I (from 0) and, unless NULL, why it matters and what a repair does (NULL:
 * there is none).  NULL after the last. */
const char *lam_check_kind(size_t i, const char **ret_why, const char **ret_repair);

#ifdef __cplusplus
}
#endif

#endif
