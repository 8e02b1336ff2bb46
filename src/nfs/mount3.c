/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MOUNT version 3 (RFC 1813, appendix I), on the same port as NFS.
 *
 * The export is the root, "/", and may have one more name.  A directory below may be mounted by its
 * path; that is no border, as anywhere without subtree checks.  Nobody keeps a list of who has
 * mounted what, so DUMP shows none.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define AUTH_SYS_FLAVOR 1u

/* The path below the root, or NULL if it is not in the export.  Some clients name the root by no
 * path at all. */
static const char *below_root(const struct nfs_call *call, const char *path)
{
	const char *name = call->front->export_path;
	size_t len = name ? strlen(name) : 0;

	if (path[0] != '/')
		return path[0] == '\0' ? path : NULL;
	if (len > 0 && strncmp(path, name, len) == 0 && (path[len] == '\0' || path[len] == '/'))
		return path + len;
	return path;
}

/* Walk PATH, which is cut up.  Symbolic links are not followed: they are the client's. */
static int walk(struct nfs_call *call, char *path, struct lam_entry *ret)
{
	struct lam_stack *stack = call->front->stack;
	struct lam_entry at;
	char *name;
	int r = lam_resolve(stack, &call->lam, LAM_ROOT_ID, &at);

	while (r == 0 && (name = strsep(&path, "/")) != NULL) {
		if (name[0] == '\0' || strcmp(name, ".") == 0)
			continue;
		if (strcmp(name, "..") == 0)
			return -EACCES;
		r = lam_lookup(stack, &call->lam, at.id, name, &at);
	}
	if (r == 0 && !S_ISDIR(at.attr.mode))
		r = -ENOTDIR;
	if (r == 0)
		*ret = at;
	return r;
}

static mountstat3 mount_status(int r)
{
	switch (r) {
	case 0:
		return MNT3_OK;
	case -ENOENT:
		return MNT3ERR_NOENT;
	case -ENOTDIR:
		return MNT3ERR_NOTDIR;
	case -EACCES:
		return MNT3ERR_ACCES;
	case -ENAMETOOLONG:
		return MNT3ERR_NAMETOOLONG;
	case -EIO:
		return MNT3ERR_IO;
	default:
		return MNT3ERR_SERVERFAULT;
	}
}

static void mount_mnt(struct nfs_call *call, void *args, void *res)
{
	path3 *in = args;
	mnt3res *out = res;
	struct lam_entry entry = { 0 };
	const char *below;

	if (in->path3_len >= sizeof(call->path_room)) {
		out->status = MNT3ERR_NAMETOOLONG;
		return;
	}
	if (in->path3_len > 0)
		memcpy(call->path_room, in->path3_val, in->path3_len);
	call->path_room[in->path3_len] = '\0';
	below = below_root(call, call->path_room);
	if (!below || strlen(call->path_room) != in->path3_len) {
		out->status = MNT3ERR_NOENT;
		return;
	}
	out->status = mount_status(walk(call, call->path_room + (below - call->path_room), &entry));
	if (out->status != MNT3_OK)
		return;
	put_handle(call, entry.id, entry.generation, &out->mnt3res_u.ok.handle);
	call->flavor_room[0] = AUTH_SYS_FLAVOR;
	out->mnt3res_u.ok.flavors.flavors_len = 1;
	out->mnt3res_u.ok.flavors.flavors_val = call->flavor_room;
}

static void mount_dump(struct nfs_call *call, void *args, void *res)
{
	bool_t more = FALSE;

	(void)args;
	(void)res;
	(void)xdr_bool(call->out, &more); /* there is room for megabytes */
}

static void mount_nothing(struct nfs_call *call, void *args, void *res)
{
	(void)call;
	(void)args;
	(void)res;
}

/* One export, without the groups that may mount it: those are addresses, for everybody to guess. */
static void mount_export(struct nfs_call *call, void *args, void *res)
{
	static char root[] = "/";
	path3 path = { .path3_len = 1, .path3_val = root };
	bool_t yes = TRUE, no = FALSE;

	(void)args;
	(void)res;
	if (call->front->export_path) {
		path.path3_val = call->front->export_path;
		path.path3_len = (unsigned)strlen(path.path3_val);
	}
	(void)xdr_bool(call->out, &yes); /* as above */
	(void)xdr_path3(call->out, &path);
	(void)xdr_bool(call->out, &no); /* no groups */
	(void)xdr_bool(call->out, &no); /* no further export */
}

static const struct procedure procedures[] = {
	{ .name = "NULL", .run = mount_nothing },
	{ .name = "MNT",
	  .decode = (xdrproc_t)xdr_path3,
	  .encode = (xdrproc_t)xdr_mnt3res,
	  .run = mount_mnt },
	{ .name = "DUMP", .run = mount_dump },
	{ .name = "UMNT", .decode = (xdrproc_t)xdr_path3, .run = mount_nothing },
	{ .name = "UMNTALL", .run = mount_nothing },
	{ .name = "EXPORT", .run = mount_export },
};

const struct procedure *mount3_procedure(uint32_t number)
{
	return number < sizeof(procedures) / sizeof(procedures[0]) ? &procedures[number] : NULL;
}
