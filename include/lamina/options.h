/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options as text, as in mount(8): from `name` or `name=value` to a struct lam_config.
 *
 * The names are those of Linux's overlayfs and of fuse-overlayfs.  What concerns a front end only
 * (mount flags, time-outs) is not known here.  An object of these is used by one thread at a time.
 */
#ifndef LAMINA_OPTIONS_H
#define LAMINA_OPTIONS_H

#include <stddef.h>

#include <lamina/lamina.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Receives one option; VALUE is NULL where there is no '='.  Anything but 0 ends the split. */
typedef int (*lam_option_fn)(void *ctx, const char *name, const char *value);

/*
 * Call FN for each option of a comma separated list.  `\,` and `\054` are a comma inside a value; a
 * value in double quotes may hold commas; empty options are skipped.  Returns what FN returned, 0 at
 * the end, or -ENOMEM.
 */
int lam_options_split(const char *text, lam_option_fn fn, void *ctx);

/* Options under collection, and the settings that they make. */
struct lam_options;

/* -ENOMEM.  The caller owns *RET and ends it with lam_options_free(). */
int lam_options_new(struct lam_options **ret);

/* Free OPTIONS and all that its settings point to.  NULL is allowed. */
void lam_options_free(struct lam_options *options);

/*
 * Take one option.  A later one replaces an earlier one of the same name, but for `lowerdir+` and
 * `datadir+`, which add a layer.  Errors:
 *   -ENOENT       no option of a stack has this name (and there is no message)
 *   -EINVAL       the value, or its place, is wrong
 *   -EOPNOTSUPP   Lamina knows the option and does not do this
 *   -ENOMEM
 * After an error other than -ENOENT, lam_options_error() says it in words.
 */
int lam_options_set(struct lam_options *options, const char *name, const char *value);

/* The message of the last failed lam_options_set(): one line without a newline.  Borrowed. */
const char *lam_options_error(const struct lam_options *options);

/* The settings so far.  Borrowed, with all that they point to; numbers and flags may be changed in
 * place.  lam_options_set() makes earlier results invalid. */
struct lam_config *lam_options_config(struct lam_options *options);

/* The name of option I (from 0), for help and for "did you mean"; NULL after the last. */
const char *lam_options_name(size_t i);

#ifdef __cplusplus
}
#endif
#endif
