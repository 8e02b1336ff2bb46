/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LOOKUP and READLINK (RFC 1813, 3.3.3 and 3.3.5). */
#include "internal.h"

#include <string.h>
#include <sys/stat.h>

static nfsstat3 lookup(struct nfs_call *call, const struct object *dir, const name3 *from,
		       struct lam_entry *ret)
{
	char name[LAM_NAME_MAX + 1];
	nfsstat3 status;

	if (!S_ISDIR(dir->attr.mode))
		return NFS3ERR_NOTDIR;
	status = get_name(from, name);
	if (status == NFS3_OK)
		status = access_check(call, dir, MAY_EXEC);
	if (status != NFS3_OK)
		return status;
	if (strcmp(name, ".") == 0)
		return nfs_status(lam_resolve(call->front->stack, &call->lam, dir->id, ret));
	if (strcmp(name, "..") == 0)
		return nfs_status(lam_parent(call->front->stack, &call->lam, dir->id, ret));
	return nfs_status(lam_lookup(call->front->stack, &call->lam, dir->id, name, ret));
}

void proc_lookup(struct nfs_call *call, void *args, void *res)
{
	dirop3 *in = args;
	lookup3res *out = res;
	struct lam_entry entry;
	struct object dir;

	out->status = object_find(call, &in->dir, &dir);
	if (out->status != NFS3_OK)
		return;
	out->status = lookup(call, &dir, &in->name, &entry);
	if (out->status != NFS3_OK) {
		put_post_attr(call, &dir.attr, &out->lookup3res_u.dir_attr);
		return;
	}
	put_handle(call, entry.id, entry.generation, &out->lookup3res_u.ok.object);
	put_post_attr(call, &entry.attr, &out->lookup3res_u.ok.attr);
	put_post_attr(call, &dir.attr, &out->lookup3res_u.ok.dir_attr);
}

void proc_readlink(struct nfs_call *call, void *args, void *res)
{
	readlink3res *out = res;
	struct object obj;
	ssize_t n;

	out->status = object_find(call, args, &obj);
	if (out->status != NFS3_OK)
		return;
	if (!S_ISLNK(obj.attr.mode)) {
		out->status = NFS3ERR_INVAL;
		put_post_attr(call, &obj.attr, &out->readlink3res_u.attr);
		return;
	}
	n = lam_readlink(call->front->stack, &call->lam, obj.id, call->path_room,
			 sizeof(call->path_room));
	if (n < 0) {
		out->status = nfs_status((int)n);
		put_post_attr(call, &obj.attr, &out->readlink3res_u.attr);
		return;
	}
	out->readlink3res_u.ok.target.path3_val = call->path_room;
	out->readlink3res_u.ok.target.path3_len = (unsigned)n;
	put_post_attr(call, &obj.attr, &out->readlink3res_u.ok.attr);
}
