/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random configurations and layers. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "gen.h"

uint64_t rng_next(struct rng *r)
{
	uint64_t z = (r->x += 0x9E3779B97F4A7C15ull);

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
	return z ^ (z >> 31);
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
	return n ? rng_next(r) % n : 0;
}

bool rng_chance(struct rng *r, unsigned percent)
{
	return rng_below(r, 100) < percent;
}

/* ---- Configurations ---- */

void gen_config(struct rng *r, struct config *cfg)
{
	static const char *const fs[] = { "ext4", "ext4", "xfs", "xfs", "mixed" };
	static const char *const redirects[] = { "on", "on", "on", "follow", "nofollow", "off" };
	static const char *const xinos[] = { "off", "auto", "on" };

	if (!cfg->fs[0])
		strcpy(cfg->fs, fs[rng_below(r, 5)]);
	cfg->lowers = 1 + (unsigned)rng_below(r, 5);
	cfg->userxattr = rng_chance(r, 15);
	cfg->index = rng_chance(r, 70);
	strcpy(cfg->redirect, redirects[rng_below(r, 6)]);
	strcpy(cfg->xino, xinos[rng_below(r, 3)]);
	cfg->volatile_ = rng_chance(r, 15);
	if (cfg->index && rng_chance(r, cfg->userxattr ? 5 : 30))
		cfg->nfs_export = true;
	else if (!cfg->userxattr && !strcmp(cfg->redirect, "on"))
		cfg->metacopy = rng_chance(r, 40);
	if (cfg->metacopy && rng_chance(r, 40))
		cfg->datas = 1;
}

/* ---- Names ---- */

#define L50 "LLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLL"

static const char *const plain_names[] = { "a", "b", "c", "d", "e", "f", "g", "h" };
static const char *const odd_names[] = { "x y",	  "new\nline", "\xff\xfe\x80", ".hidden",
					 "-dash", "#3",	       "a\\b:c,d",     "\xe5\x90\x8d",
					 ".wh",	  "index",     "work",	       "lamina" };
static const char long_name[] = L50 L50 L50 L50 L50 "12345";

const char *gen_name(struct rng *r, bool dir)
{
	unsigned v = (unsigned)rng_below(r, 100);

	if (v < 85)
		return plain_names[rng_below(r, 8)];
	if (v < 98 || dir)
		return odd_names[rng_below(r, sizeof(odd_names) / sizeof(odd_names[0]))];
	return long_name;
}

struct str gen_join(struct script *s, struct str dir, const char *name)
{
	char buf[8192];
	int n = snprintf(buf, sizeof(buf), "%.*s%s%s", (int)dir.len, dir.p, dir.len ? "/" : "",
			 name);

	return script_str(s, buf, (size_t)n);
}

void names_add(struct names *n, struct str path, bool dir)
{
	struct known *k = &n->v[n->n < NAMES_MAX ? n->n++ : n->next++ % NAMES_MAX];

	*k = (struct known){ path, dir };
}

static unsigned depth_of(struct str path)
{
	unsigned d = 1;

	for (size_t i = 0; i < path.len; i++)
		d += path.p[i] == '/';
	return d;
}

/* A known directory that is not deep, or the root. */
struct str gen_dir(struct rng *r, const struct names *n)
{
	for (int i = 0; i < 8 && n->n && !rng_chance(r, 15); i++) {
		const struct known *k = &n->v[rng_below(r, n->n)];

		if (k->dir && depth_of(k->path) < 4)
			return k->path;
	}
	return (struct str){ (char *)(uintptr_t) "", 0 };
}

/* ---- Values of extended attributes ---- */

static const char acl_user[] = "\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x05\0\xe8\x03\0\0"
			       "\x04\0\x05\0\xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff"
			       "\x20\0\x01\0\xff\xff\xff\xff";
static const char acl_group[] = "\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x04\0\x04\0\xff\xff\xff\xff"
				"\x08\0\x06\0\xb8\x0b\0\0\x10\0\x04\0\xff\xff\xff\xff"
				"\x20\0\0\0\xff\xff\xff\xff";
static const char acl_plain[] = "\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x04\0\x05\0\xff\xff\xff\xff"
				"\x20\0\x04\0\xff\xff\xff\xff";
static const char cap_v2[] = "\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
static const char cap_v3[] = "\x01\0\0\x03\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xe8\x03\0\0";

struct str gen_acl(struct rng *r)
{
	static const struct str all[] = {
		{ (char *)(uintptr_t)acl_user, sizeof(acl_user) - 1 },
		{ (char *)(uintptr_t)acl_group, sizeof(acl_group) - 1 },
		{ (char *)(uintptr_t)acl_plain, sizeof(acl_plain) - 1 },
	};

	return all[rng_below(r, 3)];
}

/* A name and a value that fits it; SPACE is the overlay's own ("trusted" or "user"). */
void gen_xattr(struct rng *r, struct script *s, struct str *name, struct str *value)
{
	static const char *const names[] = {
		"user.a",
		"user.b",
		"trusted.t",
		"user.overlay.foo",
		"trusted.overlay.foo",
		"trusted.overlay.opaque",
		"user.overlay.origin",
		"trusted.overlay.overlay.x",
		"security.other",
		"trusted.overlayx",
		"user.overlay.",
		"trusted.overlay.metacopy",
	};
	char buf[300];
	unsigned v = (unsigned)rng_below(r, 100);
	size_t n = rng_below(r, rng_chance(r, 5) ? 300 : 20);

	op_fill(buf, n, rng_next(r));
	*value = script_str(s, buf, n);
	if (v < 12) {
		*name = gen_join(s, (struct str){ 0 }, "system.posix_acl_access");
		*value = gen_acl(r);
	} else if (v < 20) {
		*name = gen_join(s, (struct str){ 0 }, "system.posix_acl_default");
		*value = gen_acl(r);
	} else if (v < 30) {
		bool three = rng_chance(r, 30);

		*name = gen_join(s, (struct str){ 0 }, "security.capability");
		*value = script_str(s, three ? cap_v3 : cap_v2,
				    (three ? sizeof(cap_v3) : sizeof(cap_v2)) - 1);
	} else if (v < 32) {
		memset(buf, 'n', 255);
		memcpy(buf, "user.", 5);
		*name = script_str(s, buf, 255);
	} else if (v < 70) {
		*name = gen_join(s, (struct str){ 0 }, names[rng_below(r, 3)]);
	} else {
		*name = gen_join(s, (struct str){ 0 }, names[rng_below(r, 12)]);
	}
}

/* ---- Layers ---- */

struct making {
	struct rng *r;
	struct script *s;
	struct names *names;
	unsigned layer;
	struct str moved[16]; /* directories that a redirect leads to already */
	unsigned n_moved, n_metacopy;
};

static struct str lit(struct script *s, const char *p)
{
	return script_str(s, p, strlen(p));
}

static struct op *item(struct making *m, enum layer_code code, struct str path)
{
	struct op op = { .code = (uint8_t)code, .path = path, .a = m->layer };

	op.path2 = op.text = script_str(m->s, "", 0);
	return script_add(&m->s->layers, &op);
}

static void mark(struct making *m, struct str path, const char *name, struct str value)
{
	char full[64];
	struct op *op = item(m, LY_XATTR, path);

	(void)snprintf(full, sizeof(full), "%s.overlay.%s",
		       m->s->cfg.userxattr ? "user" : "trusted", name);
	op->path2 = lit(m->s, full);
	op->text = value;
}

static void decorate(struct making *m, struct str path, bool special)
{
	static const uint32_t modes[] = { 0644,	 0755, 0600, 0700, 0777, 04755, 02755,
					  01777, 0444, 0,    0640, 0222, 02775, 0555 };
	static const uint32_t ids[] = { 0, 0, 1000, 1000, 2000, 3000 };
	struct rng *r = m->r;

	if (rng_chance(r, 60)) {
		struct op *op = item(m, LY_ATTR, path);

		op->b = modes[rng_below(r, 14)];
		op->c = ids[rng_below(r, 6)];
		op->d = ids[rng_below(r, 6)];
	}
	if (!special && rng_chance(r, 30)) {
		struct str name, value;
		struct op *op;

		gen_xattr(r, m->s, &name, &value);
		/* the overlay's own would mean something here; escaped ones are plain */
		if (strstr(name.p, "overlay.") && !strstr(name.p, "overlay.overlay."))
			return;
		op = item(m, LY_XATTR, path);
		op->path2 = name;
		op->text = value;
	}
	/* in upper they are not the inode's, but in an attribute */
	if (!special && m->layer > 0 && rng_chance(r, 4))
		item(m, LY_FLAGS, path)->b = rng_chance(r, 50)	 ? 0x80
					     : rng_chance(r, 50) ? 0x10
								 : 0x20;
	if (rng_chance(r, 10))
		item(m, LY_TIME, path)->b = rng_below(r, 1u << 30);
}

static void make_whiteout(struct making *m, struct str path)
{
	struct op *op = item(m, LY_NODE, path);

	op->b = S_IFCHR;
}

static struct str parent_of(struct script *s, struct str path)
{
	const char *slash = memrchr(path.p, '/', path.len);

	return script_str(s, path.p, slash ? (size_t)(slash - path.p) : 0);
}

static void make_file(struct making *m, struct str path)
{
	struct op *op = item(m, LY_FILE, path);
	unsigned v = (unsigned)rng_below(m->r, 100);

	op->b = v < 15 ? 0 : v < 80 ? rng_below(m->r, 6000) : rng_below(m->r, 300000);
	op->c = rng_chance(m->r, 92) ? 1 + rng_below(m->r, 1000) : 0;
	if (rng_chance(m->r, 15) && op->b > 70000)
		op->d = 4096 * (1 + rng_below(m->r, 10));
	decorate(m, path, false);
}

/* A file with metadata only, and where its data is. */
static void make_metacopy(struct making *m, struct str path)
{
	const struct config *cfg = &m->s->cfg;
	unsigned here = m->layer, total = cfg->lowers + cfg->datas;
	bool data_only = cfg->datas && rng_chance(m->r, 60);
	char name[24];
	struct str at;
	struct op *op;
	uint64_t size = 1 + rng_below(m->r, 9000);

	/* a name that nobody else uses, so that the sizes agree */
	(void)snprintf(name, sizeof(name), "meta%u", m->n_metacopy++);
	at = path = gen_join(m->s, parent_of(m->s, path), name);
	op = item(m, LY_FILE, path);
	names_add(m->names, path, false);

	op->b = size;
	mark(m, path, "metacopy", lit(m->s, ""));
	if (data_only || rng_chance(m->r, 50)) {
		char buf[600];
		int n = snprintf(buf, sizeof(buf), "/data%u", m->n_metacopy);

		mark(m, path, "redirect", script_str(m->s, buf, (size_t)n));
		at = script_str(m->s, buf + 1, (size_t)n - 1);
	}
	m->layer = data_only ? total : here + 1 + (unsigned)rng_below(m->r, cfg->lowers - here);
	op = item(m, LY_FILE, at);
	op->b = size;
	op->c = 1 + rng_below(m->r, 1000);
	m->layer = here;
	decorate(m, path, true);
}

/* As a rename left it: the directory at its new name, a whiteout at the old one. */
static void make_redirect(struct making *m, struct str to)
{
	struct str from = gen_dir(m->r, m->names);
	char buf[4096];
	size_t dirlen = parent_of(m->s, to).len;

	if (!from.len || m->n_moved == 16 || from.len > 200)
		return;
	for (unsigned i = 0; i < m->n_moved; i++)
		if (!strncmp(m->moved[i].p, from.p,
			     m->moved[i].len < from.len ? m->moved[i].len : from.len))
			return;
	if (!strncmp(to.p, from.p, from.len) || !strncmp(from.p, to.p, to.len))
		return;
	/* what this layer has there already would keep the old name alive */
	for (size_t i = 0; i < m->s->layers.n; i++)
		if (m->s->layers.v[i].a == m->layer &&
		    !strncmp(m->s->layers.v[i].path.p, from.p, from.len))
			return;
	m->moved[m->n_moved++] = from;
	(void)snprintf(buf, sizeof(buf), "/%s", from.p);
	item(m, LY_DIR, to);
	if (parent_of(m->s, from).len == dirlen && !strncmp(from.p, to.p, dirlen))
		mark(m, to, "redirect", lit(m->s, from.p + (dirlen ? dirlen + 1 : 0)));
	else
		mark(m, to, "redirect", lit(m->s, buf));
	make_whiteout(m, from);
	names_add(m->names, to, true);
}

static void make_special(struct making *m, struct str path)
{
	static const uint32_t types[] = { S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK };
	struct op *op = item(m, LY_NODE, path);

	op->b = types[rng_below(m->r, 4)] | 0644;
	if (S_ISCHR(op->b))
		op->c = makedev(1, 3);
	if (S_ISBLK(op->b))
		op->c = makedev(240, 99);
	decorate(m, path, true);
}

/* Something that hides what is below. */
static void make_hiding(struct making *m, bool lowest)
{
	const struct known *k = m->names->n ? &m->names->v[rng_below(m->r, m->names->n)] : NULL;

	if (!k || lowest)
		return;
	if (k->dir && rng_chance(m->r, 35)) {
		item(m, LY_DIR, k->path);
		mark(m, k->path, "opaque", lit(m->s, "y"));
	} else if (m->layer > 0 && rng_chance(m->r, 25)) {
		/* an empty file with an attribute, in a directory that says so */
		struct str parent = parent_of(m->s, k->path);

		item(m, LY_FILE, k->path);
		mark(m, k->path, "whiteout", lit(m->s, "y"));
		mark(m, parent.len ? parent : lit(m->s, "."), "opaque", lit(m->s, "x"));
	} else {
		make_whiteout(m, k->path);
	}
}

static void make_one(struct making *m, bool lowest)
{
	struct rng *r = m->r;
	const struct config *cfg = &m->s->cfg;
	unsigned v = (unsigned)rng_below(r, 100);
	bool again = m->names->n && rng_chance(r, 45), dir = v < 28;
	const struct known *old = again ? &m->names->v[rng_below(r, m->names->n)] : NULL;
	struct str path = old && (rng_chance(r, 15) || old->dir == dir)
				  ? old->path
				  : gen_join(m->s, gen_dir(r, m->names), gen_name(r, dir));

	if (dir) {
		item(m, LY_DIR, path);
		decorate(m, path, false);
		names_add(m->names, path, true);
		return;
	}
	if (v < 38) {
		make_hiding(m, lowest);
		return;
	}
	if (v < 44 && !lowest && (strcmp(cfg->redirect, "on") == 0 || rng_chance(r, 10))) {
		make_redirect(m, path);
		return;
	}
	names_add(m->names, path, false);
	if (v < 52) {
		static const char *const targets[] = { "a",	  "h/../b", "d/e",
						       "nowhere", ".",	    "c/../d" };

		item(m, LY_SYMLINK, path)->text = lit(m->s, targets[rng_below(r, 6)]);
		decorate(m, path, true);
	} else if (v < 58) {
		make_special(m, path);
	} else if (v < 68 && m->names->n > 1) {
		item(m, LY_LINK, path)->path2 = m->names->v[rng_below(r, m->names->n)].path;
	} else if (v < 76 && cfg->metacopy && m->layer > 0 && m->layer < cfg->lowers) {
		make_metacopy(m, path);
	} else {
		make_file(m, path);
	}
}

void gen_layers(struct rng *r, struct script *s, struct names *names)
{
	struct making m = { .r = r, .s = s, .names = names };

	for (unsigned l = s->cfg.lowers + 1; l-- > 0;) {
		size_t n = l == 0 ? rng_below(r, 8) : 4 + rng_below(r, 25);

		m.layer = l;
		for (size_t i = 0; i < n; i++)
			make_one(&m, l == s->cfg.lowers);
	}
}
