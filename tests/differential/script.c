/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scripts: their memory, and their text form.
 *
 * A line is a step: its name and KEY=VALUE words, as the tables in ops.c say which there are.  Strings
 * are quoted, and bytes that are not plain text are \xNN.  Steps of the run begin with the number of the
 * caller.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "differential.h"

struct arena {
	struct arena *next;
	size_t used, size;
	char bytes[];
};

enum { ARENA_SIZE = 256 << 10 };

static void *must(void *p)
{
	if (!p) {
		fprintf(stderr, "differential: no memory\n");
		exit(3);
	}
	return p;
}

struct script *script_new(void)
{
	return must(calloc(1, sizeof(struct script)));
}

void script_free(struct script *s)
{
	if (!s)
		return;
	while (s->arena) {
		struct arena *next = s->arena->next;

		free(s->arena);
		s->arena = next;
	}
	free(s->layers.v);
	free(s->ops.v);
	free(s);
}

struct op *script_add(struct oplist *list, const struct op *op)
{
	if (list->n == list->room) {
		list->room = list->room ? 2 * list->room : 256;
		list->v = must(realloc(list->v, list->room * sizeof(*list->v)));
	}
	list->v[list->n] = *op;
	return &list->v[list->n++];
}

/* A copy with a zero behind it, which lives as long as the script. */
struct str script_str(struct script *s, const void *p, size_t len)
{
	struct arena *a = s->arena;
	char *at;

	if (!a || a->size - a->used < len + 1) {
		size_t size = len + 1 > ARENA_SIZE ? len + 1 : ARENA_SIZE;

		a = must(malloc(sizeof(*a) + size));
		a->next = s->arena;
		a->used = 0;
		a->size = size;
		s->arena = a;
	}
	at = a->bytes + a->used;
	memcpy(at, p, len);
	at[len] = 0;
	a->used += len + 1;
	return (struct str){ at, len };
}

const char *config_options(const struct config *cfg, char *buf, size_t size)
{
	int n;

	if (cfg->userxattr)
		n = snprintf(buf, size,
			     "userxattr,redirect_dir=nofollow,index=%s,nfs_export=%s,xino=%s",
			     cfg->index ? "on" : "off", cfg->nfs_export ? "on" : "off", cfg->xino);
	else
		n = snprintf(
			buf, size, "redirect_dir=%s,index=%s,nfs_export=%s,metacopy=%s,xino=%s",
			cfg->redirect, cfg->index ? "on" : "off", cfg->nfs_export ? "on" : "off",
			cfg->metacopy ? "on" : "off", cfg->xino);
	if (cfg->volatile_)
		(void)snprintf(buf + n, size - (size_t)n, ",volatile");
	return buf;
}

/* ---- Writing ---- */

static void write_str(FILE *f, struct str s)
{
	putc('"', f);
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c < 33 || c > 126 || c == '"' || c == '\\')
			fprintf(f, "\\x%02x", c);
		else
			putc(c, f);
	}
	putc('"', f);
}

static void write_field(FILE *f, const struct op *op, char what)
{
	switch (what) {
	case 'f':
		fprintf(f, "%d", op->fd);
		break;
	case 'g':
		fprintf(f, "%d", op->fd2);
		break;
	case 'd':
		fprintf(f, "%d", op->at);
		break;
	case 'e':
		fprintf(f, "%d", op->at2);
		break;
	case 'p':
		write_str(f, op->path);
		break;
	case 'q':
		write_str(f, op->path2);
		break;
	case 't':
		write_str(f, op->text);
		break;
	case 'O':
		fprintf(f, "0%llo", (unsigned long long)op->b);
		break;
	case 'A':
		fprintf(f, "0%llo", (unsigned long long)op->a);
		break;
	default:
		fprintf(f, "%lld",
			(long long)(what == 'a'	  ? op->a
				    : what == 'b' ? op->b
				    : what == 'c' ? op->c
						  : op->d));
	}
}

void op_write(const struct op *op, bool layer, FILE *f)
{
	const struct op_info *info = layer ? &layer_table[op->code] : &op_table[op->code];

	if (!layer)
		fprintf(f, "%d ", op->actor);
	fputs(info->name, f);
	for (const char *p = info->spec; *p;) {
		const char *eq = strchr(p, '=');

		fprintf(f, " %.*s=", (int)(eq - p), p);
		write_field(f, op, eq[1]);
		p = eq + 2;
		while (*p == ' ')
			p++;
	}
	putc('\n', f);
}

void script_write(const struct script *s, FILE *f)
{
	const struct config *c = &s->cfg;

	fprintf(f,
		"config seed=%llu fs=%s lowers=%u datas=%u userxattr=%d index=%d nfs_export=%d "
		"metacopy=%d redirect_dir=%s xino=%s volatile=%d\n",
		(unsigned long long)c->seed, c->fs, c->lowers, c->datas, c->userxattr, c->index,
		c->nfs_export, c->metacopy, c->redirect, c->xino, c->volatile_);
	fputs("layers:\n", f);
	for (size_t i = 0; i < s->layers.n; i++)
		op_write(&s->layers.v[i], true, f);
	fputs("ops:\n", f);
	for (size_t i = 0; i < s->ops.n; i++)
		op_write(&s->ops.v[i], false, f);
}

/* ---- Reading ---- */

static bool read_str(struct script *s, const char **p, struct str *ret)
{
	const char *in = *p;
	char *out, *buf;

	if (*in++ != '"')
		return false;
	buf = out = must(malloc(strlen(in) + 1));
	for (; *in && *in != '"'; in++) {
		unsigned c;

		if (in[0] == '\\' && in[1] == 'x' && sscanf(in + 2, "%2x", &c) == 1) {
			*out++ = (char)c;
			in += 3;
		} else {
			*out++ = *in;
		}
	}
	*ret = script_str(s, buf, (size_t)(out - buf));
	free(buf);
	*p = in + (*in == '"');
	return true;
}

static bool read_field(struct script *s, struct op *op, char what, const char **p)
{
	uint64_t *const numbers[] = { &op->a, &op->b, &op->c, &op->d };
	int *const slots[] = { &op->at, &op->at2, &op->fd, &op->fd2 };
	long long v;
	char *end;

	if (what == 'p' || what == 'q' || what == 't')
		return read_str(s, p,
				what == 'p'   ? &op->path
				: what == 'q' ? &op->path2
					      : &op->text);
	v = strtoll(*p, &end, 0);
	if (end == *p)
		return false;
	*p = end;
	if (what == 'A')
		op->a = (uint64_t)v;
	else if (what == 'O')
		op->b = (uint64_t)v;
	else if (what >= 'd' && what <= 'g')
		*slots[what - 'd'] = (int)v;
	else
		*numbers[what == 'D' ? 3 : what - 'a'] = (uint64_t)v;
	return true;
}

static bool read_words(struct script *s, struct op *op, const char *spec, const char *p)
{
	while (*p == ' ')
		p++;
	while (*p) {
		const char *eq = strchr(p, '=');
		size_t len = eq ? (size_t)(eq - p) : 0;
		const char *k = spec;

		while (*k && (strncmp(k, p, len) || k[len] != '=')) {
			k = strchr(k, ' ');
			if (!k)
				return false;
			k++;
		}
		if (!len || !*k)
			return false;
		p = eq + 1;
		if (!read_field(s, op, k[len + 1], &p))
			return false;
		while (*p == ' ')
			p++;
	}
	return true;
}

static bool read_op(struct script *s, const char *line, bool layer)
{
	const struct op_info *table = layer ? layer_table : op_table;
	unsigned count = layer ? LY_COUNT : OP_COUNT;
	struct op op = { .at = AT_ROOT, .at2 = AT_ROOT };
	const char *p = line;
	size_t len;

	if (!layer) {
		op.actor = (uint8_t)(strtoul(p, NULL, 10) % ACTORS);
		p += strcspn(p, " ");
		p += strspn(p, " ");
	}
	len = strcspn(p, " ");
	for (unsigned i = 0; i < count; i++)
		if (!strncmp(table[i].name, p, len) && !table[i].name[len]) {
			op.code = (uint8_t)i;
			op.path = op.path2 = op.text = script_str(s, "", 0);
			if (!read_words(s, &op, table[i].spec, p + len))
				return false;
			script_add(layer ? &s->layers : &s->ops, &op);
			return true;
		}
	return false;
}

static bool read_config(struct config *c, const char *line)
{
	int user, index, nfs, meta, vol;
	unsigned long long seed;

	if (sscanf(line,
		   "config seed=%llu fs=%7s lowers=%u datas=%u userxattr=%d index=%d nfs_export=%d "
		   "metacopy=%d redirect_dir=%11s xino=%7s volatile=%d",
		   &seed, c->fs, &c->lowers, &c->datas, &user, &index, &nfs, &meta, c->redirect,
		   c->xino, &vol) != 11)
		return false;
	c->seed = seed;
	c->userxattr = user;
	c->index = index;
	c->nfs_export = nfs;
	c->metacopy = meta;
	c->volatile_ = vol;
	return c->lowers >= 1 && c->lowers + c->datas < LAYERS;
}

struct script *script_read(const char *path)
{
	FILE *f = fopen(path, "re");
	struct script *s = script_new();
	char *line = NULL;
	size_t room = 0, number = 0;
	bool layers = true, good = f != NULL, config = false;
	ssize_t n;

	while (good && (n = getline(&line, &room, f)) > 0) {
		number++;
		line[strcspn(line, "\n")] = 0;
		if (!line[0] || line[0] == '#')
			continue;
		if (!strcmp(line, "layers:") || !strcmp(line, "ops:"))
			layers = line[0] == 'l';
		else if (!strncmp(line, "config ", 7))
			good = config = read_config(&s->cfg, line);
		else
			good = read_op(s, line, layers);
	}
	if (f)
		(void)fclose(f);
	free(line);
	if (good && config)
		return s;
	fprintf(stderr, "differential: %s:%zu: cannot be read\n", path, number);
	script_free(s);
	return NULL;
}
