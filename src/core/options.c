/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options of a stack as text (lamina/options.h): one table, one function per kind of value.
 *
 * Whether settings contradict each other is not looked at here: lam_stack_open() knows the layers
 * and the kernel's rules.  No locks: one thread uses an object.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lamina/options.h>

#include "base/check.h"
#include "base/log.h"
#include "base/parse.h"
#include "format/format.h"

struct lam_options {
	struct lam_config config;
	struct layer_list layers;
	/* How the layers were given: the kernel does not let `lowerdir+` follow `lowerdir`. */
	bool lowerdir_seen;
	char *upper, *work;
	bool squash_root, squash_uid, squash_gid; /* as given */
	uint32_t to_uid, to_gid;
	char error[320];
};

/* One value of an option that has a fixed set of them. */
struct choice {
	const char *word;
	int value;
};

struct option {
	const char *name;
	int (*set)(struct lam_options *o, const struct option *option, const char *value);
	size_t offset;		      /* of the field in struct lam_config, where there is one */
	const struct choice *choices; /* ended by a NULL word */
};

static int complain(struct lam_options *o, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Leave a message and return R. */
static int complain(struct lam_options *o, int r, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(o->error, sizeof(o->error), fmt, args); /* a long one is cut */
	va_end(args);
	return r;
}

static int complain_memory(struct lam_options *o)
{
	return complain(o, -ENOMEM, "out of memory");
}

/* ---- Kinds of values ---- */

/* Find VALUE among the option's choices. */
static int choose(struct lam_options *o, const struct option *option, const char *value, int *ret)
{
	char list[128] = "";
	size_t len = 0;

	for (const struct choice *c = option->choices; c->word; c++) {
		if (value && strcmp(value, c->word) == 0) {
			*ret = c->value;
			return 0;
		}
		if (len < sizeof(list))
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s",
						len > 0 ? ", " : "", c->word);
	}
	if (!value)
		return complain(o, -EINVAL, "option %s needs a value: one of %s", option->name,
				list);
	return complain(o, -EINVAL, "option %s: %s is none of %s", option->name, QUOTE(value),
			list);
}

/* Where the option's field is. */
static void *field(struct lam_options *o, const struct option *option)
{
	return (char *)&o->config + option->offset;
}

/* The enumerations of struct lam_config; all have the size of an int. */
static int set_enum(struct lam_options *o, const struct option *option, const char *value)
{
	int n = 0;
	int r = choose(o, option, value, &n);

	if (r < 0)
		return r;
	memcpy(field(o, option), &n, sizeof(n));
	return 0;
}

_Static_assert(sizeof(enum lam_toggle) == sizeof(int), "set_enum() writes an int");
_Static_assert(sizeof(enum lam_redirect) == sizeof(int), "set_enum() writes an int");
_Static_assert(sizeof(enum lam_xino) == sizeof(int), "set_enum() writes an int");
_Static_assert(sizeof(enum lam_fsync) == sizeof(int), "set_enum() writes an int");

/* A word without a value, or with 0 or 1. */
static int flag_value(struct lam_options *o, const struct option *option, const char *value,
		      bool *ret)
{
	if (value && strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
		return complain(o, -EINVAL, "option %s: %s is neither 0 nor 1", option->name,
				QUOTE(value));
	*ret = !value || value[0] == '1';
	return 0;
}

static int set_flag(struct lam_options *o, const struct option *option, const char *value)
{
	return flag_value(o, option, value, field(o, option));
}

static int number(struct lam_options *o, const struct option *option, const char *value,
		  uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	if (!value)
		return complain(o, -EINVAL, "option %s needs a number", option->name);
	if (parse_u64(value, &n) < 0 || n > max)
		return complain(o, -EINVAL, "option %s: %s is no number from 0 to %llu",
				option->name, QUOTE(value), (unsigned long long)max);
	*ret = n;
	return 0;
}

/* An option that has to be understood but sets nothing: one of its choices is all that is asked. */
static int set_nothing(struct lam_options *o, const struct option *option, const char *value)
{
	int n = 0;
	int r = choose(o, option, value, &n);

	if (r < 0)
		return r;
	if (n < 0)
		return complain(o, -EOPNOTSUPP, "option %s=%s is not supported", option->name,
				value);
	return 0;
}

/* ---- Layers ---- */

/* upperdir and workdir: one directory, with the escapes of lowerdir. */
static int set_escaped_path(struct lam_options *o, const struct option *option, const char *value,
			    char **ret)
{
	char *path;

	if (!value || !*value)
		return complain(o, -EINVAL, "option %s needs a directory", option->name);
	if (path_unescape(value, &path) < 0)
		return complain_memory(o);
	free(*ret);
	*ret = path;
	return 0;
}

static int set_upper(struct lam_options *o, const struct option *option, const char *value)
{
	return set_escaped_path(o, option, value, &o->upper);
}

static int set_work(struct lam_options *o, const struct option *option, const char *value)
{
	return set_escaped_path(o, option, value, &o->work);
}

static int set_lowerdir(struct lam_options *o, const struct option *option, const char *value)
{
	struct layer_list list = { 0 };
	int r;

	if (!value || !*value)
		return complain(o, -EINVAL, "option %s needs at least one directory", option->name);
	r = layers_split(value, &list);
	if (r == -ENOMEM)
		return complain_memory(o);
	if (r < 0)
		return complain(o, r,
				"option %s: %s is no list of directories (is there a colon "
				"too many? a colon in a name is written \\:)",
				option->name, QUOTE(value));
	layers_free(&o->layers);
	o->layers = list;
	o->lowerdir_seen = true;
	return 0;
}

static int append(struct lam_options *o, char ***list, size_t *n, const char *path)
{
	char **grown = reallocarray(*list, *n + 1, sizeof(*grown));

	if (!grown)
		return complain_memory(o);
	*list = grown;
	grown[*n] = strdup(path);
	if (!grown[*n])
		return complain_memory(o);
	(*n)++;
	return 0;
}

/* The kernel's newer form: one layer, no escapes. */
static int add_lower(struct lam_options *o, const struct option *option, const char *value)
{
	if (!value || !*value)
		return complain(o, -EINVAL, "option %s needs a directory", option->name);
	if (o->lowerdir_seen)
		return complain(o, -EINVAL, "lowerdir+ and lowerdir cannot be mixed");
	if (o->layers.n_data > 0)
		return complain(o, -EINVAL, "lowerdir+ cannot follow datadir+");
	return append(o, &o->layers.lower, &o->layers.n_lower, value);
}

static int add_data(struct lam_options *o, const struct option *option, const char *value)
{
	if (!value || !*value)
		return complain(o, -EINVAL, "option %s needs a directory", option->name);
	if (o->lowerdir_seen)
		return complain(o, -EINVAL, "datadir+ and lowerdir cannot be mixed");
	return append(o, &o->layers.data, &o->layers.n_data, value);
}

/* ---- Single options ---- */

static int set_userxattr(struct lam_options *o, const struct option *option, const char *value)
{
	bool on = false;
	int r = flag_value(o, option, value, &on);

	if (r == 0)
		o->config.userxattr = on ? LAM_ON : LAM_OFF;
	return r;
}

/* `volatile` is short for fsync=volatile; volatile=0 leaves fsync= as it is. */
static int set_volatile(struct lam_options *o, const struct option *option, const char *value)
{
	bool on = false;
	int r = flag_value(o, option, value, &on);

	if (r == 0 && on)
		o->config.fsync = LAM_FSYNC_VOLATILE;
	return r;
}

/*
 * Container engines write their own maps here: the id in the container, the id on the host, how
 * many.  Layers hold the former and the mount shows the latter, which the kernel turns back for
 * processes of the container: seen from the stack, the first number is the outside.
 */
static int set_idmap(struct lam_options *o, const struct option *option, const char *value)
{
	struct lam_idmap *map = field(o, option), fresh = { 0 };
	int r;

	if (!value)
		return complain(o, -EINVAL, "option %s needs a map", option->name);
	r = idmap_parse(value, &fresh);
	if (r == -ENOMEM)
		return complain_memory(o);
	if (r < 0)
		return complain(o, r,
				"option %s: %s is no map (IN-LAYERS:SHOWN:LENGTH, and so on, "
				"without overlap)",
				option->name, QUOTE(value));
	for (size_t i = 0; i < fresh.n; i++) {
		uint32_t in_layers = fresh.extents[i].inside;

		fresh.extents[i].inside = fresh.extents[i].outside;
		fresh.extents[i].outside = in_layers;
	}
	free(map->extents);
	*map = fresh;
	return 0;
}

/* The ids named one by one go before root's, whatever the order of the options. */
static void settle_squash(struct lam_options *o)
{
	o->config.squash_uid = o->squash_root || o->squash_uid;
	o->config.squash_gid = o->squash_root || o->squash_gid;
	o->config.squash_to_uid = o->squash_uid ? o->to_uid : 0;
	o->config.squash_to_gid = o->squash_gid ? o->to_gid : 0;
}

static int set_squash_root(struct lam_options *o, const struct option *option, const char *value)
{
	bool on = false;
	int r = flag_value(o, option, value, &on);

	if (r < 0)
		return r;
	o->squash_root = on;
	settle_squash(o);
	return 0;
}

static int set_squash_uid(struct lam_options *o, const struct option *option, const char *value)
{
	uint64_t n = 0;
	int r = number(o, option, value, UINT32_MAX - 1, &n);

	if (r < 0)
		return r;
	o->squash_uid = true;
	o->to_uid = (uint32_t)n;
	settle_squash(o);
	return 0;
}

static int set_squash_gid(struct lam_options *o, const struct option *option, const char *value)
{
	uint64_t n = 0;
	int r = number(o, option, value, UINT32_MAX - 1, &n);

	if (r < 0)
		return r;
	o->squash_gid = true;
	o->to_gid = (uint32_t)n;
	settle_squash(o);
	return 0;
}

static int set_xattr_permissions(struct lam_options *o, const struct option *option,
				 const char *value)
{
	uint64_t n = 0;
	int r = number(o, option, value, 2, &n);

	if (r == 0)
		o->config.xattr_permissions = (int)n;
	return r;
}

static int set_max_fds(struct lam_options *o, const struct option *option, const char *value)
{
	uint64_t n = 0;
	int r = number(o, option, value, INT_MAX, &n);

	if (r == 0)
		o->config.max_fds = (unsigned)n;
	return r;
}

static int set_max_nodes(struct lam_options *o, const struct option *option, const char *value)
{
	uint64_t n = 0;
	int r = number(o, option, value, INT_MAX, &n);

	if (r == 0)
		o->config.max_nodes = (unsigned)n;
	return r;
}

static int set_cache_size(struct lam_options *o, const struct option *option, const char *value)
{
	uint64_t n = 0, bytes;
	int r = number(o, option, value, SIZE_MAX, &n);

	if (r < 0)
		return r;
	if (__builtin_mul_overflow(n, 1024 * 1024, &bytes))
		return complain(o, -EINVAL, "option %s: %s MiB is too much", option->name, value);
	o->config.max_cache_bytes = bytes;
	return 0;
}

static int set_copy_behind(struct lam_options *o, const struct option *option, const char *value)
{
	uint64_t n = 0, bytes;
	int r = value && !strcmp(value, "off") ? 0 : number(o, option, value, SIZE_MAX, &n);

	if (r < 0)
		return r;
	if (__builtin_mul_overflow(n, 1024 * 1024, &bytes))
		return complain(o, -EINVAL, "option %s: %s MiB is too much", option->name, value);
	o->config.copy_behind = bytes ? bytes : UINT64_MAX;
	return 0;
}

/* ---- The table ---- */

static const struct choice toggles[] = {
	{ "on", LAM_ON },
	{ "off", LAM_OFF },
	{ NULL, 0 },
};
static const struct choice redirects[] = {
	{ "on", LAM_REDIRECT_ON },
	{ "follow", LAM_REDIRECT_FOLLOW },
	{ "nofollow", LAM_REDIRECT_NOFOLLOW },
	{ "off", LAM_REDIRECT_OFF },
	{ NULL, 0 },
};
static const struct choice xinos[] = {
	{ "on", LAM_XINO_ON },
	{ "auto", LAM_XINO_AUTO },
	{ "off", LAM_XINO_OFF },
	{ NULL, 0 },
};
/* 0 and 1 are fuse-overlayfs's.  Its 0 leaves no mark in the work directory as `volatile` does, and
 * layers that may be torn must be marked: data is synced as by default. */
static const struct choice fsyncs[] = {
	{ "auto", LAM_FSYNC_AUTO },
	{ "strict", LAM_FSYNC_STRICT },
	{ "volatile", LAM_FSYNC_VOLATILE },
	{ "0", LAM_FSYNC_AUTO },
	{ "1", LAM_FSYNC_AUTO },
	{ NULL, 0 },
};
/* -1: known, and not done. */
static const struct choice verities[] = {
	{ "off", 0 },
	{ "on", -1 },
	{ "require", -1 },
	{ NULL, 0 },
};
static const struct choice uuids[] = {
	{ "auto", 0 }, { "null", 0 }, { "on", 0 }, { "off", -1 }, { NULL, 0 },
};

#define AT(member) .offset = offsetof(struct lam_config, member)

static const struct option table[] = {
	{ "lowerdir", set_lowerdir, 0, NULL },
	{ "lowerdir+", add_lower, 0, NULL },
	{ "datadir+", add_data, 0, NULL },
	{ "upperdir", set_upper, 0, NULL },
	{ "workdir", set_work, 0, NULL },
	{ "redirect_dir", set_enum, AT(redirect_dir), .choices = redirects },
	{ "index", set_enum, AT(index), .choices = toggles },
	{ "nfs_export", set_enum, AT(nfs_export), .choices = toggles },
	{ "metacopy", set_enum, AT(metacopy), .choices = toggles },
	{ "xino", set_enum, AT(xino), .choices = xinos },
	{ "fsync", set_enum, AT(fsync), .choices = fsyncs },
	{ "volatile", set_volatile, 0, NULL },
	{ "userxattr", set_userxattr, 0, NULL },
	{ "uuid", set_nothing, 0, .choices = uuids },
	{ "verity", set_nothing, 0, .choices = verities },
	{ "dot_whiteouts", set_enum, AT(dot_whiteouts), .choices = toggles },
	{ "ino32_t", set_flag, AT(ino32), NULL },
	{ "uidmapping", set_idmap, AT(uidmap), NULL },
	{ "gidmapping", set_idmap, AT(gidmap), NULL },
	{ "squash_to_root", set_squash_root, 0, NULL },
	{ "squash_to_uid", set_squash_uid, 0, NULL },
	{ "squash_to_gid", set_squash_gid, 0, NULL },
	{ "xattr_permissions", set_xattr_permissions, 0, NULL },
	{ "static_nlink", set_flag, AT(static_nlink), NULL },
	{ "noacl", set_flag, AT(no_acl), NULL },
	{ "noxattrs", set_flag, AT(no_xattr), NULL },
	{ "max_fds", set_max_fds, 0, NULL },
	{ "max_nodes", set_max_nodes, 0, NULL },
	{ "cache_size", set_cache_size, 0, NULL },
	{ "copy_behind", set_copy_behind, 0, NULL },
	{ "watch_lower", set_flag, AT(watch_lower), NULL },
};

/* ---- The interface ---- */

int lam_options_split(const char *text, lam_option_fn fn, void *ctx)
{
	return options_split(text, fn, ctx);
}

int lam_options_new(struct lam_options **ret)
{
	struct lam_options *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	*ret = o;
	return 0;
}

void lam_options_free(struct lam_options *options)
{
	if (!options)
		return;
	layers_free(&options->layers);
	free(options->upper);
	free(options->work);
	free(options->config.uidmap.extents);
	free(options->config.gidmap.extents);
	free(options);
}

int lam_options_set(struct lam_options *options, const char *name, const char *value)
{
	options->error[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (strcmp(name, table[i].name) == 0)
			return table[i].set(options, &table[i], value);
	}
	return -ENOENT;
}

const char *lam_options_error(const struct lam_options *options)
{
	return options->error;
}

struct lam_config *lam_options_config(struct lam_options *options)
{
	struct lam_config *config = &options->config;

	config->lower = (const char *const *)options->layers.lower;
	config->n_lower = options->layers.n_lower;
	config->data_lower = (const char *const *)options->layers.data;
	config->n_data_lower = options->layers.n_data;
	config->upper = options->upper;
	config->work = options->work;
	return config;
}

const char *lam_options_name(size_t i)
{
	return i < ARRAY_LEN(table) ? table[i].name : NULL;
}
