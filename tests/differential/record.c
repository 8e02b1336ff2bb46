/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Records of what a step showed, and their comparison.
 *
 * A record is a list of fields in the order in which they were seen; entries of a listing and extended
 * attributes are sets, sorted by name.  Two records are walked side by side, and each field that is
 * different, or is on one side only, is put to the rules.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "differential.h"

static const char *const tag_names[] = {
#define X(id, name) name,
	TAGS(X)
#undef X
};
static const char *const where_names[W_COUNT] = { "",
						  "fd ",
						  "target ",
						  "parent ",
						  "second target ",
						  "second parent ",
						  "what it leads to ",
						  "tree ",
						  "upper " };

void rec_clear(struct rec *r)
{
	r->n = 0;
	r->used = 0;
}

void rec_put(struct rec *r, enum where w, enum tag t, uint64_t value)
{
	rec_put_key(r, w, t, (struct str){ NULL, 0 }, value);
}

void rec_put_key(struct rec *r, enum where w, enum tag t, struct str key, uint64_t value)
{
	struct field *f = &r->f[r->n];

	if (r->n == REC_FIELDS || REC_BYTES - r->used < key.len) {
		fprintf(stderr, "differential: a record is full\n");
		abort();
	}
	*f = (struct field){ (uint8_t)w, (uint8_t)t, (uint32_t)r->used, (uint32_t)key.len, value };
	if (key.len)
		memcpy(r->bytes + r->used, key.p, key.len);
	r->used += key.len;
	r->n++;
}

static int compare_keys(const struct rec *a, const struct field *x, const struct rec *b,
			const struct field *y)
{
	size_t n = x->key_len < y->key_len ? x->key_len : y->key_len;
	int r = memcmp(a->bytes + x->key, b->bytes + y->key, n);

	if (r)
		return r;
	return x->key_len < y->key_len ? -1 : x->key_len > y->key_len;
}

static int compare_fields(const void *a, const void *b, void *rec)
{
	const struct field *x = a, *y = b;
	int r = x->tag - y->tag;

	return r ? r : compare_keys(rec, x, rec, y);
}

void rec_sort(struct rec *r, size_t first)
{
	if (r->n > first)
		qsort_r(r->f + first, r->n - first, sizeof(r->f[0]), compare_fields, r);
}

bool rec_get(const struct rec *r, enum where w, enum tag t, uint64_t *value)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->f[i].where == w && r->f[i].tag == t) {
			*value = r->f[i].value;
			return true;
		}
	return false;
}

uint64_t rec_value(const struct rec *r, enum where w, enum tag t, uint64_t other)
{
	(void)rec_get(r, w, t, &other);
	return other;
}

/* ---- Telling ---- */

void run_fail(struct run *run, const char *kind, const char *format, ...)
{
	struct shared *sh = run->sh;
	va_list ap;

	if (sh->failed)
		return;
	va_start(ap, format);
	(void)vsnprintf(sh->what, sizeof(sh->what), format, ap);
	va_end(ap);
	(void)snprintf(sh->kind, sizeof(sh->kind), "%s", kind);
	sh->failed = true;
}

static void show_value(char *buf, size_t size, bool has, enum tag t, uint64_t v)
{
	if (!has)
		(void)snprintf(buf, size, "absent");
	else if (t == TAG_ERRNO)
		(void)snprintf(buf, size, "%s", v ? strerrorname_np((int)v) : "0");
	else if (t == TAG_MODE)
		(void)snprintf(buf, size, "0%" PRIo64, v);
	else if (t == TAG_DATA || t == TAG_XATTR || t == TAG_TARGET)
		(void)snprintf(buf, size, "#%" PRIx64, v);
	else
		(void)snprintf(buf, size, "%" PRId64, (int64_t)v);
}

static void show_key(char *buf, size_t size, const char *key, size_t len)
{
	size_t used = 0;

	buf[0] = 0;
	for (size_t i = 0; i < len && used + 5 < size; i++) {
		unsigned char c = (unsigned char)key[i];

		used += (size_t)snprintf(buf + used, size - used,
					 c >= 33 && c < 127 ? "%c" : "\\x%02x", c);
	}
}

/* The values themselves, where they are still there to be read. */
static void show_attribute(const struct difference *d, const char *name, char *k, char *l)
{
	const struct config *cfg = &d->run->script->cfg;
	unsigned kernel = d->run->sh->kernel[0] ? 0 : 1;

	for (unsigned i = 0; i < 2; i++) {
		char dir[128], path[4400], value[64];
		ssize_t n;

		(void)snprintf(path, sizeof(path), "%s/%s",
			       layer_dir(&d->run->side[i], 0, cfg, dir), d->path);
		n = lgetxattr(path, name, value, sizeof(value));
		if (n > 0)
			show_key(i == kernel ? k : l, 64, value, (size_t)n);
	}
}

static void show_errno(const struct rec *r, char *buf, size_t size)
{
	uint64_t e = rec_value(r, W_CALL, TAG_ERRNO, 0);
	size_t used = strlen(buf);

	if (e)
		(void)snprintf(buf + used, size - used, " (%s)", strerrorname_np((int)e));
}

static void tell(const struct difference *d)
{
	char k[64], l[64], key[400], line[1024] = "", kind[128];
	FILE *f = fmemopen(line, sizeof(line), "w");

	show_value(k, sizeof(k), d->has_k, d->tag, d->k);
	show_value(l, sizeof(l), d->has_l, d->tag, d->l);
	show_key(key, sizeof(key), d->key, d->key_len);
	if (f) {
		if (d->op)
			op_write(d->op, false, f);
		(void)fclose(f);
	}
	line[sizeof(line) - 1] = 0;
	line[strcspn(line, "\n")] = 0;
	if (d->where == W_UPPER && d->tag == TAG_XATTR)
		show_attribute(d, key, k, l);
	(void)snprintf(kind, sizeof(kind), "%s %s%s", d->op ? op_table[d->op->code].name : "tree",
		       where_names[d->where], tag_names[d->tag]);
	if (d->tag == TAG_RET) {
		show_errno(d->kr, k, sizeof(k));
		show_errno(d->lr, l, sizeof(l));
	}
	run_fail(d->run, kind, "%s%s %s%s %s: kernel %s, lamina %s", line, d->path ? d->path : "",
		 where_names[d->where], tag_names[d->tag], key, k, l);
}

/* ---- Comparing ---- */

static bool judge(struct difference *d, const struct field *x, const struct field *y)
{
	const struct field *any = x ? x : y;

	d->where = any->where;
	d->tag = any->tag;
	d->key = (x ? d->kr : d->lr)->bytes + any->key;
	d->key_len = any->key_len;
	d->has_k = x != NULL;
	d->has_l = y != NULL;
	d->k = x ? x->value : 0;
	d->l = y ? y->value : 0;
	if (rules_allow(d))
		return true;
	tell(d);
	return false;
}

/* "Moved" is 2 where the object was not known before: nothing to compare. */
static bool equal(const struct field *x, const struct field *y)
{
	/* numbers differ on two copies; rules ask for them */
	if (x->value == y->value || x->tag == TAG_INO)
		return true;
	return (x->tag == TAG_MTIME_MOVED || x->tag == TAG_CTIME_MOVED) &&
	       (x->value == 2 || y->value == 2);
}

/* Which of two fields comes first: that of the smaller key, place, or kind. */
static int order(const struct rec *a, const struct field *x, const struct rec *b,
		 const struct field *y)
{
	if (x->where != y->where)
		return x->where - y->where;
	if (x->tag != y->tag)
		return x->tag - y->tag;
	return compare_keys(a, x, b, y);
}

bool compare_records(struct run *run, const struct op *op, const char *path)
{
	unsigned kernel = run->sh->kernel[0] ? 0 : 1;
	const struct rec *a = run->rec[kernel], *b = run->rec[!kernel];
	struct difference d = { .run = run, .op = op, .path = path, .kr = a, .lr = b };
	size_t i = 0, j = 0;

	while (i < a->n || j < b->n) {
		const struct field *x = i < a->n ? &a->f[i] : NULL;
		const struct field *y = j < b->n ? &b->f[j] : NULL;
		int r = !x ? 1 : !y ? -1 : order(a, x, b, y);

		if (r == 0 && !equal(x, y) && !judge(&d, x, y))
			return false;
		if (r < 0 && !judge(&d, x, NULL))
			return false;
		if (r > 0 && !judge(&d, NULL, y))
			return false;
		i += r <= 0;
		j += r >= 0;
	}
	return true;
}
