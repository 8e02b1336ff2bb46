/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may do what, by owner, mode and POSIX ACL: for a mount the kernel decides this, here nobody
 * else does.  The rules are those of Linux (acl_permission_check(), may_delete()) with the two
 * exceptions that its own NFS server makes, because clients check at open and then only read and
 * write: the owner may read and write whatever the mode says, and who may execute may read.
 */
#include "internal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"

/* ---- POSIX ACLs as extended attribute ---- */

#define ACL_XATTR "system.posix_acl_access"
#define ACL_VERSION 2u
#define ACL_BYTES_MAX 4096u

enum acl_tag {
	ACL_USER_OBJ = 0x01,
	ACL_USER = 0x02,
	ACL_GROUP_OBJ = 0x04,
	ACL_GROUP = 0x08,
	ACL_MASK = 0x10,
	ACL_OTHER = 0x20,
};

/* On disk, little endian. */
struct acl_entry {
	uint16_t tag, perm;
	uint32_t id;
};

struct acl {
	size_t n;
	struct acl_entry entries[(ACL_BYTES_MAX - 4) / sizeof(struct acl_entry)];
};

/* False: there is none, or it makes no sense. */
static bool acl_get(struct nfs_call *call, uint64_t id, struct acl *acl)
{
	uint8_t raw[ACL_BYTES_MAX];
	ssize_t len = lam_getxattr(call->front->stack, &call->lam, id, ACL_XATTR, raw, sizeof(raw));
	uint32_t version;

	if (len < 4 || (size_t)(len - 4) % sizeof(struct acl_entry) != 0)
		return false;
	memcpy(&version, raw, 4);
	if (le32toh(version) != ACL_VERSION)
		return false;
	acl->n = (size_t)(len - 4) / sizeof(struct acl_entry);
	memcpy(acl->entries, raw + 4, acl->n * sizeof(struct acl_entry));
	for (size_t i = 0; i < acl->n; i++) {
		acl->entries[i].tag = le16toh(acl->entries[i].tag);
		acl->entries[i].perm = le16toh(acl->entries[i].perm);
		acl->entries[i].id = le32toh(acl->entries[i].id);
	}
	return true;
}

static unsigned acl_mask(const struct acl *acl)
{
	for (size_t i = 0; i < acl->n; i++) {
		if (acl->entries[i].tag == ACL_MASK)
			return acl->entries[i].perm;
	}
	return MAY_READ | MAY_WRITE | MAY_EXEC;
}

static bool acl_names_group(const struct nfs_call *call, const struct object *obj,
			    const struct acl_entry *e)
{
	if (e->tag == ACL_GROUP_OBJ)
		return access_in_group(&call->cred, obj->attr.gid);
	return e->tag == ACL_GROUP && access_in_group(&call->cred, e->id);
}

/* For who is not the owner: a user's entry decides alone; of the groups' one must allow all; others
 * only where no group fits (acl(5), "access check algorithm"). */
static bool acl_allows(const struct nfs_call *call, const struct object *obj, const struct acl *acl,
		       unsigned want)
{
	const unsigned mask = acl_mask(acl);
	bool group_fits = false;

	for (size_t i = 0; i < acl->n; i++) {
		const struct acl_entry *e = &acl->entries[i];

		if (e->tag == ACL_USER && e->id == call->cred.uid)
			return (e->perm & mask & want) == want;
	}
	for (size_t i = 0; i < acl->n; i++) {
		const struct acl_entry *e = &acl->entries[i];

		if (!acl_names_group(call, obj, e))
			continue;
		group_fits = true;
		if ((e->perm & want) == want)
			return (mask & want) == want;
	}
	return !group_fits && (obj->attr.mode & want) == want;
}

/* ---- Checks ---- */

bool access_in_group(const struct nfs_cred *cred, uint32_t gid)
{
	if (cred->gid == gid)
		return true;
	for (unsigned i = 0; i < cred->n_gids; i++) {
		if (cred->gids[i] == gid)
			return true;
	}
	return false;
}

bool access_read_only(const struct nfs_call *call)
{
	return call->rule->read_only;
}

static bool allowed(struct nfs_call *call, const struct object *obj, unsigned want)
{
	const uint32_t mode = obj->attr.mode;
	struct acl acl;

	if (call->cred.uid == 0)
		return !(want & MAY_EXEC) || S_ISDIR(mode) || (mode & 0111u);
	if (call->cred.uid == obj->attr.uid)
		return ((mode >> 6) & want) == want;
	if ((mode & 0070u) && acl_get(call, obj->id, &acl))
		return acl_allows(call, obj, &acl, want);
	if (access_in_group(&call->cred, obj->attr.gid))
		return ((mode >> 3) & want) == want;
	return (mode & want) == want;
}

nfsstat3 access_check(struct nfs_call *call, const struct object *obj, unsigned want)
{
	if ((want & MAY_WRITE) && access_read_only(call))
		return NFS3ERR_ROFS;
	return allowed(call, obj, want) ? NFS3_OK : NFS3ERR_ACCES;
}

nfsstat3 access_check_owner(struct nfs_call *call, const struct object *obj, unsigned want)
{
	if ((want & MAY_WRITE) && access_read_only(call))
		return NFS3ERR_ROFS;
	if (call->cred.uid == obj->attr.uid || allowed(call, obj, want))
		return NFS3_OK;
	/* A client reads what it executes. */
	return want == MAY_READ && allowed(call, obj, MAY_EXEC) ? NFS3_OK : NFS3ERR_ACCES;
}

nfsstat3 access_check_remove(struct nfs_call *call, const struct object *dir,
			     const struct object *victim)
{
	nfsstat3 status = access_check(call, dir, MAY_WRITE | MAY_EXEC);

	if (status != NFS3_OK)
		return status;
	if (!(dir->attr.mode & S_ISVTX) || call->cred.uid == 0 ||
	    call->cred.uid == victim->attr.uid || call->cred.uid == dir->attr.uid)
		return NFS3_OK;
	return NFS3ERR_PERM;
}
