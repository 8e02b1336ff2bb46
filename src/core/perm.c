/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who owns what: id maps, squashing, and owners and modes recorded in an extended attribute where the
 * layers cannot hold them (override_stat).  docs/design/permissions.md
 */
#include "core.h"

#include <errno.h>

#define OVERFLOW_ID 65534u

static int one_outside(const struct lam_idmap *map, bool squash, uint32_t to, uint32_t id,
		       uint32_t *ret)
{
	if (id == UINT32_MAX || squash) {
		*ret = id == UINT32_MAX ? id : to;
		return 0;
	}
	if (!map->extents) {
		*ret = id;
		return 0;
	}
	return idmap_to_outside(map, id, ret) ? 0 : -EPERM;
}

int perm_to_outside(struct lam_stack *s, uint32_t uid, uint32_t gid, uint32_t *ruid, uint32_t *rgid)
{
	uint32_t u, g;
	int r = one_outside(&s->uidmap, s->squash_uid, s->squash_to_uid, uid, &u);

	if (r == 0)
		r = one_outside(&s->gidmap, s->squash_gid, s->squash_to_gid, gid, &g);
	if (r < 0)
		return r;
	*ruid = u;
	*rgid = g;
	return 0;
}

static uint32_t one_inside(const struct lam_idmap *map, uint32_t id)
{
	uint32_t inside;

	if (!map->extents)
		return id;
	return idmap_to_inside(map, id, &inside) ? inside : OVERFLOW_ID;
}

/* What a caller without a mapping makes belongs to nobody, as in every tree that is seen through a map. */
void perm_creator(struct lam_stack *s, const struct lam_call *call, uint32_t *ruid, uint32_t *rgid)
{
	if (one_outside(&s->uidmap, s->squash_uid, s->squash_to_uid, call->cred.uid, ruid) < 0)
		*ruid = OVERFLOW_ID;
	if (one_outside(&s->gidmap, s->squash_gid, s->squash_to_gid, call->cred.gid, rgid) < 0)
		*rgid = OVERFLOW_ID;
}

void perm_to_inside(struct lam_stack *s, struct lam_attr *attr)
{
	attr->uid = s->squash_uid ? s->squash_to_uid : one_inside(&s->uidmap, attr->uid);
	attr->gid = s->squash_gid ? s->squash_to_gid : one_inside(&s->gidmap, attr->gid);
}

/* ---- What an ordinary user may not do in the layers ---- */

/* Whether nobody is shown the id, so that it does not matter which one the layer holds: all look alike,
 * or this one and the server's own, which would take its place, both look like nobody's. */
static bool is_hidden(const struct lam_idmap *map, bool squash, uint32_t id, uint32_t own)
{
	uint32_t inside;

	return squash || (map->extents && !idmap_to_inside(map, id, &inside) &&
			  !idmap_to_inside(map, own, &inside));
}

int perm_chown(struct lam_stack *s, int fd, const char *name, uint32_t uid, uint32_t gid)
{
	int r = sys_chown(fd, name, uid, gid);

	if (r != -EPERM && r != -EINVAL && r != -EOVERFLOW)
		return r;
	if (r == -EINVAL)
		r = -EOVERFLOW; /* an id without a mapping here, as the kernel's overlayfs says it */
	if (uid != UINT32_MAX && is_hidden(&s->uidmap, s->squash_uid, uid, s->self_uid)) {
		uid = UINT32_MAX;
		r = sys_chown(fd, name, uid, gid);
	}
	if (r < 0 && gid != UINT32_MAX && is_hidden(&s->gidmap, s->squash_gid, gid, s->self_gid))
		r = sys_chown(fd, name, uid, UINT32_MAX);
	return r == -EINVAL ? -EOVERFLOW : r;
}

/* Setting an attribute asks for write permission even of the owner. */
static int change_xattr(int fd, const char *name, const char *attr, const void *value, size_t size,
			int flags)
{
	return value ? sys_setxattr(fd, name, attr, value, size, flags)
		     : sys_removexattr(fd, name, attr);
}

static int force_xattr(struct lam_stack *s, int fd, const char *name, const char *attr,
		       const void *value, size_t size, int flags)
{
	int r = change_xattr(fd, name, attr, value, size, flags), back;
	struct stat st;

	if (r != -EACCES || sys_stat(fd, name, &st) < 0 || st.st_uid != s->self_uid ||
	    st.st_mode & S_IWUSR || S_ISLNK(st.st_mode))
		return r;
	if (sys_chmod(fd, name, (st.st_mode & 07777u) | S_IWUSR) < 0)
		return r;
	r = change_xattr(fd, name, attr, value, size, flags);
	back = sys_chmod(fd, name, st.st_mode & 07777u);
	return r < 0 ? r : back;
}

int perm_setxattr(struct lam_stack *s, int fd, const char *name, const char *attr,
		  const void *value, size_t size, int flags)
{
	return force_xattr(s, fd, name, attr, value ? value : "", size, flags);
}

int perm_removexattr(struct lam_stack *s, int fd, const char *name, const char *attr)
{
	return force_xattr(s, fd, name, attr, NULL, 0, 0);
}

/* ---- Owner and mode in an attribute ---- */

/* Layers say by an attribute of their root that their objects carry overrides. */
void perm_probe_layer(struct lam_stack *s, uint16_t layer)
{
	static const char *const names[] = { XATTR_OVERRIDE_PRIVILEGED, XATTR_OVERRIDE_CONTAINERS,
					     XATTR_OVERRIDE_FUSE };
	struct layer *l = &s->layers[layer];

	for (unsigned i = 0; i < ARRAY_LEN(names) && !l->override_name; i++)
		if (sys_getxattr(l->fd, "", names[i], NULL, 0) >= 0)
			l->override_name = names[i];
}

int perm_override_apply(struct lam_stack *s, uint16_t layer, int dirfd, const char *name,
			struct lam_attr *attr)
{
	const char *attr_name = s->layers[layer].override_name;
	char value[OVERRIDE_STAT_MAX];
	struct override_stat o;
	ssize_t n;

	if (!attr_name || S_ISLNK(attr->mode))
		return 0;
	n = sys_getxattr(dirfd, name, attr_name, value, sizeof(value));
	if (n == -ENODATA || n == -EOPNOTSUPP || n == -EPERM || n == -EACCES || n == -ERANGE)
		return 0;
	if (n < 0)
		return (int)n;
	if (override_stat_decode(value, (size_t)n, &o) < 0) {
		log_warning("%s has an override_stat that is not valid: ignored", QUOTE(name));
		return 0;
	}
	attr->uid = o.uid;
	attr->gid = o.gid;
	attr->mode = (attr->mode & S_IFMT) | (o.mode & 07777u);
	if (o.type && S_ISREG(attr->mode)) {
		attr->mode = (attr->mode & 07777u) | o.type;
		attr->rdev_major = o.rdev_major;
		attr->rdev_minor = o.rdev_minor;
	}
	return 0;
}

int perm_override_store(struct lam_stack *s, int dirfd, const char *name,
			const struct lam_attr *attr)
{
	struct override_stat o = { .uid = attr->uid,
				   .gid = attr->gid,
				   .mode = attr->mode & 07777u,
				   .type = attr->mode & S_IFMT,
				   .rdev_major = attr->rdev_major,
				   .rdev_minor = attr->rdev_minor };
	char value[OVERRIDE_STAT_MAX];
	size_t len = override_stat_encode(&o, value);
	int r = perm_setxattr(s, dirfd, name, s->layers[LAYER_UPPER].override_name, value, len, 0);

	/* Symlinks and other special files cannot carry user attributes: theirs stay as they are. */
	return (r == -EPERM || r == -EOPNOTSUPP) && !S_ISREG(attr->mode) && !S_ISDIR(attr->mode)
		       ? 0
		       : r;
}

/* ---- The ids inside POSIX ACLs ---- */

struct acl_entry {
	uint16_t tag, perm;
	uint32_t id;
};
#define ACL_USER_TAG 0x02
#define ACL_GROUP_TAG 0x08

int perm_acl_map(struct lam_stack *s, void *value, size_t size, bool to_outside)
{
	char *p = value;

	if (!s->uidmap.extents && !s->gidmap.extents)
		return 0;
	if (size < 4 || (size - 4) % sizeof(struct acl_entry))
		return -EINVAL;
	for (size_t pos = 4; pos < size; pos += sizeof(struct acl_entry)) {
		struct acl_entry e;
		const struct lam_idmap *map;

		memcpy(&e, p + pos, sizeof(e)); /* little endian, as the kernel's attribute */
		if (e.tag == ACL_USER_TAG)
			map = &s->uidmap;
		else if (e.tag == ACL_GROUP_TAG)
			map = &s->gidmap;
		else
			continue;
		if (!map->extents)
			continue;
		if (!to_outside)
			e.id = one_inside(map, e.id);
		else if (!idmap_to_outside(map, e.id, &e.id))
			return -EINVAL;
		memcpy(p + pos, &e, sizeof(e));
	}
	return 0;
}

void perm_thread_init(void)
{
	static _Thread_local bool done;

	if (!done) {
		(void)sys_thread_init(); /* without it the process's own umask is used */
		done = true;
	}
}
